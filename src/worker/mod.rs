//! Inside the process of a run: a run folder in, events, checkpoints and a result out.

mod begin;
mod clock;
pub mod error;
mod measured;
mod pages;
pub mod run;
mod steps;

pub use clock::peak_memory_bytes;
pub use error::WorkerError;
pub use pages::use_small_pages;
pub use run::{Assignment, work};
