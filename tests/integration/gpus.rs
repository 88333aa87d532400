//! Runs on several GPUs, with a driver, a cuBLAS and an NCCL that pretend: the engine's own fakes, on
//! the host's memory. All is real but for what a GPU does: processes, devices, kernels' arguments,
//! the order in which things are queued, and what happens when a rank dies or hangs.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::ranks::{failure_of, long, results, trains};
use crate::sandbox::{Ran, Sandbox, TINY, read_csv, workers_of};
use crate::signals::wait_until;

const TWO_GPUS: &str =
    "cores = 4\nmemory_gib = 4\n[[gpu]]\nname = \"fake\"\nmemory_gib = 4\ncount = 2\n";

fn compiler(arguments: &[&str], out: &Path) -> bool {
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned()));
    let strict = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC"];
    match command.args(strict).args(arguments).arg("-o").arg(out).status() {
        Ok(status) => {
            assert!(status.success());
            true
        }
        Err(_) => false,
    }
}

/// The libraries that pretend; none where there is no C++ compiler.
fn libraries() -> Option<PathBuf> {
    static MADE: OnceLock<Option<TempDir>> = OnceLock::new();
    let make = || {
        let device = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/train/device");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut entries = String::new();
        for file in fs::read_dir(device.join("kernels")).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "cu") {
                let text = fs::read_to_string(file).unwrap();
                let kernels = text.lines().filter_map(|line| line.strip_prefix("KERNEL "));
                kernels.for_each(|kernel| {
                    writeln!(entries, "ENTRY({})", kernel.split('(').next().unwrap()).unwrap();
                });
            }
        }
        fs::write(path("entries.inc"), entries).unwrap();
        let includes =
            [folder.path(), &device.join("kernels")].map(|f| format!("-I{}", f.display()));
        for (source, libraries) in [
            ("driver.cpp", &["libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13"][..]),
            ("nccl.cpp", &["libnccl.so.2"]),
        ] {
            let (object, source) = (path("object.o"), device.join("emulated").join(source));
            let source = source.display().to_string();
            if !compiler(&["-c", &includes[0], &includes[1], &source], &object) {
                eprintln!("there is no C++ compiler: runs on several GPUs are not tested");
                return None;
            }
            for library in libraries {
                let name = format!("-Wl,-soname,{library}");
                compiler(&["-shared", &name, &object.display().to_string()], &path(library));
            }
        }
        Some(folder)
    };
    MADE.get_or_init(make).as_ref().map(|folder| folder.path().to_owned())
}

/// The program with these arguments, on two GPUs that pretend.
fn command(sandbox: &Sandbox, libraries: &Path, arguments: &[&str]) -> Command {
    sandbox.write("machine.toml", TWO_GPUS);
    let arguments = [&["sweep", "sweep.toml", "--inventory", "machine.toml"], arguments].concat();
    let mut command = sandbox.command(&arguments);
    command
        .env("GRIDLANE_CUDA_LIBS", libraries)
        .env("PYTHON", "false")
        .env("FAKE_DEVICES", "2")
        .env_remove("GRIDLANE_SHARE_GPUS");
    command
}

fn sweep(sandbox: &Sandbox, libraries: &Path, arguments: &[&str]) -> Ran {
    Ran(command(sandbox, libraries, arguments).output().unwrap())
}

#[test]
fn a_sweep_over_gpus_trains_alike_and_says_where_the_time_goes() {
    let Some(libraries) = libraries() else { return };
    let sandbox = Sandbox::new(
        &TINY
            .replace("lr = [0.05, 0.2]", "devices = [1, 2]\nsync_batch_norm = [false, true]")
            .replace(
                "batch_size = 16",
                "batch_size = 16\nbatch_norm = true\nlr_scaling = \"linear\"\nlr = 0.02",
            ),
    );
    sweep(&sandbox, &libraries, &["lr_scaling=none"]).expect_code(0).expect_no_panic();
    let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    assert_eq!(rows.len(), 8);
    for row in &rows {
        assert_eq!(row["status"], "finished", "{row:?}");
        let one = rows.iter().find(|one| one["devices"] == "1" && one["seed"] == row["seed"]);
        for number in ["val_loss", "test_loss", "train_loss"] {
            let [one, found]: [f64; 2] =
                [&one.unwrap()[number], &row[number]].map(|x| x.parse().unwrap());
            let same = (one - found).abs() < 1e-4;
            let expected = row["devices"] == "1" || row["sync_batch_norm"] == "true";
            assert_eq!(same, expected, "{number}: {one} {found} {row:?}");
        }
        for time in ["step_compute_s", "step_communication_s", "step_wait_s"] {
            assert_eq!(row[time].is_empty(), row["devices"] == "1", "{time}");
        }
        let result = sandbox.sweep_folder("tiny").join(&row["run_id"]).join("result.json");
        let result: serde_json::Value = serde_json::from_slice(&fs::read(result).unwrap()).unwrap();
        let [allocated, parameters] =
            ["device_memory_bytes", "parameters"].map(|field| result[field].as_u64().unwrap());
        let weights_and_gradients = 8 * parameters;
        assert!((weights_and_gradients..1 << 20).contains(&allocated), "{allocated} {parameters}");
    }
}

