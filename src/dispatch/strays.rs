//! Workers that a killed dispatcher has left behind.
//!
//! A worker dies with the thread that started it (the kernel sees to that), so there should be
//! none. Should one live all the same, it holds its run's lock, and the sweep would find that run
//! taken: it is looked up in the journal and killed.

use std::collections::BTreeMap;
use std::fs;
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
        while is_worker_of(pid, run_id) && begun.elapsed() < PATIENCE {
            if let Some(group) = Pid::from_raw(pid.cast_signed()) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Is `pid` still the worker of that run, and not a stranger with a recycled number?
fn is_worker_of(pid: u32, run_id: RunId) -> bool {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let command = String::from_utf8_lossy(&command);
    command.contains("worker") && command.contains(&run_id.to_string())
}
