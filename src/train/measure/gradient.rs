//! `gradient_norm`: how large the gradients are, layer by layer.
//!
//! The L2 norm of the gradient of the batch's mean loss with respect to each layer's weight, which
//! is what papers plot against depth (Glorot and Bengio, 2010, figure 7), and with respect to all
//! parameters, biases too, as the norm of the network.

use std::sync::Arc;

use super::{At, Label, Measured, sum_of_squares, weights};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::model::Network;

/// Measures in every `every`-th step.
pub struct GradientNorm {
    every: u64,
    layers: Arc<[Label]>,
}

impl GradientNorm {
    pub fn new<T: Real>(every: u64, network: &Network<T>) -> Self {
        let layers = weights(network).map(|weight| Label::of_parameter(&weight.name));
        Self { every, layers: layers.chain([Label::network()]).collect() }
    }

    /// Is it the turn of this step?
    pub fn is_due(&self, at: At) -> bool {
        at.step.is_multiple_of(self.every)
    }

    /// The norms after a backward pass, before anything clips or scales the gradients.
    pub fn measure<T: Real>(&self, network: &Network<T>) -> Result<Measured, TrainError> {
        let mut measured = Measured::new("gradient_norm", &self.layers, network.lanes());
        let layers = self.layers.len();
        for lane in 0..network.lanes() {
            let values = &mut measured.values[lane * layers..][..layers];
            let mut all = 0.0;
            let mut place = 0;
            for parameter in network.parameters() {
                let gradient = parameter.gradient.read()?;
                let gradient = gradient.lane(lane, parameter.len());
                let sum = sum_of_squares(gradient.iter().map(|x| x.wide()));
                all += sum;
                if parameter.name.ends_with(".weight") {
                    values[place] = sum.sqrt();
                    place += 1;
                }
            }
            values[layers - 1] = all.sqrt();
        }
        Ok(measured)
    }
}
