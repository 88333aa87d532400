//! Training steps, timed one by one: what `gridlane bench step` and a run with `mode = "throughput"`
//! have in common.
//!
//! In: a trainer on whole batches. Out: seconds of every step, and of the parts of it. Nothing is made
//! up here and nothing is written: who calls has the data, the clock's device and the record.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::spec::RunConfig;
use crate::spec::init::Init;
use crate::spec::measure::{Measurement, Measurements};
use crate::spec::mode::Course;
use crate::train::data::DataSplits;
use crate::train::device::Device;
use crate::train::error::TrainError;
use crate::train::measure::PhaseSeconds;
use crate::train::report::{EpochEnd, StepReport};
use crate::train::trainer::Trainer;

/// What one step took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSeconds {
    /// From the end of the step before to its own, as they are reported; what others do between two
    /// steps left out.
    pub whole: f64,
    /// Its parts; 0 where nobody has wound the clock.
    pub phases: PhaseSeconds,
}

/// How a number of steps came to an end.
#[derive(Debug, Clone, PartialEq)]
pub enum StepsEnd {
    /// All are done.
    Done(Vec<StepSeconds>),
    /// They were asked to stop.
    Stopped,
    /// The loss is no number.
    Diverged,
}

/// What a trainer of `course` is built from: `config`, with as many epochs as it takes at least, the
/// parts of a step timed, and drawn weights, since what they are changes no time and a file of them
/// is not needed. `images` are those of an epoch.
pub fn timed_config(config: &RunConfig, images: usize, course: Course) -> RunConfig {
    let per_epoch = images.div_ceil(config.batch_size as usize).max(1) as u64;
    // One more than needed: a schedule may bring the rate to 0 at the end.
    let needed = u32::try_from(course.total().div_ceil(per_epoch) + 1).unwrap_or(u32::MAX);
    let mut config = RunConfig {
        epochs: config.epochs.max(needed),
        measure: Measurements::new(vec![Measurement::Time]),
        ..config.clone()
    };
    if matches!(config.init, Init::From { .. }) {
        config.init = Init::Pytorch;
    }
    config
}

/// The training images in whole batches: those that are left over go, and a data set that is smaller
/// than a batch is repeated until it is one. Nothing else is kept.
pub fn whole_batches(mut data: DataSplits, batch_size: u32) -> DataSplits {
    let batch = batch_size as usize;
    let unit: usize = data.shape.iter().product();
    let images = data.train.len();
    let whole = (images / batch).max(1) * batch;
    let train = &mut data.train;
    let pixels = train.pixels.to_mut();
    if images > 0 {
        for place in images..whole {
            let from = place % images;
            pixels.extend_from_within(from * unit..(from + 1) * unit);
            train.labels.push(train.labels[from]);
        }
    }
    pixels.truncate(whole * unit);
    train.labels.truncate(whole);
    DataSplits { val: Default::default(), test: Default::default(), ..data }
}

/// Winds the clock of the parts of a step. On an accelerator a part is over when all is done that was
/// queued in it, so steps no longer overlap there.
pub fn wind(trainer: &mut Trainer, device: &Device) {
    let started = Instant::now();
    let accelerator = match device {
        Device::Cpu => None,
        Device::Accelerator(accelerator) => Some(accelerator.clone()),
    };
    trainer.wind_clock(Box::new(move || {
        if let Some(accelerator) = &accelerator {
            // An error shows in the next operation, which can tell of it.
            let _ = accelerator.synchronize();
        }
        started.elapsed().as_secs_f64()
    }));
}

