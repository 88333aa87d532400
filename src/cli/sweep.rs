//! `gridlane sweep`: execute what is missing, rank, say how it went.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::args::SweepArgs;
use super::boards::Boards;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::plan::print_plan;
use super::session::Session;
use super::works::slot_seconds;
use super::{slurm, terminal};
use crate::aggregate::row::RowStatus;
use crate::dispatch::leases::{self, Leases};
use crate::dispatch::leasing::Leasing;
use crate::dispatch::ownership::Ownership;
use crate::dispatch::signals::{SignalWatch, TimeIsUp, end_the_process};
use crate::dispatch::work::Work;
use crate::dispatch::{DispatchError, Means, Message, Orders, Outcome, dispatch, strays};
use crate::display::Painter;
use crate::display::forecast::Forecast;
use crate::event::SweepEvent;
use crate::executor::local::Local;
use crate::plan::{Plan, PlanSummary};
use crate::record::crash_point::{Role, set_role};
use crate::record::sharing::share_as;
use crate::record::{Durability, Lock, RecordError, SweepFolder, atomic, overrides};
use crate::units::counted;
use crate::worker::use_small_pages;

/// How long a sweep that was stopped waits for somebody to read what it came to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Executes what is missing of a sweep.
///
/// # Errors
/// A bad sweep file, a record that cannot be written. A failing run is none: it is counted.
pub fn sweep(args: &SweepArgs) -> Result<ExitCode, CliError> {
    set_role(Role::Dispatcher);
    if args.slurm.slurm {
        return slurm::sweep(args);
    }
    let opened = open_locked(args, 1, &|| Session::open(&args.file), &slurm::take_back)?;
    let Some((session, lock)) = opened else { return Ok(ExitCode::Ok) };
    for warning in &session.plan.warnings {
        terminal::notice(&format!("warning: {}: {}", warning.run_id, warning.message));
    }
    tell_idle(&session.plan);
    atomic::remove_litter(session.folder.path());
    atomic::remove_litter(&session.folder.plots());
    strays::kill_strays(&session.folder)?;
    write_sources(&session)?;
    session.weights.keep(&session.folder)?;
    let mut boards = Boards::open(&session.spec, &session.folder, &session.plan);
    boards.write()?;
    let works = session.works().list;
    if works.is_empty() {
        let written = boards.write_report();
        let code = nothing_to_do(&session, &boards);
        return written.map(|()| code).map_err(CliError::from);
    }
    for notice in session.placing.notices(&session.plan) {
        terminal::notice(&notice);
    }
    session.folders.decode()?;
    let (leases, problem) = Leases::open(&leases::folder());
    if let Some(problem) = problem {
        terminal::notice(&problem);
    }
    let sole = Ownership::sole(&session.folder, &lock);
    let parts = (sole, leases, TimeIsUp::listen().map_err(DispatchError::Signals)?);
    let outcome =
        execute(&session, works, args.fail_fast, parts, &mut |event| boards.observe(event))?;
    // What the night has come to is said even where the tables can no longer be written.
    let written = boards.write().and_then(|()| boards.write_report());
    // All is written: whoever reads the terminal late, or never, locks nobody out.
    drop(lock);
    let code = match print_outcome(&session, &boards, outcome)? {
        // It was stopped because a run failed, not by anybody.
        ExitCode::Stopped if args.fail_fast && outcome.failed > 0 => ExitCode::RunsFailed,
        code => code,
    };
    match written {
        Err(error) if code == ExitCode::Ok => Err(error.into()),
        Err(error) => {
            terminal::notice(&format!("warning: {error}"));
            Ok(code)
        }
        Ok(()) => Ok(code),
    }
}

