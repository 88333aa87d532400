//! An accelerator as the engine sees it, and memory on it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;

use super::backend::{Address, Argument, Backend, Product};
use super::convolution::{Algorithm, ConvolutionCall, ConvolutionShape, Direction};
use super::error::DeviceError;
use crate::spec::precision::Precision;

/// The most threads of one lane in a launch, and numbers of one lane in a buffer: kernels count in 32
/// bits, and their last block may reach beyond the end.
pub const LIMIT: usize = i32::MAX as usize;

/// An accelerator that is open. Clones are the same one.
#[derive(Clone)]
pub struct Accelerator(Arc<Open>);

struct Open {
    backend: Box<dyn Backend>,
    /// Memory that means nothing between two operations: place and bytes.
    scratch: Mutex<(Address, usize)>,
    /// Bytes that are allocated, and the most that ever were.
    bytes: AtomicUsize,
    peak: AtomicUsize,
}

impl Open {
    /// Memory of that size, all of it 0.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let address = self.backend.allocate(bytes)?;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(bytes, Ordering::Relaxed);
        Ok(address)
    }

    fn release(&self, address: Address, bytes: usize) {
        self.backend.release(address);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (address, _) = *self.scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
        if address != Address::NONE {
            self.backend.release(address);
        }
    }
}

impl fmt::Debug for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Accelerator {
    /// What drives it.
    pub fn new(backend: Box<dyn Backend>) -> Self {
        Self(Arc::new(Open {
            backend,
            scratch: Mutex::new((Address::NONE, 0)),
            bytes: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.0.backend.name()
    }

    /// Can it compute in that precision?
    ///
    /// # Errors
    /// When it lacks what that takes.
    pub fn check(&self, precision: Precision) -> Result<(), DeviceError> {
        self.0.backend.check(precision)
    }

    /// Memory for `len` numbers, all of them 0.
    ///
    /// # Errors
    /// When there is not so much left.
    pub fn zeros<T: Pod>(&self, len: usize) -> Result<Memory, DeviceError> {
        let address = self.0.allocate(held(len * size_of::<T>()))?;
        Ok(Memory { accelerator: self.clone(), address, bytes: len * size_of::<T>() })
    }

    /// Memory that holds `numbers`.
    ///
    /// # Errors
    /// When there is not so much left, or the copy fails.
    pub fn hold<T: Pod>(&self, numbers: &[T]) -> Result<Memory, DeviceError> {
        let memory = self.zeros::<T>(numbers.len())?;
        memory.upload(0, numbers)?;
        Ok(memory)
    }

    /// Memory of at least `bytes` bytes that holds anything, until this is called again.
    ///
    /// # Errors
    /// When there is not so much left.
    pub fn scratch(&self, bytes: usize) -> Result<Address, DeviceError> {
        let mut scratch = self.0.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.1 < bytes {
            if scratch.0 != Address::NONE {
                self.0.release(scratch.0, scratch.1);
            }
            *scratch = (Address::NONE, 0);
            *scratch = (self.0.allocate(bytes)?, bytes);
        }
        Ok(scratch.0)
    }

    /// Queues a kernel with `threads` threads for each of `lanes` lanes; its first argument is the
    /// number of threads, those that are given follow.
    ///
    /// # Errors
    /// When there are more threads than kernels count, or the accelerator fails.
    pub fn launch<const N: usize>(
        &self,
        kernel: &'static str,
        [threads, lanes]: [usize; 2],
        arguments: [Argument; N],
    ) -> Result<(), DeviceError> {
        if threads == 0 || lanes == 0 {
            return Ok(());
        }
        let threads = counted("a launch", threads)?;
        let mut all = [Argument::Count(threads); MOST_ARGUMENTS];
        all[1..=N].copy_from_slice(&arguments);
        self.0.backend.launch(kernel, [threads, counted("a launch", lanes)?], &all[..=N])
    }

    /// Queues matrix products.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        if product.batch == 0 || product.size.contains(&0) {
            return Ok(());
        }
        self.0.backend.multiply(product)
    }

    /// How a library of convolutions computes those of a shape; `None` where they are for our kernels.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn algorithm(
        &self,
        shape: &ConvolutionShape,
        direction: Direction,
    ) -> Result<Option<Algorithm>, DeviceError> {
        self.0.backend.algorithm(shape, direction)
    }

    /// Queues one lane's convolution.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn convolve(&self, call: &ConvolutionCall) -> Result<(), DeviceError> {
        self.0.backend.convolve(call)
    }

    /// Bytes that are allocated here now; what libraries allocate for themselves is not among them.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever allocated here; what libraries allocate for themselves is not
    /// among them.
    pub fn peak_bytes(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Waits for all that is queued.
    ///
    /// # Errors
    /// When something queued fails.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        self.0.backend.synchronize()
    }
}

/// The most arguments of a kernel, the number of its threads included.
const MOST_ARGUMENTS: usize = 20;

/// A number as kernels count.
///
/// # Errors
/// When it is too large for them.
pub fn counted(what: &'static str, found: usize) -> Result<u32, DeviceError> {
    let fits = u32::try_from(found).ok().filter(|_| found <= LIMIT);
    fits.ok_or(DeviceError::TooLarge { what, found, limit: LIMIT })
}

/// Bytes that are allocated for memory of a size: nothing has no address.
fn held(bytes: usize) -> usize {
    bytes.max(1)
}

/// Memory of an accelerator, given back when this goes.
#[derive(Debug)]
pub struct Memory {
    accelerator: Accelerator,
    address: Address,
    bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.accelerator.0.release(self.address, held(self.bytes));
    }
}

impl Memory {
    /// Where it begins.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The accelerator.
    pub fn accelerator(&self) -> &Accelerator {
        &self.accelerator
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes `numbers` from place `first`, counted in them, on.
    ///
    /// # Errors
    /// When the accelerator fails.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn upload<T: Pod>(&self, first: usize, numbers: &[T]) -> Result<(), DeviceError> {
        let place = self.place::<T>(first, numbers.len());
        if numbers.is_empty() {
            return Ok(());
        }
        self.accelerator.0.backend.upload(place, bytemuck::cast_slice(numbers))
    }

    /// Waits for all that is queued and reads numbers from place `first`, counted in them, on.
    ///
    /// # Errors
    /// When the accelerator fails.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn download<T: Pod>(&self, first: usize, numbers: &mut [T]) -> Result<(), DeviceError> {
        let place = self.place::<T>(first, numbers.len());
        if numbers.is_empty() {
            return Ok(());
        }
        self.accelerator.0.backend.download(place, bytemuck::cast_slice_mut(numbers))
    }

    fn place<T>(&self, first: usize, len: usize) -> Address {
        let end = (first + len) * size_of::<T>();
        assert!(end <= self.bytes, "invariant: {end} bytes of {}", self.bytes);
        self.address.after::<T>(first)
    }
}
