//! `gridlane slurm status`, `gridlane slurm cancel`, and a sweep that comes back from a cluster to one
//! machine.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::super::args::{SlurmCommand, SlurmSweepArgs};
use super::super::error::CliError;
use super::super::exit_code::ExitCode;
use super::super::recorded::Recorded;
use super::opening::refuse_while_pilots_live;
use super::orchestrate::{jobs, submitted};
use super::version;
use crate::executor::slurm::submission::job_of;
use crate::executor::slurm::{Slurm, SlurmError, Submission, Task, TaskState};
use crate::plan::RunState;
use crate::record::claims::{close_all, newest, read_claim};
use crate::record::{Durability, SweepFolder, atomic};

/// Does what `gridlane slurm …` says.
///
/// # Errors
/// When there is no such sweep, it was never submitted, or Slurm does not answer.
pub fn manage(command: &SlurmCommand) -> Result<ExitCode, CliError> {
    match command {
        SlurmCommand::Status(args) => status(args),
        SlurmCommand::Cancel(args) => cancel(args),
    }
}

fn status(args: &SlurmSweepArgs) -> Result<ExitCode, CliError> {
    let Recorded { plan, folder, .. } = Recorded::open(&args.sweep, &args.runs)?;
    let submission = submitted(&folder)?;
    let mut out = std::io::stdout().lock();
    let holders = holders(&folder)?;
    let failed =
        plan.runs.iter().filter(|run| matches!(run.state, RunState::Failed { .. })).count();
    let under_way: usize = holders.values().sum();
    writeln!(
        out,
        "{}: {} runs, {} done, {failed} failed, {under_way} under way",
        plan.name,
        plan.runs.len(),
        plan.counts.done,
    )?;
    let tasks = submission.queue(&Slurm::default())?;
    let live: Vec<&Task> = tasks.iter().filter(|task| task.is_live()).collect();
    writeln!(out, "{} of {}", jobs(live.len()), submission.base)?;
    for task in &tasks {
        writeln!(out, "{}", line(task, holders.get(&task.name()).copied().unwrap_or(0)))?;
    }
    if let Some(behind) = version::behind(&folder, &plan, &tasks)? {
        writeln!(out, "{}", behind.told(&plan.name.to_string()))?;
    }
    if let Ok(why) = std::fs::read_to_string(folder.given_up()) {
        writeln!(out, "given up: {}", why.trim_end())?;
    }
    Ok(ExitCode::Ok)
}

/// How many runs each job has.
fn holders(folder: &SweepFolder) -> Result<BTreeMap<String, usize>, CliError> {
    let mut holders = BTreeMap::new();
    for (id, claim) in newest(folder)? {
        let claim = read_claim(&folder.attempt(id, claim))?;
        if let Some(owner) = claim.and_then(|claim| claim.owner) {
            *holders.entry(job_of(&owner).to_owned()).or_default() += 1;
        }
    }
    Ok(holders)
}

/// A job in a line: `  17_3  running on n2  1 run`.
fn line(task: &Task, runs: usize) -> String {
    let stands = match &task.state {
        TaskState::Pending => {
            task.why_it_waits().unwrap_or_else(|| "waiting for its turn".to_owned())
        }
        TaskState::Running if runs == 1 => format!("running on {}, 1 run", task.node),
        TaskState::Running => format!("running on {}, {runs} runs", task.node),
        TaskState::Ended(state) => task.why_it_failed().unwrap_or_else(|| state.to_lowercase()),
    };
    format!("  {:<12}  {stands}", task.name())
}

fn cancel(args: &SlurmSweepArgs) -> Result<ExitCode, CliError> {
    let Recorded { folder, .. } = Recorded::open(&args.sweep, &args.runs)?;
    let submission = submitted(&folder)?;
    let slurm = Slurm::default();
    // A Slurm that does not answer ends nothing: then whoever watches is not to hear that it did.
    let tasks = submission.queue(&slurm)?;
    let live = tasks.iter().filter(|task| task.is_live()).count();
    // Before jobs are cancelled: one that starts in between finds it.
    atomic::replace(&folder.called_off(), b"", Durability::Derived)?;
    if live == 0 {
        writeln!(std::io::stdout(), "no job is left")?;
        return Ok(ExitCode::NothingToDo);
    }
    if let Err(error) = slurm.cancel(&submission.names()) {
        atomic::remove(&folder.called_off())?;
        return Err(error.into());
    }
    writeln!(
        std::io::stdout(),
        "{} asked to stop: running runs checkpoint, and the same `gridlane sweep` command goes on",
        jobs(live)
    )?;
    Ok(ExitCode::Ok)
}

/// Makes a sweep that was on a cluster one machine's again, if no job is left of it. The caller holds its
/// lock.
///
/// # Errors
/// When jobs are left, or it cannot be found out whether any are.
pub fn take_back(folder: &SweepFolder) -> Result<(), CliError> {
    let Some(mut submission) = Submission::read(folder)? else { return Ok(()) };
    let refuse = |message: String| CliError::Cluster {
        message,
        help: format!(
            "come back to it with `--slurm`, or end its jobs with `gridlane slurm cancel`; where that cluster is \
             gone, remove {}",
            folder.submission().display()
        ),
    };
    if !submission.batches.is_empty() {
        // A person waits here: one look, no patience.
        let settled = submission.settle(&Slurm::default(), folder, &mut |_: Duration| true);
        match settled {
            Ok(tasks) if tasks.iter().any(Task::is_live) => {
                return Err(refuse("this sweep is under way on a Slurm cluster".to_owned()));
            }
            Ok(_) => {}
            Err(SlurmError::Record(error)) => return Err(error.into()),
            Err(error) => {
                return Err(refuse(format!(
                    "this sweep was submitted to a Slurm cluster, and whether jobs are left cannot be found \
                     out: {error}"
                )));
            }
        }
    }
    // A person waits here as well, and ends it with Ctrl-C.
    refuse_while_pilots_live(&submission, folder, &mut |time: Duration| {
        std::thread::sleep(time);
        true
    })?;
    submission.batches.clear();
    submission.write(folder)?;
    Ok(close_all(folder)?)
}
