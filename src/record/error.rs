//! What can go wrong with the record.

use std::io;
use std::path::{Path, PathBuf};

/// Why the record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `write`, `read`, `lock`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
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
        move |source| Self::Io { action, path, source }
    }

    /// Is the disk full, so that waiting may help?
    pub fn is_full_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full_disk(source),
            _ => false,
        }
    }
}

/// Is the disk full, or the quota used up?
pub fn is_full_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
