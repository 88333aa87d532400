//! Trains one network: epochs, evaluation, checkpoints. Configurations and data come in; reports
//! go out. Nothing here reads a clock, a disk or a signal, so the same calls give the same bits.

use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::batches::Batches;
use super::checkpoint;
use super::crops::{self, LaneViews};
use super::data::{DataSplits, Images};
use super::divergence::{self, Divergence, Noticed, Origin};
use super::error::TrainError;
use super::layer::{Mode, Parameter, Pass};
use super::loss::BatchLoss;
use super::measure::{self, At, Measured, Measures, Memory, Phase, Probe};
use super::model::{self, Network};
use super::optim::clip::{self, GradientNorms};
use super::optim::{LaneUpdate, Optimizer};
use super::progress::Progress;
use super::report::{EpochEnd, EpochStats, Evaluation, LaneEpoch, LaneStep, Part, StepReport};
use super::schedule::{self, Timeline};
use super::weights::Weights;
use crate::spec::architecture::Architecture;
use crate::spec::dataset::Parts;
use crate::spec::measure::Measurement;
use crate::spec::{Key, RunConfig};

/// Trains the runs of one group of lanes (of one, ordinarily).
pub struct Trainer {
    lanes: Vec<RunConfig>,
    data: Arc<DataSplits>,
    network: Network<f32>,
    optimizer: Optimizer<f32>,
    batches: Batches,
    progress: Progress,
    measures: Measures<f32>,
    /// Losses of the last batch; kept for their memory.
    losses: Vec<BatchLoss>,
    /// The last step's report; kept for its memory.
    step_lanes: Vec<LaneStep>,
    /// Label smoothing of every lane.
    smoothing: Vec<f64>,
    /// Norms of the last step's gradients, where they are measured.
    norms: GradientNorms,
    measures_gradients: bool,
    /// What the last update went by; kept for its memory.
    updates: Vec<LaneUpdate>,
}

impl Trainer {
    /// A trainer at the start of its run. `lanes` are configurations that share the network's
    /// shape, the batch size, the epochs and the data set.
    ///
    /// # Errors
    /// When there are no lanes, lanes that do not fit together, data that contradicts itself, or
    /// images too small for the network.
    pub fn new(lanes: &[RunConfig], data: Arc<DataSplits>) -> Result<Self, TrainError> {
        check_lanes(lanes)?;
        check_data(&data)?;
        let shape = input_shape(&lanes[0], &data);
        let [train, validation, test] = [&data.train, &data.val, &data.test].map(Images::len);
        let parts = Parts { train, validation, test };
        let capacity =
            Architecture::new(&lanes[0], shape, data.classes)?.images_at_once(&lanes[0], parts);
        Self::with_room(lanes, data, capacity)
    }

    /// The same, with room for `capacity` images to pass at once; the data is whole, the lanes fit.
    fn with_room(
        lanes: &[RunConfig],
        data: Arc<DataSplits>,
        capacity: usize,
    ) -> Result<Self, TrainError> {
        let shape = input_shape(&lanes[0], &data);
        let network = model::build(lanes, shape, data.classes, capacity)?;
        Ok(Self {
            optimizer: Optimizer::new(lanes, network.parameters())?,
            measures: Measures::new(lanes, &network)?,
            batches: Batches::new(lanes, Arc::clone(&data), network.input_order()),
            network,
            data,
            progress: Progress::new(lanes),
            losses: vec![BatchLoss::default(); lanes.len()],
            step_lanes: Vec::with_capacity(lanes.len()),
            smoothing: lanes.iter().map(|lane| lane.label_smoothing).collect(),
            norms: GradientNorms::default(),
            measures_gradients: lanes.iter().any(|lane| lane.clip_norm > 0.0),
            updates: Vec::with_capacity(lanes.len()),
            lanes: lanes.to_vec(),
        })
    }

