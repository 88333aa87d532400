//! Times the augmentation by itself: images of noise into batches, on one thread or a device.

use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::step::noise;
use crate::spec::RunConfig;
use crate::train::batches::Batches;
use crate::train::device::Device;
use crate::train::error::TrainError;
use crate::train::kernel::Buffer;
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
/// # Errors
/// When the device fails.
///
/// # Panics
/// If `images` or `rounds` is 0.
pub fn time_augmentation(
    config: &RunConfig,
    device: &Device,
    images: usize,
    rounds: usize,
) -> Result<AugmentTimes, TrainError> {
    assert!(images > 0 && rounds > 0, "invariant: something to time");
    let images = images.next_multiple_of(config.batch_size as usize);
    let mut work = Work::new(config, device, images)?;
    let (mut cpu_s, mut wall_s) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for epoch in 1..=rounds as u32 + 1 {
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        work.epoch(epoch)?;
        if epoch > 1 {
            cpu_s.push(cpu_seconds() - cpu);
            wall_s.push(wall.elapsed().as_secs_f64());
        }
    }
    cpu_s.sort_by(f64::total_cmp);
    wall_s.sort_by(f64::total_cmp);
    Ok(AugmentTimes { images, cpu_s, wall_s, output: work.batches.image_shape() })
}

/// The images, and room for one batch, (N, H, W, C).
struct Work<'a> {
    device: &'a Device,
    batches: Batches,
    input: Buffer<f32>,
    images: usize,
    batch: usize,
}

impl<'a> Work<'a> {
    fn new(config: &RunConfig, device: &'a Device, images: usize) -> Result<Self, TrainError> {
        let data = Arc::new(noise(config, images));
        let lanes = std::slice::from_ref(config);
        let mut batches = Batches::new(lanes, data, InputOrder::ChannelsLast);
        let batch = config.batch_size as usize;
        let units = batches.image_shape().iter().product();
        let mut input = Buffer::zeros(1, &[batch, units])?;
        if let Device::Accelerator(accelerator) = device {
            input.move_to(accelerator)?;
            batches.move_to(accelerator)?;
        }
        Ok(Self { device, batches, input, images, batch })
    }

    /// All images once, batch after batch, until the last of them is there.
    fn epoch(&mut self, epoch: u32) -> Result<(), TrainError> {
        for start in (0..self.images).step_by(self.batch) {
            let places = start..start + self.batch;
            self.batches.fill_training(&mut self.input, epoch, &places, places.clone())?;
        }
        if let Device::Accelerator(accelerator) = self.device {
            accelerator.synchronize()?;
        }
        Ok(())
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
    use crate::spec::augmentation::{Augmentation, Level};
    use crate::spec::operation::{Operation, Side};
    use crate::train::device::emulated;

    #[test]
    fn whole_batches_are_timed_round_by_round() {
        let crop = Operation::RandomCrop { padding: 0, size: Side::Pixels(20) };
        let augmentation = Augmentation::of(vec![crop, Operation::Mixup { alpha: 1.0 }]);
        let config = RunConfig { augmentation, batch_size: 5, ..RunConfig::default() };
        let times = time_augmentation(&config, &Device::Cpu, 12, 3).unwrap();
        assert_eq!((times.images, times.output), (15, [1, 20, 20]));
        assert_eq!((times.cpu_s.len(), times.wall_s.len()), (3, 3));
        assert!(times.cpu_s.is_sorted() && times.wall_s.is_sorted());
        assert!(times.images_per_cpu_s() > 0.0 && times.images_per_s() > 0.0);
    }

    #[test]
    fn a_device_is_timed_until_its_last_image_is_there() {
        let Some(accelerator) = emulated::accelerator() else { return };
        let augmentation = Augmentation::Level(Level::Strong);
        let config = RunConfig { augmentation, batch_size: 4, ..RunConfig::default() };
        let device = Device::Accelerator(accelerator);
        let times = time_augmentation(&config, &device, 8, 2).unwrap();
        assert_eq!((times.images, times.wall_s.len(), times.output), (8, 2, [1, 28, 28]));
    }
}
