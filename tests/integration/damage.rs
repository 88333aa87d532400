//! Damaged files, bad data and refused writes: a clear message, nothing lost, never a panic.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gridlane::ids::RunId;
use gridlane::record::LineWriter;
use gridlane::record::journal::JournalEntry;

use crate::sandbox::{Sandbox, TINY, read_csv};
use crate::signals::wait_until;

/// A finished sweep.
fn swept() -> Sandbox {
    let sandbox = Sandbox::new(TINY);
    sandbox.sweep(&[]).expect_code(0);
    sandbox
}

/// Puts a folder with something inside in the place of a file.
fn folder_instead(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir_all(path.join("inside")).unwrap();
}

fn truncate(path: &PathBuf, to: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(to).unwrap();
}

#[test]
fn a_torn_journal_is_cut_and_written_on() {
    let sandbox = swept();
    let before = sandbox.results("tiny");
    let journal = sandbox.sweep_folder("tiny").join("journal.jsonl");
    let length = fs::metadata(&journal).unwrap().len();
    truncate(&journal, length - 7);
    for run in &sandbox.run_folders("tiny")[..1] {
        fs::remove_file(run.join("result.json")).unwrap();
    }
    sandbox.sweep(&[]).expect_code(0).expect_no_panic();
    assert!(sandbox.results("tiny") == before);
    let text = fs::read_to_string(&journal).unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| line.ends_with('}')), "{text}");
}

#[test]
fn a_truncated_result_is_computed_again_and_comes_to_the_same() {
    let sandbox = swept();
    let before = sandbox.results("tiny");
    truncate(&sandbox.run_folders("tiny")[0].join("result.json"), 40);
    sandbox
        .run(&["plan", "sweep.toml"])
        .expect_code(0)
        .expect_stdout("result.json")
        .expect_no_panic();
    sandbox.sweep(&[]).expect_code(0).expect_no_panic();
    assert!(sandbox.results("tiny") == before);
}

