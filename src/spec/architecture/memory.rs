//! What a run needs in main memory, before it is run.
//!
//! In: a configuration and its network. Out: bytes by what they are for. Counted is what a worker
//! touches at its peak, in a training step or in an evaluation, whichever takes more of each kind:
//! memory that is only reserved costs nothing. `docs/design/memory.md` has what was measured beside
//! it.

use super::Architecture;
use super::layer::{Layer, Operation};
use crate::spec::RunConfig;
use crate::spec::catalogue::Supply;
use crate::spec::dataset::Parts;
use crate::spec::measure::Measurement;
use crate::spec::optimizer::Optimizer;

/// Bytes of a number.
const NUMBER: u64 = 4;

/// Images that an evaluation passes through the network at once, if there is room for so many.
const EVALUATION_IMAGES: usize = 256;

/// What an evaluation may take beyond what a batch of training takes anyway.
const EVALUATION_BYTES: u64 = 64 << 20;

/// What a worker takes that does almost nothing: its code as far as it is used, tables, the
/// allocator's own.
const PROGRAM: u64 = 10 << 20;

/// Bytes of one run by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Memory {
    /// What is learnt, and the running statistics.
    pub weights: u64,
    /// A gradient for everything that is learnt.
    pub gradients: u64,
    /// What the optimizer remembers of it.
    pub optimizer: u64,
    /// Images, what every layer gives, and what it keeps for the way back; of as many images as pass
    /// at once.
    pub activations: u64,
    /// Gradients between layers, what convolutions and matrix products work in.
    pub scratch: u64,
    /// Images and classes of all parts, and the order of an epoch.
    pub data: u64,
    /// Copies of weights and gradients that measurements compare with.
    pub measurements: u64,
    /// The worker itself.
    pub program: u64,
    /// How much of all that the lanes of a group have once and for all: the images, what kernels
    /// work in one lane after the other, the worker itself.
    #[serde(skip)]
    pub shared: u64,
}

impl Memory {
    /// The kinds with their names, in the order of the fields.
    pub fn kinds(&self) -> [(&'static str, u64); 8] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("scratch", self.scratch),
            ("data", self.data),
            ("measurements", self.measurements),
            ("program", self.program),
        ]
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.kinds().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// All that the lanes of a group take together, each of which would need so much alone.
    pub fn of_group(lanes: impl IntoIterator<Item = Self>) -> u64 {
        let add = |(own, shared): (u64, u64), lane: Self| {
            (own.saturating_add(lane.total() - lane.shared), shared.max(lane.shared))
        };
        let (own, shared) = lanes.into_iter().fold((0, 0), add);
        own.saturating_add(shared)
    }

    /// What a run takes that goes on from a checkpoint: the file as well, whose memory the allocator
    /// still holds when training begins.
    pub fn resumed(&self) -> u64 {
        self.total().saturating_add(self.weights).saturating_add(self.optimizer)
    }
}

impl Architecture {
    /// What a run of `config` on this network needs, or each rank of one on several devices.
    pub fn memory(&self, config: &RunConfig) -> Memory {
        let parts = config.parts();
        let learnt = self.parameter_count().saturating_mul(NUMBER);
        let states = self.states().map(|(_, shape)| shape[0] as u64 * NUMBER).sum::<u64>();
        let room = self.images_at_once(config, parts);
        let batch = batch_of_a_rank(config, parts).max(probed(config, parts, true));
        let evaluated =
            room.min(parts.validation.max(parts.test)).max(probed(config, parts, false));
        let times = |bytes: u64, images: usize| bytes.saturating_mul(images as u64);
        let passing = self.passing_bytes(self.working_layers());
        let kept = self.working_layers().map(Layer::dropped_bytes).sum();
        let working = times(self.gradient_bytes(), batch);
        let borrowed = (self.workspace(room) + self.packed(batch.max(evaluated))) as u64 * NUMBER;
        let data = match u64::from(config.devices) {
            0 | 1 => data(config, parts),
            // Ranks have the images in memory once; while the first puts them there, twice.
            ranks => (2 * data(config, parts)).div_ceil(ranks),
        };
        let order = parts.train as u64 * 4;
        Memory {
            weights: learnt.saturating_add(states),
            gradients: learnt,
            optimizer: learnt.saturating_mul(memories(&config.optimizer)),
            activations: times(passing, batch.max(evaluated)).saturating_add(times(kept, batch)),
            scratch: working.saturating_add(borrowed),
            data,
            measurements: measured(config, learnt),
            program: PROGRAM,
            shared: borrowed.saturating_add(data.saturating_sub(order)).saturating_add(PROGRAM),
        }
    }

