//! The beginning of an attempt: folder locked, data loaded, network built, checkpoint restored.

use std::sync::Arc;
use std::time::Instant;

use super::clock::Clock;
use super::error::WorkerError;
use super::measured::PendingLayers;
use super::ranks::Gang;
use super::run::{Assignment, Attempt};
use super::steps::PendingSteps;
use crate::event::{EVENT_FORMAT, RunEvent};
use crate::record::checkpoint::{self, Loaded};
use crate::record::result::RECORD_FORMAT;
use crate::record::{LineWriter, RunFolder, RunRecord, atomic};
use crate::spec::RunConfig;
use crate::spec::config::ENGINE_NUMERICS;
use crate::spec::init::Init;
use crate::train::parallel::Ranks;
use crate::train::weights::Weights;
use crate::train::{TrainError, Trainer, data};

impl Attempt {
    /// Takes the run's lock, loads the data, builds the network and goes back to the newest
    /// checkpoint that is whole; without one, to the start.
    pub(super) fn begin(
        folder: RunFolder,
        record: RunRecord,
        assignment: &Assignment,
        started: Instant,
    ) -> Result<Self, WorkerError> {
        let config = config_of(&record)?;
        let checkpoint::Found { loaded, mut refused } = checkpoint::load(&folder, record.run_id)?;
        let keep = loaded.as_ref().map_or(0, |loaded| loaded.entry.events_length);
        // Whoever else would write this run is refused by the lock on its events.
        let (mut events, mut lines) = LineWriter::open_until(&folder.events(), keep)?;
        atomic::remove_litter(folder.path());
        checkpoint::tidy(&folder);
        let (gang, ranks) = Gang::start(config.devices, assignment)?;
        let mut trainer = trainer_of((&folder, &record), &config, assignment, ranks, started)?;
        let images = trainer.training_images();
        let mut clock = Clock::new(started);
        let mut restored = None;
        if let Some(loaded) = loaded {
            match restore(&mut trainer, &loaded, events.length()) {
                Ok(()) => {
                    restored = Some(loaded.entry.step);
                    clock.carry_on(&loaded.entry);
                }
                Err(why) => {
                    refused = Some(format!("checkpoint of step {}: {why}", loaded.entry.step));
                    drop(events);
                    (events, lines) = LineWriter::open_until(&folder.events(), 0)?;
                }
            }
        }
        gang.announce(restored)?;
        events.append(&RunEvent::Started {
            format: EVENT_FORMAT,
            attempt: assignment.attempt,
            resumed_at_step: trainer.steps_done(),
            total_steps: trainer.total_steps(),
            checkpoint_refused: refused,
        })?;
        let epochs = lines.into_iter().filter_map(RunEvent::into_epoch).collect();
        let pending = PendingSteps::default();
        let layers = PendingLayers::default();
        Ok(Self { folder, record, trainer, gang, events, pending, layers, epochs, images, clock })
    }
}

/// The run that a folder holds.
pub(super) fn read_record(folder: &RunFolder) -> Result<RunRecord, WorkerError> {
    let record: RunRecord = atomic::read_json(&folder.run(), RECORD_FORMAT)?
        .ok_or_else(|| WorkerError::NoRun(folder.path().display().to_string()))?;
    if record.engine != ENGINE_NUMERICS {
        return Err(WorkerError::Numerics { found: record.engine, known: ENGINE_NUMERICS });
    }
    Ok(record)
}

/// The trainer of one rank of a run, at the start.
pub(super) fn trainer_of(
    (folder, record): (&RunFolder, &RunRecord),
    config: &RunConfig,
    assignment: &Assignment,
    ranks: Ranks<f32>,
    started: Instant,
) -> Result<Trainer, WorkerError> {
    data::check_unchanged(&config.dataset, &assignment.data, &record.data)?;
    let splits = data::load(&config.dataset, config.validation_fraction, &assignment.data)?;
    let mut trainer = Trainer::of_rank(std::slice::from_ref(config), Arc::new(splits), ranks)?;
    trainer.wind_clock(Box::new(move || started.elapsed().as_secs_f64()));
    start_from_file(&mut trainer, config, folder)?;
    Ok(trainer)
}

/// Takes the initial weights from the sweep's record, where the configuration names a file.
fn start_from_file(
    trainer: &mut Trainer,
    config: &RunConfig,
    folder: &RunFolder,
) -> Result<(), TrainError> {
    let Init::From { from } = &config.init else { return Ok(()) };
    let digest = from.digest.as_deref().unwrap_or(&from.path);
    let weights = Weights::open(&folder.sweep().weights_file(digest))?;
    weights.check_digest(digest)?;
    trainer.start_from(0, &weights)
}

/// Puts the trainer where the checkpoint was taken, if the events up to there are whole.
fn restore(trainer: &mut Trainer, loaded: &Loaded, events_length: u64) -> Result<(), String> {
    if events_length != loaded.entry.events_length {
        return Err("the events that belong to it are damaged".to_owned());
    }
    trainer.restore(&[&loaded.tensors]).map_err(|error| error.to_string())
}

/// The recorded configuration, typed.
pub(super) fn config_of(record: &RunRecord) -> Result<RunConfig, WorkerError> {
    let table: serde_json::Map<_, _> =
        record.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(RunConfig::from_canonical(&serde_json::Value::Object(table))?)
}
