//! What the dispatcher itself writes into the folder of a run: before an attempt, and where none came to a
//! result.

use std::fs;

use super::Lane;
use super::machine::Verdict;
use super::verdict::Log;
use crate::event::{Failure, FailureClass, RunEvent};
use crate::record::{
    Durability, RecordError, RunFolder, RunRecord, RunResult, RunStatus, atomic, lines,
};

/// What it means that an attempt could not be started.
pub(super) fn refused(full_disk: bool, class: FailureClass, reason: String) -> Verdict {
    if full_disk {
        return Verdict::DiskFull;
    }
    Verdict::Failed(Failure { class, reason })
}

/// Makes the folder of a run and writes `run.json`, which can be rebuilt from the sweep file and
/// therefore costs no fsync. The result of a failed attempt before this one goes.
pub(super) fn prepare(folder: &RunFolder, record: &RunRecord) -> Result<(), RecordError> {
    fs::create_dir_all(folder.path()).map_err(RecordError::io("create", folder.path()))?;
    match fs::remove_file(folder.result()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(RecordError::io("remove", &folder.result())(error));
        }
        _ => {}
    }
    atomic::replace_json(&folder.run(), record, Durability::Derived)
}

/// What the record says of a run whose last attempt failed: the epochs it did complete, and why.
pub(super) fn failed_result(lane: &Lane, log: &Log, failure: &Failure) -> RunResult {
    let events: Vec<RunEvent> = lines::read(&lane.folder.events()).unwrap_or_default();
    RunResult {
        reason: Some(failure.recorded()),
        log_tail: Some(log.tail()).filter(|tail| !tail.is_empty()),
        epochs: events.into_iter().filter_map(RunEvent::into_epoch).collect(),
        ..RunResult::new(lane.record.run_id, RunStatus::Failed)
    }
}
