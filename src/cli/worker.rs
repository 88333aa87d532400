//! `gridlane worker`: makes this process die with the one that started it, then trains.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::args::WorkerArgs;
use crate::event::WorkerExit;
use crate::record::crash_point::{Role, set_role};
use crate::record::error::with_causes;
use crate::spec::device::DeviceId;
use crate::worker::{Assignment, Seat, WorkerError, end_gang, follow, work};

/// Trains the run, and says how it went by the exit code.
pub fn worker(args: &WorkerArgs) -> std::process::ExitCode {
    set_role(Role::Worker);
    let exit = attempt(args).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "{}", with_causes(&error));
        if args.rank > 0 {
            end_gang(&error, args.parent);
        }
        error.exit()
    });
    let on_gpus = args.devices.iter().filter(|device| **device != DeviceId::Cpu).count();
    if on_gpus > 1 {
        // CUDA's and NCCL's own farewells may wait for kernels that wait for a rank that is gone.
        signal_hook::low_level::exit(i32::from(exit as u8));
    }
    std::process::ExitCode::from(exit as u8)
}

fn attempt(args: &WorkerArgs) -> Result<WorkerExit, WorkerError> {
    die_with_parent(args.parent);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(WorkerError::Signals)?;
    }
    let assignment = Assignment {
        folders: args.folders.clone(),
        data: args.data.clone(),
        attempt: args.attempt,
        devices: args.devices.clone(),
    };
    match (args.memory, args.data_memory) {
        (Some(memory), Some(data)) => follow(&assignment, Seat { rank: args.rank, memory, data }),
        _ => work(&assignment, &stop),
    }
}

/// An orphan would go on writing a run that the next sweep starts again. The signal is asked for
/// first and the parent looked at afterwards, so a parent that died in between is noticed.
fn die_with_parent(parent: u32) {
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    let is_parent =
        getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    if asked.is_err() || !is_parent {
        std::process::exit(i32::from(WorkerExit::Interrupted as u8));
    }
}
