//! Trains one network: epochs, evaluation, checkpoints. Configurations and data come in; reports
//! go out. Nothing here reads a clock, a disk or a signal, so the same calls give the same bits.

use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::admission;
use super::batches::Batches;
use super::checkpoint;
use super::crops::{self, LaneViews};
use super::data::{DataSplits, Images};
use super::device::Device;
use super::divergence::{self, Divergence, Noticed, Origin};
use super::error::TrainError;
use super::lane_set::LaneSet;
use super::layer::{Mode, Parameter, Pass};
use super::loss::BatchLoss;
use super::measure::{self, At, Label, Measured, Measures, Memory, Phase, Probe};
use super::model::{self, Network};
use super::optim::clip::{self, GradientNorms};
use super::optim::{LaneUpdate, Optimizer};
use super::progress::Progress;
use super::report::{EpochEnd, EpochStats, Evaluation, LaneEpoch, LaneStep, Part, StepReport};
use super::schedule::{self, Timeline};
use super::weights::Weights;
use crate::spec::RunConfig;
use crate::spec::architecture::Architecture;
use crate::spec::dataset::Parts;

/// Trains the runs of one group of lanes (of one, ordinarily).
///
/// A lane whose loss, or norm of gradients where that is measured, is not finite has diverged: it
/// stays as it was before that step, reports say `None` of it from then on, and
/// [`divergence`](Self::divergence) says why. The others go on, and each comes to the bits that it
/// comes to alone.
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
    step_lanes: Vec<Option<LaneStep>>,
    /// Label smoothing of every lane.
    smoothing: Vec<f64>,
    /// Norms of the last step's gradients, where they are measured.
    norms: GradientNorms,
    /// The lanes whose gradients are measured.
    measured_gradients: LaneSet,
    /// What the last update of every lane that lives went by; kept for its memory.
    updates: Vec<Option<LaneUpdate>>,
}

impl Trainer {
    /// A trainer on the CPU, as [`on`](Self::on).
    ///
    /// # Errors
    /// As [`on`](Self::on).
    pub fn new(lanes: &[RunConfig], data: Arc<DataSplits>) -> Result<Self, TrainError> {
        Self::on(lanes, data, &Device::Cpu)
    }

    /// A trainer on a device, at the start of its run. `lanes` are configurations that share the network's
    /// shape, the batch size, the epochs and the data set.
    ///
    /// # Errors
    /// When there are no lanes, lanes that do not fit together, data that contradicts itself, images
    /// too small for the network, or no room for it on the device.
    pub fn on(
        lanes: &[RunConfig],
        data: Arc<DataSplits>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        admission::check_lanes(lanes)?;
        admission::check_data(&data)?;
        let shape = admission::input_shape(&lanes[0], &data);
        let [train, validation, test] = [&data.train, &data.val, &data.test].map(Images::len);
        let parts = Parts { train, validation, test };
        let capacity =
            Architecture::new(&lanes[0], shape, data.classes)?.images_at_once(&lanes[0], parts);
        let mut trainer = Self::with_room(lanes, data, capacity)?;
        // Drawn and placed in main memory, whatever the device: it starts with the same bits.
        if let Device::Accelerator(accelerator) = device {
            trainer.network.move_to(accelerator)?;
            trainer.optimizer.move_to(accelerator)?;
            trainer.batches.move_to(accelerator)?;
        }
        Ok(trainer)
    }

