//! The seam between doing and showing.
//!
//! A worker *does*: it writes [`RunEvent`]s, one JSON line each, to its `events.jsonl`. Whoever
//! *shows* (the terminal, the aggregator, a later reader) knows nothing but these. The format is
//! versioned: a reader refuses a newer one rather than misread it.

use serde::{Deserialize, Serialize};

/// Version of the events' format. Raise it when a reader of the old one would misread the new one.
pub const EVENT_FORMAT: u32 = 2;

/// Something that happened inside a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum RunEvent {
    /// An attempt begins, at the start or from a checkpoint.
    Started {
        /// [`EVENT_FORMAT`] of the writer.
        format: u32,
        /// Which attempt, from 1.
        attempt: u32,
        /// Optimizer steps that a checkpoint had already done.
        resumed_at_step: u64,
        /// Optimizer steps of the whole run.
        total_steps: u64,
        /// Why a checkpoint that was there is not used, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint_refused: Option<String>,
    },
    /// Optimizer steps, several in one line.
    Steps {
        /// Number of the first one, from 0, over the whole run.
        first_step: u64,
        /// Epoch that they belong to, from 1.
        epoch: u32,
        /// Mean training loss of each step's batch, before the update.
        #[serde(with = "non_finite::list")]
        loss: Vec<f64>,
        /// Learning rate of each step.
        lr: Vec<f64>,
    },
    /// What was measured inside the network, in some steps of an epoch or at its end; there since
    /// format 2.
    Layers(LayersRecord),
    /// An epoch is complete and has been validated.
    Epoch(EpochRecord),
}

impl RunEvent {
    /// The epoch, where the event is the end of one.
    pub fn into_epoch(self) -> Option<EpochRecord> {
        match self {
            Self::Epoch(epoch) => Some(epoch),
            Self::Started { .. } | Self::Steps { .. } | Self::Layers(_) => None,
        }
    }
}

/// What one epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Which, from 1.
    pub epoch: u32,
    /// Optimizer steps done since the start of the run.
    pub step: u64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Mean loss over the epoch's training samples, while the weights moved.
    #[serde(with = "non_finite")]
    pub train_loss: f64,
    /// Share of the epoch's training samples classified right, while the weights moved.
    pub train_accuracy: f64,
    /// Mean loss on the validation part after the epoch.
    #[serde(with = "non_finite")]
    pub val_loss: f64,
    /// Share of the validation part classified right after the epoch.
    pub val_accuracy: f64,
    /// Seconds of training (forward, backward, update, data) in this epoch.
    pub train_s: f64,
    /// Seconds of validation.
    pub eval_s: f64,
    /// Seconds of training and validation since the start of the run, over all attempts.
    pub elapsed_s: f64,
    /// On several devices: seconds of a step that rank 0 computed, the mean over the epoch's steps
    /// of this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_compute_s: Option<f64>,
    /// On several devices: seconds of a step for which gradients were under way, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_communication_s: Option<f64>,
    /// On several devices: seconds of a step for which rank 0 waited for the others, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_wait_s: Option<f64>,
}

/// One measurement in every layer that has it, in one or more steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayersRecord {
    /// The epoch, from 1.
    pub epoch: u32,
    /// What was measured: `gradient_norm`.
    pub measurement: String,
    /// Names of the layers, in the order of the network: `conv1`, `relu1`; `network` for what
    /// concerns all of it.
    pub layers: Vec<String>,
    /// What each layer is: `conv`, `relu`.
    pub kinds: Vec<String>,
    /// Optimizer steps done by then since the start of the run, for each row of `values`.
    pub steps: Vec<u64>,
    /// For each of the steps a number for each of the layers.
    #[serde(with = "non_finite::table")]
    pub values: Vec<Vec<f64>>,
}

