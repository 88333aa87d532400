//! What is to be executed: a group of runs, and on what.

use super::occupancy::{Demand, Kind};
use crate::plan::Group;

/// A group and the kind of device that it trains on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The runs and what they need.
    pub group: Group,
    /// On what.
    pub kind: Kind,
}

impl Work {
    /// What it needs, with so many cores for a rank on cores.
    pub fn demand(&self, threads: u32) -> Demand {
        Demand {
            kind: self.kind,
            ranks: self.group.devices.max(1),
            threads: threads.max(1),
            memory: self.group.memory,
            alone: false,
            exclusive: self.group.exclusive,
            expected: self.group.expected,
        }
    }
}
