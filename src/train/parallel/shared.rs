//! Ranks of one machine that sum through shared memory.
//!
//! An all-reduce is a reduce-scatter followed by an all-gather, chunk by chunk: rank s owns the s-th
//! slice of every chunk; the others put that slice where s can read it, s adds them up in the order
//! of the ranks and puts the sum into its own window, where the others take it from. Per rank and
//! number that is (W - 1)/W written and read, once each way, which is what a ring moves, with two
//! waits instead of 2 (W - 1). Chunks are small enough that windows stay in the cache, and several
//! are under way at a time, so a rank seldom waits for another to catch up.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::futex;
use rustix::time::Timespec;

use super::segment::{CHANNELS, CHUNK, Counters, DEPTH, Segment, Window};
use super::vigil::Vigil;
use super::{AllReduce, Communicator, ParallelError};
use crate::train::kernel::Real;
use crate::train::kernel::simd::vectorized;

/// Numbers summed at a time: few enough for the stack and the first-level cache.
const BLOCK: usize = 1 << 10;

/// Looks at a counter before a rank goes to sleep over it.
const SPINS: u32 = 200;

/// A sleep lasts at most this long before the rank looks whether the gang still lives.
const NAP: Duration = Duration::from_millis(50);

/// One rank of a gang on one machine, on one channel of their memory.
#[derive(Debug)]
pub struct Shared {
    segment: Arc<Segment>,
    rank: usize,
    channel: usize,
    /// Chunks that earlier operations have gone through; the counters go on from there.
    chunks: u32,
    /// Operations done.
    operations: u32,
    /// A rank that does not move for so long is taken for hung.
    patience: Duration,
}

/// Which counter of a rank is waited for.
type Counter = fn(&Counters) -> &AtomicU32;

impl Shared {
    /// The rank `rank` of those that share `segment`, on each of its channels, going on from where
    /// it stood if it has spoken there before.
    ///
    /// # Panics
    /// If the segment is for fewer ranks.
    pub fn channels(segment: &Arc<Segment>, rank: usize, patience: Duration) -> [Self; CHANNELS] {
        assert!(rank < segment.world_size(), "invariant: a rank of this world");
        std::array::from_fn(|channel| {
            let own = segment.counters(channel, rank);
            Self {
                rank,
                channel,
                chunks: own.written.0.load(Ordering::Relaxed),
                operations: own.operation.0.load(Ordering::Relaxed),
                patience,
                segment: Arc::clone(segment),
            }
        })
    }

    /// Ends the gang: every rank that waits, now or later, fails with [`ParallelError::Ended`].
    fn end(&self) {
        self.segment.end();
    }

    fn own(&self) -> &Counters {
        self.of(self.rank)
    }

    fn of(&self, rank: usize) -> &Counters {
        self.segment.counters(self.channel, rank)
    }

    fn window(&self, rank: usize) -> Window {
        Window { channel: self.channel, rank }
    }

    fn world(&self) -> usize {
        self.segment.world_size()
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let rank = self.rank;
        (0..self.world()).filter(move |&other| other != rank)
    }

    /// Announces an operation and checks that every rank announces the same one.
    fn begin(&mut self, kind: u32, len: usize) -> Result<(), ParallelError> {
        self.operations = self.operations.wrapping_add(1);
        let signature = (len as u32).wrapping_mul(8).wrapping_add(kind);
        // Two places in turn: a rank may be one operation ahead of another that still reads.
        let place = self.operations as usize % 2;
        self.own().signatures[place].0.store(signature, Ordering::Relaxed);
        raise(&self.own().operation.0, self.operations);
        for other in self.others() {
            self.wait(other, |c| &c.operation.0, self.operations)?;
            let found = self.of(other).signatures[place].0.load(Ordering::Relaxed);
            if found != signature {
                self.end();
                return Err(ParallelError::OutOfStep {
                    rank: self.rank,
                    other,
                    found: describe(signature),
                    other_found: describe(found),
                });
            }
        }
        Ok(())
    }

