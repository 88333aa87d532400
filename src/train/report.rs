//! What a trainer tells.

use super::data::{DataSplits, Images};
use super::measure::{Measured, PhaseSeconds};
use super::parallel::StepTimes;

/// Which images are measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What configurations are compared on.
    Validation,
    /// What is measured once, at the end.
    Test,
}

impl Part {
    /// Its images.
    pub fn of(self, data: &DataSplits) -> &Images {
        match self {
            Self::Validation => &data.val,
            Self::Test => &data.test,
        }
    }
}

/// One lane on one part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Share classified right, in 0 ..= 1.
    pub accuracy: f64,
}

/// An optimizer step that has just been done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport<'a> {
    /// Its number, from 0, over the whole run.
    pub step: u64,
    /// Its epoch, from 1.
    pub epoch: u32,
    /// Every lane; `None` from the step on in which a lane diverged.
    pub lanes: &'a [Option<LaneStep>],
    /// What was measured in its gradients and its update, of the same lanes.
    pub measured: &'a [Measured],
    /// Where its time went, if that is measured.
    pub seconds: Option<PhaseSeconds>,
}

/// One lane in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneStep {
    /// Mean training loss of the batch, before the update.
    pub loss: f64,
    /// Learning rate of the update.
    pub lr: f64,
    /// Norm of the gradients before clipping; measured where a lane is clipped, or
    /// [`Trainer::measure_gradients`](super::Trainer::measure_gradients) asked for it.
    pub gradient_norm: Option<f64>,
}

/// How a call to train an epoch ended.
#[derive(Debug, Clone, PartialEq)]
pub enum EpochEnd {
    /// All steps of the epoch are done.
    Complete(EpochStats),
    /// It was asked to stop. Another call goes on, even if the last step of the epoch is done: that
    /// call then completes the epoch without a step.
    Stopped,
    /// Every lane has diverged, the last of them in this step, whose update was not done. See
    /// [`Trainer::divergence`](super::Trainer::divergence) for what was not finite.
    Diverged,
}

/// A complete epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochStats {
    /// Which, from 1.
    pub epoch: u32,
    /// Every lane; `None` where it has diverged.
    pub lanes: Vec<Option<LaneEpoch>>,
    /// Where the time of its steps went, the mean over those since training went on; of several
    /// ranks only.
    pub times: Option<StepTimes>,
}

/// One lane in one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneEpoch {
    /// Mean loss over the training images, while the weights moved.
    pub train_loss: f64,
    /// Share of the training images classified right, while the weights moved.
    pub train_accuracy: f64,
    /// Learning rate of the last step.
    pub lr: f64,
}
