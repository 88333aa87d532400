//! From the [`Architecture`]s of the lanes to layers that compute.

use super::merge::{Merged, merge};
use super::network::{InputOrder, Network, Stage};
use crate::spec::RunConfig;
use crate::spec::architecture::{Architecture, Layer as Description, Operation, Window};
use crate::spec::batch_norm::Normalisation;
use crate::train::error::TrainError;
use crate::train::kernel::{Real, Workspace};
use crate::train::lane_set::LaneSet;
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

/// What is to be built: the same network for every lane, but for the seed, batch normalisation, the
/// functions of activation and the probabilities of dropout.
struct Plan<'a, T> {
    lanes: &'a [RunConfig],
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
    let plan = Plan { lanes, capacity, workspace: Workspace::default() };
    let mut merged = merge(architectures).into_iter().peekable();
    let mut input = (architectures[0].input, InputOrder::ChannelsLast);
    // Images that are flattened at once are handed over flat.
    if let Some(first) = merged.next_if(|layer| layer.description().operation == Operation::Flatten)
    {
        input = (first.description().output, InputOrder::ChannelsFirst);
    }
    let stages = merged
        .map(|layer| (layer.working(), layer))
        // A dropout that drops nothing in any lane.
        .filter(|(working, _)| !working.is_empty())
        .map(|(lanes, merged)| {
            let label = Label::new(merged.description().name.to_string());
            Ok(Stage { label, lanes, layer: plan.layer(&merged)? })
        })
        .collect::<Result<_, TrainError>>()?;
    Network::new(stages, lanes.len(), capacity, input, plan.workspace)
}

impl<T: Real> Plan<'_, T> {
    /// One layer.
    fn layer(&self, merged: &Merged<'_>) -> Result<Box<dyn Layer<T>>, TrainError> {
        let Description { name, input, output, weights, operation } = merged.description();
        let (lanes, capacity) = (self.lanes.len(), self.capacity);
        let precision = self.lanes[0].precision;
        let numbers = (name.number, *weights);
        let bias = Bias::In(merged.biased());
        Ok(match operation {
            Operation::Conv2d { channels, window, groups, .. } => {
                let (channels, groups) = (*channels, *groups);
                let convolution = Convolution { channels, window: taps(*window), groups, bias };
                let memory = (&self.workspace, capacity);
                let layer = Conv2d::new(lanes, numbers, *input, convolution, memory)?;
                Box::new(layer.in_precision(precision))
            }
            Operation::Linear { units, .. } => {
                let shape = (input.units(), *units);
                Box::new(Linear::new(lanes, numbers, shape, bias)?.in_precision(precision))
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
                let lanes = self.normalisations(&merged.working());
                Box::new(BatchNorm::new(lanes, name.number, *input)?)
            }
            &Operation::LocalResponseNorm { size, alpha, beta, k } => {
                let response = Response { size, alpha, beta, k };
                Box::new(LocalResponseNorm::new(lanes, capacity, *input, response)?)
            }
            Operation::Activation(_) => Box::new(activation(merged, *input)),
            Operation::Dropout { .. } => {
                let number = name.number as u32 - 1;
                Box::new(Dropout::new(&self.dropouts(merged), capacity, *input, number)?)
            }
            Operation::Flatten => Box::new(Flatten::new(*input)),
        })
    }

    /// How the lanes of a set normalise: as the key says, a fixed layer by default.
    fn normalisations(&self, lanes: &LaneSet) -> Vec<Option<Normalisation>> {
        let how = |(lane, config): (usize, &RunConfig)| {
            let key = || config.batch_norm.normalisation().unwrap_or_default();
            lanes.contains(lane).then(key)
        };
        self.lanes.iter().enumerate().map(how).collect()
    }

    /// What every lane drops. Layers that drop nothing count too, so that a probability changes no
    /// other layer's draws.
    fn dropouts(&self, merged: &Merged<'_>) -> Vec<DropoutLane> {
        let lane = |(config, layer): (&RunConfig, &Option<&Description>)| match layer {
            Some(Description { operation: Operation::Dropout { p }, .. }) => {
                DropoutLane { seed: config.seed, probability: *p }
            }
            _ => unreachable!("invariant: all lanes have a dropout where one has"),
        };
        self.lanes.iter().zip(&merged.lanes).map(lane).collect()
    }
}

/// An activation; every lane has its own.
fn activation(merged: &Merged<'_>, shape: Shape) -> Activation {
    let function = |layer: &Option<&Description>| match layer {
        Some(Description { operation: Operation::Activation(function), .. }) => function.clone(),
        _ => unreachable!("invariant: all lanes have an activation where one has"),
    };
    Activation::new(merged.lanes.iter().map(function).collect(), shape)
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