    /// Waits until a counter of another rank has come to `target`. A rank that waits here has done
    /// its part, and says so.
    fn wait(&self, other: usize, counter: Counter, target: u32) -> Result<(), ParallelError> {
        let value = counter(self.of(other));
        for _ in 0..SPINS {
            if reached(value.load(Ordering::Acquire), target) {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        let pulse = self.segment.pulse(other);
        let mut vigil = Vigil::begin(pulse.load(Ordering::Relaxed), Instant::now());
        loop {
            let found = value.load(Ordering::Acquire);
            if reached(found, target) {
                return Ok(());
            }
            if self.segment.ended().load(Ordering::Acquire) != 0 {
                return Err(ParallelError::Ended { rank: self.rank });
            }
            self.segment.pulse(self.rank).fetch_add(1, Ordering::Relaxed);
            let waited = vigil.look(pulse.load(Ordering::Relaxed), Instant::now());
            if waited > self.patience {
                self.end();
                return Err(ParallelError::StandsStill { rank: self.rank, other, waited });
            }
            sleep_over(value, found);
        }
    }
}

impl Shared {
    /// Puts a chunk's slices where their owners can read them.
    fn give<T: Real>(&self, chunk: &Chunk, numbers: &[T]) -> Result<(), ParallelError> {
        let free = chunk.number.wrapping_add(1).wrapping_sub(DEPTH as u32);
        for other in self.others() {
            self.wait(other, |c| &c.taken.0, free)?;
        }
        for owner in self.others() {
            let slice = chunk.slice(owner, self.world());
            self.segment.put(self.window(self.rank), chunk.number, slice.start, &numbers[slice]);
        }
        raise(&self.own().written.0, chunk.number.wrapping_add(1));
        Ok(())
    }

    /// Sums the slice that this rank owns.
    fn reduce<T: Real>(&self, chunk: &Chunk, numbers: &mut [T]) -> Result<(), ParallelError> {
        for other in self.others() {
            self.wait(other, |c| &c.written.0, chunk.number.wrapping_add(1))?;
        }
        let slice = chunk.slice(self.rank, self.world());
        let (mut sum, mut given) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
        let blocks = numbers[slice.clone()].chunks_mut(BLOCK).enumerate();
        for (own, offset) in blocks.map(|(n, own)| (own, slice.start + n * BLOCK)) {
            let (sum, given) = (&mut sum[..own.len()], &mut given[..own.len()]);
            for rank in 0..self.world() {
                let into = if rank == 0 { &mut *sum } else { &mut *given };
                if rank == self.rank {
                    into.copy_from_slice(own);
                } else {
                    self.segment.take(self.window(rank), chunk.number, offset, into);
                }
                if rank > 0 {
                    add(sum, given);
                }
            }
            own.copy_from_slice(sum);
            self.segment.put(self.window(self.rank), chunk.number, offset, sum);
        }
        raise(&self.own().reduced.0, chunk.number.wrapping_add(1));
        Ok(())
    }

    /// Takes the other slices' sums from their owners.
    fn gather<T: Real>(&self, chunk: &Chunk, numbers: &mut [T]) -> Result<(), ParallelError> {
        for owner in self.others() {
            self.wait(owner, |c| &c.reduced.0, chunk.number.wrapping_add(1))?;
            let slice = chunk.slice(owner, self.world());
            self.segment.take(self.window(owner), chunk.number, slice.start, &mut numbers[slice]);
        }
        raise(&self.own().taken.0, chunk.number.wrapping_add(1));
        Ok(())
    }
}

impl Communicator for Shared {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world()
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        self.begin(BARRIER, 0)
    }
}

impl<T: Real> AllReduce<T> for Shared {
    fn all_reduce(&mut self, data: &mut [T]) -> Result<(), ParallelError> {
        self.begin(ALL_REDUCE, data.len())?;
        let (first, len) = (self.chunks, data.len());
        let chunks = len.div_ceil(CHUNK);
        let chunk = |place: usize| Chunk {
            number: first.wrapping_add(place as u32),
            start: place * CHUNK,
            end: len.min((place + 1) * CHUNK),
        };
        let chunk = |place: usize| (place < chunks).then(|| chunk(place));
        // Two chunks stay between giving and gathering: by then the others have done their part.
        for place in 0..chunks + 2 {
            if let Some(chunk) = chunk(place) {
                self.give(&chunk, &data[chunk.range()])?;
            }
            if let Some(chunk) = place.checked_sub(1).and_then(chunk) {
                self.reduce(&chunk, &mut data[chunk.range()])?;
            }
            if let Some(chunk) = place.checked_sub(2).and_then(chunk) {
                self.gather(&chunk, &mut data[chunk.range()])?;
            }
        }
        self.chunks = first.wrapping_add(chunks as u32);
        Ok(())
    }

