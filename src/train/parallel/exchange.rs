//! Gradients on their way: summed over the ranks by a thread of its own, in buckets, while backward
//! goes on.
//!
//! Backward hands over each gradient as soon as it is complete. It moves: the parameter holds an
//! empty stand-in until [`Exchange::finish`] puts the sum in its place, so nothing is copied and
//! nobody can read half a sum. A bucket goes off when it is full; the first one is small, so that the
//! thread has something to do early (docs/design/parallel.md has what other sizes do). Within a bucket
//! large gradients are summed where they lie, small ones together, or a network with many biases would
//! wait for the others at each of them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{AllReduce, ParallelError};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::Parameter;

/// Bytes of gradients that fill the first bucket of a step.
const FIRST: usize = 1 << 20;

/// Bytes that fill any other.
const OTHER: usize = 8 << 20;

/// Gradients with fewer numbers are summed together.
const SMALL: usize = 1 << 15;

/// Gradients that are summed together.
struct Bucket<T> {
    /// Each with the place of its parameter in the network.
    gradients: Vec<(usize, Buffer<T>)>,
    bytes: usize,
    /// How long the sum took.
    took: Duration,
}

/// Sums gradients over the ranks.
pub struct Exchange<T> {
    /// `None` only while it is dropped.
    to_thread: Option<SyncSender<Bucket<T>>>,
    from_thread: Receiver<Result<Bucket<T>, TrainError>>,
    thread: Option<JoinHandle<()>>,
    /// Buckets with nothing in them.
    empty: Vec<Bucket<T>>,
    filling: Option<Bucket<T>>,
    /// Buckets sent and not come back.
    under_way: usize,
    /// Buckets sent in this step.
    sent: usize,
    /// By the places of the parameters: what stands in for a gradient, or the sum that came back.
    held: Vec<Option<Buffer<T>>>,
    /// Time of the sums of this step.
    communication: Duration,
}

