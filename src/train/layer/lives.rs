//! Which lanes live, as an accelerator knows it: it finds out before the host does.
//!
//! A step is queued before the loss of the one before it is known. What a lane must not do any more
//! when that loss is not finite, an update and a step of its running statistics, therefore asks a flag
//! that the loss has cleared on the device.

use std::sync::Arc;

use crate::train::device::{Accelerator, Address, DeviceError, Memory};
use crate::train::lane_set::LaneSet;

/// A flag for every lane. Clones are the same flags.
#[derive(Debug, Clone)]
pub struct Lives(Arc<Memory>);

impl Lives {
    /// Flags of so many lanes, all of which live.
    ///
    /// # Errors
    /// When the accelerator has no memory left, or fails.
    pub fn new(accelerator: &Accelerator, lanes: usize) -> Result<Self, DeviceError> {
        Ok(Self(Arc::new(accelerator.hold(&vec![1_u32; lanes])?)))
    }

    /// What kernels are given: no place where nobody has flags and all lanes live.
    pub fn address(lives: Option<&Self>) -> Address {
        lives.map_or(Address::NONE, |lives| lives.0.address())
    }

    /// From here on these lanes live, and no others.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn set(&self, living: &LaneSet) -> Result<(), DeviceError> {
        let flag = |lane| u32::from(living.contains(lane));
        self.0.upload(0, &(0..living.group()).map(flag).collect::<Vec<u32>>())
    }

    /// The flags, to look at.
    #[cfg(test)]
    pub fn flags(&self) -> Result<Vec<u32>, DeviceError> {
        let mut flags = vec![0; self.0.bytes() / size_of::<u32>()];
        self.0.download(0, &mut flags)?;
        Ok(flags)
    }
}
