//! Emulated accelerators of several ranks, which are threads of this process: sums in the order of the
//! ranks, through main memory.
//!
//! What a rank gives is read when it is queued; the sums are written when they are joined. Who looks
//! at a gradient too early, or writes into one that is being summed, comes to other numbers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::Emulated;
use crate::train::device::backend::Backend;
use crate::train::device::collective::{Collective, MEETING, Meeting, Stretch, SumTimes};
use crate::train::device::error::DeviceError;

/// For how long the other ranks are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that meet in this process, by the first bytes of what they meet by.
static HALLS: Mutex<BTreeMap<u64, Arc<Hall>>> = Mutex::new(BTreeMap::new());

/// Where the ranks of one gang meet.
#[derive(Debug, Default)]
struct Hall {
    rounds: Mutex<BTreeMap<u64, Round>>,
    moved: Condvar,
}

/// One operation.
#[derive(Debug, Default)]
struct Round {
    /// What each rank gives: how many numbers in each stretch, and all of them.
    given: BTreeMap<usize, (Vec<usize>, Vec<f32>)>,
    /// Ranks that have their sums.
    taken: usize,
}

/// A rank among the others.
#[derive(Debug)]
pub struct Gathering {
    own: Emulated,
    hall: Arc<Hall>,
    rank: usize,
    world: usize,
    /// Operations queued so far.
    round: u64,
    /// Those that are not joined.
    queued: Vec<(u64, Vec<Stretch>)>,
    times: VecDeque<SumTimes>,
}

/// Another one every time.
pub fn meeting() -> Meeting {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut meeting = [0xa5; MEETING];
    meeting[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    meeting
}

fn failed(reason: String) -> DeviceError {
    let device = "the emulated accelerator".to_owned();
    DeviceError::Failed { operation: "a sum over ranks", device, reason }
}

impl Gathering {
    pub fn meet(own: Emulated, meeting: &Meeting, [rank, world]: [usize; 2]) -> Self {
        let number = u64::from_le_bytes(meeting[..8].try_into().unwrap());
        assert!(number > 0 && meeting[8..] == [0xa5; MEETING - 8], "not what rank 0 has made");
        let hall = Arc::clone(HALLS.lock().unwrap().entry(number).or_default());
        let (queued, times) = Default::default();
        Self { own, hall, rank, world, round: 0, queued, times }
    }

    /// What all ranks gave to an operation, summed in the order of the ranks.
    fn sums(&self, round: u64) -> Result<Vec<f32>, DeviceError> {
        let rounds = self.hall.rounds.lock().unwrap();
        let waits = |rounds: &mut BTreeMap<u64, Round>| rounds[&round].given.len() < self.world;
        let (mut rounds, timeout) =
            self.hall.moved.wait_timeout_while(rounds, PATIENCE, waits).unwrap();
        if timeout.timed_out() {
            return Err(failed(format!("rank {} waits in vain", self.rank)));
        }
        let found = rounds.get_mut(&round).unwrap();
        let mut given = found.given.values();
        let (lens, mut sums) = given.next().unwrap().clone();
        for (other, numbers) in given {
            if *other != lens {
                return Err(failed(format!("ranks sum other numbers: {lens:?} and {other:?}")));
            }
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        found.taken += 1;
        if found.taken == self.world {
            rounds.remove(&round);
        }
        Ok(sums)
    }
}

impl Collective for Gathering {
    fn sum(&mut self, stretches: &[Stretch]) -> Result<(), DeviceError> {
        let lens: Vec<usize> = stretches.iter().map(|(_, len)| *len).collect();
        let mut numbers = vec![0.0_f32; lens.iter().sum()];
        let mut rest = numbers.as_mut_slice();
        for (place, len) in stretches {
            let (part, after) = rest.split_at_mut(*len);
            self.own.download(*place, bytemuck::cast_slice_mut(part))?;
            rest = after;
        }
        let mut rounds = self.hall.rounds.lock().unwrap();
        rounds.entry(self.round).or_default().given.insert(self.rank, (lens, numbers));
        self.hall.moved.notify_all();
        drop(rounds);
        self.queued.push((self.round, stretches.to_vec()));
        self.round += 1;
        Ok(())
    }

    fn join(&mut self) -> Result<(), DeviceError> {
        let begun = Instant::now();
        for (round, stretches) in std::mem::take(&mut self.queued) {
            let sums = self.sums(round)?;
            let mut rest = sums.as_slice();
            for (place, len) in stretches {
                let (part, after) = rest.split_at(len);
                self.own.upload(place, bytemuck::cast_slice(part))?;
                rest = after;
            }
        }
        let took = begun.elapsed();
        self.times.push_back(SumTimes { under_way: took, stood_still: took });
        Ok(())
    }

    fn times(&mut self, _wait: bool) -> Result<Option<SumTimes>, DeviceError> {
        Ok(self.times.pop_front())
    }

    fn is_for_good(&self) -> bool {
        false
    }
}