    /// Images for which the network has room: those of a batch, or as many as an evaluation passes
    /// at once, which are up to 256 within 64 MiB more than a batch takes. Dropouts that drop nothing
    /// are counted: runs that differ in the probability alone evaluate as many at once.
    pub fn images_at_once(&self, config: &RunConfig, parts: Parts) -> usize {
        let batch = batch_of_a_rank(config, parts);
        let more = EVALUATION_BYTES / self.passing_bytes(self.layers.iter()).max(1);
        let within = batch.saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
        let evaluated = parts.validation.max(parts.test).min(EVALUATION_IMAGES).min(within);
        batch.max(evaluated).max(probed(config, parts, true)).max(probed(config, parts, false))
    }

    /// Bytes of one image on its way through these layers of the network.
    pub(super) fn passing_bytes<'a>(&self, layers: impl Iterator<Item = &'a Layer>) -> u64 {
        // Images that are flattened at once are put down flat.
        let flat = self.layers.first().is_some_and(|layer| layer.operation == Operation::Flatten);
        let input = if flat { 0 } else { self.input.units() as u64 * NUMBER };
        layers.map(Layer::passing_bytes).fold(input, u64::saturating_add)
    }

    /// Bytes of one image's gradients on their way back: of the two pieces of memory that take turns,
    /// as much as the largest gradient in each.
    fn gradient_bytes(&self) -> u64 {
        let layers: Vec<&Layer> = self.working_layers().collect();
        let first = layers.iter().position(|layer| layer.parameters() > 0).unwrap_or(layers.len());
        let turn = |turn: usize| {
            let units = layers[first..].iter().rev().skip(turn).step_by(2);
            units.map(|layer| layer.output.units() as u64 * NUMBER).max().unwrap_or(0)
        };
        turn(0).saturating_add(turn(1))
    }
}

impl Layer {
    /// Bytes of what the layer gives and keeps of an image in every pass.
    fn passing_bytes(&self) -> u64 {
        let output = self.output.units() as u64 * NUMBER;
        match self.operation {
            // Which pixel won; what was divided by.
            Operation::MaxPool2d { .. } | Operation::LocalResponseNorm { .. } => 2 * output,
            _ => output,
        }
    }

    /// Bytes of the factors of an image that is trained on.
    pub(super) fn dropped_bytes(&self) -> u64 {
        match self.operation {
            Operation::Dropout { .. } => self.output.units() as u64 * NUMBER,
            _ => 0,
        }
    }
}

/// Images of a step that one rank trains on, at most.
fn batch_of_a_rank(config: &RunConfig, parts: Parts) -> usize {
    (config.batch_size as usize).min(parts.train).div_ceil(config.devices.max(1) as usize)
}

/// Validation images that measurements pass at once, there and back (`learning`) or only there.
fn probed(config: &RunConfig, parts: Parts, learning: bool) -> usize {
    let most = EVALUATION_IMAGES.max((config.batch_size as usize).min(parts.train));
    let samples = config.measure.iter().map(|measurement| match measurement {
        Measurement::Smoothness { samples, .. } if learning => *samples as usize,
        Measurement::Drift { samples } if !learning => *samples as usize,
        _ => 0,
    });
    samples.max().unwrap_or(0).min(parts.validation).min(most)
}

/// Bytes that measurements keep of a network that learns so many.
fn measured(config: &RunConfig, learnt: u64) -> u64 {
    let copies = config.measure.iter().map(|measurement| match measurement {
        Measurement::UpdateRatio => 1,
        Measurement::Smoothness { .. } => 2,
        _ => 0,
    });
    learnt.saturating_mul(copies.sum())
}

/// Numbers that a rule remembers for each one learnt.
fn memories(optimizer: &Optimizer) -> u64 {
    match optimizer {
        Optimizer::Sgd { momentum, .. } if *momentum == 0.0 => 0,
        Optimizer::Sgd { .. } => 1,
        Optimizer::Adam { .. } | Optimizer::Adamw { .. } => 2,
    }
}

