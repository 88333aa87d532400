//! What ends a command, with the exit code that says which kind of end it is.

use std::path::PathBuf;

use miette::Diagnostic;

use super::exit_code::ExitCode;
use crate::aggregate::AggregateError;
use crate::dispatch::DispatchError;
use crate::executor::slurm::SlurmError;
use crate::fetch::FetchError;
use crate::ids::BadSweepName;
use crate::plan::{Excesses, PlanError};
use crate::record::RecordError;
use crate::report::select::NoColumn;
use crate::report::xlsx::WorkbookError;
use crate::spec::SpecError;
use crate::spec::diagnostics::nearest;
use crate::train::TrainError;
use crate::train::data::DataError;

/// What ends a command.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CliError {
    /// The sweep file cannot be read.
    #[error("cannot read the sweep file {}", path.display())]
    #[diagnostic(help("{help}"))]
    NoSweepFile {
        /// Which.
        path: PathBuf,
        /// What could be meant.
        help: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The sweep file or an override is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Spec(#[from] SpecError),
    /// The sweep file gives no plan.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] PlanError),
    /// A network that cannot be built.
    #[error(transparent)]
    Unfit(#[from] crate::spec::architecture::Unfit),
    /// Initial weights that changed while the sweep began.
    #[error(transparent)]
    Weights(#[from] crate::train::weights::WeightsError),
    /// The configuration cannot be benchmarked.
    #[error("{message}")]
    #[diagnostic(help("{help}"))]
    Bench {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Something on the command line that is none of the choices.
    #[error("{message}")]
    #[diagnostic(help("{help}"))]
    Choice {
        /// What is wrong.
        message: String,
        /// What there is.
        help: String,
    },
    /// A column that a table does not have.
    #[error(transparent)]
    #[diagnostic(help("{}", _0.help))]
    NoColumn(#[from] NoColumn),
    /// A workbook that cannot be made.
    #[error(transparent)]
    Workbook(#[from] WorkbookError),
    /// The engine.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A data set that the sweep needs is not there, or not whole.
    #[error(transparent)]
    MissingData(#[from] DataError),
    /// There is no such sweep.
    #[error("there is no sweep `{name}` in {}", runs.display())]
    #[diagnostic(help("{}", known_sweeps(name, known)))]
    NoSweep {
        /// As given.
        name: String,
        /// Where it was looked for.
        runs: PathBuf,
        /// The sweeps that are there.
        known: Vec<String>,
    },
    /// A sweep, or the folder of all of them, that this user may not look into.
    #[error("no permission to read {}", path.display())]
    #[diagnostic(help(
        "its owner can open the folder of the sweep to others: `chmod -R a+rX FOLDER`"
    ))]
    Closed {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is not one sweep.
    #[error("there is no sweep in {}", runs.display())]
    #[diagnostic(help("`gridlane sweep FILE` makes one"))]
    NoSweeps {
        /// Where they were looked for.
        runs: PathBuf,
    },
    /// The name of a sweep is none.
    #[error(transparent)]
    BadName(#[from] BadSweepName),
    /// There is no such data set, or none that can be fetched.
    #[error("{message}")]
    #[diagnostic(help("{help}"))]
    NoDataset {
        /// What is wrong.
        message: String,
        /// What there is.
        help: String,
    },
    /// A device that is asked for is not there.
    #[error("{message}")]
    #[diagnostic(help("{help}"))]
    NoDevice {
        /// Which configuration asks for what, and what there is.
        message: String,
        /// What to do.
        help: String,
    },
    /// Slurm.
    #[error(transparent)]
    #[diagnostic(help("{}", _0.help()))]
    Slurm(#[from] SlurmError),
    /// A sweep on a cluster that cannot go on, or be left.
    #[error("{message}")]
    #[diagnostic(help("{help}"))]
    Cluster {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// More than the sweep may cost.
    #[error(transparent)]
    #[diagnostic(help("{}", _0.help()))]
    Excess(#[from] Excesses),
    /// The execution.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// The tables.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// A download or a check of data.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The system gives too few threads, and one does not do.
    #[error("cannot start the threads that plans are made by")]
    #[diagnostic(help("`ulimit -u` is how many processes and threads a user may have"))]
    NoThread(#[source] rayon::ThreadPoolBuildError),
    /// A path cannot be made absolute: the current folder is gone, or the path is empty.
    #[error("cannot find the folder {}", path.display())]
    #[diagnostic(help(
        "is the current folder still there? `--runs` and `--data` may say absolute paths"
    ))]
    NoFolder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The standard output is gone.
    #[error("cannot print")]
    Output(#[from] std::io::Error),
}

fn known_sweeps(name: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "there are none yet: `gridlane sweep FILE` makes one".to_owned();
    }
    let stem = name.strip_suffix(".toml").unwrap_or(name);
    let there = format!("there are: {}", known.join(", "));
    match nearest(stem, &known.iter().map(String::as_str).collect::<Vec<_>>()) {
        Some(close) => format!("did you mean `{close}`? {there}"),
        None => there,
    }
}

impl CliError {
    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoSweepFile { .. }
            | Self::Spec(_)
            | Self::MissingData(_)
            | Self::NoSweep { .. }
            | Self::NoSweeps { .. }
            | Self::BadName(_)
            | Self::Bench { .. }
            | Self::Choice { .. }
            | Self::NoColumn(_)
            | Self::NoDevice { .. }
            | Self::Excess(_)
            | Self::NoDataset { .. } => ExitCode::Usage,
            Self::Unfit(_) | Self::Weights(_) => ExitCode::Usage,
            Self::Dispatch(DispatchError::NoSuchGpu { .. } | DispatchError::Inventory(_)) => {
                ExitCode::Usage
            }
            Self::Plan(error) if error.is_of_the_file() => ExitCode::Usage,
            Self::Slurm(
                SlurmError::Refused { .. }
                | SlurmError::Unfit { .. }
                | SlurmError::Missing { .. }
                | SlurmError::NoCluster { .. },
            ) => ExitCode::Usage,
            Self::Slurm(SlurmError::Stopped) => ExitCode::Stopped,
            Self::Plan(_)
            | Self::Slurm(_)
            | Self::Cluster { .. }
            | Self::Record(_)
            | Self::Dispatch(_)
            | Self::Aggregate(_)
            | Self::Fetch(_)
            | Self::Train(_)
            | Self::NoThread(_)
            | Self::NoFolder { .. }
            | Self::Closed { .. }
            | Self::Workbook(_)
            | Self::Output(_) => ExitCode::Error,
        }
    }
}
