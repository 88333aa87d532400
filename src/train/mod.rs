//! The training engine, and the only folder that knows candle.
//!
//! Configurations and images come in; a [`Trainer`] turns them into epochs, measurements and
//! checkpoints. Networks are sequences of explicit layers with hand-written backward passes; see
//! [`layer`] for the conventions.

pub mod augment;
mod batches;
pub mod bench;
mod checkpoint;
pub mod data;
pub mod error;
pub mod init;
pub mod kernel;
pub mod layer;
pub mod loss;
pub mod model;
pub mod optim;
pub mod parallel;
mod progress;
pub mod report;
pub mod rng;
pub mod schedule;
pub mod trainer;

pub use error::TrainError;
pub use report::{EpochEnd, EpochStats, Evaluation, LaneEpoch, LaneStep, Part, StepReport};
pub use trainer::Trainer;
