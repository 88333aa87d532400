//! Trains one network: epochs, evaluation, checkpoints. Configurations and data come in; reports
//! go out. Nothing here reads a clock, a disk or a signal, so the same calls give the same bits.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::batches::Batches;
use super::checkpoint;
use super::data::DataSplits;
use super::error::TrainError;
use super::layer::{Mode, Parameter, Pass};
use super::loss::BatchLoss;
use super::model::{self, Network};
use super::optim::Optimizer;
use super::progress::Progress;
use super::report::{EpochEnd, EpochStats, Evaluation, LaneEpoch, LaneStep, Part, StepReport};
use super::schedule;
use super::weights::Weights;
use crate::spec::{Key, RunConfig};

/// Samples that an evaluation passes through the network at once, where training passes fewer.
const EVALUATION_SAMPLES: usize = 256;

/// Trains the runs of one group of lanes (of one, ordinarily).
pub struct Trainer {
    lanes: Vec<RunConfig>,
    data: Arc<DataSplits>,
    network: Network<f32>,
    optimizer: Optimizer<f32>,
    batches: Batches,
    progress: Progress,
    /// Losses of the last batch; kept for their memory.
    losses: Vec<BatchLoss>,
    /// The last step's report; kept for its memory.
    step_lanes: Vec<LaneStep>,
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
        let largest_part = data.val.len().max(data.test.len());
        let batch = (lanes[0].batch_size as usize).min(data.train.len());
        let capacity = batch.max(EVALUATION_SAMPLES.min(largest_part));
        let network = model::build(lanes, data.shape, data.classes, capacity)?;
        Ok(Self {
            optimizer: Optimizer::new(lanes, network.parameters())?,
            batches: Batches::new(lanes, Arc::clone(&data), network.input_order()),
            network,
            data,
            progress: Progress::new(lanes.len()),
            losses: vec![BatchLoss::default(); lanes.len()],
            step_lanes: Vec::with_capacity(lanes.len()),
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
            if let Some(lane) = self.step(epoch)? {
                return Ok(EpochEnd::Diverged { lane, step });
            }
            let report = StepReport { step, epoch, lanes: &self.step_lanes };
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

    /// One optimizer step; names the first lane whose loss is not finite, and then changes neither
    /// parameters nor progress.
    fn step(&mut self, epoch: u32) -> Result<Option<usize>, TrainError> {
        let step = self.progress.steps_done;
        let places = self.places(step % self.steps_per_epoch());
        let samples = places.len();
        self.batches.fill_training(self.network.input_mut(), epoch, places)?;
        let pass = Pass { mode: Mode::Train { step }, samples, first_sample: 0 };
        self.network.forward(&pass)?;
        self.network.loss_and_gradient(self.batches.labels(), &mut self.losses)?;
        if let Some(lane) = self.losses.iter().position(|loss| !loss.sum.is_finite()) {
            return Ok(Some(lane));
        }
        self.network.backward(&pass, &mut |_: &mut Parameter<f32>| Ok(()))?;
        let rates: Vec<f64> = (0..self.lanes.len()).map(|lane| self.rate(lane, step)).collect();
        self.optimizer.update(self.network.parameters_mut(), step, &rates)?;
        self.progress.add(&self.losses);
        self.step_lanes.clear();
        let lanes = self.losses.iter().zip(rates);
        self.step_lanes
            .extend(lanes.map(|(loss, lr)| LaneStep { loss: loss.sum / samples as f64, lr }));
        Ok(None)
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
        let steps_per_epoch = self.steps_per_epoch();
        config.lr * schedule::factor(&config.schedule, step, steps_per_epoch, config.epochs)
    }

    /// Mean loss and accuracy of every lane on a part, with running statistics and no dropout.
    ///
    /// # Errors
    /// When the part is empty, or the tensor library fails.
    pub fn evaluate(&mut self, part: Part) -> Result<Vec<Evaluation>, TrainError> {
        let total = part.of(&self.data).len();
        if total == 0 {
            let name = if part == Part::Validation { "validation" } else { "test" };
            return Err(data_error(name, "no images", "at least 1".to_owned(), 0));
        }
        let mut sums = vec![BatchLoss::default(); self.lanes.len()];
        let capacity = self.network.capacity();
        for start in (0..total).step_by(capacity) {
            let range = start..(start + capacity).min(total);
            let samples = range.len();
            self.batches.fill_evaluation(self.network.input_mut(), part, range)?;
            self.network.forward(&Pass { mode: Mode::Evaluate, samples, first_sample: 0 })?;
            self.network.loss(self.batches.labels(), &mut self.losses)?;
            for (sum, loss) in sums.iter_mut().zip(&self.losses) {
                sum.sum += loss.sum;
                sum.right += loss.right;
            }
        }
        let total = total as f64;
        Ok(sums
            .iter()
            .map(|sum| Evaluation { loss: sum.sum / total, accuracy: sum.right as f64 / total })
            .collect())
    }

    /// Everything needed to continue with the same bits, as a safetensors file: parameters, running
    /// statistics, the optimizer's memory, progress.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn save(&self) -> Result<Vec<u8>, TrainError> {
        checkpoint::save(&self.network, &self.optimizer, &self.header())
    }

    /// Continues from what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// When the bytes are damaged or belong to another run, engine or data set; says what was
    /// expected and found. The trainer is then unchanged.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let checkpoint = checkpoint::read(bytes, &self.network, &self.optimizer)?;
        let steps_per_epoch = self.steps_per_epoch();
        checkpoint.header.check(&self.header(), steps_per_epoch)?;
        checkpoint.apply(&mut self.network, &mut self.optimizer)?;
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
        Key::Activation,
        Key::BatchNorm,
        Key::BatchSize,
        Key::Epochs,
        Key::Devices,
    ];
    let first = lanes.first().ok_or(TrainError::NoLanes)?;
    if first.devices != 1 {
        return Err(TrainError::Devices { found: first.devices });
    }
    for (lane, config) in lanes.iter().enumerate() {
        for key in SHARED {
            let (expected, found) = (first.setting(key), config.setting(key));
            if expected != found {
                let (first, found) = (expected.label(), found.label());
                return Err(TrainError::LanesDiffer { key: key.name(), first, lane, found });
            }
        }
    }
    Ok(())
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
