//! Times training steps on images of noise: gathering and normalising the batch, forward, loss,
//! backward, update; all that a step of a run does.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::profile::Profile;
use crate::spec::RunConfig;
use crate::spec::init::Init;
use crate::spec::measure::{Measurement, Measurements};
use crate::train::data::{DataSplits, Images};
use crate::train::device::Device;
use crate::train::error::TrainError;
use crate::train::report::{EpochEnd, StepReport};
use crate::train::rng::{Purpose, Stream};
use crate::train::trainer::Trainer;

/// Batches of images that are made up; an epoch ends after as many steps.
const BATCHES: usize = 8;

/// What the steps took.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTimes {
    /// Seconds of every step, the warm-up left out, in ascending order; at least one.
    pub seconds: Vec<f64>,
    /// Trained scalars of the network.
    pub parameters: u64,
    /// Where the time went, if that was asked for.
    pub profile: Option<Profile>,
}

impl StepTimes {
    /// The middle one (the upper of two).
    pub fn median_s(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }

    /// The shortest.
    pub fn least_s(&self) -> f64 {
        self.seconds[0]
    }
}

/// How steps are timed.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Where they are done.
    pub device: &'a Device,
    /// Steps before the first that is timed.
    pub warm_up: usize,
    /// Steps to time; at least one.
    pub steps: usize,
    /// Are phases and layers timed apart?
    pub profiles: bool,
}

/// Trains `config` for `warm_up` and then `steps` steps of a whole batch each, on the current
/// thread and its thread pool, or on an accelerator.
///
/// # Errors
/// When the configuration cannot be trained, or its loss is no number.
///
/// # Panics
/// If `steps` is 0.
pub fn time_steps(config: &RunConfig, setting: &Setting<'_>) -> Result<StepTimes, TrainError> {
    let &Setting { device, warm_up, steps, profiles } = setting;
    assert!(steps > 0, "invariant: a step to time");
    let wanted = warm_up + steps;
    // One epoch more than needed: a schedule may bring the rate to 0 at the end.
    let epochs = wanted.div_ceil(BATCHES) as u32 + 1;
    let mut config = RunConfig { epochs, ..config.clone() };
    if matches!(config.init, Init::From { .. }) {
        // What the weights are changes no time, and drawn ones need no file.
        config.init = Init::Pytorch;
    }
    if profiles {
        config.measure = Measurements::new(vec![Measurement::Time]);
    }
    let data = noise(&config, BATCHES * config.batch_size as usize);
    let mut trainer = Trainer::on(&[config], Arc::new(data), device)?;
    let mut seconds = Vec::with_capacity(wanted);
    take_steps(&mut trainer, warm_up, &mut seconds)?;
    if profiles {
        Profile::begin(&mut trainer);
    }
    take_steps(&mut trainer, wanted, &mut seconds)?;
    let profile = if profiles { Some(Profile::end(&mut trainer, steps)?) } else { None };
    let mut seconds = seconds.split_off(warm_up);
    seconds.sort_by(f64::total_cmp);
    Ok(StepTimes { seconds, parameters: trainer.parameters(0), profile })
}

/// Trains until `seconds` has the time of `wanted` steps.
fn take_steps(
    trainer: &mut Trainer,
    wanted: usize,
    seconds: &mut Vec<f64>,
) -> Result<(), TrainError> {
    while seconds.len() < wanted {
        let mut begun = Instant::now();
        let mut count = |_: &StepReport<'_>| {
            seconds.push(begun.elapsed().as_secs_f64());
            begun = Instant::now();
            if seconds.len() < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        if trainer.train_epoch(&mut count)? == EpochEnd::Diverged {
            return Err(TrainError::BenchDiverged { step: trainer.steps_done() });
        }
    }
    Ok(())
}

/// `count` training images of noise in the shape of the configuration's data set, and no others.
pub(super) fn noise(config: &RunConfig, count: usize) -> DataSplits {
    let shape @ [channels, height, width] = config.dataset.image_shape();
    let classes = config.dataset.classes();
    let mut reader = Stream::new(config.seed, Purpose::Synthetic, 0, 0).reader();
    let bytes = count * channels * height * width;
    let mut pixels: Vec<u8> =
        (0..bytes.div_ceil(4)).flat_map(|_| reader.bits().to_le_bytes()).collect();
    pixels.truncate(bytes);
    let labels = (0..count).map(|_| reader.below(classes as u32) as u16).collect();
    DataSplits {
        shape,
        classes,
        // Of uniform noise.
        mean: vec![0.5; channels],
        std: vec![0.29; channels],
        train: Images { pixels, labels },
        val: Images::default(),
        test: Images::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(
        config: &RunConfig,
        warm_up: usize,
        steps: usize,
        profiles: bool,
    ) -> Result<StepTimes, TrainError> {
        time_steps(config, &Setting { device: &Device::Cpu, warm_up, steps, profiles })
    }
    use crate::spec::dataset::Dataset;
    use crate::spec::weights::WeightsFile;

    #[test]
    fn every_step_but_the_warm_up_is_timed() {
        let config = RunConfig { dataset: Dataset::Mnist, batch_size: 4, ..RunConfig::default() };
        let times = timed(&config, 3, 2 * BATCHES, false).unwrap();
        assert_eq!((times.seconds.len(), times.parameters), (2 * BATCHES, 567_434));
        assert!(times.seconds.is_sorted() && times.least_s() > 0.0);
        assert!(times.least_s() <= times.median_s());
        assert_eq!(times.profile, None);
    }

    #[test]
    fn weights_of_a_file_are_not_needed() {
        let from = WeightsFile { path: "nowhere.safetensors".to_owned(), digest: None };
        let init = Init::From { from };
        let config = RunConfig { init, batch_size: 4, ..RunConfig::default() };
        assert_eq!(timed(&config, 0, 2, false).unwrap().seconds.len(), 2);
    }

    #[test]
    fn the_parts_of_a_step_add_up_to_it() {
        let config = RunConfig { dataset: Dataset::Mnist, batch_size: 64, ..RunConfig::default() };
        let times = timed(&config, 2, 3 * BATCHES, true).unwrap();
        let profile = times.profile.unwrap();
        let phases: Vec<&str> = profile.phases.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(phases, ["data", "forward", "backward", "update"]);
        let of = |part: &str| profile.phases.iter().find(|(name, _)| name == part).unwrap().1;
        let whole: f64 = times.seconds.iter().sum::<f64>() / times.seconds.len() as f64;
        let parts: f64 = profile.phases.iter().map(|(_, seconds)| seconds).sum();
        assert!(parts > 0.5 * whole && parts < 1.01 * whole, "{parts} of {whole}");
        let layers = |way: usize| profile.layers.iter().map(|(_, s)| s[way]).sum::<f64>();
        assert!(layers(0) > 0.0 && layers(0) <= of("forward"), "{profile:?}");
        assert!(layers(1) > 0.0 && layers(1) <= of("backward"), "{profile:?}");
        assert!(profile.layers.iter().any(|(name, _)| name == "linear4"), "{profile:?}");
    }

    #[test]
    fn a_loss_that_is_no_number_is_no_time() {
        let config = RunConfig { lr: 1e30, batch_size: 4, ..RunConfig::default() };
        let error = timed(&config, 0, 100, false).unwrap_err();
        assert!(matches!(error, TrainError::BenchDiverged { .. }), "{error}");
    }
}