/// JSON has no NaN and no infinity: a number that is not finite is written as `null` and read back
/// as NaN.
mod non_finite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Some(*x).filter(|x| x.is_finite()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
    }

    /// The same for lists.
    pub(super) mod list {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        pub(in crate::event) fn serialize<S: Serializer>(
            xs: &[f64],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let finite = xs.iter().map(|x| Some(*x).filter(|x| x.is_finite()));
            finite.collect::<Vec<_>>().serialize(serializer)
        }

        pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<f64>, D::Error> {
            let xs = Vec::<Option<f64>>::deserialize(from)?;
            Ok(xs.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
        }
    }

    /// The same for lists of lists.
    pub(super) mod table {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        pub(in crate::event) fn serialize<S: Serializer>(
            rows: &[Vec<f64>],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let finite = |xs: &Vec<f64>| -> Vec<Option<f64>> {
                xs.iter().map(|x| Some(*x).filter(|x| x.is_finite())).collect()
            };
            rows.iter().map(finite).collect::<Vec<_>>().serialize(serializer)
        }

        pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Vec<Vec<f64>>, D::Error> {
            let rows = Vec::<Vec<Option<f64>>>::deserialize(from)?;
            let known = |xs: Vec<Option<f64>>| xs.into_iter().map(|x| x.unwrap_or(f64::NAN));
            Ok(rows.into_iter().map(|xs| known(xs).collect()).collect())
        }
    }
}

/// What a worker process says by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerExit {
    /// `result.json` is written.
    Done = 0,
    /// The run cannot be computed as given (bad data, a shape that does not fit): trying again
    /// without a change is of no use. The reason is the last line of the error output.
    Refused = 65,
    /// The disk is full: the run goes on from its checkpoint when there is room.
    DiskFull = 73,
    /// The record could not be written.
    RecordFailed = 74,
    /// Asked to stop, checkpointed, stopped.
    Interrupted = 75,
    /// A rank of the run is gone or stands still. The error output has a line that begins with
    /// [`RANK_LOST`].
    RankLost = 76,
    /// The ranks of the run hold different parameters.
    RanksDiffer = 77,
    /// The device's memory is used up.
    OutOfMemory = 78,
    /// The device failed, or its driver: it may be lost, and another attempt may find it again.
    DeviceFailed = 79,
}

/// What the line of the error output begins with that tells what became of a rank.
pub const RANK_LOST: &str = "rank_lost: ";

impl WorkerExit {
    /// The meaning of an exit code, if a worker gives it a meaning.
    pub fn from_code(code: i32) -> Option<Self> {
        [
            Self::Done,
            Self::Refused,
            Self::DiskFull,
            Self::RecordFailed,
            Self::Interrupted,
            Self::RankLost,
            Self::RanksDiffer,
            Self::OutOfMemory,
            Self::DeviceFailed,
        ]
        .into_iter()
        .find(|exit| *exit as i32 == code)
    }
}

/// Something that happened to a sweep, as the dispatcher tells it.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepEvent {
    /// The dispatcher begins.
    Started {
        /// Runs to execute now.
        runs: usize,
        /// Runs that were done before.
        done_before: usize,
        /// Runs at a time.
        jobs: usize,
    },
    /// A worker was started.
    RunStarted {
        /// Index of the run in the plan.
        run: usize,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// A worker has written events.
    RunProgress {
        /// Index of the run in the plan.
        run: usize,
        /// What it wrote.
        events: Vec<RunEvent>,
    },
    /// A worker ended, and the run with it unless it is tried again.
    RunEnded {
        /// Index of the run in the plan.
        run: usize,
        /// Seconds of this attempt.
        seconds: f64,
        /// How the attempt ended.
        end: AttemptEnd,
    },
    /// Something a person should know.
    Notice(String),
    /// The terminal is gone; nobody watches any more.
    TerminalGone,
    /// The dispatcher has nothing left to do, or was stopped.
    Ended {
        /// Runs that finished or diverged in this sweep.
        finished: usize,
        /// Runs that failed for good.
        failed: usize,
        /// Runs that were not executed because the sweep was stopped.
        left: usize,
    },
}

