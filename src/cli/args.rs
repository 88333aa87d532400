//! The command line: clap only, no logic.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::dispatch::inventory::DeviceChoice;
use crate::plan::Lanes;
use crate::spec::SHORT;
use crate::spec::device::DeviceId;
use crate::spec::slurm::MOST_PILOTS;
use crate::units::parse_duration;

/// Declarative sweeps for deep-learning ablations: a TOML grid in, CSV leaderboards out.
#[derive(Debug, Parser)]
#[command(name = "gridlane", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all runs finished or diverged, 100 some failed, 4 nothing to do, \
2 a bad command line or sweep file, 130 stopped, 1 anything else.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Execute what is missing of a sweep and rank the configurations.
    Sweep(Box<SweepArgs>),
    /// Say what a sweep would do: what is done, new, failed or stale, and why.
    Plan(PlanArgs),
    /// Show the networks of a sweep: layers, shapes, parameters, costs.
    Model(ModelArgs),
    /// Say how a sweep stands, also while it is under way: what runs, how far, how much longer.
    Status(StatusArgs),
    /// Say all that is known of one run: why it failed, its attempts, its epochs, its log.
    Show(ShowArgs),
    /// Print a sweep's leaderboard; makes its CSVs anew from the run folders.
    Leaderboard(LeaderboardArgs),
    /// Hold sweeps against a first one, configuration by configuration, on the seeds that both have.
    Compare(CompareArgs),
    /// Write a sweep's record into the files of other programs.
    Export {
        /// For which.
        #[command(subcommand)]
        command: ExportCommand,
    },
    /// Get data sets, or check those that are there.
    Data {
        /// What to do.
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Look at what this machine has for sweeps, and at what is in the way.
    Doctor(DoctorArgs),
    /// Time the engine on this machine.
    Bench {
        /// What of it.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Say what a key or section of the sweep file takes; which there are, without one.
    Explain(ExplainArgs),
    /// Print the JSON Schema of the sweep file, for editors.
    Schema,
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each subcommand too.
    Man {
        /// Write them all into this folder, such as ~/.local/share/man/man1.
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Look after a sweep on a Slurm cluster.
    Slurm {
        /// What to do.
        #[command(subcommand)]
        command: SlurmCommand,
    },
    /// Take runs of a sweep until none is left (the job that `sweep --slurm` submits).
    #[command(hide = true)]
    Pilot {
        /// The folder of the sweep.
        sweep: PathBuf,
    },
    /// Train a run, or several together (started by `sweep`).
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// The sweep file and what changes it.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The sweep file.
    pub file: PathBuf,
    /// Changes to it: `key=value` fixes a key, `key=a,b,c` makes it an axis.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The size that the file's `[short]` gives it: minutes, not a night. Its name is then NAME-short.
    #[arg(long)]
    pub short: bool,
    /// Runs at a time; what the cores and GPUs take where not said. More than there are cores share
    /// them.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// GPUs that may be used, such as 0,2; none for the cores alone.
    #[arg(long, value_name = "LIST")]
    pub devices: Option<DeviceChoice>,
    /// A description of the machine to take the place of this one.
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Runs that are trained together as lanes of one network, where they may: up to N, or `off`, or
    /// `auto`, which is what pays: several small networks on a GPU, one on cores.
    #[arg(long, value_name = "N", default_value = "auto")]
    pub lanes: Lanes,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder of the data sets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// What the command line changes of a sweep file, in one list.
pub fn changes(short: bool, overrides: &[String]) -> Vec<String> {
    let switch = short.then(|| SHORT.to_owned());
    switch.into_iter().chain(overrides.iter().cloned()).collect()
}

/// `gridlane sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The sweep.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print the plan and stop.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Stop at the first run that fails for good.
    #[arg(long)]
    pub fail_fast: bool,
    /// On a cluster.
    #[command(flatten)]
    pub slurm: SlurmArgs,
}

/// What is asked of a Slurm cluster. What is not said here is as `[slurm]` in the sweep file has it.
#[derive(Debug, Args)]
#[command(next_help_heading = "On a Slurm cluster (docs/reference/slurm.md)")]
pub struct SlurmArgs {
    /// Let jobs on a cluster do it; Ctrl-C leaves them alone, the same command comes back to them.
    #[arg(long)]
    pub slurm: bool,
    /// Jobs at a time; 4 where not said.
    #[arg(long, value_name = "N", requires = "slurm", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_PILOTS)))]
    pub pilots: Option<u32>,
    /// GPUs of each job.
    #[arg(long, value_name = "N", requires = "slurm")]
    pub gpus: Option<u32>,
    /// Cores of each job.
    #[arg(long, value_name = "N", requires = "slurm", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpus: Option<u32>,
    /// Memory of each job, such as 16G.
    #[arg(long, value_name = "SIZE", requires = "slurm")]
    pub mem: Option<String>,
    /// Time limit of each job, such as 4:00:00; what it ends goes on in the next one.
    #[arg(long, value_name = "TIME", requires = "slurm")]
    pub time: Option<String>,
    /// The partition.
    #[arg(long, value_name = "NAME", requires = "slurm")]
    pub partition: Option<String>,
    /// The account that pays.
    #[arg(long, value_name = "NAME", requires = "slurm")]
    pub account: Option<String>,
    /// The quality of service.
    #[arg(long, value_name = "NAME", requires = "slurm")]
    pub qos: Option<String>,
    /// A further option of sbatch, word for word: --sbatch=--constraint=a100. May stand several times.
    #[arg(long, value_name = "OPTION", requires = "slurm", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// How long a job may be silent before its runs are given to another.
    #[arg(long, value_name = "DURATION", requires = "slurm", default_value = "2m", value_parser = duration)]
    pub lease: Duration,
    /// How often Slurm is asked at first; less often where little changes.
    #[arg(long, value_name = "DURATION", requires = "slurm", default_value = "10s", value_parser = duration)]
    pub poll: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).filter(|duration| *duration >= Duration::from_millis(100));
    read.ok_or_else(|| "expected a duration of at least 100ms, such as 30s or 2m".to_owned())
}

/// `gridlane slurm`.
#[derive(Debug, Subcommand)]
pub enum SlurmCommand {
    /// Say how a sweep on a cluster stands: its runs, its jobs, what they wait for.
    Status(SlurmSweepArgs),
    /// End a sweep's jobs: running runs checkpoint, and the same `sweep` command goes on.
    Cancel(SlurmSweepArgs),
}

/// A sweep on a cluster.
#[derive(Debug, Args)]
pub struct SlurmSweepArgs {
    /// Name of the sweep, or its folder.
    pub sweep: String,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// `gridlane plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The sweep.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `gridlane model`.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// The sweep file.
    pub file: PathBuf,
    /// Changes to it, as for `sweep`.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The size that the file's `[short]` gives it.
    #[arg(long)]
    pub short: bool,
    /// Folder of the data sets; only folders of images are looked into.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `gridlane explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A key such as `schedule`, a section such as `run`, or `layers`.
    pub topic: Option<String>,
}

/// `gridlane status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name of the sweep, or its folder; a line for every sweep where it is left out.
    pub sweep: Option<String>,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// `gridlane show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of the sweep, or its folder.
    pub sweep: String,
    /// The run, as the column `run_id` of runs.csv calls it; its first letters are enough.
    pub run: String,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// `gridlane leaderboard`.
#[derive(Debug, Args)]
#[command(after_help = SELECTING)]
pub struct LeaderboardArgs {
    /// Name of the sweep, or its folder.
    pub sweep: String,
    /// Columns of leaderboard.csv to sort by: `val_loss`, `-lr` or `lr:desc` for largest first,
    /// `val_loss:asc` for smallest first. Where neither is said, metrics go best first.
    #[arg(long, value_name = "KEYS", value_delimiter = ',', allow_hyphen_values = true)]
    pub sort: Vec<String>,
    /// Show only configurations that pass: `activation=relu,tanh`, `lr<0.1`, `batch_norm!=true`;
    /// several must all hold.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Columns to show, in this order; `val_loss` stands for `val_loss_mean`.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Format and place.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

const SELECTING: &str = "--where, --sort and --columns change what is shown, not what was computed: ranks, \
p-values and ties stay those of the whole sweep. The CSVs in the sweep's folder have everything.";

/// Where a table goes, and how.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How; where not said, as the file's name ends, and else for the terminal.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Write to this file instead of printing; its name may end with .csv, .md, .json, .xlsx or .txt. `-` prints.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For the terminal, numbers rounded.
    Table,
    /// By the contract of the CSVs, numbers exact.
    Csv,
    /// For GitHub and the like, numbers rounded.
    Markdown,
    /// A list of objects, numbers exact.
    Json,
    /// A workbook for Excel or LibreOffice, with further sheets; needs a file.
    Xlsx,
}

/// `gridlane compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Names of sweeps, or their folders; each is held against the first.
    #[arg(required = true, num_args = 2.., value_name = "SWEEP")]
    pub sweeps: Vec<String>,
    /// What to compare, such as `test_accuracy`; what the first sweep is ranked by, where not said.
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Compare also what has other data, another version of the engine or another kind of device.
    #[arg(long)]
    pub force: bool,
    /// Format and place.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// `gridlane export`.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Write files of events for TensorBoard: curves, measurements in layers, the varied keys.
    Tensorboard(TensorboardArgs),
}