/// Bytes of the images with their classes, and of the order in which an epoch shows them.
pub(super) fn data(config: &RunConfig, parts: Parts) -> u64 {
    let dataset = &config.dataset;
    let image = dataset.image_shape().iter().map(|&n| n as u64).product::<u64>() + 2;
    let packed = match dataset.supply() {
        // Unpacked from the program's own pages.
        Supply::Embedded => dataset.files().iter().map(|file| file.bytes).sum(),
        _ => 0,
    };
    // What is set aside of published images leaves a gap behind, and what is not trained on.
    let aside = match dataset.supply() {
        Supply::Embedded | Supply::Cached(_) => parts.validation,
        Supply::Generated | Supply::Folder => 0,
    };
    let gap = aside + dataset.parts(config.validation_fraction).train - parts.train;
    let images = (parts.train + parts.validation + parts.test + gap) as u64;
    images.saturating_mul(image) + parts.train as u64 * 4 + packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::dataset::Dataset;
    use crate::spec::measure::Measurements;
    use crate::spec::model::{Model, Pooling};

    fn synthetic(counts: [u32; 3], shape: [u32; 3]) -> Dataset {
        let [train, val, test] = counts;
        Dataset::Synthetic { train, val, test, shape: shape.to_vec(), classes: 10 }
    }

    fn memory(config: &RunConfig) -> Memory {
        Architecture::of(config).unwrap().memory(config)
    }

    #[test]
    fn every_kind_is_what_one_counts() {
        let config = RunConfig {
            dataset: synthetic([100, 30, 20], [1, 4, 4]),
            model: Model::Mlp { hidden: vec![32] },
            optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 },
            dropout: 0.5,
            batch_size: 10,
            measure: Measurements::new(vec![Measurement::UpdateRatio]),
            ..RunConfig::default()
        };
        let learnt = (17 * 32 + 33 * 10) * 4;
        // Images (flat), linear, relu, dropout, logits, of the 30 that are evaluated at once; factors
        // of the 10 that are trained on.
        let activations = 30 * (16 + 3 * 32 + 10) * 4 + 10 * 32 * 4;
        let found = memory(&config);
        assert_eq!(found.weights, learnt);
        assert_eq!((found.gradients, found.optimizer), (learnt, 2 * learnt));
        assert_eq!((found.activations, found.measurements), (activations, learnt));
        assert_eq!(found.data, 150 * 18 + 400);
        // Two gradients of 32 units of 10 images; the packed factors of the first layer's products.
        assert_eq!(found.scratch, 10 * 64 * 4 + 32 * (30 + 16) * 4);
        assert_eq!(found.resumed(), found.total() + 3 * learnt);
        assert_eq!(found.total(), found.kinds().iter().map(|(_, bytes)| bytes).sum::<u64>());
    }

    #[test]
    fn evaluation_takes_256_images_or_what_fits_into_its_budget() {
        let small = RunConfig { batch_size: 16, ..RunConfig::default() };
        let images = |config: &RunConfig| {
            let parts = config.parts();
            Architecture::of(config).unwrap().images_at_once(config, parts)
        };
        assert_eq!(images(&small), 256);
        assert_eq!(images(&RunConfig { batch_size: 300, ..small.clone() }), 300);
        let few = RunConfig { dataset: synthetic([100, 30, 20], [1, 28, 28]), ..small.clone() };
        assert_eq!(images(&few), 30);
        assert_eq!(images(&RunConfig { batch_size: 128, ..few }), 100);
        let large = RunConfig {
            dataset: synthetic([1000, 300, 20], [3, 224, 224]),
            model: Model::Alexnet { pooling: Pooling::Overlapping, lrn: false },
            ..small
        };
        let network = Architecture::of(&large).unwrap();
        let found = images(&large);
        let image = network.passing_bytes(network.layers.iter());
        let more = (found as u64 - 16) * image;
        assert!(more <= EVALUATION_BYTES && more + image > EVALUATION_BYTES);
        // A measurement looks at the images that it is asked to look at.
        let drift = Measurement::Drift { samples: 200 };
        let measured = RunConfig { measure: Measurements::new(vec![drift]), ..large };
        assert_eq!(images(&measured), 200);
    }
}
