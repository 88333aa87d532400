//! What can go wrong between a data set's name and its images in memory.

use std::io;
use std::path::PathBuf;

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

    /// The validation part or the training part would be empty.
    #[error(
        "validation_fraction = {fraction} of {images} training images sets aside {validation}: \
         expected at least one image to validate on and one to train on"
    )]
    Split {
        /// The fraction asked for.
        fraction: f64,
        /// Images before the split.
        images: usize,
        /// Images that the validation part would have.
        validation: usize,
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
