//! How a sweep on a cluster is opened: what is asked for, what was submitted before, whether anybody works at
//! it whom Slurm does not know.

use std::time::{Duration, Instant};

use super::super::args::SweepArgs;
use super::super::error::CliError;
use super::super::session::{Session, slurm_section};
use super::super::terminal;
use super::orchestrate::{Desk, NO_ANSWER};
use crate::dispatch::DispatchError;
use crate::dispatch::inventory::Inventory;
use crate::executor::slurm::submission::{job_of, own_program};
use crate::executor::slurm::{
    Pause, PilotOrders, Slurm, SlurmError, SlurmOptions, Submission, Task,
};
use crate::record::beats::{Beats, Life};
use crate::record::{SweepFolder, claims};
use crate::units::show_duration;

/// Cores of a pilot where nobody says how many.
const CORES: u32 = 1;

/// How often a beat is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Part of a lease in which whoever lives is seen to.
const SEEN: u32 = 6;

/// What each job asks for, by the command line and the sweep file.
///
/// # Errors
/// A bad sweep file.
pub fn options(args: &SweepArgs) -> Result<SlurmOptions, CliError> {
    let said = &args.slurm;
    let said = SlurmOptions {
        partition: said.partition.clone(),
        account: said.account.clone(),
        qos: said.qos.clone(),
        time: said.time.clone(),
        gpus: said.gpus,
        cpus: said.cpus,
        mem: said.mem.clone(),
        pilots: said.pilots,
        sbatch: said.sbatch.clone(),
    };
    Ok(said.or(SlurmOptions::from(&slurm_section(&args.file)?)))
}

/// The sweep file, planned for jobs that have what each of them asks for.
///
/// # Errors
/// A bad sweep file, a device that a job would not have.
pub fn open(args: &SweepArgs) -> Result<Session, CliError> {
    let options = options(args)?;
    let (gpus, cores) = (options.gpus.unwrap_or(0), options.cpus.unwrap_or(CORES));
    let machine = Inventory::of_a_job(gpus, cores, options.memory());
    Session::open_on(&args.file, Some(machine)).map_err(|error| match error {
        CliError::NoDevice { message, .. } => CliError::NoDevice {
            message: message.replace("this machine", "a job"),
            help: "--gpus N, or `gpus` in [slurm], says how many GPUs each job has".to_owned(),
        },
        other => other,
    })
}

/// What was submitted before, with what Slurm says of it, and what is to be asked for from now on.
///
/// # Errors
/// When Slurm does not answer.
pub fn recall(
    args: &SweepArgs,
    session: &Session,
    slurm: &Slurm,
    desk: &mut Desk,
) -> Result<(Submission, Vec<Task>), CliError> {
    let (file, options) = (&args.file, options(args)?);
    let orders = PilotOrders {
        program: own_program().map_err(DispatchError::NoProgram)?,
        data: session.data.clone(),
        jobs: file.jobs,
        devices: file.devices.as_ref().map(ToString::to_string),
        lanes: file.lanes.to_string(),
        lease_s: args.slurm.lease.as_secs_f64(),
    };
    let Some(mut before) = Submission::read(&session.folder)? else {
        return Ok((Submission::new(&session.folder, orders, options), Vec::new()));
    };
    let mut told = false;
    let tasks = before.settle(slurm, &session.folder, &mut |time| {
        if !std::mem::replace(&mut told, true) {
            terminal::notice(NO_ANSWER);
        }
        desk.wait(time)
    })?;
    if !tasks.iter().any(Task::is_live) {
        refuse_while_pilots_live(&before, &session.folder, &mut |time| desk.wait(time))?;
    } else if before.options != options || before.orders != orders {
        terminal::notice(&format!(
            "the jobs that are there keep what they were submitted with; other options hold for those that \
             follow. For all of them: `gridlane slurm cancel {}` first",
            session.spec.name
        ));
    }
    (before.orders, before.options) = (orders, options);
    Ok((before, tasks))
}

/// Makes sure that nobody lives who has runs, where Slurm lists no job: jobs of another user may not be
/// shown, and this may be another cluster.
///
/// # Errors
/// When somebody lives, or the record cannot be read.
pub fn refuse_while_pilots_live(
    submission: &Submission,
    folder: &SweepFolder,
    pause: &mut Pause<'_>,
) -> Result<(), CliError> {
    let owners = claims::owners(folder)?;
    if owners.is_empty() {
        return Ok(());
    }
    let lease = submission.orders.lease();
    let enough = lease / SEEN + LOOK;
    terminal::notice(&format!(
        "Slurm lists no job of this sweep, and {} with runs have not said that they left: watching for {} whether any \
         lives",
        owners.len(),
        show_duration(enough)
    ));
    let (mut beats, begun) = (Beats::new(folder, lease), Instant::now());
    while begun.elapsed() < enough {
        for owner in &owners {
            if beats.look(owner, begun.elapsed())? == Life::Alive {
                return Err(CliError::Cluster {
                    message: format!(
                        "pilot {} of this sweep is at work, though Slurm lists no job of it here",
                        job_of(owner)
                    ),
                    help: "another user's jobs, which Slurm does not show to you, or those of another cluster that has \
                           the same disk: let them end, or cancel them there with `gridlane slurm cancel`"
                        .to_owned(),
                });
            }
        }
        if !pause(LOOK) {
            return Err(SlurmError::Stopped.into());
        }
    }
    Ok(())
}
