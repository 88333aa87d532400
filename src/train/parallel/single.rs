//! The only rank of a run.

use super::{Communicator, ParallelError};
use crate::train::kernel::Real;

/// A communicator without anyone to communicate with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Single;

impl<T: Real> Communicator<T> for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce(&mut self, _: &mut [T]) -> Result<(), ParallelError> {
        Ok(())
    }

    fn broadcast(&mut self, _: &mut [T]) -> Result<(), ParallelError> {
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        Ok(())
    }
}
