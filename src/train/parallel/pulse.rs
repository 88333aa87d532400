//! A sign of life that proves progress: it beats while the process computes, and stands still where
//! the process is stopped, or stuck.
//!
//! A thread that beats regularly would prove no more than that the thread runs. Here it beats only
//! when the process has used its processors since the last beat, or when its work is not computing:
//! records are written, data is read, and a slow disk is no hang. A rank that waits for another beats
//! as it waits ([`Shared`](super::Shared)). What is left are loops without end; `timeout` is for those.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{ParallelError, Segment};

/// Between two looks at the processor time.
const LOOK: Duration = Duration::from_millis(200);

/// Processor time that counts as progress; looking takes a hundredth of it.
const PROGRESS: Duration = Duration::from_millis(2);

/// Beats for a rank until it is dropped.
pub struct Pulse {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    /// Is the process to compute, so that using no processor is a bad sign?
    computing: AtomicBool,
    over: Mutex<bool>,
    wake: Condvar,
}

impl Pulse {
    /// Beats for `rank` in the memory of its gang.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(segment: Arc<Segment>, rank: usize) -> Result<Self, ParallelError> {
        let state = Arc::new(State {
            computing: AtomicBool::new(false),
            over: Mutex::new(false),
            wake: Condvar::new(),
        });
        let own = Arc::clone(&state);
        let run = move || {
            let mut used = processor_time();
            while !own.sleep() {
                let now = processor_time();
                let progress = now.saturating_sub(used) >= PROGRESS;
                if progress || !own.computing.load(Ordering::Relaxed) {
                    used = now;
                    segment.pulse(rank).fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let thread = std::thread::Builder::new().name("pulse".to_owned()).stack_size(64 << 10);
        let thread = thread.spawn(run).map_err(ParallelError::Thread)?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Says whether the process computes from here on.
    pub fn computing(&self, computing: bool) {
        self.state.computing.store(computing, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        *self.state.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.state.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// Until the next look; is it over?
    fn sleep(&self) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self.wake.wait_timeout_while(over, LOOK, |over| !*over);
        *slept.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What this process has used of its processors so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_while_the_process_does_something_else_than_computing() {
        let segment = Arc::new(Segment::create(2).unwrap());
        let pulse = Pulse::start(Arc::clone(&segment), 1).unwrap();
        while segment.pulse(1).load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        pulse.computing(true);
        drop(pulse);
        assert_eq!(segment.pulse(0).load(Ordering::Relaxed), 0);
    }

    #[test]
    fn processor_time_is_what_work_costs() {
        let before = processor_time();
        let mut x = 1_u64;
        while processor_time() < before + PROGRESS {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(x != 0);
    }
}
