//! Memory of the engine: allocated once and written again and again, in main memory or on an
//! accelerator.
//!
//! In main memory a buffer is a candle tensor. candle's tensors are values; an operation makes a new
//! one. A training step that reuses its memory needs to write into a tensor, which candle allows to
//! its in-place operations only; a buffer lends its numbers through one.
//!
//! On an accelerator kernels are given its address. Whoever reads or writes it from here is lent a
//! copy, so all of the engine works wherever its buffers are; what happens in every step has kernels.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, StorageRef, Tensor};

use super::real::Element;
use crate::train::device::{Accelerator, Address, Argument, DeviceError, Memory, counted};
use crate::train::error::TrainError;

/// Contiguous numbers of shape (lanes, …) that are written in place.
#[derive(Debug)]
pub struct Buffer<T> {
    /// The numbers in main memory; none of them once they have moved.
    tensor: Tensor,
    lane_len: usize,
    moved: Option<Moved<T>>,
    marker: PhantomData<T>,
}

/// Numbers on an accelerator.
#[derive(Debug)]
struct Moved<T> {
    memory: Memory,
    /// A copy for who writes from here; empty until somebody does.
    stage: Vec<T>,
}

impl<T: Element> Buffer<T> {
    /// Zeros of shape (lanes, shape…) in main memory.
    ///
    /// # Errors
    /// When candle cannot allocate it.
    pub fn zeros(lanes: usize, shape: &[usize]) -> Result<Self, TrainError> {
        let dims: Vec<usize> = std::iter::once(lanes).chain(shape.iter().copied()).collect();
        let tensor = Tensor::zeros(dims, T::DTYPE, &Device::Cpu)?;
        Ok(Self { tensor, lane_len: shape.iter().product(), moved: None, marker: PhantomData })
    }

    /// The tensor itself, shape (lanes, …); without numbers once they have moved.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Numbers in one lane.
    pub fn lane_len(&self) -> usize {
        self.lane_len
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        let numbers = match &self.moved {
            Some(moved) => moved.memory.bytes() / size_of::<T>(),
            None => self.tensor.elem_count(),
        };
        numbers.checked_div(self.lane_len).unwrap_or_default()
    }

    /// Moves the numbers to an accelerator.
    ///
    /// # Errors
    /// When it does not compute with such numbers, has no room for them, or they are too many for
    /// its kernels to count.
    pub fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        if !matches!(T::DTYPE, DType::F32 | DType::U32) {
            let found = T::DTYPE.as_str().to_owned();
            return Err(DeviceError::Precision { found }.into());
        }
        counted("a layer", self.lane_len)?;
        let memory = accelerator.hold::<T>(&self.read()?)?;
        self.tensor = Tensor::zeros(0, T::DTYPE, &Device::Cpu)?;
        self.moved = Some(Moved { memory, stage: Vec::new() });
        Ok(())
    }

    /// The accelerator that it is on, if it is not in main memory.
    pub fn accelerator(&self) -> Option<Accelerator> {
        self.moved.as_ref().map(|moved| moved.memory.accelerator().clone())
    }

    /// Where it begins on its accelerator.
    ///
    /// # Panics
    /// If it is in main memory.
    pub fn address(&self) -> Address {
        let moved = self.moved.as_ref();
        moved.expect("invariant: layers, parameters and batches move together").memory.address()
    }

    /// Numbers in one lane, as kernels count.
    pub fn pitch(&self) -> u32 {
        self.lane_len as u32
    }

    /// The numbers, to read; of an accelerator a copy.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn read(&self) -> Result<Reading<'_, T>, TrainError> {
        if let Some(Moved { memory, .. }) = &self.moved {
            let mut copy = vec![T::default(); memory.bytes() / size_of::<T>()];
            memory.download(0, &mut copy)?;
            let numbers = Numbers::Copied(copy);
            return Ok(Reading { numbers, lane_len: self.lane_len, marker: PhantomData });
        }
        let (storage, _) = self.tensor.storage_and_layout();
        if !matches!(&*storage, Storage::Cpu(_)) {
            return Err(TrainError::NotOnCpu);
        }
        let numbers = Numbers::Lent(storage);
        Ok(Reading { numbers, lane_len: self.lane_len, marker: PhantomData })
    }

    /// Lends the numbers to `kernel`, to write. Buffers that the kernel reads must be others.
    ///
    /// # Errors
    /// When the tensor library or the accelerator fails.
    pub fn write<R>(&mut self, kernel: impl FnOnce(&mut [T]) -> R) -> Result<R, TrainError> {
        if let Some(Moved { memory, stage }) = &mut self.moved {
            stage.resize(memory.bytes() / size_of::<T>(), T::default());
            memory.download(0, stage)?;
            let result = kernel(stage);
            memory.upload(0, stage)?;
            // Whoever needs it in every step has a kernel, or overwrites.
            *stage = Vec::new();
            return Ok(result);
        }
        let lend =
            Lend { kernel: Cell::new(Some(kernel)), result: Cell::new(None), marker: PhantomData };
        self.tensor.inplace_op1(&lend)?;
        Ok(lend.result.into_inner().expect("invariant: candle runs an operation it accepts"))
    }

    /// The same for a `kernel` that does not look at what the numbers were: on an accelerator it is
    /// lent what it wrote the last time, which saves waiting for a copy.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn overwrite<R>(&mut self, kernel: impl FnOnce(&mut [T]) -> R) -> Result<R, TrainError> {
        let Some(Moved { memory, stage }) = &mut self.moved else { return self.write(kernel) };
        stage.resize(memory.bytes() / size_of::<T>(), T::default());
        let result = kernel(stage);
        memory.upload(0, stage)?;
        Ok(result)
    }
}

/// A buffer's address, for a kernel.
impl<T: Element> From<&Buffer<T>> for Argument {
    fn from(buffer: &Buffer<T>) -> Self {
        Self::Place(buffer.address())
    }
}

/// The numbers of a [`Buffer`], to read.
pub struct Reading<'a, T> {
    numbers: Numbers<'a, T>,
    lane_len: usize,
    marker: PhantomData<T>,
}

/// Where they are.
enum Numbers<'a, T> {
    Lent(StorageRef<'a>),
    Copied(Vec<T>),
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
        let storage = match &self.numbers {
            Numbers::Copied(numbers) => return numbers,
            Numbers::Lent(storage) => storage,
        };
        match &**storage {
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

    #[test]
    fn on_an_accelerator_a_copy_is_lent_and_comes_back() {
        let Some(accelerator) = crate::train::device::emulated::accelerator() else { return };
        let mut buffer = Buffer::<f32>::zeros(2, &[2]).unwrap();
        buffer.write(|data| data.copy_from_slice(&[1.0, 2.0, 3.0, 4.0])).unwrap();
        buffer.move_to(&accelerator).unwrap();
        assert_eq!(*buffer.read().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        buffer.write(|data| data[2] = 7.0).unwrap();
        assert_eq!(buffer.read().unwrap().lane(1, 2), [7.0, 4.0]);
        buffer.overwrite(|data| data.fill(5.0)).unwrap();
        buffer.overwrite(|data| data[0] = 6.0).unwrap();
        assert_eq!(*buffer.read().unwrap(), [6.0, 5.0, 5.0, 5.0]);
        let mut wide = Buffer::<f64>::zeros(1, &[2]).unwrap();
        let error = wide.move_to(&accelerator).unwrap_err().to_string();
        assert_eq!(error, "an accelerator computes in f32, found f64");
    }
}
