use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::event::{LayersRecord, RunEvent};
use crate::ids::RunId;
use crate::record::result::RECORD_FORMAT;
use crate::record::{Durability, RunFolder, RunRecord, RunResult, RunStatus, atomic, lines};
use crate::spec::config::ENGINE_NUMERICS;

/// Steps of the runs of these tests: three epochs of three, the last one ragged.
const STEPS: usize = 9;

/// Runs in folders of their own under one.
struct Runs {
    root: TempDir,
    count: usize,
}

impl Runs {
    /// Of a base configuration with these changes each.
    fn new(changes: &[Value]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (number, change) in changes.iter().enumerate() {
            let mut config = json!({
                "dataset": {
                    "kind": "synthetic", "train": 40, "val": 8, "test": 8, "shape": [1, 8, 8],
                },
                "model": { "kind": "mlp", "hidden": [16] },
                "optimizer": { "kind": "sgd", "momentum": 0.9 },
                "dropout": 0.2,
                "measure": [
                    { "kind": "gradient_norm", "every_steps": 2 }, "activation", "update_ratio",
                    "drift", "smoothness", "memory",
                ],
                "batch_size": 16,
                "epochs": 3,
            });
            for (key, value) in change.as_object().unwrap() {
                config[key] = value.clone();
            }
            let Value::Object(config) = config else { unreachable!() };
            let record = RunRecord {
                format: RECORD_FORMAT,
                run_id: RunId::of(&[number as u8]),
                configuration: "base".to_owned(),
                config: config.into_iter().collect(),
                engine: ENGINE_NUMERICS,
                data: "synthetic-1".to_owned(),
                checkpoint_every_epochs: 1,
                checkpoint_keep: 1,
            };
            let folder = root.path().join(number.to_string());
            fs::create_dir(&folder).unwrap();
            let run = RunFolder::at(&folder);
            atomic::replace_json(&run.run(), &record, Durability::Derived).unwrap();
        }
        Self { root, count: changes.len() }
    }

    fn folder(&self, number: usize) -> RunFolder {
        RunFolder::at(&self.root.path().join(number.to_string()))
    }

    /// An attempt at some of the runs.
    fn work(&self, runs: &[usize], stop: bool) -> Result<WorkerExit, WorkerError> {
        let folders = runs.iter().map(|&run| self.folder(run).path().to_owned()).collect();
        let data = self.root.path().to_owned();
        work(
            &Assignment { folders, data, attempt: 1, devices: vec![DeviceId::Cpu] },
            &AtomicBool::new(stop),
        )
    }

    fn result(&self, number: usize) -> Option<RunResult> {
        atomic::read_json(&self.folder(number).result(), RECORD_FORMAT).unwrap()
    }

    /// Everything that a run leaves that is not a time: its result, its steps, what was measured,
    /// and its final weights with the optimizer's memory.
    fn outcome(&self, number: usize) -> Outcome {
        let run = self.folder(number);
        let result = self.result(number).unwrap();
        let epoch = |e: &crate::event::EpochRecord| {
            format!("{} {} {:?} {:?} {}", e.epoch, e.step, e.train_loss, e.val_loss, e.lr)
        };
        let epochs: Vec<_> = result.epochs.iter().map(epoch).collect();
        let RunResult { status, reason, test_loss, parameters, .. } = result;
        let mut rows = vec![format!("{status:?} {reason:?} {test_loss:?} {parameters:?}")];
        rows.extend(epochs);
        rows.extend(lines::read(&run.events()).unwrap().into_iter().flat_map(rows_of));
        rows.sort();
        Outcome { rows, files: tensors(&run) }
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    rows: Vec<String>,
    /// Names and digests of the tensors' files.
    files: Vec<(String, String)>,
}

/// Steps and measurements of an event, however many were written in one line.
fn rows_of(event: RunEvent) -> Vec<String> {
    match event {
        RunEvent::Layers(LayersRecord { epoch, measurement, layers, steps, values, .. }) => {
            let row = |(step, values): (u64, Vec<f64>)| {
                format!("{epoch} {step} {measurement} {layers:?} {values:?}")
            };
            steps.into_iter().zip(values).map(row).collect()
        }
        RunEvent::Steps { first_step, epoch, loss, lr } => {
            let row = |(at, (loss, lr))| format!("step {} {epoch} {loss:?} {lr}", first_step + at);
            (0..).zip(loss.into_iter().zip(lr)).map(row).collect()
        }
        RunEvent::Started { .. } | RunEvent::Epoch(_) => Vec::new(),
    }
}

fn tensors(run: &RunFolder) -> Vec<(String, String)> {
    let Ok(files) = fs::read_dir(run.checkpoints()) else { return Vec::new() };
    let file = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        let digest = || blake3::hash(&fs::read(file.path()).unwrap()).to_string();
        name.ends_with(".safetensors").then(|| (name, digest()))
    };
    files.map(Result::unwrap).filter_map(file).collect()
}

