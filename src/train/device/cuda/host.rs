//! Memory of the host that the GPU copies from and to by itself, while the host goes on.
//!
//! The driver may wait with a copy from or to ordinary memory until the stream has come to it; a copy
//! of pinned memory never waits. What is copied to the GPU is laid down in blocks of such memory, one
//! after the other; a block is written again only after an event has said that the last copy from it
//! is done. What comes back has a place of its own until it is collected.
#![expect(unsafe_code, reason = "memory that CUDA allocates comes as a pointer")]

use std::ptr::NonNull;

use cudarc::driver::{DriverError, result, sys};

/// Bytes of a block, and the most that is copied at once.
const BLOCK: usize = 2 << 20;

/// The most blocks; only then does the host wait.
const MOST_BLOCKS: usize = 16;

/// Pieces in a block begin at multiples of so many bytes.
const ALIGNMENT: usize = 64;

/// Fewest bytes of a place for what comes back.
const FEWEST: usize = 4 << 10;

/// Pinned memory.
#[derive(Debug)]
struct Pinned {
    place: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory belongs to the process and to this value alone.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(bytes: usize) -> Result<Self, DriverError> {
        // SAFETY: the memory is written before it is read.
        let place = unsafe { result::malloc_host(bytes, 0) }?;
        let place = NonNull::new(place.cast()).ok_or(DriverError(OUT_OF_MEMORY))?;
        // SAFETY: so many bytes were allocated.
        unsafe { place.write_bytes(0, bytes) };
        Ok(Self { place, bytes })
    }

    fn all(&self) -> &[u8] {
        // SAFETY: the memory is this value's and was written when it was allocated.
        unsafe { std::slice::from_raw_parts(self.place.as_ptr(), self.bytes) }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.place.as_ptr(), self.bytes) }
    }
}

const OUT_OF_MEMORY: sys::CUresult = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;

impl Drop for Pinned {
    fn drop(&mut self) {
        // The process may be ending: there is nobody to tell.
        // SAFETY: the driver allocated it, and the stream has come to its end before.
        let _ = unsafe { result::free_host(self.place.as_ptr().cast()) };
    }
}

/// A place in the stream.
#[derive(Debug)]
struct Event(sys::CUevent);

// SAFETY: the handle belongs to the context, not to a thread.
unsafe impl Send for Event {}

impl Event {
    fn new() -> Result<Self, DriverError> {
        result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map(Self)
    }

    fn record(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: both are of the context that is bound.
        unsafe { result::event::record(self.0, stream) }
    }

    /// Has the stream come to it?
    fn is_reached(&self) -> Result<bool, DriverError> {
        // SAFETY: the event is there as long as this is.
        match unsafe { result::event::query(self.0) } {
            Ok(()) => Ok(true),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: as above.
        unsafe { result::event::synchronize(self.0) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is used no more.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

/// Copies to the GPU.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// In the order in which they are used, over and over.
    blocks: Vec<Block>,
    current: usize,
    /// Bytes of the current block that are taken.
    taken: usize,
}

#[derive(Debug)]
struct Block {
    memory: Pinned,
    /// After the last copy from it.
    left: Event,
}

impl Staging {
    /// Queues a copy of `bytes`, which may be changed at once, to a place that has room for them.
    pub(super) fn copy(
        &mut self,
        to: sys::CUdeviceptr,
        bytes: &[u8],
        stream: sys::CUstream,
    ) -> Result<(), DriverError> {
        let mut to = to;
        for piece in bytes.chunks(BLOCK) {
            let first = self.room(piece.len(), stream)?;
            let place = first..first + piece.len();
            let Block { memory, .. } = &mut self.blocks[self.current];
            memory.all_mut()[place.clone()].copy_from_slice(piece);
            // SAFETY: the place has room, and the block stays as it is until the stream has come to
            // its event, which is recorded after this copy.
            unsafe { result::memcpy_htod_async(to, &memory.all()[place], stream) }?;
            to += piece.len() as u64;
        }
        Ok(())
    }

    /// Where `bytes` bytes may be written in the current block, which may become another one.
    fn room(&mut self, bytes: usize, stream: sys::CUstream) -> Result<usize, DriverError> {
        if self.blocks.is_empty() || self.taken + bytes > BLOCK {
            self.go_on(stream)?;
        }
        let first = self.taken;
        self.taken += bytes.next_multiple_of(ALIGNMENT);
        Ok(first)
    }

    /// Leaves the current block for the one that was left first, or for a new one where that is
    /// still copied from.
    fn go_on(&mut self, stream: sys::CUstream) -> Result<(), DriverError> {
        let mut next = 0;
        if let Some(Block { left, .. }) = self.blocks.get(self.current) {
            left.record(stream)?;
            next = (self.current + 1) % self.blocks.len();
        }
        let is_free = match self.blocks.get(next) {
            Some(_) if next == self.current => false,
            Some(block) => block.left.is_reached()?,
            None => false,
        };
        if !is_free && self.blocks.len() < MOST_BLOCKS {
            next = self.blocks.len().min(self.current + 1);
            let block = Block { memory: Pinned::new(BLOCK)?, left: Event::new()? };
            self.blocks.insert(next, block);
        } else if !is_free {
            self.blocks[next].left.wait()?;
        }
        (self.current, self.taken) = (next, 0);
        Ok(())
    }
}

/// Copies from the GPU.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Vec<Arrival>);

#[derive(Debug)]
struct Arrival {
    memory: Pinned,
    /// Bytes that were fetched.
    bytes: usize,
    /// After the copy to it.
    done: Event,
    /// Will somebody collect it?
    is_expected: bool,
}

impl Arrivals {
    /// Queues a copy of `bytes` bytes; says where they will be.
    pub(super) fn fetch(
        &mut self,
        from: sys::CUdeviceptr,
        bytes: usize,
        stream: sys::CUstream,
    ) -> Result<usize, DriverError> {
        let fits = |arrival: &Arrival| !arrival.is_expected && arrival.memory.bytes >= bytes;
        let place = match self.0.iter().position(fits) {
            Some(place) => place,
            None => {
                let memory = Pinned::new(bytes.next_power_of_two().max(FEWEST))?;
                let done = Event::new()?;
                self.0.push(Arrival { memory, bytes, done, is_expected: false });
                self.0.len() - 1
            }
        };
        let arrival = &mut self.0[place];
        // SAFETY: there are as many bytes (their owner has checked); nobody looks at the memory
        // before the stream has come to the event after the copy.
        unsafe { result::memcpy_dtoh_async(&mut arrival.memory.all_mut()[..bytes], from, stream) }?;
        arrival.done.record(stream)?;
        (arrival.bytes, arrival.is_expected) = (bytes, true);
        Ok(place)
    }

    /// Waits for a copy and hands its bytes over.
    pub(super) fn collect(&mut self, place: usize, bytes: &mut [u8]) -> Result<(), DriverError> {
        let arrival = &mut self.0[place];
        arrival.is_expected = false;
        arrival.done.wait()?;
        bytes.copy_from_slice(&arrival.memory.all()[..arrival.bytes]);
        Ok(())
    }

    /// Gives the place of a copy to others. They are copied to it later in the same stream.
    pub(super) fn forget(&mut self, place: usize) {
        self.0[place].is_expected = false;
    }
}
