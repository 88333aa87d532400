//! Inside the process of a group of runs: run folders in, events, checkpoints and results out.

mod clock;
mod cohort;
pub mod error;
mod lane;
mod measured;
mod open;
mod pages;
pub mod run;
mod steps;

pub use clock::peak_memory_bytes;
pub use error::WorkerError;
pub use pages::use_small_pages;
pub use run::{Assignment, work};