impl<T: Real> Exchange<T> {
    /// For the gradients of `parameters`, over `link`.
    ///
    /// # Errors
    /// When a thread or the stand-ins cannot be had.
    pub fn new<'a>(
        mut link: Box<dyn AllReduce<T>>,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
    ) -> Result<Self, TrainError>
    where
        T: 'a,
    {
        let held = parameters
            .map(|_| Buffer::zeros(1, &[0]).map(Some))
            .collect::<Result<Vec<_>, TrainError>>()?;
        let most = held.len().max(1);
        let (to_thread, work) = sync_channel::<Bucket<T>>(most);
        let (done, from_thread) = sync_channel(most);
        let run = move || {
            let mut together = Vec::new();
            for mut bucket in work {
                let begun = Instant::now();
                let summed = bucket.sum(&mut *link, &mut together);
                bucket.took = begun.elapsed();
                if done.send(summed.map(|()| bucket)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("exchange".to_owned()).spawn(run);
        let bucket =
            || Bucket { gradients: Vec::with_capacity(most), bytes: 0, took: Duration::ZERO };
        Ok(Self {
            to_thread: Some(to_thread),
            from_thread,
            thread: Some(thread.map_err(ParallelError::Thread)?),
            empty: (0..most).map(|_| bucket()).collect(),
            filling: None,
            under_way: 0,
            sent: 0,
            held,
            communication: Duration::ZERO,
        })
    }

    /// Takes the complete gradient of a parameter.
    ///
    /// # Errors
    /// When a sum before it has failed.
    pub fn ready(&mut self, parameter: &mut Parameter<T>) -> Result<(), TrainError> {
        let stand_in = self.held[parameter.place].take();
        let stand_in = stand_in.expect("invariant: a gradient is complete once a step");
        let gradient = std::mem::replace(&mut parameter.gradient, stand_in);
        let empty = &mut self.empty;
        let bucket = self.filling.get_or_insert_with(|| {
            empty.pop().expect("invariant: no more buckets than parameters")
        });
        bucket.bytes += gradient.tensor().elem_count() * size_of::<T>();
        bucket.gradients.push((parameter.place, gradient));
        let full = if self.sent == 0 { FIRST } else { OTHER };
        if bucket.bytes >= full { self.send() } else { Ok(()) }
    }

    /// Returns when all sums are in `parameters`, the same bits on every rank; gives the time for
    /// which it waited and the time that all sums took.
    ///
    /// # Errors
    /// When a sum has failed. The gradients are then lost, and with them the training.
    pub fn finish<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a mut Parameter<T>>,
    ) -> Result<[Duration; 2], TrainError>
    where
        T: 'a,
    {
        let begun = Instant::now();
        self.send()?;
        while self.under_way > 0 {
            self.receive()?;
        }
        for parameter in parameters {
            let held = &mut self.held[parameter.place];
            let sum = held.take().expect("invariant: backward completes every gradient");
            *held = Some(std::mem::replace(&mut parameter.gradient, sum));
        }
        self.sent = 0;
        Ok([begun.elapsed(), std::mem::take(&mut self.communication)])
    }

    fn send(&mut self) -> Result<(), TrainError> {
        let Some(bucket) = self.filling.take() else { return Ok(()) };
        (self.under_way, self.sent) = (self.under_way + 1, self.sent + 1);
        let to_thread = self.to_thread.as_ref().expect("invariant: not being dropped");
        if to_thread.send(bucket).is_err() {
            // The thread has said why, or has panicked.
            return self.receive();
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), TrainError> {
        let bucket = self.from_thread.recv().map_err(|_| ParallelError::ThreadGone)?;
        let mut bucket = bucket?;
        self.under_way -= 1;
        self.communication += bucket.took;
        for (place, gradient) in bucket.gradients.drain(..) {
            self.held[place] = Some(gradient);
        }
        bucket.bytes = 0;
        self.empty.push(bucket);
        Ok(())
    }
}

impl<T> Drop for Exchange<T> {
    fn drop(&mut self) {
        self.to_thread = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told by what it did not send.
            let _ = thread.join();
        }
    }
}

impl<T: Real> Bucket<T> {
    /// Replaces the gradients by their sums over the ranks. Small ones pass through `together`.
    fn sum(
        &mut self,
        link: &mut dyn AllReduce<T>,
        together: &mut Vec<T>,
    ) -> Result<(), TrainError> {
        together.clear();
        for (_, gradient) in &mut self.gradients {
            let len = gradient.tensor().elem_count();
            if len < SMALL {
                together.extend_from_slice(&gradient.read()?);
            } else {
                gradient.write(|numbers| link.all_reduce(numbers))??;
            }
        }
        if together.is_empty() {
            return Ok(());
        }
        link.all_reduce(together)?;
        let mut rest = together.as_slice();
        for (_, gradient) in &mut self.gradients {
            let len = gradient.tensor().elem_count();
            if len < SMALL {
                let (sums, after) = rest.split_at(len);
                gradient.write(|numbers| numbers.copy_from_slice(sums))?;
                rest = after;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::train::layer::parameter::{Start, StorageOrder};
    use crate::train::parallel::{Segment, Shared};

    fn parameters(lens: [usize; 3], rank: usize) -> Vec<Parameter<f32>> {
        let parameter = |(place, len): (usize, usize)| {
            let (order, start) = (StorageOrder::Saved, Start::Constant(0.0));
            let mut p = Parameter::new("p".to_owned(), 1, vec![len], order, start).unwrap();
            p.place = place;
            let value = |i: usize| (place * 10 * (rank + 1) + rank * 100 + i % 7) as f32;
            let fill = |to: &mut [f32]| to.iter_mut().enumerate().for_each(|(i, x)| *x = value(i));
            p.gradient.write(fill).unwrap();
            p
        };
        lens.into_iter().enumerate().map(parameter).collect()
    }

    /// The sums that two ranks come to, or their errors, when each completes its gradients in its own
    /// order; twice, so that buckets and stand-ins are used again.
    fn sums(lens: [usize; 3], orders: [[usize; 3]; 2]) -> Vec<Result<Vec<Vec<f32>>, String>> {
        let segment = Arc::new(Segment::create(2).unwrap());
        let work = |rank: usize| {
            let [link, _, _] = Shared::channels(&segment, rank, Duration::from_secs(60));
            let mut exchange =
                Exchange::new(Box::new(link), parameters(lens, rank).iter()).unwrap();
            let mut found = Vec::new();
            for _ in 0..2 {
                let mut parameters = parameters(lens, rank);
                let text = |error: TrainError| error.to_string();
                for place in orders[rank] {
                    exchange.ready(&mut parameters[place]).map_err(text)?;
                }
                exchange.finish(parameters.iter_mut()).map_err(text)?;
                let sum = |p: &Parameter<f32>| p.gradient.read().unwrap().to_vec();
                found = parameters.iter().map(sum).collect();
            }
            Ok(found)
        };
        std::thread::scope(|scope| {
            let work = &work;
            let second = scope.spawn(move || work(1));
            vec![work(0), second.join().unwrap()]
        })
    }

    const LARGE: usize = FIRST / 4 + 3;

    #[test]
    fn every_gradient_comes_back_summed_however_many_buckets_there_are() {
        for lens in [[5, 3, 7], [SMALL, 2, SMALL + 1], [LARGE, 9, LARGE + 5]] {
            let found = sums(lens, [[2, 1, 0]; 2]);
            for (place, len) in lens.into_iter().enumerate() {
                let sum = |i: usize| (place * 30 + 100 + i % 7 * 2) as f32;
                let expected: Vec<f32> = (0..len).map(sum).collect();
                for rank in &found {
                    assert!(rank.as_ref().unwrap()[place] == expected, "{lens:?} {place}");
                }
            }
        }
    }

    /// What is noticed at once where the lengths tell, and by comparing the ranks' parameters where
    /// they do not.
    #[test]
    fn gradients_in_another_order_are_noticed() {
        let orders = [[2, 1, 0], [0, 1, 2]];
        let found = sums([LARGE, LARGE, LARGE + 5], orders);
        assert!(found.iter().any(|rank| matches!(rank, Err(e) if e.contains("out of step"))));
        let found = sums([5, 5, 5], orders);
        let [Ok(first), Ok(second)] = &found[..] else { panic!("{found:?}") };
        assert!(first != second);
    }
}
