//! What a run needs in the memory of a GPU, where that is not what it needs in main memory.
//!
//! What is allocated there is taken, whether or not it is touched: gradients between layers have room for
//! as many images as pass at once, not only for a batch. Convolutions work in other memory, and what is
//! computed in bf16 has copies in it.

use super::Architecture;
use super::layer::{Layer, Operation};
use super::memory::{Memory, data};
use crate::spec::RunConfig;
use crate::spec::device::Device;
use crate::spec::precision::Precision;

/// Most bytes that the convolutions of all lanes work in at a time: patches, or what the library of
/// convolutions asks for. One image's patches may need more.
pub const CONVOLUTION_BYTES: u64 = 1 << 28;

/// Bytes that matrix products work in.
pub const PRODUCT_BYTES: u64 = 32 << 20;

/// Bytes that the driver and CUDA's libraries take for a process that uses a GPU: its context and their
/// kernels. A round figure, on the large side for GPUs before Hopper.
const CONTEXT_BYTES: u64 = 512 << 20;

/// Bytes that NCCL keeps on each GPU of a run on several: buffers of its channels. Some 540 to 690 MB
/// are reported (at NVIDIA/nccl) of 2 and 4 A100 on NVLink, 1.06 GB of 8 H100: it grows with the channels
/// that the links are worth, not with what is summed.
pub const COLLECTIVE_BYTES: u64 = 1 << 30;

/// Bytes that the driver and CUDA's libraries take on each GPU of a run on so many.
pub fn library_bytes(devices: u32) -> u64 {
    CONTEXT_BYTES + collective_bytes(devices)
}

fn collective_bytes(devices: u32) -> u64 {
    if devices > 1 { COLLECTIVE_BYTES } else { 0 }
}

/// Bytes of a number, and of one in bf16.
const NUMBER: u64 = 4;
const ROUNDED: u64 = 2;

impl Architecture {
    /// What a run needs where it trains: on a GPU if it can train nowhere else, in main memory if it can.
    pub fn memory_where_it_trains(&self, config: &RunConfig) -> Memory {
        match config.device == Device::Cuda || config.precision.needs_gpu() {
            true => self.memory_on_gpu(config),
            false => self.memory(config),
        }
    }

    /// What a run of `config` on this network needs in the memory of a GPU.
    pub fn memory_on_gpu(&self, config: &RunConfig) -> Memory {
        let main = self.memory(config);
        // Every GPU has all images.
        let data = data(config, config.parts());
        let room = self.images_at_once(config, config.parts()) as u64;
        let copies = |of: u64| if config.precision == Precision::Bf16 { of } else { 0 };
        let largest = self.working_layers().map(|layer| layer.output.units() as u64).max();
        let gradients = (2 * NUMBER * largest.unwrap_or(0)).saturating_mul(room);
        let convolutions = self.convolution_bytes().unwrap_or(0);
        let shared = convolutions + PRODUCT_BYTES + collective_bytes(config.devices);
        let rounded = self.working_layers().map(rounded_gradients).max().unwrap_or(0);
        let inputs = self.working_layers().filter(|layer| multiplies(layer));
        let inputs: u64 = inputs.map(|layer| layer.input.units() as u64 * ROUNDED).sum();
        let kept = self.working_layers().map(Layer::dropped_bytes).sum();
        let passing = self.passing_bytes(self.working_layers()).saturating_add(kept);
        Memory {
            weights: main.weights.saturating_add(copies(main.gradients / NUMBER * ROUNDED)),
            activations: passing
                .saturating_add(copies(inputs))
                .saturating_mul(room)
                .saturating_add(self.augmented_bytes(config)),
            scratch: gradients
                .saturating_add(copies(rounded.saturating_mul(room)))
                .saturating_add(shared),
            data,
            program: CONTEXT_BYTES,
            shared: data.saturating_add(CONTEXT_BYTES).saturating_add(shared),
            ..main
        }
    }

