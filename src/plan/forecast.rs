//! What executing a plan will come to, said before it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::budget::DiskRoom;
use super::expected::Basis;

/// What executing a plan will come to on a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The slots of the machine in words: `2 cores`, `4 x NVIDIA H100 80GB HBM3 (79.0 GiB free)`.
    pub slots: String,
    /// Runs that can go on at once.
    pub at_once: usize,
    /// Runs to execute.
    pub runs: usize,
    /// Groups of runs that are trained together; as many as there are runs where none are.
    pub groups: usize,
    /// How long all of them take, with gangs, retries left out.
    pub total: Duration,
    /// How long the longest takes.
    pub longest: Duration,
    /// How many runs are expected from what.
    pub bases: BTreeMap<Basis, usize>,
    /// Finished runs of this sweep that were counted on.
    pub finished: usize,
    /// What each run is expected to take in seconds, by its place in the plan; of those to execute.
    pub expected_s: BTreeMap<usize, f64>,
    /// What they take on disk, and what is free there.
    pub room: DiskRoom,
}

impl Forecast {
    /// Is it more than a guess?
    pub fn is_measured(&self) -> bool {
        !self.bases.contains_key(&Basis::Assumption)
    }

    /// The surest and the least sure basis.
    pub fn least_sure(&self) -> Option<Basis> {
        self.bases.last_key_value().map(|(basis, _)| *basis)
    }

    /// As JSON.
    pub fn view(&self) -> Value {
        let bases = self.bases.iter().map(|(basis, runs)| (basis.as_str().to_owned(), json!(runs)));
        json!({
            "slots": self.slots,
            "runs_at_once": self.at_once,
            "runs": self.runs,
            "groups": self.groups,
            "total_s": self.total.as_secs_f64(),
            "longest_s": self.longest.as_secs_f64(),
            "disk_bytes": self.room.needed,
            "disk_free_bytes": self.room.free,
            "measured": self.is_measured(),
            "expected_from": Value::Object(bases.collect()),
        })
    }
}
