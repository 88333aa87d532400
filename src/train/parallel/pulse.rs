//! A sign of life that proves progress: it beats while the process computes, and stands still where
//! the process is stopped, or stuck.
//!
//! A thread that beats regularly would prove no more than that the thread runs. Here it beats only
//! when the process has used its processors since the last beat, or when its work is not computing:
//! records are written, data is read, and a slow disk is no hang; an accelerator computes, and who
//! waits for it uses no processor. A rank that waits for another beats as it waits
//! ([`Shared`](super::Shared)). What is left are loops without end; `timeout` is for those.
//!
//! A rank whose accelerator waits for that of another cannot look whether the other still moves: its
//! thread is in a call that returns when the sum is made. So the thread of the pulse looks for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::vigil::Vigil;
use super::{ParallelError, Segment};

/// Between two looks at the processor time.
const LOOK: Duration = Duration::from_millis(200);

/// Processor time that counts as progress; looking takes a hundredth of it.
const PROGRESS: Duration = Duration::from_millis(2);

/// What to do when another rank stands still and the thread that trains cannot be told. Ends the
/// process, ordinarily.
pub type Lost = Box<dyn Fn(ParallelError) + Send + Sync>;

/// Beats for a rank until it is dropped.
pub struct Pulse {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    segment: Arc<Segment>,
    rank: usize,
    /// A rank that does not move for so long is taken for hung.
    patience: Duration,
    /// Is the process to compute, so that using no processor is a bad sign?
    computing: AtomicBool,
    /// Calls of the rank's accelerator that are under way, if it has one.
    calls: OnceLock<Arc<AtomicUsize>>,
    lost: OnceLock<Lost>,
    over: Mutex<bool>,
    wake: Condvar,
}

impl Pulse {
    /// Beats for `rank` in the memory of its gang.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        segment: Arc<Segment>,
        rank: usize,
        patience: Duration,
    ) -> Result<Self, ParallelError> {
        let state = Arc::new(State {
            segment,
            rank,
            patience,
            computing: AtomicBool::new(false),
            calls: OnceLock::new(),
            lost: OnceLock::new(),
            over: Mutex::new(false),
            wake: Condvar::new(),
        });
        let own = Arc::clone(&state);
        let run = move || {
            let mut used = processor_time();
            let mut vigils = Vec::new();
            while !own.sleep() {
                let now = processor_time();
                let progress = now.saturating_sub(used) >= PROGRESS;
                let waits = own.waits_for_accelerator();
                if progress || waits || !own.computing.load(Ordering::Relaxed) {
                    used = now;
                    own.segment.pulse(own.rank).fetch_add(1, Ordering::Relaxed);
                }
                if waits {
                    own.look_at_others(&mut vigils, Instant::now());
                } else {
                    vigils.clear();
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

    /// Is done when another rank stands still while this one waits for its accelerator.
    pub(super) fn when_lost(&self, lost: Lost) {
        // Said once, by whoever joined the gang.
        let _ = self.state.lost.set(lost);
    }

    /// From here on the rank computes on an accelerator, `calls` of which are under way. All ranks
    /// are there.
    pub(super) fn follow_calls(&self, calls: Arc<AtomicUsize>) {
        // A later trainer of the rank has the same accelerator.
        let _ = self.state.calls.set(calls);
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

    fn waits_for_accelerator(&self) -> bool {
        self.calls.get().is_some_and(|calls| calls.load(Ordering::Relaxed) > 0)
    }

    /// Ends the gang if another rank has stood still for as long as this one waits, or patience ends.
    fn look_at_others(&self, vigils: &mut Vec<Vigil>, now: Instant) {
        let beat = |rank: usize| self.segment.pulse(rank).load(Ordering::Relaxed);
        let ranks = 0..self.segment.world_size();
        if vigils.is_empty() {
            vigils.extend(ranks.map(|rank| Vigil::begin(beat(rank), now)));
            return;
        }
        for (other, vigil) in ranks.zip(vigils) {
            let waited = vigil.look(beat(other), now);
            if other != self.rank && waited > self.patience {
                self.segment.end();
                if let Some(lost) = self.lost.get() {
                    lost(ParallelError::StandsStill { rank: self.rank, other, waited });
                }
                return;
            }
        }
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

    const PATIENCE: Duration = Duration::from_millis(300);

    #[test]
    fn it_beats_while_the_process_does_something_else_than_computing() {
        let segment = Arc::new(Segment::create(2).unwrap());
        let pulse = Pulse::start(Arc::clone(&segment), 1, PATIENCE).unwrap();
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

    fn beats(segment: &Segment, rank: usize) -> u32 {
        segment.pulse(rank).load(Ordering::Relaxed)
    }

    #[test]
    fn one_who_waits_for_an_accelerator_lives_and_misses_a_rank_that_stands_still() {
        let segment = Arc::new(Segment::create(3).unwrap());
        let (tell, told) = std::sync::mpsc::sync_channel(9);
        let pulse = Pulse::start(Arc::clone(&segment), 0, PATIENCE).unwrap();
        pulse.when_lost(Box::new(move |error| drop(tell.try_send(error.to_string()))));
        pulse.computing(true);
        let calls = Arc::new(AtomicUsize::new(1));
        pulse.follow_calls(Arc::clone(&calls));
        // The third rank moves, the second does not.
        let missed = loop {
            segment.pulse(2).fetch_add(1, Ordering::Relaxed);
            match told.recv_timeout(LOOK / 8) {
                Ok(missed) => break missed,
                Err(_) => continue,
            }
        };
        assert!(missed.starts_with("rank 1 has not moved for 0."), "{missed}");
        assert!(beats(&segment, 0) > 0);
        assert_eq!(segment.ended().load(Ordering::Relaxed), 1);
    }

    #[test]
    fn one_who_does_not_wait_for_an_accelerator_blames_nobody() {
        let segment = Arc::new(Segment::create(2).unwrap());
        let pulse = Pulse::start(Arc::clone(&segment), 0, Duration::ZERO).unwrap();
        pulse.follow_calls(Arc::default());
        while beats(&segment, 0) < 4 {
            std::thread::yield_now();
        }
        assert_eq!(segment.ended().load(Ordering::Relaxed), 0);
    }
}
