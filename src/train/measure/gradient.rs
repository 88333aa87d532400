//! `gradient_norm`: how large the gradients are, layer by layer.
//!
//! The L2 norm of the gradient of the batch's mean loss with respect to each layer's weight, which
//! is what papers plot against depth (Glorot and Bengio, 2010, figure 7), and with respect to all
//! parameters, biases too, as the norm of the network.

use std::sync::Arc;

use super::{At, Label, LaneMeasured, Measured, is_weight, sum_of_squares, weighted_layers};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::model::Network;

/// Measures in every `every`-th step.
pub struct GradientNorm {
    every: u64,
    /// Of every lane: those with a weight, and the whole network.
    layers: Vec<Arc<[Label]>>,
}

impl GradientNorm {
    pub fn new<T: Real>(every: u64, network: &Network<T>) -> Self {
        let whole = |layers: Vec<Label>| layers.into_iter().chain([Label::network()]).collect();
        Self { every, layers: weighted_layers(network).map(whole).collect() }
    }

    /// Is it the turn of this step?
    pub fn is_due(&self, at: At) -> bool {
        at.step.is_multiple_of(self.every)
    }

    /// The norms after a backward pass, before anything clips or scales the gradients.
    pub fn measure<T: Real>(&self, network: &Network<T>) -> Result<Measured, TrainError> {
        let lane = |(lane, layers): (usize, &Arc<[Label]>)| {
            let mut values = Vec::with_capacity(layers.len());
            let mut all = 0.0;
            for parameter in network.parameters_of(lane) {
                let gradient = parameter.gradient.read()?;
                let gradient = gradient.lane(lane, parameter.len());
                let sum = sum_of_squares(gradient.iter().map(|x| x.wide()));
                all += sum;
                if is_weight(parameter) {
                    values.push(sum.sqrt());
                }
            }
            values.push(all.sqrt());
            Ok(Some(LaneMeasured { layers: Arc::clone(layers), values }))
        };
        let lanes = self.layers.iter().enumerate().map(lane).collect::<Result<_, TrainError>>()?;
        Ok(Measured { measurement: "gradient_norm", lanes })
    }
}
