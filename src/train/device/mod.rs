//! Where a network computes: in main memory, or on an accelerator.
//!
//! An [`Accelerator`] is memory of its own, our kernels (`kernels/`, one file an idea) and matrix
//! products, behind a [`Backend`]: CUDA where the feature `cuda` is built in, and in tests a process
//! that runs the same kernels on the host. Buffers know where they are, and layers choose their path
//! by it.

mod accelerator;
mod backend;
#[cfg(test)]
pub(crate) mod emulated;
mod error;
mod table;

/// Arguments of a kernel from addresses, buffers and numbers.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { [$($crate::train::device::Argument::from($argument)),*] };
}

pub(crate) use arguments;

pub use accelerator::{Accelerator, LIMIT, Memory, counted};
pub use backend::{Address, Argument, Backend, Operand, Product};
pub use error::DeviceError;
pub use table::Table;

/// Where a run computes.
#[derive(Debug, Clone, Default)]
pub enum Device {
    /// In main memory, on the threads of the current pool.
    #[default]
    Cpu,
    /// On an accelerator.
    Accelerator(Accelerator),
}
