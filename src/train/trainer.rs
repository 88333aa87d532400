//! Trains one network: epochs, evaluation, checkpoints. Configurations and data come in; reports
//! go out. Nothing here reads a clock, a disk or a signal, so the same calls give the same bits.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::admission;
use super::batches::Batches;
use super::data::{DataSplits, Images};
use super::device::{Accelerator, Device, DeviceError};
use super::divergence::{self, Divergence, Noticed, Origin};
use super::error::TrainError;
use super::kernel::Real;
use super::lane_set::LaneSet;
use super::layer::{Mode, Parameter, Pass};
use super::loss::BatchLoss;
use super::measure::{At, Label, Measures, Phase};
use super::model::{self, Network};
use super::optim::clip::{self, GradientNorms};
use super::optim::{LaneUpdate, Optimizer};
use super::parallel::{Ranks, StepTimes};
use super::progress::Progress;
use super::report::{EpochEnd, EpochStats, LaneEpoch, LaneStep, StepReport};
use super::schedule::{self, Timeline};
use crate::spec::RunConfig;
use crate::spec::architecture::Architecture;
use crate::spec::dataset::Parts;

/// Trains the runs of one group of lanes (of one, ordinarily).
///
/// A lane whose loss, or norm of gradients where that is measured, is not finite has diverged: it
/// stays as it was before that step, reports say `None` of it from then on, and
/// [`divergence`](Self::divergence) says why. The others go on, and each comes to the bits that it
/// comes to alone.
///
/// One of several [`Ranks`] trains on its part of every batch, and comes with the others to the same
/// parameters; all of them make the same calls.
pub struct Trainer<T: Real = f32> {
    pub(super) lanes: Vec<RunConfig>,
    pub(super) data: Arc<DataSplits>,
    pub(super) network: Network<T>,
    pub(super) optimizer: Optimizer<T>,
    pub(super) batches: Batches,
    pub(super) progress: Progress,
    pub(super) measures: Measures<T>,
    pub(super) ranks: Ranks<T>,
    /// Have the ranks been found to start from the same numbers?
    pub(super) is_checked: bool,
    /// What ranks agree on; kept for its memory.
    pub(super) agreed: Vec<f64>,
    /// Losses of the last batch; kept for their memory.
    pub(super) losses: Vec<BatchLoss>,
    /// The last step's report; kept for its memory.
    step_lanes: Vec<Option<LaneStep>>,
    /// Label smoothing of every lane.
    pub(super) smoothing: Vec<f64>,
    /// Norms of the last step's gradients, where they are measured.
    norms: GradientNorms,
    /// The lanes whose gradients are measured.
    measured_gradients: LaneSet,
    /// What the last update of every lane that lives went by; kept for its memory.
    updates: Vec<Option<LaneUpdate>>,
}

impl Trainer {
    /// A trainer at the start of its run, on one device. `lanes` are configurations that share the
    /// network's shape, the batch size, the epochs and the data set.
    ///
    /// # Errors
    /// When there are no lanes, lanes that do not fit together, data that contradicts itself, or
    /// images too small for the network.
    pub fn new(lanes: &[RunConfig], data: Arc<DataSplits>) -> Result<Self, TrainError> {
        Self::of_rank(lanes, data, Ranks::alone())
    }

    /// The same on a device: it starts with the same bits wherever it is.
    ///
    /// # Errors
    /// As [`new`](Self::new), or when the device has no room for it, or does not compute in its precision.
    pub fn on(
        lanes: &[RunConfig],
        data: Arc<DataSplits>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut trainer = Self::new(lanes, data)?;
        device.check(trainer.lanes[0].precision)?;
        if let Device::Accelerator(accelerator) = device {
            trainer.move_to(accelerator)?;
        }
        Ok(trainer)
    }
}

