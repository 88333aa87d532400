//! What an accelerator has to be able to do: memory, copies, launches of our kernels, and matrix
//! products. All of it is queued in one order; only a download waits, and whoever collects a copy.

use std::fmt::Debug;

use super::collective::{Collective, Meeting};
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

/// The most arguments of a kernel, the number of its threads included.
pub const MOST_ARGUMENTS: usize = 20;

/// A kernel of `kernels/`, with what it is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Launch {
    /// Its name.
    pub kernel: &'static str,
    /// Threads for each lane, and lanes.
    pub grid: [u32; 2],
    given: [Argument; MOST_ARGUMENTS],
    count: usize,
}

impl Launch {
    /// A launch whose first argument is the number of threads of a lane; `arguments` follow.
    ///
    /// # Panics
    /// If they are more than a kernel takes.
    pub fn new(kernel: &'static str, grid: [u32; 2], arguments: &[Argument]) -> Self {
        let mut given = [Argument::Count(grid[0]); MOST_ARGUMENTS];
        let count = arguments.len() + 1;
        given[1..count].copy_from_slice(arguments);
        Self { kernel, grid, given, count }
    }

    /// A launch over so many numbers of a lane, four for each thread; its first argument is how many
    /// numbers there are.
    ///
    /// # Panics
    /// If there are more arguments than a kernel takes.
    pub fn of_fours(kernel: &'static str, grid: [u32; 2], arguments: &[Argument]) -> Self {
        let [numbers, lanes] = grid;
        Self { grid: [numbers.div_ceil(4), lanes], ..Self::new(kernel, grid, arguments) }
    }

    /// All arguments.
    pub fn arguments(&self) -> &[Argument] {
        &self.given[..self.count]
    }
}

/// Work between memory of the accelerator and itself: it can be recorded and done again.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are launches, and a list of them is made in every step without an allocation"
)]
pub enum Command {
    /// A kernel.
    Launch(Launch),
    /// Matrix products.
    Multiply(Product),
    /// Convolutions of all lanes.
    Convolve(ConvolutionCall),
}

impl Command {
    /// Does it read or write what lies at `from` or beyond, but below `end`?
    pub fn touches(&self, [from, end]: [u64; 2]) -> bool {
        let inside = |place: Address| (from..end).contains(&place.0);
        match self {
            Self::Launch(launch) => launch.arguments().iter().any(|argument| match argument {
                Argument::Place(place) => inside(*place),
                _ => false,
            }),
            Self::Multiply(product) => {
                [product.left, product.right, product.out].iter().any(|o| inside(o.place))
            }
            Self::Convolve(call) => {
                call.operands.iter().chain([&call.workspace]).any(|place| inside(*place))
            }
        }
    }
}

/// Commands that a backend has recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graph(pub u64);

/// A copy to the host that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub u64);

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

    /// Queues a copy from the accelerator into memory of the backend's own, and does not wait.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn fetch(&self, from: Address, bytes: usize) -> Result<Ticket, DeviceError>;

    /// Waits for a copy that was fetched, and for what was queued before it, and hands over the bytes,
    /// as many as were fetched; whatever was queued after it goes on.
    ///
    /// # Errors
    /// When it or something queued before it fails.
    fn collect(&self, ticket: Ticket, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Takes note that nobody will collect a copy.
    fn forget(&self, ticket: Ticket);

    /// Queues a kernel.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn launch(&self, launch: &Launch) -> Result<(), DeviceError>;

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

    /// Queues convolutions by an algorithm that was offered.
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

    /// From here on launches and products are recorded instead of done, until
    /// [`end_capture`](Self::end_capture). Nothing else may be asked for meanwhile.
    ///
    /// # Errors
    /// When the accelerator cannot record.
    fn begin_capture(&self) -> Result<(), DeviceError>;

    /// What was recorded. Recording is over, also where this fails.
    ///
    /// # Errors
    /// When something was asked for that cannot be recorded.
    fn end_capture(&self) -> Result<Graph, DeviceError>;

    /// Queues all that was recorded, at once.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn replay(&self, graph: Graph) -> Result<(), DeviceError>;

    /// Forgets what was recorded, once all that is queued has been done with it.
    fn discard(&self, graph: Graph);
}
