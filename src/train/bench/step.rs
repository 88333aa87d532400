//! Times training steps on images of noise: gathering and normalising the batch, forward, loss,
//! backward, update; all that a step of a run does.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::course::{StepSeconds, StepsEnd, take_steps, timed_config, wind};
use super::profile::Profile;
use crate::spec::RunConfig;
use crate::spec::mode::Course;
use crate::train::data::{DataSplits, Images};
use crate::train::device::Device;
use crate::train::error::TrainError;
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
    /// How many.
    pub course: Course,
    /// Are the layers timed apart?
    pub profiles: bool,
}

/// Trains `config` for the steps of a course, of a whole batch each, on the current thread and its
/// thread pool, or on an accelerator.
///
/// # Errors
/// When the configuration cannot be trained, or its loss is no number.
///
/// # Panics
/// If there is no step to time.
pub fn time_steps(config: &RunConfig, setting: &Setting<'_>) -> Result<StepTimes, TrainError> {
    let &Setting { device, course, profiles } = setting;
    assert!(course.steps > 0, "invariant: a step to time");
    let images = BATCHES * config.batch_size as usize;
    let timed = timed_config(config, images, course);
    let data = noise(&timed, images);
    let mut trainer = Trainer::on(&[timed], Arc::new(data), device)?;
    // An accelerator would wait for every part.
    if profiles || matches!(device, Device::Cpu) {
        wind(&mut trainer, device);
    }
    all_steps(&mut trainer, course.warm_up)?;
    if profiles {
        Profile::begin(&mut trainer);
    }
    let steps = all_steps(&mut trainer, course.steps)?;
    let profile = profiles.then(|| Profile::of(&mut trainer, &steps));
    let mut seconds: Vec<f64> = steps.iter().map(|step| step.whole).collect();
    seconds.sort_by(f64::total_cmp);
    Ok(StepTimes { seconds, parameters: trainer.parameters(0), profile })
}

/// Takes so many steps.
fn all_steps(trainer: &mut Trainer, wanted: u32) -> Result<Vec<StepSeconds>, TrainError> {
    let mut begin = || Ok::<(), TrainError>(());
    match take_steps(trainer, wanted, &mut begin, &mut |_| ControlFlow::Continue(()))? {
        StepsEnd::Done(steps) => Ok(steps),
        StepsEnd::Stopped | StepsEnd::Diverged => {
            Err(TrainError::BenchDiverged { step: trainer.steps_done() })
        }
    }
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
        train: Images { pixels: pixels.into(), labels },
        val: Images::default(),
        test: Images::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(
        config: &RunConfig,
        warm_up: u32,
        steps: u32,
        profiles: bool,
    ) -> Result<StepTimes, TrainError> {
        let course = Course { warm_up, steps };
        time_steps(config, &Setting { device: &Device::Cpu, course, profiles })
    }
    use crate::spec::dataset::Dataset;
    use crate::spec::init::Init;
    use crate::spec::weights::WeightsFile;

    #[test]
    fn every_step_but_the_warm_up_is_timed() {
        let config = RunConfig { dataset: Dataset::Mnist, batch_size: 4, ..RunConfig::default() };
        let times = timed(&config, 3, 2 * BATCHES as u32, false).unwrap();
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
        let times = timed(&config, 2, 3 * BATCHES as u32, true).unwrap();
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