    /// Starts a lane from weights of a file instead of drawn ones.
    ///
    /// # Errors
    /// When they do not fit the network.
    pub fn start_from(&mut self, lane: usize, weights: &Weights) -> Result<(), TrainError> {
        weights.load(&mut self.network, lane)
    }

    /// Trained scalars of one lane.
    pub fn parameters(&self) -> u64 {
        self.network.parameters().map(|parameter| parameter.len() as u64).sum()
    }

    /// Optimizer steps of one epoch; the last takes the images that are left.
    pub fn steps_per_epoch(&self) -> u64 {
        self.data.train.len().div_ceil(self.lanes[0].batch_size as usize) as u64
    }

    /// Optimizer steps of the run.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.lanes[0].epochs)
    }

    /// Optimizer steps done.
    pub fn steps_done(&self) -> u64 {
        self.progress.steps_done
    }

    /// Epochs that [`train_epoch`](Self::train_epoch) has reported complete.
    pub fn epochs_done(&self) -> u32 {
        self.progress.epochs_done
    }

    /// Reports the norms of the gradients with every step from now on, clipped or not. Costs a pass
    /// over the gradients and changes nothing that is computed.
    pub fn measure_gradients(&mut self) {
        self.measures_gradients = true;
    }

    /// Trains on to the end of the current epoch, from wherever it stands (also from the middle of
    /// one). `after_step` is told of every step and may ask to stop; a [`save`](Self::save) taken
    /// then continues with the same bits.
    ///
    /// # Errors
    /// When all epochs are done, or the tensor library fails.
    pub fn train_epoch(
        &mut self,
        after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
    ) -> Result<EpochEnd, TrainError> {
        let epochs = self.lanes[0].epochs;
        if self.progress.epochs_done == epochs {
            return Err(TrainError::NothingLeft { epochs });
        }
        let epoch = self.progress.epochs_done + 1;
        let end = u64::from(epoch) * self.steps_per_epoch();
        while self.progress.steps_done < end {
            let step = self.progress.steps_done;
            if let Some((lane, cause)) = self.step(epoch)? {
                return Ok(EpochEnd::Diverged { lane, step, cause });
            }
            let report = StepReport {
                step,
                epoch,
                lanes: &self.step_lanes,
                measured: self.measures.of_step(),
            };
            if after_step(&report).is_break() {
                return Ok(EpochEnd::Stopped);
            }
        }
        let images = self.data.train.len() as f64;
        let sums = self.progress.complete_epoch();
        let lanes = sums
            .iter()
            .enumerate()
            .map(|(lane, sums)| LaneEpoch {
                train_loss: sums.loss / images,
                train_accuracy: sums.right as f64 / images,
                lr: self.rate(lane, end - 1),
            })
            .collect();
        Ok(EpochEnd::Complete(EpochStats { epoch, lanes }))
    }

    /// One optimizer step; names the first lane whose loss (or norm of gradients, where measured) is
    /// not finite, and then changes neither parameters nor progress.
    fn step(&mut self, epoch: u32) -> Result<Option<(usize, Divergence)>, TrainError> {
        let step = self.progress.steps_done;
        let places = self.places(step % self.steps_per_epoch());
        let samples = places.len();
        self.measures.enter(Phase::Data);
        self.batches.fill_training(self.network.input_mut(), epoch, places)?;
        self.measures.enter(Phase::Forward);
        let pass = Pass { mode: Mode::Train { step }, samples, first_sample: 0 };
        self.network.forward(&pass)?;
        let targets = self.batches.targets();
        self.network.loss_and_gradient(&targets, &self.smoothing, &mut self.losses)?;
        self.measures.enter(Phase::Backward);
        if let Some(lane) = self.losses.iter().position(|loss| !loss.sum.is_finite()) {
            let noticed = Noticed::Loss { nan: self.losses[lane].sum.is_nan() };
            let origin = divergence::in_forward(&self.network, lane, &pass)?;
            return Ok(Some((lane, self.divergence(epoch, noticed, origin))));
        }
        self.network.backward(&pass, &mut |_: &mut Parameter<f32>| Ok(()))?;
        self.measures.enter(Phase::Update);
        if self.measures_gradients {
            let norms = self.norms.measure(self.network.parameters(), self.lanes.len())?;
            if let Some(lane) = norms.iter().position(|norm| !norm.is_finite()) {
                let noticed = Noticed::GradientNorm { nan: norms[lane].is_nan() };
                let origin = divergence::in_backward(&self.network, lane)?;
                return Ok(Some((lane, self.divergence(epoch, noticed, origin))));
            }
        }
        let ends_epoch = (step + 1).is_multiple_of(self.steps_per_epoch());
        let at = At { step, ends_epoch };
        self.measures.enter(Phase::Other);
        self.measures.before_update(&self.network, at)?;
        self.measures.enter(Phase::Update);
        self.update(step)?;
        self.measures.enter(Phase::Other);
        self.measures.after_update(&self.network, at)?;
        self.progress.add(&self.losses);
        self.step_lanes.clear();
        let lanes = self.losses.iter().zip(&self.updates).enumerate();
        self.step_lanes.extend(lanes.map(|(lane, (loss, update))| LaneStep {
            loss: loss.sum / samples as f64,
            lr: update.rate,
            gradient_norm: self.norms.last().get(lane).copied(),
        }));
        Ok(None)
    }

    /// Clips and updates every lane.
    fn update(&mut self, step: u64) -> Result<(), TrainError> {
        self.updates.clear();
        for (lane, config) in self.lanes.iter().enumerate() {
            let norm = self.norms.last().get(lane).copied().unwrap_or_default();
            let scale = clip::scale(norm, config.clip_norm);
            let rate = self.rate(lane, step);
            self.updates.push(LaneUpdate { rate, scale });
        }
        self.optimizer.update(self.network.parameters_mut(), step, &self.updates)
    }

    fn divergence(&self, epoch: u32, noticed: Noticed, origin: Option<Origin>) -> Divergence {
        let origin = origin.unwrap_or(Origin::Overflow);
        Divergence { step: self.progress.steps_done, epoch, noticed, origin }
    }

    /// Places in the epoch's order that a step of the epoch (from 0) trains on.
    fn places(&self, step_of_epoch: u64) -> Range<usize> {
        let batch = self.lanes[0].batch_size as usize;
        let start = step_of_epoch as usize * batch;
        start..(start + batch).min(self.data.train.len())
    }

    /// Learning rate of a lane in a step of the run.
    fn rate(&self, lane: usize, step: u64) -> f64 {
        let config = &self.lanes[lane];
        let timeline = Timeline::new(config, self.steps_per_epoch());
        let dropped = self.progress.dropped(lane);
        config.lr * schedule::factor(&config.schedule, step, &timeline, dropped)
    }

    /// [`evaluate`](Self::evaluate) on the validation part, telling the schedules that wait for it.
    /// Once after every epoch; again changes nothing.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn validate(&mut self) -> Result<Vec<Evaluation>, TrainError> {
        let validations = self.evaluate(Part::Validation)?;
        self.progress.validated(&self.lanes, &validations);
        Ok(validations)
    }

    /// Mean plain cross-entropy and accuracy of every lane on a part, with running statistics and no
    /// dropout, over the views that its configuration says.
    ///
    /// # Errors
    /// When the part is empty, or the tensor library fails.
    pub fn evaluate(&mut self, part: Part) -> Result<Vec<Evaluation>, TrainError> {
        let total = part.of(&self.data).len();
        if total == 0 {
            let name = if part == Part::Validation { "validation" } else { "test" };
            return Err(data_error(name, "no images", "at least 1".to_owned(), 0));
        }
        let views: Vec<_> =
            self.lanes.iter().map(|lane| LaneViews::of(&lane.evaluation, part)).collect();
        let mut sums = vec![BatchLoss::default(); self.lanes.len()];
        self.measures.begin_pass();
        self.measures.enter(Phase::Evaluation);
        let watched = part == Part::Validation && self.measures.watches_outputs();
        if watched || views.iter().any(LaneViews::is_single) {
            self.evaluate_once(part, total, &mut sums)?;
        }
        if views.iter().any(|lane| !lane.is_single()) {
            let labels = &part.of(&self.data).labels;
            let (network, batches) = (&mut self.network, &mut self.batches);
            let averaged = crops::evaluate(network, batches, part, &views, labels)?;
            let lanes = sums.iter_mut().zip(averaged).zip(&views);
            for ((sum, averaged), _) in lanes.filter(|(_, lane)| !lane.is_single()) {
                *sum = averaged;
            }
        }
        self.measures.enter(Phase::Other);
        let total = total as f64;
        Ok(sums
            .iter()
            .map(|sum| Evaluation { loss: sum.sum / total, accuracy: sum.right as f64 / total })
            .collect())
    }

    /// Adds the loss and the number right of every lane over the `total` images of a part, each image
    /// shown once. The sums are made image by image, however many pass at once.
    fn evaluate_once(
        &mut self,
        part: Part,
        total: usize,
        sums: &mut [BatchLoss],
    ) -> Result<(), TrainError> {
        let capacity = self.network.capacity();
        for start in (0..total).step_by(capacity) {
            let range = start..(start + capacity).min(total);
            let samples = range.len();
            self.batches.fill_evaluation(self.network.input_mut(), part, range)?;
            self.network.forward(&Pass { mode: Mode::Evaluate, samples, first_sample: 0 })?;
            self.network.add_loss(self.batches.labels(), sums)?;
            if part == Part::Validation {
                self.measures.enter(Phase::Other);
                self.measures.observe(&self.network, samples)?;
                self.measures.enter(Phase::Evaluation);
            }
        }
        Ok(())
    }

    /// What the configuration asks to measure at the end of an epoch, after
    /// [`train_epoch`](Self::train_epoch) and an evaluation of the validation part; leaves the
    /// training as it is, bit for bit.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn measure(&mut self) -> Result<Vec<Measured>, TrainError> {
        if !self.measures.has_epochs() {
            return Ok(Vec::new());
        }
        let last = self.progress.steps_done.saturating_sub(1);
        let rates: Vec<f64> = (0..self.lanes.len()).map(|lane| self.rate(lane, last)).collect();
        let parts = [&self.data.train, &self.data.val, &self.data.test];
        let bytes = parts.map(|part| part.pixels.len() + size_of_val(&part.labels[..]));
        let memory = Memory {
            optimizer: self.optimizer.memory_len() * size_of::<f32>(),
            data: bytes.iter().sum(),
        };
        let mut probe = Probe {
            network: &mut self.network,
            fill: &mut measure::from_validation(&mut self.batches),
            images: self.data.val.len(),
            rates: &rates,
            smoothing: &self.smoothing,
        };
        self.measures.of_epoch(self.progress.epochs_done, memory, &mut probe)
    }

    /// Lets `now`, in seconds since anything, tell how long the phases of an epoch take, if the
    /// configuration asks for it.
    pub fn wind_clock(&mut self, now: Box<dyn Fn() -> f64 + Send>) {
        self.measures.wind_clock(now);
    }

    /// Writes everything needed to continue with the same bits, as a safetensors file: parameters,
    /// running statistics, the optimizer's memory, progress.
    ///
    /// # Errors
    /// When the tensor library fails, or `to` takes no more.
    pub fn write(&self, to: &mut dyn Write) -> Result<(), TrainError> {
        let source = (&self.network, &self.optimizer, self.measures.states());
        checkpoint::write(source, &self.header(), to)
    }

    /// What [`write`](Self::write) writes.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn save(&self) -> Result<Vec<u8>, TrainError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// Continues from what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// When the bytes are damaged or belong to another run, engine or data set; says what was
    /// expected and found. The trainer is then unchanged.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let checkpoint =
            checkpoint::read(bytes, (&self.network, &self.optimizer, self.measures.states()))?;
        let steps_per_epoch = self.steps_per_epoch();
        checkpoint.header.check(&self.header(), steps_per_epoch)?;
        checkpoint.apply(&mut self.network, &mut self.optimizer, self.measures.states_mut())?;
        self.progress = checkpoint.header.progress;
        Ok(())
    }

    fn header(&self) -> checkpoint::Header {
        checkpoint::Header::new(&self.lanes, self.data.train.len(), self.progress.clone())
    }
}

