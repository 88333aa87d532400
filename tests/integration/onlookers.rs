//! Looking at a sweep from another terminal, while it is under way and after it went wrong.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use crate::sandbox::{Sandbox, TINY, read_csv};
use crate::signals::{signal, wait_until};

/// A sweep of which no run ends in time.
fn too_slow() -> String {
    TINY.replace("epochs = 3", "epochs = 100000")
        + "\n[run]\ntimeout = \"200ms\"\nretries = { count = 1, delay = \"0s\" }\n"
}

/// A sweep of one run that is over soon and one that goes on until it is stopped.
fn endless() -> String {
    TINY.replace("epochs = 3\n", "")
        .replace("lr = [0.05, 0.2]", "epochs = [300, 1000000]")
        .replace("seeds = 2", "seeds = 1")
}

fn statuses(sandbox: &Sandbox) -> Vec<String> {
    let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    rows.into_iter().map(|row| row["status"].clone()).collect()
}

/// A sweep that has got so far that its tables say how far running runs are.
fn under_way(sandbox: &Sandbox) -> Child {
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the tables say how far a running run is", || {
        let csv = sandbox.sweep_folder("tiny").join("runs.csv");
        let is_half_done = |row: &BTreeMap<String, String>| {
            row["status"] == "running" && !row["epochs_done"].is_empty()
        };
        csv.exists() && read_csv(&csv).iter().any(is_half_done)
    });
    child
}

#[test]
fn a_sweep_under_way_is_looked_at_and_left_alone() {
    let sandbox = Sandbox::new(&endless());
    let child = under_way(&sandbox);
    sandbox
        .run(&["status", "tiny"])
        .expect_code(0)
        .expect_stdout("tiny: 2 runs, 1 done, 1 running\n")
        .expect_stdout(&format!("(process {} on ", child.id()))
        .expect_stdout(" %  epochs=1000000  seed 0  epoch ");
    sandbox.run(&["status"]).expect_code(0).expect_stdout("under way");
    sandbox.run(&["leaderboard", "tiny"]).expect_code(0).expect_stdout("epochs=300");
    assert_eq!(statuses(&sandbox), ["finished", "running"], "as the sweep wrote them");
    signal(child.id(), "INT");
    child.wait_with_output().unwrap();
    sandbox
        .run(&["status", "tiny"])
        .expect_code(0)
        .expect_stdout("not under way, ended ")
        .expect_stdout("the same `gridlane sweep` command goes on");
}

#[test]
fn a_sweep_that_cannot_be_read_is_not_taken_for_none() {
    let sandbox = Sandbox::new(TINY);
    fs::create_dir_all(sandbox.path("runs/tiny")).unwrap();
    let file = sandbox.path("runs/tiny/sweep.toml");
    for command in ["status", "leaderboard", "show"] {
        let arguments = [command, "tiny", "r"];
        let arguments = if command == "show" { &arguments[..] } else { &arguments[..2] };
        sandbox.run(arguments).expect_code(2).expect_stderr("there is no sweep `tiny`");
    }
    std::os::unix::fs::symlink(&file, &file).unwrap();
    for command in ["status", "leaderboard"] {
        sandbox.run(&[command, "tiny"]).expect_code(1).expect_stderr("cannot read ");
    }
    sandbox.run(&["status"]).expect_code(0).expect_stdout("tiny  cannot be read: ");
    sandbox.run(&["status", "other"]).expect_code(2).expect_stderr("there are: tiny");

    // Whoever may read everything is refused nothing.
    fs::remove_file(&file).unwrap();
    fs::write(&file, TINY).unwrap();
    let closed = fs::Permissions::from_mode(0o000);
    fs::set_permissions(&file, closed).unwrap();
    if fs::read(&file).is_err() {
        let ran = sandbox.run(&["status", "tiny"]).expect_code(1);
        ran.expect_stderr("no permission to read ").expect_stderr("chmod -R a+rX");
    }
}

#[test]
fn a_sweep_that_was_killed_is_told_from_one_that_ended() {
    let sandbox = Sandbox::new(&endless());
    let child = under_way(&sandbox);
    signal(child.id(), "KILL");
    child.wait_with_output().unwrap();
    sandbox.run(&["status", "tiny"]).expect_code(0).expect_stdout("not under way: killed");
}

