//! `gridlane show`: all that is known of one run, for whoever wants to know why it failed.

use std::io::Write;

use super::args::ShowArgs;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::recorded::Recorded;
use super::report::{end_of, last_lines};
use super::terminal;
use crate::display::run_table::{Attempt, RunShown, run_table};
use crate::event::RunEvent;
use crate::ids::RunId;
use crate::plan::RunState;
use crate::record::journal::{JournalEntry, now};
use crate::record::{RECORD_FORMAT, RunFolder, RunRecord, RunResult, SweepFolder, atomic, lines};

/// Prints what is known of one run.
///
/// # Errors
/// When there is no such sweep or run, or its record cannot be read.
pub fn show(args: &ShowArgs) -> Result<ExitCode, CliError> {
    let Recorded { plan, folder, .. } = Recorded::open(&args.sweep, &args.runs)?;
    let planned: Vec<RunId> = plan.runs.iter().map(|run| run.id).collect();
    let id = find(&args.run, &folder, &planned)?;
    let run = folder.run(id);
    let planned = plan.runs.iter().find(|run| run.id == id);
    let record: Option<RunRecord> = atomic::read_json(&run.run(), RECORD_FORMAT)?;
    let result: Option<RunResult> = atomic::read_json(&run.result(), RECORD_FORMAT)?;
    let name = match (&planned, &record) {
        (Some(run), _) => format!("{}  seed {}", plan.configuration_name(run), run.seed),
        (None, Some(record)) => format!("{} (no longer planned)", record.configuration),
        (None, None) => "no longer planned".to_owned(),
    };
    let stands = match (&result, planned.map(|run| &run.state)) {
        (Some(result), _) => match &result.reason {
            Some(reason) => format!("{}: {reason}", result.status.as_str()),
            None => result.status.as_str().to_owned(),
        },
        (None, Some(RunState::Skipped { reason })) => format!("skipped: {reason}"),
        (None, _) if run.events().exists() => "begun, without a result yet".to_owned(),
        (None, _) => "not begun".to_owned(),
    };
    let epochs = match &result {
        Some(result) => result.epochs.clone(),
        None => {
            let events: Vec<RunEvent> = lines::read(&run.events()).unwrap_or_default();
            events.into_iter().filter_map(RunEvent::into_epoch).collect()
        }
    };
    let shown = RunShown {
        id,
        name,
        stands,
        configuration: record.map(|record| record.config).unwrap_or_default(),
        epochs,
        attempts: attempts(&folder, id),
        log: log(&run),
        folder: terminal::short_path(run.path()),
    };
    write!(std::io::stdout().lock(), "{}", run_table(&shown))?;
    Ok(ExitCode::Ok)
}

/// The run that `given` means: its id, or as much of it as tells it from all others.
fn find(given: &str, folder: &SweepFolder, planned: &[RunId]) -> Result<RunId, CliError> {
    let given = given.trim_end_matches('/');
    let given = given.rsplit_once('/').map_or(given, |(_, last)| last);
    let mut ids = folder.run_ids().unwrap_or_default();
    ids.extend(planned.iter().copied());
    ids.retain(|id| id.to_string().starts_with(given));
    match Vec::from_iter(ids).as_slice() {
        [id] => Ok(*id),
        [] => Err(CliError::Choice {
            message: format!("there is no run `{given}` in {}", folder.path().display()),
            help: "runs are called as in the column `run_id` of runs.csv; the first letters are enough".to_owned(),
        }),
        many @ [first, second, ..] => Err(CliError::Choice {
            message: format!("`{given}` begins the names of {} runs", many.len()),
            help: format!("write more of it, such as {first} or {second}"),
        }),
    }
}

/// The attempts at a run, as the journal tells.
fn attempts(folder: &SweepFolder, id: RunId) -> Vec<Attempt> {
    let journal: Vec<JournalEntry> = lines::read(&folder.journal()).unwrap_or_default();
    let mut attempts: Vec<Attempt> = Vec::new();
    let now = now();
    for entry in journal {
        match entry {
            JournalEntry::AttemptStarted { run_id, at, .. } if run_id == id => {
                attempts.push(Attempt { begun_ago_s: now - at, took_s: None, outcome: None });
            }
            JournalEntry::AttemptEnded { run_id, outcome, reason, at, .. } if run_id == id => {
                // One that could not be started has an end only.
                let open = attempts.last().is_some_and(|attempt| attempt.outcome.is_none());
                if !open {
                    attempts.push(Attempt { begun_ago_s: now - at, took_s: None, outcome: None });
                }
                if let Some(attempt) = attempts.last_mut() {
                    let begun = now - attempt.begun_ago_s;
                    attempt.took_s = Some(at - begun);
                    attempt.outcome = Some(match reason {
                        Some(reason) => format!("{outcome}: {reason}"),
                        None => outcome,
                    });
                }
            }
            _ => {}
        }
    }
    attempts
}

/// The end of a run's error output; empty where there is none.
fn log(run: &RunFolder) -> String {
    last_lines(&end_of(&run.stderr()).unwrap_or_default())
}
