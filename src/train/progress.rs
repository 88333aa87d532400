//! How far the runs of a group have come.

use serde::{Deserialize, Serialize};

use super::checkpoint::same;
use super::divergence::Divergence;
use super::error::TrainError;
use super::lane_set::LaneSet;
use super::loss::BatchLoss;
use super::report::Evaluation;
use super::schedule::plateau::Plateau;
use crate::spec::RunConfig;
use crate::spec::schedule::Schedule;

/// Steps and epochs that a group has done, and what the epoch under way has come to so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Optimizer steps done.
    pub steps_done: u64,
    /// Epochs complete.
    pub epochs_done: u32,
    lanes: Vec<LaneState>,
    /// The lanes that have not diverged.
    living: LaneSet,
}

/// What belongs to one lane.
#[derive(Debug, Clone, PartialEq)]
struct LaneState {
    sums: EpochSums,
    /// What `plateau` remembers, in a lane with that schedule.
    plateau: Option<Plateau>,
    diverged: Option<Divergence>,
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
    /// What ended it before the others, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<Divergence>,
}

impl Progress {
    /// None yet.
    pub fn new(lanes: &[RunConfig]) -> Self {
        let lane = |config: &RunConfig| LaneState {
            sums: EpochSums::default(),
            plateau: matches!(config.schedule, Schedule::Plateau { .. }).then(Plateau::default),
            diverged: None,
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
        let LaneState { sums, plateau, diverged } = &self.lanes[lane];
        let (steps_done, epochs_done) = match diverged {
            Some(divergence) => (divergence.step, divergence.epochs_done()),
            None => (self.steps_done, self.epochs_done),
        };
        LaneProgress {
            steps_done,
            epochs_done,
            sums: [*sums],
            plateaus: plateau.iter().copied().collect(),
            diverged: diverged.clone(),
        }
    }

    /// Of what was saved of every lane.
    ///
    /// # Errors
    /// When those that live have not come equally far, or one that diverged came further.
    pub fn of_lanes(lanes: &[LaneProgress]) -> Result<Self, TrainError> {
        let come = |lane: &LaneProgress| (lane.steps_done, lane.epochs_done);
        let living = lanes.iter().find(|lane| lane.diverged.is_none()).map(come);
        // Where all have diverged, the group ended with the last of them.
        let (steps_done, epochs_done) =
            living.or_else(|| lanes.iter().map(come).max()).unwrap_or_default();
        for (number, lane) in lanes.iter().enumerate() {
            let steps = format!("steps done of lane {number}");
            if lane.diverged.is_none() {
                same(&steps, steps_done, lane.steps_done)?;
                same(&format!("epochs done of lane {number}"), epochs_done, lane.epochs_done)?;
            } else if come(lane) > (steps_done, epochs_done) {
                let expected = format!("at most {steps_done}");
                let found = lane.steps_done.to_string();
                return Err(TrainError::Checkpoint { what: steps, expected, found });
            }
        }
        let state = |lane: &LaneProgress| LaneState {
            sums: lane.sums[0],
            plateau: lane.plateaus.first().copied(),
            diverged: lane.diverged.clone(),
        };
        let living = lanes.iter().map(|lane| lane.diverged.is_none()).collect();
        Ok(Self { steps_done, epochs_done, lanes: lanes.iter().map(state).collect(), living })
    }

    /// The lanes that have not diverged.
    pub fn living(&self) -> &LaneSet {
        &self.living
    }

    /// What ended a lane before the others.
    pub fn divergence(&self, lane: usize) -> Option<&Divergence> {
        self.lanes[lane].diverged.as_ref()
    }

    /// Ends a lane here; the first call counts.
    pub fn diverge(&mut self, lane: usize, divergence: Divergence) {
        self.living.remove(lane);
        self.lanes[lane].diverged.get_or_insert(divergence);
    }

    /// The lanes that stand where the group does: those that live, and those that have diverged
    /// since its last step.
    pub fn abreast(&self) -> LaneSet {
        let here =
            |lane: &LaneState| lane.diverged.as_ref().is_none_or(|d| d.step == self.steps_done);
        self.lanes.iter().map(here).collect()
    }

    /// What the validations so far have made of a lane's rate: a factor.
    pub fn dropped(&self, lane: usize) -> f64 {
        self.lanes[lane].plateau.as_ref().map_or(1.0, Plateau::factor)
    }

    /// Takes in the validations after the last epoch, once: telling again changes nothing.
    pub fn validated(&mut self, lanes: &[RunConfig], validations: &[Option<Evaluation>]) {
        let told = self.lanes.iter_mut().zip(lanes).zip(validations);
        for ((state, config), validation) in told {
            if let (Some(plateau), Some(validation)) = (&mut state.plateau, validation)
                && plateau.epochs() < self.epochs_done
            {
                plateau.observe(config, validation);
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
            |lane: &mut LaneState| lane.diverged.is_none().then(|| std::mem::take(&mut lane.sums));
        self.lanes.iter_mut().map(complete).collect()
    }
}
