//! `gridlane pilot`: a dispatcher among others, inside a job on a node.
//!
//! It takes runs that nobody has, with everything that a dispatcher does on one machine, until none is
//! left or its time is up. What is left of a run then lies on the shared disk for the next one.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::args::FileArgs;
use super::super::boards::Boards;
use super::super::error::CliError;
use super::super::exit_code::ExitCode;
use super::super::recorded::Recorded;
use super::super::session::Session;
use super::super::sweep::execute;
use super::super::terminal;
use super::time::Job;
use super::version;
use crate::dispatch::DispatchError;
use crate::dispatch::inventory::{Inventory, LIBRARY};
use crate::dispatch::leases::{self, Leases};
use crate::dispatch::ownership::Ownership;
use crate::dispatch::signals::TimeIsUp;
use crate::event::SweepEvent;
use crate::executor::slurm::Submission;
use crate::executor::slurm::submission::{PilotOrders, pilot_name};
use crate::plan::Lanes;
use crate::record::claims::Claims;
use crate::record::crash_point::{Role, set_role};
use crate::record::sharing::share_as;

/// Least time between two writes of the tables by one pilot.
const PAUSE: Duration = Duration::from_secs(60);

/// Time between two writes of the tables, as a multiple of what a write costs.
const SPARING: u32 = 20;

/// Takes runs of the sweep in `folder` until none is left.
///
/// # Errors
/// When the record cannot be read or written, or the node cannot train what is planned.
pub fn pilot(folder: &Path) -> Result<ExitCode, CliError> {
    set_role(Role::Dispatcher);
    let time = TimeIsUp::listen().map_err(DispatchError::Signals)?;
    let job = Job::ask();
    let time = job.uses(time);
    let recorded = Recorded::open(&folder.display().to_string(), Path::new(""))?;
    let Some(Submission { orders, options, .. }) = Submission::read(&recorded.folder)? else {
        return Err(CliError::Cluster {
            message: format!("{} was not submitted to a cluster", folder.display()),
            help: "a pilot is started by `gridlane sweep FILE --slurm`".to_owned(),
        });
    };
    share_as(recorded.folder.path())?;
    if recorded.folder.called_off().exists() {
        terminal::notice("the sweep was called off: nothing is done");
        return Ok(ExitCode::Ok);
    }
    let name = pilot_name();
    let host = crate::dispatch::host::host();
    terminal::notice(&format!("pilot {name} on {host}{}", job.limit_in_words()));
    let args = file_args(&recorded, &orders)?;
    let machine = machine();
    if options.gpus.is_some_and(|gpus| gpus > 0) && machine.gpus.is_empty() {
        return Err(CliError::NoDevice {
            message: "this job was to have a GPU, and none is found on its node".to_owned(),
            help: format!(
                "GPUs are found through {LIBRARY}; CUDA_VISIBLE_DEVICES is {:?} here. {}",
                std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default(),
                machine.notices.join("; ")
            ),
        });
    }
    let session = Session::recorded(recorded, &args, machine)?;
    let works = session.works().list;
    if works.is_empty() {
        terminal::notice("no run is left");
        return Ok(ExitCode::Ok);
    }
    let mut claims = Claims::open(&session.folder, &name, orders.lease())?;
    let folder = claims.pilot();
    version::note(&session.folder, &folder, &session.plan)?;
    if time.is_up() {
        claims.leave()?;
        return job.go_on_later(&session.folder, &folder).map(|()| ExitCode::Ok);
    }
    let mut tables = Tables { session: &session, written: Instant::now(), cost: Duration::ZERO };
    let parts = (Ownership::shared(claims), leases(), time.clone());
    let outcome = execute(&session, works, false, parts, &mut |event| tables.observe(event))?;
    let goes_on = time.is_up() && outcome.left > 0;
    if !(goes_on && job.is_short()) {
        tables.write();
    }
    if goes_on {
        job.go_on_later(&session.folder, &folder)?;
    }
    Ok(ExitCode::Ok)
}

/// What of this node the job was given.
fn machine() -> Inventory {
    let mut inventory = Inventory::of_this_machine();
    let given = std::env::var("SLURM_CPUS_ON_NODE").ok().and_then(|text| text.parse().ok());
    if let Some(cores) = given {
        inventory.at_most_cores(cores);
    }
    inventory
}

/// Slurm has given these cores and GPUs to this job, and to nobody else.
fn leases() -> Leases {
    match std::env::var_os(leases::FOLDER_VARIABLE) {
        Some(_) => Leases::open(&leases::folder()).0,
        None => Leases::within_process(),
    }
}

/// What the command line of a sweep on this machine would say.
fn file_args(recorded: &Recorded, orders: &PilotOrders) -> Result<FileArgs, CliError> {
    let bad = |error: String| CliError::Cluster {
        message: format!("{}: {error}", recorded.folder.submission().display()),
        help: "it was written by another version of gridlane: cancel and submit again".to_owned(),
    };
    let devices = orders.devices.as_deref().map(str::parse).transpose();
    let devices = devices
        .map_err(|error: crate::dispatch::inventory::BadDeviceChoice| bad(error.to_string()))?;
    Ok(FileArgs {
        file: recorded.folder.sweep_file(),
        overrides: Vec::new(),
        short: false,
        jobs: orders.jobs,
        devices,
        inventory: None,
        lanes: orders.lanes.parse::<Lanes>().map_err(bad)?,
        runs: recorded.folder.path().parent().unwrap_or(Path::new(".")).to_owned(),
        data: orders.data.clone(),
    })
}

/// The sweep's tables, which somebody wants to see at 3 a.m. though nobody is attached.
struct Tables<'a> {
    session: &'a Session,
    written: Instant,
    cost: Duration,
}

impl Tables<'_> {
    fn observe(&mut self, event: &SweepEvent) -> Option<String> {
        match event {
            SweepEvent::RunEnded { end, .. } if end.is_final() => {}
            _ => return None,
        }
        if self.written.elapsed() >= (self.cost * SPARING).max(PAUSE) {
            self.write();
        }
        None
    }

    /// Writes them from what all pilots have published. They can be made anew at any time: a failure is
    /// nobody's loss.
    fn write(&mut self) {
        let begun = Instant::now();
        let Session { spec, plan, folder, .. } = self.session;
        let mut boards = Boards::open(spec, folder, plan);
        let written = boards.write().and_then(|()| boards.write_report());
        if let Err(error) = written {
            terminal::notice(&format!("the tables could not be written: {error}"));
        }
        (self.written, self.cost) = (Instant::now(), begun.elapsed());
    }
}
