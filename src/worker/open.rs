//! The beginning of an attempt: every run's folder locked, its configuration read, its newest whole
//! checkpoint loaded.

use std::path::Path;
use std::time::Instant;

use super::clock::Clock;
use super::error::WorkerError;
use super::lane::{Lane, LaneState};
use super::measured::PendingLayers;
use super::steps::PendingSteps;
use crate::event::RunEvent;
use crate::record::checkpoint::{self, Loaded};
use crate::record::result::RECORD_FORMAT;
use crate::record::{LineWriter, RecordError, RunFolder, RunRecord, atomic};
use crate::spec::RunConfig;
use crate::spec::config::ENGINE_NUMERICS;
use crate::train::data;

/// How far a run has come: epochs that are complete and written down, and steps. Runs abreast are
/// trained together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Optimizer steps done.
    pub(super) steps: u64,
    /// Complete epochs. A run may stand at the end of an epoch that it has not yet completed.
    pub(super) epochs: u64,
}

/// A lane that waits for its turn.
pub(super) struct Standing {
    /// The lane.
    pub(super) lane: Lane,
    /// How far it has come.
    pub(super) position: Position,
    /// The checkpoint of that position; none at the start.
    pub(super) tensors: Option<Vec<u8>>,
    /// Why a checkpoint that was there is not used, if so.
    pub(super) refused: Option<String>,
}

impl Standing {
    /// Locks and reads the folder of a run; goes back to its newest checkpoint that is whole, and
    /// without one to the start.
    pub(super) fn open(path: &Path, data: &Path, started: Instant) -> Result<Self, WorkerError> {
        let folder = RunFolder::at(path);
        let (record, config) = known(&folder)?;
        let checkpoint::Found { loaded, refused } = checkpoint::load(&folder, record.run_id)?;
        let keep = loaded.as_ref().map_or(0, |loaded| loaded.entry.events_length);
        // Whoever else would write this run is refused by the lock on its events.
        let (events, lines) = LineWriter::open_until(&folder.events(), keep)?;
        atomic::remove_litter(folder.path());
        checkpoint::tidy(&folder)?;
        data::check_unchanged(&config.dataset, data, &record.data)?;
        let lane = Lane {
            folder,
            record,
            config,
            events,
            epochs: lines.into_iter().filter_map(RunEvent::into_epoch).collect(),
            clock: Clock::new(started),
            pending: PendingSteps::default(),
            layers: PendingLayers::default(),
            announced: false,
            state: LaneState::Open,
        };
        match loaded {
            None => Ok(Self::at_start(lane, refused)),
            Some(loaded) => Ok(Self::at_checkpoint(lane, loaded, refused)?),
        }
    }

    fn at_start(lane: Lane, refused: Option<String>) -> Self {
        Self { lane, position: Position { steps: 0, epochs: 0 }, tensors: None, refused }
    }

    fn at_checkpoint(
        mut lane: Lane,
        loaded: Loaded,
        refused: Option<String>,
    ) -> Result<Self, RecordError> {
        let Loaded { entry, tensors } = loaded;
        let position = Position { steps: entry.step, epochs: lane.epochs.len() as u64 };
        if lane.events.length() != entry.events_length {
            let standing = Self { lane, position, tensors: None, refused };
            return standing.back_to_start("the events that belong to it are damaged");
        }
        lane.clock.carry_on(&entry);
        Ok(Self { lane, position, tensors: Some(tensors), refused })
    }

    /// Gives up its checkpoint.
    pub(super) fn back_to_start(self, why: &str) -> Result<Self, RecordError> {
        let refused = format!("checkpoint of step {}: {why}", self.position.steps);
        Ok(Self::at_start(self.lane.start_over()?, Some(refused)))
    }
}

/// The run that a folder holds, with its configuration.
pub(super) fn known(folder: &RunFolder) -> Result<(RunRecord, RunConfig), WorkerError> {
    let record: RunRecord = atomic::read_json(&folder.run(), RECORD_FORMAT)?
        .ok_or_else(|| WorkerError::NoRun(folder.path().display().to_string()))?;
    if record.engine != ENGINE_NUMERICS {
        return Err(WorkerError::Numerics { found: record.engine, known: ENGINE_NUMERICS });
    }
    let config = config_of(&record)?;
    Ok((record, config))
}

/// The recorded configuration, typed.
fn config_of(record: &RunRecord) -> Result<RunConfig, WorkerError> {
    let table: serde_json::Map<_, _> =
        record.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(RunConfig::from_canonical(&serde_json::Value::Object(table))?)
}
