//! On an accelerator: numbers in bf16, the factors of products and what a library makes of them.

use crate::train::device::{Accelerator, Address, Memory, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};

/// Bytes of a number in bf16.
pub const BYTES: usize = size_of::<u16>();

/// A copy in bf16 of what one buffer holds, made anew before it is used; its memory is kept.
#[derive(Debug, Default)]
pub struct Rounded {
    memory: Option<Memory>,
}

impl Rounded {
    /// Rounds the first `len` numbers of every lane of `from`. They lie as far apart as those.
    pub fn round<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        from: &Buffer<T>,
        len: usize,
    ) -> Result<Address, TrainError> {
        let numbers = from.lanes() * from.lane_len();
        let fits = self.memory.as_ref().is_some_and(|memory| memory.bytes() >= numbers * BYTES);
        if !fits {
            self.memory = Some(accelerator.zeros::<u16>(numbers)?);
        }
        let to = self.place();
        round(accelerator, from, len, (to, from.lane_len()))?;
        Ok(to)
    }

    /// Where the copy is.
    ///
    /// # Panics
    /// If there is none: backward follows forward.
    pub fn place(&self) -> Address {
        self.memory.as_ref().expect("invariant: rounded in the forward before").address()
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, Memory::bytes)
    }
}

/// Rounds the first `len` numbers of every lane of `from` to a place with its pitch.
pub fn round<T: Real>(
    accelerator: &Accelerator,
    from: &Buffer<T>,
    len: usize,
    (to, pitch): (Address, usize),
) -> Result<(), TrainError> {
    let given = arguments![from, to, from.pitch(), pitch as u32];
    accelerator.launch_fours("round_to_bf16", [len, from.lanes()], given)?;
    Ok(())
}

/// The first `len` numbers of every lane of `to` from a place with its pitch.
pub fn widen<T: Real>(
    accelerator: &Accelerator,
    (from, pitch): (Address, usize),
    to: &Buffer<T>,
    len: usize,
) -> Result<(), TrainError> {
    let given = arguments![from, to, pitch as u32, to.pitch()];
    accelerator.launch_fours("widen_bf16", [len, to.lanes()], given)?;
    Ok(())
}
