//! A sweep on a cluster, whose Slurm is four scripts (`tests/fixtures/slurm/`): jobs are processes of this
//! machine, and Slurm can be slow, silent, forgetful or wrong. `.ci/slurm-test` has the real one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::sandbox::{Ran, Sandbox, TINY, workers_of};
use crate::signals::{signal, wait_until};

/// A sweep long enough to be caught in the middle, and no longer.
fn long() -> String {
    TINY.replace("train = 64", "train = 6000")
        .replace("epochs = 3", "epochs = 120")
        // None diverges: that ends a run early, with the checkpoint that came last, which another one that
        // was stopped on the way has elsewhere.
        .replace("lr = [0.05, 0.2]", "lr = [0.02, 0.05]")
        .replace("hidden = [16]", "hidden = [64]")
}

/// A sandbox with a cluster.
struct Cluster {
    sandbox: Sandbox,
}

impl Cluster {
    /// With this sweep file and this behaviour of `sbatch`, a word for each call.
    fn new(sweep_file: &str, modes: &[&str]) -> Self {
        let sandbox = Sandbox::new(sweep_file);
        fs::create_dir(sandbox.path("slurm")).unwrap();
        let cluster = Self { sandbox };
        cluster.behave(modes);
        cluster
    }

    fn behave(&self, modes: &[&str]) {
        self.sandbox.write("slurm/mode", &(modes.join("\n") + "\n"));
    }

