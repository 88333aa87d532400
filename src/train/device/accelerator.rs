//! An accelerator as the engine sees it, and memory on it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;

use super::backend::{Address, Argument, Backend, Command, Launch, Product, Ticket};
use super::collective::{Gathered, Meeting};
use super::convolution::{Algorithm, ConvolutionCall, ConvolutionShape, Direction};
use super::error::DeviceError;
use super::queue::Queue;
use crate::spec::precision::Precision;

/// The most threads of one lane in a launch, and numbers of one lane in a buffer: kernels count in 32
/// bits, and their last block may reach beyond the end.
pub const LIMIT: usize = i32::MAX as usize;

/// An accelerator that is open. Clones are the same one.
#[derive(Clone)]
pub struct Accelerator(Arc<Open>);

struct Open {
    queue: Queue,
    /// Memory that means nothing between two operations: place and bytes.
    scratch: Mutex<(Address, usize)>,
    /// Bytes that are allocated, and the most that ever were.
    bytes: AtomicUsize,
    peak: AtomicUsize,
    /// Calls of the backend that have not returned.
    calls: Arc<AtomicUsize>,
}

/// A call of the backend that is under way, for whoever wants to know.
pub(super) struct Call<'a>(&'a AtomicUsize);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Open {
    fn call(&self) -> Call<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Call(&self.calls)
    }

    /// Memory of that size, all of it 0.
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let _call = self.call();
        let address = self.queue.backend().allocate(bytes)?;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(bytes, Ordering::Relaxed);
        Ok(address)
    }

    fn release(&self, address: Address, bytes: usize) {
        let _call = self.call();
        self.queue.release(address);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (address, _) = *self.scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
        if address != Address::NONE {
            self.queue.release(address);
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
            queue: Queue::new(backend),
            scratch: Mutex::new((Address::NONE, 0)),
            bytes: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            calls: Arc::default(),
        }))
    }

    /// Says that the backend is called until what is returned goes.
    pub(super) fn call(&self) -> Call<'_> {
        self.0.call()
    }

    /// Passes on all that is held back: what is not queued here has to come after it.
    ///
    /// # Errors
    /// When something that was held fails.
    pub(super) fn pass_on(&self) -> Result<(), DeviceError> {
        self.0.queue.passed().map(drop)
    }

    /// How many calls of it have not returned: a thread in one of them may use no processor and get
    /// on all the same, with what it waits for.
    pub fn calls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0.calls)
    }

    /// By what several ranks find one another; the first of them asks for it.
    ///
    /// # Errors
    /// When a library is missing, or the accelerator fails.
    pub fn meeting(&self) -> Result<Meeting, DeviceError> {
        let _call = self.call();
        self.0.queue.backend().meeting()
    }

    /// Meets the accelerators of the other ranks as `rank` of `world`. Returns when all are there.
    ///
    /// # Errors
    /// As [`meeting`](Self::meeting), or when two ranks have the same accelerator.
    pub fn meet(
        &self,
        meeting: &Meeting,
        [rank, world]: [usize; 2],
    ) -> Result<Gathered, DeviceError> {
        let _call = self.call();
        let collective = self.0.queue.backend().meet(meeting, [rank, world])?;
        Ok(Gathered::new(self.clone(), collective))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.0.queue.backend().name()
    }

    /// Can it compute in that precision?
    ///
    /// # Errors
    /// When it lacks what that takes.
    pub fn check(&self, precision: Precision) -> Result<(), DeviceError> {
        self.0.queue.backend().check(precision)
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
        self.queue_launch(Launch::new, kernel, [threads, lanes], &arguments)
    }

    /// Queues a kernel whose threads have four neighbouring numbers each (`FOURS` in
    /// `kernels/lane.cuh`), for `numbers` of each of `lanes` lanes; its first argument is the number of
    /// numbers, those that are given follow.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn launch_fours<const N: usize>(
        &self,
        kernel: &'static str,
        [numbers, lanes]: [usize; 2],
        arguments: [Argument; N],
    ) -> Result<(), DeviceError> {
        self.queue_launch(Launch::of_fours, kernel, [numbers, lanes], &arguments)
    }

    fn queue_launch(
        &self,
        made: fn(&'static str, [u32; 2], &[Argument]) -> Launch,
        kernel: &'static str,
        [numbers, lanes]: [usize; 2],
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        if numbers == 0 || lanes == 0 {
            return Ok(());
        }
        let grid = [counted("a launch", numbers)?, counted("a launch", lanes)?];
        let _call = self.call();
        self.0.queue.push(Command::Launch(made(kernel, grid, arguments)))
    }

    /// Queues matrix products.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        if product.batch == 0 || product.size.contains(&0) {
            return Ok(());
        }
        let _call = self.call();
        self.0.queue.push(Command::Multiply(*product))
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
        let _call = self.call();
        self.0.queue.backend().algorithm(shape, direction)
    }

    /// Queues the convolutions of all lanes.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn convolve(&self, call: &ConvolutionCall) -> Result<(), DeviceError> {
        let _call = self.call();
        self.0.queue.push(Command::Convolve(*call))
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
        let _call = self.call();
        self.0.queue.passed()?.synchronize()
    }

    /// Queues all that `work` queues as one: where the same has been queued before, by one launch of
    /// a graph that was recorded then. Copies to the accelerator go ahead of it.
    ///
    /// # Errors
    /// What `work` fails with, or the accelerator.
    pub fn together<R, E: From<DeviceError>>(
        &self,
        work: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        if !self.0.queue.hold() {
            return work();
        }
        let result = work();
        let _call = self.call();
        self.0.queue.let_go(result.is_ok())?;
        result
    }

    /// Records what is queued together, or does not from now on.
    pub fn use_graphs(&self, yes: bool) {
        self.0.queue.record(yes);
    }

    /// How often a graph took the place of its launches.
    pub fn replays(&self) -> u64 {
        self.0.queue.replays()
    }
}

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
        let whole = [self.address.0, self.address.0 + held(self.bytes) as u64];
        let _call = self.accelerator.call();
        self.accelerator.0.queue.upload(whole, place, bytemuck::cast_slice(numbers))
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
        let _call = self.accelerator.call();
        self.accelerator.0.queue.passed()?.download(place, bytemuck::cast_slice_mut(numbers))
    }

    /// Queues a copy of `len` numbers from place `first`, counted in them, on.
    ///
    /// # Errors
    /// When the accelerator fails.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn fetch<T: Pod>(&self, first: usize, len: usize) -> Result<Arrival<T>, DeviceError> {
        let place = self.place::<T>(first, len);
        let _call = self.accelerator.call();
        let ticket = self.accelerator.0.queue.passed()?.fetch(place, len * size_of::<T>())?;
        let accelerator = self.accelerator.clone();
        Ok(Arrival { accelerator, ticket: Some(ticket), len, marker: PhantomData })
    }

    fn place<T>(&self, first: usize, len: usize) -> Address {
        let end = (first + len) * size_of::<T>();
        assert!(end <= self.bytes, "invariant: {end} bytes of {}", self.bytes);
        self.address.after::<T>(first)
    }
}

/// Numbers that are on their way to the host.
#[derive(Debug)]
pub struct Arrival<T> {
    accelerator: Accelerator,
    /// None once they have been collected.
    ticket: Option<Ticket>,
    len: usize,
    marker: PhantomData<T>,
}

impl<T: Pod> Arrival<T> {
    /// Waits for them, and for nothing that was queued later.
    ///
    /// # Errors
    /// When the accelerator fails.
    ///
    /// # Panics
    /// If `numbers` are not as many.
    pub fn collect(mut self, numbers: &mut [T]) -> Result<(), DeviceError> {
        assert_eq!(numbers.len(), self.len, "invariant: all numbers that were fetched");
        let ticket = self.ticket.take().expect("invariant: collecting takes it");
        let _call = self.accelerator.call();
        self.accelerator.0.queue.backend().collect(ticket, bytemuck::cast_slice_mut(numbers))
    }
}

impl<T> Drop for Arrival<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.accelerator.0.queue.backend().forget(ticket);
        }
    }
}
