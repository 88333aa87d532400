//! Sweeps whose steps are timed, and sweeps over devices that the machine does not have.

use std::fs;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, TINY, read_csv, workers_of};
use crate::signals::wait_until;

const GPU: &str = "cores = 2\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 16\n";
const NO_GPU: &str = "cores = 2\nmemory_gib = 8\n";

/// The tiny sweep over two batch sizes, its steps timed.
fn timed() -> String {
    TINY.replace("epochs = 3", "mode = { kind = \"throughput\", steps = 4, warm_up = 1 }")
        .replace("lr = [0.05, 0.2]", "batch_size = [16, 32]")
        .replace("batch_size = 16\n", "")
        .replace("name = \"val_accuracy\"\ntarget = 0.5", "name = \"images_per_s\"")
}

/// The tiny sweep over a device that is there and one that is not.
fn devices() -> String {
    TINY.replace("lr = [0.05, 0.2]", "device = [\"cpu\", \"cuda\"]")
}

fn number(row: &std::collections::BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is {:?}", row[column]))
}

#[test]
fn steps_are_timed_one_run_at_a_time_and_tabulated() {
    let sandbox = Sandbox::new(&timed());
    sandbox.run(&["sweep", "sweep.toml", "-j", "4"]).expect_code(0).expect_stdout("images/s");
    let folder = sandbox.sweep_folder("tiny");
    let rows = read_csv(&folder.join("runs.csv"));
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!((row["status"].as_str(), row["epochs_done"].as_str()), ("finished", ""));
        let parts = ["data_s", "forward_s", "backward_s", "update_s"].map(|part| number(row, part));
        assert!(parts.iter().all(|part| *part > 0.0), "{row:?}");
        let rate = number(row, "batch_size") / number(row, "step_s");
        assert!((number(row, "images_per_s") / rate - 1.0).abs() < 1e-9, "{row:?}");
    }
    let table = read_csv(&folder.join("throughput.csv"));
    assert_eq!(table.iter().map(|row| row["n"].as_str()).collect::<Vec<_>>(), ["2", "2"]);
    assert_eq!(number(&table[0], "rate_to_smallest_batch"), 1.0);
    assert_eq!(number(&table[1], "rate_to_largest_batch"), 1.0);
    assert!(!folder.join("scaling.csv").exists(), "one device does not scale");
    // At no time were two under way, whatever -j said.
    let journal = fs::read_to_string(folder.join("journal.jsonl")).unwrap();
    let mut under_way = 0;
    for line in journal.lines() {
        under_way += i32::from(line.contains("attempt_started"));
        under_way -= i32::from(line.contains("attempt_ended"));
        assert!((0..=1).contains(&under_way), "{journal}");
    }
    assert!(journal.contains("attempt_started"), "{journal}");
    sandbox.run(&["leaderboard", "tiny"]).expect_code(0).expect_stdout("images/s");
    assert_eq!(read_csv(&folder.join("throughput.csv")), table, "the same from the record");
    // A sweep that trains has none of it.
    sandbox.write("sweep.toml", TINY);
    sandbox.sweep(&[]).expect_code(0);
    assert!(!folder.join("throughput.csv").exists());
    assert!(!read_csv(&folder.join("runs.csv"))[0].contains_key("step_s"));
}

#[test]
fn ranks_that_time_their_steps_show_how_that_scales() {
    let file = timed().replace("batch_size = [16, 32]", "devices = [1, 2, 4]\nwidth = [0.5, 4]");
    let sandbox = Sandbox::new(&file.replace("[grid]", "batch_size = 16\n[grid]"));
    sandbox.sweep(&["seeds=1"]).expect_code(0).expect_stdout("link, fitted to");
    let folder = sandbox.sweep_folder("tiny");
    let rows = read_csv(&folder.join("scaling.csv"));
    let measured: Vec<_> = rows.iter().filter(|row| row["forecast_from"].is_empty()).collect();
    assert_eq!(measured.len(), 6, "{rows:?}");
    for row in &measured {
        let several = row["ranks"] != "1";
        assert_eq!(number(row, "step_communication_s") > 0.0, several, "{row:?}");
        assert_eq!(row["fitted_communication_s"].is_empty(), !several, "{row:?}");
        let ranks = number(row, "ranks");
        let efficiency = number(row, "speed_up") / ranks;
        assert!((number(row, "efficiency") - efficiency).abs() < 1e-12);
        let expected = if ranks > number(row, "cores") { "yes" } else { "no" };
        assert_eq!(row["ranks_share_cores"], expected);
    }
    let fits = read_csv(&folder.join("scaling_fit.csv"));
    assert!(!fits.is_empty());
    assert_eq!((fits[0]["points"].as_str(), fits[0]["sizes"].as_str()), ("4", "2"));
}