/// How an attempt at a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// With a result: all epochs.
    Result,
    /// With a result: the loss was no number any more.
    Diverged {
        /// Where: step, epoch, layer.
        reason: String,
    },
    /// Stopped on request; it goes on from its checkpoint another time.
    Interrupted,
    /// It failed and is tried again after a delay.
    Retry {
        /// What went wrong.
        failure: Failure,
        /// Seconds until the next attempt.
        delay_s: u64,
    },
    /// It failed for good.
    Failed(Failure),
}

/// What went wrong with an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// One line with the details.
    pub reason: String,
}

impl AttemptEnd {
    /// Is the run over with it, or does it go on another time?
    pub fn is_final(&self) -> bool {
        match self {
            Self::Result | Self::Diverged { .. } | Self::Failed(_) => true,
            Self::Interrupted | Self::Retry { .. } => false,
        }
    }
}

impl Failure {
    /// As the record has it: `crashed: exit code 3`.
    pub fn recorded(&self) -> String {
        format!("{}: {}", self.class.as_str(), self.reason)
    }

    /// From what the record has.
    pub fn from_recorded(text: &str) -> Self {
        let (class, reason) = text.split_once(": ").unwrap_or(("", text));
        let known = FailureClass::ALL.into_iter().find(|known| known.as_str() == class);
        match known {
            Some(class) => Self { class, reason: reason.to_owned() },
            None => Self { class: FailureClass::Crashed, reason: text.to_owned() },
        }
    }
}

/// The classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// A panic, or a signal that the dispatcher did not send.
    Crashed,
    /// The memory of the host or of the device was used up.
    OutOfMemory,
    /// Longer than `timeout`.
    TimedOut,
    /// It ended well but left no result.
    NoResult,
    /// It cannot be computed as given.
    Refused,
    /// The record could not be written.
    RecordFailed,
    /// The worker could not be started.
    NotStarted,
    /// A rank of a run on several devices died or stood still.
    RankLost,
    /// Ranks of a run came to different parameters.
    RanksDiffer,
    /// A GPU or its driver failed.
    DeviceFailed,
    /// Dispatchers on a cluster were lost with it, one after the other.
    PilotLost,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Crashed,
        Self::OutOfMemory,
        Self::TimedOut,
        Self::NoResult,
        Self::Refused,
        Self::RecordFailed,
        Self::NotStarted,
        Self::RankLost,
        Self::RanksDiffer,
        Self::DeviceFailed,
        Self::PilotLost,
    ];

    /// As the record and the CSVs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::OutOfMemory => "out_of_memory",
            Self::TimedOut => "timed_out",
            Self::NoResult => "no_result",
            Self::Refused => "refused",
            Self::RecordFailed => "record_failed",
            Self::NotStarted => "not_started",
            Self::RankLost => "rank_lost",
            Self::RanksDiffer => "ranks_differ",
            Self::DeviceFailed => "device_failed",
            Self::PilotLost => "pilot_lost",
        }
    }

    /// May another attempt come to something else?
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::Refused | Self::PilotLost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_no_number_survives_the_file() {
        let event = RunEvent::Steps {
            first_step: 3,
            epoch: 1,
            loss: vec![0.5, f64::NAN, f64::INFINITY],
            lr: vec![0.1; 3],
        };
        let json = serde_json::to_string(&event).unwrap();
        let RunEvent::Steps { loss, .. } = serde_json::from_str(&json).unwrap() else { panic!() };
        assert_eq!(loss[0], 0.5);
        assert!(loss[1].is_nan() && loss[2].is_nan());
        let event = RunEvent::Layers(LayersRecord {
            epoch: 1,
            measurement: "gradient_norm".to_owned(),
            layers: vec!["conv1".to_owned(), "network".to_owned()],
            kinds: vec!["conv".to_owned(), "network".to_owned()],
            steps: vec![3],
            values: vec![vec![0.5, f64::INFINITY]],
        });
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.contains("[[0.5,null]]"), "{json}");
        let RunEvent::Layers(read) = serde_json::from_str(&json).unwrap() else { panic!() };
        assert!(read.values[0][0] == 0.5 && read.values[0][1].is_nan());
    }
}
