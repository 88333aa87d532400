//! Memory that the ranks of one machine share: counters, and a window of each rank for the others to
//! read.
//!
//! The memory has no name: it is an anonymous file whose descriptor the ranks inherit, so it is gone
//! with the last of them, however they end. This is the one place that touches it through pointers;
//! all bounds are checked here. Who may touch what and when is the business of `shared.rs`: numbers
//! are plain memory, ordered by the counters.
#![expect(unsafe_code, reason = "memory shared between processes has no safe form")]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::ParallelError;
use crate::train::kernel::Real;

/// Numbers in one chunk: what ranks work on at a time.
pub(super) const CHUNK: usize = 1 << 15;

/// Chunks that a window holds, so that ranks need not move in lockstep.
pub(super) const DEPTH: usize = 4;

/// Ways through the memory that do not wait for each other: for gradients, for what ranks agree on,
/// and for what they do next.
pub(super) const CHANNELS: usize = 3;

/// Bytes of a number of the widest kind.
const WIDEST: usize = 8;

/// Tells this memory from any other, and from that of another version.
const MAGIC: u32 = 0x67_6c_70_03;

/// Counters of one rank on one channel. Each has a cache line of its own, since others poll it.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Chunks written to the window.
    pub(super) written: Line,
    /// Chunks summed.
    pub(super) reduced: Line,
    /// Chunks read from the others' windows.
    pub(super) taken: Line,
    /// What the rank is doing: the number of operations begun.
    pub(super) operation: Line,
    /// Which operations the last two are: kind and length.
    pub(super) signatures: [Line; 2],
}

/// A counter alone in its cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Line(pub(super) AtomicU32);

/// Where a rank puts what the others read on a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// The channel.
    pub(super) channel: usize,
    /// Whose it is.
    pub(super) rank: usize,
}

/// The beginning of the memory.
#[repr(C)]
struct Head {
    magic: Line,
    world_size: Line,
    ended: Line,
}

/// The shared memory, mapped.
#[derive(Debug)]
pub struct Segment {
    file: OwnedFd,
    start: NonNull<u8>,
    bytes: usize,
    world_size: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread; what lies in it is touched through
// atomics, and numbers only in the order that those impose.
unsafe impl Send for Segment {}
// SAFETY: as above; threads share it no differently from processes.
unsafe impl Sync for Segment {}

impl Segment {
    /// Memory for `world_size` ranks, made by the first of them.
    ///
    /// # Errors
    /// When the system does not give it.
    pub fn create(world_size: usize) -> Result<Self, ParallelError> {
        let bytes = Self::bytes(world_size);
        let memory = |source: std::io::Error| ParallelError::Memory { bytes, source };
        // Inherited by the other ranks, so not closed when they are started.
        let file = memfd_create("gridlane-ranks", MemfdFlags::empty())
            .map_err(|error| memory(error.into()))?;
        ftruncate(&file, bytes as u64).map_err(|error| memory(error.into()))?;
        let segment = Self::map(file, world_size)?;
        segment.head().world_size.0.store(world_size as u32, Ordering::Relaxed);
        segment.head().magic.0.store(MAGIC, Ordering::Release);
        Ok(segment)
    }

    /// The memory behind a descriptor that another rank made.
    ///
    /// # Errors
    /// When it is not such memory, or is for another number of ranks.
    pub fn open(file: OwnedFd, world_size: usize) -> Result<Self, ParallelError> {
        let expected = Self::bytes(world_size);
        let mismatch = |found: String| ParallelError::Mismatch {
            expected: format!("{expected} bytes for {world_size} ranks"),
            found,
        };
        let file = File::from(file);
        let found = file
            .metadata()
            .map_err(|source| ParallelError::Memory { bytes: expected, source })?
            .len();
        if found != expected as u64 {
            return Err(mismatch(format!("{found} bytes")));
        }
        let segment = Self::map(file.into(), world_size)?;
        let magic = segment.head().magic.0.load(Ordering::Acquire);
        let ranks = segment.head().world_size.0.load(Ordering::Relaxed);
        if magic != MAGIC || ranks as usize != world_size {
            return Err(mismatch(format!("the mark {magic:#x} and {ranks} ranks")));
        }
        Ok(segment)
    }

    /// The descriptor that other ranks open.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How many ranks it is for.
    pub(super) fn world_size(&self) -> usize {
        self.world_size
    }