    /// The same, with room for `capacity` images to pass at once; the data is whole, the lanes fit.
    fn with_room(
        lanes: &[RunConfig],
        data: Arc<DataSplits>,
        capacity: usize,
    ) -> Result<Self, TrainError> {
        let shape = admission::input_shape(&lanes[0], &data);
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
            measured_gradients: lanes.iter().map(|lane| lane.clip_norm > 0.0).collect(),
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
    pub fn parameters(&self, lane: usize) -> u64 {
        self.network.parameters_of(lane).map(|parameter| parameter.len() as u64).sum()
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
        self.measured_gradients = LaneSet::all(self.lanes.len());
    }

    /// What ended a lane before its last step, if anything did.
    pub fn divergence(&self, lane: usize) -> Option<&Divergence> {
        self.progress.divergence(lane)
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
            if !self.step(epoch)? {
                return Ok(EpochEnd::Diverged);
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
            .map(|(lane, sums)| {
                sums.map(|sums| LaneEpoch {
                    train_loss: sums.loss / images,
                    train_accuracy: sums.right as f64 / images,
                    lr: self.rate(lane, end - 1),
                })
            })
            .collect();
        Ok(EpochEnd::Complete(EpochStats { epoch, lanes }))
    }

    /// One optimizer step of the lanes that live. A lane whose loss (or norm of gradients, where
    /// measured) is not finite is none of them from there on. Says whether any is left; otherwise
    /// the step is not done.
    fn step(&mut self, epoch: u32) -> Result<bool, TrainError> {
        if self.progress.living().is_empty() {
            return Ok(false);
        }
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
        self.notice_losses(epoch, &pass)?;
        if self.progress.living().is_empty() {
            return Ok(false);
        }
        self.network.backward(&pass, &mut |_: &mut Parameter<f32>| Ok(()))?;
        self.measures.enter(Phase::Update);
        self.notice_gradients(epoch)?;
        if self.progress.living().is_empty() {
            return Ok(false);
        }
        let ends_epoch = (step + 1).is_multiple_of(self.steps_per_epoch());
        let at = At { step, ends_epoch };
        self.measures.enter(Phase::Other);
        self.measures.before_update(&self.network, at)?;
        self.measures.enter(Phase::Update);
        self.update(step)?;
        self.measures.enter(Phase::Other);
        self.measures.after_update(&self.network, at, self.progress.living())?;
        self.progress.add(&self.losses);
        self.step_lanes.clear();
        for (lane, loss) in self.losses.iter().enumerate() {
            let report = self.updates[lane].map(|update| LaneStep {
                loss: loss.sum / samples as f64,
                lr: update.rate,
                gradient_norm: self.gradient_norm(lane),
            });
            self.step_lanes.push(report);
        }
        Ok(true)
    }

    /// Ends the lanes whose last loss is not finite.
    fn notice_losses(&mut self, epoch: u32, pass: &Pass) -> Result<(), TrainError> {
        for lane in 0..self.lanes.len() {
            let sum = self.losses[lane].sum;
            if self.progress.living().contains(lane) && !sum.is_finite() {
                let origin = divergence::in_forward(&self.network, lane, pass)?;
                let origin = Some(origin.unwrap_or(Origin::Overflow));
                self.diverge(lane, epoch, Noticed::Loss { nan: sum.is_nan() }, origin);
            }
        }
        Ok(())
    }

    /// Ends the lanes the norm of whose gradients is measured and not finite.
    fn notice_gradients(&mut self, epoch: u32) -> Result<(), TrainError> {
        if self.measured_gradients.is_empty() {
            return Ok(());
        }
        self.norms.measure(self.network.parameters(), &self.measured_gradients)?;
        for lane in 0..self.lanes.len() {
            let norm = self.norms.last()[lane];
            if self.progress.living().contains(lane) && !norm.is_finite() {
                let origin = divergence::in_backward(&self.network, lane)?;
                let origin = Some(origin.unwrap_or(Origin::Overflow));
                self.diverge(lane, epoch, Noticed::GradientNorm { nan: norm.is_nan() }, origin);
            }
        }
        Ok(())
    }

    /// Ends a lane before the next step.
    fn diverge(&mut self, lane: usize, epoch: u32, noticed: Noticed, origin: Option<Origin>) {
        let step = self.progress.steps_done;
        self.progress.diverge(lane, Divergence { step, epoch, noticed, origin });
        self.network.keep_alive(self.progress.living());
    }

    /// The norm of a lane's last gradients, where it is measured.
    fn gradient_norm(&self, lane: usize) -> Option<f64> {
        self.measured_gradients.contains(lane).then(|| self.norms.last()[lane])
    }

    /// Clips and updates every lane that lives.
    fn update(&mut self, step: u64) -> Result<(), TrainError> {
        self.updates.clear();
        for (lane, config) in self.lanes.iter().enumerate() {
            let norm = self.gradient_norm(lane).unwrap_or_default();
            let (rate, scale) = (self.rate(lane, step), clip::scale(norm, config.clip_norm));
            let lives = self.progress.living().contains(lane);
            self.updates.push(lives.then_some(LaneUpdate { rate, scale }));
        }
        self.optimizer.update(self.network.parameters_mut(), step, &self.updates)
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
    /// A lane whose loss is not finite has diverged. Once after every epoch; again changes nothing.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn validate(&mut self) -> Result<Vec<Option<Evaluation>>, TrainError> {
        let validations = self.evaluate(Part::Validation)?;
        self.progress.validated(&self.lanes, &validations);
        for (lane, validation) in validations.iter().enumerate() {
            if validation.is_some_and(|validation| !validation.loss.is_finite()) {
                let epoch = self.progress.epochs_done;
                self.diverge(lane, epoch, Noticed::ValidationLoss, None);
            }
        }
        Ok(validations)
    }

    /// Mean plain cross-entropy and accuracy of every lane on a part, with running statistics and no
    /// dropout, over the views that its configuration says; `None` of a lane that diverged in a step
    /// before the last.
    ///
    /// # Errors
    /// When the part is empty, or the tensor library fails.
    pub fn evaluate(&mut self, part: Part) -> Result<Vec<Option<Evaluation>>, TrainError> {
        let total = part.of(&self.data).len();
        if total == 0 {
            let name = if part == Part::Validation { "validation" } else { "test" };
            return Err(admission::no_images(name));
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
        let (total, abreast) = (total as f64, self.progress.abreast());
        let evaluation = |(lane, sum): (usize, &BatchLoss)| {
            let accuracy = sum.right as f64 / total;
            abreast.contains(lane).then_some(Evaluation { loss: sum.sum / total, accuracy })
        };
        Ok(sums.iter().enumerate().map(evaluation).collect())
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
        let optimizer = |lane| {
            let kept = self.optimizer.memory_names(lane).len() * size_of::<f32>();
            kept * self.parameters(lane) as usize
        };
        let optimizer = (0..self.lanes.len()).map(optimizer).collect();
        let memory = Memory { optimizer, data: bytes.iter().sum() };
        let mut probe = Probe {
            lanes: &self.progress.abreast(),
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

    /// Lets `now` tell how long each layer takes, too.
    pub fn wind_layer_clock(&mut self, now: Box<dyn Fn() -> f64 + Send>) {
        self.network.wind_clock(now);
    }

    /// Every layer with its seconds forward and backward since the last time; none where nobody has
    /// wound the clock.
    pub fn take_layer_seconds(&mut self) -> Vec<(&Label, [f64; 2])> {
        self.network.take_layer_seconds()
    }

    /// Writes everything needed to continue a lane with the same bits, as a safetensors file:
    /// parameters, running statistics, the optimizer's memory, progress; of a lane that has
    /// diverged, what it came to and why. The file of a lane is that of the run alone, byte for byte.
    ///
    /// # Errors
    /// When the tensor library fails, or `to` takes no more.
    pub fn write(&self, lane: usize, to: &mut dyn Write) -> Result<(), TrainError> {
        let source = (&self.network, &self.optimizer, self.measures.states());
        checkpoint::write(source, lane, &self.header(lane), to)
    }

    /// What [`write`](Self::write) writes.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn save(&self, lane: usize) -> Result<Vec<u8>, TrainError> {
        let mut bytes = Vec::new();
        self.write(lane, &mut bytes)?;
        Ok(bytes)
    }

    /// Continues from what [`save`](Self::save) gave of every lane at the same step, in this group
    /// or in another. Lanes that had diverged have diverged.
    ///
    /// # Errors
    /// When the bytes are damaged, belong to another run, engine or data set, or are of different
    /// steps; says what was expected and found. The trainer is then unchanged.
    pub fn restore(&mut self, lanes: &[impl AsRef<[u8]>]) -> Result<(), TrainError> {
        checkpoint::same("number of lanes", self.lanes.len(), lanes.len())?;
        let mut checkpoints = Vec::with_capacity(lanes.len());
        for (lane, bytes) in lanes.iter().enumerate() {
            let source = (&self.network, &self.optimizer, self.measures.states());
            let checkpoint = checkpoint::read(bytes.as_ref(), source, lane)?;
            checkpoint.header.check(lane, &self.header(lane), self.steps_per_epoch())?;
            checkpoints.push(checkpoint);
        }
        let progress: Vec<_> = checkpoints.iter().map(|c| c.header.progress.clone()).collect();
        let progress = Progress::of_lanes(&progress)?;
        for checkpoint in &checkpoints {
            checkpoint.apply(&mut self.network, &mut self.optimizer, self.measures.states_mut())?;
        }
        self.progress = progress;
        self.network.keep_alive(self.progress.living());
        Ok(())
    }

    fn header(&self, lane: usize) -> checkpoint::Header {
        let images = self.data.train.len();
        checkpoint::Header::new(&self.lanes[lane], images, self.progress.lane(lane))
    }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
