//! Trains one network: epochs, evaluation, checkpoints. Configurations and data come in; reports
//! go out. Nothing here reads a clock, a disk or a signal, so the same calls give the same bits.

use std::sync::Arc;

use super::admission;
use super::batches::Batches;
use super::data::{DataSplits, Images};
use super::device::{Accelerator, Device};
use super::divergence::{Divergence, Noticed, Origin};
use super::early_stop::Stall;
use super::error::TrainError;
use super::kernel::Real;
use super::lane_set::LaneSet;
use super::loss::BatchLoss;
use super::measure::{Label, Measures};
use super::model::{self, Network};
use super::optim::clip::GradientNorms;
use super::optim::{LaneUpdate, Optimizer};
use super::parallel::{Ranks, StepTimes};
use super::progress::Progress;
use super::report::LaneStep;
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
    pub(super) step_lanes: Vec<Option<LaneStep>>,
    /// Label smoothing of every lane.
    pub(super) smoothing: Vec<f64>,
    /// Norms of the last step's gradients, where they are measured.
    pub(super) norms: GradientNorms,
    /// The lanes whose gradients are measured.
    pub(super) measured_gradients: LaneSet,
    /// What the last update of every lane that lives went by; kept for its memory.
    pub(super) updates: Vec<Option<LaneUpdate>>,
    /// No step from this number on is begun before the one before it has been reported.
    pub(super) nothing_ahead_of: Option<u64>,
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
    /// When it has no room. Of several ranks, each has an accelerator of its own and all call this;
    /// when these do not meet, or another rank is lost.
    pub fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        self.network.move_to(accelerator)?;
        self.optimizer.move_to(accelerator, self.network.lives().cloned())?;
        self.batches.move_to(accelerator)?;
        self.ranks.move_to(accelerator, self.network.parameters())
    }

    /// Most bytes that were allocated at a time on the accelerator where it computes, if it does so on one;
    /// what the accelerator's libraries take for themselves not counted.
    pub fn device_memory_bytes(&self) -> Option<u64> {
        self.network.accelerator().map(|accelerator| accelerator.peak_bytes() as u64)
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
            nothing_ahead_of: None,
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

    /// Begins no step from number `step` on before the one before it has been reported, so that
    /// whoever stops there stops exactly there. On an accelerator a step is begun before the one
    /// before it is reported, otherwise.
    pub fn nothing_ahead_of(&mut self, step: Option<u64>) {
        self.nothing_ahead_of = step;
    }

    /// What a lane broke down of before its last step, if it did.
    pub fn divergence(&self, lane: usize) -> Option<&Divergence> {
        self.progress.divergence(lane)
    }

    /// What a lane that early stopping has ended waited for in vain.
    pub fn early_stop(&self, lane: usize) -> Option<&Stall> {
        self.progress.early_stop(lane)
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