/// Can these configurations be one network?
fn check_lanes(lanes: &[RunConfig]) -> Result<(), TrainError> {
    const SHARED: [Key; 9] = [
        Key::Dataset,
        Key::ValidationFraction,
        Key::Model,
        Key::Width,
        Key::BatchNorm,
        Key::BatchSize,
        Key::Epochs,
        Key::Devices,
        Key::Measure,
    ];
    let first = lanes.first().ok_or(TrainError::NoLanes)?;
    if first.devices != 1 {
        return Err(TrainError::Devices { found: first.devices });
    }
    // What is measured of activations is defined by their one function.
    let watches = |measurement: &Measurement| *measurement == Measurement::Activation;
    let watched = first.measure.iter().any(watches).then_some(Key::Activation);
    let size = |config: &RunConfig| {
        let [_, height, width] = config.dataset.image_shape();
        config.input_size([height, width])
    };
    for (lane, config) in lanes.iter().enumerate() {
        if size(config) != size(first) {
            let key = Key::Augmentation;
            let [first, found] = [first, config].map(|lane| lane.setting(key).label());
            return Err(TrainError::LanesDiffer { key: key.name(), first, lane, found });
        }
        for key in SHARED.into_iter().chain(watched) {
            let (expected, found) = (first.setting(key), config.setting(key));
            if expected != found {
                let (first, found) = (expected.label(), found.label());
                return Err(TrainError::LanesDiffer { key: key.name(), first, lane, found });
            }
        }
    }
    Ok(())
}

