//! `update_ratio`: how far the last update of an epoch moved each weight, relative to its length.
//!
//! `|w' - w| / |w|` of the update as it was made, whatever the optimizer: rate, momentum, moments
//! and decay are all in it. About 1e-3 is healthy (a rule of thumb: Karpathy, CS231n notes).

use std::sync::Arc;

use super::{Label, Measured, sum_of_squares, weights};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::model::Network;

/// Keeps the weights from before an update.
pub struct UpdateRatio<T> {
    layers: Arc<[Label]>,
    /// Every weight, (L, ...), as it was.
    before: Vec<Vec<T>>,
}

impl<T: Real> UpdateRatio<T> {
    pub fn new(network: &Network<T>) -> Self {
        let lanes = network.lanes();
        Self {
            layers: weights(network).map(|weight| Label::of_parameter(&weight.name)).collect(),
            before: weights(network).map(|weight| vec![T::ZERO; lanes * weight.len()]).collect(),
        }
    }

    /// Takes note of the weights.
    pub fn keep(&mut self, network: &Network<T>) -> Result<(), TrainError> {
        for (weight, before) in weights(network).zip(&mut self.before) {
            before.copy_from_slice(&weight.value.read()?[..]);
        }
        Ok(())
    }

    /// Compares them with what they have become.
    pub fn measure(&self, network: &Network<T>) -> Result<Measured, TrainError> {
        let mut measured = Measured::new("update_ratio", &self.layers, network.lanes());
        for (layer, (weight, before)) in weights(network).zip(&self.before).enumerate() {
            let (value, len) = (weight.value.read()?, weight.len());
            for lane in 0..network.lanes() {
                let (now, before) = (value.lane(lane, len), &before[lane * len..][..len]);
                let moved = now.iter().zip(before).map(|(now, before)| now.wide() - before.wide());
                let length = sum_of_squares(before.iter().map(|x| x.wide()));
                let ratio = (sum_of_squares(moved) / length).sqrt();
                measured.values[lane * self.layers.len() + layer] = ratio;
            }
        }
        Ok(measured)
    }
}
