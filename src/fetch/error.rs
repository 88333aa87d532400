//! What can go wrong between a mirror and the cache.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data set could not be fetched or verified.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No mirror gave the right bytes.
    #[error(
        "no mirror gave the right `{file}`:{}\nthe files of the data set can also be put into {} by hand",
        list(attempts), folder.display()
    )]
    NoMirror {
        /// The file or the archive.
        file: String,
        /// Every address that was tried, and what came of it.
        attempts: Vec<(String, MirrorError)>,
        /// Where the files belong.
        folder: PathBuf,
    },

    /// The archive has the right checksum but not the right content.
    #[error("cannot unpack {archive}: expected {expected}, found {found}")]
    Archive {
        /// The archive.
        archive: String,
        /// What should be in it.
        expected: String,
        /// What is in it.
        found: String,
    },

    /// The disk does not do what it is asked.
    #[error("cannot {action} {}", path.display())]
    Disk {
        /// What was asked: `create`, `write`, `read`, `lock`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    /// For `map_err` on an operation on `path`.
    pub(super) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { action, path: path.to_owned(), source }
    }
}

/// Why one mirror did not give the right bytes.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No answer, or an answer that is not the file.
    #[error("{0}")]
    Http(Box<ureq::Error>),
    /// The connection broke off.
    #[error("the connection broke after {received} of {expected} bytes: {source}")]
    Broken {
        /// Bytes received.
        received: u64,
        /// Bytes expected.
        expected: u64,
        /// What happened.
        source: io::Error,
    },
    /// Fewer or more bytes than the file has.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// Bytes expected.
        expected: u64,
        /// Bytes announced or received, in words.
        found: String,
    },
    /// The right number of bytes, but others.
    #[error("expected sha256 {expected}, found {found}")]
    Checksum {
        /// The catalogue's checksum.
        expected: &'static str,
        /// The checksum of what was received.
        found: String,
    },
}

fn list(attempts: &[(String, MirrorError)]) -> String {
    attempts.iter().map(|(url, error)| format!("\n  {url}: {error}")).collect()
}
