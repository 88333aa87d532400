//! What the record says of planned runs.
//!
//! In: the sweep's folder, listed once, and the planned ids. Out: a state for each planned run that
//! has a folder, and the ids that have a folder but are not planned. A file that cannot be
//! understood never ends a plan: its run counts as unfinished and a warning says so. Only a record
//! of a newer program is refused, since starting over in it would lose results.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::error::PlanError;
use crate::event::RunEvent;
use crate::ids::RunId;
use crate::record::{
    RECORD_FORMAT, RecordError, RunFolder, RunRecord, RunResult, RunStatus, Site, SweepFolder,
    atomic, lines,
};

/// What is known of a planned run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Nothing is recorded.
    New,
    /// It finished or diverged; nothing is left to do.
    Done,
    /// Every attempt failed; it is tried again.
    Failed {
        /// Why, as recorded.
        reason: String,
    },
    /// It began and has no result; it is carried on from its checkpoint.
    Partial {
        /// Complete epochs that its events tell of.
        epochs_done: u32,
    },
    /// This machine cannot execute it; another one may.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl RunState {
    /// Is it to be executed?
    pub fn is_left(&self) -> bool {
        !matches!(self, Self::Done | Self::Skipped { .. })
    }

    /// As tables and JSON spell it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Partial { .. } => "partial",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// Something in the record that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The run whose folder it is in.
    pub run_id: RunId,
    /// What it is and what follows: lowercase, no full stop.
    pub message: String,
}

/// What a finished run took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    /// Its place in the plan.
    pub run: usize,
    /// Seconds from the start of its worker to its result; its share of them, where several runs were
    /// trained together.
    pub wall_s: f64,
    /// Epochs that it had: fewer than planned, where it was stopped early.
    pub epochs: u32,
    /// What it took in memory, where that was recorded and its own.
    pub peak: Option<Peak>,
}

/// The most memory that a finished run took, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peak {
    /// Of a run on cores: resident memory of its worker, of several ranks that of the first.
    Resident(u64),
    /// Of a run on GPUs: what was allocated on each.
    Allocated(u64),
}

impl Peak {
    fn of(result: &RunResult) -> Option<Self> {
        // What memory each of several runs took that were trained together is not known.
        if result.fused_lanes.is_some_and(|lanes| lanes > 1) {
            return None;
        }
        match result.site.as_ref().is_some_and(Site::is_gpu) {
            true => result.device_memory_bytes.map(Self::Allocated),
            false => result.peak_memory_bytes.map(Self::Resident),
        }
    }
}

/// How long the finished runs took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Durations {
    /// How many runs these are.
    pub runs: usize,
    /// Mean of their `wall_s`.
    pub mean_s: f64,
    /// Sample standard deviation; 0 for one run.
    pub std_s: f64,
}

/// What a record says of a plan.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Place in the plan and state of every planned run that has a folder.
    pub(crate) states: Vec<(usize, RunState)>,
    /// Runs with a folder that are not planned, sorted.
    pub(crate) strangers: Vec<RunId>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) durations: Option<Durations>,
    pub(crate) finished: Vec<Finished>,
}

/// Compares `planned` ids with what is in `folder`.
///
/// # Errors
/// The folder or a file cannot be read, or a newer program wrote it.
pub(crate) fn compare(
    folder: &SweepFolder,
    planned: impl Iterator<Item = RunId>,
) -> Result<Recorded, PlanError> {
    let mut found = run_folders(folder)?;
    if found.is_empty() {
        return Ok(Recorded::default());
    }
    let known: Vec<(usize, RunId)> =
        planned.enumerate().filter(|(_, id)| found.remove(id)).collect();
    let judged: Vec<Judged> = known
        .par_iter()
        .map(|(_, id)| judge(*id, &folder.run(*id)))
        .collect::<Result<_, PlanError>>()?;
    let mut recorded = Recorded::default();
    let mut wall_s = Vec::new();
    for ((place, _), judged) in known.into_iter().zip(judged) {
        recorded.states.push((place, judged.state));
        recorded.warnings.extend(judged.warnings);
        if let Some(seconds) = judged.wall_s {
            wall_s.push(seconds);
            let Judged { epochs, peak, .. } = judged;
            let finished = Finished { run: place, wall_s: seconds, epochs, peak };
            recorded.finished.push(finished);
        }
    }
    recorded.strangers = found.into_iter().collect();
    recorded.durations = durations(&wall_s);
    Ok(recorded)
}

/// The run folders of a sweep; none if it was never run.
fn run_folders(folder: &SweepFolder) -> Result<BTreeSet<RunId>, PlanError> {
    match folder.run_ids() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        found => {
            found.map_err(|source| PlanError::Record { path: folder.path().to_owned(), source })
        }
    }
}

/// What one run folder says.
struct Judged {
    state: RunState,
    /// Duration, if the run finished.
    wall_s: Option<f64>,
    /// Complete epochs of its result.
    epochs: u32,
    peak: Option<Peak>,
    warnings: Vec<Warning>,
}

