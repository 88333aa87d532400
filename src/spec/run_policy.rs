//! `[run]`: how a run is executed. None of it is identity: changing it makes no run new.

use std::time::Duration;

/// How runs are executed.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPolicy {
    /// `timeout`: longest wall time of one attempt.
    pub timeout: Option<Duration>,
    /// `retries`.
    pub retries: Retries,
    /// `checkpoint`.
    pub checkpoint: CheckpointPolicy,
    /// `grace`: how long a worker that is asked to stop may take.
    pub grace: Duration,
    /// `threads`: cores that one run may use.
    pub threads: u32,
    /// `curves`: how fine `curves.csv` is.
    pub curves: CurveDetail,
}

impl Default for RunPolicy {
    fn default() -> Self {
        Self {
            timeout: None,
            retries: Retries::default(),
            checkpoint: CheckpointPolicy::default(),
            grace: Duration::from_secs(10),
            threads: 1,
            curves: CurveDetail::Epoch,
        }
    }
}

/// What is done after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Further attempts after the first; 1 by default.
    pub count: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// Delay before the first retry; 1 s by default.
    pub delay: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { count: 1, backoff: Backoff::Exponential, delay: Duration::from_secs(1) }
    }
}

/// How the delay before a retry grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Always the same.
    Fixed,
    /// Twice as long each time.
    Exponential,
}

/// When checkpoints are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Epochs between two; 1 by default.
    pub every_epochs: u32,
    /// How many are kept; 1 by default.
    pub keep: u32,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self { every_epochs: 1, keep: 1 }
    }
}

/// How fine `curves.csv` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CurveDetail {
    /// A row for every run, epoch and metric.
    Epoch,
    /// Besides these, a row for every run and optimizer step with its loss and rate.
    Step,
}
