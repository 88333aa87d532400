//! Notes who allocates on a thread, for the tests that say that nobody must.
#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; every call is handed on as it is"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};

use mimalloc::MiMalloc;

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static CULPRITS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The program's allocator, watched.
struct Watched;

/// Does `work` and tells which functions of this program, of candle or of gemm allocated meanwhile
/// on this thread: the innermost one for each allocation.
pub fn allocators_during(work: impl FnOnce()) -> Vec<String> {
    WATCHING.set(true);
    work();
    WATCHING.set(false);
    CULPRITS.take()
}

fn note() {
    // Noting allocates as well; and a thread that is about to end may still allocate.
    if !WATCHING.try_with(|watching| watching.replace(false)).unwrap_or(false) {
        return;
    }
    let trace = Backtrace::force_capture().to_string();
    // A frame that is inlined has no path in its name; then the file on its second line tells.
    let known = ["gridlane::", "./src/", "candle_core", "candle-core", "gemm_", "gemm-"];
    let known = |line: &&str| known.iter().any(|name| line.contains(name));
    let mut lines = trace.lines().filter(|line| !line.contains("allocation_count")).filter(known);
    let culprit = lines.next().unwrap_or("unknown").trim().to_owned();
    CULPRITS.with_borrow_mut(|culprits| culprits.push(culprit));
    WATCHING.set(true);
}

// SAFETY: all memory is MiMalloc's, which keeps the contract; noting touches none of it.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as the caller promises; the memory came from MiMalloc.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; the memory came from MiMalloc.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}
