//! Inside the process of a run: a run folder in, events, checkpoints and a result out.

mod begin;
mod clock;
pub mod error;
mod follow;
mod measured;
mod pages;
mod ranks;
pub mod run;
mod steps;

pub use clock::peak_memory_bytes;
pub use error::WorkerError;
pub use follow::follow;
pub use pages::use_small_pages;
pub use ranks::{Seat, end_gang};
pub use run::{Assignment, work};
