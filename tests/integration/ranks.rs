//! Runs on several devices: sweeps over `devices`, and what happens when a rank dies or hangs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Sandbox, TINY, read_csv, workers_of};
use crate::signals::wait_until;

/// One run on two ranks, of a minute or more.
pub fn long() -> String {
    TINY.replace("train = 64", "train = 20000")
        .replace("epochs = 3", "epochs = 400\ndevices = 2")
        .replace("lr = [0.05, 0.2]", "lr = [0.05]")
        .replace("hidden = [16]", "hidden = [64, 64]")
        .replace("seeds = 2", "seeds = 1")
        + "\n[run]\nretries = { count = 0 }\n"
}

/// The same, of a few seconds.
fn short() -> String {
    long().replace("epochs = 400", "epochs = 12")
}

fn start(sandbox: &Sandbox) -> Child {
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    trains(sandbox);
    child
}

/// Waits until a run has trained an epoch.
pub fn trains(sandbox: &Sandbox) {
    wait_until("a run has trained an epoch", || {
        sandbox.run_folders("tiny").iter().any(|run| {
            fs::read_to_string(run.join("events.jsonl"))
                .is_ok_and(|events| events.contains("\"event\":\"epoch\""))
        })
    });
}

/// Sends a signal to a process.
fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// The process of a rank of the only run.
fn process_of(sandbox: &Sandbox, rank: usize) -> u32 {
    let is_rank = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        match rank {
            0 => !command.contains("--rank"),
            _ => command.contains(&format!("--rank {rank}")),
        }
    };
    workers_of(&sandbox.path("")).into_iter().find(is_rank).expect("the rank runs")
}

/// What the only run's row of `runs.csv` says it failed of when a signal is sent to one of its ranks, and
/// how long it took to be noticed.
fn failure(rank: usize, name: &str) -> (String, Duration) {
    let sandbox = Sandbox::new(&long());
    let child = start(&sandbox);
    failure_of(&sandbox, child, (rank, name))
}

/// The same of a sweep that trains already.
pub fn failure_of(
    sandbox: &Sandbox,
    sweep: Child,
    (rank, name): (usize, &str),
) -> (String, Duration) {
    let begun = Instant::now();
    signal(process_of(sandbox, rank), name);
    let output = sweep.wait_with_output().unwrap();
    let took = begun.elapsed();
    assert_eq!(output.status.code(), Some(100), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0], "rank {rank}, {name}");
    let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    assert_eq!(rows[0]["status"], "failed");
    (rows[0]["reason"].clone(), took)
}

#[test]
fn a_killed_rank_ends_the_run_with_a_reason_at_once() {
    let (reason, took) = failure(1, "KILL");
    assert_eq!(reason, "rank_lost: rank 1 was killed by signal 9 (SIGKILL)");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let (reason, took) = failure(0, "KILL");
    assert!(reason.contains("killed by signal 9"), "{reason}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_rank_that_stands_still_ends_the_run_with_a_reason_in_time() {
    for rank in [0, 1] {
        let (reason, took) = failure(rank, "STOP");
        let expected = format!("rank_lost: rank {rank} has not moved for ");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(took < Duration::from_secs(10), "rank {rank}: {took:?}");
    }
}

/// 64 MiB of images, of which a rank that had them for itself would hold all.
#[test]
fn ranks_have_the_data_set_in_memory_once() {
    let text = long().replace("train = 20000", "train = 640").replace("test = 32", "test = 20000");
    let text = text.replace("[1, 8, 8]", "[3, 32, 32]").replace("devices = 2", "devices = 4");
    let sandbox = Sandbox::new(&text);
    let mut child = start(&sandbox);
    let own = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok())
    };
    let ranks: Vec<Option<u64>> = (0..4).map(|rank| own(process_of(&sandbox, rank))).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let is_without = |rank: &Option<u64>| rank.is_none_or(|kibibytes| kibibytes < 48 << 10);
    eprintln!("KiB of ranks' own: {ranks:?}");
    assert!(ranks.iter().all(is_without), "KiB of their own: {ranks:?}");
}