/// Shape of the images that the network is given, (C, H, W).
fn input_shape(config: &RunConfig, data: &DataSplits) -> [usize; 3] {
    let [channels, height, width] = data.shape;
    let [height, width] = config.input_size([height, width]);
    [channels, height, width]
}

/// Is the data whole? Kernels index by what it says.
fn check_data(data: &DataSplits) -> Result<(), TrainError> {
    let [channels, height, width] = data.shape;
    let parts = [("training", &data.train), ("validation", &data.val), ("test", &data.test)];
    for (part, images) in parts {
        let expected = images.len() * channels * height * width;
        if images.pixels.len() != expected {
            let found = images.pixels.len();
            return Err(data_error(part, "a wrong number of bytes", expected.to_string(), found));
        }
        if let Some(&label) = images.labels.iter().find(|&&l| usize::from(l) >= data.classes) {
            let expected = format!("below {}", data.classes);
            return Err(data_error(part, "a class out of range", expected, label.into()));
        }
    }
    if data.train.is_empty() {
        return Err(data_error("training", "no images", "at least 1".to_owned(), 0));
    }
    for what in [&data.mean, &data.std] {
        if what.len() != channels {
            let expected = channels.to_string();
            let name = "a mean or deviation for a wrong number of channels";
            return Err(data_error("training", name, expected, what.len()));
        }
    }
    Ok(())
}

fn data_error(
    part: &'static str,
    what: &'static str,
    expected: String,
    found: usize,
) -> TrainError {
    TrainError::Data { part, what, expected, found: found.to_string() }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
