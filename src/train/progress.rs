//! How far the runs of a group have come.

use serde::{Deserialize, Serialize};

use super::checkpoint::same;
use super::divergence::Divergence;
use super::early_stop::Stall;
use super::error::TrainError;
use super::lane_set::LaneSet;
use super::loss::BatchLoss;
use super::report::Evaluation;
use super::schedule::plateau::Plateau;
use crate::spec::RunConfig;
use crate::spec::early_stopping::EarlyStopping;
use crate::spec::schedule::Schedule;

/// Steps and epochs that a group has done, and what the epoch under way has come to so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Optimizer steps done.
    pub steps_done: u64,
    /// Epochs complete.
    pub epochs_done: u32,
    lanes: Vec<LaneState>,
    /// The lanes that have not ended.
    living: LaneSet,
}

/// What belongs to one lane.
#[derive(Debug, Clone, PartialEq)]
struct LaneState {
    sums: EpochSums,
    /// What `plateau` remembers, in a lane with that schedule.
    plateau: Option<Plateau>,
    /// What early stopping remembers, in a lane that may be stopped.
    stall: Option<Stall>,
    end: Option<LaneEnd>,
}

/// How a lane ended before the others.
#[derive(Debug, Clone, PartialEq)]
enum LaneEnd {
    Diverged(Divergence),
    /// Stopped early, having come so far.
    Stopped {
        steps: u64,
        epochs: u32,
    },
}

impl LaneEnd {
    /// Steps and epochs that the lane has done.
    fn come(&self) -> (u64, u32) {
        match self {
            Self::Diverged(divergence) => (divergence.step, divergence.epochs_done()),
            Self::Stopped { steps, epochs } => (*steps, *epochs),
        }
    }
}

/// Sums of one lane over the steps of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochSums {
    /// Losses of the samples.
    pub loss: f64,
    /// Samples classified right.
    pub right: u64,
}

/// How far one lane has come, as it is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneProgress {
    /// Optimizer steps done.
    pub steps_done: u64,
    /// Epochs complete.
    pub epochs_done: u32,
    /// Sums over the steps of the epoch under way.
    pub sums: [EpochSums; 1],
    /// What `plateau` remembers: one, or none for other schedules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plateaus: Vec<Plateau>,
    /// What early stopping remembers, where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
    /// What ended it before the others, if it broke down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Divergence>,
    /// Was it stopped early?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl LaneProgress {
    /// How it ended before the others, if it did.
    fn end(&self) -> Option<LaneEnd> {
        let (steps, epochs) = (self.steps_done, self.epochs_done);
        let stopped = self.stopped.then_some(LaneEnd::Stopped { steps, epochs });
        self.diverged.clone().map(LaneEnd::Diverged).or(stopped)
    }
}

impl Progress {
    /// None yet.
    pub fn new(lanes: &[RunConfig]) -> Self {
        let lane = |config: &RunConfig| LaneState {
            sums: EpochSums::default(),
            plateau: matches!(config.schedule, Schedule::Plateau { .. }).then(Plateau::default),
            stall: (config.early_stopping != EarlyStopping::None).then(Stall::default),
            end: None,
        };
        Self {
            steps_done: 0,
            epochs_done: 0,
            lanes: lanes.iter().map(lane).collect(),
            living: LaneSet::all(lanes.len()),
        }
    }

    /// One lane's, to save.
    pub fn lane(&self, lane: usize) -> LaneProgress {
        let LaneState { sums, plateau, stall, end } = &self.lanes[lane];
        let here = (self.steps_done, self.epochs_done);
        let (steps_done, epochs_done) = end.as_ref().map_or(here, LaneEnd::come);
        LaneProgress {
            steps_done,
            epochs_done,
            sums: [*sums],
            plateaus: plateau.iter().copied().collect(),
            stall: *stall,
            diverged: self.divergence(lane).cloned(),
            stopped: matches!(end, Some(LaneEnd::Stopped { .. })),
        }
    }