    /// Is set when the gang is to end.
    pub(super) fn ended(&self) -> &AtomicU32 {
        &self.head().ended.0
    }

    /// Ends the gang: every rank that waits for another, now or later, gives up.
    pub fn end(&self) {
        self.ended().store(1, Ordering::Release);
    }

    /// Rises whenever a rank has moved on; it stands still when the rank does.
    pub(super) fn pulse(&self, rank: usize) -> &AtomicU32 {
        assert!(rank < self.world_size, "invariant: a rank of this world");
        let place = size_of::<Head>() + rank * size_of::<Line>();
        // SAFETY: as in `counters`.
        let line: &Line = unsafe { self.start.add(place).cast().as_ref() };
        &line.0
    }

    /// The counters of a rank on a channel.
    pub(super) fn counters(&self, channel: usize, rank: usize) -> &Counters {
        assert!(rank < self.world_size, "invariant: a rank of this world");
        assert!(channel < CHANNELS, "invariant: a channel of the memory");
        let place = size_of::<Head>()
            + self.world_size * size_of::<Line>()
            + (channel * self.world_size + rank) * size_of::<Counters>();
        // SAFETY: `place` lies inside the mapping (its size counts a head, and pulses and counters of
        // all ranks), is aligned to 64 since these types are multiples of it and mappings begin at a
        // page; the memory began as zeros, which are valid counters, and lives as long as `self`.
        unsafe { self.start.add(place).cast().as_ref() }
    }

    /// Copies `numbers` into a chunk of a window, from its number `offset` on.
    pub(super) fn put<T: Real>(&self, window: Window, chunk: u32, offset: usize, numbers: &[T]) {
        let place = self.place::<T>(window, chunk, offset, numbers.len());
        // SAFETY: `place` has room for `numbers` (checked); the mapping overlaps no slice.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), place.as_ptr(), numbers.len()) }
    }

    /// Copies numbers out of a chunk of a window.
    pub(super) fn take<T: Real>(
        &self,
        window: Window,
        chunk: u32,
        offset: usize,
        numbers: &mut [T],
    ) {
        let place = self.place::<T>(window, chunk, offset, numbers.len());
        // SAFETY: as in `put`.
        unsafe {
            std::ptr::copy_nonoverlapping(place.as_ptr(), numbers.as_mut_ptr(), numbers.len());
        }
    }

    /// Where the numbers of a chunk lie.
    fn place<T: Real>(&self, window: Window, chunk: u32, offset: usize, len: usize) -> NonNull<T> {
        let Window { channel, rank } = window;
        assert!(rank < self.world_size, "invariant: a rank of this world");
        assert!(channel < CHANNELS, "invariant: a channel of the memory");
        assert!(size_of::<T>() <= WIDEST, "invariant: numbers are f32 or f64");
        assert!(offset <= CHUNK && len <= CHUNK - offset, "invariant: numbers of one chunk");
        let slot = (channel * self.world_size + rank) * DEPTH + chunk as usize % DEPTH;
        let byte = Self::windows(self.world_size) + slot * CHUNK * WIDEST + offset * size_of::<T>();
        // SAFETY: the byte lies inside the mapping by the asserts; windows begin at multiples of 64.
        unsafe { self.start.add(byte).cast() }
    }

    fn head(&self) -> &Head {
        // SAFETY: the mapping begins at a page and holds a head; zeros are a valid one.
        unsafe { self.start.cast().as_ref() }
    }

    /// Where windows begin.
    fn windows(world_size: usize) -> usize {
        let counters = size_of::<Line>() + CHANNELS * size_of::<Counters>();
        size_of::<Head>() + world_size * counters
    }

    /// Size of the memory.
    fn bytes(world_size: usize) -> usize {
        Self::windows(world_size) + CHANNELS * world_size * DEPTH * CHUNK * WIDEST
    }

    fn map(file: OwnedFd, world_size: usize) -> Result<Self, ParallelError> {
        let bytes = Self::bytes(world_size);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let mapped =
            unsafe { mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, &file, 0) };
        let start = mapped
            .map_err(|error| ParallelError::Memory { bytes, source: error.into() })
            .map(|start| NonNull::new(start.cast::<u8>()))?
            .expect("invariant: the kernel maps nothing at address 0");
        Ok(Self { file, start, bytes, world_size })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map`, has this size, and nothing borrows from it any more.
        let done = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(done.is_ok(), "invariant: a mapping can be given back");
    }
}
