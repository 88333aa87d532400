//! The sweep file: TOML in, a valid and typed [`SweepSpec`] out, or every error at once.
//!
//! One word or table of the file is one file here. Nothing in this folder reads a disk or knows
//! what a run is.

pub mod activation;
pub mod architecture;
pub mod augmentation;
pub mod augmentation_fit;
pub mod batch_norm;
pub mod budget;
pub mod catalogue;
pub mod claim;
pub mod condition;
pub mod config;
#[cfg(test)]
mod corpus;
pub mod dataset;
pub mod dataset_fit;
pub mod device;
pub mod diagnostics;
pub mod early_stopping;
pub mod evaluation;
pub mod explain;
pub mod folder;
pub mod init;
pub mod lanes;
pub mod layers;
pub mod lr_scaling;
pub mod measure;
pub mod metric;
pub mod mode;
pub mod model;
pub mod node;
pub mod operation;
pub mod optimizer;
pub mod pair;
pub mod precision;
pub mod quantity;
pub(crate) mod read;
pub mod reference;
pub mod run_policy;
pub mod schedule;
mod schedule_fit;
pub mod schema;
pub mod slurm;
pub mod sweep;
pub mod validate;
pub mod value;
pub mod weights;
pub(crate) mod word;

pub use config::{Key, RunConfig, Setting};
pub use diagnostics::{Sources, SpecError};
pub use read::SHORT;
pub use sweep::SweepSpec;
