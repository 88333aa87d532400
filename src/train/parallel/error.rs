//! What can go wrong between ranks.

use std::time::Duration;

/// Why ranks cannot go on together.
#[derive(Debug, thiserror::Error)]
pub enum ParallelError {
    /// The shared memory cannot be had.
    #[error("cannot share {bytes} bytes of memory between ranks")]
    Memory {
        /// How much was wanted.
        bytes: usize,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The shared memory is not what this rank expects.
    #[error("the shared memory of the ranks: expected {expected}, found {found}")]
    Mismatch {
        /// What this rank expects.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Ranks that do different things.
    #[error("rank {rank} and rank {other} are out of step: {found} against {other_found}")]
    OutOfStep {
        /// This rank.
        rank: usize,
        /// The other.
        other: usize,
        /// What this rank does.
        found: String,
        /// What the other does.
        other_found: String,
    },
    /// A rank that stands still.
    #[error("rank {other} has not moved for {:.1} s while rank {rank} waited for it", waited.as_secs_f64())]
    StandsStill {
        /// This rank.
        rank: usize,
        /// The other.
        other: usize,
        /// For how long.
        waited: Duration,
    },
    /// A rank needs threads beside the one that computes.
    #[error("cannot start a thread for the ranks' communication")]
    Thread(#[source] std::io::Error),
    /// The thread that sums gradients has panicked.
    #[error("the thread that sums gradients is gone: its message is above")]
    ThreadGone,
    /// Another rank has failed, or the gang is being ended.
    #[error("rank {rank} stops because the gang was ended")]
    Ended {
        /// This rank.
        rank: usize,
    },
}
