//! The pages that a worker's memory comes in.

use rustix::thread::disable_transparent_huge_pages;

/// Keeps the system from backing memory with huge pages of 2 MiB, in this process from now on and in
/// those that it starts. With them a network of a few megabytes takes half as much again, since all
/// that lies between its pieces counts too, and how much depends on the settings of the machine;
/// training steps are no faster (`docs/design/memory.md`). A system without huge pages refuses, and
/// has none to keep off.
pub fn use_small_pages() {
    let _ = disable_transparent_huge_pages(true);
}
