//! What can be wrong with the run folders that tables are made from.

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::RunId;
use crate::record::RecordError;
use crate::record::error::with_causes;
use crate::spec::SpecError;

/// Why a folder or a file in it gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// The sweep's folder cannot be listed.
    #[error("cannot list {}: expected the folder of a sweep", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A run folder has no `run.json`.
    #[error("{} is missing: expected one in every run folder", file.display())]
    NoRun {
        /// The file.
        file: PathBuf,
    },
    /// A file belongs to another run than its folder.
    #[error("{} is of run {found}: expected the run that its folder is named after", file.display())]
    ForeignRun {
        /// The file.
        file: PathBuf,
        /// The run that it names.
        found: RunId,
    },
    /// The configuration in a `run.json` is not one of this version.
    #[error("{} holds a configuration that this gridlane does not know", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// Which keys.
        #[source]
        source: Box<SpecError>,
    },
}

impl AggregateError {
    /// The error with its causes as the reason of a row: in one line, and with files named from
    /// `sweep` on, so that the text is the same wherever that folder lies.
    pub fn reason(&self, sweep: &Path) -> String {
        let folder = format!("{}{}", sweep.display(), std::path::MAIN_SEPARATOR);
        with_causes(self).replace(&folder, "")
    }
}
