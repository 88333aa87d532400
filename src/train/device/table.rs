//! Small arrays that kernels look things up in: what differs from lane to lane, where windows lie.

use bytemuck::Pod;

use super::accelerator::{Accelerator, Memory};
use super::backend::Address;
use super::error::DeviceError;

/// Numbers that are made on the host and copied to the accelerator when a kernel needs them and they
/// have changed.
#[derive(Debug)]
pub struct Table<T> {
    numbers: Vec<T>,
    /// The bytes that were copied last.
    sent: Vec<u8>,
    copy: Option<Memory>,
    changed: bool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { numbers: Vec::new(), sent: Vec::new(), copy: None, changed: true }
    }
}

impl<T: Pod> Table<T> {
    /// Replaces the numbers by what `fill` puts into an empty vector.
    pub fn refill(&mut self, fill: impl FnOnce(&mut Vec<T>)) {
        self.numbers.clear();
        fill(&mut self.numbers);
        self.changed = true;
    }

    /// Has it never been filled?
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Where the numbers are on the accelerator.
    ///
    /// # Errors
    /// When it has no memory left, or the copy fails.
    pub fn place(&mut self, accelerator: &Accelerator) -> Result<Address, DeviceError> {
        let bytes = size_of_val(&self.numbers[..]);
        if self.copy.as_ref().is_none_or(|copy| copy.bytes() < bytes) {
            self.copy = Some(accelerator.zeros::<T>(self.numbers.len())?);
            self.sent.clear();
            self.changed = true;
        }
        let copy = self.copy.as_ref().expect("invariant: made above");
        if self.changed {
            // Much that is filled anew in every step is what it was: a rate, smoothing.
            let numbers = bytemuck::cast_slice(&self.numbers);
            if self.sent != numbers {
                copy.upload(0, &self.numbers)?;
                self.sent.clear();
                self.sent.extend_from_slice(numbers);
            }
            self.changed = false;
        }
        Ok(copy.address())
    }

    /// Where the numbers that `fill` gives are on the accelerator; `fill` is called once, since they
    /// never change.
    ///
    /// # Errors
    /// As [`place`](Self::place).
    pub fn once(
        &mut self,
        accelerator: &Accelerator,
        fill: impl FnOnce(&mut Vec<T>),
    ) -> Result<Address, DeviceError> {
        if self.is_empty() {
            self.refill(fill);
        }
        self.place(accelerator)
    }
}
