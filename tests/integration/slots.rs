//! Cores that sweeps lease from one machine, GPUs that are not there, and what a plan says of both.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::sandbox::{Ran, Sandbox, TINY, workers_of};
use crate::signals::wait_until;

const ONE_CORE: &str = "cores = 1\nmemory_gib = 4\n";

/// A sweep that lasts until it is killed.
fn endless() -> String {
    TINY.replace("epochs = 3", "epochs = 1000000")
}

#[test]
fn a_second_sweep_waits_for_the_first_ones_core_and_gets_it_when_that_is_killed() {
    let (first, second) = (Sandbox::new(&endless()), Sandbox::new(TINY));
    for sandbox in [&first, &second] {
        sandbox.write("machine.toml", ONE_CORE);
    }
    let arguments = ["sweep", "sweep.toml", "--inventory", "machine.toml"];
    let slots = first.path("slots");
    let command = |sandbox: &Sandbox| {
        let mut command = sandbox.command(&arguments);
        command.env("GRIDLANE_SLOTS", &slots).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let mut holder = command(&first).spawn().unwrap();
    wait_until("the first sweep trains", || !workers_of(&first.path("")).is_empty());
    let mut waiter = command(&second).spawn().unwrap();
    let mut said = BufReader::new(waiter.stderr.take().unwrap()).lines();
    let waits = format!("waiting for 1 core: another gridlane (process {}) has them", holder.id());
    assert!(said.any(|line| line.unwrap().starts_with(&waits)), "it does not say: {waits}");
    assert_eq!(workers_of(&second.path("")), [] as [u32; 0]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    assert_eq!(waiter.wait().unwrap().code(), Some(0), "{rest:?}");
    assert_eq!(second.run_folders("tiny").len(), 4);
}

#[test]
fn a_sweep_on_a_folder_of_locks_that_cannot_be_made_says_so_and_goes_on() {
    let sandbox = Sandbox::new(TINY);
    fs::write(sandbox.path("file"), "").unwrap();
    let mut command = sandbox.command(&["sweep", "sweep.toml", "-j", "2"]);
    let output = command.env("GRIDLANE_SLOTS", sandbox.path("file/slots")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("cannot keep leases in "), "{stderr}");
}

#[test]
fn more_runs_at_a_time_than_cores_share_them() {
    let sandbox = Sandbox::new(TINY);
    sandbox.write("machine.toml", ONE_CORE);
    let arguments = ["sweep", "sweep.toml", "-j", "4", "--inventory", "machine.toml"];
    sandbox.run(&arguments).expect_code(0).expect_stderr("4 runs to do, 4 at a time");
}

#[test]
fn a_plan_says_how_long_it_takes_on_a_machine_that_is_not_there() {
    let sandbox = Sandbox::new(TINY);
    sandbox.write("machine.toml", "cores = 8\nmemory_gib = 4\n");
    let arguments = ["plan", "sweep.toml", "--inventory", "machine.toml"];
    let ran = sandbox.run(&arguments).expect_code(0).expect_stdout("slots: 8 cores\n");
    ran.expect_stdout("forecast: roughly ").expect_stdout("nothing comparable has run here yet");
    sandbox.sweep(&["lr=0.2"]).expect_code(0);
    let ran = sandbox.run(&arguments).expect_code(0);
    ran.expect_stdout("from 2 finished runs of this sweep and each run's arithmetic");
    let ran = sandbox.run(&[&arguments[..], &["--json"]].concat()).expect_code(0);
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout()).unwrap();
    assert_eq!(plan["forecast"]["runs"], 2);
    assert_eq!(plan["forecast"]["slots"], "8 cores");
    assert!(plan["forecast"]["total_s"].as_f64().unwrap() > 0.0);
    let expected = plan["runs"].as_array().unwrap().iter().filter(|run| run["expected_s"].is_f64());
    assert_eq!(expected.count(), 2, "of those to execute");
}

#[test]
fn gpus_that_are_not_there_are_refused_before_anything_starts() {
    let sandbox = Sandbox::new(TINY);
    sandbox.write("machine.toml", ONE_CORE);
    let described = ["--inventory", "machine.toml"];
    let sweep = |more: &[&str]| {
        let arguments = [&["sweep", "sweep.toml"], &described[..], more].concat();
        sandbox.run(&arguments).expect_code(2).expect_no_panic()
    };
    sweep(&["device=cuda"])
        .expect_stderr("device = \"cuda\" needs a GPU, and this machine has none")
        .expect_stderr("libnvidia-ml.so.1");
    sweep(&["precision=f32,bf16"])
        .expect_stderr("precision=bf16")
        .expect_stderr("precision = \"bf16\" needs a GPU, and this machine has none")
        .expect_stderr("take precision = \"f32\" here");
    sweep(&["precision=tf32", "device=cpu"])
        .expect_stderr("precision = \"tf32\" is for GPUs, device = \"cpu\" computes in f32");
    sweep(&["--devices", "0"]).expect_stderr("there is no GPU 0: this machine has none");
    sweep(&["--devices", "x"]).expect_stderr("chooses no devices");
    // With kernels for GPUs the described ones are tried.
    if !cfg!(feature = "cuda") {
        let gpu = "cores = 1\nmemory_gib = 4\n[[gpu]]\nname = \"X\"\nmemory_gib = 16";
        sandbox.write("machine.toml", gpu);
        sweep(&[]).expect_stderr("this program has no kernels for the GPUs of the inventory");
    }
    sandbox.write("machine.toml", "cores = 0\nmemory_gib = 1\n");
    sweep(&[]).expect_stderr("cores = 0 is not between 1 and 65536");
    assert!(!sandbox.sweep_folder("tiny").exists());
}

/// A driver's library that pretends; none where there is no C compiler.
fn pretended_driver(sandbox: &Sandbox) -> bool {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvml/library.c");
    let library = sandbox.path("libnvidia-ml.so.1");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    let Ok(status) = compiler.status() else {
        eprintln!("there is no C compiler: the driver's library is not tested");
        return false;
    };
    assert!(status.success());
    true
}

#[test]
fn gpus_are_those_of_the_drivers_library() {
    let sandbox = Sandbox::new(TINY);
    if !pretended_driver(&sandbox) {
        return;
    }
    let run = |arguments: &[&str], variable: (&str, &str)| {
        let mut command = sandbox.command(arguments);
        command.env_remove("CUDA_VISIBLE_DEVICES").env("LD_LIBRARY_PATH", sandbox.path(""));
        Ran(command.env(variable.0, variable.1).output().unwrap()).expect_no_panic()
    };
    let plan = ["plan", "sweep.toml"];
    // With kernels for GPUs they are slots; without, a person is told that they are not used.
    let said = |arguments: &[&str], variable| {
        let ran = run(arguments, variable).expect_code(0);
        format!("{}{}", ran.stdout(), ran.stderr())
    };
    assert!(said(&plan, ("UNUSED", "")).contains("2 x Pretended (15.0 GiB free)"));
    assert!(said(&plan, ("CUDA_VISIBLE_DEVICES", "GPU-b")).contains("1 x Pretended"));
    let chosen = ["plan", "sweep.toml", "--devices", "1"];
    assert!(said(&chosen, ("UNUSED", "")).contains("1 x Pretended"));
    let chosen = ["plan", "sweep.toml", "--devices", "2"];
    run(&chosen, ("UNUSED", "")).expect_code(2).expect_stderr("no GPU 2: this machine has 0, 1");
    let unknown = run(&plan, ("CUDA_VISIBLE_DEVICES", "1,7")).expect_code(0);
    unknown.expect_stderr("CUDA_VISIBLE_DEVICES=1,7: 7 is no GPU of this machine");
    assert!(said(&plan, ("DIVIDED", "1")).contains("1 x Part (4.0 GiB free)"));
    run(&plan, ("DIVIDED", "1")).expect_stderr("a program sees one part alone: Part (MIG-a)");
    let cuda = ["plan", "sweep.toml", "device=cuda"];
    run(&cuda, ("CUDA_VISIBLE_DEVICES", "-1"))
        .expect_code(2)
        .expect_stderr("needs a GPU, and CUDA_VISIBLE_DEVICES=-1 hides those of this machine");
    run(&cuda, ("BROKEN_DRIVER", "1"))
        .expect_code(2)
        .expect_stderr("needs a GPU, and this machine's driver does not work: ");
    run(&[&cuda[..], &["--devices", "none"]].concat(), ("UNUSED", ""))
        .expect_code(2)
        .expect_stderr("needs a GPU, and --devices none leaves those of this machine out");
    if cfg!(feature = "cuda") {
        let ran = run(&plan, ("UNUSED", "")).expect_code(0);
        ran.expect_stderr(
            "cuda:1 (Pretended) is in use: process 42 has 1.0 GiB; 15.0 GiB of 16.0 GiB",
        );
    }
    let broken = run(&plan, ("BROKEN_DRIVER", "1")).expect_code(0);
    broken
        .expect_stderr("GPUs are not used: libnvidia-ml.so.1 is here, but the driver does not work")
        .expect_stdout("slots: ");
    if !cfg!(feature = "cuda") {
        let asked = ["plan", "sweep.toml", "device=cuda"];
        run(&asked, ("UNUSED", "")).expect_code(2).expect_stderr("kernels for GPUs");
    }
}