/// `gridlane export tensorboard`.
#[derive(Debug, Args)]
pub struct TensorboardArgs {
    /// Name of the sweep, or its folder.
    pub sweep: String,
    /// The folder to write to, with one folder a run.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// `gridlane doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Folder of all sweeps.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder of the data sets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `gridlane data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download a data set, check it and put it where sweeps find it.
    Fetch(DataArgs),
    /// Check the files of a data set against their published checksums.
    Verify(DataArgs),
    /// Check a folder of images, decode it into the cache, and say what is in it.
    Index(IndexArgs),
    /// List the data sets and which of them are there.
    List {
        /// Folder of the data sets.
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
    },
}

/// A data set and where it is.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Name of the data set, as in a sweep file.
    pub name: String,
    /// Folder of the data sets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `gridlane data index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// The folder, as a sweep file writes it: PATH/train/CLASS/..., or PATH/CLASS/...
    pub path: String,
    /// Shorter side after resizing.
    #[arg(long, value_name = "PX", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub resize: u32,
    /// Read the images as grey ones.
    #[arg(long)]
    pub grey: bool,
    /// Folder of the data sets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
}

/// `gridlane bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time training steps of one configuration on images of noise.
    Step(BenchStepArgs),
    /// Time the augmentation of one configuration on images of noise, on one thread.
    Augment(BenchAugmentArgs),
}

