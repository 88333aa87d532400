//! What can go wrong with the record.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why the record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused an operation on a file.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried: `write`, `read`, `lock`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said. Part of the message and therefore no `source`: it would be said
        /// twice where causes are listed, and not at all where they are not.
        cause: io::Error,
    },
    /// A file does not hold what its name promises.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A newer version of the program wrote the file.
    #[error("{} has format {found}, this version reads {known}: use the newer gridlane that wrote it", path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is understood.
        known: u32,
    },
    /// A link stands where the record has a file of its own.
    #[error("{} is a link, and what it leads to is not written into: remove it, or put a file in its place", path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// The folder that is worked on is not where it was.
    #[error(
        "{} was moved or removed while the sweep ran: its workers were stopped; put the folder back and start the \
         sweep again to go on, or start it again to begin anew",
        path.display()
    )]
    Moved {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works on the folder.
    #[error("{} is locked: another gridlane works here (process {holder}); wait for it or stop it", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
}

impl RecordError {
    /// An [`io::Error`] with the file and what was tried.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }

    /// Is the disk full, so that waiting may help?
    pub fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { cause, .. } => is_full_disk(cause),
            _ => false,
        }
    }

    /// May it be the disk as a whole, and pass: rights that somebody changes and changes back, a file server that is
    /// restarted, a disk that is taken away for a moment?
    pub fn may_be_the_disk(&self) -> bool {
        match self {
            Self::Io { cause, .. } => matches!(
                Errno::from_io_error(cause),
                Some(
                    Errno::ACCESS
                        | Errno::PERM
                        | Errno::ROFS
                        | Errno::STALE
                        | Errno::IO
                        | Errno::TIMEDOUT
                )
            ),
            _ => false,
        }
    }

    /// May this user not write there?
    pub fn is_refused(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::Io { cause, .. } => {
                matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem)
            }
            _ => false,
        }
    }
}

/// Is the disk full, or the quota used up?
pub fn is_full_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An error with its causes in one line, for a reason in the record. Some errors have their cause in
/// their own text already: it is not said twice.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
