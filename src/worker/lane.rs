//! One run of a group: its configuration, its record on disk, its times.
//!
//! What concerns one lane's record fails one lane: it is lost, and its neighbours go on. A full disk
//! is everybody's, and the group waits for room.

use std::io::{self, Write};

use super::clock::Clock;
use super::error::WorkerError;
use super::measured::PendingLayers;
use super::steps::PendingSteps;
use crate::event::{EVENT_FORMAT, EpochRecord, RunEvent};
use crate::record::checkpoint::{self, CheckpointEntry};
use crate::record::{
    Durability, LineWriter, RecordError, RunFolder, RunRecord, RunResult, RunStatus, Site, atomic,
};
use crate::spec::RunConfig;
use crate::train::measure::Measured;
use crate::train::{Evaluation, StepReport, TrainError, Trainer};

/// One run of a group.
pub(super) struct Lane {
    pub(super) folder: RunFolder,
    pub(super) record: RunRecord,
    pub(super) config: RunConfig,
    pub(super) events: LineWriter<RunEvent>,
    pub(super) epochs: Vec<EpochRecord>,
    pub(super) clock: Clock,
    pub(super) pending: PendingSteps,
    pub(super) layers: PendingLayers,
    /// The first event of the attempt is written.
    pub(super) announced: bool,
    pub(super) state: LaneState,
}

/// How a lane stands.
pub(super) enum LaneState {
    /// It is trained.
    Open,
    /// Its result is written.
    Done,
    /// Its record could not be written.
    Lost(WorkerError),
}

/// What a lane writes down of a complete epoch.
pub(super) struct EpochFigures<'a> {
    /// Its training and validation.
    pub(super) record: EpochRecord,
    /// What was measured at its end, in all lanes.
    pub(super) measured: &'a [Measured],
}

