//! Sums over the accelerators of several ranks, beside what the accelerators compute.

use std::fmt::Debug;
use std::time::Duration;

use super::accelerator::Accelerator;
use super::backend::Address;
use super::error::DeviceError;

/// Bytes by which ranks find one another: made by the accelerator of rank 0, given to that of every
/// rank. As long as NCCL's unique id.
pub type Meeting = [u8; MEETING];

/// How many they are.
pub const MEETING: usize = 128;

/// Numbers on an accelerator: where they begin, and how many f32 they are.
pub type Stretch = (Address, usize);

/// A rank's accelerator among those of the others. All ranks call the same methods in the same order
/// with as many numbers.
pub trait Collective: Debug + Send {
    /// Queues the sum over all ranks, in place and as one operation, of numbers that everything that
    /// is queued on the accelerator so far has made. Nothing may touch them until
    /// [`join`](Self::join) is called.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn sum(&mut self, stretches: &[Stretch]) -> Result<(), DeviceError>;

    /// Has everything that is queued on the accelerator from here on wait for the sums so far, which
    /// are one step's. Waits for nothing itself.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn join(&mut self) -> Result<(), DeviceError>;

    /// What the sums of the oldest step took of which it has not been told; `None` where there is
    /// none, or, if it does not `wait`, where they are still under way.
    ///
    /// # Errors
    /// When this or something queued before fails.
    fn times(&mut self, wait: bool) -> Result<Option<SumTimes>, DeviceError>;

    /// Must the accelerator stay open as long as the process lives? Closing it may wait for a sum that
    /// waits for a rank that is gone.
    fn is_for_good(&self) -> bool;
}

/// What the sums of a step took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SumTimes {
    /// All of them, from the beginning of each bucket to its end.
    pub under_way: Duration,
    /// For how long the accelerator had nothing else to do than to wait for them.
    pub stood_still: Duration,
}

/// The accelerators of all ranks, as one rank uses them; for as long as its process lives.
#[derive(Debug)]
pub struct Gathered {
    accelerator: Accelerator,
    collective: Box<dyn Collective>,
}

impl Gathered {
    pub(super) fn new(accelerator: Accelerator, collective: Box<dyn Collective>) -> Self {
        if collective.is_for_good() {
            std::mem::forget(accelerator.clone());
        }
        Self { accelerator, collective }
    }

    /// See [`Collective::sum`].
    ///
    /// # Errors
    /// As there.
    pub fn sum(&mut self, stretches: &[Stretch]) -> Result<(), DeviceError> {
        let _call = self.accelerator.call();
        self.accelerator.pass_on()?;
        self.collective.sum(stretches)
    }

    /// See [`Collective::join`].
    ///
    /// # Errors
    /// As there.
    pub fn join(&mut self) -> Result<(), DeviceError> {
        let _call = self.accelerator.call();
        self.accelerator.pass_on()?;
        self.collective.join()
    }

    /// See [`Collective::times`].
    ///
    /// # Errors
    /// As there.
    pub fn times(&mut self, wait: bool) -> Result<Option<SumTimes>, DeviceError> {
        let _call = self.accelerator.call();
        self.collective.times(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::device::emulated;

    /// What `work` comes to on every rank of two.
    fn ranks<R: Send>(
        accelerators: &[Accelerator],
        work: impl Fn(usize, &Accelerator, Gathered) -> R + Sync,
    ) -> Vec<R> {
        let meeting = accelerators[0].meeting().unwrap();
        let join = |rank: usize| {
            let gathered = accelerators[rank].meet(&meeting, [rank, accelerators.len()]).unwrap();
            work(rank, &accelerators[rank], gathered)
        };
        std::thread::scope(|scope| {
            let join = &join;
            let threads: Vec<_> =
                (0..accelerators.len()).map(|rank| scope.spawn(move || join(rank))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn read(memory: &super::super::Memory, len: usize) -> Vec<f32> {
        let mut numbers = vec![0.0_f32; len];
        memory.download(0, &mut numbers).unwrap();
        numbers
    }

    #[test]
    fn sums_come_after_what_makes_them_and_before_what_is_queued_once_they_are_joined() {
        for accelerators in emulated::gangs(2) {
            let found = ranks(&accelerators, |rank, accelerator, mut gathered| {
                let zeros = || accelerator.zeros::<f32>(40_000).unwrap();
                let [from, small, large, after] = [zeros(), zeros(), zeros(), zeros()];
                let copy = |from: &crate::train::device::Memory, to: Address, len: usize| {
                    let given = crate::train::device::arguments![from.address(), to, 0_u32, 0_u32];
                    accelerator.launch_fours("copy_lanes", [len, 1], given).unwrap();
                };
                let mut seen = Vec::new();
                for step in 0..3 {
                    let number = |i: usize| (i % 100 + 10 * rank + step) as f32;
                    from.upload(0, &(0..40_000).map(number).collect::<Vec<_>>()).unwrap();
                    copy(&from, small.address(), 5);
                    copy(&from, large.address(), 40_000);
                    gathered.sum(&[(small.address(), 5), (large.address(), 20_000)]).unwrap();
                    let rest = large.address().after::<f32>(20_000);
                    gathered.sum(&[(rest, 20_000)]).unwrap();
                    gathered.join().unwrap();
                    copy(&large, after.address(), 40_000);
                    seen.push((read(&small, 6), read(&after, 40_000)));
                }
                let mut told = 0;
                while let Some(times) = gathered.times(told == 0).unwrap() {
                    assert!(times.under_way.as_secs() < 60 && times.stood_still.as_secs() < 60);
                    told += 1;
                }
                assert_eq!(told, 3);
                seen
            });
            for seen in found {
                for (step, (small, after)) in seen.iter().enumerate() {
                    let sum = |i: usize| (2 * (i % 100) + 10 + 2 * step) as f32;
                    assert_eq!(small[..5], [0, 1, 2, 3, 4].map(sum));
                    assert_eq!(small[5], 0.0);
                    assert!(after.iter().enumerate().all(|(i, &found)| found == sum(i)));
                }
            }
        }
    }

    /// A real GPU waits for ever, which is why ranks compare before.
    #[test]
    fn sums_of_other_lengths_are_noticed_where_there_is_no_gpu() {
        let is_fake = |a: &Accelerator| a.name().contains("fake") || a.name().contains("emulated");
        for accelerators in emulated::gangs(2).into_iter().filter(|gang| is_fake(&gang[0])) {
            let found = ranks(&accelerators, |rank, accelerator, mut gathered| {
                let memory = accelerator.zeros::<f32>(9).unwrap();
                gathered.sum(&[(memory.address(), 8 + rank)]).unwrap();
                let joined = gathered.join();
                accelerator.synchronize().unwrap();
                joined.and_then(|()| gathered.join()).unwrap_err().to_string()
            });
            for found in found {
                assert!(found.contains("ranks sum other numbers"), "{found}");
            }
        }
    }
}
