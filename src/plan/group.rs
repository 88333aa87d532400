//! Runs that are executed together, and what they need.

use std::time::Duration;

/// Runs that one attempt trains together as lanes of one network; of one, ordinarily.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Places in [`Plan::runs`](super::Plan::runs), in the plan's order; at least one.
    pub runs: Vec<usize>,
    /// Devices that train it together, a rank on each.
    pub devices: u32,
    /// What a rank needs in memory, as forecast, in bytes.
    pub memory: u64,
    /// Must nothing else run meanwhile? Two whose steps are timed would time each other.
    pub exclusive: bool,
    /// How long it is expected to take, where anything is known.
    pub expected: Option<Duration>,
}