/// Trains `wanted` steps, going round the data set. `begin` is called before every call of the
/// trainer, of which there are several where there are several rounds; `after_step` may ask to stop.
///
/// # Errors
/// What `begin` refuses, or the engine.
pub fn take_steps<E: From<TrainError>>(
    trainer: &mut Trainer,
    wanted: u32,
    begin: &mut dyn FnMut() -> Result<(), E>,
    after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
) -> Result<StepsEnd, E> {
    trainer.nothing_ahead_of(Some(trainer.steps_done() + u64::from(wanted)));
    let wanted = wanted as usize;
    let mut taken = Vec::with_capacity(wanted);
    let mut stopped = false;
    while taken.len() < wanted && !stopped {
        begin()?;
        let mut begun = Instant::now();
        let end = trainer.train_epoch(&mut |report| {
            let whole = begun.elapsed().as_secs_f64();
            taken.push(StepSeconds { whole, phases: report.seconds.unwrap_or_default() });
            stopped |= after_step(report).is_break();
            begun = Instant::now();
            if stopped || taken.len() == wanted {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match end {
            EpochEnd::Diverged => return Ok(StepsEnd::Diverged),
            // Another rank asked for it.
            EpochEnd::Stopped if taken.len() < wanted => stopped = true,
            EpochEnd::Stopped | EpochEnd::Complete(_) => {}
        }
    }
    Ok(if stopped { StepsEnd::Stopped } else { StepsEnd::Done(taken) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::spec::dataset::Dataset;
    use crate::train::bench::step::noise;

    fn config() -> RunConfig {
        RunConfig { dataset: Dataset::Mnist, batch_size: 8, ..RunConfig::default() }
    }

    fn steps(trainer: &mut Trainer, wanted: u32, stop_after: usize) -> StepsEnd {
        let mut seen = 0;
        let end = take_steps::<TrainError>(trainer, wanted, &mut || Ok(()), &mut |report| {
            assert_eq!(report.step as usize, seen, "every step once");
            seen += 1;
            if seen == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        end.unwrap()
    }

    fn trainer(images: usize, course: Course) -> Trainer {
        let data = whole_batches(noise(&config(), images), config().batch_size);
        let timed = timed_config(&config(), data.train.len(), course);
        let mut trainer = Trainer::new(&[timed], Arc::new(data)).unwrap();
        wind(&mut trainer, &Device::Cpu);
        trainer
    }

    #[test]
    fn batches_are_whole_whatever_the_data_set() {
        for (images, expected) in [(3, 8), (8, 8), (15, 8), (16, 16), (39, 32)] {
            let before = noise(&config(), images);
            let data = whole_batches(before.clone(), 8);
            assert_eq!((data.train.len(), data.train.pixels.len()), (expected, expected * 784));
            for place in 0..expected {
                let from = place % images;
                assert_eq!(data.train.labels[place], before.train.labels[from]);
                let image = |pixels: &[u8], n: usize| pixels[n * 784..(n + 1) * 784].to_vec();
                assert_eq!(
                    image(&data.train.pixels, place),
                    image(&before.train.pixels, from),
                    "image {place} of {expected} from {images}"
                );
            }
            assert!(data.val.is_empty() && data.test.is_empty());
        }
    }

    #[test]
    fn steps_go_round_the_data_set_and_their_parts_add_up() {
        let course = Course { warm_up: 2, steps: 9 };
        let mut trainer = trainer(16, course);
        let StepsEnd::Done(taken) = steps(&mut trainer, 11, 99) else { panic!() };
        assert_eq!((taken.len(), trainer.steps_done(), trainer.epochs_done()), (11, 11, 5));
        let whole: f64 = taken.iter().map(|step| step.whole).sum();
        let parts =
            |phases: &PhaseSeconds| [phases.data, phases.forward, phases.backward, phases.update];
        let sum: f64 = taken.iter().flat_map(|step| parts(&step.phases)).sum();
        assert!(sum > 0.5 * whole && sum <= 1.001 * whole, "{sum} of {whole}");
        for step in &taken {
            assert!(parts(&step.phases).iter().all(|part| *part > 0.0), "{step:?}");
        }
    }

    #[test]
    fn whoever_watches_may_stop_it() {
        let mut trainer = trainer(16, Course { warm_up: 0, steps: 9 });
        assert_eq!(steps(&mut trainer, 9, 3), StepsEnd::Stopped);
        assert_eq!(trainer.steps_done(), 3);
    }

    #[test]
    fn the_schedule_is_that_of_the_run_unless_the_steps_outlast_it() {
        let epochs = |epochs, steps| {
            let config = RunConfig { epochs, ..config() };
            timed_config(&config, 16, Course { warm_up: 0, steps }).epochs
        };
        assert_eq!([epochs(10, 4), epochs(1, 4), epochs(1, 5)], [10, 3, 4]);
    }
}
