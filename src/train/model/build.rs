//! From an [`Architecture`] to layers that compute.

use super::network::{InputOrder, Network};
use crate::spec::RunConfig;
use crate::spec::architecture::{Architecture, Layer as Description, Operation, Window};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::activation::Activation;
use crate::train::layer::adaptive_avg_pool2d::AdaptiveAvgPool2d;
use crate::train::layer::batch_norm::BatchNorm;
use crate::train::layer::conv2d::{Conv2d, Convolution};
use crate::train::layer::dropout::{Dropout, DropoutLane};
use crate::train::layer::flatten::Flatten;
use crate::train::layer::linear::{Bias, Linear};
use crate::train::layer::max_pool2d::MaxPool2d;
use crate::train::layer::patches;
use crate::train::layer::{Layer, Shape};

/// What is to be built: the same network for every lane, but for the seed and the probabilities of
/// dropout.
struct Plan<'a> {
    lanes: &'a [RunConfig],
    /// The network of each lane.
    architectures: &'a [Architecture],
    /// Samples of a lane in one pass.
    capacity: usize,
}

/// The network of `lanes`, whose architectures these are, at 0.
///
/// # Errors
/// When the tensor library cannot allocate.
pub fn network<T: Real>(
    lanes: &[RunConfig],
    architectures: &[Architecture],
    capacity: usize,
) -> Result<Network<T>, TrainError> {
    let plan = Plan { lanes, architectures, capacity };
    let architecture = &architectures[0];
    let mut descriptions = architecture.layers.iter().enumerate().peekable();
    let mut input = (architecture.input, InputOrder::ChannelsLast);
    // Images that are flattened at once are handed over flat.
    if let Some((_, first)) = descriptions.next_if(|(_, layer)| is_flatten(layer)) {
        input = (first.output, InputOrder::ChannelsFirst);
    }
    let layers = descriptions
        .filter_map(|(place, description)| plan.layer(place, description).transpose())
        .collect::<Result<_, _>>()?;
    Network::new(layers, lanes.len(), capacity, input)
}

fn is_flatten(layer: &Description) -> bool {
    layer.operation == Operation::Flatten
}

impl Plan<'_> {
    /// One layer; `None` for a dropout that drops nothing in any lane.
    fn layer<T: Real>(
        &self,
        place: usize,
        description: &Description,
    ) -> Result<Option<Box<dyn Layer<T>>>, TrainError> {
        let Description { name, input, output, weights, .. } = description;
        let (lanes, capacity) = (self.lanes.len(), self.capacity);
        let numbers = (name.number, *weights);
        Ok(Some(match &description.operation {
            Operation::Conv2d { channels, window, groups, bias } => {
                let (channels, groups, bias) = (*channels, *groups, with(*bias));
                let convolution = Convolution { channels, window: taps(*window), groups, bias };
                Box::new(Conv2d::new(lanes, numbers, *input, convolution)?)
            }
            Operation::Linear { units, bias } => {
                let shape = (input.units(), *units);
                Box::new(Linear::new(lanes, numbers, shape, with(*bias))?)
            }
            Operation::MaxPool2d { window, .. } => {
                let shape = (window.kernel, window.stride);
                Box::new(MaxPool2d::new(lanes, capacity, *input, shape)?)
            }
            Operation::AdaptiveAvgPool2d { .. } => {
                Box::new(AdaptiveAvgPool2d::new(*input, [output.height, output.width]))
            }
            Operation::BatchNorm => Box::new(BatchNorm::new(lanes, name.number, *input)?),
            Operation::Activation(function) => Box::new(Activation::new(function.clone(), *input)),
            Operation::Dropout { .. } => return self.dropout(place, *input, name.number),
            Operation::Flatten => Box::new(Flatten::new(*input)),
            Operation::AvgPool2d { .. } | Operation::LocalResponseNorm { .. } => {
                return Err(TrainError::NoSuchLayer { layer: name.to_string() });
            }
        }))
    }

    /// The dropout at a place, if a lane drops anything there. Layers that drop nothing count too,
    /// so that a probability changes no other layer's draws.
    fn dropout<T: Real>(
        &self,
        place: usize,
        shape: Shape,
        number: usize,
    ) -> Result<Option<Box<dyn Layer<T>>>, TrainError> {
        let lane = |(config, architecture): (&RunConfig, &Architecture)| {
            let probability = match architecture.layers[place].operation {
                Operation::Dropout { p } => p,
                _ => 0.0,
            };
            DropoutLane { seed: config.seed, probability }
        };
        let lanes: Vec<DropoutLane> = self.lanes.iter().zip(self.architectures).map(lane).collect();
        if lanes.iter().all(|lane| lane.probability == 0.0) {
            return Ok(None);
        }
        Ok(Some(Box::new(Dropout::new(&lanes, self.capacity, shape, number as u32 - 1)?)))
    }
}

fn with(bias: bool) -> Bias {
    if bias { Bias::With } else { Bias::Without }
}

fn taps(window: Window) -> patches::Window {
    patches::Window {
        dilation: [window.dilation; 2],
        ..patches::Window::square(window.kernel, window.stride, window.padding)
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
