//! Ranks: several processes that train one run, each on its part of every batch, and agree on the
//! gradients by summing them.
//!
//! [`Shared`] connects processes of one machine through a [`Segment`] of memory, on three channels:
//! [`Exchange`] sums gradients on a thread of its own while backward goes on, [`Peers`] is for the
//! few numbers that all must agree on before any goes on, and for what they do next. Gradients on an
//! accelerator are summed there, by [`DeviceExchange`]. A trainer knows all of it as its [`Ranks`],
//! which for a run on one device are nobody.

mod device_exchange;
mod error;
mod exchange;
mod member;
mod peers;
mod pulse;
mod ranks;
mod segment;
mod shared;
mod shared_bytes;
mod step_clock;
mod vigil;

pub use device_exchange::DeviceExchange;
pub use error::ParallelError;
pub use exchange::Exchange;
pub use member::Member;
pub use peers::Peers;
pub use pulse::{Lost, Pulse};
pub use ranks::Ranks;
pub use segment::Segment;
pub use shared::Shared;
pub use shared_bytes::SharedBytes;
pub use step_clock::StepTimes;

use super::kernel::Real;

/// What the ranks of a run do together. Every rank calls the same operations in the same order with
/// the same lengths; one that does not is found out and ends the gang.
pub trait Communicator: Send {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// When another rank is gone, stands still, failed or called something else.
    fn barrier(&mut self) -> Result<(), ParallelError>;
}

/// Sums over all ranks, of one kind of number.
pub trait AllReduce<T: Real>: Communicator {
    /// Replaces `data` by the sum over all ranks of what they gave, the same bits on every rank:
    /// each number is summed once, in the order of the ranks.
    ///
    /// # Errors
    /// As [`Communicator::barrier`].
    fn all_reduce(&mut self, data: &mut [T]) -> Result<(), ParallelError>;

    /// Replaces `data` by what rank 0 gave.
    ///
    /// # Errors
    /// As [`Communicator::barrier`].
    fn broadcast(&mut self, data: &mut [T]) -> Result<(), ParallelError>;
}

/// The part of `places` that a rank of `world` takes: contiguous, in the order of the ranks, as
/// equal as they come. Where there are fewer places than ranks, some have none.
pub fn part_of(
    places: &std::ops::Range<usize>,
    rank: usize,
    world: usize,
) -> std::ops::Range<usize> {
    let border = |rank: usize| places.start + places.len() * rank / world;
    border(rank)..border(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_equal_within_one_and_leave_nothing_out() {
        for world in 1..6 {
            for len in 0..20 {
                let parts: Vec<_> = (0..world).map(|r| part_of(&(7..7 + len), r, world)).collect();
                let joined: Vec<usize> = parts.iter().cloned().flatten().collect();
                assert_eq!(joined, (7..7 + len).collect::<Vec<_>>());
                let sizes = parts.iter().map(ExactSizeIterator::len);
                let (least, most) = (sizes.clone().min(), sizes.max());
                assert!(most.unwrap() - least.unwrap() <= 1, "{world} {len}");
            }
        }
    }
}
