//! Gradients that lie on an accelerator: summed there over the ranks, in buckets, beside backward.
//!
//! Backward hands over each gradient when the kernels that make it are queued. A bucket that is full
//! is queued behind them, as one operation, so that small gradients wait for the other ranks together;
//! the network is built anew from nothing that is waited for here. As in main memory a gradient moves,
//! and the parameter holds a stand-in until the sums are joined.
//!
//! The accelerators of the ranks must sum the same numbers in the same order: what differs would hang
//! or be summed wrongly. So the order in which gradients become complete is compared in the first
//! step, before anything is queued, and held to from then on.

use std::sync::{Arc, Mutex, PoisonError};

use super::{ParallelError, Peers};
use crate::train::device::{Gathered, Stretch, SumTimes};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::Parameter;

/// Bytes of gradients that fill the first bucket of a step. Both sizes are those of PyTorch's
/// DistributedDataParallel.
const FIRST: usize = 1 << 20;

/// Bytes that fill any other.
const OTHER: usize = 25 << 20;

/// Words that tell one order of gradients from another.
const WORDS: usize = 8;

/// The accelerators of all ranks between two trainers.
pub type Kept = Arc<Mutex<Option<Gathered>>>;

/// Sums gradients over the accelerators of the ranks.
pub struct DeviceExchange<T> {
    /// `None` only while it is dropped.
    gathered: Option<Gathered>,
    /// Where they go in the end.
    kept: Kept,
    /// By the places of the parameters: what stands in for a gradient, or the gradient itself.
    held: Vec<Option<Buffer<T>>>,
    /// Places and numbers of the gradients in the order in which they become complete.
    order: Vec<(usize, usize)>,
    /// Do all ranks have that order?
    is_agreed: bool,
    /// Gradients of this step that are complete.
    complete: usize,
    bucket: Vec<Stretch>,
    bytes: usize,
    /// Buckets queued in this step.
    sent: usize,
}

impl<T: Real> DeviceExchange<T> {
    /// For the gradients of `parameters`, over `gathered`, which is left in `kept` in the end.
    ///
    /// # Errors
    /// When the stand-ins cannot be had, or sums of an earlier trainer have failed.
    pub fn new<'a>(
        mut gathered: Gathered,
        kept: Kept,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
    ) -> Result<Self, TrainError>
    where
        T: 'a,
    {
        // Nobody asks any more what the sums of an earlier trainer took.
        while gathered.times(true)?.is_some() {}
        let held = parameters
            .map(|_| Buffer::zeros(1, &[0]).map(Some))
            .collect::<Result<Vec<_>, TrainError>>()?;
        Ok(Self {
            gathered: Some(gathered),
            kept,
            order: Vec::with_capacity(held.len()),
            bucket: Vec::with_capacity(held.len()),
            held,
            is_agreed: false,
            complete: 0,
            bytes: 0,
            sent: 0,
        })
    }

    fn gathered(&mut self) -> &mut Gathered {
        self.gathered.as_mut().expect("invariant: not being dropped")
    }

    /// Takes the gradient of a parameter; everything that makes it is queued.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn ready(&mut self, parameter: &mut Parameter<T>) -> Result<(), TrainError> {
        let place = parameter.place;
        let stand_in = self.held[place].take();
        let stand_in = stand_in.expect("invariant: a gradient is complete once a step");
        let gradient = std::mem::replace(&mut parameter.gradient, stand_in);
        let numbers = gradient.lanes() * gradient.lane_len();
        self.bucket.push((gradient.address(), numbers));
        self.bytes += numbers * size_of::<T>();
        self.held[place] = Some(gradient);
        if !self.is_agreed {
            self.order.push((place, numbers));
            return Ok(());
        }
        let expected = self.order.get(self.complete);
        assert_eq!(expected, Some(&(place, numbers)), "invariant: every backward has one order");
        self.complete += 1;
        let full = if self.sent == 0 { FIRST } else { OTHER };
        if self.bytes >= full { self.send() } else { Ok(()) }
    }

    /// Has all that is queued from here on wait for the sums, and puts them in `parameters`.
    ///
    /// # Errors
    /// When the accelerator fails, or other ranks have other gradients.
    pub fn finish<'a>(
        &mut self,
        peers: &Peers,
        parameters: impl Iterator<Item = &'a mut Parameter<T>>,
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        if !self.is_agreed {
            self.agree(peers)?;
        }
        self.send()?;
        self.gathered().join()?;
        for parameter in parameters {
            let held = &mut self.held[parameter.place];
            let sum = held.take().expect("invariant: backward completes every gradient");
            *held = Some(std::mem::replace(&mut parameter.gradient, sum));
        }
        (self.complete, self.sent) = (0, 0);
        Ok(())
    }

    /// See [`Gathered::times`].
    ///
    /// # Errors
    /// As there.
    pub fn times(&mut self, wait: bool) -> Result<Option<SumTimes>, TrainError> {
        Ok(self.gathered().times(wait)?)
    }

    fn send(&mut self) -> Result<(), TrainError> {
        if self.bucket.is_empty() {
            return Ok(());
        }
        let gathered = self.gathered.as_mut().expect("invariant: not being dropped");
        gathered.sum(&self.bucket)?;
        self.bucket.clear();
        (self.bytes, self.sent) = (0, self.sent + 1);
        Ok(())
    }

    /// Makes sure that all ranks have the same gradients in the same order.
    fn agree(&mut self, peers: &Peers) -> Result<(), ParallelError> {
        let mut hasher = blake3::Hasher::new();
        for (place, numbers) in &self.order {
            hasher.update(&(*place as u64).to_le_bytes());
            hasher.update(&(*numbers as u64).to_le_bytes());
        }
        let mut words = [0.0; WORDS];
        for (word, bytes) in words.iter_mut().zip(hasher.finalize().as_bytes().chunks_exact(4)) {
            let bytes = bytes.try_into().expect("invariant: a digest is eight words");
            *word = f64::from(u32::from_le_bytes(bytes));
        }
        let other = peers.gather(&words, |mut ranks| ranks.position(|other| other != words))?;
        self.is_agreed = other.is_none();
        let Some(other) = other else { return Ok(()) };
        Err(ParallelError::OutOfStep {
            rank: peers.rank(),
            other,
            found: format!("the gradients of {} parameters", self.order.len()),
            other_found: "other gradients, or in another order".to_owned(),
        })
    }
}

impl<T> Drop for DeviceExchange<T> {
    fn drop(&mut self) {
        let Some(mut gathered) = self.gathered.take() else { return };
        // Gradients that are still being summed are given back, as everything else that is queued.
        // An error is one that has been told, or that the next operation tells.
        let _ = gathered.join();
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(gathered);
    }
}
