//! Where an attempt at a run happens.
//!
//! In: the folder of a run, prepared. Out: an [`Ended`] when its process is gone. What the process
//! did in between is in the run folder, which is the same wherever it ran.

pub mod local;

use std::io;
use std::path::PathBuf;

use crate::record::RunFolder;

/// An attempt to start.
#[derive(Debug, Clone)]
pub struct Job {
    /// Index of the run in the plan; the executor hands it back.
    pub run: usize,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The run's folder, with `run.json` in it.
    pub folder: RunFolder,
    /// Cores that it may use.
    pub threads: u32,
    /// Where data sets are.
    pub data: PathBuf,
}

/// The process of an attempt is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Index of the run in the plan.
    pub run: usize,
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
    fn stop(&mut self, run: usize, how: Stop);

    /// Takes note that `ended` was received: what the attempt has left behind is removed.
    fn settle(&mut self, ended: Ended);
}
