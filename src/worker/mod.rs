//! Inside the process of a run: a run folder in, events, checkpoints and a result out.

mod begin;
mod clock;
pub mod error;
mod measured;
pub mod run;
mod steps;

pub use clock::peak_memory_bytes;
pub use error::WorkerError;
pub use run::{Assignment, work};