    fn broadcast(&mut self, data: &mut [T]) -> Result<(), ParallelError> {
        if self.rank != 0 {
            // A sum with zeros: exact, but for the sign of a zero, and rare enough to be slow.
            data.fill(T::ZERO);
        }
        self.all_reduce(data)
    }
}

/// Kinds of operations, as they are announced.
const ALL_REDUCE: u32 = 1;
const BARRIER: u32 = 2;

fn describe(signature: u32) -> String {
    match (signature % 8, signature / 8) {
        (ALL_REDUCE, len) => format!("an all-reduce of {len} numbers"),
        (BARRIER, _) => "a barrier".to_owned(),
        (kind, len) => format!("operation {kind} of {len} numbers"),
    }
}

/// A chunk of the numbers of one operation.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// Among all chunks of the ranks' life.
    number: u32,
    start: usize,
    end: usize,
}

impl Chunk {
    /// Its numbers.
    fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The part of it that a rank sums, counted from the chunk's first number.
    fn slice(&self, owner: usize, world: usize) -> Range<usize> {
        let len = self.end - self.start;
        len * owner / world..len * (owner + 1) / world
    }
}

/// `sum[i] += given[i]`, vectorised.
fn add<T: Real>(sum: &mut [T], given: &[T]) {
    vectorized(
        #[inline(always)]
        || {
            for (sum, &given) in sum.iter_mut().zip(given) {
                *sum += given;
            }
        },
    );
}

/// Has a counter come to `target`? Counters wrap around.
fn reached(value: u32, target: u32) -> bool {
    value.wrapping_sub(target) as i32 >= 0
}

/// Sets a counter of this rank and wakes those that sleep over it.
fn raise(counter: &AtomicU32, value: u32) {
    counter.store(value, Ordering::Release);
    // Nobody may be asleep, and a wake-up that fails is made up for by the end of the nap.
    let _ = futex::wake(counter, futex::Flags::empty(), u32::MAX >> 1);
}

