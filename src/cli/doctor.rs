//! `gridlane doctor`: what this machine has for sweeps, and what is in the way.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::args::DoctorArgs;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::sweep_file::{absolute, in_the_way};
use crate::dispatch::inventory::{Gpu, HAS_GPU_KERNELS, Inventory};
use crate::dispatch::leases::{self, Leases, Taken};
use crate::display::checkup::{Finding, Mark, checkup};
use crate::executor::slurm::{Slurm, SlurmError};
use crate::record::{Durability, Lock, RecordError, atomic, disk};
use crate::spec::catalogue::Supply;
use crate::spec::config::ENGINE_NUMERICS;
use crate::spec::dataset::Dataset;
use crate::train::device::{Device, DeviceError, libraries};
use crate::units::show_bytes;

/// Looks at everything that sweeps rely on, says how it is, and ends with 1 where something is in the
/// way.
///
/// # Errors
/// When the standard output is gone.
pub fn doctor(args: &DoctorArgs) -> Result<ExitCode, CliError> {
    let inventory = Inventory::of_this_machine();
    let mut findings = vec![program(), cores(&inventory), memory(&inventory), slots(&inventory)];
    findings.extend(gpus(&inventory));
    findings.extend(libraries_of_gpus());
    findings.push(record(&absolute(&args.runs)?));
    findings.push(data(&absolute(&args.data)?));
    findings.push(slurm());
    write!(std::io::stdout().lock(), "{}", checkup(&findings))?;
    let is_bad = findings.iter().any(|finding| finding.mark == Mark::Bad);
    Ok(if is_bad { ExitCode::Error } else { ExitCode::Ok })
}

fn program() -> Finding {
    let kernels = if HAS_GPU_KERNELS { "with" } else { "without" };
    let version = env!("CARGO_PKG_VERSION");
    let told =
        format!("gridlane {version}, numerics {ENGINE_NUMERICS}, {kernels} kernels for GPUs");
    Finding::new(Mark::Good, "program", told)
}

fn cores(inventory: &Inventory) -> Finding {
    let numbers: Vec<String> = inventory.cores.iter().map(u32::to_string).collect();
    let told = format!("{} that may be kept busy: {}", numbers.len(), numbers.join(", "));
    Finding::new(Mark::Good, "cores", told)
}

fn memory(inventory: &Inventory) -> Finding {
    Finding::new(Mark::Good, "memory", format!("{} to be had", show_bytes(inventory.memory)))
}

/// Leases, and who has some. Those that are free are taken for an instant.
fn slots(inventory: &Inventory) -> Finding {
    let folder = leases::folder();
    let (mut leases, problem) = Leases::open(&folder);
    if let Some(problem) = problem {
        return Finding::new(Mark::Bad, "leases", problem);
    }
    let mut others = Vec::new();
    for slot in 0..inventory.cores.len() + inventory.gpus.len() {
        let name = inventory.lease_name(slot);
        match leases.take(slot, &name) {
            Ok(Taken::Ours) => leases.give_back(slot),
            Ok(Taken::Theirs(Some(pid))) => others.push(format!("{name} by process {pid}")),
            Ok(Taken::Theirs(None)) => others.push(name),
            Err(error) => {
                let told = format!("cannot lease {name} in {}: {error}", folder.display());
                return Finding::new(Mark::Bad, "leases", told);
            }
        }
    }
    let held = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
    Finding::new(Mark::Good, "leases", format!("kept in {}; leased: {held}", folder.display()))
}

/// Each GPU as a run would find it.
fn gpus(inventory: &Inventory) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        inventory.notices.iter().map(|notice| Finding::new(Mark::Bad, "GPUs", notice)).collect();
    if inventory.gpus.is_empty() && findings.is_empty() {
        findings.push(Finding::new(
            Mark::Absent,
            "GPUs",
            format!("{}; {}", inventory.lack, inventory.lack.advice()),
        ));
    }
    findings.extend(inventory.gpus.iter().map(gpu));
    findings
}

