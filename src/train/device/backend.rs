//! What an accelerator has to be able to do: memory, copies, launches of our kernels, and matrix
//! products. All of it is queued in one order; only a download waits.

use std::fmt::Debug;

use super::collective::{Collective, Meeting};
use super::error::DeviceError;

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

/// `batch` products c (m, n) = a (m, k) b (k, n), in f32.
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
}

/// An accelerator as its driver shows it.
pub trait Backend: Debug + Send + Sync {
    /// What it is called, such as `cuda:0 (NVIDIA H100)`.
    fn name(&self) -> &str;

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

    /// Waits for all that is queued.
    ///
    /// # Errors
    /// When something queued fails.
    fn synchronize(&self) -> Result<(), DeviceError>;

    /// By what several ranks find one another; the first of them asks for it.
    ///
    /// # Errors
    /// When a library is missing, or fails.
    fn meeting(&self) -> Result<Meeting, DeviceError>;

    /// Meets the accelerators of the other ranks, as one of so many. Returns when all are there.
    ///
    /// # Errors
    /// When a library is missing, or fails.
    fn meet(
        &self,
        meeting: &Meeting,
        place: [usize; 2],
    ) -> Result<Box<dyn Collective>, DeviceError>;
}
