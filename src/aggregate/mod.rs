//! Records in, tables out: what the runs of a sweep came to.
//!
//! A [`SweepTable`] holds a row for every planned run and is the one input of everything shown or
//! written: `runs.csv` as it stands, a [`Leaderboard`] over the seeds,
//! the curves of every run. The dispatcher builds it row by row as runs finish; [`reader`], the
//! only file here that touches a disk, rebuilds it from the run folders.

pub mod bands;
pub mod claims;
pub mod compare;
pub mod courses;
pub mod curves;
pub mod effects;
pub mod error;
pub mod layer_maps;
pub mod layers;
pub mod leaderboard;
pub mod link;
pub mod metrics;
pub mod quantities;
pub mod reader;
mod relative;
pub mod row;
#[cfg(test)]
pub(crate) mod sample;
pub mod scaling;
pub mod statistics;
pub mod table;
pub mod timings;
mod to_target;
pub mod welch;

pub use error::AggregateError;
pub use leaderboard::Leaderboard;
pub use row::{AxisValue, PlannedRun, RowStatus, RunRow, RunState};
pub use table::SweepTable;
