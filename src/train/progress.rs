//! How far a run has come.

use serde::{Deserialize, Serialize};

use super::loss::BatchLoss;

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
    pub fn new(lanes: usize) -> Self {
        Self { steps_done: 0, epochs_done: 0, sums: vec![EpochSums::default(); lanes] }
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
