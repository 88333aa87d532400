//! One attempt at one run, from its folder to its result.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::begin::read_record;
use super::clock::Clock;
use super::error::WorkerError;
use super::measured::PendingLayers;
use super::ranks::Gang;
use super::steps::PendingSteps;
use crate::event::{EpochRecord, RunEvent, WorkerExit};
use crate::record::checkpoint::{self, CheckpointEntry};
use crate::record::{
    Durability, LineWriter, RecordError, RunFolder, RunRecord, RunResult, RunStatus, atomic,
};
use crate::train::{EpochEnd, EpochStats, Part, TrainError, Trainer};

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The run's folder.
    pub folder: PathBuf,
    /// Where data sets are.
    pub data: PathBuf,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// Computes a run, or as much of it as `stop` allows.
///
/// # Errors
/// What keeps the run from a result; see [`WorkerError`].
pub fn work(assignment: &Assignment, stop: &AtomicBool) -> Result<WorkerExit, WorkerError> {
    let started = Instant::now();
    let folder = RunFolder::at(&assignment.folder);
    let record = read_record(&folder)?;
    let mut attempt = Attempt::begin(folder, record, assignment, started)?;
    let end = attempt.train(stop);
    attempt.gang.part(&end);
    end
}

/// An attempt under way; `begin.rs` opens it.
pub(super) struct Attempt {
    pub(super) folder: RunFolder,
    pub(super) record: RunRecord,
    pub(super) trainer: Trainer,
    pub(super) gang: Gang,
    pub(super) events: LineWriter<RunEvent>,
    pub(super) pending: PendingSteps,
    pub(super) layers: PendingLayers,
    pub(super) epochs: Vec<EpochRecord>,
    /// Training images, for the throughput.
    pub(super) images: u64,
    pub(super) clock: Clock,
}

impl Attempt {
    fn train(&mut self, stop: &AtomicBool) -> Result<WorkerExit, WorkerError> {
        while self.has_epochs_left() {
            match self.epoch(stop)? {
                EpochEnd::Complete(stats) => self.epoch_complete(&stats)?,
                EpochEnd::Stopped => {
                    self.save_checkpoint()?;
                    return Ok(WorkerExit::Interrupted);
                }
                EpochEnd::Diverged => self.flush()?,
            }
            if let Some(divergence) = self.trainer.divergence(0) {
                let reason = divergence.to_string();
                self.finish(RunStatus::Diverged, Some(reason))?;
                return Ok(WorkerExit::Done);
            }
        }
        self.finish(RunStatus::Finished, None)?;
        Ok(WorkerExit::Done)
    }

    /// Epochs count, not steps: a run that was stopped at the last step of an epoch still owes the
    /// epoch its end.
    fn has_epochs_left(&self) -> bool {
        let Self { trainer, .. } = self;
        u64::from(trainer.epochs_done()) * trainer.steps_per_epoch() < trainer.total_steps()
    }

