//! Stopping: Ctrl-C once and twice, a closed terminal, kill -9 of the dispatcher and of a worker.

use std::fs;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::sandbox::{Sandbox, TINY, workers_of};

/// A sweep long enough to be interrupted: a second or two for each run.
fn long() -> String {
    TINY.replace("train = 64", "train = 20000")
        .replace("epochs = 3", "epochs = 12")
        .replace("hidden = [16]", "hidden = [64, 64]")
}

/// Waits for a condition, for at most a minute.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn start(sandbox: &Sandbox) -> Child {
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a run has trained an epoch", || {
        let folders = sandbox.run_folders("tiny");
        folders.iter().any(|run| epochs_done(run) > 0)
    });
    child
}

fn epochs_done(run: &Path) -> usize {
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    events.matches("\"event\":\"epoch\"").count()
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

fn no_worker_is_left(sandbox: &Sandbox) {
    wait_until("no worker is left", || workers_of(&sandbox.path("")).is_empty());
}

#[test]
fn ctrl_c_checkpoints_and_the_same_command_goes_on_to_the_same_bits() {
    let undisturbed = Sandbox::new(&long());
    undisturbed.sweep(&[]).expect_code(0);

    let sandbox = Sandbox::new(&long());
    let child = start(&sandbox);
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("checkpoint"), "{stderr}");
    assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0]);
    sandbox.sweep(&[]).expect_code(0);
    let resumed = sandbox
        .run_folders("tiny")
        .iter()
        .map(|run| fs::read_to_string(run.join("events.jsonl")).unwrap())
        .filter(|events| events.matches("\"event\":\"started\"").count() > 1)
        .count();
    assert!(resumed > 0, "no run was interrupted: the test does not test");
    assert!(sandbox.results("tiny") == undisturbed.results("tiny"));
}

#[test]
fn a_folder_that_is_moved_away_ends_its_sweep() {
    let sandbox = Sandbox::new(&long());
    let child = start(&sandbox);
    let (folder, moved) = (sandbox.sweep_folder("tiny"), sandbox.path("moved"));
    fs::rename(&folder, &moved).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("was moved or removed while the sweep ran"), "{stderr}");
    no_worker_is_left(&sandbox);
    assert!(!folder.exists(), "nothing is written where it was");
    fs::rename(&moved, &folder).unwrap();
    sandbox.sweep(&[]).expect_code(0);
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let sandbox = Sandbox::new(&long());
    let child = start(&sandbox);
    signal(child.id(), "TERM");
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0]);
}

#[test]
fn a_killed_dispatcher_takes_its_workers_along() {
    let sandbox = Sandbox::new(&long());
    let mut child = start(&sandbox);
    child.kill().unwrap();
    child.wait().unwrap();
    no_worker_is_left(&sandbox);
    sandbox.sweep(&[]).expect_code(0);
}

#[test]
fn a_killed_worker_is_started_again_and_goes_on() {
    let sandbox = Sandbox::new(&long());
    let child = start(&sandbox);
    wait_until("a worker runs", || !workers_of(&sandbox.path("")).is_empty());
    for pid in workers_of(&sandbox.path("")) {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("killed by signal 9"), "{stderr}");
}

#[test]
fn a_closed_terminal_loses_nothing() {
    let sandbox = Sandbox::new(&long());
    let mut child = start(&sandbox);
    drop(child.stderr.take());
    drop(child.stdout.take());
    signal(child.id(), "HUP");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(sandbox.run_folders("tiny").len(), 4);
}

/// A pipe that is full and that nobody reads, as a terminal that is not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 1024]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

fn code_at_the_end(mut child: Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_error_output_that_nobody_reads_holds_no_sweep_up() {
    let sandbox = Sandbox::new(TINY);
    let (_reader, writer) = full_pipe();
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "2"]);
    let child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    assert_eq!(code_at_the_end(child), Some(0));
    sandbox.sweep(&[]).expect_code(4);
}

#[test]
fn a_signal_stops_a_sweep_whose_output_nobody_reads() {
    let sandbox = Sandbox::new(&long());
    let (_reader, writer) = full_pipe();
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "2"]);
    let stdout = writer.try_clone().unwrap();
    let child = command.stdout(stdout).stderr(writer).spawn().unwrap();
    wait_until("a run has trained an epoch", || {
        sandbox.run_folders("tiny").iter().any(|run| epochs_done(run) > 0)
    });
    signal(child.id(), "TERM");
    assert_eq!(code_at_the_end(child), Some(130));
    assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0]);
}

#[test]
fn a_table_that_nobody_reads_locks_nobody_out_and_a_signal_ends_it() {
    let sandbox = Sandbox::new(TINY);
    let (_reader, writer) = full_pipe();
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "2"]);
    let child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the sweep is done", || sandbox.sweep_folder("tiny").join("report.html").exists());
    wait_until("the folder is free", || sandbox.sweep(&[]).code() == Some(4));
    signal(child.id(), "TERM");
    assert_eq!(code_at_the_end(child), Some(130));
}

#[test]
fn a_timeout_stops_a_run_and_the_others_go_on() {
    let sandbox = Sandbox::new(&format!(
        "{}\n[run]\ntimeout = \"300ms\"\ngrace = \"5s\"\nretries = {{ count = 0 }}\n",
        TINY.replace("epochs = 3", "epochs = 1000000")
    ));
    let ran = sandbox.sweep(&["lr=0.1"]).expect_code(100);
    assert!(ran.stderr().contains("took longer than the timeout of 300ms"), "{}", ran.stderr());
    assert_eq!(workers_of(&sandbox.path("")), [] as [u32; 0]);
}
