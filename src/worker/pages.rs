//! The pages that a worker's memory comes in.
#![expect(
    unsafe_code,
    reason = "the allocator is C, and what it can be asked for has no safe form"
)]

use rustix::thread::disable_transparent_huge_pages;

/// Keeps the system from backing memory with huge pages of 2 MiB, in this process from now on and in
/// those that it starts. With them a network of a few megabytes takes half as much again, since all
/// that lies between its pieces counts too, and how much depends on the settings of the machine;
/// training steps are no faster (`docs/design/memory.md`). A system without huge pages refuses, and
/// has none to keep off.
pub fn use_small_pages() {
    let _ = disable_transparent_huge_pages(true);
}

/// Gives memory that was freed back to the system at once. The allocator would do so when it is asked for
/// more, and a training step asks for none: what was freed before the first one would stay.
pub(super) fn give_back_freed_pages() {
    // SAFETY: it only looks at what has been freed.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