    fn programs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/slurm")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", Self::programs().display()))
            .env("FAKE_SLURM", self.sandbox.path("slurm"))
            // As from inside another job.
            .env("SLURM_JOB_ID", "4711")
            .env("SLURM_ARRAY_TASK_ID", "9")
            .env_remove("GRIDLANE_SLOTS");
        command
    }

    fn sweep_command(&self, arguments: &[&str]) -> Command {
        let fixed = ["sweep", "sweep.toml", "--slurm", "--pilots", "2", "--poll", "100ms"];
        let lease: &[&str] = if arguments.contains(&"--lease") { &[] } else { &["--lease", "3s"] };
        self.command(&[&fixed, lease, arguments].concat())
    }

    fn sweep(&self, arguments: &[&str]) -> Ran {
        Ran(self.sweep_command(arguments).output().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.sweep_command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts it, and waits until both pilots have a run.
    fn start_work(&self) -> Child {
        let child = self.start(&[]);
        wait_until("both pilots have a run", || self.attempts().len() == 2);
        child
    }

    /// What was asked of `sbatch`, call by call.
    fn submissions(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.sandbox.path("slurm/sbatch.calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Processes of pilots that run.
    fn pilots(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.sandbox.path("slurm")).unwrap().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "pid") {
                let pid = fs::read_to_string(&path).unwrap_or_default();
                let Ok(pid) = pid.trim().parse::<u32>() else { continue };
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                if String::from_utf8_lossy(&line).contains("pilot") {
                    found.push(pid);
                }
            }
        }
        found
    }

    /// How often each run came to its result, by the journals of all pilots.
    fn results(&self) -> BTreeMap<String, usize> {
        let mut results = BTreeMap::new();
        let pilots = fs::read_dir(self.sandbox.sweep_folder("tiny").join("pilots")).unwrap();
        for pilot in pilots.flatten() {
            let journal =
                fs::read_to_string(pilot.path().join("journal.jsonl")).unwrap_or_default();
            for line in journal.lines() {
                let act: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
                if act["outcome"] == "result" {
                    *results.entry(act["run_id"].as_str().unwrap().to_owned()).or_default() += 1;
                }
            }
        }
        results
    }

    fn attempts(&self) -> Vec<PathBuf> {
        let attempts = fs::read_dir(self.sandbox.sweep_folder("tiny").join("attempts"));
        attempts.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// The results are those of a sweep on one machine.
    #[track_caller]
    fn expect_same_results_as(&self, local: &Sandbox) {
        let (found, expected) = (self.sandbox.results("tiny"), local.results("tiny"));
        for (name, bytes) in &expected {
            assert!(found.get(name) == Some(bytes), "{name} differs");
        }
        assert_eq!(found.len(), expected.len());
    }

    /// The same, each run has come to its own once, and nothing is left under way.
    #[track_caller]
    fn expect_results_of(&self, local: &Sandbox, runs: usize) {
        self.expect_same_results_as(local);
        let results = self.results();
        assert!(results.len() == runs && results.values().all(|n| *n == 1), "{results:?}");
        assert_eq!(self.attempts(), [] as [PathBuf; 0]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for pid in self.pilots() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

fn local(sweep_file: &str) -> Sandbox {
    let sandbox = Sandbox::new(sweep_file);
    sandbox.sweep(&[]).expect_code(0);
    sandbox
}

/// Ctrl-C for whoever watches, who leaves the jobs alone.
#[track_caller]
fn leave(child: Child) -> Ran {
    signal(child.id(), "INT");
    Ran(child.wait_with_output().unwrap()).expect_code(130)
}

#[test]
fn a_sweep_on_a_cluster_comes_to_what_it_comes_to_on_one_machine() {
    let cluster = Cluster::new(TINY, &["ok"]);
    let ran = cluster.sweep(&["--partition", "gpu", "--time", "1:00:00"]).expect_code(0);
    assert!(ran.stderr().contains("submitted 2 jobs as gridlane-tiny-"), "{}", ran.stderr());
    cluster.expect_results_of(&local(TINY), 4);
    let [call] = cluster.submissions().try_into().unwrap();
    for word in ["--parsable", "--array=0-1", "--requeue", "--partition=gpu", "--time=1:00:00"] {
        assert!(call.split(' ').any(|other| other == word), "{word} in {call}");
    }
    let seen = fs::read_to_string(cluster.sandbox.path("slurm/sbatch.env")).unwrap();
    assert_eq!(seen, "", "what a surrounding job says stays outside");
    cluster.sweep(&[]).expect_code(4).expect_stdout("nothing to do");
    // And back on one machine.
    cluster.sandbox.sweep(&[]).expect_code(4);
}

#[test]
fn a_submission_that_times_out_and_was_heard_is_not_repeated() {
    let cluster = Cluster::new(TINY, &["timeout"]);
    cluster.sweep(&[]).expect_code(0);
    assert_eq!(cluster.submissions().len(), 1);
    cluster.expect_results_of(&local(TINY), 4);
}

#[test]
fn a_submission_that_was_not_heard_is_repeated_under_the_same_name() {
    let cluster = Cluster::new(TINY, &["unheard", "ok"]);
    cluster.sweep(&[]).expect_code(0);
    let [first, second] = cluster.submissions().try_into().unwrap();
    assert_eq!(first, second);
}

#[test]
fn jobs_that_vanish_are_replaced_and_those_that_are_forgotten_are_not_missed() {
    let cluster = Cluster::new(TINY, &["vanish", "ok"]);
    cluster.sandbox.write("slurm/forgetful", "");
    let ran = cluster.sweep(&[]).expect_code(0);
    assert!(ran.stderr().contains("pilots are gone and runs are left"), "{}", ran.stderr());
    cluster.expect_results_of(&local(TINY), 4);
}

#[test]
fn a_slurm_that_falls_silent_ends_no_sweep() {
    let cluster = Cluster::new(&long(), &["ok"]);
    cluster.sandbox.write("slurm/silent", "1000000");
    let ran = cluster.sweep(&[]).expect_code(0);
    assert_eq!(cluster.submissions().len(), 1, "{}", ran.stderr());
}

#[test]
fn pilots_that_cannot_start_are_given_up_with_the_reason() {
    let cluster = Cluster::new(TINY, &["break"]);
    let ran = cluster.sweep(&[]).expect_code(1).expect_no_panic();
    assert!(ran.stderr().contains("3 submissions in a row came to nothing"), "{}", ran.stderr());
    assert!(ran.stderr().contains("it failed (FAILED)"), "{}", ran.stderr());
    assert_eq!(cluster.submissions().len(), 3);
    let cluster = Cluster::new(TINY, &["complain"]);
    let ran = cluster.sweep(&[]).expect_code(1).expect_no_panic();
    insta::assert_snapshot!("slurm_gives_up", without_start(&ran.stderr()));
}

#[test]
fn what_slurm_would_refuse_is_told_before_anything_is_submitted() {
    let cluster = Cluster::new(TINY, &["ok"]);
    cluster.sandbox.write(
        "slurm/objection",
        "sbatch: error: invalid partition specified: gpuu\nallocation failure: Invalid partition name specified\n",
    );
    let ran = cluster.sweep(&["--partition", "gpuu"]).expect_code(2);
    insta::assert_snapshot!("slurm_would_refuse", without_start(&ran.stderr()));
    let no_node = "allocation failure: Requested node configuration is not available\n";
    cluster.sandbox.write("slurm/objection", no_node);
    let ran = cluster.sweep(&["--cpus", "99", "--mem", "64G"]).expect_code(2);
    insta::assert_snapshot!("slurm_has_no_such_node", without_start(&ran.stderr()));
    assert_eq!(cluster.submissions(), [] as [String; 0]);
    // The same words where nodes are only down: they come back.
    let ran = cluster.sweep(&["--cpus", "2"]).expect_code(0);
    ran.expect_stderr("Slurm could not start such a job now (Requested node configuration");
}

#[test]
fn programs_of_slurm_that_know_no_cluster_submit_nothing() {
    let cluster = Cluster::new(TINY, &["ok"]);
    cluster.sandbox.write("slurm/nowhere", "");
    let ran = cluster.sweep(&[]).expect_code(2);
    insta::assert_snapshot!("slurm_knows_no_cluster", without_start(&ran.stderr()));
    assert!(!ran.stderr().contains("nodes may be down"), "{}", ran.stderr());
    assert_eq!(cluster.submissions(), [] as [String; 0]);
    let status = Ran(cluster.command(&["status", "tiny"]).output().unwrap()).expect_code(0);
    assert!(!status.stdout().contains("Slurm"), "{}", status.stdout());
    // Nothing keeps one machine from it.
    Ran(cluster.command(&["sweep", "sweep.toml"]).output().unwrap()).expect_code(0);
    let doctor = Ran(cluster.command(&["doctor"]).output().unwrap());
    doctor.expect_stdout("finds no cluster");
}

#[test]
fn an_answer_that_got_lost_is_looked_for_also_by_who_was_stopped_meanwhile() {
    let cluster = Cluster::new(TINY, &["gone"]);
    let child = cluster.start(&[]);
    wait_until("it is offered", || cluster.sandbox.path("slurm/nowhere").exists());
    signal(child.id(), "TERM");
    let left = Ran(child.wait_with_output().unwrap()).expect_code(130);
    assert!(!left.stderr().contains("detached"), "{}", left.stderr());
    left.expect_stderr("stopped before Slurm said whether it has the jobs");
    // As long as nobody can say whether there are jobs, nobody else may begin.
    let local = || Ran(cluster.command(&["sweep", "sweep.toml"]).output().unwrap());
    local().expect_code(1).expect_stderr("whether jobs are left cannot be found out");
    cluster.sweep(&[]).expect_code(2).expect_stderr("finds no cluster");
    assert_eq!(cluster.submissions().len(), 1);
    fs::remove_file(cluster.sandbox.path("slurm/nowhere")).unwrap();
    local().expect_code(0);
}

#[test]
fn jobs_are_submitted_in_arrays_as_large_as_the_cluster_takes() {
    let cluster = Cluster::new(TINY, &["ok"]);
    cluster.sandbox.write("slurm/most", "1");
    cluster.sweep(&[]).expect_code(0);
    let calls = cluster.submissions();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.contains("--array=0-0")), "{calls:?}");
    assert!(calls[0] != calls[1], "under names of their own");
    cluster.expect_results_of(&local(TINY), 4);
}

#[test]
fn jobs_whose_time_is_over_before_any_run_gets_further_are_given_up() {
    let cluster = Cluster::new(TINY, &["ok"]);
    cluster.sandbox.write("slurm/limit", "0:30|0:01");
    let ran = cluster.sweep(&[]).expect_code(1).expect_no_panic();
    insta::assert_snapshot!("slurm_time_is_too_short", without_start(&ran.stderr()));
    assert_eq!(cluster.submissions().len(), 1, "{}", ran.stderr());
    wait_until("both have given up", || cluster.pilots().is_empty());
    let status = Ran(cluster.command(&["slurm", "status", "tiny"]).output().unwrap());
    status.expect_code(0).expect_stdout("given up: no run got any further in 3 jobs in a row");
    // With time enough, all is as ever.
    fs::remove_file(cluster.sandbox.path("slurm/limit")).unwrap();
    cluster.sweep(&[]).expect_code(0);
    cluster.expect_results_of(&local(TINY), 4);
}

#[test]
fn a_run_that_gets_further_with_each_job_goes_on_under_a_short_limit() {
    // Several jobs' time, also where code is optimised.
    let sweep_file = long().replace("epochs = 120", "epochs = 400");
    let cluster = Cluster::new(&sweep_file, &["ok"]);
    cluster.sandbox.write("slurm/limit", "0:30|0:12");
    cluster.sweep(&[]).expect_code(0);
    let requeued = fs::read_to_string(cluster.sandbox.path("slurm/requeue.calls")).unwrap();
    assert!(requeued.lines().count() > 1, "{requeued}");
    // The number of one job of an array is that of the whole array as well.
    assert!(requeued.lines().all(|job| job.contains('_')), "{requeued}");
    assert_eq!(cluster.submissions().len(), 1);
    cluster.expect_results_of(&local(&sweep_file), 4);
}

#[test]
fn pilots_that_slurm_does_not_know_are_not_worked_against() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start_work();
    leave(child);
    // Those of another user, or of another cluster.
    cluster.sandbox.write("slurm/blind", "");
    for arguments in [&["--slurm"][..], &[]] {
        let mut command = cluster.command(&[&["sweep", "sweep.toml"], arguments].concat());
        let ran = Ran(command.output().unwrap()).expect_code(1);
        ran.expect_stderr("is at work, though Slurm lists no job of it here");
    }
    fs::remove_file(cluster.sandbox.path("slurm/blind")).unwrap();
    let back = cluster.sweep(&[]).expect_code(0);
    back.expect_stderr("attached to 2 jobs");
    cluster.expect_results_of(&local(&long()), 4);
}

/// A disk that is full for longer than a lease, while two pilots are at work on it.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size=32m none disk || exit 77
timeout 100 "$GRIDLANE" sweep sweep.toml --slurm --pilots 2 --poll 100ms --lease 2s --runs disk 2>err.log >out.log &
tries=0
until [ "$(cat disk/tiny/attempts/*/events.jsonl 2>/dev/null | grep -c '"event":"epoch"')" -gt 3 ]; do
    kill -0 $! 2>/dev/null || exit 78
    tries=$((tries + 1)); [ $tries -lt 3000 ] || exit 79
    sleep 0.01
done
for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
    dd if=/dev/zero of=disk/filler-$try bs=512 count=90000 2>/dev/null
    sleep 0.5
done
rm disk/filler-*
wait $!
code=$?
mkdir runs && cp -r disk/tiny runs/
exit $code
"#;

#[test]
fn a_full_disk_makes_nobody_think_that_pilots_are_gone() {
    let cluster = Cluster::new(&long(), &["ok"]);
    fs::create_dir(cluster.sandbox.path("disk")).unwrap();
    let command = cluster.command(&[]);
    let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
    let mut small = Command::new("unshare");
    small
        .args(["--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK])
        .current_dir(cluster.sandbox.path(""))
        .env("PATH", path)
        .env("FAKE_SLURM", cluster.sandbox.path("slurm"))
        .env("GRIDLANE", env!("CARGO_BIN_EXE_gridlane"))
        .env_remove("GRIDLANE_SLOTS");
    let code = small.status().ok().and_then(|status| status.code());
    let stderr = fs::read_to_string(cluster.sandbox.path("err.log")).unwrap_or_default();
    if !cluster.sandbox.path("err.log").exists() && matches!(code, None | Some(1 | 77)) {
        eprintln!("skipped: no right to mount a small disk here");
        return;
    }
    assert_eq!(code, Some(0), "{stderr}");
    let claims = cluster.sandbox.run_folders("tiny").into_iter().map(|run| {
        let claim = fs::read_to_string(run.join("claim.json")).unwrap();
        serde_json::from_str::<Value>(&claim).unwrap()["lost"].as_u64().unwrap()
    });
    assert_eq!(claims.collect::<Vec<_>>(), [0; 4], "nobody was taken for dead: {stderr}");
    cluster.expect_results_of(&local(&long()), 4);
}

#[test]
fn what_slurm_refuses_and_a_machine_without_slurm_are_told_with_advice() {
    let cluster = Cluster::new(TINY, &["refuse"]);
    let ran = cluster.sweep(&["--partition", "gpuu"]).expect_code(2);
    insta::assert_snapshot!("slurm_refuses", without_start(&ran.stderr()));
    cluster.behave(&["ok"]);
    cluster.sweep(&[]).expect_code(0);
    let bare = Sandbox::new(TINY);
    let mut command = bare.command(&["sweep", "sweep.toml", "--slurm"]);
    let ran = Ran(command.env("PATH", bare.path("")).output().unwrap()).expect_code(2);
    insta::assert_snapshot!("slurm_is_missing", without_start(&ran.stderr()));
}

/// The message of an error, without the lines of progress above it.
fn without_start(stderr: &str) -> String {
    let from = stderr.find("  x ").or_else(|| stderr.find("  × ")).unwrap_or(0);
    stderr[from..].trim_end().to_owned()
}

#[test]
fn ctrl_c_leaves_the_jobs_alone_and_the_same_command_comes_back() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start_work();
    let output = leave(child);
    assert!(output.stderr().contains("detached: the jobs go on by themselves"));
    assert_eq!(cluster.pilots().len(), 2);
    let refused = cluster.command(&["sweep", "sweep.toml"]).output().unwrap();
    Ran(refused).expect_code(1).expect_stderr("under way on a Slurm cluster");
    let status = Ran(cluster.command(&["slurm", "status", "tiny"]).output().unwrap());
    status.expect_code(0).expect_stdout("running on node0, 1 run");
    let back = cluster.sweep(&["--time", "2:00:00"]).expect_code(0);
    let back = back.expect_stderr("attached to 2 jobs");
    back.expect_stderr("the jobs that are there keep what they were submitted with");
    assert_eq!(cluster.submissions().len(), 1);
    cluster.expect_results_of(&local(&long()), 4);
}

#[test]
fn a_killed_pilot_is_replaced_and_its_run_goes_on() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start(&[]);
    let epochs = |run: &PathBuf| {
        let events = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
        events.contains("\"event\":\"epoch\"")
    };
    wait_until("both runs have a checkpoint", || {
        cluster.attempts().iter().filter(|run| epochs(run)).count() == 2
    });
    let pilot = cluster.pilots()[0];
    signal(pilot, "KILL");
    wait_until("it is gone", || !cluster.pilots().contains(&pilot));
    let his = |run: &&PathBuf| {
        let claim = fs::read_to_string(run.join("claim.json")).unwrap_or_default();
        claim.contains(&format!("-{pilot}\"")) && run.join("checkpoint/state.json").exists()
    };
    let his = cluster.attempts().iter().filter(his).count();
    let output = Ran(child.wait_with_output().unwrap()).expect_code(0);
    assert!(output.stderr().contains("it failed (FAILED)"), "{}", output.stderr());
    assert_eq!(cluster.submissions().len(), 2, "{}", output.stderr());
    assert!(cluster.submissions()[1].contains("--array=0-0"));
    let goes_on = |run: &PathBuf| {
        let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
        let begun = events.lines().filter(|line| line.contains("\"event\":\"started\""));
        begun.skip(1).any(|line| !line.contains("\"resumed_at_step\":0,"))
    };
    let runs = cluster.sandbox.run_folders("tiny");
    assert_eq!(runs.iter().filter(|run| goes_on(run)).count(), his, "from its checkpoint");
    cluster.expect_results_of(&local(&long()), 4);
    assert_eq!(workers_of(&cluster.sandbox.path("")), [] as [u32; 0]);
}

#[test]
fn a_sweep_that_has_changed_under_its_jobs_is_told() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start_work();
    leave(child).expect_no_panic();
    let changed = "0 runs are new to them, 2 that they know are no longer in it";
    let child = cluster.start(&["seeds=1"]);
    let status = || Ran(cluster.command(&["slurm", "status", "tiny"]).output().unwrap());
    wait_until("status tells it as well", || status().stdout().contains(changed));
    leave(child).expect_stderr(changed);
    // And for as long as it holds, whoever comes back.
    status().expect_code(0).expect_stdout(changed);
    let back = cluster.sweep(&["seeds=1"]).expect_code(0);
    back.expect_stderr(changed);
    assert!(!status().stdout().contains(changed), "their jobs have ended");
}

