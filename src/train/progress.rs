//! How far a run has come.

use serde::{Deserialize, Serialize};

use super::loss::BatchLoss;
use super::report::Evaluation;
use super::schedule::plateau::Plateau;
use crate::spec::RunConfig;
use crate::spec::schedule::Schedule;

/// Steps and epochs done, and what the epoch under way has come to so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimizer steps done.
    pub steps_done: u64,
    /// Epochs complete.
    pub epochs_done: u32,
    /// Sums over the steps of the epoch under way, for every lane.
    pub sums: Vec<EpochSums>,
    /// What `plateau` remembers, for every lane; empty where no lane has that schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plateaus: Vec<Plateau>,
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

impl Progress {
    /// None yet.
    pub fn new(lanes: &[RunConfig]) -> Self {
        let watching = |lane: &RunConfig| matches!(lane.schedule, Schedule::Plateau { .. });
        let plateaus = if lanes.iter().any(watching) { lanes.len() } else { 0 };
        Self {
            steps_done: 0,
            epochs_done: 0,
            sums: vec![EpochSums::default(); lanes.len()],
            plateaus: vec![Plateau::default(); plateaus],
        }
    }

    /// What the validations so far have made of a lane's rate: a factor.
    pub fn dropped(&self, lane: usize) -> f64 {
        self.plateaus.get(lane).map_or(1.0, Plateau::factor)
    }

    /// Takes in the validations after the last epoch, once: telling again changes nothing.
    pub fn validated(&mut self, lanes: &[RunConfig], validations: &[Evaluation]) {
        let epochs = self.epochs_done;
        let told = self.plateaus.iter_mut().zip(lanes).zip(validations);
        for ((plateau, lane), validation) in told {
            if plateau.epochs() < epochs {
                plateau.observe(lane, validation);
            }
        }
    }

    /// Counts a step.
    pub fn add(&mut self, losses: &[BatchLoss]) {
        self.steps_done += 1;
        for (sum, loss) in self.sums.iter_mut().zip(losses) {
            sum.loss += loss.sum;
            sum.right += loss.right;
        }
    }

    /// Counts an epoch, and returns its sums.
    pub fn complete_epoch(&mut self) -> Vec<EpochSums> {
        self.epochs_done += 1;
        let fresh = vec![EpochSums::default(); self.sums.len()];
        std::mem::replace(&mut self.sums, fresh)
    }
}