    /// Trains to the end of the epoch under way, writing down every step.
    fn epoch(&mut self, stop: &AtomicBool) -> Result<EpochEnd, WorkerError> {
        let begun = Instant::now();
        let Self { trainer, events, pending, layers, .. } = self;
        let mut failed = None;
        let end = trainer.train_epoch(&mut |report| {
            pending.push(report);
            layers.push(report.epoch, report.step + 1, report.measured);
            if let Some(steps) = pending.take_if_due() {
                let lines = [steps].into_iter().chain(layers.take());
                failed = append_all(events, lines).err();
            }
            if failed.is_some() || stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let seconds = begun.elapsed().as_secs_f64();
        self.clock.train_s += seconds;
        self.clock.elapsed_s += seconds;
        match failed {
            // A record that cannot be written fails the run, loudly.
            Some(error) => Err(error.into()),
            None => Ok(end?),
        }
    }

    /// Validates, writes the epoch down and checkpoints, unless the validation shows that the run
    /// has diverged.
    fn epoch_complete(&mut self, stats: &EpochStats) -> Result<(), WorkerError> {
        let begun = Instant::now();
        let validation = self.trainer.validate()?;
        let eval_s = begun.elapsed().as_secs_f64();
        self.clock.elapsed_s += eval_s;
        let measured = self.trainer.measure()?;
        let (Some(lane), Some(validation)) = (stats.lanes[0], validation[0]) else {
            unreachable!("invariant: an epoch that is complete is so in a run of one lane")
        };
        let trained_before: f64 = self.epochs.iter().map(|epoch| epoch.train_s).sum();
        let epoch = EpochRecord {
            epoch: stats.epoch,
            step: self.trainer.steps_done(),
            lr: lane.lr,
            train_loss: lane.train_loss,
            train_accuracy: lane.train_accuracy,
            val_loss: validation.loss,
            val_accuracy: validation.accuracy,
            train_s: self.clock.train_s - trained_before,
            eval_s,
            elapsed_s: self.clock.elapsed_s,
            step_compute_s: stats.times.map(|times| times.compute_s),
            step_communication_s: stats.times.map(|times| times.communication_s),
            step_wait_s: stats.times.map(|times| times.wait_s),
        };
        self.layers.push(stats.epoch, self.trainer.steps_done(), &measured);
        self.flush()?;
        self.events.append(&RunEvent::Epoch(epoch.clone()))?;
        self.epochs.push(epoch);
        if self.trainer.divergence(0).is_some() {
            return Ok(());
        }
        let last = self.trainer.steps_done() >= self.trainer.total_steps();
        if last || stats.epoch.is_multiple_of(self.record.checkpoint_every_epochs.max(1)) {
            self.save_checkpoint()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WorkerError> {
        let lines = self.pending.take().into_iter().chain(self.layers.take());
        Ok(append_all(&mut self.events, lines)?)
    }

    /// Events first and durable, then the checkpoint that counts on them.
    fn save_checkpoint(&mut self) -> Result<(), WorkerError> {
        self.flush()?;
        self.events.sync()?;
        let entry = CheckpointEntry {
            step: self.trainer.steps_done(),
            blake3: String::new(),
            events_length: self.events.length(),
            wall_s: self.clock.wall_s(),
            elapsed_s: self.clock.elapsed_s,
            train_s: self.clock.train_s,
            peak_memory_bytes: self.clock.peak_memory_bytes(),
        };
        let Self { trainer, folder, record, .. } = self;
        let mut fill = |file: &mut dyn Write| {
            trainer.write(0, file).map_err(|error| match error {
                TrainError::Write(error) => error,
                error => io::Error::other(error),
            })
        };
        Ok(checkpoint::save(folder, record.run_id, entry, &mut fill, record.checkpoint_keep)?)
    }

    fn finish(&mut self, status: RunStatus, reason: Option<String>) -> Result<(), WorkerError> {
        let test = match status {
            RunStatus::Finished => self.trainer.evaluate(Part::Test)?[0],
            RunStatus::Diverged | RunStatus::Failed => None,
        };
        let trained: f64 = self.epochs.iter().map(|epoch| epoch.train_s).sum();
        let images = self.images * self.epochs.len() as u64;
        let result = RunResult {
            reason,
            epochs: self.epochs.clone(),
            test_loss: test.as_ref().map(|test| test.loss),
            test_accuracy: test.as_ref().map(|test| test.accuracy),
            parameters: Some(self.trainer.parameters(0)),
            images_per_s: (trained > 0.0).then(|| images as f64 / trained),
            wall_s: Some(self.clock.wall_s()),
            peak_memory_bytes: Some(self.clock.peak_memory_bytes()),
            ..RunResult::new(self.record.run_id, status)
        };
        Ok(atomic::replace_json(&self.folder.result(), &result, Durability::Fact)?)
    }
}

fn append_all(
    events: &mut LineWriter<RunEvent>,
    mut lines: impl Iterator<Item = RunEvent>,
) -> Result<(), RecordError> {
    lines.try_for_each(|line| events.append(&line))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::event::LayersRecord;
    use crate::ids::RunId;
    use crate::record::result::RECORD_FORMAT;
    use crate::spec::config::ENGINE_NUMERICS;

    /// Three epochs of three steps, the last one ragged.
    fn assignment(folder: &Path) -> Assignment {
        let config = serde_json::json!({
            "dataset": {
                "kind": "synthetic", "train": 40, "val": 8, "test": 8, "shape": [1, 8, 8],
            },
            "model": { "kind": "mlp", "hidden": [16] },
            "optimizer": { "kind": "sgd", "momentum": 0.9 },
            "dropout": 0.2,
            "measure": [
                { "kind": "gradient_norm", "every_steps": 2 }, "activation", "update_ratio", "drift",
                "smoothness", "memory",
            ],
            "batch_size": 16,
            "epochs": 3,
        });
        let serde_json::Value::Object(config) = config else { unreachable!() };
        let record = RunRecord {
            format: RECORD_FORMAT,
            run_id: RunId::of(b"a run"),
            configuration: "base".to_owned(),
            config: config.into_iter().collect(),
            engine: ENGINE_NUMERICS,
            data: "synthetic-1".to_owned(),
            checkpoint_every_epochs: 1,
            checkpoint_keep: 1,
        };
        let run = RunFolder::at(folder);
        atomic::replace_json(&run.run(), &record, Durability::Derived).unwrap();
        Assignment { folder: folder.to_owned(), data: folder.to_owned(), attempt: 1 }
    }

    /// Everything of a result that is not a time, what was measured, and the final weights.
    fn outcome(folder: &Path) -> (String, Vec<String>, Vec<u8>) {
        let run = RunFolder::at(folder);
        let result: RunResult = atomic::read_json(&run.result(), RECORD_FORMAT).unwrap().unwrap();
        let epochs: Vec<_> =
            result.epochs.iter().map(|e| (e.epoch, e.step, e.train_loss, e.val_loss)).collect();
        let text = format!("{:?} {:?} {epochs:?}", result.status, result.test_loss);
        let events: Vec<RunEvent> = crate::record::lines::read(&run.events()).unwrap();
        let rows = events.into_iter().flat_map(|event| match event {
            RunEvent::Layers(LayersRecord {
                epoch, measurement, layers, steps, values, ..
            }) => {
                let row = |(step, values): (u64, Vec<f64>)| {
                    format!("{epoch} {step} {measurement} {layers:?} {values:?}")
                };
                steps.into_iter().zip(values).map(row).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        (text, rows, std::fs::read(run.checkpoint_tensors(9)).unwrap())
    }

    #[test]
    fn a_run_stopped_after_every_single_step_comes_to_the_same_bits() {
        let unbroken = tempfile::tempdir().unwrap();
        let exit = work(&assignment(unbroken.path()), &AtomicBool::new(false)).unwrap();
        assert_eq!(exit, WorkerExit::Done);

        let broken = tempfile::tempdir().unwrap();
        let assignment = assignment(broken.path());
        let stopped = AtomicBool::new(true);
        let exits: Vec<_> = (0..11).map(|_| work(&assignment, &stopped).unwrap()).collect();
        assert_eq!(exits[..9], [WorkerExit::Interrupted; 9]);
        assert_eq!(exits[9], WorkerExit::Done);
        let expected = outcome(unbroken.path());
        // Norms in steps 1, 3, 5, 7, 9; at each of three ends four numbers of activations (relu has
        // no limits), one update, five of smoothness; drift from the second on; memory once.
        assert_eq!(expected.1.len(), 5 + 3 * (4 + 1 + 5) + 2 * 2 + 6, "{:#?}", expected.1);
        assert_eq!(outcome(broken.path()), expected);
    }
}
