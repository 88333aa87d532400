//! `memory`: bytes that the engine has allocated, by what they are for.
//!
//! Per lane, what the lane itself needs, in the first epoch: they do not change. What matrix products
//! pack, some megabytes, and the program itself are not counted; `peak_memory_bytes` of the run has
//! everything.

use std::sync::Arc;

use super::{Label, Measured};
use crate::train::kernel::Real;
use crate::train::model::Network;

/// Bytes of what does not lie in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the optimizer keeps, for every lane.
    pub optimizer: Vec<usize>,
    /// Images and labels of all parts, which the lanes share.
    pub data: usize,
}

impl Memory {
    /// These and those of the network.
    pub fn measured<T: Real>(&self, network: &Network<T>) -> Vec<Measured> {
        let size = size_of::<T>();
        let layers: Arc<[Label]> = Arc::new([Label::network()]);
        let measured = |name, bytes: &dyn Fn(usize) -> usize| {
            let values: Vec<f64> = (0..network.lanes()).map(|lane| bytes(lane) as f64).collect();
            Measured::shared(name, &layers, &values)
        };
        let parameters =
            |lane| network.parameters_of(lane).map(|parameter| parameter.len() * size).sum();
        vec![
            measured("memory_weights_bytes", &parameters),
            measured("memory_gradients_bytes", &parameters),
            measured("memory_optimizer_bytes", &|lane| self.optimizer[lane]),
            measured("memory_activations_bytes", &|lane| network.activation_bytes(lane)),
            measured("memory_scratch_bytes", &|lane| network.scratch_bytes(lane)),
            measured("memory_data_bytes", &|_| self.data),
        ]
    }
}
