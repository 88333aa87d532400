//! `run.json` and `result.json`: what was to be computed, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::throughput::Throughput;
use crate::event::EpochRecord;
use crate::ids::RunId;

/// Version of both files' format.
pub const RECORD_FORMAT: u32 = 1;

/// `run.json`: all that a worker needs to know, and all that identifies the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// [`RECORD_FORMAT`] of the writer.
    pub format: u32,
    /// The run.
    pub run_id: RunId,
    /// Name of the configuration: the varied keys with their values.
    pub configuration: String,
    /// Canonical configuration (keys at their defaults left out), the seed among them.
    pub config: BTreeMap<String, serde_json::Value>,
    /// Version of the engine's numerics.
    pub engine: u32,
    /// Fingerprint of the data set.
    pub data: String,
    /// Epochs between two checkpoints.
    pub checkpoint_every_epochs: u32,
    /// Checkpoints kept.
    pub checkpoint_keep: u32,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// All epochs were trained.
    Finished,
    /// The loss was no longer a finite number: a result, not a crash.
    Diverged,
    /// Every attempt failed; the reason says how.
    Failed,
}

impl RunStatus {
    /// As CSV and JSON spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }

    /// Is there nothing left to do for the run? A failed one is tried again by the next sweep.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Diverged)
    }
}

/// Where a run was executed when it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The machine's name.
    pub host: String,
    /// The device of rank 0, by its name: `cpu`, `cuda:0 (NVIDIA H100 80GB HBM3)`.
    pub device: String,
}

impl Site {
    /// Is the device a GPU?
    pub fn is_gpu(&self) -> bool {
        self.device != "cpu"
    }
}

/// `result.json`: what came of a run. Written by the worker at the end, or by the dispatcher for a
/// worker that died.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// [`RECORD_FORMAT`] of the writer.
    pub format: u32,
    /// The run.
    pub run_id: RunId,
    /// How it ended.
    pub status: RunStatus,
    /// Why, unless it finished: one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// End of the failed attempt's error output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
    /// Every complete epoch, in order.
    pub epochs: Vec<EpochRecord>,
    /// Mean loss on the test part, measured once after the last epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Share of the test part classified right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Trained scalars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Training images per second of training time, over all epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_per_s: Option<f64>,
    /// Seconds from the worker's start to its result, over all attempts that a checkpoint carried on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
    /// Largest resident memory of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// On a GPU the most bytes that were allocated there at a time, by rank 0 for all runs that were trained
    /// together; what CUDA's libraries took for themselves not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_memory_bytes: Option<u64>,
    /// Runs that were trained together with this one when it ended, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused_lanes: Option<u32>,
    /// Where it was executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// What its steps took, of a run with `mode = "throughput"`. Programs that know no such mode have
    /// no such runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Throughput>,
}

impl RunResult {
    /// The result of a run of which nothing is known but how it ended.
    pub fn new(run_id: RunId, status: RunStatus) -> Self {
        Self {
            format: RECORD_FORMAT,
            run_id,
            status,
            reason: None,
            log_tail: None,
            epochs: Vec::new(),
            test_loss: None,
            test_accuracy: None,
            parameters: None,
            images_per_s: None,
            wall_s: None,
            peak_memory_bytes: None,
            device_memory_bytes: None,
            fused_lanes: None,
            site: None,
            throughput: None,
        }
    }
}
