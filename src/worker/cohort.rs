//! Lanes that stand abreast, and the network that trains them.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::error::WorkerError;
use super::lane::{EpochFigures, Lane, LaneState, NetworkFigures};
use super::open::{Position, Standing};
use super::order::Order;
use super::ranks::Gang;
use crate::event::EpochRecord;
use crate::record::{RunFolder, RunStatus, Site};
use crate::spec::RunConfig;
use crate::spec::init::Init;
use crate::train::data::DataSplits;
use crate::train::device::Device;
use crate::train::weights::Weights;
use crate::train::{EpochEnd, EpochStats, Part, TrainError, Trainer};

/// Lanes that stand abreast, and the network that trains them.
pub(super) struct Cohort {
    /// In the order of the network's lanes.
    lanes: Vec<Lane>,
    trainer: Trainer,
    /// The other ranks.
    gang: Rc<Gang>,
    site: Site,
}

/// What all cohorts of an attempt share.
pub(super) struct Setting {
    /// The folders of all runs of the group.
    pub(super) folders: Vec<PathBuf>,
    /// The other ranks.
    pub(super) gang: Rc<Gang>,
    /// The data set of all lanes.
    pub(super) data: Arc<DataSplits>,
    /// Where it is trained.
    pub(super) device: Device,
    /// The same for the record.
    pub(super) site: Site,
    /// When the worker started.
    pub(super) started: Instant,
    /// Which attempt, from 1.
    pub(super) attempt: u32,
}

impl Setting {
    /// The places of these runs in the group.
    fn places(&self, lanes: &[Standing]) -> Vec<usize> {
        let place = |standing: &Standing| {
            let path = standing.lane.folder.path();
            self.folders.iter().position(|folder| folder == path)
        };
        lanes.iter().map(|lane| place(lane).expect("invariant: a run of the group")).collect()
    }
}

/// How a cohort's training came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// Every lane has its result or is lost.
    Over,
    /// It stands where others wait for it.
    CaughtUp,
    /// It was asked to stop, and has checkpointed.
    Stopped,
}

impl Cohort {
    /// Builds the network of lanes that stand at the same position, and takes them there. Where a
    /// checkpoint is not one of its run, all lanes are given back, that one at its start.
    pub(super) fn begin(
        abreast: Vec<Standing>,
        setting: &Setting,
    ) -> Result<Result<Self, Vec<Standing>>, WorkerError> {
        let configs: Vec<_> = abreast.iter().map(|standing| standing.lane.config.clone()).collect();
        let gang = Rc::clone(&setting.gang);
        let mut trainer = Trainer::of_rank(&configs, Arc::clone(&setting.data), gang.ranks())?;
        let started = setting.started;
        trainer.wind_clock(Box::new(move || started.elapsed().as_secs_f64()));
        let checkpoints: Vec<&[u8]> =
            abreast.iter().filter_map(|standing| standing.tensors.as_deref()).collect();
        if checkpoints.is_empty() {
            for (lane, standing) in abreast.iter().enumerate() {
                let Lane { config, folder, .. } = &standing.lane;
                start_from_file(&mut trainer, lane, (config, folder))?;
            }
        } else if let Err(error) = trainer.restore(&checkpoints) {
            return Ok(Err(without_the_unfit(abreast, setting, &error)?));
        }
        gang.begin(&setting.places(&abreast), &checkpoints)?;
        // Where the accelerators of all ranks meet: the others have been told to come.
        if let Device::Accelerator(accelerator) = &setting.device {
            trainer.move_to(accelerator)?;
        }
        let mut lanes = Vec::with_capacity(abreast.len());
        for Standing { mut lane, refused, .. } in abreast {
            lane.keep(|lane| lane.announce(setting.attempt, &trainer, refused))?;
            lanes.push(lane);
        }
        Ok(Ok(Self { lanes, trainer, gang, site: setting.site.clone() }))
    }

    /// Trains until every lane has its result, until the lanes stand at `until`, or until they are
    /// asked to stop.
    pub(super) fn train(
        &mut self,
        until: Option<Position>,
        stop: &AtomicBool,
    ) -> Result<Leg, WorkerError> {
        // A checkpoint may be of a lane that had just been ended.
        self.finish_tested(false)?;
        if self.is_over() {
            return Ok(Leg::Over);
        }
        while self.has_epochs_left() {
            let end = self.epoch(until, stop)?;
            let stopped = end == EpochEnd::Stopped;
            match end {
                EpochEnd::Complete(stats) => self.epoch_complete(&stats)?,
                EpochEnd::Stopped | EpochEnd::Diverged => self.each(|_, lane, _| lane.flush())?,
            }
            self.finish_diverged()?;
            self.finish_tested(false)?;
            if self.is_over() {
                return Ok(Leg::Over);
            }
            if until == Some(self.position()) {
                return Ok(Leg::CaughtUp);
            }
            if stopped {
                self.each(|number, lane, trainer| lane.save(number, trainer))?;
                return Ok(Leg::Stopped);
            }
        }
        self.finish_tested(true)?;
        Ok(Leg::Over)
    }

