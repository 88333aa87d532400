//! The networks: from a configuration to layers.

mod alexnet32;
mod builder;
#[cfg(test)]
mod gradients;
mod mlp;
mod network;

pub use network::{InputOrder, Network};

use super::error::TrainError;
use super::init;
use super::kernel::Real;
use crate::spec::RunConfig;
use crate::spec::model::Model;

/// The network of `lanes` (whose shapes agree) for images of shape (C, H, W), with its initial
/// weights and room for `capacity` images of each lane.
///
/// # Errors
/// When the images are too small for the network, or the tensor library cannot allocate.
pub fn build<T: Real>(
    lanes: &[RunConfig],
    image: [usize; 3],
    classes: usize,
    capacity: usize,
) -> Result<Network<T>, TrainError> {
    let mut network = match &lanes[0].model {
        Model::Mlp { hidden } => mlp::build(lanes, hidden, (image, classes), capacity)?,
        Model::Alexnet32 => alexnet32::build(lanes, (image, classes), capacity)?,
    };
    let depth = init::Depth::of(network.parameters());
    for parameter in network.parameters_mut() {
        for (lane, config) in lanes.iter().enumerate() {
            init::start(parameter, lane, &config.init, (config.seed, depth))?;
        }
    }
    Ok(network)
}
