//! A run whose steps are timed: from its folder to its result, with nothing in between that could be
//! gone on from. One that was stopped, or killed, begins anew.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use super::cohort::Setting;
use super::error::WorkerError;
use super::lane::Lane;
use super::open::Standing;
use super::order::Order;
use crate::event::{EVENT_FORMAT, RunEvent, WorkerExit};
use crate::record::throughput::Exchange;
use crate::record::{Durability, RunResult, RunStatus, Spread, Throughput, atomic};
use crate::spec::RunConfig;
use crate::spec::mode::Course;
use crate::train::Trainer;
use crate::train::bench::course::{
    StepSeconds, StepsEnd, take_steps, timed_config, whole_batches, wind,
};
use crate::train::data::{self, DataSplits};
use crate::train::device::Device;
use crate::train::parallel::StepTimes;

/// Bytes of a number that ranks exchange.
const NUMBER: u64 = 4;

/// The data set of a run: all of it, or whole batches of its training part where steps are timed.
pub(super) fn load(config: &RunConfig, folder: &Path) -> Result<Arc<DataSplits>, WorkerError> {
    let splits = data::load(&config.dataset, config.validation_fraction, folder)?;
    Ok(Arc::new(match config.mode.course() {
        None => splits,
        Some(_) => whole_batches(splits, config.batch_size),
    }))
}

/// What the trainer of a run is built from.
pub(super) fn trained(config: &RunConfig, data: &DataSplits) -> RunConfig {
    match config.mode.course() {
        None => config.clone(),
        Some(course) => timed_config(config, data.train.len(), course),
    }
}

/// Times the steps of the run that stands in `standing`.
pub(super) fn measure(
    standing: Standing,
    course: Course,
    setting: &Setting,
    stop: &AtomicBool,
) -> Result<WorkerExit, WorkerError> {
    let mut standing = standing;
    if standing.position.steps > 0 {
        standing = standing.back_to_start("steps that are timed are timed in one go")?;
    }
    let Standing { mut lane, .. } = standing;
    let mut trainer = build(&lane.config, setting)?;
    setting.gang.begin(&[0], &[])?;
    lane.events.append(&RunEvent::Started {
        format: EVENT_FORMAT,
        attempt: setting.attempt,
        resumed_at_step: 0,
        total_steps: course.total(),
        checkpoint_refused: None,
    })?;
    let mut steps =
        |trainer: &mut Trainer, wanted| taken(trainer, &mut lane, wanted, setting, stop);
    let end = match steps(&mut trainer, course.warm_up)? {
        StepsEnd::Done(_) => {
            trainer.keep_rank_times(course.steps as usize);
            steps(&mut trainer, course.steps)?
        }
        end => end,
    };
    lane.flush()?;
    let result = match end {
        StepsEnd::Stopped => return Ok(WorkerExit::Interrupted),
        StepsEnd::Diverged => RunResult {
            reason: trainer.divergence(0).map(ToString::to_string),
            ..RunResult::new(lane.record.run_id, RunStatus::Diverged)
        },
        StepsEnd::Done(steps) => {
            let ranks = trainer.kept_rank_times();
            let found = Found { course, steps: &steps, ranks: &ranks, trainer: &trainer };
            let throughput = found.throughput(&lane.config, &setting.device);
            let images = f64::from(lane.config.batch_size);
            let rate = throughput.as_ref().map(|throughput| images / throughput.step_s.median);
            RunResult {
                images_per_s: rate,
                throughput,
                ..RunResult::new(lane.record.run_id, RunStatus::Finished)
            }
        }
    };
    let result = RunResult {
        parameters: Some(trainer.parameters(0)),
        wall_s: Some(lane.clock.wall_s()),
        peak_memory_bytes: Some(lane.clock.peak_memory_bytes()),
        fused_lanes: Some(1),
        ..result
    };
    atomic::replace_json(&lane.folder.result(), &result, Durability::Fact)?;
    Ok(WorkerExit::Done)
}

fn build(config: &RunConfig, setting: &Setting) -> Result<Trainer, WorkerError> {
    let data = Arc::clone(&setting.data);
    let timed = trained(config, &data);
    let mut trainer = Trainer::of_rank(&[timed], data, setting.gang.ranks())?;
    if let Device::Accelerator(accelerator) = &setting.device {
        trainer.move_to(accelerator)?;
    }
    wind(&mut trainer, &setting.device);
    Ok(trainer)
}

/// Takes so many steps with the other ranks, and writes their losses down.
fn taken(
    trainer: &mut Trainer,
    lane: &mut Lane,
    wanted: u32,
    setting: &Setting,
    stop: &AtomicBool,
) -> Result<StepsEnd, WorkerError> {
    let mut failed = None;
    let end =
        take_steps(trainer, wanted, &mut || setting.gang.order(Order::Epoch), &mut |report| {
            failed = lane.step(0, report).err();
            if failed.is_some() || stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    failed.map_or(end, Err)
}

/// What was found out about the steps.
struct Found<'a> {
    course: Course,
    steps: &'a [StepSeconds],
    ranks: &'a [StepTimes],
    trainer: &'a Trainer,
}

impl Found<'_> {
    /// As the record has it; `None` of no steps, which a course does not have.
    fn throughput(&self, config: &RunConfig, device: &Device) -> Option<Throughput> {
        let of = |get: fn(&StepSeconds) -> f64| Spread::of(self.steps.iter().map(get));
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        Some(Throughput {
            device: device.to_string(),
            devices: config.devices,
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            threads: u32::try_from(rayon::current_num_threads()).unwrap_or(u32::MAX),
            batch_size: config.batch_size,
            warm_up: self.course.warm_up,
            steps: self.course.steps,
            step_s: of(|step| step.whole)?,
            data_s: of(|step| step.phases.data)?,
            forward_s: of(|step| step.phases.forward)?,
            backward_s: of(|step| step.phases.backward)?,
            update_s: of(|step| step.phases.update)?,
            exchange: self.exchange(),
            device_memory_bytes: match device {
                Device::Cpu => None,
                Device::Accelerator(accelerator) => Some(accelerator.peak_bytes() as u64),
            },
        })
    }

    fn exchange(&self) -> Option<Exchange> {
        let of = |get: fn(&StepTimes) -> f64| Spread::of(self.ranks.iter().map(get));
        Some(Exchange {
            bytes: self.trainer.parameters(0) * NUMBER,
            compute_s: of(|times| times.compute_s)?,
            communication_s: of(|times| times.communication_s)?,
            wait_s: of(|times| times.wait_s)?,
        })
    }
}