fn gpu(gpu: &Gpu) -> Finding {
    let users: Vec<String> = gpu.processes.iter().map(|user| user.pid.to_string()).collect();
    let used = match users.as_slice() {
        [] => String::new(),
        pids => format!(", used by {}", pids.join(", ")),
    };
    let memory = format!("{} of {} free{used}", show_bytes(gpu.free), show_bytes(gpu.memory));
    let found = format!("cuda:{} {}, {memory}", gpu.number, gpu.name);
    if !HAS_GPU_KERNELS {
        let told = format!("{found}; not used: `just build-cuda` makes the program for it");
        return Finding::new(Mark::Absent, "GPU", told);
    }
    match Device::cuda(gpu.number as usize) {
        Ok(device) => Finding::new(Mark::Good, "GPU", format!("{device}, {memory}")),
        Err(error) => Finding::new(Mark::Bad, "GPU", format!("{found}: {error}")),
    }
}

/// NVIDIA's libraries, each as it would be found; a program without kernels looks for none.
fn libraries_of_gpus() -> Vec<Finding> {
    let finding = |(what, found): (_, Result<String, DeviceError>)| match found {
        Ok(file) => Finding::new(Mark::Good, what, file),
        // Not every run needs each of them, and without a GPU none does.
        Err(error) => Finding::new(Mark::Absent, what, error.to_string()),
    };
    libraries().into_iter().map(finding).collect()
}

/// Can a record be kept there?
fn record(runs: &Path) -> Finding {
    let room = disk::free(runs);
    let room = room.map_or(String::new(), |free| format!(", {} free", show_bytes(free)));
    match tried(runs) {
        Ok(told) => Finding::new(Mark::Good, "record", format!("{}: {told}{room}", runs.display())),
        Err(why) => Finding::new(Mark::Bad, "record", format!("{}: {why}{room}", runs.display())),
    }
}

/// Writes, syncs and locks a file where the record is, or will be.
fn tried(runs: &Path) -> Result<String, String> {
    if let Some(file) = in_the_way(runs) {
        return Err(format!("{} is no folder: name one with --runs", file.display()));
    }
    let folder = runs.ancestors().find(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| "there is no such folder, and none above it".to_owned())?;
    let file = folder.join(format!(".gridlane-doctor-{}", std::process::id()));
    let told = |error: RecordError| crate::record::error::with_causes(&error);
    let begun = Instant::now();
    atomic::replace(&file, b"gridlane doctor\n", Durability::Fact).map_err(told)?;
    let written = begun.elapsed();
    let locked = Lock::take(&file).map(|lock| (Lock::take(&file).is_err(), lock));
    let removed = atomic::remove(&file);
    match locked {
        Ok((true, _)) => {}
        Ok((false, _)) => {
            return Err(
                "locks do not hold on this file system: two sweeps could use one folder".to_owned()
            );
        }
        Err(error) => return Err(told(error)),
    }
    removed.map_err(told)?;
    Ok(format!("a file is on disk after {:.1} ms, locks hold", written.as_secs_f64() * 1e3))
}

/// Which data sets are at hand.
fn data(folder: &Path) -> Finding {
    if let Some(file) = in_the_way(folder) {
        let told = format!("{} is no folder: name one with --data", file.display());
        return Finding::new(Mark::Bad, "data sets", told);
    }
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for dataset in Dataset::KINDS.iter().filter_map(|kind| super::data::read(kind)) {
        match dataset.supply() {
            Supply::Embedded => there.push(dataset.kind()),
            Supply::Generated | Supply::Folder => {}
            Supply::Cached(_) => {
                match crate::train::data::check_present(&dataset, folder).is_ok() {
                    true => there.push(dataset.kind()),
                    false => missing.push(dataset.kind()),
                }
            }
        }
    }
    let mut told = there.join(", ");
    if !missing.is_empty() {
        let why = match folder.is_dir() {
            true => String::new(),
            false => format!("there is no folder {}, so ", folder.display()),
        };
        told = format!("{told}; {why}not fetched: {}", missing.join(", "));
    }
    Finding::new(Mark::Good, "data sets", told)
}

fn slurm() -> Finding {
    match Slurm::default().version() {
        Ok(version) => Finding::new(Mark::Good, "Slurm", version),
        Err(SlurmError::Missing { .. }) => {
            Finding::new(Mark::Absent, "Slurm", "no `sbatch` in PATH")
        }
        // Many machines have its programs and no cluster: who wants one will see what is missing.
        Err(error) => Finding::new(Mark::Absent, "Slurm", error.to_string()),
    }
}