#[test]
fn a_result_with_damaged_curves_is_computed_again_too() {
    let sandbox = swept();
    let before = sandbox.results("tiny");
    let path = sandbox.run_folders("tiny")[0].join("result.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"val_accuracy\":", "\"val_accuracy\":\"x\",\"was\":")).unwrap();
    sandbox.sweep(&[]).expect_code(0).expect_stderr("result.json is damaged").expect_no_panic();
    assert!(sandbox.results("tiny") == before);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_a_name() {
    let sandbox = Sandbox::new(TINY);
    let program = env!("CARGO_BIN_EXE_gridlane");
    let command = sandbox.command(&[]);
    let shell = format!("ulimit -f 1; exec {program} sweep sweep.toml -j 2");
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", &shell]).current_dir(sandbox.path(""));
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "not by a signal: {stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_result_is_the_same() {
    for damage in ["truncate", "flip", "state", "events", "folder", "link", "state folder", "file"]
    {
        let sandbox = swept();
        let before = sandbox.results("tiny");
        let run = sandbox.run_folders("tiny")[0].clone();
        fs::remove_file(run.join("result.json")).unwrap();
        let tensors = fs::read_dir(run.join("checkpoint"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .unwrap();
        match damage {
            "truncate" => truncate(&tensors, 100),
            "flip" => {
                let mut bytes = fs::read(&tensors).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&tensors, bytes).unwrap();
            }
            "state" => fs::write(run.join("checkpoint/state.json"), "{]").unwrap(),
            "folder" => folder_instead(&tensors),
            "link" => {
                fs::remove_file(&tensors).unwrap();
                symlink(&tensors, &tensors).unwrap();
            }
            "state folder" => folder_instead(&run.join("checkpoint/state.json")),
            "file" => {
                fs::remove_dir_all(run.join("checkpoint")).unwrap();
                fs::write(run.join("checkpoint"), "x").unwrap();
            }
            _ => truncate(&run.join("events.jsonl"), 30),
        }
        sandbox.sweep(&[]).expect_code(0).expect_no_panic();
        for aside in fs::read_dir(run.join("checkpoint")).unwrap().map(|file| file.unwrap().path())
        {
            if aside.is_dir() {
                assert!(aside.join("inside").exists(), "what was set aside is all there");
            }
        }
        assert!(sandbox.results("tiny") == before, "{damage}");
        let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
        assert!(events.contains("checkpoint_refused"), "{damage} is written down: {events}");
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_of_a_run_is_set_aside() {
    let sandbox = swept();
    let before = sandbox.results("tiny");
    let run = sandbox.run_folders("tiny")[0].clone();
    let files = ["result.json", "run.json", "events.jsonl", "stdout.log", "stderr.log"];
    for file in files {
        folder_instead(&run.join(file));
    }
    sandbox.sweep(&[]).expect_code(0).expect_stderr("result.json is damaged").expect_no_panic();
    assert!(sandbox.results("tiny") == before);
    for file in files {
        assert!(run.join(format!("{file}.damaged-1/inside")).is_dir(), "{file}");
    }
}

#[test]
fn links_in_the_record_are_not_followed() {
    for name in ["lock", "journal.jsonl", "events.jsonl"] {
        let sandbox = swept();
        let run = sandbox.run_folders("tiny")[0].clone();
        fs::remove_file(run.join("result.json")).unwrap();
        sandbox.write("diary", "somebody's\n");
        let link =
            if name == "events.jsonl" { run } else { sandbox.sweep_folder("tiny") }.join(name);
        fs::remove_file(&link).unwrap();
        symlink(sandbox.path("diary"), &link).unwrap();
        let code = if name == "events.jsonl" { 100 } else { 1 };
        sandbox.sweep(&[]).expect_code(code).expect_stderr("is a link").expect_no_panic();
        assert_eq!(fs::read_to_string(sandbox.path("diary")).unwrap(), "somebody's\n", "{name}");
        fs::remove_file(&link).unwrap();
        sandbox.sweep(&[]).expect_code(0);
    }
}

#[test]
fn what_is_done_is_done_though_nobody_listens() {
    let sandbox = swept();
    let mut command = sandbox.command(&["sweep", "sweep.toml"]);
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert_eq!(command.status().unwrap().code(), Some(4));
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_not_overwritten() {
    let sandbox = swept();
    let result = sandbox.run_folders("tiny")[0].join("result.json");
    let newer =
        fs::read_to_string(&result).unwrap().replace("\"format\":1", "\"format\":9,\"x\":1");
    fs::write(&result, &newer).unwrap();
    let ran = sandbox.sweep(&[]).expect_no_panic();
    assert_eq!(fs::read_to_string(&result).unwrap(), newer, "{}", ran.stderr());
    assert!(ran.stderr().contains("update gridlane"), "{}", ran.stderr());
}

#[test]
fn a_bad_data_file_fails_its_runs_alone_and_with_the_reason() {
    let sandbox = Sandbox::new(TINY);
    let cache = sandbox.path("data/cache/cifar10");
    fs::create_dir_all(&cache).unwrap();
    for batch in 1..=5 {
        fs::write(cache.join(format!("data_batch_{batch}.bin")), vec![255; 30_730_000]).unwrap();
    }
    fs::write(cache.join("test_batch.bin"), vec![255; 30_730_000]).unwrap();
    let synthetic = "{kind=synthetic,train=64,val=32,test=32,shape=[1,8,8],classes=4}";
    let datasets = format!("dataset={synthetic},cifar10");
    sandbox.sweep(&[&datasets, "lr=0.1", "seeds=1"]).expect_code(100).expect_no_panic();
    let runs = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    let failed: Vec<_> = runs.iter().filter(|run| run["status"] == "failed").collect();
    assert_eq!((failed.len(), runs.len()), (1, 2), "{runs:?}");
    assert!(failed[0]["reason"].contains("data_batch_1.bin"), "{}", failed[0]["reason"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new(TINY);
    sandbox.write("runs", "a file where the folder should be");
    sandbox.sweep(&[]).expect_code(2).expect_no_panic().expect_stderr("runs is no folder");
}

#[test]
fn two_sweeps_do_not_share_a_folder() {
    let sandbox = Sandbox::new(&TINY.replace("epochs = 3", "epochs = 100000"));
    let mut first = sandbox.command(&["sweep", "sweep.toml", "-j", "1"]).spawn().unwrap();
    let journal = sandbox.sweep_folder("tiny").join("journal.jsonl");
    wait_until("the sweep has begun", || journal.exists());
    sandbox.sweep(&[]).expect_code(1).expect_stderr("another gridlane works here");
    first.kill().unwrap();
    first.wait().unwrap();
}

/// Sweeps on a small disk that has 40 KiB left, which is refused; then on an empty one that is full as soon
/// as the sweep has begun, until it says that it waits; then makes room.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size=4m none disk || exit 77
dd if=/dev/zero of=disk/filler bs=1k count=4056 2>/dev/null || exit 77
"$GRIDLANE" sweep sweep.toml -j 1 --runs disk 2>refused.log >/dev/null
[ $? -eq 2 ] || exit 80
rm disk/filler
"$GRIDLANE" sweep sweep.toml -j 1 --runs disk 2>err.log >out.log &
trap 'kill -9 $!' EXIT
until [ -s disk/tiny/journal.jsonl ]; do
    kill -0 $! 2>/dev/null || exit 78
    sleep 0.005
done
kill -STOP $!
dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null
kill -CONT $!
tries=0
until grep -q "room" err.log; do
    kill -0 $! 2>/dev/null || exit 78
    tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 79
    sleep 0.01
done
rm disk/filler
wait $!
code=$?
trap - EXIT
mkdir runs && cp -r disk/tiny runs/
exit $code
"#;

/// The error output of a sweep that `script` runs on a disk which it mounts; none where one may not mount.
fn on_a_small_disk(sandbox: &Sandbox, script: &str) -> Option<String> {
    let ran = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(sandbox.path(""))
        .env("GRIDLANE", env!("CARGO_BIN_EXE_gridlane"))
        .env("GRIDLANE_SLOTS", sandbox.path("slots"))
        .env("NO_COLOR", "1")
        .status();
    let code = ran.ok().and_then(|status| status.code());
    let stderr = fs::read_to_string(sandbox.path("err.log")).unwrap_or_default();
    // Without the right to mount there is no small disk: 77 is this script's own, 1 unshare's.
    if !sandbox.path("err.log").exists() && matches!(code, None | Some(1 | 77)) {
        eprintln!("skipped: no right to mount a small disk here");
        return None;
    }
    assert_eq!(code, Some(0), "{stderr}");
    Some(stderr)
}

#[test]
fn a_full_disk_pauses_the_sweep_until_there_is_room() {
    let sandbox = Sandbox::new(TINY);
    fs::create_dir(sandbox.path("disk")).unwrap();
    let Some(stderr) = on_a_small_disk(&sandbox, ON_A_SMALL_DISK) else { return };
    let refused = fs::read_to_string(sandbox.path("refused.log")).unwrap();
    assert!(refused.contains("on disk, where 40.0 KiB are free"), "{refused}");
    assert!(sandbox.results("tiny") == swept().results("tiny"), "{stderr}");
}

/// Sweeps on a small disk, with a journal whose last page is all but used up; when two runs are under way
/// the disk is full. Once the sweep says that it waits, somebody wants it to stop. Then there is room,
/// and the same command goes on.
const FULL_AT_THE_JOURNAL: &str = r#"
mount -t tmpfs -o size=8m none disk || exit 77
mkdir disk/tiny && cp journal.jsonl disk/tiny/
"$GRIDLANE" sweep sweep.toml -j 2 --runs disk 2>err.log >out.log &
trap 'kill -9 $!' EXIT
until [ "$(grep -c attempt_started disk/tiny/journal.jsonl)" -ge 2 ]; do
    kill -0 $! 2>/dev/null || exit 78
    sleep 0.005
done
dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null
tries=0
until grep -q "room" err.log; do
    kill -0 $! 2>/dev/null || exit 78
    tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 79
    sleep 0.01
done
kill -INT $!
tries=0
while kill -0 $! 2>/dev/null; do
    tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 80
    sleep 0.01
done
wait $!
[ $? -eq 130 ] || exit 81
trap - EXIT
! grep -q sweep_ended disk/tiny/journal.jsonl || exit 83
rm disk/filler
"$GRIDLANE" sweep sweep.toml -j 2 --runs disk 2>>err.log >out.log || exit 82
mkdir runs && cp -r disk/tiny runs/
"#;

#[test]
fn a_disk_that_is_full_at_the_journal_leaves_signals_their_word() {
    let long = TINY.replace("train = 64", "train = 20000").replace("epochs = 3", "epochs = 12");
    let undisturbed = Sandbox::new(&long);
    let journal = undisturbed.sweep_folder("tiny").join("journal.jsonl");
    let mut command = undisturbed.command(&["sweep", "sweep.toml", "-j", "2"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = || fs::read_to_string(&journal).unwrap_or_default();
    wait_until("two runs are under way", || started().matches("attempt_started").count() == 2);
    let begins_with = started().len();
    assert!(child.wait().unwrap().success());

    // Half of the shortest line is left of the page then.
    const LEFT: usize = 50;
    let sandbox = Sandbox::new(&long);
    fs::create_dir(sandbox.path("disk")).unwrap();
    let seed = sandbox.path("journal.jsonl");
    let length = |reason: usize| {
        let _ = fs::remove_file(&seed);
        let mut writer = LineWriter::open(&seed).unwrap().0;
        let reason = Some("x".repeat(reason));
        let outcome = "crashed".to_owned();
        let run_id = RunId::of(b"none");
        writer
            .append(&JournalEntry::AttemptEnded { run_id, attempt: 1, outcome, reason, at: 0.0 })
            .unwrap();
        writer.length() as usize
    };
    let wanted = 2 * 4096 - LEFT - begins_with;
    let more = wanted - length(0);
    assert_eq!(length(more), wanted);
    let Some(stderr) = on_a_small_disk(&sandbox, FULL_AT_THE_JOURNAL) else { return };
    assert!(stderr.contains("the journal lacks its last"), "{stderr}");
    assert!(sandbox.results("tiny") == undisturbed.results("tiny"), "{stderr}");
}
