//! Workers that a killed dispatcher has left behind.
//!
//! A worker dies with the thread that started it (the kernel sees to that), so there should be
//! none. Should one live all the same, it holds its run's lock, and the sweep would find that run
//! taken: it is looked up in the journal and killed. A journal may be a copy, made while the sweep it
//! tells of was running: only a worker that trains in this very folder is killed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::ids::RunId;
use crate::record::journal::JournalEntry;
use crate::record::{RecordError, SweepFolder, lines};

/// How long a killed process may take to vanish: it may be deep in a write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills the workers that the journal says were started and not seen to end, and waits until they
/// are gone. The caller holds the sweep's lock.
///
/// # Errors
/// When the journal cannot be read.
pub fn kill_strays(folder: &SweepFolder) -> Result<(), RecordError> {
    let mut open: BTreeMap<RunId, u32> = BTreeMap::new();
    for entry in lines::read(&folder.journal())? {
        match entry {
            JournalEntry::AttemptStarted { run_id, pid, .. } => {
                open.insert(run_id, pid);
            }
            JournalEntry::AttemptEnded { run_id, .. } => {
                open.remove(&run_id);
            }
            JournalEntry::SweepStarted { .. } | JournalEntry::SweepEnded { .. } => {}
        }
    }
    for (run_id, pid) in open {
        let begun = Instant::now();
        while is_worker_of(pid, folder.run(run_id).path()) && begun.elapsed() < PATIENCE {
            if let Some(group) = Pid::from_raw(pid.cast_signed()) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Is `pid` still a worker that trains in `folder`, and neither a stranger with a recycled number nor the
/// worker of a sweep that this one is a copy of?
fn is_worker_of(pid: u32, folder: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(command) = fs::read(process.join("cmdline")) else { return false };
    let words: Vec<&OsStr> = command.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
    let here = |word: &&OsStr| {
        let path = Path::new(word);
        // What is not absolute is meant as seen from where the process is.
        path.file_name() == folder.file_name()
            && is_same_folder(&process.join("cwd").join(path), folder)
    };
    words.contains(&OsStr::new("worker")) && words.iter().any(here)
}

/// Do two paths lead to one folder, whatever they are called?
fn is_same_folder(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::ids::SweepName;
    use crate::record::LineWriter;

    /// A process that looks like the worker of a run in `folder`, as seen from `from`.
    fn worker(from: &Path, folder: &Path) -> Child {
        let worker = Command::new("sh")
            .args(["-c", "sleep 60; :", "gridlane", "worker"])
            .args([folder.as_os_str(), OsStr::new("--attempt"), OsStr::new("1")])
            .current_dir(from)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        // The kernel says a moment later what it was started with.
        let command = format!("/proc/{}/cmdline", worker.id());
        while !fs::read_to_string(&command).unwrap().contains("worker") {
            std::thread::sleep(Duration::from_millis(1));
        }
        worker
    }

    fn sweep(runs: &Path, run_id: RunId, pid: u32) -> SweepFolder {
        let folder = SweepFolder::new(runs, &SweepName::new("copied").unwrap());
        fs::create_dir_all(folder.run(run_id).path()).unwrap();
        let mut journal = LineWriter::open(&folder.journal()).unwrap().0;
        let started = JournalEntry::AttemptStarted { run_id, attempt: 1, pid, at: 0.0 };
        journal.append(&started).unwrap();
        folder
    }

    #[test]
    fn a_copied_journal_kills_no_worker_of_the_original() {
        let temporary = tempfile::tempdir().unwrap();
        let run_id = RunId::of(b"a");
        let inside = PathBuf::from(format!("runs/copied/{run_id}"));
        for given in [temporary.path().join(&inside), inside] {
            let mut worker = worker(temporary.path(), &given);
            let original = sweep(&temporary.path().join("runs"), run_id, worker.id());
            let copy = sweep(&temporary.path().join("runs2"), run_id, worker.id());
            kill_strays(&copy).unwrap();
            assert_eq!(worker.try_wait().unwrap(), None, "it works for another sweep");
            kill_strays(&original).unwrap();
            assert!(!worker.wait().unwrap().success(), "it was left behind");
        }
    }
}