/// Sleeps until a counter is raised above `found`, for at most a nap.
fn sleep_over(counter: &AtomicU32, found: u32) {
    let nap = Timespec { tv_sec: 0, tv_nsec: NAP.as_nanos() as i64 };
    // An error is a raise in the meantime, a signal or the end of the nap: look again either way.
    let _ = futex::wait(counter, futex::Flags::empty(), found, Some(&nap));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Runs `work` as every rank of a world, each with a mapping of its own, and gives what they gave.
    fn gang<R: Send>(world: usize, work: impl Fn(Shared) -> R + Sync) -> Vec<R> {
        let first = Segment::create(world).unwrap();
        let join = |rank: usize| {
            let file = first.descriptor().try_clone_to_owned().unwrap();
            let segment = Arc::new(Segment::open(file, world).unwrap());
            let [_, channel, _] = Shared::channels(&segment, rank, PATIENCE);
            channel
        };
        let ranks: Vec<Shared> = (0..world).map(join).collect();
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                ranks.into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn numbers(rank: usize, len: usize) -> Vec<f32> {
        let mut reader = Stream::new(rank as u64, Purpose::Synthetic, 0, 0).reader();
        (0..len).map(|_| reader.uniform_in(-1.0, 1.0)).collect()
    }

    #[test]
    fn every_rank_gets_the_sum_in_the_order_of_the_ranks() {
        for world in [1, 2, 3, 4] {
            for len in [0, 1, 3, CHUNK, 9 * CHUNK + 7] {
                let sums = gang(world, |mut rank| {
                    let mut data = numbers(rank.rank, len);
                    rank.all_reduce(&mut data).unwrap();
                    rank.barrier().unwrap();
                    // A second one goes on where the first one ended.
                    rank.all_reduce(&mut data).unwrap();
                    data
                });
                let mut expected = numbers(0, len);
                for rank in 1..world {
                    add(&mut expected, &numbers(rank, len));
                }
                let once = expected.clone();
                (1..world).for_each(|_| add(&mut expected, &once));
                assert!(sums.iter().all(|sum| *sum == expected), "{world} ranks, {len} numbers");
            }
        }
    }

    #[test]
    fn a_broadcast_gives_everyone_what_rank_0_has() {
        let found = gang(3, |mut rank| {
            let mut data = numbers(rank.rank + 5, 1000);
            rank.broadcast(&mut data).unwrap();
            data
        });
        assert!(found.iter().all(|data| *data == numbers(5, 1000)));
    }

    #[test]
    fn ranks_that_do_different_things_are_told_apart() {
        let found = gang(2, |mut rank| {
            let len = 10 + rank.rank;
            rank.all_reduce(&mut vec![0.0; len]).unwrap_err().to_string()
        });
        assert!(found.iter().any(|text| text.contains("an all-reduce of 10 numbers")), "{found:?}");
    }

    #[test]
    fn a_rank_that_stands_still_ends_the_gang() {
        let segment = Arc::new(Segment::create(2).unwrap());
        let [mut rank, _, _] = Shared::channels(&segment, 0, Duration::from_millis(1));
        let error = rank.barrier().unwrap_err().to_string();
        assert!(error.starts_with("rank 1 has not moved for"), "{error}");
        assert!(matches!(rank.barrier(), Err(ParallelError::Ended { rank: 0 })));
    }

    #[test]
    fn memory_of_another_world_is_refused() {
        let segment = Segment::create(2).unwrap();
        let file = segment.descriptor().try_clone_to_owned().unwrap();
        let error = Segment::open(file, 3).unwrap_err().to_string();
        assert!(error.contains("for 3 ranks"), "{error}");
    }

    /// Bandwidth of an all-reduce of 64 MB over two ranks, as a part of that of a plain copy.
    #[test]
    #[ignore = "a timing, to be looked at"]
    #[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
    fn time_an_all_reduce() {
        let len = 16 << 20;
        let from = vec![1.0_f32; len];
        let mut to = vec![0.0; len];
        let least = |times: Vec<f64>| times.into_iter().fold(f64::INFINITY, f64::min);
        let copy = least(
            (0..9)
                .map(|_| {
                    let begun = Instant::now();
                    to.copy_from_slice(&from);
                    begun.elapsed().as_secs_f64()
                })
                .collect(),
        );
        let times = gang(2, |mut rank| {
            let mut data = vec![1.0_f32; len];
            least(
                (0..9)
                    .map(|_| {
                        rank.barrier().unwrap();
                        let begun = Instant::now();
                        rank.all_reduce(&mut data).unwrap();
                        begun.elapsed().as_secs_f64()
                    })
                    .collect(),
            )
        });
        println!(
            "copy {:.1} ms, all-reduce {:.1} ms, ratio {:.2}",
            copy * 1e3,
            times[0] * 1e3,
            copy / times[0]
        );
    }
}
