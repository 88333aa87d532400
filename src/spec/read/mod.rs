//! From bytes to a [`SweepSpec`](super::SweepSpec): the text, its TOML, the command line laid over
//! it, then one section after the other.
//!
//! In: the file's bytes and the overrides. Out: the spec and the texts its spans point into, or
//! every problem at once. Overrides change the tree of values before anything is typed, so a value
//! has one reader and one set of error texts wherever it was written.

mod axis;
mod budget;
mod claim;
mod document;
pub(crate) mod filter;
pub(crate) mod generator;
mod hints;
mod layer;
mod mode;
mod overrides;
mod parameter;
mod quantity;
mod rules;
pub(crate) mod settings;
mod short;
mod slurm;
mod spelled;
mod sweep;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use hints::{key_alias, key_help};
pub use sweep::SHORT;