    /// Of what was saved of every lane.
    ///
    /// # Errors
    /// When those that live have not come equally far, or one that ended came further.
    pub fn of_lanes(lanes: &[LaneProgress]) -> Result<Self, TrainError> {
        let come = |lane: &LaneProgress| (lane.steps_done, lane.epochs_done);
        let ends: Vec<Option<LaneEnd>> = lanes.iter().map(LaneProgress::end).collect();
        let living = lanes.iter().zip(&ends).find(|(_, end)| end.is_none());
        let living = living.map(|(lane, _)| come(lane));
        // Where all have ended, the group ended with the last of them.
        let (steps_done, epochs_done) =
            living.or_else(|| lanes.iter().map(come).max()).unwrap_or_default();
        for (number, lane) in lanes.iter().enumerate() {
            let steps = format!("steps done of lane {number}");
            if ends[number].is_none() {
                same(&steps, steps_done, lane.steps_done)?;
                same(&format!("epochs done of lane {number}"), epochs_done, lane.epochs_done)?;
            } else if come(lane) > (steps_done, epochs_done) {
                let expected = format!("at most {steps_done}");
                let found = lane.steps_done.to_string();
                return Err(TrainError::Checkpoint { what: steps, expected, found });
            }
        }
        let living = ends.iter().map(Option::is_none).collect();
        let state = |(lane, end): (&LaneProgress, Option<LaneEnd>)| LaneState {
            sums: lane.sums[0],
            plateau: lane.plateaus.first().copied(),
            stall: lane.stall,
            end,
        };
        let lanes = lanes.iter().zip(ends).map(state).collect();
        Ok(Self { steps_done, epochs_done, lanes, living })
    }

    /// The lanes that have not ended.
    pub fn living(&self) -> &LaneSet {
        &self.living
    }

    /// What a lane broke down of, if it did.
    pub fn divergence(&self, lane: usize) -> Option<&Divergence> {
        match &self.lanes[lane].end {
            Some(LaneEnd::Diverged(divergence)) => Some(divergence),
            Some(LaneEnd::Stopped { .. }) | None => None,
        }
    }

    /// What a lane that was stopped early had waited for.
    pub fn early_stop(&self, lane: usize) -> Option<&Stall> {
        let LaneState { stall, end, .. } = &self.lanes[lane];
        stall.as_ref().filter(|_| matches!(end, Some(LaneEnd::Stopped { .. })))
    }

    /// Ends a lane that broke down here. A lane ends once.
    pub fn diverge(&mut self, lane: usize, divergence: Divergence) {
        self.living.remove(lane);
        self.lanes[lane].end.get_or_insert(LaneEnd::Diverged(divergence));
    }

    /// The lanes that stand where the group does: those that live, and those that have ended since its
    /// last step.
    pub fn abreast(&self) -> LaneSet {
        let here =
            |lane: &LaneState| lane.end.as_ref().is_none_or(|end| end.come().0 == self.steps_done);
        self.lanes.iter().map(here).collect()
    }

    /// What the validations so far have made of a lane's rate: a factor.
    pub fn dropped(&self, lane: usize) -> f64 {
        self.lanes[lane].plateau.as_ref().map_or(1.0, Plateau::factor)
    }

    /// Takes in the validations after the last epoch, once: telling again changes nothing. Ends the
    /// lanes that have waited long enough for a better one, unless that was their last epoch.
    pub fn validated(&mut self, lanes: &[RunConfig], validations: &[Option<Evaluation>]) {
        let (steps, epochs) = (self.steps_done, self.epochs_done);
        let told = self.lanes.iter_mut().zip(lanes).zip(validations).enumerate();
        for (lane, ((state, config), validation)) in told {
            let Some(validation) = validation else { continue };
            if let Some(plateau) =
                state.plateau.as_mut().filter(|plateau| plateau.epochs() < epochs)
            {
                plateau.observe(config, validation);
            }
            let rule = &config.early_stopping;
            if let Some(stall) = state.stall.as_mut().filter(|stall| stall.epochs() < epochs) {
                stall.observe(rule, validation);
                if stall.is_over(rule) && epochs < config.epochs && validation.loss.is_finite() {
                    self.living.remove(lane);
                    state.end.get_or_insert(LaneEnd::Stopped { steps, epochs });
                }
            }
        }
    }

    /// Counts a step of the lanes that live.
    pub fn add(&mut self, losses: &[BatchLoss]) {
        self.steps_done += 1;
        for lane in self.living.iter() {
            let (sums, loss) = (&mut self.lanes[lane].sums, &losses[lane]);
            sums.loss += loss.sum;
            sums.right += loss.right;
        }
    }

    /// Counts an epoch of the lanes that live, and returns their sums.
    pub fn complete_epoch(&mut self) -> Vec<Option<EpochSums>> {
        self.epochs_done += 1;
        let complete =
            |lane: &mut LaneState| lane.end.is_none().then(|| std::mem::take(&mut lane.sums));
        self.lanes.iter_mut().map(complete).collect()
    }
}
