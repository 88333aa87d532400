//! Inside the process of a group of runs: run folders in, events, checkpoints and results out.

mod clock;
mod cohort;
pub mod error;
mod follow;
mod lane;
mod measured;
mod open;
mod order;
mod pages;
mod ranks;
pub mod run;
mod shared_data;
mod steps;
mod throughput;

pub use clock::peak_memory_bytes;
pub use error::WorkerError;
pub use follow::follow;
pub use pages::use_small_pages;
pub use ranks::{Seat, end_gang};
pub use run::{Assignment, work};
