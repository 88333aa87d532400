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

/// Most steps of which the parts are timed on an accelerator.
const PARTS: u64 = 16;

/// Bytes of a number that ranks exchange.
const NUMBER: u64 = 4;

/// The data set of a run: all of it, or whole batches of its training part where steps are timed.
pub(super) fn load(config: &RunConfig, folder: &Path) -> Result<DataSplits, WorkerError> {
    let splits = data::load_parts(config, folder)?;
    Ok(match config.mode.course() {
        None => splits,
        Some(_) => whole_batches(splits, config.batch_size),
    })
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
    setting.gang.begin(&[0], &[])?;
    let mut trainer = build(&lane.config, setting)?;
    lane.events.append(&RunEvent::Started {
        format: EVENT_FORMAT,
        attempt: setting.attempt,
        resumed_at_step: 0,
        total_steps: course.total(),
        checkpoint_refused: None,
    })?;
    let mut steps =
        |trainer: &mut Trainer, wanted| taken(trainer, &mut lane, wanted, setting, stop);
    let mut end = match steps(&mut trainer, course.warm_up)? {
        StepsEnd::Done(_) => {
            trainer.keep_rank_times(course.steps as usize);
            steps(&mut trainer, course.steps)?
        }
        end => end,
    };
    let mut parts = None;
    if overlap(&lane.config, setting) && matches!(end, StepsEnd::Done(_)) {
        match parts_of_more(&mut trainer, setting, stop)? {
            StepsEnd::Done(steps) => parts = Some(steps),
            other => end = other,
        }
    }
    lane.flush()?;
    let result = match end {
        StepsEnd::Stopped => return Ok(WorkerExit::Interrupted),
        StepsEnd::Diverged => RunResult {
            reason: trainer.divergence(0).map(ToString::to_string),
            ..RunResult::new(lane.record.run_id, RunStatus::Diverged)
        },
        StepsEnd::Done(steps) => {
            let ranks = trainer.kept_rank_times();
            let parts = parts.as_deref().unwrap_or(&steps);
            let found = Found { course, steps: &steps, parts, ranks: &ranks, trainer: &trainer };
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
        device_memory_bytes: lane.clock.device_memory_bytes(trainer.device_memory_bytes()),
        fused_lanes: Some(1),
        site: Some(setting.site.clone()),
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
    if !overlap(config, setting) {
        wind(&mut trainer, &setting.device);
    }
    Ok(trainer)
}

/// Is a step begun before the one before it is over? Its parts cannot be told apart then.
fn overlap(config: &RunConfig, setting: &Setting) -> bool {
    matches!(setting.device, Device::Accelerator(_)) && config.devices == 1
}

/// A few more steps, which nobody is told of, each waited for part by part.
fn parts_of_more(
    trainer: &mut Trainer,
    setting: &Setting,
    stop: &AtomicBool,
) -> Result<StepsEnd, WorkerError> {
    wind(trainer, &setting.device);
    // There is an epoch more than the course needs.
    let steps = trainer.steps_per_epoch().min(PARTS) as u32;
    take_steps(trainer, steps, &mut || Ok(()), &mut |_| {
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })
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
    /// Those whose parts are known.
    parts: &'a [StepSeconds],
    ranks: &'a [StepTimes],
    trainer: &'a Trainer,
}

impl Found<'_> {
    /// As the record has it; `None` of no steps, which a course does not have.
    fn throughput(&self, config: &RunConfig, device: &Device) -> Option<Throughput> {
        let of = |get: fn(&StepSeconds) -> f64| Spread::of(self.parts.iter().map(get));
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        Some(Throughput {
            device: device.to_string(),
            devices: config.devices,
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            threads: u32::try_from(rayon::current_num_threads()).unwrap_or(u32::MAX),
            batch_size: config.batch_size,
            warm_up: self.course.warm_up,
            steps: self.course.steps,
            step_s: Spread::of(self.steps.iter().map(|step| step.whole))?,
            data_s: of(|step| step.phases.data)?,
            forward_s: of(|step| step.phases.forward)?,
            backward_s: of(|step| step.phases.backward)?,
            update_s: of(|step| step.phases.update)?,
            exchange: self.exchange(),
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::ids::RunId;
    use crate::record::result::RECORD_FORMAT;
    use crate::record::{RunFolder, RunRecord, lines};
    use crate::spec::config::ENGINE_NUMERICS;
    use crate::spec::device::DeviceId;
    use crate::worker::run::{Assignment, work};

    /// A run of 7 timed steps of 16 images, after 2 that are not, on 40 images; with changes.
    fn run(changes: serde_json::Value) -> (TempDir, RunFolder) {
        let root = tempfile::tempdir().unwrap();
        let mut config = json!({
            "dataset": { "kind": "synthetic", "train": 40, "val": 8, "test": 8, "shape": [1, 8, 8] },
            "model": { "kind": "mlp", "hidden": [16] },
            "mode": { "kind": "throughput", "steps": 7, "warm_up": 2 },
            "batch_size": 16,
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        let record = RunRecord {
            format: RECORD_FORMAT,
            run_id: RunId::of(b"timed"),
            configuration: "base".to_owned(),
            config: serde_json::from_value(config).unwrap(),
            engine: ENGINE_NUMERICS,
            data: "synthetic-1".to_owned(),
            checkpoint_every_epochs: 1,
            checkpoint_keep: 1,
        };
        let folder = root.path().join("run");
        fs::create_dir(&folder).unwrap();
        let folder = RunFolder::at(&folder);
        atomic::replace_json(&folder.run(), &record, Durability::Derived).unwrap();
        (root, folder)
    }

    fn attempt(folder: &RunFolder, stop: bool) -> Result<WorkerExit, WorkerError> {
        let assignment = Assignment {
            folders: vec![folder.path().to_owned()],
            data: folder.path().to_owned(),
            attempt: 1,
            devices: vec![DeviceId::Cpu],
        };
        work(&assignment, &AtomicBool::new(stop))
    }

    fn result(folder: &RunFolder) -> Option<RunResult> {
        atomic::read_json(&folder.result(), RECORD_FORMAT).unwrap()
    }

    fn steps_written(folder: &RunFolder) -> usize {
        let events: Vec<RunEvent> = lines::read(&folder.events()).unwrap();
        let steps = events.iter().map(|event| match event {
            RunEvent::Steps { loss, .. } => loss.len(),
            _ => 0,
        });
        steps.sum()
    }

    #[test]
    fn the_result_says_what_the_steps_took_and_nothing_else_is_done() {
        let (_root, folder) = run(json!({}));
        assert_eq!(attempt(&folder, false).unwrap(), WorkerExit::Done);
        let result = result(&folder).unwrap();
        assert_eq!((result.status, result.epochs.len()), (RunStatus::Finished, 0));
        assert_eq!((result.test_accuracy, result.test_loss), (None, None));
        assert!(result.wall_s.unwrap() > 0.0 && result.peak_memory_bytes.unwrap() > 1 << 20);
        let timed = result.throughput.unwrap();
        assert_eq!((timed.batch_size, timed.warm_up, timed.steps), (16, 2, 7));
        assert_eq!((timed.device.as_str(), timed.devices, &timed.exchange), ("cpu", 1, &None));
        assert_eq!(result.images_per_s, Some(16.0 / timed.step_s.median));
        for spread in [timed.data_s, timed.forward_s, timed.backward_s, timed.update_s] {
            assert!(spread.p10 > 0.0 && spread.p10 <= spread.median && spread.median <= spread.p90);
            assert!(spread.median < timed.step_s.median);
        }
        assert_eq!(steps_written(&folder), 9, "losses of all steps, as ever");
        assert!(!folder.checkpoints().exists());
    }

    #[test]
    fn a_batch_larger_than_the_data_set_is_as_large_as_asked_for() {
        let (_root, folder) = run(json!({ "batch_size": 100 }));
        assert_eq!(attempt(&folder, false).unwrap(), WorkerExit::Done);
        let timed = result(&folder).unwrap().throughput.unwrap();
        assert_eq!((timed.batch_size, timed.steps), (100, 7));
    }

    #[test]
    fn one_that_was_stopped_begins_anew() {
        let (_root, folder) = run(json!({}));
        assert_eq!(attempt(&folder, true).unwrap(), WorkerExit::Interrupted);
        assert_eq!((result(&folder), steps_written(&folder)), (None, 1));
        assert_eq!(attempt(&folder, false).unwrap(), WorkerExit::Done);
        assert_eq!(steps_written(&folder), 9);
        assert_eq!(result(&folder).unwrap().throughput.unwrap().steps, 7);
    }

    #[test]
    fn a_loss_that_is_no_number_is_a_result() {
        let (_root, folder) = run(json!({ "lr": 1e30 }));
        assert_eq!(attempt(&folder, false).unwrap(), WorkerExit::Done);
        let result = result(&folder).unwrap();
        assert_eq!((result.status, &result.throughput), (RunStatus::Diverged, &None));
        assert!(result.reason.is_some());
    }
}
