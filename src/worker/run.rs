//! One attempt at a group of runs (of one, ordinarily), from their folders to their results.
//!
//! Lanes that have come equally far are trained as one network. Where a kill has left some behind
//! others, those catch up first and join.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rustix::system::uname;

use super::cohort::{self, Cohort, Leg, Setting};
use super::error::WorkerError;
use super::open::Standing;
use super::ranks::Gang;
use super::throughput;
use crate::event::WorkerExit;
use crate::record::Site;
use crate::spec::device::DeviceId;
use crate::train::TrainError;
use crate::train::device::{Device, DeviceError};

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The folders of the runs of the group; at least one.
    pub folders: Vec<PathBuf>,
    /// Where data sets are.
    pub data: PathBuf,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// A device for each rank; one of cores for all of them.
    pub devices: Vec<DeviceId>,
}

impl Assignment {
    /// Opens the device of a rank.
    pub(super) fn open_device(&self, rank: usize) -> Result<Device, WorkerError> {
        let Self { devices, .. } = self;
        let on_cores = devices.iter().all(|device| *device == DeviceId::Cpu);
        let device = match devices.get(rank) {
            Some(device) => *device,
            None if on_cores => DeviceId::Cpu,
            None => {
                let error = DeviceError::NoneLeft { rank, found: devices.len() };
                return Err(TrainError::from(error).into());
            }
        };
        Ok(Device::open(device).map_err(TrainError::from)?)
    }
}

/// Computes the runs of a group, or as much of them as `stop` allows. A run whose record fails does
/// not keep the others from their results.
///
/// # Errors
/// What keeps a run from a result, the first of several; see [`WorkerError`].
pub fn work(assignment: &Assignment, stop: &AtomicBool) -> Result<WorkerExit, WorkerError> {
    let started = Instant::now();
    let mut lost = Vec::new();
    let mut waiting = open(assignment, started, &mut lost)?;
    let Some(first) = waiting.first().map(|standing| &standing.lane.config) else {
        return first_of(lost);
    };
    let mut gang = Gang::start(first.devices, assignment)?;
    let course = first.mode.course();
    let data = Arc::new(gang.share(throughput::load(first, &assignment.data)?)?);
    let gang = Rc::new(gang);
    let device = assignment.open_device(0)?;
    device.check(first.precision).map_err(TrainError::from)?;
    let host = uname().nodename().to_string_lossy().into_owned();
    let setting = Setting {
        site: Site { host, device: device.to_string() },
        device,
        folders: assignment.folders.clone(),
        gang: Rc::clone(&gang),
        data,
        started,
        attempt: assignment.attempt,
    };
    let end = match (course, waiting.pop()) {
        // Steps are timed one run at a time: a group has no other.
        (Some(course), Some(standing)) => throughput::measure(standing, course, &setting, stop),
        (_, last) => {
            waiting.extend(last);
            train(waiting, &setting, stop, lost)
        }
    };
    gang.part(&end);
    end
}

/// Trains all that waits, those abreast together.
fn train(
    mut waiting: Vec<Standing>,
    setting: &Setting,
    stop: &AtomicBool,
    mut lost: Vec<WorkerError>,
) -> Result<WorkerExit, WorkerError> {
    while let Some(position) = waiting.iter().map(|standing| standing.position).min() {
        let abreast = waiting.extract_if(.., |standing| standing.position == position).collect();
        let next = waiting.iter().map(|standing| standing.position).min();
        let mut cohort = match Cohort::begin(abreast, setting)? {
            Ok(cohort) => cohort,
            Err(back) => {
                waiting.extend(back);
                continue;
            }
        };
        match cohort.train(next, stop)? {
            Leg::Over => lost.extend(cohort::lost(cohort.into_lanes())),
            Leg::CaughtUp => {
                let (standings, over) = cohort.into_standings()?;
                waiting.extend(standings);
                lost.extend(cohort::lost(over));
            }
            Leg::Stopped => return Ok(WorkerExit::Interrupted),
        }
    }
    first_of(lost)
}

/// Opens the folders of all runs. One that cannot be opened is lost.
fn open(
    assignment: &Assignment,
    started: Instant,
    lost: &mut Vec<WorkerError>,
) -> Result<Vec<Standing>, WorkerError> {
    let mut standings = Vec::with_capacity(assignment.folders.len());
    for folder in &assignment.folders {
        match Standing::open(folder, &assignment.data, started) {
            Ok(standing) => standings.push(standing),
            Err(error) if error.is_full_disk() => return Err(error),
            Err(error) => lost.push(error),
        }
    }
    Ok(standings)
}

/// What a group comes to whose lanes are all settled.
fn first_of(lost: Vec<WorkerError>) -> Result<WorkerExit, WorkerError> {
    match lost.into_iter().next() {
        None => Ok(WorkerExit::Done),
        Some(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