#[test]
fn a_failed_run_says_why_at_the_end_and_when_it_is_asked() {
    let sandbox = Sandbox::new(&too_slow());
    let ran = sandbox.sweep(&[]).expect_code(100);
    let failed = "4 runs failed: timed_out: took longer than the timeout of 200ms";
    let ran = ran.expect_stdout(failed).expect_stdout("gridlane show tiny RUN");
    let id = ran.stdout().lines().find_map(|line| {
        let (_, id) = line.strip_prefix("  such as ")?.rsplit_once("run ")?;
        Some(id.to_owned())
    });
    let id = id.unwrap();
    sandbox
        .run(&["show", "tiny", &id[..8]])
        .expect_code(0)
        .expect_stdout(&id)
        .expect_stdout("failed: timed_out")
        .expect_stdout("attempts\n  1  ")
        .expect_stdout("\n  2  ")
        .expect_stdout("\"hidden\":[16]");
    sandbox.run(&["show", "tiny", "r"]).expect_code(2).expect_stderr("begins the names of 4 runs");
    sandbox.run(&["show", "tiny", "zzz"]).expect_code(2).expect_stderr("there is no run `zzz`");
    sandbox.run(&["status", "tiny"]).expect_code(0).expect_stdout(failed);
    // As the help says.
    fs::remove_dir_all(sandbox.sweep_folder("tiny").join(&id)).unwrap();
    sandbox
        .run(&["plan", "sweep.toml"])
        .expect_code(0)
        .expect_stdout("3 failed (will be tried again), 1 new");
}

#[test]
fn fail_fast_is_a_failure_and_nobodys_stop() {
    let sandbox = Sandbox::new(&too_slow());
    let sweep = |arguments: &[&str]| {
        let fixed = ["sweep", "sweep.toml", "-j", "1", "--lanes", "off", "run.retries.count=0"];
        sandbox.run(&[&fixed, arguments].concat()).expect_code(100)
    };
    sweep(&["--fail-fast"])
        .expect_stdout("1 run failed: the same command tries it again")
        .expect_stdout("3 runs are left");
    sweep(&[]);
    // One fails again; the others have failed before, and nobody says otherwise.
    let ran = sweep(&["--fail-fast"]);
    let ran = ran.expect_stdout("4 runs failed: the same command tries them again");
    assert!(!ran.stdout().contains("left"), "{}", ran.stdout());
    sandbox.run(&["status", "tiny"]).expect_code(0).expect_stdout("4 runs, 4 failed\n");
}

#[test]
fn a_run_that_diverges_is_called_so() {
    let sandbox = Sandbox::new(&TINY.replace("lr = [0.05, 0.2]", "lr = [0.05, 1e30]"));
    sandbox
        .sweep(&[])
        .expect_code(0)
        .expect_stderr("] diverged lr=")
        .expect_stdout("2 runs diverged")
        .expect_stdout("loss is ");
}

#[test]
fn a_leaderboard_is_shown_where_its_files_cannot_be_written() {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    let csv = sandbox.sweep_folder("tiny").join("leaderboard.csv");
    fs::remove_file(&csv).unwrap();
    fs::create_dir(&csv).unwrap();
    sandbox
        .run(&["leaderboard", "tiny"])
        .expect_code(1)
        .expect_stdout("lr=0.2")
        .expect_stderr("leaderboard.csv");
}

#[test]
fn a_report_that_cannot_be_written_does_not_hide_what_the_sweep_came_to() {
    let sandbox = Sandbox::new(TINY);
    fs::create_dir_all(sandbox.sweep_folder("tiny").join("report.html")).unwrap();
    sandbox.sweep(&[]).expect_code(1).expect_stdout("lr=0.2").expect_stderr("report.html");
    sandbox.sweep(&[]).expect_code(1).expect_stdout("nothing to do").expect_stderr("report.html");
}

#[test]
fn a_name_that_is_nearly_right_is_understood() {
    let sandbox = Sandbox::new(TINY);
    sandbox.run(&["status"]).expect_code(2).expect_stderr("there is no sweep in runs");
    sandbox.run(&["plan", "swep.toml"]).expect_code(2).expect_stderr("did you mean sweep.toml?");
    sandbox.run(&["plan", "sweep"]).expect_code(2).expect_stderr("did you mean sweep.toml?");
    sandbox.run(&["plan", "."]).expect_code(2).expect_stderr("in the folder: sweep.toml");
    sandbox.sweep(&["epochs=1", "repeats.seeds=1"]).expect_code(0);
    sandbox.run(&["leaderboard", "tiny.toml"]).expect_code(2).expect_stderr("did you mean `tiny`?");
    sandbox.run(&["leaderboard", "tinny"]).expect_code(2).expect_stderr("did you mean `tiny`?");
}
