//! A Slurm cluster: what is submitted, and what Slurm says of it.
//!
//! Only `sbatch`, `squeue`, `scancel`, `scontrol` and `sinfo`, by their text formats, which have been the same from Slurm 20
//! to 25; no accounting. What became of runs is read from the shared disk and never from here: Slurm only
//! says which jobs wait, run, or are no more.

mod call;
mod cluster;
pub mod error;
pub mod options;
pub mod queue;
pub mod submission;

pub use cluster::TimeLimit;
pub use error::SlurmError;
pub use options::SlurmOptions;
pub use queue::{Task, TaskState};
pub use submission::{Batch, Pause, PilotOrders, Submission};

use std::time::Duration;

use call::{Answer, call};

/// Longest that a program of Slurm may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs of Slurm, found by the path.
#[derive(Debug, Clone)]
pub struct Slurm {
    patience: Duration,
}

impl Default for Slurm {
    fn default() -> Self {
        Self { patience: PATIENCE }
    }
}

impl Slurm {
    /// With another longest time for an answer.
    pub fn with_patience(patience: Duration) -> Self {
        Self { patience }
    }

    /// What Slurm calls itself: `slurm 23.11.4`.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn version(&self) -> Result<String, SlurmError> {
        Ok(self.ask("sbatch", &["--version".to_owned()])?.trim().to_owned())
    }

    /// What a program of Slurm prints.
    ///
    /// # Errors
    /// When it is missing, refuses, or does not answer.
    fn ask(&self, program: &'static str, arguments: &[String]) -> Result<String, SlurmError> {
        match call(program, arguments, self.patience)? {
            Answer::Good(text) => Ok(text),
            Answer::Bad(text) => Err(SlurmError::of_failed(program, &text)),
            Answer::None => Err(SlurmError::silent(program, self.patience)),
        }
    }

    /// Submits the jobs of one batch.
    ///
    /// # Errors
    /// [`SlurmError::Unclear`] where the jobs may have been accepted all the same.
    fn sbatch(&self, arguments: &[String]) -> Result<(), SlurmError> {
        self.ask("sbatch", arguments).map(drop)
    }

    /// All jobs under these names, those that have ended for as long as Slurm remembers them.
    ///
    /// # Errors
    /// When Slurm does not answer: then nothing is known, which does not mean that there are none.
    pub fn queue(&self, names: &[String]) -> Result<Vec<Task>, SlurmError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names = format!("--name={}", names.join(","));
        let fixed = ["--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r|%N|%l|%j"];
        let arguments: Vec<String> =
            fixed.iter().map(|text| (*text).to_owned()).chain([names]).collect();
        queue::parse(&self.ask("squeue", &arguments)?)
    }

    /// Cancels all jobs under these names: they are asked to stop, and killed when they take too long.
    ///
    /// # Errors
    /// When Slurm does not answer or refuses.
    pub fn cancel(&self, names: &[String]) -> Result<(), SlurmError> {
        self.scancel(names, &[])
    }

    /// Cancels those jobs under these names that have not started.
    ///
    /// # Errors
    /// When Slurm does not answer or refuses.
    pub fn cancel_pending(&self, names: &[String]) -> Result<(), SlurmError> {
        self.scancel(names, &["--state=PENDING"])
    }

    fn scancel(&self, names: &[String], further: &[&str]) -> Result<(), SlurmError> {
        // What cannot be cancelled, another user's for one, keeps nothing else.
        let mut done = Ok(());
        for name in names {
            let further = further.iter().map(|text| (*text).to_owned());
            let arguments: Vec<String> = further.chain([format!("--name={name}")]).collect();
            match call("scancel", &arguments, self.patience)? {
                Answer::Good(_) => {}
                Answer::Bad(text) => done = Err(SlurmError::of_failed("scancel", &text)),
                Answer::None => return Err(SlurmError::silent("scancel", self.patience)),
            }
        }
        done
    }

    /// Puts the job that this process runs in back into the queue. Slurm ends it then.
    ///
    /// # Errors
    /// When Slurm does not answer or refuses, as where jobs may not be requeued.
    pub fn requeue(&self, job: &str) -> Result<(), SlurmError> {
        self.ask("scontrol", &["requeue".to_owned(), job.to_owned()]).map(drop)
    }
}
