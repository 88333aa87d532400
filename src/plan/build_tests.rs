//! The plan as a whole, and how long big ones take.

use std::time::Instant;

use super::*;
use crate::plan::identity::run_id;
use crate::plan::sample::{finish, grid, planned, print_of, result, start_all};
use crate::plan::view::PlanView;
use crate::record::RunStatus;
use crate::spec::validate::Misfit;

#[test]
fn runs_go_seed_by_seed_and_know_their_configuration() {
    let mut spec = grid(&["lr=0.1 0.3"]);
    spec.seeds = vec![7, 3];
    let plan = planned(&spec, None);
    let order: Vec<_> =
        plan.runs.iter().map(|run| (run.seed, plan.configuration_name(run))).collect();
    let expected = [(7, "lr=0.1"), (7, "lr=0.3"), (3, "lr=0.1"), (3, "lr=0.3")];
    assert_eq!(order, expected.map(|(seed, name)| (seed, name.to_owned())));
    for run in &plan.runs {
        let config = plan.config(run);
        assert_eq!(config.seed, run.seed);
        assert_eq!(run.id, run_id(&config, &print_of(&config.dataset)));
        let record = plan.run_record(run, spec.run.checkpoint);
        let json = serde_json::to_value(&record.config).unwrap();
        assert_eq!(RunConfig::from_canonical(&json).unwrap(), config);
    }
    let seeds: Vec<u64> = plan.runs_of(1).map(|run| run.seed).collect();
    assert_eq!(seeds, [7, 3]);
}

#[test]
fn the_same_misfit_is_said_once() {
    let spec = grid(&["epochs=1 2 3", "lr=0.1 0.3"]);
    let check = |config: &RunConfig| {
        let misfit = |message: String| Misfit {
            keys: vec![Key::Epochs],
            message,
            help: Some("train longer".to_owned()),
        };
        match config.epochs {
            3 => Vec::new(),
            2 => vec![misfit("two is even".to_owned()), misfit("too few".to_owned())],
            _ => vec![misfit("too few".to_owned())],
        }
    };
    let error = Plan::build(&spec, None, &print_of, &check).unwrap_err();
    let PlanError::Misfits { bad: 4, total: 6, groups } = error else { panic!("{error:?}") };
    let texts: Vec<String> = groups.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "too few (in 4 of 6 configurations, as in `epochs=1 lr=0.1`)",
            "two is even (in 2 of 6 configurations, as in `epochs=2 lr=0.1`)",
        ]
    );
}

fn numbers(key: &str, count: usize) -> String {
    let values: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    format!("{key}={}", values.join(" "))
}

/// Largest resident memory of this process so far, where the system tells.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("VmHWM unknown").to_owned()
}

#[test]
#[ignore = "prints timings; run by hand: cargo test big_grids -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figures are the point")]
fn big_grids_are_planned_in_seconds() {
    let tens = ["epochs", "batch_size", "lr", "width", "weight_decay", "devices"];
    let tens: Vec<String> = tens.iter().map(|key| numbers(key, 10)).collect();
    let tens: Vec<&str> = tens.iter().map(String::as_str).collect();
    let long = [100_000, 1_000_000].map(|count| numbers("epochs", count));
    let cases = [
        ("10^5", &tens[..5]),
        ("10^6", &tens[..]),
        ("10^5 x 1", &[long[0].as_str()]),
        ("10^6 x 1", &[long[1].as_str()]),
    ];
    for (what, axes) in cases {
        let spec = grid(axes);
        let (before, started) = (peak_memory(), Instant::now());
        let plan = planned(&spec, None);
        let took = started.elapsed();
        let (after, started) = (peak_memory(), Instant::now());
        serde_json::to_writer(std::io::sink(), &PlanView(&plan, None)).unwrap();
        let (runs, json) = (plan.runs.len(), started.elapsed());
        println!(
            "{what}: {runs} runs planned in {took:?}, as JSON in {json:?}, peak {before} -> {after}"
        );
    }
}

#[test]
#[ignore = "prints timings; run by hand: cargo test big_records -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figures are the point")]
fn big_records_are_read_in_seconds() {
    let runs = tempfile::tempdir().unwrap();
    let before = grid(&[&numbers("epochs", 10_000)]);
    let folder = SweepFolder::new(runs.path(), &before.name);
    start_all(&before, &folder);
    let plan = planned(&before, None);
    for run in &plan.runs {
        finish(&folder, &result(run.id, RunStatus::Finished, 1.0));
    }
    let mut after = before.clone();
    after.grid[0].values.drain(..5000);
    after.base.lr = 0.5;
    let axes: Vec<String> = ["lr", "width"].iter().map(|key| numbers(key, 10)).collect();
    let mut far = grid(&axes.iter().map(String::as_str).collect::<Vec<_>>());
    far.grid.insert(0, grid(&[&numbers("epochs", 1000)]).grid.remove(0));
    for (what, spec) in [("all done", &before), ("all stale", &after), ("far away", &far)] {
        let started = Instant::now();
        let plan = planned(spec, Some(&folder));
        let took = started.elapsed();
        println!("{what}: {took:?}; {} done, {} stale", plan.counts.done, plan.stale_runs());
    }
}
