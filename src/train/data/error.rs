//! What can go wrong between a data set's name and its images in memory.

use std::io;
use std::path::PathBuf;

use super::folder::Problems;
use crate::record::RecordError;

use crate::units::show_bytes;

/// What is wrong with the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Damage {
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Damage {
    pub(super) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }
}

/// Why a data set could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file is not in the cache.
    #[error(
        "data set `{dataset}` is not in {}: `{file}` is missing; \
         get it with `gridlane data fetch {dataset}` or `just data {dataset}`",
        folder.display()
    )]
    Missing {
        /// The data set, as a sweep file names it.
        dataset: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
        /// The first file that is not there.
        file: &'static str,
    },

    /// A file is there but the system does not give its bytes.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },

    /// A file is not what its data set consists of.
    #[error(
        "{file} of data set `{dataset}` is damaged: {damage}; \
         `gridlane data fetch {dataset}` replaces it"
    )]
    Damaged {
        /// The data set, as a sweep file names it.
        dataset: &'static str,
        /// The file, with its path where it has one.
        file: String,
        /// What is wrong.
        damage: Damage,
    },

    /// The part set aside or the training part would be empty.
    #[error(
        "{key} = {fraction} of {images} training images sets aside {aside}: \
         expected at least one image in it and one to train on"
    )]
    Split {
        /// What says how many: `validation_fraction`, or `test_fraction` of an image folder.
        key: &'static str,
        /// The fraction asked for.
        fraction: f64,
        /// Images before the split.
        images: usize,
        /// Images that would be set aside.
        aside: usize,
    },

    /// There is no such folder of images.
    #[error(
        "there is no image folder {}: {cause}; its path counts from the folder of the data sets \
         (--data), unless it begins with /",
        folder.display()
    )]
    NoFolder {
        /// The folder.
        folder: PathBuf,
        /// What the system said. In the message, and therefore no `source`: it would be said twice.
        cause: io::Error,
    },

    /// A folder of images that is not what one can train on.
    #[error("image folder {} has {} {}: {problems}", folder.display(), problems.len(),
        if problems.len() == 1 { "problem" } else { "problems" })]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, with which file.
        problems: Problems,
    },

    /// A folder of images is not what it was when the run was planned.
    #[error(
        "image folder {} has changed since the run was planned: expected {planned}, found {found}; \
         the same `gridlane sweep` plans it anew",
        folder.display()
    )]
    Changed {
        /// The folder.
        folder: PathBuf,
        /// The fingerprint in the run's identity.
        planned: String,
        /// The folder's fingerprint now.
        found: String,
    },

    /// The cache of decoded images cannot be written.
    #[error(transparent)]
    Cache(RecordError),

    /// The cache of decoded images does not hold what was written.
    #[error(
        "{} was written and reads back differently: the disk is failing, or another program \
         writes there",
        path.display()
    )]
    Unstable {
        /// The file.
        path: PathBuf,
    },

    /// Generated images would not fit into a sensible amount of memory.
    #[error(
        "data set `synthetic` would take {}, expected at most {}: \
         choose fewer or smaller images",
        show_bytes(*bytes), show_bytes(*limit)
    )]
    TooLarge {
        /// Size of all images and patterns.
        bytes: u64,
        /// The most that is generated.
        limit: u64,
    },
}