#[test]
fn what_slurm_refuses_while_others_work_ends_nothing() {
    let cluster = Cluster::new(&long(), &["ok", "refuse", "ok"]);
    let child = cluster.start_work();
    signal(cluster.pilots()[0], "KILL");
    let output = Ran(child.wait_with_output().unwrap()).expect_code(0);
    output.expect_stderr("no job was added: Slurm refuses");
    cluster.expect_results_of(&local(&long()), 4);
}

#[test]
fn a_cancelled_sweep_is_gone_on_with_on_one_machine() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start_work();
    let cancelled = Ran(cluster.command(&["slurm", "cancel", "tiny"]).output().unwrap());
    cancelled.expect_code(0).expect_stdout("2 jobs asked to stop");
    Ran(child.wait_with_output().unwrap()).expect_code(130);
    wait_until("no pilot is left", || cluster.pilots().is_empty());
    // Other sweeps of this machine are not to be waited for.
    let mut here = cluster.command(&["sweep", "sweep.toml"]);
    let ran = here.env("GRIDLANE_SLOTS", cluster.sandbox.path("slots")).output().unwrap();
    Ran(ran).expect_code(0);
    cluster.expect_same_results_as(&local(&long()));
}

#[test]
fn a_cancel_that_slurm_does_not_hear_changes_nothing() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start_work();
    cluster.sandbox.write("slurm/silent", "1000000");
    let cancelled = Ran(cluster.command(&["slurm", "cancel", "tiny"]).output().unwrap());
    cancelled.expect_code(1).expect_stderr("no clear answer from Slurm");
    cluster.sandbox.write("slurm/silent", "0");
    Ran(child.wait_with_output().unwrap()).expect_code(0);
    cluster.expect_results_of(&local(&long()), 4);
}

