//! The networks: from an architecture to layers with weights.

mod build;
#[cfg(test)]
mod gradients;
mod merge;
mod network;

pub use network::{InputOrder, Network};

use super::error::TrainError;
use super::init;
use super::kernel::Real;
use crate::spec::RunConfig;
use crate::spec::architecture::Architecture;

/// The network of `lanes` (which agree but for batch normalisation) for images of shape (C, H, W), with its initial
/// weights and room for `capacity` images of each lane.
///
/// # Errors
/// When a layer does not fit what arrives at it, or the tensor library cannot allocate.
///
/// # Panics
/// If the layers of the lanes differ in more than batch normalisation.
pub fn build<T: Real>(
    lanes: &[RunConfig],
    image: [usize; 3],
    classes: usize,
    capacity: usize,
) -> Result<Network<T>, TrainError> {
    let architectures: Vec<Architecture> = lanes
        .iter()
        .map(|lane| Architecture::new(lane, image, classes))
        .collect::<Result<_, _>>()?;
    let mut network = build::network(lanes, &architectures, capacity)?;
    let depth = init::Depth::of(network.parameters());
    for parameter in network.parameters_mut() {
        for (lane, config) in lanes.iter().enumerate() {
            if parameter.lanes.contains(lane) {
                init::start(parameter, lane, &config.init, (config.seed, depth))?;
            }
        }
    }
    Ok(network)
}