/// Runs that may be one group: another seed, rate and rule, batch normalisation, one that diverges
/// in the second epoch, one that diverges at once, one that is stopped early after the second.
fn changes() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "seed": 7, "lr": 0.1, "optimizer": { "kind": "adam" } }),
        json!({ "batch_norm": true, "dropout": 0.0, "schedule": "cosine" }),
        json!({ "lr": 3000.0, "optimizer": { "kind": "sgd" } }),
        json!({ "lr": 1e30 }),
        json!({ "seed": 5, "early_stopping": { "kind": "validation", "patience": 1, "min_delta": 1e9 } }),
    ]
}

/// Each of them trained alone.
fn alone() -> Runs {
    let runs = Runs::new(&changes());
    for run in 0..runs.count {
        assert_eq!(runs.work(&[run], false).unwrap(), WorkerExit::Done);
    }
    runs
}

fn assert_same(runs: &Runs, expected: &Runs) {
    for run in 0..runs.count {
        assert_eq!(runs.outcome(run), expected.outcome(run), "run {run}");
    }
}

#[test]
fn a_run_stopped_after_every_single_step_comes_to_the_same_bits() {
    let unbroken = Runs::new(&[json!({})]);
    assert_eq!(unbroken.work(&[0], false).unwrap(), WorkerExit::Done);
    let broken = Runs::new(&[json!({})]);
    let exits: Vec<_> = (0..STEPS + 2).map(|_| broken.work(&[0], true).unwrap()).collect();
    assert_eq!(exits[..STEPS], [WorkerExit::Interrupted; STEPS]);
    assert_eq!(exits[STEPS], WorkerExit::Done);
    let expected = unbroken.outcome(0);
    // The result, its epochs and steps; norms in steps 1, 3, 5, 7, 9; at each of three ends four
    // numbers of activations (relu has no limits), one update, five of smoothness; drift from the
    // second on; memory once.
    let rows = 1 + 3 + STEPS + 5 + 3 * (4 + 1 + 5) + 2 * 2 + 6;
    assert_eq!(expected.rows.len(), rows, "{:#?}", expected.rows);
    assert_eq!(broken.outcome(0), expected);
}

#[test]
fn lanes_leave_what_each_run_leaves_alone() {
    let (alone, together) = (alone(), Runs::new(&changes()));
    assert_eq!(together.work(&[0, 1, 2, 3, 4, 5], false).unwrap(), WorkerExit::Done);
    let statuses: Vec<_> = (0..6).map(|run| alone.result(run).unwrap().status).collect();
    use RunStatus::{Diverged, Finished};
    assert_eq!(statuses, [Finished, Finished, Finished, Diverged, Diverged, Finished]);
    let epochs = |run: usize| alone.result(run).unwrap().epochs.len();
    assert!(epochs(4) < epochs(3), "one diverges later than the other");
    let early = alone.result(5).unwrap();
    assert_eq!((early.epochs.len(), epochs(0)), (2, 3));
    let reason = early.reason.unwrap();
    let expected = "stopped early after epoch 2: validation was best after epoch 1";
    assert!(reason.starts_with(expected), "{reason}");
    assert!(early.test_loss.is_some());
    assert_same(&together, &alone);
    let fused = |runs: &Runs| runs.result(0).unwrap().fused_lanes;
    assert_eq!((fused(&alone), fused(&together)), (Some(1), Some(6)));
}

#[test]
fn lanes_that_are_stopped_after_every_step_come_to_the_same_bits_in_whatever_groups() {
    let (alone, broken) = (alone(), Runs::new(&changes()));
    let groups: [&[&[usize]]; 3] =
        [&[&[0, 1, 2, 3, 4, 5]], &[&[3, 1, 5], &[0], &[2, 4]], &[&[4, 0], &[5, 3, 2, 1]]];
    for round in 0..STEPS + 2 {
        for group in groups[round % 3] {
            let left: Vec<usize> =
                group.iter().copied().filter(|&run| broken.result(run).is_none()).collect();
            if !left.is_empty() {
                broken.work(&left, true).unwrap();
            }
        }
    }
    for run in 0..broken.count {
        let (mut found, mut expected) = (broken.outcome(run), alone.outcome(run));
        if alone.result(run).unwrap().status == RunStatus::Diverged {
            // It was stopped after its last checkpoint alone.
            (found.files, expected.files) = (Vec::new(), Vec::new());
        }
        assert_eq!(found, expected, "run {run}");
    }
}

#[test]
fn a_run_that_is_stopped_early_keeps_its_weights_between_checkpoints_too() {
    let change = changes().pop().unwrap();
    let runs = Runs::new(&[change]);
    let path = runs.folder(0).run();
    let mut record: RunRecord = atomic::read_json(&path, RECORD_FORMAT).unwrap().unwrap();
    record.checkpoint_every_epochs = 50;
    atomic::replace_json(&path, &record, Durability::Derived).unwrap();
    assert_eq!(runs.work(&[0], false).unwrap(), WorkerExit::Done);
    let [(name, digest)] = &runs.outcome(0).files[..] else { panic!("{:?}", runs.outcome(0)) };
    assert_eq!(name, "step-000000006.safetensors", "two epochs of three steps");
    assert_eq!(*digest, alone().outcome(5).files[0].1);
}

