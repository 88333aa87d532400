//! Facts on disk: names, formats and the ways of writing that survive a kill at any instant.

pub mod aside;
pub mod atomic;
pub mod beats;
pub mod checkpoint;
pub mod claims;
pub mod crash_point;
pub mod disk;
pub mod error;
pub mod journal;
pub mod layout;
pub mod lines;
pub mod lock;
pub mod overrides;
pub mod result;
pub mod sharing;
pub mod throughput;

pub use atomic::Durability;
pub use error::RecordError;
pub use layout::{PilotFolder, RunFolder, SweepFolder};
pub use lines::{LineFollower, LineWriter};
pub use lock::Lock;
pub use result::{RECORD_FORMAT, RunRecord, RunResult, RunStatus, Site};
pub use throughput::{Spread, Throughput};