/// A sweep that is to be executed by so many `machines`: planned, and its folder locked. `None` where a
/// person only wants to see the plan. Runs may be finished between the plan and the lock, and `locked` may
/// put some in order: therefore it is planned again.
///
/// # Errors
/// A bad sweep file, runs that cannot start here, another gridlane that works there.
pub(super) fn open_locked(
    args: &SweepArgs,
    machines: u32,
    open: &dyn Fn() -> Result<Session, CliError>,
    locked: &dyn Fn(&SweepFolder) -> Result<(), CliError>,
) -> Result<Option<(Session, Lock)>, CliError> {
    let session = open()?;
    if args.dry_run {
        print_plan(&session)?;
        return Ok(None);
    }
    session.refuse_what_cannot_be_done(machines)?;
    let folder = session.folder.path();
    fs::create_dir_all(folder).map_err(RecordError::io("create", folder))?;
    share_as(folder)?;
    let lock = Lock::take(&session.folder.lock())?;
    locked(&session.folder)?;
    Ok(Some((open()?, lock)))
}

/// Says what of the sweep file does nothing, before a night is spent on it.
pub(super) fn tell_idle(plan: &Plan) {
    for idle in &plan.idle {
        terminal::notice(&format!("warning: {}: {}", idle.place(), idle.reason));
    }
}

/// What the record needs to be read without the command line that made it.
pub(super) fn write_sources(session: &Session) -> Result<(), RecordError> {
    let folder = &session.folder;
    atomic::replace(&folder.sweep_file(), &session.text, Durability::Derived)?;
    overrides::write(folder, &session.changes)?;
    session.folders.write(folder)?;
    atomic::replace_json(&folder.plan(), &PlanSummary(&session.plan), Durability::Derived)
}

/// Executes `works`, and shows how it goes. `observe` hears of it and says what it could not write.
///
/// # Errors
/// When the sweep's own record cannot be written.
pub(super) fn execute(
    session: &Session,
    works: Vec<Work>,
    fail_fast: bool,
    (ownership, leases, time): (Ownership<'_>, Leases, TimeIsUp),
    observe: &mut dyn FnMut(&SweepEvent) -> Option<String>,
) -> Result<Outcome, CliError> {
    let Session { spec, plan, folder, data, placing, .. } = session;
    use_small_pages();
    let (sender, messages) = mpsc::channel();
    let _signals = SignalWatch::start(sender.clone(), time).map_err(DispatchError::Signals)?;
    let notify = Arc::new(move |ended| {
        // Without a receiver the sweep is over, and nobody waits for this end.
        let _ = sender.send(Message::Ended(ended));
    });
    let mut executor = Local::new(own_program()?, notify);
    let checkpoint = spec.run.checkpoint;
    let mut progress = progress(plan, &works, placing.at_once())?;
    let orders = Orders {
        folder,
        data: data.clone(),
        done_before: plan.counts.done,
        works,
        host: placing.host.clone(),
        record_of: &|run| plan.run_record(&plan.runs[run], checkpoint),
        policy: spec.run.clone(),
        jobs: placing.at_once(),
        fail_fast,
    };
    let leasing = Leasing::new(&placing.inventory, leases);
    let means = Means { executor: &mut executor, leasing, ownership };
    let outcome = dispatch(&orders, means, &messages, &mut |event| {
        progress.show(event);
        if let Some(problem) = observe(event) {
            let notice = format!("a CSV could not be written, it is tried again later: {problem}");
            progress.show(&SweepEvent::Notice(notice));
        }
    });
    // Workers that an error has left go first: the screen may keep us waiting.
    drop(executor);
    Ok(outcome?)
}

/// The progress of `works`, by the names of their runs in the plan; so many go on at once.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn progress<'a>(
    plan: &'a Plan,
    works: &[Work],
    at_once: usize,
) -> Result<Painter<'a>, CliError> {
    let name_of = |run: usize| {
        let run = &plan.runs[run];
        format!("{}  seed {}", plan.configuration_name(run), run.seed)
    };
    let forecast = Forecast::new(slot_seconds(works, at_once));
    let live = std::io::stderr().is_terminal();
    Ok(Painter::start(live, Box::new(name_of), forecast).map_err(DispatchError::Thread)?)
}