    /// Its lanes as they stand, to be trained with others.
    pub(super) fn into_standings(self) -> Result<(Vec<Standing>, Vec<Lane>), WorkerError> {
        let position = self.position();
        let (mut standings, mut over) = (Vec::new(), Vec::new());
        for (number, lane) in self.lanes.into_iter().enumerate() {
            if lane.is_open() {
                let tensors = Some(self.trainer.save(number)?);
                standings.push(Standing { lane, position, tensors, refused: None });
            } else {
                over.push(lane);
            }
        }
        Ok((standings, over))
    }

    /// Its lanes.
    pub(super) fn into_lanes(self) -> Vec<Lane> {
        self.lanes
    }

    fn position(&self) -> Position {
        let Self { trainer, .. } = self;
        Position { steps: trainer.steps_done(), epochs: u64::from(trainer.epochs_done()) }
    }

    /// Has every lane its result, or is lost?
    fn is_over(&self) -> bool {
        !self.lanes.iter().any(Lane::is_open)
    }

    /// Epochs count, not steps: a run that was stopped at the last step of an epoch still owes the
    /// epoch its end.
    fn has_epochs_left(&self) -> bool {
        let Self { trainer, .. } = self;
        u64::from(trainer.epochs_done()) * trainer.steps_per_epoch() < trainer.total_steps()
    }

    /// Does `write` for every lane that is open, with its number.
    fn each(
        &mut self,
        mut write: impl FnMut(usize, &mut Lane, &Trainer) -> Result<(), WorkerError>,
    ) -> Result<(), WorkerError> {
        let Self { lanes, trainer, .. } = self;
        let mut lanes = lanes.iter_mut().enumerate();
        lanes.try_for_each(|(number, lane)| lane.keep(|lane| write(number, lane, trainer)))
    }

