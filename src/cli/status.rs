//! `gridlane status`: how a sweep stands, from another terminal.
//!
//! In: its record and who holds its lock. Nothing is written, and a sweep that is under way does not
//! notice.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::args::StatusArgs;
use super::boards::Boards;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::recorded::{Recorded, sweeps_in};
use super::terminal;
use super::works::slots;
use crate::display::columns::columns;
use crate::display::forecast::{Busy, Forecast};
use crate::display::progress::RunLine;
use crate::display::status_table::{Activity, SweepStatus, counts, status_table};
use crate::executor::slurm::Submission;
use crate::ids::RunId;
use crate::plan::{Expectations, Plan, Requirement, Requirements};
use crate::record::journal::{JournalEntry, now};
use crate::record::{Lock, SweepFolder, lines};
use crate::spec::device::Device;

/// Says how a sweep stands, or all that there are.
///
/// # Errors
/// When there is no such sweep, or its record cannot be read.
pub fn status(args: &StatusArgs) -> Result<ExitCode, CliError> {
    match &args.sweep {
        Some(sweep) => one(sweep, &args.runs)?,
        None => all(&args.runs)?,
    }
    Ok(ExitCode::Ok)
}

/// A line for every sweep.
fn all(runs: &Path) -> Result<(), CliError> {
    let names = sweeps_in(runs)?;
    if names.is_empty() {
        return Err(CliError::NoSweeps { runs: runs.to_owned() });
    }
    let line = |name: &String| {
        let stands = match Recorded::open(&runs.join(name).to_string_lossy(), runs) {
            Ok(recorded) => {
                let status = stands(&recorded);
                let under_way = match status.activity {
                    Activity::UnderWay { .. } => ", under way",
                    Activity::OnACluster => ", on a Slurm cluster",
                    Activity::Ended { .. } | Activity::Lost { .. } | Activity::Unknown => "",
                };
                format!("{}{under_way}", counts(&status))
            }
            Err(error) => format!("cannot be read: {error}"),
        };
        vec![name.clone(), stands]
    };
    let rows: Vec<Vec<String>> = names.iter().map(line).collect();
    Ok(write!(std::io::stdout().lock(), "{}", columns(&rows, |_| false))?)
}

fn one(sweep: &str, runs: &Path) -> Result<(), CliError> {
    let recorded = Recorded::open(sweep, runs)?;
    let status = stands(&recorded);
    let Recorded { spec, plan, folder } = &recorded;
    let boards = Boards::open(spec, folder, plan);
    let mut out = std::io::stdout().lock();
    write!(out, "{}", status_table(&status, terminal::columns()))?;
    write!(out, "{}", terminal::failures(boards.table()))?;
    if folder.leaderboard_csv().exists() {
        writeln!(out, "{}", terminal::short_path(&folder.leaderboard_csv()))?;
    }
    Ok(())
}

/// How a sweep stands.
fn stands(recorded: &Recorded) -> SweepStatus {
    let Recorded { plan, folder, .. } = recorded;
    // A torn line at the end is being written, or was when its writer was killed.
    let journal: Vec<JournalEntry> = lines::read(&folder.journal()).unwrap_or_default();
    let last = LastSweep::of(&journal);
    let holder = Lock::holder(&folder.lock());
    let places: BTreeMap<RunId, usize> =
        plan.runs.iter().enumerate().map(|(place, run)| (run.id, place)).collect();
    let mut running = Vec::new();
    let mut left = None;
    if holder.is_some() {
        let under_way =
            last.running.iter().filter_map(|id| places.get(id).map(|place| (*place, *id)));
        let lines: Vec<(usize, RunLine)> =
            under_way.map(|(place, id)| (place, line_of(folder, id))).collect();
        left = time_left(recorded, &last, &places, &lines);
        running = lines.into_iter().map(|(place, line)| (name_of(plan, place), line)).collect();
    }
    let ago = |at: f64| Duration::try_from_secs_f64(now() - at).unwrap_or_default();
    let activity = match holder {
        Some(holder) => {
            let since = last.begun.map(ago).unwrap_or_default();
            Activity::UnderWay { holder, since, left }
        }
        None if may_have_jobs(folder) => Activity::OnACluster,
        None => match (last.over, last.heard) {
            (true, Some(at)) => Activity::Ended { ago: ago(at) },
            (false, Some(at)) => Activity::Lost { ago: ago(at) },
            (_, None) => Activity::Unknown,
        },
    };
    SweepStatus {
        name: plan.name.to_string(),
        runs: plan.runs.len(),
        counts: plan.counts,
        activity,
        running,
    }
}

