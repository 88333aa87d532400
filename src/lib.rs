//! gridlane: a declarative sweep orchestrator for deep-learning ablations.
//!
//! Data flows one way, and the folders stand in that order:
//! sweep file -> [`spec`] -> [`plan`] -> dispatch -> executor -> worker -> train -> [`record`] ->
//! aggregate -> report.

pub mod aggregate;
pub mod cli;
pub mod dispatch;
pub mod display;
pub mod event;
pub mod executor;
pub mod fetch;
pub mod ids;
pub mod plan;
pub mod record;
pub mod report;
pub mod spec;
pub mod train;
pub mod units;
pub mod worker;

/// Every allocation of the program and of its workers: glibc's allocator gives large blocks back
/// to the system at once and pays for them with page faults in the next training step.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
