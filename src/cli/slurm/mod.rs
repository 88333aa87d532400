//! A sweep on a Slurm cluster.
//!
//! `gridlane sweep --slurm` submits *pilots* and watches the sweep's folder; `gridlane pilot` is what their
//! jobs run; `gridlane slurm status` and `cancel` look after both. docs/design/slurm.md says why so.

mod manage;
mod opening;
mod orchestrate;
mod pilot;
mod replenish;
mod telling;
mod time;
mod version;
mod watch;

pub use manage::{manage, take_back};
pub use orchestrate::sweep;
pub use pilot::pilot;