/// How much longer the last dispatcher takes, if enough has been done to say.
fn time_left(
    recorded: &Recorded,
    last: &LastSweep,
    places: &BTreeMap<RunId, usize>,
    running: &[(usize, RunLine)],
) -> Option<Duration> {
    let Recorded { plan, folder, .. } = recorded;
    let requirements = Requirements::of(&plan.points).ok()?;
    // Most sweeps train on one kind of device, and only what runs take beside each other matters.
    let on_gpu = |requirement: &Requirement| requirement.device == Device::Cuda;
    let sweeps = folder.path().parent().unwrap_or(Path::new("."));
    let expectations = Expectations::new(plan, &requirements, sweeps, &on_gpu);
    let slot_seconds = |place: usize| {
        let configuration = plan.runs[place].configuration;
        let requirement = requirements.get(configuration);
        let slots = slots(requirement.devices, requirement.exclusive, last.jobs);
        expectations.whole(configuration).seconds * slots
    };
    let to_do = plan.runs.iter().enumerate().filter(|(_, run)| run.state.is_left());
    let to_do = to_do.map(|(place, _)| place);
    let ended: Vec<Option<usize>> = last.ended.iter().map(|id| places.get(id).copied()).collect();
    let known = to_do.chain(ended.iter().flatten().copied());
    let mut work: BTreeMap<usize, f64> = known.map(|place| (place, slot_seconds(place))).collect();
    for (place, line) in running {
        work.entry(*place).and_modify(|work| *work *= 1.0 - line.resumed());
    }
    let mut forecast = Forecast::new(work);
    for (place, known) in ended.iter().enumerate() {
        // Runs that the plan no longer has were work all the same.
        forecast.ended(known.unwrap_or(plan.runs.len() + place), Duration::ZERO);
    }
    for (place, line) in running {
        forecast.progress(*place, line.resumed(), line.fraction());
    }
    forecast.left_after(last.busy.until(since_1970(now())), last.runs)
}

fn since_1970(at: f64) -> Duration {
    Duration::try_from_secs_f64(at).unwrap_or_default()
}

/// Has a cluster jobs of the sweep, as far as is written down?
fn may_have_jobs(folder: &SweepFolder) -> bool {
    Submission::read(folder).is_ok_and(|found| found.is_some_and(|it| !it.batches.is_empty()))
}

fn name_of(plan: &Plan, place: usize) -> String {
    let run = &plan.runs[place];
    format!("{}  seed {}", plan.configuration_name(run), run.seed)
}

/// How far a run is, as its events tell.
fn line_of(folder: &SweepFolder, id: RunId) -> RunLine {
    let mut line = RunLine::default();
    let events = lines::read(&folder.run(id).events()).unwrap_or_default();
    events.iter().for_each(|event| line.take(event));
    line
}

/// What the journal says of the last dispatcher.
#[derive(Debug, Default, PartialEq)]
struct LastSweep {
    /// When it began, in seconds since 1970.
    begun: Option<f64>,
    /// Runs that it meant to execute.
    runs: usize,
    /// Runs at a time.
    jobs: usize,
    /// When runs were under way.
    busy: Busy<RunId>,
    /// Runs that it has started and not seen the end of.
    running: Vec<RunId>,
    /// Runs that are over since it began.
    ended: Vec<RunId>,
    /// Did it say that it ended?
    over: bool,
    /// When the last thing happened.
    heard: Option<f64>,
}

impl LastSweep {
    fn of(journal: &[JournalEntry]) -> Self {
        let mut last = Self::default();
        for entry in journal {
            match entry {
                JournalEntry::SweepStarted { at, runs, jobs, .. } => {
                    let runs = usize::try_from(*runs).unwrap_or(usize::MAX);
                    let (begun, heard) = (Some(*at), Some(*at));
                    last = Self { begun, heard, runs, jobs: *jobs as usize, ..Self::default() };
                }
                JournalEntry::AttemptStarted { run_id, at, .. } => {
                    last.running.push(*run_id);
                    last.busy.started(*run_id, since_1970(*at));
                    last.heard = Some(*at);
                }
                JournalEntry::AttemptEnded { run_id, outcome, at, .. } => {
                    last.running.retain(|id| id != run_id);
                    last.busy.over(*run_id, since_1970(*at));
                    if outcome == "result" {
                        last.ended.push(*run_id);
                    }
                    last.heard = Some(*at);
                }
                JournalEntry::SweepEnded { at, .. } => {
                    last.over = true;
                    last.heard = Some(*at);
                }
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_tells_of_the_last_dispatcher_alone() {
        let id = |name: &str| RunId::of(name.as_bytes());
        let began = |at| JournalEntry::SweepStarted {
            format: 1,
            version: "1".to_owned(),
            at,
            pid: 1,
            runs: 3,
            jobs: 2,
            host: None,
        };
        let starts =
            |name, at| JournalEntry::AttemptStarted { run_id: id(name), attempt: 1, pid: 2, at };
        let ends = |name, outcome: &str, at| JournalEntry::AttemptEnded {
            run_id: id(name),
            attempt: 1,
            outcome: outcome.to_owned(),
            reason: None,
            at,
        };
        let journal = [
            began(1.0),
            starts("a", 2.0),
            began(10.0),
            starts("b", 11.0),
            starts("c", 12.0),
            ends("b", "result", 13.0),
            starts("a", 14.0),
            ends("a", "crashed", 15.0),
            starts("a", 16.0),
        ];
        let found = LastSweep::of(&journal);
        assert_eq!(found.busy.until(Duration::from_secs(20)), Duration::from_secs(9));
        let last = LastSweep {
            begun: Some(10.0),
            runs: 3,
            jobs: 2,
            busy: found.busy.clone(),
            running: vec![id("c"), id("a")],
            ended: vec![id("b")],
            over: false,
            heard: Some(16.0),
        };
        assert_eq!(found, last);
        assert_eq!(LastSweep::of(&[]), LastSweep::default());
    }
}
