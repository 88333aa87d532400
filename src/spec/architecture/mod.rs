//! What a network is: a list of layers as plain data, with the shapes between them.
//!
//! In: a configuration, the shape of its images, the number of its classes. Out: an [`Architecture`],
//! or an [`Unfit`] that names the layer that does not fit. It is the one definition of every network:
//! the plan is checked against it, the engine builds from it, `gridlane model` prints it.
//!
//! A definition (`alexnet.rs` and its neighbours) names its layers one after the other to a
//! `draft::Draft`, which works out the shapes.

mod accelerated;
mod alexnet;
mod alexnet32;
mod alexnet_paper;
mod augmented;
pub mod cost;
mod draft;
pub mod layer;
mod layers;
mod memory;
mod mlp;
mod scratch;
mod window;

pub use accelerated::{CONVOLUTION_BYTES, PRODUCT_BYTES, library_bytes};
pub use draft::{Unfit, smallest_side, walk};
pub use layer::{Layer, LayerName, Operation, Shape};
pub use memory::Memory;
pub use window::Window;

use super::RunConfig;

/// A network: its layers in the order in which a sample passes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Shape of one image.
    pub input: Shape,
    /// Number of classes, which is also the number of units that the last layer gives.
    pub classes: usize,
    /// The layers, among them dropout layers that drop nothing, see [`Layer::is_idle`].
    pub layers: Vec<Layer>,
}

impl Architecture {
    /// The network of `config` for images of shape `image` (channels, height, width).
    ///
    /// # Errors
    /// When a layer does not fit what arrives at it.
    pub fn new(config: &RunConfig, image: [usize; 3], classes: usize) -> Result<Self, Unfit> {
        let mut layers = Vec::new();
        walk(config, image, classes, &mut |layer| layers.push(layer))?;
        let [channels, height, width] = image;
        Ok(Self { input: Shape { height, width, channels }, classes, layers })
    }

    /// The network of `config` on the images of its data set, as the augmentation leaves them.
    ///
    /// # Errors
    /// When a layer does not fit what arrives at it.
    pub fn of(config: &RunConfig) -> Result<Self, Unfit> {
        Self::new(config, config.input_shape(), config.dataset.classes())
    }

    /// The layers that do something.
    pub fn working_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| !layer.is_idle())
    }

    /// Every parameter by its saved name and PyTorch's shape, in the fixed order of the engine.
    pub fn parameters(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        self.layers.iter().flat_map(|layer| named(layer, layer.parameter_shapes()))
    }

    /// Every running statistic by its saved name and shape.
    pub fn states(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        self.layers.iter().flat_map(|layer| named(layer, layer.state_shapes()))
    }
}

fn named(
    layer: &Layer,
    shapes: Vec<(&'static str, Vec<usize>)>,
) -> impl Iterator<Item = (String, Vec<usize>)> + use<> {
    let name = layer.name;
    shapes.into_iter().map(move |(part, shape)| (format!("{name}.{part}"), shape))
}

#[cfg(test)]
mod tests;
