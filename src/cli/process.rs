//! What the process asks of the system before it does anything.

use std::num::NonZero;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use signal_hook::consts::SIGXFSZ;

use super::error::CliError;

/// A write beyond the limit on the size of a file (`ulimit -f`) is an error like any other, which says
/// what was written where; by default the kernel ends the process without a word.
pub fn outlive_size_limits() {
    // Nobody reads the flag: that there is a handler is what matters. Without one it is as it was.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Sees to it that plans and tables are made by as many threads as there are cores or, where the system
/// does not give so many (`ulimit -u`), by this one alone: what it does give a sweep has better use for.
///
/// # Errors
/// When not even that can be arranged.
pub fn share_work() -> Result<(), CliError> {
    let wanted = thread::available_parallelism().map_or(1, NonZero::get);
    if can_have(wanted) {
        // The pool starts with the first work for it, and finds its threads.
        return Ok(());
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    alone.build_global().map_err(CliError::NoThread)
}

/// Does the system give so many threads at once? Asked by having them: a pool that finds out too late is
/// lost for good.
fn can_have(threads: usize) -> bool {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let mut had = Vec::with_capacity(threads);
    for _ in 0..threads {
        let wait = Arc::clone(&wait);
        let idle = move || drop(wait.lock().map(|wait| wait.recv()));
        match thread::Builder::new().stack_size(64 << 10).spawn(idle) {
            Ok(thread) => had.push(thread),
            Err(_) => break,
        }
    }
    drop(release);
    let all = had.len() == threads;
    // They end at once, and none of them panics.
    had.into_iter().for_each(|thread| drop(thread.join()));
    all
}
