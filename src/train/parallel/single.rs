//! The only rank of a run.

use super::{AllReduce, Communicator, ParallelError};
use crate::train::kernel::Real;

/// A communicator without anyone to communicate with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Single;

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        Ok(())
    }
}

impl<T: Real> AllReduce<T> for Single {
    fn all_reduce(&mut self, _: &mut [T]) -> Result<(), ParallelError> {
        Ok(())
    }

    fn broadcast(&mut self, _: &mut [T]) -> Result<(), ParallelError> {
        Ok(())
    }
}
