//! Getting data sets onto the disk: a data set's name in, its files in the cache out.
//!
//! Nothing that arrives is trusted. A file gets its name only after its size and its SHA-256 are
//! right, a mirror that sends too much is cut off, and of an archive only the known entries are
//! unpacked, under names that this program chooses.

mod archive;
mod courier;
mod download;
mod error;
mod staged;
#[cfg(test)]
mod test_server;
mod verify;

pub use courier::{Fetched, Progress, fetch, fetch_from};
pub use error::{FetchError, MirrorError};
pub use verify::{FileReport, FileState, Report, verify};