/// `gridlane bench augment`.
#[derive(Debug, Args)]
pub struct BenchAugmentArgs {
    /// Keys of the configuration, as in a sweep file's `[base]`: `augmentation=[random_crop,cutout]`.
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Images of one round, rounded up to whole batches.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub images: u32,
    /// Rounds to time, after one that is not.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Where it is done: `cpu`, or a GPU such as `cuda:0`; as the configuration says, cores where it says nothing.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceId>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `gridlane bench step`.
#[derive(Debug, Args)]
pub struct BenchStepArgs {
    /// Keys of the configuration, as in a sweep file's `[base]`: `model=alexnet32 batch_size=64`.
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Where it trains: `cpu`, or a GPU such as `cuda:0`; as the configuration says, cores where it says nothing.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceId>,
    /// Threads that one step may use; as `run.threads` says, 1 where it says nothing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Steps to time.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: u32,
    /// Steps before that, not timed; a fifth of the steps, but at least 3, where not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub warm_up: Option<u32>,
    /// Show where the time goes, by phase and by layer, beside what one core can do in a matrix
    /// product.
    #[arg(long)]
    pub profile: bool,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `gridlane worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The folders of the runs that it trains together.
    #[arg(required = true)]
    pub folders: Vec<PathBuf>,
    /// A device for each rank.
    #[arg(long, value_delimiter = ',', default_value = "cpu")]
    pub devices: Vec<DeviceId>,
    /// Folder of the data sets.
    #[arg(long)]
    pub data: PathBuf,
    /// Which attempt, from 1.
    #[arg(long, default_value_t = 1)]
    pub attempt: u32,
    /// The process that started this one; without it the worker does not run.
    #[arg(long)]
    pub parent: u32,
    /// Which of the ranks of a run on several devices; rank 0 starts the others.
    #[arg(long, default_value_t = 0)]
    pub rank: usize,
    /// Descriptor of the memory that the ranks share, of those above 0.
    #[arg(long, requires = "rank")]
    pub memory: Option<u32>,
    /// Descriptor of the memory in which rank 0 puts the data set, likewise.
    #[arg(long, requires = "memory")]
    pub data_memory: Option<u32>,
}

/// Shells with completion scripts.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    /// Bourne-again shell.
    Bash,
    /// Elvish.
    Elvish,
    /// fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// Z shell.
    Zsh,
}