impl Lane {
    /// Is it still trained?
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, LaneState::Open)
    }

    /// Does `write` for a lane that is open. What goes wrong loses the lane.
    ///
    /// # Errors
    /// Only a full disk.
    pub(super) fn keep(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), WorkerError>,
    ) -> Result<(), WorkerError> {
        if !self.is_open() {
            return Ok(());
        }
        match write(self) {
            Ok(()) => Ok(()),
            Err(error) if error.is_full_disk() => Err(error),
            Err(error) => {
                self.state = LaneState::Lost(error);
                Ok(())
            }
        }
    }

    /// Writes the first event of an attempt, once.
    pub(super) fn announce(
        &mut self,
        attempt: u32,
        trainer: &Trainer,
        checkpoint_refused: Option<String>,
    ) -> Result<(), WorkerError> {
        if !std::mem::replace(&mut self.announced, true) {
            self.events.append(&RunEvent::Started {
                format: EVENT_FORMAT,
                attempt,
                resumed_at_step: trainer.steps_done(),
                total_steps: trainer.total_steps(),
                checkpoint_refused,
            })?;
        }
        Ok(())
    }

    /// Takes note of a step, of which `lane` is this one's part.
    pub(super) fn step(&mut self, lane: usize, report: &StepReport<'_>) -> Result<(), WorkerError> {
        self.pending.push(lane, report);
        self.layers.push(lane, (report.epoch, report.step + 1), report.measured);
        match self.pending.take_if_due() {
            Some(steps) => self.append([steps]),
            None => Ok(()),
        }
    }

    /// Writes a complete epoch down.
    pub(super) fn epoch(
        &mut self,
        lane: usize,
        figures: EpochFigures<'_>,
    ) -> Result<(), WorkerError> {
        let EpochFigures { record, measured } = figures;
        self.layers.push(lane, (record.epoch, record.step), measured);
        self.flush()?;
        self.events.append(&RunEvent::Epoch(record.clone()))?;
        self.epochs.push(record);
        Ok(())
    }

    /// Writes down what has not been yet.
    pub(super) fn flush(&mut self) -> Result<(), WorkerError> {
        let steps = self.pending.take();
        self.append(steps)
    }

    fn append(&mut self, steps: impl IntoIterator<Item = RunEvent>) -> Result<(), WorkerError> {
        let layers = self.layers.take();
        let mut lines = steps.into_iter().chain(layers);
        Ok(lines.try_for_each(|line| self.events.append(&line))?)
    }

    /// Events first and durable, then the checkpoint that counts on them.
    pub(super) fn save(&mut self, lane: usize, trainer: &Trainer) -> Result<(), WorkerError> {
        self.flush()?;
        self.events.sync()?;
        let entry = CheckpointEntry {
            step: trainer.steps_done(),
            blake3: String::new(),
            events_length: self.events.length(),
            wall_s: self.clock.wall_s(),
            elapsed_s: self.clock.elapsed_s,
            train_s: self.clock.train_s,
            peak_memory_bytes: self.clock.peak_memory_bytes(),
            device_memory_bytes: self.clock.device_memory_bytes(trainer.device_memory_bytes()),
        };
        let Self { folder, record, .. } = self;
        let mut fill = |file: &mut dyn Write| {
            trainer.write(lane, file).map_err(|error| match error {
                TrainError::Write(error) => error,
                error => io::Error::other(error),
            })
        };
        Ok(checkpoint::save(folder, record.run_id, entry, &mut fill, record.checkpoint_keep)?)
    }

    /// Writes the result of a lane that has `ended` in this way.
    pub(super) fn finish(
        &mut self,
        (status, reason): (RunStatus, Option<String>),
        test: Option<Evaluation>,
        network: &NetworkFigures,
    ) -> Result<(), WorkerError> {
        self.flush()?;
        let trained: f64 = self.epochs.iter().map(|epoch| epoch.train_s).sum();
        let images = network.images * self.epochs.len() as u64;
        let result = RunResult {
            reason,
            epochs: self.epochs.clone(),
            test_loss: test.map(|test| test.loss),
            test_accuracy: test.map(|test| test.accuracy),
            parameters: Some(network.parameters),
            images_per_s: (trained > 0.0).then(|| images as f64 / trained),
            wall_s: Some(self.clock.wall_s()),
            peak_memory_bytes: Some(self.clock.peak_memory_bytes()),
            device_memory_bytes: self.clock.device_memory_bytes(network.device_memory_bytes),
            fused_lanes: Some(network.lanes),
            site: Some(network.site.clone()),
            ..RunResult::new(self.record.run_id, status)
        };
        atomic::replace_json(&self.folder.result(), &result, Durability::Fact)?;
        self.state = LaneState::Done;
        Ok(())
    }

    /// Forgets what the record holds of earlier attempts: a checkpoint that cannot be used says
    /// nothing of events either.
    pub(super) fn start_over(self) -> Result<Self, RecordError> {
        let Self { events, folder, record, config, clock, .. } = self;
        drop(events);
        let (events, _) = LineWriter::open_until(&folder.events(), 0)?;
        Ok(Self {
            folder,
            record,
            config,
            events,
            epochs: Vec::new(),
            clock: clock.restarted(),
            pending: PendingSteps::default(),
            layers: PendingLayers::default(),
            announced: false,
            state: LaneState::Open,
        })
    }
}

/// What a result says of the network that a lane was trained in.
pub(super) struct NetworkFigures {
    /// Trained scalars of the lane.
    parameters: u64,
    /// Training images of an epoch.
    images: u64,
    /// Most memory that was allocated on a GPU for it, of one that is there.
    device_memory_bytes: Option<u64>,
    /// Lanes that were trained together.
    lanes: u32,
    /// Where they were.
    site: Site,
}

impl NetworkFigures {
    /// Of one of so many lanes.
    pub(super) fn of(trainer: &Trainer, lane: usize, lanes: u32, site: &Site) -> Self {
        Self {
            parameters: trainer.parameters(lane),
            images: trainer.training_images(),
            device_memory_bytes: trainer.device_memory_bytes(),
            lanes,
            site: site.clone(),
        }
    }
}
