//! Reasons of recorded runs that an edited sweep file no longer plans.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::plan::sample::{any_spec, exclude, grid, planned, setting, start_all};
use crate::record::SweepFolder;
use crate::spec::SweepSpec;
use crate::spec::config::ENGINE_NUMERICS;

/// Starts every run of `before`, then plans `after`: its reasons with counts.
fn reasons(before: &SweepSpec, after: &SweepSpec) -> Vec<String> {
    let runs = tempfile::tempdir().unwrap();
    let folder = SweepFolder::new(runs.path(), &before.name);
    start_all(before, &folder);
    let plan = planned(after, Some(&folder));
    plan.stale.iter().map(|group| format!("{} {}", group.runs, group.reason)).collect()
}

#[test]
fn the_key_that_was_edited_is_named() {
    let before = grid(&["schedule=\"cosine\" \"constant\"", "lr=0.05 0.1"]);
    let mut after = grid(&["schedule=\"cosine\" \"constant\"", "lr=0.1 1.0"]);
    assert_eq!(reasons(&before, &after), ["2 lr: 0.05 -> 0.1"]);
    after = before.clone();
    after.base.set(&setting("epochs=12"));
    assert_eq!(reasons(&before, &after), ["4 epochs: 10 -> 12"]);
    after.grid.remove(1);
    after.base.set(&setting("lr=0.1"));
    assert_eq!(
        reasons(&before, &after),
        ["2 epochs: 10 -> 12", "2 lr: 0.05 -> 0.1, epochs: 10 -> 12"]
    );
    assert_eq!(reasons(&before, &before), [""; 0]);
}

#[test]
fn seeds_rules_and_combinations_are_named() {
    let mut before = grid(&["activation=\"relu\" \"tanh\"", "lr=0.1 0.3"]);
    before.seeds = vec![0, 1, 2];
    let mut after = before.clone();
    after.seeds = vec![0, 1];
    assert_eq!(reasons(&before, &after), ["4 seed: 2 -> not planned"]);
    after = before.clone();
    after.excludes = vec![exclude(12, &["activation=\"tanh\"", "lr=0.3"])];
    assert_eq!(reasons(&before, &after), ["3 excluded by line 12"]);
    after.excludes = vec![exclude(12, &["activation=\"tanh\""])];
    after.base.set(&setting("width=0.5"));
    after.seeds = vec![0];
    assert_eq!(
        reasons(&before, &after),
        [
            "2 width: 1 -> 0.5",
            "2 width: 1 -> 0.5, activation: tanh -> relu",
            "2 width: 1 -> 0.5, activation: tanh -> relu, seed: 1 -> not planned",
            "2 width: 1 -> 0.5, activation: tanh -> relu, seed: 2 -> not planned",
            "2 width: 1 -> 0.5, seed: 1 -> not planned",
            "2 width: 1 -> 0.5, seed: 2 -> not planned",
        ]
    );
}

#[test]
fn engine_data_and_unknown_keys_count_as_keys() {
    let runs = tempfile::tempdir().unwrap();
    let spec = grid(&["lr=0.1 0.3"]);
    let folder = SweepFolder::new(runs.path(), &spec.name);
    let plan = planned(&spec, None);
    let write = |name: &[u8], edit: fn(&mut RunRecord)| {
        let mut record = plan.run_record(&plan.runs[0], spec.run.checkpoint);
        record.run_id = RunId::of(name);
        edit(&mut record);
        let folder = folder.run(record.run_id);
        fs::create_dir_all(folder.path()).unwrap();
        fs::write(folder.run(), serde_json::to_vec(&record).unwrap()).unwrap();
    };
    write(b"engine", |record| record.engine = 0);
    write(b"data", |record| record.data = "older".to_owned());
    write(b"key", |record| drop(record.config.insert("gone".to_owned(), 3.into())));
    write(b"value", |record| drop(record.config.insert("lr".to_owned(), "fast".into())));
    write(b"same", |_| ());
    fs::create_dir(folder.run(RunId::of(b"empty")).path()).unwrap();
    fs::create_dir(folder.run(RunId::of(b"torn")).path()).unwrap();
    fs::write(folder.run(RunId::of(b"torn")).run(), "{").unwrap();

    let plan = planned(&spec, Some(&folder));
    let mut reasons: Vec<String> =
        plan.stale.iter().map(|group| format!("{} {}", group.runs, group.reason)).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "1 data: older -> print of Mnist10k",
            &format!("1 engine: 0 -> {ENGINE_NUMERICS}"),
            "1 gone: 3 -> no such key",
            "1 its id was made by another version of gridlane",
            "1 lr: \"fast\" -> 0.1",
            "2 its run.json is missing or damaged",
        ]
    );
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn many_reasons_are_put_together() {
    let values: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
    let before = grid(&[&format!("lr={}", values.join(" "))]);
    let after = grid(&["lr=0.5"]);
    let found = reasons(&before, &after);
    assert_eq!(found.len(), MAX_GROUPS + 1);
    assert_eq!(found[MAX_GROUPS], "150 lr (various values)");
}

fn distance(a: &RunConfig, b: &RunConfig) -> usize {
    Key::ALL.iter().filter(|key| a.setting(**key) != b.setting(**key)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_planned_run_is_nearer_than_the_reason_says(before in any_spec(), after in any_spec()) {
        use crate::plan::expand;
        prop_assume!(expand(&before).is_ok_and(|e| e.points.len() < 60) && expand(&after).is_ok());
        let runs = tempfile::tempdir().unwrap();
        let folder = SweepFolder::new(runs.path(), &before.name);
        start_all(&before, &folder);
        let plan = planned(&after, Some(&folder));
        let old = planned(&before, None);
        let planned_ids: HashSet<RunId> = plan.runs.iter().map(|run| run.id).collect();
        let strangers =
            old.runs.iter().filter(|run| !planned_ids.contains(&run.id)).count();
        prop_assert_eq!(plan.stale_runs(), strangers);
        for group in &plan.stale {
            let StaleReason::Changed(changes) = &group.reason else { continue };
            let run = old.runs.iter().find(|run| run.id == group.example).unwrap();
            let config = old.config(run);
            let best = plan.runs.iter().map(|run| distance(&config, &plan.config(run))).min();
            prop_assert_eq!(Some(changes.len()), best, "{:?}", changes);
        }
    }
}