#[test]
fn a_pilot_whose_time_is_up_goes_back_into_the_queue() {
    let cluster = Cluster::new(&long(), &["ok"]);
    let child = cluster.start_work();
    signal(cluster.pilots()[0], "USR1");
    Ran(child.wait_with_output().unwrap()).expect_code(0);
    assert_eq!(cluster.submissions().len(), 1);
    let logs = fs::read_dir(cluster.sandbox.sweep_folder("tiny").join("pilots")).unwrap().flatten();
    let logs: String = logs.filter_map(|log| fs::read_to_string(log.path()).ok()).collect();
    assert_eq!(logs.matches("this job goes back into the queue").count(), 1, "{logs}");
    cluster.expect_results_of(&local(&long()), 4);
}

#[test]
fn two_copies_of_every_job_at_once_do_nothing_twice() {
    let cluster = Cluster::new(&long(), &["idle"]);
    let child = cluster.start(&[]);
    wait_until("it is submitted", || cluster.submissions().len() == 1);
    let folder = cluster.sandbox.sweep_folder("tiny");
    let copy = || {
        let mut command = cluster.command(&["pilot", &folder.display().to_string()]);
        command.env("SLURM_ARRAY_JOB_ID", "17").env("SLURM_ARRAY_TASK_ID", "0");
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let copies: Vec<Child> = (0..4).map(|_| copy()).collect();
    Ran(child.wait_with_output().unwrap()).expect_code(0);
    for mut copy in copies {
        assert!(copy.wait().unwrap().success());
    }
    cluster.expect_results_of(&local(&long()), 4);
}

/// More places than a tiny sweep has.
const TOO_MANY: usize = 400;

#[test]
fn a_pilot_killed_at_any_place_loses_and_repeats_nothing() {
    let sweep_file = TINY.replace("seeds = 2", "seeds = 1");
    let expected = local(&sweep_file);
    for place in 1..TOO_MANY {
        let cluster = Cluster::new(&sweep_file, &["idle"]);
        let child = cluster.start(&["--lease", "200ms"]);
        wait_until("it is submitted", || cluster.submissions().len() == 1);
        leave(child);
        let folder = cluster.sandbox.sweep_folder("tiny").display().to_string();
        let mut crashing = cluster.command(&["pilot", &folder]);
        let place_name = format!("dispatcher:{place}");
        let crashed = Ran(crashing.env("GRIDLANE_CRASH_AT", &place_name).output().unwrap());
        let got_through = crashed.code() == Some(0);
        if !got_through {
            Ran(cluster.command(&["pilot", &folder]).output().unwrap())
                .expect_code(0)
                .expect_no_panic();
            let board = cluster.command(&["leaderboard", "tiny"]).output().unwrap();
            Ran(board).expect_code(0);
        }
        assert_eq!(workers_of(&cluster.sandbox.path("")), [] as [u32; 0], "{place} left workers");
        let (found, expected) = (cluster.sandbox.results("tiny"), expected.results("tiny"));
        assert!(found == expected, "{place_name} changed results");
        if got_through {
            eprintln!("killed at each of {} places, all results as if undisturbed", place - 1);
            assert!(place > 20, "only {place} places were found: the test does not test");
            return;
        }
    }
    panic!("more than {TOO_MANY} places");
}
