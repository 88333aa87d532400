//! A folder of its own for a test, with a sweep file, and ways to run the program in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gridlane::ids::RunId;
use gridlane::report::csv::is_timing_column;
use tempfile::TempDir;

/// A sweep that takes a fraction of a second: two rates, two seeds, three epochs of a tiny network.
pub const TINY: &str = r#"
schema = 1
name = "tiny"

[base]
dataset = { kind = "synthetic", train = 64, val = 32, test = 32, shape = [1, 8, 8], classes = 4 }
model = { kind = "mlp", hidden = [16] }
optimizer = { kind = "sgd", momentum = 0.9 }
dropout = 0.1
batch_size = 16
epochs = 3

[grid]
lr = [0.05, 0.2]

[repeats]
seeds = 2

[metric]
name = "val_accuracy"
target = 0.5
"#;

/// A folder with a sweep file `sweep.toml`.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// With this sweep file.
    pub fn new(sweep_file: &str) -> Self {
        let sandbox = Self { folder: tempfile::tempdir().unwrap() };
        sandbox.write("sweep.toml", sweep_file);
        sandbox
    }

    /// The path of something in the folder.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Writes a file into the folder.
    pub fn write(&self, inside: &str, text: &str) {
        fs::write(self.path(inside), text).unwrap();
    }

    /// The program with these arguments, in the folder, two runs at a time.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridlane"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("GRIDLANE_CRASH_AT")
            // Tests run beside each other: each leases the machine for itself.
            .env("GRIDLANE_SLOTS", self.path("slots"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran(self.command(arguments).output().unwrap())
    }

    /// `gridlane sweep sweep.toml -j 2` with further arguments.
    pub fn sweep(&self, arguments: &[&str]) -> Ran {
        self.run(&[&["sweep", "sweep.toml", "-j", "2"], arguments].concat())
    }

    /// The same, with a crash at a place of the record (see `src/record/crash_point.rs`).
    pub fn sweep_crashing_at(&self, place: &str, arguments: &[&str]) -> Ran {
        let arguments = [&["sweep", "sweep.toml", "-j", "2"], arguments].concat();
        let mut command = self.command(&arguments);
        Ran(command.env("GRIDLANE_CRASH_AT", place).output().unwrap())
    }

    /// The folder of the sweep `name`.
    pub fn sweep_folder(&self, name: &str) -> PathBuf {
        self.path("runs").join(name)
    }

    /// The run folders of the sweep `name`, sorted.
    pub fn run_folders(&self, name: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.sweep_folder(name)) else { return Vec::new() };
        let is_run = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().parse::<RunId>().is_ok())
        };
        let mut folders: Vec<PathBuf> =
            entries.map(|entry| entry.unwrap().path()).filter(is_run).collect();
        folders.sort();
        folders
    }

    /// All that a sweep came to and that must not depend on what happened on the way: the CSVs
    /// without times, and the final weights.
    pub fn results(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = self.sweep_folder(name);
        let mut results = BTreeMap::new();
        for csv in ["runs.csv", "leaderboard.csv", "curves.csv"] {
            results.insert(csv.to_owned(), without_timings(&folder.join(csv)).into_bytes());
        }
        for run in self.run_folders(name) {
            // A run that diverged at once has none.
            let Ok(files) = fs::read_dir(run.join("checkpoint")) else { continue };
            for file in files {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "safetensors") {
                    let name = path.strip_prefix(&folder).unwrap().display().to_string();
                    results.insert(name, fs::read(path).unwrap());
                }
            }
        }
        results
    }
}

/// A finished execution of the program.
pub struct Ran(pub Output);

impl Ran {
    /// The exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// The standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    /// The error output.
    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Fails unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{}\n{}", self.stdout(), self.stderr());
        self
    }

    /// Fails unless the error output has `text`.
    #[track_caller]
    pub fn expect_stderr(self, text: &str) -> Self {
        assert!(self.stderr().contains(text), "no {text:?} in:\n{}", self.stderr());
        self
    }

    /// Fails unless the standard output has `text`.
    #[track_caller]
    pub fn expect_stdout(self, text: &str) -> Self {
        assert!(self.stdout().contains(text), "no {text:?} in:\n{}", self.stdout());
        self
    }

    /// Fails if anything looks like a panic of the program.
    #[track_caller]
    pub fn expect_no_panic(self) -> Self {
        assert!(!self.stderr().contains("panicked at"), "{}", self.stderr());
        self
    }
}

/// A CSV's cells as a table: one map a row.
pub fn read_csv(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// A CSV without the columns of times and memory.
fn without_timings(path: &Path) -> String {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let headers = reader.headers().unwrap().clone();
    let kept: Vec<usize> = (0..headers.len()).filter(|i| !is_timing_column(&headers[*i])).collect();
    let row = |record: &csv::StringRecord| {
        kept.iter().map(|i| record[*i].to_owned()).collect::<Vec<_>>().join(",")
    };
    let mut lines = vec![row(&headers)];
    lines.extend(reader.records().map(|record| row(&record.unwrap())));
    lines.join("\n")
}

/// Processes whose command line names `folder`: workers that should be gone.
pub fn workers_of(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command);
        if command.contains("worker") && command.contains(&folder) {
            found.push(pid);
        }
    }
    found
}
