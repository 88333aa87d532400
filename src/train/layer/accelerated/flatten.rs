//! From images to vectors on an accelerator.

use super::Flatten;
use crate::train::device::{Accelerator, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};

impl Flatten {
    /// Transposes `samples` matrices of (rows, columns) in every lane.
    pub(super) fn transpose_on<T: Real>(
        accelerator: &Accelerator,
        (from, to): (&Buffer<T>, &mut Buffer<T>),
        samples: usize,
        [rows, columns]: [usize; 2],
    ) -> Result<(), TrainError> {
        let given = arguments![from, &*to, from.pitch(), to.pitch(), rows as u32, columns as u32];
        accelerator.launch("transpose_each", [samples * rows * columns, from.lanes()], given)?;
        Ok(())
    }
}
