//! How far the runs of a group have come.

use serde::{Deserialize, Serialize};

use super::checkpoint::same;
use super::error::TrainError;
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
}

/// What belongs to one lane.
#[derive(Debug, Clone, Copy, PartialEq)]
struct LaneState {
    sums: EpochSums,
    /// What `plateau` remembers, in a lane with that schedule.
    plateau: Option<Plateau>,
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
}

impl Progress {
    /// None yet.
    pub fn new(lanes: &[RunConfig]) -> Self {
        let lane = |config: &RunConfig| LaneState {
            sums: EpochSums::default(),
            plateau: matches!(config.schedule, Schedule::Plateau { .. }).then(Plateau::default),
        };
        Self { steps_done: 0, epochs_done: 0, lanes: lanes.iter().map(lane).collect() }
    }

    /// One lane's, to save.
    pub fn lane(&self, lane: usize) -> LaneProgress {
        let LaneState { sums, plateau } = self.lanes[lane];
        LaneProgress {
            steps_done: self.steps_done,
            epochs_done: self.epochs_done,
            sums: [sums],
            plateaus: plateau.into_iter().collect(),
        }
    }

    /// Of what was saved of every lane.
    ///
    /// # Errors
    /// When they have not come equally far.
    pub fn of_lanes(lanes: &[LaneProgress]) -> Result<Self, TrainError> {
        let (steps_done, epochs_done) =
            lanes.first().map_or((0, 0), |lane| (lane.steps_done, lane.epochs_done));
        for (number, lane) in lanes.iter().enumerate() {
            same(&format!("steps done of lane {number}"), steps_done, lane.steps_done)?;
            same(&format!("epochs done of lane {number}"), epochs_done, lane.epochs_done)?;
        }
        let state = |lane: &LaneProgress| LaneState {
            sums: lane.sums[0],
            plateau: lane.plateaus.first().copied(),
        };
        Ok(Self { steps_done, epochs_done, lanes: lanes.iter().map(state).collect() })
    }

    /// What the validations so far have made of a lane's rate: a factor.
    pub fn dropped(&self, lane: usize) -> f64 {
        self.lanes[lane].plateau.as_ref().map_or(1.0, Plateau::factor)
    }

    /// Takes in the validations after the last epoch, once: telling again changes nothing.
    pub fn validated(&mut self, lanes: &[RunConfig], validations: &[Evaluation]) {
        let told = self.lanes.iter_mut().zip(lanes).zip(validations);
        for ((state, config), validation) in told {
            if let Some(plateau) = &mut state.plateau
                && plateau.epochs() < self.epochs_done
            {
                plateau.observe(config, validation);
            }
        }
    }

    /// Counts a step.
    pub fn add(&mut self, losses: &[BatchLoss]) {
        self.steps_done += 1;
        for (LaneState { sums, .. }, loss) in self.lanes.iter_mut().zip(losses) {
            sums.loss += loss.sum;
            sums.right += loss.right;
        }
    }

    /// Counts an epoch, and returns the sums of every lane.
    pub fn complete_epoch(&mut self) -> Vec<EpochSums> {
        self.epochs_done += 1;
        self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.sums)).collect()
    }
}
