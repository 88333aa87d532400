//! The multi-layer perceptron: hidden linear layers with activation, and a linear layer of logits.

use super::draft::{Draft, LEAST_UNITS, Unfit, scaled};

/// After every hidden linear layer: batch normalisation if wanted (the layer then has no bias),
/// activation, dropout.
pub(super) fn define(hidden: &[u32], network: &mut Draft<'_>) -> Result<(), Unfit> {
    let (config, normalised) = (network.config(), network.normalised());
    network.flatten();
    for &units in hidden {
        network.linear(scaled(units as usize, config.width, LEAST_UNITS), !normalised)?;
        if normalised {
            network.batch_norm();
        }
        network.activation();
        network.dropout();
    }
    network.logits()
}
