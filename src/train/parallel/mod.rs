//! Ranks: several processes that train one run, each on its part of every batch, and agree on the
//! gradients by summing them.
//!
//! A [`Communicator`] is what a rank knows of the others. [`Single`] is for a run on one device;
//! [`Shared`] connects processes of one machine through shared memory.

mod error;
mod segment;
mod shared;
mod single;

pub use error::ParallelError;
pub use segment::Segment;
pub use shared::Shared;
pub use single::Single;

use super::kernel::Real;

/// What the ranks of a run do together. Every rank calls the same operations in the same order with
/// the same lengths; one that does not is found out and ends the gang.
pub trait Communicator: AllReduce<f32> + AllReduce<f64> + Send {
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
pub trait AllReduce<T: Real> {
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
