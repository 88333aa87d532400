//! `memory`: bytes that the engine has allocated, by what they are for.
//!
//! Per lane, in the first epoch: they do not change. What matrix products pack, some megabytes, and the
//! program itself are not counted; `peak_memory_bytes` of the run has everything.

use std::sync::Arc;

use super::{Label, Measured};
use crate::train::kernel::Real;
use crate::train::model::Network;

/// Bytes of what does not lie in the network, per lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What the optimizer keeps.
    pub optimizer: usize,
    /// Images and labels of all parts, which the lanes share.
    pub data: usize,
}

impl Memory {
    /// These and those of the network.
    pub fn measured<T: Real>(&self, network: &Network<T>) -> Vec<Measured> {
        let size = size_of::<T>();
        let parameters: usize = network.parameters().map(|parameter| parameter.len() * size).sum();
        let layers: Arc<[Label]> = Arc::new([Label::network()]);
        [
            ("memory_weights_bytes", parameters),
            ("memory_gradients_bytes", parameters),
            ("memory_optimizer_bytes", self.optimizer),
            ("memory_activations_bytes", network.activation_bytes()),
            ("memory_scratch_bytes", network.scratch_bytes()),
            ("memory_data_bytes", self.data),
        ]
        .map(|(measurement, bytes)| Measured {
            measurement,
            layers: Arc::clone(&layers),
            values: vec![bytes as f64; network.lanes()],
        })
        .to_vec()
    }
}