#[test]
fn the_doctor_names_the_libraries_of_gpus_and_what_is_missing() {
    let Some(libraries) = libraries() else { return };
    let sandbox = Sandbox::new(TINY);
    let mut doctor = sandbox.command(&["doctor"]);
    doctor.env("GRIDLANE_CUDA_LIBS", &libraries).env("PYTHON", "false");
    let found = Ran(doctor.output().unwrap()).expect_code(0).expect_no_panic();
    let found = found.expect_stdout("with kernels for GPUs").stdout();
    for name in ["libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13", "libnccl.so.2"] {
        let file = libraries.join(name).display().to_string();
        assert!(found.contains(&file), "no {file} in:\n{found}");
    }
    doctor.env("GRIDLANE_CUDA_LIBS", sandbox.path(""));
    let missing = Ran(doctor.output().unwrap()).expect_code(0).stdout();
    let nccl = missing.lines().find(|line| line.contains("NCCL")).unwrap();
    let place = format!(
        "looked for libnccl.so.2 or libnccl.so where the system looks and in {}",
        sandbox.path("").display()
    );
    assert!(nccl.starts_with("ok") || nccl.contains(&place), "{missing}");
}

#[test]
fn lanes_on_two_gpus_are_each_what_they_are_alone_also_after_a_kill() {
    let Some(libraries) = libraries() else { return };
    let text = TINY.replace("epochs = 3", "epochs = 3\ndevices = 2\nbatch_norm = true")
        + "\n[run]\nretries = { count = 0 }\n";
    let alone = Sandbox::new(&text);
    sweep(&alone, &libraries, &[]).expect_code(0);
    for place in ["worker:1000", "worker:14", "worker:26"] {
        let together = Sandbox::new(&text);
        let mut crashing = command(&together, &libraries, &["--lanes", "4"]);
        let killed = !crashing.env("GRIDLANE_CRASH_AT", place).status().unwrap().success();
        assert_eq!(killed, place != "worker:1000");
        if killed {
            sweep(&together, &libraries, &["--lanes", "4"]).expect_code(0).expect_no_panic();
        }
        assert_eq!(workers_of(&together.path("")), [] as [u32; 0], "{place}");
        assert!(results(&together) == results(&alone), "{place}");
    }
}

/// What the only run failed of, and how long it took to be noticed.
fn failure(libraries: &Path, rank: usize, name: &str) -> (String, Duration) {
    let sandbox = Sandbox::new(&long());
    let mut command = command(&sandbox, libraries, &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    trains(&sandbox);
    // After an epoch ranks agree on much in main memory; in the midst of the next one they sum.
    wait_until("the next epoch is under way", || {
        let events = fs::read_to_string(sandbox.run_folders("tiny")[0].join("events.jsonl"));
        events.is_ok_and(|events| events.contains("\"epoch\":2"))
    });
    failure_of(&sandbox, child, (rank, name))
}

/// Others wait for it inside of NCCL, where nothing can be told to them.
#[test]
fn a_rank_that_dies_or_stands_still_ends_the_run_with_a_reason_in_time() {
    let Some(libraries) = libraries() else { return };
    let (reason, took) = failure(&libraries, 1, "KILL");
    assert_eq!(reason, "rank_lost: rank 1 was killed by signal 9 (SIGKILL)");
    assert!(took < Duration::from_secs(10), "{took:?}");
    for rank in [0, 1] {
        let (reason, took) = failure(&libraries, rank, "STOP");
        let expected = format!("rank_lost: rank {rank} has not moved for ");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(took < Duration::from_secs(10), "rank {rank}: {took:?}");
    }
}

/// What the only run fails of on a GPU that fails so.
fn failed_of(libraries: &Path, fault: (&str, &str)) -> String {
    let sandbox = Sandbox::new(&long().replace("devices = 2", "devices = 1"));
    let mut command = command(&sandbox, libraries, &[]);
    let output = command.env(fault.0, fault.1).output().unwrap();
    assert_eq!(output.status.code(), Some(100), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    rows[0]["reason"].clone()
}

#[test]
fn a_gpu_that_is_lost_or_full_in_mid_run_is_said_and_classified() {
    let Some(libraries) = libraries() else { return };
    let lost = failed_of(&libraries, ("FAKE_LOST", "50"));
    let expected = "device_failed: copying to the device failed on cuda:0 (fake): unspecified launch \
                    failure (CUDA_ERROR_LAUNCH_FAILED)";
    assert_eq!(lost, expected);
    // Products take all of it. Without room for the data set alone it is not kept there.
    let full = failed_of(&libraries, ("FAKE_MEMORY", "32"));
    assert!(full.starts_with("out_of_memory: cuda:0 (fake) has no "), "{full}");
    assert!(full.contains(" of 32.0 MiB are free; take a smaller batch"), "{full}");
    assert!(full.contains("it had its GPU to itself: 4.0 GiB were free"), "{full}");
}

#[test]
fn runs_on_several_gpus_without_nccl_are_refused_and_those_on_one_are_not() {
    let Some(libraries) = libraries() else { return };
    let without = tempfile::tempdir().unwrap();
    for library in ["libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13"] {
        fs::copy(libraries.join(library), without.path().join(library)).unwrap();
    }
    let text =
        TINY.replace("lr = [0.05, 0.2]", "devices = [1, 2]").replace("seeds = 2", "seeds = 1");
    let sandbox = Sandbox::new(&text);
    let ran = sweep(&sandbox, without.path(), &[]);
    let rows = read_csv(&sandbox.sweep_folder("tiny").join("runs.csv"));
    let of = |devices: &str| rows.iter().find(|row| row["devices"] == devices).unwrap();
    assert_eq!(of("1")["status"], "finished");
    if of("2")["status"] == "finished" || of("2")["reason"].contains("meeting the other ranks") {
        eprintln!("this machine has NCCL: what happens without it is not tested");
        return;
    }
    ran.expect_code(100);
    let reason = &of("2")["reason"];
    assert!(reason.starts_with("refused: NCCL is missing: looked for libnccl.so.2"), "{reason}");
}
