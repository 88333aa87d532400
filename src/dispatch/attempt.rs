//! One attempt's folder: what stands in it before, what a start that failed means, what is written of a
//! failure.

use std::io;

use rustix::io::Errno;

use super::machine::Verdict;
use super::verdict::Log;
use crate::event::{Failure, FailureClass, RunEvent};
use crate::ids::RunId;
use crate::record::aside::make_way_for_file;
use crate::record::error::is_full_disk;
use crate::record::{
    Durability, RecordError, RunFolder, RunRecord, RunResult, RunStatus, atomic, lines,
};

/// Makes the folder of a run and writes `run.json`, which can be rebuilt from the sweep file and
/// therefore costs no fsync. The result of a failed attempt before this one goes; a folder that stands
/// where a file is to be written is set aside.
///
/// # Errors
/// What the system refuses.
pub fn prepare(folder: &RunFolder, record: &RunRecord) -> Result<(), RecordError> {
    atomic::create_folder(folder.path())?;
    let files = [folder.result(), folder.run(), folder.events(), folder.stdout(), folder.stderr()];
    files.iter().try_for_each(|file| make_way_for_file(file))?;
    atomic::remove(&folder.result())?;
    atomic::replace_json(&folder.run(), record, Durability::Derived)
}

/// What it means that the folder of an attempt could not be prepared.
pub fn unprepared(error: &RecordError) -> Verdict {
    if error.is_full_disk() {
        return Verdict::DiskFull;
    }
    let reason = error.to_string();
    Verdict::Failed(Failure { class: FailureClass::RecordFailed, reason })
}

/// What it means that the system started no process. `alone`: nothing else of the sweep runs.
///
/// That it has no room for one says nothing of the run: others end, of this sweep or of somebody else,
/// and then there is. The limit on open files alone is this process's own, so that with nothing else
/// under way nothing will change it.
pub fn not_started(error: &io::Error, alone: bool) -> Verdict {
    if is_full_disk(error) {
        return Verdict::DiskFull;
    }
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::NFILE) => return Verdict::NoProcess,
        Some(Errno::MFILE) if !alone => return Verdict::NoProcess,
        _ => {}
    }
    let advice = match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; `ulimit -n` is how many files may be open",
        _ => "",
    };
    let reason = format!("cannot start a worker: {error}{advice}");
    Verdict::Failed(Failure { class: FailureClass::NotStarted, reason })
}

/// What the record says of a run whose last attempt failed: the epochs it did complete, and why.
pub fn failed_result(
    (folder, run_id): (&RunFolder, RunId),
    log: &Log,
    failure: &Failure,
) -> RunResult {
    let events: Vec<RunEvent> = lines::read(&folder.events()).unwrap_or_default();
    RunResult {
        reason: Some(failure.recorded()),
        log_tail: Some(log.tail()).filter(|tail| !tail.is_empty()),
        epochs: events.into_iter().filter_map(RunEvent::into_epoch).collect(),
        ..RunResult::new(run_id, RunStatus::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    #[test]
    fn folders_in_the_place_of_files_are_set_aside() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        let record = RunRecord {
            format: crate::record::RECORD_FORMAT,
            run_id: RunId::of(b"a"),
            configuration: "a".to_owned(),
            config: BTreeMap::new(),
            engine: 1,
            data: String::new(),
            checkpoint_every_epochs: 1,
            checkpoint_keep: 1,
        };
        let names = ["result.json", "run.json", "events.jsonl", "stdout.log", "stderr.log"];
        for name in names {
            fs::create_dir_all(temporary.path().join(name).join("inside")).unwrap();
        }
        prepare(&folder, &record).unwrap();
        for name in names {
            let aside = temporary.path().join(format!("{name}.damaged-1/inside"));
            assert!(aside.is_dir() && !temporary.path().join(name).is_dir(), "{name}");
        }
        assert!(folder.run().is_file());
    }

    #[test]
    fn want_of_a_process_is_waited_out_unless_nothing_can_change_it() {
        let verdict = |errno: Errno, alone| not_started(&io::Error::from(errno), alone);
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::NFILE] {
            assert_eq!(verdict(errno, true), Verdict::NoProcess, "{errno}");
        }
        assert_eq!(verdict(Errno::MFILE, false), Verdict::NoProcess);
        assert_eq!(verdict(Errno::NOSPC, true), Verdict::DiskFull);
        let Verdict::Failed(failure) = verdict(Errno::MFILE, true) else { panic!("hopeless") };
        assert!(failure.reason.contains("ulimit -n"), "{}", failure.reason);
        assert!(matches!(verdict(Errno::ACCESS, false), Verdict::Failed(_)));
    }
}
