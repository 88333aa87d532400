//! A backend that counts what is asked of another one.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::super::backend::{Address, Backend, Graph, Launch, Product, Ticket};
use super::super::collective::{Collective, Meeting, Stretch, SumTimes};
use super::super::convolution::{Algorithm, ConvolutionCall, ConvolutionShape, Direction};
use super::super::error::DeviceError;

/// What was asked so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Kernels and products that were passed one by one, those that were recorded included.
    pub commands: u64,
    /// Graphs that were launched.
    pub replays: u64,
    /// Graphs that were recorded.
    pub captures: u64,
    /// Copies to the device.
    pub uploads: u64,
    /// Copies from the device that nobody waited for at once.
    pub fetches: u64,
    /// Memory.
    pub allocations: u64,
    /// Waits at the end of which the device had nothing left to do.
    pub waits: u64,
}

impl std::ops::Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            commands: self.commands - before.commands,
            replays: self.replays - before.replays,
            captures: self.captures - before.captures,
            uploads: self.uploads - before.uploads,
            fetches: self.fetches - before.fetches,
            allocations: self.allocations - before.allocations,
            waits: self.waits - before.waits,
        }
    }
}

/// The counts of a backend, for whoever watches.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: Mutex<Count>,
    /// Commands and graphs that had been queued when each copy was fetched.
    fetched: Mutex<HashMap<u64, u64>>,
    queued: AtomicU64,
    /// Calls that the accelerator says are under way.
    calls: OnceLock<Arc<AtomicUsize>>,
    /// What was called while it said so.
    said: Mutex<BTreeSet<&'static str>>,
    /// What was called while it said that nothing is.
    unsaid: Mutex<BTreeSet<&'static str>>,
}

impl Counts {
    /// What was asked so far.
    pub fn so_far(&self) -> Count {
        *self.0.count.lock().unwrap()
    }

    fn add(&self, change: impl FnOnce(&mut Count)) {
        change(&mut self.0.count.lock().unwrap());
    }

    fn queue(&self) {
        self.0.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// From here on calls must be said to be under way in `calls`.
    pub fn expect_calls(&self, calls: Arc<AtomicUsize>) {
        self.0.calls.set(calls).unwrap();
    }

    /// What was called and said to be, and what was called without being said to be.
    pub fn said_and_unsaid(&self) -> [BTreeSet<&'static str>; 2] {
        [&self.0.said, &self.0.unsaid].map(|names| names.lock().unwrap().clone())
    }

    fn called(&self, name: &'static str) {
        let Some(calls) = self.0.calls.get() else { return };
        let is_said = calls.load(Ordering::Relaxed) > 0;
        let names = if is_said { &self.0.said } else { &self.0.unsaid };
        names.lock().unwrap().insert(name);
    }
}

/// The backend.
#[derive(Debug)]
pub struct Counting {
    /// Does it.
    pub inner: Box<dyn Backend>,
    /// Counts it.
    pub counts: Counts,
    /// Refuses to record.
    pub refuses_graphs: bool,
}

impl Backend for Counting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        self.counts.called("allocate");
        self.counts.add(|count| count.allocations += 1);
        self.inner.allocate(bytes)
    }

    fn release(&self, address: Address) {
        self.counts.called("release");
        self.inner.release(address);
    }

    fn upload(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.counts.called("upload");
        self.counts.add(|count| count.uploads += 1);
        self.inner.upload(to, bytes)
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.counts.called("download");
        self.counts.add(|count| count.waits += 1);
        self.inner.download(from, bytes)
    }

    fn fetch(&self, from: Address, bytes: usize) -> Result<Ticket, DeviceError> {
        self.counts.called("fetch");
        self.counts.add(|count| count.fetches += 1);
        let ticket = self.inner.fetch(from, bytes)?;
        let queued = self.counts.0.queued.load(Ordering::Relaxed);
        self.counts.0.fetched.lock().unwrap().insert(ticket.0, queued);
        Ok(ticket)
    }

    fn collect(&self, ticket: Ticket, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.counts.called("collect");
        let then = self.counts.0.fetched.lock().unwrap().remove(&ticket.0);
        if then == Some(self.counts.0.queued.load(Ordering::Relaxed)) {
            self.counts.add(|count| count.waits += 1);
        }
        self.inner.collect(ticket, bytes)
    }

    fn forget(&self, ticket: Ticket) {
        self.inner.forget(ticket);
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        self.counts.called("launch");
        self.counts.add(|count| count.commands += 1);
        self.counts.queue();
        self.inner.launch(launch)
    }

    fn multiply(&self, product: &Product) -> Result<(), DeviceError> {
        self.counts.called("multiply");
        self.counts.add(|count| count.commands += 1);
        self.counts.queue();
        self.inner.multiply(product)
    }

    fn algorithm(
        &self,
        shape: &ConvolutionShape,
        direction: Direction,
    ) -> Result<Option<Algorithm>, DeviceError> {
        self.counts.called("algorithm");
        self.inner.algorithm(shape, direction)
    }

    fn convolve(&self, call: &ConvolutionCall) -> Result<(), DeviceError> {
        self.counts.called("convolve");
        self.counts.add(|count| count.commands += 1);
        self.counts.queue();
        self.inner.convolve(call)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.counts.called("synchronize");
        self.counts.add(|count| count.waits += 1);
        self.inner.synchronize()
    }

    fn meeting(&self) -> Result<Meeting, DeviceError> {
        self.counts.called("meeting");
        self.inner.meeting()
    }

    fn meet(
        &self,
        meeting: &Meeting,
        place: [usize; 2],
    ) -> Result<Box<dyn Collective>, DeviceError> {
        self.counts.called("meet");
        let inner = self.inner.meet(meeting, place)?;
        Ok(Box::new(CountingCollective { inner, counts: self.counts.clone() }))
    }

    fn begin_capture(&self) -> Result<(), DeviceError> {
        self.counts.called("begin_capture");
        if self.refuses_graphs {
            let reason = "it does not record".to_owned();
            let device = self.name().to_owned();
            return Err(DeviceError::Failed { operation: "recording", device, reason });
        }
        self.counts.add(|count| count.captures += 1);
        self.inner.begin_capture()
    }

    fn end_capture(&self) -> Result<Graph, DeviceError> {
        self.counts.called("end_capture");
        self.inner.end_capture()
    }

    fn replay(&self, graph: Graph) -> Result<(), DeviceError> {
        self.counts.called("replay");
        self.counts.add(|count| count.replays += 1);
        self.counts.queue();
        self.inner.replay(graph)
    }

    fn discard(&self, graph: Graph) {
        self.inner.discard(graph);
    }
}

/// What is asked of the accelerators of all ranks.
#[derive(Debug)]
struct CountingCollective {
    inner: Box<dyn Collective>,
    counts: Counts,
}

impl Collective for CountingCollective {
    fn sum(&mut self, stretches: &[Stretch]) -> Result<(), DeviceError> {
        self.counts.called("sum");
        self.inner.sum(stretches)
    }

    fn join(&mut self) -> Result<(), DeviceError> {
        self.counts.called("join");
        self.inner.join()
    }

    fn times(&mut self, wait: bool) -> Result<Option<SumTimes>, DeviceError> {
        self.counts.called("times");
        self.inner.times(wait)
    }

    fn is_for_good(&self) -> bool {
        self.inner.is_for_good()
    }
}