    /// Trains to the end of the epoch under way, writing down every step.
    fn epoch(
        &mut self,
        until: Option<Position>,
        stop: &AtomicBool,
    ) -> Result<EpochEnd, WorkerError> {
        self.gang.order(Order::Epoch)?;
        let begun = Instant::now();
        let epochs = u64::from(self.trainer.epochs_done());
        let until = until.filter(|until| until.epochs == epochs).map(|until| until.steps);
        let Self { trainer, lanes, .. } = self;
        trainer.nothing_ahead_of(until);
        let mut failed = None;
        let end = trainer.train_epoch(&mut |report| {
            for (number, lane) in lanes.iter_mut().enumerate() {
                let written = lane.keep(|lane| lane.step(number, report));
                failed = failed.take().or(written.err());
            }
            let over = failed.is_some() || !lanes.iter().any(Lane::is_open);
            if over || until == Some(report.step + 1) || stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let seconds = begun.elapsed().as_secs_f64();
        for lane in lanes {
            lane.clock.train_s += seconds;
            lane.clock.elapsed_s += seconds;
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(end?),
        }
    }

    /// Validates, writes the epoch down and checkpoints the lanes whose validation does not show
    /// that they have diverged.
    fn epoch_complete(&mut self, stats: &EpochStats) -> Result<(), WorkerError> {
        self.gang.order(Order::Validate)?;
        let begun = Instant::now();
        let validations = self.trainer.validate()?;
        let eval_s = begun.elapsed().as_secs_f64();
        let measured = self.trainer.measure()?;
        let steps = self.trainer.steps_done();
        let last = steps >= self.trainer.total_steps();
        self.each(|number, lane, trainer| {
            lane.clock.elapsed_s += eval_s;
            let (Some(trained), Some(validated)) = (stats.lanes[number], validations[number])
            else {
                return Ok(());
            };
            let before: f64 = lane.epochs.iter().map(|epoch| epoch.train_s).sum();
            let record = EpochRecord {
                epoch: stats.epoch,
                step: steps,
                lr: trained.lr,
                train_loss: trained.train_loss,
                train_accuracy: trained.train_accuracy,
                val_loss: validated.loss,
                val_accuracy: validated.accuracy,
                train_s: lane.clock.train_s - before,
                eval_s,
                elapsed_s: lane.clock.elapsed_s,
                step_compute_s: stats.times.map(|times| times.compute_s),
                step_communication_s: stats.times.map(|times| times.communication_s),
                step_wait_s: stats.times.map(|times| times.wait_s),
            };
            lane.epoch(number, EpochFigures { record, measured: &measured })?;
            let due = stats.epoch.is_multiple_of(lane.record.checkpoint_every_epochs.max(1));
            let ends = last || trainer.early_stop(number).is_some();
            if (ends || due) && trainer.divergence(number).is_none() {
                lane.save(number, trainer)?;
            }
            Ok(())
        })
    }

    /// Writes the results of the lanes that have diverged since.
    fn finish_diverged(&mut self) -> Result<(), WorkerError> {
        let (lanes, site) = (self.lanes.len() as u32, self.site.clone());
        self.each(|number, lane, trainer| {
            let Some(divergence) = trainer.divergence(number) else { return Ok(()) };
            let network = NetworkFigures::of(trainer, number, lanes, &site);
            lane.finish((RunStatus::Diverged, Some(divergence.to_string())), None, &network)
        })
    }

    /// Tests, and writes the results of the lanes that early stopping has ended since or, at the `end` of
    /// the last epoch, of all that are open.
    fn finish_tested(&mut self, end: bool) -> Result<(), WorkerError> {
        let Self { lanes, trainer, .. } = self;
        let is_due = |number: usize| end || trainer.early_stop(number).is_some();
        let mut open = (0..lanes.len()).filter(|number| lanes[*number].is_open());
        if !open.any(is_due) {
            return Ok(());
        }
        self.gang.order(Order::Test)?;
        let tests = self.trainer.evaluate(Part::Test)?;
        let (lanes, site) = (self.lanes.len() as u32, self.site.clone());
        self.each(|number, lane, trainer| {
            let stop = trainer.early_stop(number).map(ToString::to_string);
            if !end && stop.is_none() {
                return Ok(());
            }
            let network = NetworkFigures::of(trainer, number, lanes, &site);
            lane.finish((RunStatus::Finished, stop), tests[number], &network)
        })
    }
}

/// Sends the lanes whose checkpoints do not fit their runs back to the start. `error` is what a
/// group of them all came to.
fn without_the_unfit(
    abreast: Vec<Standing>,
    setting: &Setting,
    error: &TrainError,
) -> Result<Vec<Standing>, WorkerError> {
    let alone = abreast.len() == 1;
    let mut standings = Vec::with_capacity(abreast.len());
    let mut unfit = 0;
    for standing in abreast {
        let why = match alone {
            true => Some(error.to_string()),
            false => misfit(&standing, setting)?,
        };
        unfit += usize::from(why.is_some());
        standings.push(match why {
            Some(why) => standing.back_to_start(&why)?,
            None => standing,
        });
    }
    if unfit == 0 {
        // Each is whole, but together they are not: none is used, rather than tried again for ever.
        let restart = |standing: Standing| standing.back_to_start(&error.to_string());
        standings = standings.into_iter().map(restart).collect::<Result<_, _>>()?;
    }
    Ok(standings)
}

/// Why a lane's checkpoint does not fit its run, if so.
fn misfit(standing: &Standing, setting: &Setting) -> Result<Option<String>, WorkerError> {
    let Some(tensors) = &standing.tensors else { return Ok(None) };
    let config = std::slice::from_ref(&standing.lane.config);
    let ranks = setting.gang.ranks();
    let mut trainer = Trainer::of_rank(config, Arc::clone(&setting.data), ranks)?;
    Ok(trainer.restore(&[tensors]).err().map(|error| error.to_string()))
}

/// Takes the initial weights from the sweep's record, where the configuration names a file.
pub(super) fn start_from_file(
    trainer: &mut Trainer,
    lane: usize,
    (config, folder): (&RunConfig, &RunFolder),
) -> Result<(), TrainError> {
    let Init::From { from } = &config.init else { return Ok(()) };
    let digest = from.digest.as_deref().unwrap_or(&from.path);
    let weights = Weights::open(&folder.sweep().weights_file(digest))?;
    weights.check_digest(digest)?;
    trainer.start_from(lane, &weights)
}

/// The errors of the lanes that are lost.
pub(super) fn lost(lanes: Vec<Lane>) -> impl Iterator<Item = WorkerError> {
    lanes.into_iter().filter_map(|lane| match lane.state {
        LaneState::Lost(error) => Some(error),
        LaneState::Open | LaneState::Done => None,
    })
}