#[test]
fn a_killed_dispatcher_leaves_no_rank() {
    let sandbox = Sandbox::new(&long());
    let mut child = start(&sandbox);
    assert_eq!(workers_of(&sandbox.path("")).len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("no rank is left", || workers_of(&sandbox.path("")).is_empty());
}

#[test]
fn ctrl_c_stops_all_ranks_and_the_run_goes_on_to_the_same_bits() {
    let undisturbed = Sandbox::new(&short());
    undisturbed.sweep(&[]).expect_code(0);

    let sandbox = Sandbox::new(&short());
    let child = start(&sandbox);
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0]);
    sandbox.sweep(&[]).expect_code(0);
    let events = events(&sandbox.run_folders("tiny")[0]);
    assert_eq!(events.matches("\"event\":\"started\"").count(), 2, "it was not interrupted");
    assert!(results(&sandbox) == results(&undisturbed));
}

fn events(run: &Path) -> String {
    fs::read_to_string(run.join("events.jsonl")).unwrap()
}

/// The results without the rows of times.
pub fn results(sandbox: &Sandbox) -> Vec<(String, Vec<u8>)> {
    let mut results = sandbox.results("tiny");
    let curves = results.remove("curves.csv").unwrap();
    let curves = String::from_utf8(curves).unwrap();
    let is_time = |line: &&str| line.contains(",step_") && line.contains("_s,");
    let curves: Vec<&str> = curves.lines().filter(|line| !is_time(line)).collect();
    results.insert("curves.csv".to_owned(), curves.join("\n").into_bytes());
    results.into_iter().collect()
}

#[test]
fn a_sweep_over_devices_trains_alike_and_says_where_the_time_goes() {
    let sweep = TINY
        .replace("lr = [0.05, 0.2]", "devices = [1, 2, 4]")
        .replace("batch_size = 16", "batch_size = 16\nbatch_norm = true\nsync_batch_norm = true");
    let sandbox = Sandbox::new(&sweep);
    sandbox.sweep(&[]).expect_code(0).expect_no_panic();
    let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    assert_eq!(rows.len(), 6);
    for row in &rows {
        assert_eq!(row["status"], "finished", "{row:?}");
        let one = rows.iter().find(|one| one["devices"] == "1" && one["seed"] == row["seed"]);
        for number in ["val_loss", "test_loss", "train_loss"] {
            let [one, found]: [f64; 2] =
                [&one.unwrap()[number], &row[number]].map(|x| x.parse().unwrap());
            assert!((one - found).abs() < 1e-4, "{number}: {one} {found}");
        }
        for time in ["step_compute_s", "step_communication_s", "step_wait_s"] {
            assert_eq!(row[time].is_empty(), row["devices"] == "1", "{time}");
        }
    }
    let curves = read_csv(&sandbox.sweep_folder("tiny").join("curves.csv"));
    let waits = curves.iter().filter(|row| row["metric"] == "step_wait_s").count();
    assert_eq!(waits, 4 * 3, "a row for each epoch on several devices");
}

/// Runs that are trained together on two ranks, killed at a place of the record and gone on with: some
/// then stand behind others, and catch up.
#[test]
fn lanes_on_two_ranks_are_each_what_they_are_alone_also_after_a_kill() {
    let sweep = TINY.replace("epochs = 3", "epochs = 3\ndevices = 2\nbatch_norm = true")
        + "\n[run]\nretries = { count = 0 }\n";
    let alone = Sandbox::new(&sweep);
    alone.sweep(&[]).expect_code(0);
    let expected = results(&alone);
    let lanes = ["--lanes", "4"];
    let mut kills = 0;
    for place in ["worker:1000", "worker:5", "worker:14", "worker:19", "worker:26", "worker:33"] {
        let together = Sandbox::new(&sweep);
        if together.sweep_crashing_at(place, &lanes).code() != Some(0) {
            kills += 1;
            together.sweep(&lanes).expect_code(0).expect_no_panic();
        }
        assert_eq!(workers_of(&together.path("")), [] as [u32; 0], "{place}");
        assert!(results(&together) == expected, "{place}");
    }
    assert!(kills > 2, "{kills}");
}
