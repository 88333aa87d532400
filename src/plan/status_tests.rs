//! What a folder on disk makes of a run, case by case.

use std::fs;

use super::*;
use crate::event::EpochRecord;
use crate::plan::sample::{finish, grid, planned, result, start_all};
use crate::record::{LineWriter, RunStatus};

fn epoch(epoch: u32) -> RunEvent {
    let record = EpochRecord {
        epoch,
        step: u64::from(epoch) * 10,
        lr: 0.1,
        train_loss: 1.0,
        train_accuracy: 0.5,
        val_loss: 1.0,
        val_accuracy: 0.5,
        train_s: 1.0,
        eval_s: 0.1,
        step_compute_s: None,
        step_communication_s: None,
        step_wait_s: None,
        elapsed_s: 1.1,
    };
    RunEvent::Epoch(record)
}

#[test]
fn every_state_of_a_folder_gives_its_state_of_the_run() {
    type Prepare = fn(&RunFolder, RunId);
    let new = || RunState::New;
    let partial = |epochs_done| RunState::Partial { epochs_done };
    let failed = || RunState::Failed { reason: "exit status 1".to_owned() };
    let table: Vec<(&str, Prepare, RunState, Option<&str>)> = vec![
        ("no folder", |folder, _| fs::remove_dir_all(folder.path()).unwrap(), new(), None),
        ("only run.json", |_, _| (), partial(0), None),
        ("an empty folder", |folder, _| fs::remove_file(folder.run()).unwrap(), new(), None),
        (
            "only a checkpoint",
            |folder, _| {
                fs::remove_file(folder.run()).unwrap();
                fs::create_dir(folder.checkpoints()).unwrap();
            },
            partial(0),
            None,
        ),
        (
            "events with a torn tail",
            |folder, _| {
                let (mut events, _) = LineWriter::open(&folder.events()).unwrap();
                (1..=3).for_each(|n| events.append(&epoch(n)).unwrap());
                let whole = events.length();
                drop(events);
                let file = fs::OpenOptions::new().write(true).open(folder.events()).unwrap();
                file.set_len(whole - 30).unwrap();
            },
            partial(2),
            None,
        ),
        (
            "a finished run",
            |folder, id| {
                let result = result(id, RunStatus::Finished, 2.0);
                fs::write(folder.result(), serde_json::to_vec(&result).unwrap()).unwrap();
            },
            RunState::Done,
            None,
        ),
        (
            "a diverged run",
            |folder, id| {
                let result = result(id, RunStatus::Diverged, 100.0);
                fs::write(folder.result(), serde_json::to_vec(&result).unwrap()).unwrap();
            },
            RunState::Done,
            None,
        ),
        (
            "a failed run",
            |folder, id| {
                let result = result(id, RunStatus::Failed, 1.0);
                fs::write(folder.result(), serde_json::to_vec(&result).unwrap()).unwrap();
            },
            failed(),
            None,
        ),
        (
            "a torn result",
            |folder, _| fs::write(folder.result(), "{\"format\":1,").unwrap(),
            partial(0),
            Some("result.json is damaged"),
        ),
        (
            "a result whose curves cannot be read",
            |folder, id| {
                let mut value = serde_json::to_value(result(id, RunStatus::Finished, 1.0)).unwrap();
                value["epochs"] = serde_json::json!([{ "epoch": "first" }]);
                fs::write(folder.result(), value.to_string()).unwrap();
            },
            partial(0),
            Some("result.json is damaged"),
        ),
        (
            "a result that is a folder",
            |folder, _| fs::create_dir(folder.result()).unwrap(),
            partial(0),
            Some("result.json is damaged"),
        ),
        (
            "a result that is a link to itself",
            |folder, _| std::os::unix::fs::symlink(folder.result(), folder.result()).unwrap(),
            partial(0),
            Some("result.json is damaged"),
        ),
        (
            "the result of another run",
            |folder, _| {
                let result = result(RunId::of(b"other"), RunStatus::Finished, 1.0);
                fs::write(folder.result(), serde_json::to_vec(&result).unwrap()).unwrap();
            },
            partial(0),
            Some("result.json belongs to"),
        ),
        (
            "a damaged run.json",
            |folder, _| fs::write(folder.run(), b"\xff\0").unwrap(),
            partial(0),
            Some("run.json is damaged"),
        ),
    ];
    for (what, prepare, state, warning) in table {
        let runs = tempfile::tempdir().unwrap();
        let spec = grid(&[]);
        let folder = SweepFolder::new(runs.path(), &spec.name);
        start_all(&spec, &folder);
        let id = planned(&spec, None).runs[0].id;
        prepare(&folder.run(id), id);
        let plan = planned(&spec, Some(&folder));
        assert_eq!(plan.runs[0].state, state, "{what}");
        let warnings: Vec<&str> = plan.warnings.iter().map(|w| w.message.as_str()).collect();
        match warning {
            None => assert!(warnings.is_empty(), "{what}: {warnings:?}"),
            Some(text) => {
                assert!(warnings.iter().any(|w| w.contains(text)), "{what}: {warnings:?}");
            }
        }
    }
}

#[test]
fn forecasts_rest_on_finished_runs_only() {
    let runs = tempfile::tempdir().unwrap();
    let spec = grid(&["lr=0.1 0.2 0.3 0.4"]);
    let folder = SweepFolder::new(runs.path(), &spec.name);
    let plan = planned(&spec, None);
    finish(&folder, &result(plan.runs[0].id, RunStatus::Finished, 2.0));
    finish(&folder, &result(plan.runs[1].id, RunStatus::Finished, 4.0));
    finish(&folder, &result(plan.runs[2].id, RunStatus::Diverged, 100.0));
    let durations = planned(&spec, Some(&folder)).durations.unwrap();
    assert_eq!((durations.runs, durations.mean_s), (2, 3.0));
    assert!((durations.std_s - 2.0_f64.sqrt()).abs() < 1e-12);
}

#[test]
fn foreign_names_are_passed_over_and_newer_records_refused() {
    let runs = tempfile::tempdir().unwrap();
    let spec = grid(&[]);
    let folder = SweepFolder::new(runs.path(), &spec.name);
    assert_eq!(planned(&spec, Some(&folder)).counts.new, 1, "a sweep that was never run");
    fs::create_dir_all(folder.path().join("plots")).unwrap();
    fs::write(folder.sweep_file(), "").unwrap();
    let plan = planned(&spec, Some(&folder));
    assert_eq!((plan.counts.new, plan.stale_runs()), (1, 0));

    let id = plan.runs[0].id;
    fs::create_dir(folder.run(id).path()).unwrap();
    fs::write(folder.run(id).result(), r#"{"format": 99, "shape": "unknown"}"#).unwrap();
    let refused = crate::plan::Plan::build(&spec, Some(&folder), &|_| "x".to_owned(), &|_| vec![]);
    assert!(refused.is_ok(), "another fingerprint makes that folder a stranger");
    let refused =
        crate::plan::Plan::build(&spec, Some(&folder), &crate::plan::sample::print_of, &|_| vec![]);
    assert!(matches!(refused, Err(PlanError::NewerRecord { found: 99, .. })), "{refused:?}");
}