#[test]
fn a_timed_run_that_is_killed_begins_anew() {
    let file = timed()
        .replace("steps = 4", "steps = 200000")
        .replace("batch_size = [16, 32]", "batch_size = [16]")
        .replace("seeds = 2", "seeds = 1");
    let sandbox = Sandbox::new(&file);
    let mut command = sandbox.command(&["sweep", "sweep.toml"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let losses = || {
        sandbox.run_folders("tiny").iter().any(|run| {
            fs::read_to_string(run.join("events.jsonl")).is_ok_and(|text| text.contains("steps"))
        })
    };
    wait_until("steps are taken", losses);
    let workers = workers_of(&sandbox.path(""));
    let killed = Command::new("kill").args(["-KILL", &workers[0].to_string()]).status().unwrap();
    assert!(killed.success());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("no worker is left", || workers_of(&sandbox.path("")).is_empty());
    let run = sandbox.run_folders("tiny").remove(0);
    assert!(!run.join("result.json").exists());
    sandbox.run(&["plan", "sweep.toml"]).expect_code(0).expect_stdout("1 partial");
    // Fewer steps are another run; the same ones are taken from the first on.
    let mut again = sandbox.command(&["sweep", "sweep.toml"]);
    let mut again = again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let anew = || {
        fs::read_to_string(run.join("events.jsonl")).is_ok_and(|text| {
            text.matches("\"event\":\"started\"").count() == 1
                && text.contains("\"resumed_at_step\":0")
                && text.contains("\"first_step\":0")
        })
    };
    wait_until("it begins with step 0", anew);
    again.kill().unwrap();
    again.wait().unwrap();
    wait_until("no worker is left", || workers_of(&sandbox.path("")).is_empty());
}

#[test]
fn runs_on_a_device_that_is_not_there_are_skipped_and_planned_where_it_is() {
    let sandbox = Sandbox::new(&devices());
    sandbox.write("gpu.toml", GPU);
    sandbox.write("bare.toml", NO_GPU);
    let bare = ["--inventory", "bare.toml"];
    let plan = |machine: &str| sandbox.run(&["plan", "sweep.toml", "--inventory", machine]);
    plan("bare.toml").expect_code(0).expect_stdout("2 new, 2 skipped: no CUDA device");
    let with_gpu = plan("gpu.toml").expect_code(0).expect_stdout("4 new");
    assert!(!with_gpu.stdout().contains("skipped"), "{}", with_gpu.stdout());

    sandbox.sweep(&bare).expect_code(0).expect_stdout("2 skipped: no CUDA device");
    let folder = sandbox.sweep_folder("tiny");
    let states = || -> Vec<(String, String)> {
        let rows = read_csv(&folder.join("runs.csv"));
        rows.iter().map(|row| (row["status"].clone(), row["reason"].clone())).collect()
    };
    let pair = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    let (finished, skipped) = (pair("finished", ""), pair("skipped", "no CUDA device"));
    let expected = [finished.clone(), skipped.clone(), finished, skipped];
    assert_eq!(states(), expected);
    let board = read_csv(&folder.join("leaderboard.csv"));
    let counts = |row: &std::collections::BTreeMap<String, String>| {
        ["rank", "n", "failed", "skipped"].map(|column| row[column].clone())
    };
    assert_eq!(counts(&board[0]), ["1", "2", "0", "0"]);
    assert_eq!(counts(&board[1]), ["", "0", "0", "2"]);
    assert_eq!(sandbox.run_folders("tiny").len(), 2, "nothing on disk says that they are done");

    sandbox.run(&["leaderboard", "tiny"]).expect_code(0);
    assert_eq!(states(), expected, "the record alone says the same");
    sandbox.sweep(&bare).expect_code(4).expect_stdout("2 runs of `tiny` are done, 2 skipped");
    plan("gpu.toml").expect_code(0).expect_stdout("2 done, 2 new");
}

#[test]
fn a_sweep_of_nothing_but_such_runs_is_refused_as_ever() {
    let sandbox = Sandbox::new(&devices().replace("[\"cpu\", \"cuda\"]", "[\"cuda\"]"));
    sandbox.write("bare.toml", NO_GPU);
    let arguments = ["--inventory", "bare.toml"];
    let refused = sandbox.sweep(&arguments);
    assert_ne!(refused.code(), Some(0));
    refused.expect_stderr("needs a GPU, and this machine has none").expect_no_panic();
}
