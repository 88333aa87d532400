//! Where an attempt at a run happens.
//!
//! In: the folder of a run, prepared. Out: an [`Ended`] when its process is gone. What the process
//! did in between is in the run folder, which is the same wherever it ran.

#[cfg(test)]
pub mod fake;
pub mod local;
pub mod slurm;

use std::io;
use std::path::PathBuf;

use crate::record::RunFolder;
use crate::spec::device::DeviceId;

/// An attempt to start: one process, however many lanes and ranks there are inside.
#[derive(Debug, Clone)]
pub struct Job {
    /// The dispatcher's number of the group; the executor hands it back.
    pub group: usize,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The folder of each run of the group, with `run.json` in it; at least one. The process's
    /// output goes to the logs of the first.
    pub folders: Vec<RunFolder>,
    /// A device for each rank; at least one.
    pub devices: Vec<DeviceId>,
    /// Cores that a rank may use.
    pub threads: u32,
    /// Where data sets are.
    pub data: PathBuf,
}

/// The process of an attempt is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The dispatcher's number of the group.
    pub group: usize,
    /// How the process ended.
    pub exit: Exit,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// How to stop an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ask: checkpoint and leave.
    Gracefully,
    /// At once, and everything that it started.
    AtOnce,
}

/// Starts and stops attempts.
pub trait Executor {
    /// Starts an attempt. Gives the process, for the journal.
    ///
    /// # Errors
    /// When the system cannot start a process; then no [`Ended`] comes.
    fn start(&mut self, job: &Job) -> io::Result<u32>;

    /// Asks or forces an attempt to end. Its [`Ended`] still comes.
    fn stop(&mut self, group: usize, how: Stop);

    /// Takes note that `ended` was received: what the attempt has left behind is removed.
    fn settle(&mut self, ended: Ended);
}
