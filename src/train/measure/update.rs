//! `update_ratio`: how far the last update of an epoch moved each weight, relative to its length.
//!
//! `|w' - w| / |w|` of the update as it was made, whatever the optimizer: rate, momentum, moments
//! and decay are all in it. About 1e-3 is healthy (a rule of thumb: Karpathy, CS231n notes).

use std::sync::Arc;

use super::{Label, LaneMeasured, Measured, is_weight, sum_of_squares, weighted_layers};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::Parameter;
use crate::train::model::Network;

/// Keeps the weights from before an update.
pub struct UpdateRatio<T> {
    /// Of every lane: those with a weight.
    layers: Vec<Arc<[Label]>>,
    /// Every weight, (L, ...), as it was.
    before: Vec<Vec<T>>,
}

/// The weights of all lanes.
fn weights<T: Real>(network: &Network<T>) -> impl Iterator<Item = &Parameter<T>> {
    network.parameters().filter(|parameter| is_weight(parameter))
}

impl<T: Real> UpdateRatio<T> {
    pub fn new(network: &Network<T>) -> Self {
        let lanes = network.lanes();
        Self {
            layers: weighted_layers(network).map(Arc::from).collect(),
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
        let lane = |layers: &Arc<[Label]>| LaneMeasured {
            layers: Arc::clone(layers),
            values: Vec::with_capacity(layers.len()),
        };
        let mut lanes: Vec<LaneMeasured> = self.layers.iter().map(lane).collect();
        for (weight, before) in weights(network).zip(&self.before) {
            let (value, len) = (weight.value.read()?, weight.len());
            for lane in weight.lanes.iter() {
                let (now, before) = (value.lane(lane, len), &before[lane * len..][..len]);
                let moved = now.iter().zip(before).map(|(now, before)| now.wide() - before.wide());
                let length = sum_of_squares(before.iter().map(|x| x.wide()));
                lanes[lane].values.push((sum_of_squares(moved) / length).sqrt());
            }
        }
        let lanes = lanes.into_iter().map(Some).collect();
        Ok(Measured { measurement: "update_ratio", lanes })
    }
}
