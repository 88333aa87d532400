//! Memory of the engine: a candle tensor that is allocated once and written again and again.
//!
//! candle's tensors are values; an operation makes a new one. A training step that reuses its
//! memory needs to write into a tensor, which candle allows to its in-place operations only. A
//! buffer is such a tensor and lends its numbers through one in-place operation.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, StorageRef, Tensor};

use super::real::Element;
use crate::train::error::TrainError;

/// A contiguous tensor of shape (lanes, …) that is written in place.
#[derive(Debug)]
pub struct Buffer<T> {
    tensor: Tensor,
    lane_len: usize,
    marker: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// Zeros of shape (lanes, shape…) on the CPU.
    ///
    /// # Errors
    /// When candle cannot allocate it.
    pub fn zeros(lanes: usize, shape: &[usize]) -> Result<Self, TrainError> {
        let dims: Vec<usize> = std::iter::once(lanes).chain(shape.iter().copied()).collect();
        let tensor = Tensor::zeros(dims, T::DTYPE, &Device::Cpu)?;
        Ok(Self { tensor, lane_len: shape.iter().product(), marker: PhantomData })
    }

    /// The tensor itself, shape (lanes, …).
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Numbers in one lane.
    pub fn lane_len(&self) -> usize {
        self.lane_len
    }

    /// The numbers, to read.
    ///
    /// # Errors
    /// When the tensor is not on the CPU.
    pub fn read(&self) -> Result<Reading<'_, T>, TrainError> {
        let (storage, _) = self.tensor.storage_and_layout();
        if !matches!(&*storage, Storage::Cpu(_)) {
            return Err(TrainError::NotOnCpu);
        }
        Ok(Reading { storage, lane_len: self.lane_len, marker: PhantomData })
    }

    /// Lends the numbers to `kernel`, to write. Buffers that the kernel reads must be others.
    ///
    /// # Errors
    /// When the tensor is not on the CPU.
    pub fn write<R>(&mut self, kernel: impl FnOnce(&mut [T]) -> R) -> Result<R, TrainError> {
        let lend =
            Lend { kernel: Cell::new(Some(kernel)), result: Cell::new(None), marker: PhantomData };
        self.tensor.inplace_op1(&lend)?;
        Ok(lend.result.into_inner().expect("invariant: candle runs an operation it accepts"))
    }
}

/// The numbers of a [`Buffer`], to read.
pub struct Reading<'a, T> {
    storage: StorageRef<'a>,
    lane_len: usize,
    marker: PhantomData<T>,
}

impl<T: Element> Reading<'_, T> {
    /// The first `len` numbers of one lane.
    pub fn lane(&self, lane: usize, len: usize) -> &[T] {
        &self[lane * self.lane_len..][..len]
    }
}

impl<T: Element> Deref for Reading<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(storage) => {
                T::cpu_storage_as_slice(storage).expect("invariant: the buffer was made with T")
            }
            _ => unreachable!("invariant: read() lends only what is on the CPU"),
        }
    }
}

/// The in-place operation that hands a tensor's numbers to a closure.
struct Lend<T, F, R> {
    kernel: Cell<Option<F>>,
    result: Cell<Option<R>>,
    marker: PhantomData<T>,
}

impl<T: Element, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Lend<T, F, R> {
    fn name(&self) -> &'static str {
        "lend"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let len = layout.shape().elem_count();
        let kernel = self.kernel.take().expect("invariant: candle runs an operation once");
        let data = T::lend(storage).expect("invariant: the buffer was made with T");
        self.result.set(Some(kernel(&mut data[..len])));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_lane_by_lane() {
        let mut buffer = Buffer::<f32>::zeros(2, &[3]).unwrap();
        let sum = buffer
            .write(|data| {
                data.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
                data.iter().sum::<f32>()
            })
            .unwrap();
        assert_eq!(sum, 21.0);
        assert_eq!(buffer.read().unwrap().lane(1, 2), [4.0, 5.0]);
        assert_eq!(buffer.tensor().dims(), [2, 3]);
    }
}
