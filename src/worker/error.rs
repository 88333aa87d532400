//! Why a worker could not come to a result, and what it tells the dispatcher by its exit code.

use crate::event::{RANK_LOST, WorkerExit};
use crate::record::RecordError;
use crate::spec::SpecError;
use crate::train::TrainError;
use crate::train::data::DataError;
use crate::train::device::DeviceError;
use crate::train::parallel::ParallelError;

/// Why a worker could not come to a result.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no `run.json`.
    #[error("{0} holds no run: `run.json` is missing")]
    NoRun(String),
    /// `run.json` holds a configuration that this version does not take.
    #[error("the recorded configuration is not valid: {0}")]
    Config(#[from] SpecError),
    /// `run.json` was made for another version of the engine's numerics.
    #[error("the run is of engine numerics {found}, this program has {known}")]
    Numerics {
        /// Of the run.
        found: u32,
        /// Of this program.
        known: u32,
    },
    /// The data set cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refuses the configuration, or fails.
    #[error(transparent)]
    Train(TrainError),
    /// A rank is gone, stands still or does something else than the others.
    #[error("{word}{0}", word = word(.0))]
    RankLost(ParallelError),
    /// The other ranks could not be started, or reached.
    #[error("cannot start the ranks of the run: {0}")]
    Gang(#[source] std::io::Error),
    /// Signals could not be caught.
    #[error("cannot catch signals: {0}")]
    Signals(#[source] std::io::Error),
}

impl WorkerError {
    /// Is the disk full, so that waiting may help?
    pub fn is_full_disk(&self) -> bool {
        matches!(self, Self::Record(error) if error.is_full_disk())
    }

    /// The exit code that tells the dispatcher what to do about it.
    pub fn exit(&self) -> WorkerExit {
        match self {
            error if error.is_full_disk() => WorkerExit::DiskFull,
            Self::Record(_) | Self::NoRun(_) | Self::Signals(_) | Self::Gang(_) => {
                WorkerExit::RecordFailed
            }
            Self::RankLost(_) => WorkerExit::RankLost,
            Self::Train(TrainError::RanksDiffer { .. }) => WorkerExit::RanksDiffer,
            Self::Train(TrainError::Device(error)) => match error {
                DeviceError::Memory { .. } => WorkerExit::OutOfMemory,
                DeviceError::Driver { .. } | DeviceError::Failed { .. } => WorkerExit::DeviceFailed,
                _ => WorkerExit::Refused,
            },
            Self::Config(_) | Self::Numerics { .. } | Self::Data(_) | Self::Train(_) => {
                WorkerExit::Refused
            }
        }
    }
}

/// The line of the one who has found out what is wrong counts, not of those who only hear of it.
fn word(error: &ParallelError) -> &'static str {
    if matches!(error, ParallelError::Ended { .. }) { "" } else { RANK_LOST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_full_or_lost_is_no_refusal() {
        let device = || "cuda:0".to_owned();
        let (bytes, free, total) = (3 << 30, 1 << 30, 16 << 30);
        let full = DeviceError::Memory { device: device(), bytes, free, total };
        let expected = "cuda:0 has no 3.0 GiB left: 1.0 GiB of 16.0 GiB are free; take a smaller batch, or \
                        fewer lanes in a group";
        assert_eq!(full.to_string(), expected);
        let reason = || "CUDA_ERROR_DEVICE_UNAVAILABLE".to_owned();
        let lost =
            DeviceError::Failed { operation: "a launch", device: device(), reason: reason() };
        let silent = DeviceError::Driver { reason: reason() };
        let exits = [full, lost, silent, DeviceError::NotBuilt]
            .map(|error| WorkerError::from(TrainError::from(error)).exit());
        let failed = WorkerExit::DeviceFailed;
        assert_eq!(exits, [WorkerExit::OutOfMemory, failed, failed, WorkerExit::Refused]);
    }
}