fn judge(id: RunId, folder: &RunFolder) -> Result<Judged, PlanError> {
    let mut warnings = Vec::new();
    // All of it, as tables read it: a result of which they can show nothing is none.
    let result = match read::<RunResult>(&folder.result())? {
        Read::Missing => None,
        Read::Good(result) if result.run_id == id => Some(result),
        Read::Good(result) => {
            let message =
                format!("result.json belongs to {}; the run counts as unfinished", result.run_id);
            warnings.push(Warning { run_id: id, message });
            None
        }
        Read::Bad(why) => {
            let message = format!("result.json is damaged ({why}); the run counts as unfinished");
            warnings.push(Warning { run_id: id, message });
            None
        }
    };
    let Some(result) = result else {
        let state = unfinished(id, folder, &mut warnings)?;
        return Ok(Judged { state, wall_s: None, epochs: 0, peak: None, warnings });
    };
    // A diverged run stops early: its duration forecasts nothing.
    let wall_s = result.wall_s.filter(|_| result.status == RunStatus::Finished);
    // Runs that are trained together share the time.
    let lanes = result.fused_lanes.unwrap_or(1).max(1);
    let wall_s = wall_s.map(|seconds| seconds / f64::from(lanes));
    let peak = Peak::of(&result);
    let epochs = u32::try_from(result.epochs.len()).unwrap_or(u32::MAX);
    let state = if result.status.is_final() {
        RunState::Done
    } else {
        RunState::Failed { reason: result.reason.unwrap_or_else(|| "no reason recorded".into()) }
    };
    Ok(Judged { state, wall_s, epochs, peak, warnings })
}

/// State of a run without a usable result.
fn unfinished(
    id: RunId,
    folder: &RunFolder,
    warnings: &mut Vec<Warning>,
) -> Result<RunState, PlanError> {
    let record = read::<RunRecord>(&folder.run())?;
    let wrong = match &record {
        Read::Bad(why) => Some(format!("is damaged ({why})")),
        Read::Good(record) if record.run_id != id => Some(format!("belongs to {}", record.run_id)),
        Read::Good(_) | Read::Missing => None,
    };
    warnings.extend(wrong.map(|wrong| Warning {
        run_id: id,
        message: format!("run.json {wrong}; it is written anew"),
    }));
    let began = !matches!(record, Read::Missing)
        || !warnings.is_empty()
        || folder.events().exists()
        || folder.checkpoints().exists();
    if !began {
        return Ok(RunState::New);
    }
    Ok(RunState::Partial { epochs_done: epochs_done(&folder.events()) })
}

/// The last complete epoch that events tell of; 0 where none can be read. Damaged events are passed
/// over: how far a run came is only shown, the checkpoint decides.
fn epochs_done(events: &Path) -> u32 {
    let events: Vec<RunEvent> = lines::read(events).unwrap_or_default();
    let last = events.iter().rev().find_map(|event| match event {
        RunEvent::Epoch(epoch) => Some(epoch.epoch),
        _ => None,
    });
    last.unwrap_or(0)
}

/// A JSON file of the record.
pub(crate) enum Read<T> {
    /// There is none.
    Missing,
    /// It was understood.
    Good(T),
    /// It was not, and why.
    Bad(String),
}

/// Reads a versioned JSON file of the record. What is in the way of one, a folder say, is a damaged
/// one: its run is computed again.
///
/// # Errors
/// The file is there but cannot be read, or its format is newer than this program.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Read<T>, PlanError> {
    match atomic::read_json(path, RECORD_FORMAT) {
        Ok(value) => Ok(value.map_or(Read::Missing, Read::Good)),
        Err(RecordError::Io { cause, .. }) => match cause.kind() {
            ErrorKind::NotADirectory => Ok(Read::Missing),
            // Both go, or are set aside, before the run is begun.
            ErrorKind::IsADirectory => Ok(Read::Bad("it is a folder".to_owned())),
            _ if Errno::from_io_error(&cause) == Some(Errno::LOOP) => {
                Ok(Read::Bad("it is a link that leads nowhere".to_owned()))
            }
            _ => Err(PlanError::Record { path: path.to_owned(), source: cause }),
        },
        Err(RecordError::NewerFormat { path, found, known }) => {
            Err(PlanError::NewerRecord { path, found, known })
        }
        Err(RecordError::Damaged { reason, .. }) => Ok(Read::Bad(reason)),
        Err(error) => Ok(Read::Bad(error.to_string())),
    }
}

fn durations(wall_s: &[f64]) -> Option<Durations> {
    if wall_s.is_empty() {
        return None;
    }
    let runs = wall_s.len();
    let mean_s = wall_s.iter().sum::<f64>() / runs as f64;
    let squares: f64 = wall_s.iter().map(|s| (s - mean_s).powi(2)).sum();
    let std_s = (squares / (runs - 1).max(1) as f64).sqrt();
    Some(Durations { runs, mean_s, std_s })
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
