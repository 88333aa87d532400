//! What an accelerator has to be able to do: memory, copies, launches of our kernels, and matrix
//! products. All of it is queued in one order; only a download waits.

use std::fmt::Debug;

use super::convolution::{Algorithm, ConvolutionCall, ConvolutionShape, Direction};
use super::error::DeviceError;
use crate::spec::precision::Precision;

/// A place in an accelerator's memory, in bytes; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// No place.
    pub const NONE: Self = Self(0);

    /// The place `numbers` numbers of type `T` further on.
    pub fn after<T>(self, numbers: usize) -> Self {
        Self(self.0 + (numbers * size_of::<T>()) as u64)
    }
}

/// One argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// A pointer.
    Place(Address),
    /// An `unsigned`.
    Count(u32),
    /// A `float`.
    Number(f32),
    /// A `double`.
    Wide(f64),
    /// An `unsigned long long`.
    Long(u64),
}

impl From<Address> for Argument {
    fn from(address: Address) -> Self {
        Self::Place(address)
    }
}

impl From<u32> for Argument {
    fn from(count: u32) -> Self {
        Self::Count(count)
    }
}

impl From<f32> for Argument {
    fn from(number: f32) -> Self {
        Self::Number(number)
    }
}

impl From<f64> for Argument {
    fn from(number: f64) -> Self {
        Self::Wide(number)
    }
}

impl From<u64> for Argument {
    fn from(number: u64) -> Self {
        Self::Long(number)
    }
}

/// A matrix in row order, once for every product of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Where the first one begins.
    pub place: Address,
    /// Numbers from one row, as it lies in memory, to the next.
    pub pitch: usize,
    /// Numbers from one product's matrix to the next one's.
    pub stride: usize,
    /// Is what lies in memory the transpose of what is multiplied?
    pub transposed: bool,
}

impl Operand {
    /// A matrix as it lies in memory.
    pub fn new(place: Address, pitch: usize, stride: usize) -> Self {
        Self { place, pitch, stride, transposed: false }
    }

    /// The transpose of it.
    pub fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }
}

/// `batch` products c (m, n) = a (m, k) b (k, n). c and all sums are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// m, n, k.
    pub size: [usize; 3],
    /// a.
    pub left: Operand,
    /// b.
    pub right: Operand,
    /// c, not transposed.
    pub out: Operand,
    /// Is the product added to what is in c?
    pub adds: bool,
    /// How many.
    pub batch: usize,
    /// What a and b are: in f32 and multiplied as they are, in f32 and rounded to TF32 on the way, or
    /// in bf16.
    pub precision: Precision,
}

/// An accelerator as its driver shows it.
pub trait Backend: Debug + Send + Sync {
    /// What it is called, such as `cuda:0 (NVIDIA H100)`.
    fn name(&self) -> &str;

    /// Can it compute in that precision?
    ///
    /// # Errors
    /// When it lacks what that takes.
    fn check(&self, precision: Precision) -> Result<(), DeviceError> {
        let _ = precision;
        Ok(())
    }

    /// Memory of that size, all of it 0.
    ///
    /// # Errors
    /// When there is not so much left.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError>;

    /// Gives memory back, once all that is queued has been done with it.
    fn release(&self, address: Address);

    /// Copies to the accelerator; `bytes` may be changed as soon as this returns.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Waits for all that is queued, then copies from the accelerator.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Queues a kernel of `kernels/`, with `threads` threads for each of `lanes` lanes.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 2],
        arguments: &[Argument],
    ) -> Result<(), DeviceError>;

    /// Queues matrix products.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn multiply(&self, product: &Product) -> Result<(), DeviceError>;

    /// The algorithm of a library of convolutions, chosen at the first call for a shape and direction;
    /// `None` where there is no library, or none of its algorithms that may be used.
    ///
    /// # Errors
    /// When the library fails.
    fn algorithm(
        &self,
        shape: &ConvolutionShape,
        direction: Direction,
    ) -> Result<Option<Algorithm>, DeviceError> {
        let _ = (shape, direction);
        Ok(None)
    }

    /// Queues one convolution by an algorithm that was offered.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn convolve(&self, call: &ConvolutionCall) -> Result<(), DeviceError> {
        unreachable!("invariant: no algorithm was offered: {call:?}")
    }

    /// Waits for all that is queued.
    ///
    /// # Errors
    /// When something queued fails.
    fn synchronize(&self) -> Result<(), DeviceError>;
}
