//! Where a network computes: in main memory, or on an accelerator.
//!
//! An [`Accelerator`] is memory of its own, our kernels (`kernels/`, one file an idea) and matrix
//! products, behind a [`Backend`]: CUDA where the feature `cuda` is built in, and in tests a process
//! that runs the same kernels on the host. Buffers know where they are, and layers choose their path
//! by it.

mod accelerator;
mod backend;
mod collective;
mod convolution;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
pub(crate) mod emulated;
mod error;
#[cfg(any(feature = "cuda", test))]
#[cfg_attr(
    not(feature = "cuda"),
    expect(dead_code, reason = "the search is tested in every build")
)]
mod libraries;
mod queue;
mod table;

/// Arguments of a kernel from addresses, buffers and numbers.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { [$($crate::train::device::Argument::from($argument)),*] };
}

pub(crate) use arguments;

use std::fmt;

use crate::spec::device::DeviceId;
use crate::spec::precision::Precision;
pub use accelerator::{Accelerator, Arrival, LIMIT, Memory, counted};
pub use backend::{Address, Argument, Backend, Operand, Product};
pub use collective::{Collective, Gathered, MEETING, Meeting, Stretch, SumTimes};
pub use convolution::{ALIGNMENT, Algorithm, ConvolutionCall, ConvolutionShape, Direction};
pub use error::DeviceError;
pub use table::Table;

/// Set, it lets several ranks share a GPU: the numbers of GPUs go round. For trying out ranks where
/// there is one GPU; a run is slower that way than on one rank.
const SHARE_GPUS: &str = "GRIDLANE_SHARE_GPUS";

/// Do ranks share GPUs, where there are fewer?
pub fn shares_gpus() -> bool {
    std::env::var_os(SHARE_GPUS).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Every library that a run on a GPU may want, with the file that it is opened as, or why it cannot
/// be; none where the program has no code for GPUs.
#[cfg(feature = "cuda")]
pub fn libraries() -> Vec<(&'static str, Result<String, DeviceError>)> {
    cuda::survey()
}

/// Every library that a run on a GPU may want: none, since the program was built without the feature
/// `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn libraries() -> Vec<(&'static str, Result<String, DeviceError>)> {
    Vec::new()
}

/// Where a run computes.
#[derive(Debug, Clone, Default)]
pub enum Device {
    /// In main memory, on the threads of the current pool.
    #[default]
    Cpu,
    /// On an accelerator.
    Accelerator(Accelerator),
}

/// What it is called.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Accelerator(accelerator) => f.write_str(accelerator.name()),
        }
    }
}

impl Device {
    /// The device that a worker is told of.
    ///
    /// # Errors
    /// As [`cuda`](Self::cuda).
    pub fn open(id: DeviceId) -> Result<Self, DeviceError> {
        match id {
            DeviceId::Cpu => Ok(Self::Cpu),
            DeviceId::Cuda(index) => Self::cuda(index as usize),
        }
    }

    /// Can it compute in that precision?
    ///
    /// # Errors
    /// When these are cores, which compute in f32, or a GPU that is too old for it.
    pub fn check(&self, precision: Precision) -> Result<(), DeviceError> {
        match self {
            Self::Cpu if precision.needs_gpu() => {
                Err(DeviceError::NeedsGpu { precision: precision.kind() })
            }
            Self::Cpu => Ok(()),
            Self::Accelerator(accelerator) => accelerator.check(precision),
        }
    }

    /// GPU number `index` of those that this process sees.
    ///
    /// # Errors
    /// When the program was built without GPUs, a library of CUDA is missing, or there is no such GPU
    /// that the kernels run on.
    #[cfg(feature = "cuda")]
    pub fn cuda(index: usize) -> Result<Self, DeviceError> {
        cuda::open(index).map(Self::Accelerator)
    }

    /// GPU number `index` of those that this process sees: none, since the program was built without
    /// the feature `cuda`.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "cuda"))]
    pub fn cuda(_index: usize) -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt)
    }
}