/// The program's own file, by the name under which the kernel keeps it even when another build
/// takes its place on disk in mid-sweep.
fn own_program() -> Result<std::path::PathBuf, DispatchError> {
    let link = Path::new("/proc/self/exe");
    if link.exists() {
        return Ok(link.to_owned());
    }
    std::env::current_exe().map_err(DispatchError::NoProgram)
}

/// `, 8 skipped: no CUDA device`; nothing where no run is.
fn skipped(session: &Session) -> String {
    let reasons = session.plan.skipped().into_iter();
    reasons.map(|(reason, count)| format!(", {count} skipped: {reason}")).collect()
}

pub(super) fn nothing_to_do(session: &Session, boards: &Boards<'_>) -> ExitCode {
    // As of an outcome: nobody to print for changes nothing of what is done.
    let _ = print_what_is_done(session, boards);
    ExitCode::NothingToDo
}

fn print_what_is_done(session: &Session, boards: &Boards<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", terminal::leaderboard(&boards.leaderboard()))?;
    write!(out, "{}", terminal::throughput(boards.table()))?;
    write!(out, "{}", terminal::claims(&boards.claims()))?;
    let done = session.plan.counts.done;
    let skipped = skipped(session);
    let (all, are) = match (done, skipped.is_empty()) {
        (1, _) => ("", "is"),
        (_, true) => ("all ", "are"),
        (_, false) => ("", "are"),
    };
    let (runs, name) = (counted(done, "run"), &session.plan.name);
    writeln!(out, "\nnothing to do: {all}{runs} of `{name}` {are} done{skipped}")?;
    writeln!(out, "{}", terminal::short_path(&session.folder.report_html()))
}

pub(super) fn print_outcome(
    session: &Session,
    boards: &Boards<'_>,
    outcome: Outcome,
) -> Result<ExitCode, CliError> {
    let code = match outcome {
        Outcome { left: 1.., .. } => ExitCode::Stopped,
        Outcome { failed: 1.., .. } => ExitCode::RunsFailed,
        _ => ExitCode::Ok,
    };
    let mut text = Vec::new();
    write_board(&mut text, session, boards, outcome)?;
    end_the_process(ExitCode::Stopped as i32);
    terminal::print_last(text, (code == ExitCode::Stopped).then_some(PATIENCE));
    Ok(code)
}

fn write_board(
    out: &mut dyn Write,
    session: &Session,
    boards: &Boards<'_>,
    outcome: Outcome,
) -> std::io::Result<()> {
    write!(out, "{}", terminal::leaderboard(&boards.leaderboard()))?;
    write!(out, "{}", terminal::throughput(boards.table()))?;
    write!(out, "{}", terminal::claims(&boards.claims()))?;
    let folder = terminal::short_path(&session.folder.leaderboard_csv());
    writeln!(out, "\n{folder}  (beside it runs.csv and curves.csv)")?;
    writeln!(out, "{}  (and plots/*.svg)", terminal::short_path(&session.folder.report_html()))?;
    let skipped = skipped(session);
    if let Some(skipped) = skipped.strip_prefix(", ") {
        writeln!(out, "{skipped}; the same command executes them on a machine that has one")?;
    }
    let failures = terminal::failures(boards.table());
    if !failures.is_empty() {
        let name = session.plan.name.as_str();
        write!(out, "\n{failures}")?;
        writeln!(out, "`gridlane show {name} RUN` says what is known of one, its log included")?;
    }
    // By the record, as `status` counts: a run that failed before and was not reached has failed.
    let recorded = boards.table().rows().iter().filter(|row| row.status == RowStatus::Failed);
    let failed = recorded.count().max(outcome.failed);
    let left = (outcome.failed + outcome.left).saturating_sub(failed);
    match failed {
        0 => {}
        1 => writeln!(out, "1 run failed: the same command tries it again")?,
        failed => writeln!(out, "{failed} runs failed: the same command tries them again")?,
    }
    match left {
        0 => {}
        1 => writeln!(out, "1 run is left: the same command goes on")?,
        left => writeln!(out, "{left} runs are left: the same command goes on")?,
    }
    Ok(())
}