#[test]
fn lanes_that_are_behind_catch_up_and_join() {
    let alone = alone();
    // At the start, in the middle of an epoch, at its last step, in the next one.
    for ahead in [[0, 1, 2], [0, 3, 3], [2, 4, 0], [3, 1, 8], [4, 4, 5]] {
        let runs = Runs::new(&changes());
        for (run, steps) in ahead.into_iter().enumerate() {
            for _ in 0..steps {
                assert_eq!(runs.work(&[run], true).unwrap(), WorkerExit::Interrupted);
            }
        }
        assert_eq!(runs.work(&[0, 1, 2, 3, 4, 5], false).unwrap(), WorkerExit::Done);
        assert_same(&runs, &alone);
        // All that lived to the end were together by then; those that diverged earlier were not.
        let fused = |run: usize| runs.result(run).unwrap().fused_lanes.unwrap();
        assert!(fused(0) >= 3 && fused(0) == fused(1) && fused(1) == fused(2), "{ahead:?}");
    }
}

#[test]
fn a_lane_whose_record_fails_does_not_keep_the_others_from_their_results() {
    let (alone, runs) = (alone(), Runs::new(&changes()));
    // Nothing can take the place of a folder that is not empty.
    fs::create_dir_all(runs.folder(1).result().join("in the way")).unwrap();
    let error = runs.work(&[0, 1, 2], false).unwrap_err();
    assert_eq!(error.exit(), WorkerExit::RecordFailed);
    let text = error.to_string();
    assert!(text.contains("/1/result.json"), "{text}");
    for run in [0, 2] {
        assert_eq!(runs.outcome(run), alone.outcome(run));
    }
    // Nor does one that cannot even be opened.
    let runs = Runs::new(&changes());
    fs::write(runs.folder(0).run(), "no JSON").unwrap();
    runs.work(&[0, 1, 2], false).unwrap_err();
    for run in [1, 2] {
        assert_eq!(runs.outcome(run), alone.outcome(run));
    }
}

#[test]
fn a_lane_with_a_damaged_checkpoint_starts_anew_and_catches_up() {
    let (alone, runs) = (alone(), Runs::new(&changes()));
    for _ in 0..4 {
        runs.work(&[0, 1, 2], true).unwrap();
    }
    // The bytes of another run under a checksum that is right: only the engine can tell.
    let (from, to) = (runs.folder(1), runs.folder(0));
    let state = |run: &RunFolder| -> Value {
        serde_json::from_slice(&fs::read(run.checkpoint_state()).unwrap()).unwrap()
    };
    let (theirs, mut ours) = (state(&from), state(&to));
    ours["checkpoints"][0]["blake3"] = theirs["checkpoints"][0]["blake3"].clone();
    let step = ours["checkpoints"][0]["step"].as_u64().unwrap();
    fs::copy(from.checkpoint_tensors(step), to.checkpoint_tensors(step)).unwrap();
    atomic::replace_json(&to.checkpoint_state(), &ours, Durability::Derived).unwrap();
    assert_eq!(runs.work(&[0, 1, 2], false).unwrap(), WorkerExit::Done);
    for run in 0..3 {
        assert_eq!(runs.outcome(run), alone.outcome(run), "run {run}");
    }
    let events: Vec<RunEvent> = lines::read(&runs.folder(0).events()).unwrap();
    let refused = events.into_iter().find_map(|event| match event {
        RunEvent::Started { checkpoint_refused, .. } => checkpoint_refused,
        _ => None,
    });
    assert!(refused.unwrap().starts_with("checkpoint of step 4: "), "the reason is recorded");
}

#[test]
fn lanes_that_do_not_fit_together_are_refused() {
    let runs = Runs::new(&[json!({}), json!({ "batch_size": 8 })]);
    let error = runs.work(&[0, 1], false).unwrap_err();
    assert!(error.to_string().contains("batch_size"), "{error}");
}

#[test]
fn every_rank_has_a_device_of_its_own_or_is_told_that_there_is_none() {
    let devices = |devices: &[DeviceId]| Assignment {
        folders: Vec::new(),
        data: PathBuf::new(),
        attempt: 1,
        devices: devices.to_vec(),
    };
    // Cores need not be named one by one.
    assert!(matches!(devices(&[DeviceId::Cpu]).open_device(3), Ok(Device::Cpu)));
    let error = devices(&[DeviceId::Cuda(0), DeviceId::Cuda(1)]).open_device(2).unwrap_err();
    let expected = "rank 2 has no device: the worker was given 2 for all ranks";
    assert_eq!((error.to_string().as_str(), error.exit()), (expected, WorkerExit::Refused));
}
