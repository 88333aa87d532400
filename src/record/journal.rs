//! `journal.jsonl`: what the dispatcher did. It explains a sweep afterwards and lets the next
//! dispatcher know which workers the last one left behind; results never depend on it.

use serde::{Deserialize, Serialize};

use crate::ids::RunId;

/// Version of the journal's format.
pub const JOURNAL_FORMAT: u32 = 1;

/// One act of a dispatcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub enum JournalEntry {
    /// A dispatcher began.
    SweepStarted {
        /// [`JOURNAL_FORMAT`] of the writer.
        format: u32,
        /// Version of the program.
        version: String,
        /// Seconds since 1970.
        at: f64,
        /// The dispatcher's process.
        pid: u32,
        /// Runs it means to execute.
        runs: u64,
        /// Runs at a time.
        jobs: u32,
        /// The machine, in words; older programs did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// A worker process was started.
    AttemptStarted {
        /// The run.
        run_id: RunId,
        /// Which attempt of this dispatcher, from 1.
        attempt: u32,
        /// The worker's process, also its process group.
        pid: u32,
        /// Seconds since 1970.
        at: f64,
    },
    /// A worker process ended.
    AttemptEnded {
        /// The run.
        run_id: RunId,
        /// Which attempt.
        attempt: u32,
        /// `result`, `interrupted`, `taken_over`, or the class of the failure.
        outcome: String,
        /// Details, of a run that diverged or failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Seconds since 1970.
        at: f64,
    },
    /// The dispatcher ended in an orderly way.
    SweepEnded {
        /// Seconds since 1970.
        at: f64,
        /// Runs that finished or diverged under this dispatcher.
        finished: u64,
        /// Runs that failed.
        failed: u64,
        /// Was it asked to stop?
        interrupted: bool,
    },
}

/// Seconds since 1970, for the entries.
pub fn now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
