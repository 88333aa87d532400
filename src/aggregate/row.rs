//! One run as a row: what was planned, how it stands, what came of it.
//!
//! In: a [`PlannedRun`] and a [`RunState`], as the dispatcher or the reader of run folders knows
//! them. Out: a [`RunRow`], small whatever the number of epochs, so that a table of ten thousand
//! is a few megabytes.

use crate::event::EpochRecord;
use crate::ids::RunId;
use crate::record::{RunResult, RunStatus};
use crate::spec::metric::Metric;
use crate::spec::{Key, RunConfig, Setting};

use super::metrics::RunMetrics;

/// The value of one varied key, in one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisValue {
    /// As tables show it.
    pub label: String,
    /// The value itself where it is a number, so that its cell is one.
    pub number: Option<f64>,
}

impl AxisValue {
    /// The value of a setting.
    pub fn of(setting: &Setting) -> Self {
        Self { label: setting.label(), number: setting.number().filter(|x| x.is_finite()) }
    }
}

/// A run of the sweep, done or not.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// The run.
    pub run_id: RunId,
    /// Name of its configuration: the same for all seeds, another for every other configuration.
    pub configuration: String,
    /// Values of the varied keys, in the order of [`SweepTable::axes`](super::SweepTable::axes).
    pub axes: Vec<AxisValue>,
    /// Its seed.
    pub seed: u64,
}

impl PlannedRun {
    /// The run `run_id` of `config`, in a sweep that varies `axes`.
    pub fn of(run_id: RunId, configuration: String, config: &RunConfig, axes: &[Key]) -> Self {
        let axes = axes.iter().map(|key| AxisValue::of(&config.setting(*key))).collect();
        Self { run_id, configuration, axes, seed: config.seed }
    }
}

/// How a run stands. What has ended is known from its result, what has not from the dispatcher.
#[derive(Debug, Clone, Copy)]
pub enum RunState<'a> {
    /// Nothing of it is under way.
    Pending {
        /// Why it waits, if there is more to say than that its turn has not come.
        reason: Option<&'a str>,
    },
    /// An attempt is under way.
    Running {
        /// Its complete epochs so far.
        epochs: &'a [EpochRecord],
    },
    /// This machine cannot execute it; another may.
    Skipped {
        /// Why.
        reason: &'a str,
    },
    /// It has a result.
    Ended(&'a RunResult),
}

/// The word for how a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowStatus {
    /// Not begun, or to be tried again.
    Pending,
    /// Under way.
    Running,
    /// Ended, as the result says.
    Finished,
    /// Ended: the loss was no longer finite.
    Diverged,
    /// Ended: every attempt failed.
    Failed,
    /// Not executed: this machine has no such device.
    Skipped,
}

impl RowStatus {
    /// As CSV and terminal spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Finished => RunStatus::Finished.as_str(),
            Self::Diverged => RunStatus::Diverged.as_str(),
            Self::Failed => RunStatus::Failed.as_str(),
            Self::Skipped => "skipped",
        }
    }
}

impl From<RunStatus> for RowStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Finished => Self::Finished,
            RunStatus::Diverged => Self::Diverged,
            RunStatus::Failed => Self::Failed,
        }
    }
}

/// A row of `runs.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// The run.
    pub run: PlannedRun,
    /// How it stands.
    pub status: RowStatus,
    /// Why, unless it finished.
    pub reason: Option<String>,
    /// What came of it so far.
    pub metrics: RunMetrics,
    /// Of a run that has ended, the quantities that claims take from its course; in the order of
    /// [`Quantities`](super::quantities::Quantities), empty where they have not been read.
    pub quantities: Vec<Option<f64>>,
}

impl RunRow {
    /// The row of `run` in state `state`; `metric` has the target.
    pub fn new(run: PlannedRun, state: RunState<'_>, metric: &Metric) -> Self {
        let (status, reason, metrics) = match state {
            RunState::Pending { reason } => {
                (RowStatus::Pending, reason.map(str::to_owned), RunMetrics::default())
            }
            RunState::Running { epochs } => {
                (RowStatus::Running, None, RunMetrics::of_epochs(epochs, metric))
            }
            RunState::Skipped { reason } => {
                (RowStatus::Skipped, Some(reason.to_owned()), RunMetrics::default())
            }
            RunState::Ended(result) => {
                (result.status.into(), result.reason.clone(), RunMetrics::of_result(result, metric))
            }
        };
        Self { run, status, reason, metrics, quantities: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    #[test]
    fn the_state_gives_status_reason_and_metrics() {
        let metric = sample::metric();
        let row = |state| RunRow::new(sample::planned("a", 1), state, &metric);
        let result = sample::failed("worker was killed by signal 9");
        let epochs = sample::result(&[0.5]).epochs;

        let pending = row(RunState::Pending { reason: Some("waits for a retry") });
        assert_eq!(
            (pending.status, pending.reason.as_deref(), pending.metrics.epochs_done),
            (RowStatus::Pending, Some("waits for a retry"), None)
        );
        let running = row(RunState::Running { epochs: &epochs });
        assert_eq!((running.status, running.metrics.epochs_done), (RowStatus::Running, Some(1)));
        let failed = row(RunState::Ended(&result));
        assert_eq!(
            (failed.status.as_str(), failed.reason.as_deref(), failed.metrics.epochs_done),
            ("failed", Some("worker was killed by signal 9"), Some(0))
        );
    }

    #[test]
    fn axes_are_labels_and_numbers() {
        let config = RunConfig { lr: 1e-5, seed: 7, ..RunConfig::default() };
        let axes = [Key::Lr, Key::Schedule, Key::BatchNorm];
        let run = PlannedRun::of(RunId::of(b"x"), "x".into(), &config, &axes);
        let shown: Vec<_> =
            run.axes.iter().map(|axis| (axis.label.as_str(), axis.number)).collect();
        assert_eq!(shown, [("0.00001", Some(1e-5)), ("constant", None), ("false", None)]);
        assert_eq!(run.seed, 7);
    }
}
