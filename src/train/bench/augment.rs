//! Times the augmentation by itself: images of noise through a pipeline into batches, one thread.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::step::noise;
use crate::spec::RunConfig;
use crate::train::augment::Pipeline;
use crate::train::data::DataSplits;
use crate::train::model::InputOrder;

/// What the rounds took.
#[derive(Debug, Clone, PartialEq)]
pub struct AugmentTimes {
    /// Images of one round.
    pub images: usize,
    /// Seconds of processor time of every round, in ascending order; at least one.
    pub cpu_s: Vec<f64>,
    /// Seconds on the clock of every round, likewise.
    pub wall_s: Vec<f64>,
    /// Shape of what comes out, (C, H, W).
    pub output: [usize; 3],
}

impl AugmentTimes {
    /// Images a second of processor time, in the middle round (the upper of two).
    pub fn images_per_cpu_s(&self) -> f64 {
        self.images as f64 / self.cpu_s[self.cpu_s.len() / 2]
    }

    /// Images a second on the clock, likewise.
    pub fn images_per_s(&self) -> f64 {
        self.images as f64 / self.wall_s[self.wall_s.len() / 2]
    }
}

/// Sends `images` images, rounded up to whole batches, through the augmentation of `config`, `rounds`
/// times after a round that is not timed.
///
/// # Panics
/// If `images` or `rounds` is 0.
pub fn time_augmentation(config: &RunConfig, images: usize, rounds: usize) -> AugmentTimes {
    assert!(images > 0 && rounds > 0, "invariant: something to time");
    let batch = config.batch_size as usize;
    let images = images.next_multiple_of(batch);
    let data = noise(config, images);
    let mut work = Work::new(config, &data);
    let (mut cpu_s, mut wall_s) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for epoch in 0..=rounds as u32 {
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        work.epoch(epoch);
        if epoch > 0 {
            cpu_s.push(cpu_seconds() - cpu);
            wall_s.push(wall.elapsed().as_secs_f64());
        }
    }
    cpu_s.sort_by(f64::total_cmp);
    wall_s.sort_by(f64::total_cmp);
    AugmentTimes { images, cpu_s, wall_s, output: work.pipeline.output_shape() }
}

/// The images, the pipeline and room for one batch, (N, H, W, C).
struct Work<'a> {
    data: &'a DataSplits,
    pipeline: Pipeline,
    seed: u64,
    units: usize,
    batch: Vec<f32>,
    /// Room for an image beside the batch.
    beside: Vec<f32>,
}

impl<'a> Work<'a> {
    fn new(config: &RunConfig, data: &'a DataSplits) -> Self {
        let pipeline = Pipeline::new(&config.augmentation, data, InputOrder::ChannelsLast);
        let units = pipeline.output_shape().iter().product::<usize>();
        let batch = vec![0.0; units * config.batch_size as usize];
        Self { data, pipeline, seed: config.seed, units, batch, beside: vec![0.0; units] }
    }

    /// All images once, batch after batch.
    fn epoch(&mut self, epoch: u32) {
        let Self { data, pipeline, seed, units, batch, beside } = self;
        let (stored, count) = (data.shape.iter().product::<usize>(), batch.len() / *units);
        for (number, images) in data.train.pixels.chunks_exact(stored * count).enumerate() {
            let first = number * count;
            let places = images.chunks_exact(stored).zip(batch.chunks_exact_mut(*units));
            for (at, (pixels, out)) in places.enumerate() {
                pipeline.fill(*seed, epoch, first + at, pixels, out);
            }
            if let Some(mixup) = pipeline.mixup() {
                let places = first..first + count;
                let images = (batch.as_mut_slice(), beside.as_mut_slice());
                // A whole batch parts no pair.
                mixup.apply(
                    (*seed, epoch),
                    (&places, places.clone()),
                    images,
                    |_, _| {},
                    |_, _| {},
                );
            }
            std::hint::black_box(&mut *batch);
        }
    }
}

/// Seconds of processor time of this thread.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::augmentation::Augmentation;
    use crate::spec::operation::{Operation, Side};

    #[test]
    fn whole_batches_are_timed_round_by_round() {
        let crop = Operation::RandomCrop { padding: 0, size: Side::Pixels(20) };
        let augmentation = Augmentation::of(vec![crop, Operation::Mixup { alpha: 1.0 }]);
        let config = RunConfig { augmentation, batch_size: 5, ..RunConfig::default() };
        let times = time_augmentation(&config, 12, 3);
        assert_eq!((times.images, times.output), (15, [1, 20, 20]));
        assert_eq!((times.cpu_s.len(), times.wall_s.len()), (3, 3));
        assert!(times.cpu_s.is_sorted() && times.wall_s.is_sorted());
        assert!(times.images_per_cpu_s() > 0.0 && times.images_per_s() > 0.0);
    }
}
