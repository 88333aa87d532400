//! The training engine, and the only folder that knows candle.
//!
//! Configurations and images come in; a [`Trainer`] turns them into epochs, measurements and
//! checkpoints. Networks are sequences of explicit layers with hand-written backward passes; see
//! [`layer`] for the conventions.

mod admission;
#[cfg(test)]
mod allocation_count;
pub mod augment;
mod batches;
pub mod bench;
mod checkpoint;
mod crops;
pub mod data;
pub mod device;
pub mod divergence;
mod early_stop;
pub mod error;
mod evaluate;
pub mod init;
pub mod kernel;
pub mod lane_set;
pub mod layer;
pub mod loss;
pub mod measure;
pub mod model;
pub mod optim;
pub mod parallel;
mod progress;
#[cfg(test)]
mod pytorch_tests;
pub mod report;
pub mod rng;
mod saved;
pub mod schedule;
mod steps;
mod together;
pub mod trainer;
pub mod weights;

pub use divergence::Divergence;
pub use error::TrainError;
pub use report::{EpochEnd, EpochStats, Evaluation, LaneEpoch, LaneStep, Part, StepReport};
pub use trainer::Trainer;