impl<T: Real> Trainer<T> {
    /// Moves everything that a step needs to an accelerator, where steps are computed from then on.
    ///
    /// # Errors
    /// When it has no room, or this is one of several ranks: they exchange gradients in main memory.
    pub fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        if self.ranks.world() > 1 {
            return Err(DeviceError::Ranks { found: self.ranks.world() }.into());
        }
        self.network.move_to(accelerator)?;
        self.optimizer.move_to(accelerator)?;
        self.batches.move_to(accelerator)
    }

    /// The trainer of one rank, which computes in numbers of type `T`.
    ///
    /// # Errors
    /// As [`new`](Trainer::new), or when there are not as many ranks as the configurations have
    /// devices.
    pub fn of_rank(
        lanes: &[RunConfig],
        data: Arc<DataSplits>,
        ranks: Ranks<T>,
    ) -> Result<Self, TrainError> {
        admission::check_lanes(lanes, ranks.world())?;
        admission::check_data(&data)?;
        let shape = admission::input_shape(&lanes[0], &data);
        let [train, validation, test] = [&data.train, &data.val, &data.test].map(Images::len);
        let parts = Parts { train, validation, test };
        let capacity =
            Architecture::new(&lanes[0], shape, data.classes)?.images_at_once(&lanes[0], parts);
        Self::with_room(lanes, data, capacity, ranks)
    }

    /// The same, with room for `capacity` images to pass at once; the data is whole, the lanes fit.
    fn with_room(
        lanes: &[RunConfig],
        data: Arc<DataSplits>,
        capacity: usize,
        mut ranks: Ranks<T>,
    ) -> Result<Self, TrainError> {
        let shape = admission::input_shape(&lanes[0], &data);
        let mut network = model::build(lanes, shape, data.classes, capacity)?;
        ranks.prepare(network.parameters())?;
        if let Some(peers) = ranks.peers() {
            network.connect(peers, &lanes.iter().map(|lane| lane.sync_batch_norm).collect());
        }
        Ok(Self {
            optimizer: Optimizer::new(lanes, network.parameters())?,
            measures: Measures::new(lanes, &network)?,
            batches: Batches::new(lanes, Arc::clone(&data), network.input_order()),
            network,
            data,
            progress: Progress::new(lanes),
            ranks,
            is_checked: false,
            agreed: Vec::new(),
            losses: vec![BatchLoss::default(); lanes.len()],
            step_lanes: Vec::with_capacity(lanes.len()),
            smoothing: lanes.iter().map(|lane| lane.label_smoothing).collect(),
            norms: GradientNorms::default(),
            measured_gradients: lanes.iter().map(|lane| lane.clip_norm > 0.0).collect(),
            updates: Vec::with_capacity(lanes.len()),
            lanes: lanes.to_vec(),
        })
    }

    /// Trained scalars of one lane.
    pub fn parameters(&self, lane: usize) -> u64 {
        self.network.parameters_of(lane).map(|parameter| parameter.len() as u64).sum()
    }

    /// Images that an epoch trains on, over all ranks.
    pub fn training_images(&self) -> u64 {
        self.data.train.len() as u64
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
    /// On several ranks all of them stop where any of them is asked to.
    ///
    /// # Errors
    /// When all epochs are done, the tensor library fails, another rank does, or ranks are found to
    /// hold different parameters.
    pub fn train_epoch(
        &mut self,
        after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
    ) -> Result<EpochEnd, TrainError> {
        self.ranks.computing(true);
        let end = self.train_on(after_step);
        self.ranks.computing(false);
        end
    }

    fn train_on(
        &mut self,
        after_step: &mut dyn FnMut(&StepReport<'_>) -> ControlFlow<()>,
    ) -> Result<EpochEnd, TrainError> {
        let epochs = self.lanes[0].epochs;
        if self.progress.epochs_done == epochs {
            return Err(TrainError::NothingLeft { epochs });
        }
        self.check_start()?;
        let epoch = self.progress.epochs_done + 1;
        let end = u64::from(epoch) * self.steps_per_epoch();
        while self.progress.steps_done < end {
            let step = self.progress.steps_done;
            self.ranks.begin_step();
            if !self.step(epoch)? {
                return Ok(EpochEnd::Diverged);
            }
            let seconds = self.measures.lap();
            let report = StepReport {
                step,
                epoch,
                lanes: &self.step_lanes,
                measured: self.measures.of_step(),
                seconds,
            };
            self.ranks.computing(false);
            let stop = after_step(&report).is_break();
            self.ranks.computing(true);
            let stop = self.any_rank(stop)?;
            self.ranks.end_step();
            if stop {
                return Ok(EpochEnd::Stopped);
            }
        }
        let sums = self.progress.complete_epoch();
        self.end_epoch_together()?;
        let images = self.data.train.len() as f64;
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
        let times = self.ranks.take_times();
        Ok(EpochEnd::Complete(EpochStats { epoch, lanes, times }))
    }

    /// One optimizer step of the lanes that live. A lane whose loss (or norm of gradients, where
    /// measured) is not finite is none of them from there on. Says whether any is left; otherwise
    /// the step is not done.
    fn step(&mut self, epoch: u32) -> Result<bool, TrainError> {
        if self.progress.living().is_empty() {
            return Ok(false);
        }
        let step = self.progress.steps_done;
        let batch = self.places(step % self.steps_per_epoch());
        let pass = self.pass_backward(epoch, step, &batch)?;
        self.agree_on_losses()?;
        self.notice_losses(epoch, &pass)?;
        if self.progress.living().is_empty() {
            return Ok(false);
        }
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
                loss: loss.sum / batch.len() as f64,
                lr: update.rate,
                gradient_norm: self.gradient_norm(lane),
            });
            self.step_lanes.push(report);
        }
        Ok(true)
    }

    /// The losses of the batch at these places of the epoch's order, as far as they are this rank's,
    /// and the gradients of all ranks together.
    fn pass_backward(
        &mut self,
        epoch: u32,
        step: u64,
        batch: &Range<usize>,
    ) -> Result<Pass, TrainError> {
        let part = self.ranks.part(batch);
        let first_sample = part.start - batch.start;
        let pass = Pass { mode: Mode::Train { step }, samples: part.len(), first_sample };
        self.measures.enter(Phase::Data);
        self.batches.fill_training(self.network.input_mut(), epoch, batch, part)?;
        self.measures.enter(Phase::Forward);
        self.network.forward(&pass)?;
        let targets = self.batches.targets();
        self.network.loss_and_gradient(&targets, &self.smoothing, &mut self.losses)?;
        self.measures.enter(Phase::Backward);
        let ranks = &mut self.ranks;
        self.network.backward(&pass, &mut |ready: &mut Parameter<T>| ranks.ready(ready))?;
        self.ranks.finish(self.network.parameters_mut())?;
        Ok(pass)
    }

    /// Ends the lanes whose last loss is not finite.
    fn notice_losses(&mut self, epoch: u32, pass: &Pass) -> Result<(), TrainError> {
        for lane in 0..self.lanes.len() {
            let sum = self.losses[lane].sum;
            if self.progress.living().contains(lane) && !sum.is_finite() {
                let origin = divergence::in_forward(&self.network, lane, pass)?;
                let origin = self.first_origin(origin)?;
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
    pub(super) fn diverge(
        &mut self,
        lane: usize,
        epoch: u32,
        noticed: Noticed,
        origin: Option<Origin>,
    ) {
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
    pub(super) fn rate(&self, lane: usize, step: u64) -> f64 {
        let config = &self.lanes[lane];
        let timeline = Timeline::new(config, self.steps_per_epoch());
        let dropped = self.progress.dropped(lane);
        config.scaled_lr() * schedule::factor(&config.schedule, step, &timeline, dropped)
    }

    /// Lets `now`, in seconds since anything, tell how long the phases of an epoch take, if the
    /// configuration asks for it.
    pub fn wind_clock(&mut self, now: Box<dyn Fn() -> f64 + Send>) {
        self.measures.wind_clock(now);
    }

    /// Keeps where the time of each of the next `steps` steps goes, on several ranks.
    pub fn keep_rank_times(&mut self, steps: usize) {
        self.ranks.keep_times(steps);
    }

    /// What was kept, step by step; nothing of one rank.
    pub fn kept_rank_times(&mut self) -> Vec<StepTimes> {
        self.ranks.kept_times()
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
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
