//! kill -9 of anything, at any write of the record and any start of a worker, costs nothing:
//! finished runs are kept, interrupted ones go on, and all results have the bits of an undisturbed
//! sweep.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::sandbox::{Sandbox, TINY, workers_of};

/// More places than a tiny sweep has.
const TOO_MANY: usize = 400;

fn undisturbed(sweep_file: &str) -> BTreeMap<String, Vec<u8>> {
    let sandbox = Sandbox::new(sweep_file);
    sandbox.sweep(&[]).expect_code(0);
    sandbox.results("tiny")
}

/// Result files and when they were written: a finished run must not be touched again.
fn finished(sandbox: &Sandbox) -> BTreeMap<PathBuf, SystemTime> {
    sandbox
        .run_folders("tiny")
        .iter()
        .map(|run| run.join("result.json"))
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("\"finished\"")))
        .map(|path| (path.clone(), fs::metadata(path).unwrap().modified().unwrap()))
        .collect()
}

/// Kills `role` of a sweep of four runs with these arguments at every place in turn, until one gets
/// through without reaching it.
fn kill_at_every_place(sweep_file: &str, role: &str, retries: u32, arguments: &[&str]) {
    let expected = undisturbed(sweep_file);
    let sweep_file =
        format!("{sweep_file}\n[run]\nretries = {{ count = {retries}, delay = \"0s\" }}\n");
    let mut kills = 0;
    for place in 1..TOO_MANY {
        let sandbox = Sandbox::new(&sweep_file);
        let crashed = sandbox.sweep_crashing_at(&format!("{role}:{place}"), arguments);
        let got_through = crashed.code() == Some(0);
        if !got_through {
            kills += 1;
            let before = finished(&sandbox);
            sandbox
                .sweep(arguments)
                .expect_code(if before.len() == 4 { 4 } else { 0 })
                .expect_no_panic();
            let after = finished(&sandbox);
            for (path, written) in before {
                assert_eq!(after.get(&path), Some(&written), "{role}:{place} repeated {path:?}");
            }
        }
        assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0], "{role}:{place} left workers");
        assert_eq!(litter(&sandbox), [] as [PathBuf; 0], "{role}:{place} left files");
        let results = sandbox.results("tiny");
        for (name, bytes) in &expected {
            assert!(results.get(name) == Some(bytes), "{role}:{place} changed {name}");
        }
        assert_eq!(results.len(), expected.len(), "{role}:{place}");
        if got_through {
            eprintln!("{role}: killed at each of {kills} places, all results as if undisturbed");
            assert!(kills > 20, "only {kills} places were found: the test does not test");
            return;
        }
    }
    panic!("more than {TOO_MANY} places");
}

fn litter(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut folders = sandbox.run_folders("tiny");
    folders.push(sandbox.sweep_folder("tiny"));
    folders.push(sandbox.sweep_folder("tiny").join("plots"));
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|e| e == "tmp"))
        .collect()
}

#[test]
fn a_worker_killed_at_any_place_goes_on_when_the_sweep_is_run_again() {
    kill_at_every_place(TINY, "worker", 0, &[]);
}

#[test]
fn a_dispatcher_killed_at_any_place_loses_and_repeats_nothing() {
    kill_at_every_place(TINY, "dispatcher", 1, &[]);
}

#[test]
fn a_worker_of_lanes_killed_at_any_place_goes_on_lane_by_lane() {
    kill_at_every_place(TINY, "worker", 0, &["--lanes", "4"]);
}

#[test]
fn a_worker_of_lanes_some_of_which_stop_early_goes_on_lane_by_lane_too() {
    let early =
        "early_stopping = [\"none\", { kind = \"validation\", patience = 1, min_delta = 0.5 }]";
    let sweep_file = TINY.replace("lr = [0.05, 0.2]", early);
    kill_at_every_place(&sweep_file, "worker", 0, &["--lanes", "4"]);
}
