//! AlexNet (Krizhevsky et al., 2012) for images of about 32 px: five 3x3 convolutions, pooling to
//! 2x2, three linear layers.

use super::draft::{Draft, LEAST_CHANNELS, LEAST_UNITS, Unfit, scaled};
use super::window::Window;

/// Output channels and stride of each convolution, and whether a 2x2 max pool follows.
const CONVOLUTIONS: [(usize, usize, bool); 5] =
    [(64, 2, true), (192, 1, true), (384, 1, false), (256, 1, false), (256, 1, false)];

/// Units of both hidden linear layers.
const HIDDEN: usize = 1024;

/// Batch normalisation, if wanted, stands between each convolution (then without bias) and its
/// activation; dropout before both hidden linear layers.
pub(super) fn define(network: &mut Draft<'_>) -> Result<(), Unfit> {
    let (config, normalised) = (network.config(), network.normalised());
    for (channels, stride, pool) in CONVOLUTIONS {
        let channels = scaled(channels, config.width, LEAST_CHANNELS);
        network.convolution(channels, Window::new(3, stride, 1), 1, !normalised)?;
        if normalised {
            network.batch_norm();
        }
        network.activation();
        if pool {
            network.max_pool(Window::new(2, 2, 0), false)?;
        }
    }
    network.adaptive_avg_pool(2)?;
    network.flatten();
    for _ in 0..2 {
        network.dropout();
        network.linear(scaled(HIDDEN, config.width, LEAST_UNITS), true)?;
        network.activation();
    }
    network.logits()
}
