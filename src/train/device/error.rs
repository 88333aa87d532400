//! What can go wrong between the engine and an accelerator.

use crate::units::show_bytes;

/// Why an accelerator cannot be had, or what it failed with.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program has no code for GPUs.
    #[error(
        "this program was built without GPUs; build it with `just build-cuda`, or train on the cpu"
    )]
    NotBuilt,
    /// A library of CUDA that is not there.
    #[error(
        "{library} is missing: looked for {names} where the system looks and in {places}; {advice}"
    )]
    Missing {
        /// What it is for.
        library: &'static str,
        /// Names of its file.
        names: String,
        /// Folders that were looked in.
        places: String,
        /// What to do.
        advice: &'static str,
    },
    /// A library that is there and cannot be loaded.
    #[error("{file} cannot be loaded: {reason}")]
    Unloadable {
        /// The file.
        file: String,
        /// What the loader said.
        reason: String,
    },
    /// The driver refuses, or is none.
    #[error("the NVIDIA driver does not start: {reason}")]
    Driver {
        /// What it said.
        reason: String,
    },
    /// The driver is older than the kernels.
    #[error(
        "the NVIDIA driver speaks CUDA {found}, the kernels need {needed}; update the driver, or train \
         on the cpu"
    )]
    Old {
        /// The version of CUDA that the driver is for.
        found: String,
        /// The version that is needed.
        needed: String,
    },
    /// No GPU of that number.
    #[error(
        "there is no GPU {index}: this process sees {found}, counted from 0; choose another, or see \
         CUDA_VISIBLE_DEVICES"
    )]
    Index {
        /// The number asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
    /// A GPU without the instructions.
    #[error(
        "GPU {index} ({name}) has compute capability {found}, the kernels need {needed} or more"
    )]
    Capability {
        /// The number of the GPU.
        index: usize,
        /// Its name.
        name: String,
        /// What it has.
        found: String,
        /// What is needed.
        needed: String,
    },
    /// Memory that the accelerator does not have.
    #[error(
        "{device} has no {} left: {} of {} are free; take a smaller batch, or fewer lanes in a group",
        show_bytes(*bytes as u64), show_bytes(*free as u64), show_bytes(*total as u64)
    )]
    Memory {
        /// The accelerator.
        device: String,
        /// How many were wanted.
        bytes: usize,
        /// Bytes that are free.
        free: usize,
        /// Bytes that it has.
        total: usize,
    },
    /// Something larger than kernels count.
    #[error(
        "{what} has {found} numbers in one lane, kernels count to {limit}; take a smaller batch"
    )]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its numbers.
        found: usize,
        /// The most that there may be.
        limit: usize,
    },
    /// Numbers of a kind that accelerators do not compute with.
    #[error("an accelerator computes in f32, found {found}")]
    Precision {
        /// The kind.
        found: String,
    },
    /// A precision that a GPU has no instructions for.
    #[error(
        "{device} has compute capability {found}, precision = \"{precision}\" needs {needed} or more; take \
         precision = \"f32\""
    )]
    TooOldFor {
        /// The GPU.
        device: String,
        /// What it has.
        found: String,
        /// What is needed.
        needed: &'static str,
        /// The precision.
        precision: &'static str,
    },
    /// A precision that cores do not compute in.
    #[error(
        "precision = \"{precision}\" is for GPUs, and this run is on the cpu; take precision = \"f32\", or \
         device = \"cuda\""
    )]
    NeedsGpu {
        /// The precision.
        precision: &'static str,
    },
    /// A rank without an accelerator of its own.
    #[error("rank {rank} has no device: the worker was given {found} for all ranks")]
    NoneLeft {
        /// The rank.
        rank: usize,
        /// Devices that there are.
        found: usize,
    },
    /// An operation failed.
    #[error("{operation} failed on {device}: {reason}")]
    Failed {
        /// What was done.
        operation: &'static str,
        /// The accelerator.
        device: String,
        /// What it said.
        reason: String,
    },
}
