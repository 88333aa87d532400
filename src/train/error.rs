//! What can go wrong in training.

/// Why training cannot start, go on, be saved or be restored.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The network does not fit the images.
    #[error("{layer} needs an input of at least {expected}, found {found}")]
    Shape {
        /// The layer.
        layer: String,
        /// What it needs.
        expected: String,
        /// What it would get.
        found: String,
    },
    /// A layer of the network does not fit what arrives at it.
    #[error(transparent)]
    Unfit(#[from] crate::spec::architecture::Unfit),
    /// Initial weights that cannot be had.
    #[error(transparent)]
    Weights(#[from] super::weights::WeightsError),
    /// A pool whose padding could make a window without a pixel.
    #[error("{layer} takes a padding of at most {half} pixels, found {found}")]
    Padding {
        /// The layer.
        layer: String,
        /// Half of its window.
        half: usize,
        /// The padding.
        found: usize,
    },
    /// The groups of a convolution do not divide its channels.
    #[error(
        "{layer} cannot divide {input} input and {output} output channels into {groups} groups; \
         give a number of groups that divides both",
        input = .channels[0],
        output = .channels[1]
    )]
    Groups {
        /// The layer.
        layer: String,
        /// The groups asked for.
        groups: usize,
        /// Input and output channels.
        channels: [usize; 2],
    },
    /// The file that the state goes to takes no more.
    #[error("the checkpoint cannot be written")]
    Write(#[from] std::io::Error),
    /// Nothing to train.
    #[error("a trainer needs at least 1 configuration, found none")]
    NoLanes,
    /// Lanes that cannot be one network.
    #[error("lanes of one network share `{key}`: lane 0 has {first}, lane {lane} has {found}")]
    LanesDiffer {
        /// The key of the configuration.
        key: &'static str,
        /// Value of lane 0.
        first: String,
        /// The lane that differs.
        lane: usize,
        /// Its value.
        found: String,
    },
    /// As many ranks as the configuration has devices.
    #[error("a run of devices = {expected} needs as many ranks, found {found}")]
    Devices {
        /// Value of the key.
        expected: u32,
        /// Ranks that there are.
        found: usize,
    },
    /// Ranks that cannot go on together.
    #[error(transparent)]
    Parallel(#[from] super::parallel::ParallelError),
    /// Ranks that should hold the same numbers and do not.
    #[error(
        "after epoch {epoch}, {ranks} of {world} ranks hold other parameters than rank 0: {which}",
        ranks = .differ.len(),
        which = listed(.differ)
    )]
    RanksDiffer {
        /// Epochs complete; 0 at the start.
        epoch: u32,
        /// How many ranks there are.
        world: usize,
        /// Those that hold something else than rank 0.
        differ: Vec<usize>,
    },
    /// Data that contradicts itself.
    #[error("the {part} part has {what}: expected {expected}, found {found}")]
    Data {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        what: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Every epoch is done already.
    #[error("all {epochs} epochs are trained already")]
    NothingLeft {
        /// Epochs of the run.
        epochs: u32,
    },
    /// A benchmark whose training came to nothing.
    #[error(
        "the loss of step {step} is not a finite number: there is nothing to time; take a smaller lr"
    )]
    BenchDiverged {
        /// The step, from 0.
        step: u64,
    },
    /// A checkpoint that does not fit or is damaged.
    #[error("checkpoint: {what}: expected {expected}, found {found}")]
    Checkpoint {
        /// The part of it that is wrong.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A checkpoint that is no safetensors file, or cannot be made one.
    #[error("checkpoint: not a whole safetensors file")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A CPU kernel was given memory of another device.
    #[error("a kernel of the CPU needs a tensor in main memory, found one on another device")]
    NotOnCpu,
    /// An accelerator cannot be had, or failed.
    #[error(transparent)]
    Device(#[from] super::device::DeviceError),
    /// The tensor library failed.
    #[error("the tensor library failed")]
    Candle(#[from] candle_core::Error),
}

fn listed(ranks: &[usize]) -> String {
    let ranks: Vec<String> = ranks.iter().map(|rank| format!("rank {rank}")).collect();
    ranks.join(", ")
}
