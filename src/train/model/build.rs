//! From an [`Architecture`] to layers that compute.

use super::network::{InputOrder, Network};
use crate::spec::RunConfig;
use crate::spec::architecture::{Architecture, Layer as Description, Operation, Window};
use crate::train::error::TrainError;
use crate::train::kernel::{Real, Workspace};
use crate::train::layer::activation::Activation;
use crate::train::layer::avg_pool2d::AvgPool2d;
use crate::train::layer::batch_norm::BatchNorm;
use crate::train::layer::conv2d::{Conv2d, Convolution};
use crate::train::layer::dropout::{Dropout, DropoutLane};
use crate::train::layer::flatten::Flatten;
use crate::train::layer::linear::{Bias, Linear};
use crate::train::layer::local_response_norm::{LocalResponseNorm, Response};
use crate::train::layer::max_pool2d::MaxPool2d;
use crate::train::layer::patches;
use crate::train::layer::pool_windows::Pool;
use crate::train::layer::{Layer, Shape};
use crate::train::measure::Label;

/// What is to be built: the same network for every lane, but for the seed and the probabilities of
/// dropout.
struct Plan<'a, T> {
    lanes: &'a [RunConfig],
    /// The network of each lane.
    architectures: &'a [Architecture],
    /// Samples of a lane in one pass.
    capacity: usize,
    /// What the layers share while they compute.
    workspace: Workspace<T>,
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
    let plan = Plan { lanes, architectures, capacity, workspace: Workspace::default() };
    let architecture = &architectures[0];
    let mut descriptions = architecture.layers.iter().enumerate().peekable();
    let mut input = (architecture.input, InputOrder::ChannelsLast);
    // Images that are flattened at once are handed over flat.
    if let Some((_, first)) = descriptions.next_if(|(_, layer)| is_flatten(layer)) {
        input = (first.output, InputOrder::ChannelsFirst);
    }
    let layers = descriptions
        .filter_map(|(place, description)| {
            let label = Label::new(description.name.to_string());
            let layer = plan.layer(place, description).transpose()?;
            Some(layer.map(|layer| (label, layer)))
        })
        .collect::<Result<_, _>>()?;
    Network::new(layers, lanes.len(), capacity, input, plan.workspace)
}

fn is_flatten(layer: &Description) -> bool {
    layer.operation == Operation::Flatten
}

impl<T: Real> Plan<'_, T> {
    /// One layer; `None` for a dropout that drops nothing in any lane.
    fn layer(
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
                let memory = (&self.workspace, capacity);
                Box::new(Conv2d::new(lanes, numbers, *input, convolution, memory)?)
            }
            Operation::Linear { units, bias } => {
                let shape = (input.units(), *units);
                Box::new(Linear::new(lanes, numbers, shape, with(*bias))?)
            }
            Operation::MaxPool2d { window, ceil } => {
                Box::new(MaxPool2d::new(lanes, capacity, *input, pool(*window, *ceil))?)
            }
            Operation::AvgPool2d { window } => {
                Box::new(AvgPool2d::new(*input, pool(*window, false), true)?)
            }
            Operation::AdaptiveAvgPool2d { .. } => {
                Box::new(AvgPool2d::adaptive(*input, [output.height, output.width]))
            }
            Operation::BatchNorm => {
                let how = |lane: &RunConfig| lane.batch_norm.normalisation().unwrap_or_default();
                let lanes = self.lanes.iter().map(how).collect();
                Box::new(BatchNorm::new(lanes, name.number, *input)?)
            }
            &Operation::LocalResponseNorm { size, alpha, beta, k } => {
                let response = Response { size, alpha, beta, k };
                Box::new(LocalResponseNorm::new(lanes, capacity, *input, response)?)
            }
            Operation::Activation(_) => Box::new(self.activation(place, *input)),
            Operation::Dropout { .. } => return self.dropout(place, *input, name.number),
            Operation::Flatten => Box::new(Flatten::new(*input)),
        }))
    }

    /// The activation at a place; every lane has its own.
    fn activation(&self, place: usize, shape: Shape) -> Activation {
        let function = |architecture: &Architecture| match &architecture.layers[place].operation {
            Operation::Activation(function) => function.clone(),
            _ => unreachable!("invariant: the lanes of a network have the same layers"),
        };
        Activation::new(self.architectures.iter().map(function).collect(), shape)
    }

    /// The dropout at a place, if a lane drops anything there. Layers that drop nothing count too,
    /// so that a probability changes no other layer's draws.
    fn dropout(
        &self,
        place: usize,
        shape: Shape,
        number: usize,
    ) -> Result<Option<Box<dyn Layer<T>>>, TrainError> {
        let lane = |(config, architecture): (&RunConfig, &Architecture)| {
            let probability = match architecture.layers[place].operation {
                Operation::Dropout { p } => p,
                _ => unreachable!("invariant: the lanes of a network have the same layers"),
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

fn pool(window: Window, ceil_mode: bool) -> Pool {
    let padding = [window.padding; 2];
    Pool { padding, ceil_mode, ..Pool::square(window.kernel, window.stride) }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