    /// What the largest convolution works in; `None` without one.
    fn convolution_bytes(&self) -> Option<u64> {
        let of_image = |layer: &Layer| match layer.operation {
            Operation::Conv2d { window, .. } => {
                let taps = (window.kernel * window.kernel * layer.input.channels) as u64;
                Some((layer.output.height * layer.output.width) as u64 * taps * NUMBER)
            }
            _ => None,
        };
        let largest = self.working_layers().filter_map(of_image).max()?;
        Some(largest.max(CONVOLUTION_BYTES))
    }
}

/// Does the layer multiply with weights?
fn multiplies(layer: &Layer) -> bool {
    matches!(layer.operation, Operation::Conv2d { .. } | Operation::Linear { .. })
}

/// Bytes of one image's gradients in bf16: that of the output, and of a convolution that of the input.
fn rounded_gradients(layer: &Layer) -> u64 {
    let units = match layer.operation {
        Operation::Conv2d { .. } => layer.output.units().saturating_add(layer.input.units()),
        Operation::Linear { .. } => layer.output.units(),
        _ => 0,
    };
    units as u64 * ROUNDED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::Model;

    fn needs(config: &RunConfig) -> Memory {
        Architecture::of(config).unwrap().memory_on_gpu(config)
    }

    #[test]
    fn convolutions_work_in_a_piece_of_memory_that_lanes_share() {
        let config = RunConfig { model: Model::Alexnet32, ..RunConfig::default() };
        let (mlp, conv) = (needs(&RunConfig::default()), needs(&config));
        assert!(mlp.scratch < CONVOLUTION_BYTES && conv.scratch > CONVOLUTION_BYTES);
        assert!(conv.shared > CONVOLUTION_BYTES + PRODUCT_BYTES + CONTEXT_BYTES);
        let four = Memory::of_group([conv; 4]);
        assert_eq!(four, 4 * (conv.total() - conv.shared) + conv.shared);
    }

    #[test]
    fn several_gpus_have_the_buffers_of_their_sums() {
        let one = RunConfig::default();
        let two = RunConfig { devices: 2, batch_size: 2 * one.batch_size, ..one.clone() };
        let [two, alone] = [two, one].map(|config| needs(&config));
        assert_eq!(two.scratch - alone.scratch, COLLECTIVE_BYTES);
        assert_eq!(two.shared - alone.shared, COLLECTIVE_BYTES, "lanes share them");
    }

    #[test]
    fn bf16_has_copies_of_weights_inputs_and_gradients() {
        let wide = RunConfig { model: Model::Mlp { hidden: vec![32] }, ..RunConfig::default() };
        let rounded = RunConfig { precision: Precision::Bf16, ..wide.clone() };
        let [wide, rounded] = [needs(&wide), needs(&rounded)];
        let learnt = 785 * 32 + 33 * 10;
        assert_eq!(rounded.weights - wide.weights, 2 * learnt);
        assert_eq!(rounded.gradients, wide.gradients);
        // 256 images are evaluated at once.
        assert_eq!(rounded.activations - wide.activations, 256 * 2 * (784 + 32));
        assert_eq!(rounded.scratch - wide.scratch, 256 * 2 * 32);
        let tf32 = RunConfig { precision: Precision::Tf32, ..RunConfig::default() };
        assert_eq!(needs(&tf32), needs(&RunConfig::default()));
    }

    #[test]
    fn what_can_only_train_on_a_gpu_is_told_what_it_needs_there() {
        let auto = RunConfig { model: Model::Alexnet32, ..RunConfig::default() };
        let told =
            |config: &RunConfig| Architecture::of(config).unwrap().memory_where_it_trains(config);
        assert!(told(&auto).scratch < CONVOLUTION_BYTES);
        let cuda = RunConfig { device: Device::Cuda, ..auto.clone() };
        let bf16 = RunConfig { precision: Precision::Bf16, ..auto };
        assert!([cuda, bf16].iter().all(|config| told(config).scratch > CONVOLUTION_BYTES));
    }
}
