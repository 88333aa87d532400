//! Whose the runs of a sweep are: of a dispatcher that is alone, or of several that share it.

use std::path::PathBuf;
use std::time::Duration;

use super::machine::Verdict;
use crate::event::{Failure, FailureClass};
use crate::ids::RunId;
use crate::record::claims::{Claims, Loss, Taken};
use crate::record::{Lock, RecordError, RunFolder, SweepFolder};

/// Failures in a row to ask for runs that are put up with.
const PATIENCE: u32 = 20;

/// Dispatchers that may be lost with a run beyond the failures that it may have: a node is lost now and
/// then through nobody's fault.
const LOSSES: u32 = 1;

/// Whose the runs of a sweep are.
#[derive(Debug)]
pub enum Ownership<'a> {
    /// All of them are this dispatcher's, which has the sweep's lock.
    Sole(Alone<'a>),
    /// Whoever claims one has it.
    Shared {
        /// This dispatcher's claims.
        claims: Box<Claims>,
        /// Failures in a row to ask for a run.
        failures: u32,
    },
}

/// A sweep that this dispatcher alone works on.
#[derive(Debug)]
pub struct Alone<'a> {
    folder: &'a SweepFolder,
    lock: &'a Lock,
}

impl Alone<'_> {
    /// Whoever works where the folder was could make a second one there, whose lock is another: two
    /// dispatchers would share it and not know.
    fn check(&self) -> Result<(), RecordError> {
        match self.lock.is_in_place() {
            true => Ok(()),
            false => Err(RecordError::Moved { path: self.folder.path().to_owned() }),
        }
    }
}

/// What asking for a run came to.
#[derive(Debug)]
pub enum Had {
    /// It is to be trained in this folder.
    Folder(RunFolder),
    /// It is ours, but the dispatchers before were lost with it.
    Hopeless(RunFolder, Failure),
    /// It is not ours, perhaps with a word on why.
    Not(Verdict, Option<String>),
}

impl<'a> Ownership<'a> {
    /// Of a dispatcher that is alone and has this lock of the sweep.
    pub fn sole(folder: &'a SweepFolder, lock: &'a Lock) -> Self {
        Self::Sole(Alone { folder, lock })
    }
}

impl Ownership<'_> {
    /// Of a dispatcher among others.
    pub fn shared(claims: Claims) -> Self {
        Self::Shared { claims: Box::new(claims), failures: 0 }
    }

    /// The journal of this dispatcher.
    pub fn journal(&self) -> PathBuf {
        match self {
            Self::Sole(alone) => alone.folder.journal(),
            Self::Shared { claims, .. } => claims.pilot().journal(),
        }
    }

    /// Asks for a run, of which an attempt may fail `retries` times.
    ///
    /// # Errors
    /// When claims cannot be made, again and again, or the sweep's folder is gone.
    pub fn take(&mut self, id: RunId, now: Duration, retries: u32) -> Result<Had, RecordError> {
        let (claims, failures) = match self {
            Self::Sole(alone) => {
                alone.check()?;
                return Ok(Had::Folder(alone.folder.run(id)));
            }
            Self::Shared { claims, failures } => (claims, failures),
        };
        let taken = match claims.take(id, now) {
            Ok(taken) => taken,
            Err(error) if error.is_full_disk() => return Ok(Had::Not(Verdict::DiskFull, None)),
            Err(error) => {
                *failures += 1;
                if *failures > PATIENCE {
                    return Err(error);
                }
                let elsewhere = Verdict::Elsewhere { again: claims.patience() };
                return Ok(Had::Not(elsewhere, Some(error.to_string())));
            }
        };
        *failures = 0;
        Ok(match taken {
            Taken::Ours { folder, lost } if lost > retries + LOSSES => {
                let reason = format!(
                    "{lost} dispatchers in a row were lost with it and left no word: killed for want \
                     of memory or at a time limit before it had a checkpoint, or their nodes failed"
                );
                Had::Hopeless(folder, Failure { class: FailureClass::PilotLost, reason })
            }
            Taken::Ours { folder, .. } => Had::Folder(folder),
            Taken::Elsewhere => Had::Not(Verdict::Elsewhere { again: claims.patience() }, None),
            Taken::Settled => Had::Not(Verdict::Gone, None),
        })
    }

    /// Shows that this dispatcher lives, when it is time to; gives the runs that it has lost, or gives up
    /// because it cannot show it. One that is alone looks whether the folder is where it was.
    ///
    /// # Errors
    /// What the system refuses again and again, a full disk aside; a folder that is gone.
    pub fn keep(&mut self, now: Duration) -> Result<Vec<(RunId, Loss)>, RecordError> {
        let claims = match self {
            Self::Sole(alone) => return alone.check().map(|()| Vec::new()),
            Self::Shared { claims, .. } => claims,
        };
        match claims.keep(now) {
            Err(error) if claims.missed() > PATIENCE && !error.is_full_disk() => Err(error),
            kept => Ok(kept.unwrap_or_default()),
        }
    }

    /// May this dispatcher leave what is left to others? Never where it is alone.
    pub fn others_live(&mut self, now: Duration) -> bool {
        match self {
            Self::Sole(_) => false,
            Self::Shared { claims, .. } => claims.others_live(now),
        }
    }

    /// Is the run still this dispatcher's?
    pub fn holds(&self, id: RunId) -> bool {
        match self {
            Self::Sole(_) => true,
            Self::Shared { claims, .. } => claims.holds(id),
        }
    }

    /// Makes what became of a run the sweep's; says whether it counts.
    ///
    /// # Errors
    /// What the system refuses, or the sweep's folder is gone.
    pub fn publish(&mut self, id: RunId) -> Result<bool, RecordError> {
        match self {
            Self::Sole(alone) => alone.check().map(|()| true),
            Self::Shared { claims, .. } => claims.publish(id),
        }
    }

    /// How long a run that another has is left alone before it is asked for again.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Sole(_) => Duration::ZERO,
            Self::Shared { claims, .. } => claims.patience(),
        }
    }

    /// Gives back what this dispatcher still has.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn leave(&mut self) -> Result<(), RecordError> {
        match self {
            Self::Sole(_) => Ok(()),
            Self::Shared { claims, .. } => claims.leave(),
        }
    }
}
