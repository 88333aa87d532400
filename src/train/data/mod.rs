//! Data sets: files, the program itself or a generator in; three parts in memory, as bytes, out.
//!
//! Loading happens at the start of every worker process, so it checks sizes and structure only and
//! leaves checksums to `fetch::verify`. No byte of a file is trusted: whatever is wrong with one
//! becomes a [`DataError`].

mod cifar;
mod embedded;
mod error;
pub mod folder;
mod idx;
mod load;
mod split;
mod splits;
mod statistics;
mod synthetic;

pub use error::{Damage, DataError};
pub use folder::ImageFolder;
pub use load::{check_present, check_unchanged, load, load_parts};
pub use splits::{DataSplits, Images};
