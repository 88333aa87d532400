//! AlexNet for one device (Krizhevsky, 2014, "One weird trick"), layer by layer as torchvision's
//! `alexnet`: 61,100,840 parameters for 1000 classes on images of 224 px.

use super::draft::{Draft, LEAST_CHANNELS, LEAST_UNITS, Unfit, scaled};
use super::window::Window;
use crate::spec::model::Pooling;

/// Output channels and window of each convolution.
const CONVOLUTIONS: [(usize, Window); 5] = [
    (64, Window::new(11, 4, 2)),
    (192, Window::new(5, 1, 2)),
    (384, Window::new(3, 1, 1)),
    (256, Window::new(3, 1, 1)),
    (256, Window::new(3, 1, 1)),
];

/// Is the n-th convolution, from 0, followed by a pool?
const POOLED: [bool; 5] = [true, true, false, false, true];

/// Units of both hidden linear layers.
const HIDDEN: usize = 4096;

/// Side of the image that the first linear layer sees.
const SIDE: usize = 6;

/// The summed channels, and (alpha, beta, k) of the normalisation of Krizhevsky et al. (2012),
/// section 3.3. Their alpha = 1e-4 weighs the sum of squares, the layer's the mean of 5.
pub(super) const RESPONSE_NORM: (usize, [f64; 3]) = (5, [5e-4, 0.75, 2.0]);

/// Batch normalisation, if wanted, stands between each convolution (then without bias) and its
/// activation; local response normalisation, if wanted, after the activations of the first two;
/// dropout before both hidden linear layers.
pub(super) fn define(pooling: &Pooling, lrn: bool, network: &mut Draft<'_>) -> Result<(), Unfit> {
    let (config, normalised) = (network.config(), network.normalised());
    let pool = match pooling {
        Pooling::Overlapping => Window::new(3, 2, 0),
        Pooling::Plain => Window::new(2, 2, 0),
    };
    for (place, (channels, window)) in CONVOLUTIONS.into_iter().enumerate() {
        let channels = scaled(channels, config.width, LEAST_CHANNELS);
        network.convolution(channels, window, 1, !normalised)?;
        if normalised {
            network.batch_norm();
        }
        network.activation();
        if lrn && place < 2 {
            network.local_response_norm(RESPONSE_NORM.0, RESPONSE_NORM.1)?;
        }
        if POOLED[place] {
            network.max_pool(pool, false)?;
        }
    }
    network.adaptive_avg_pool(SIDE)?;
    network.flatten();
    for _ in 0..2 {
        network.dropout();
        network.linear(scaled(HIDDEN, config.width, LEAST_UNITS), true)?;
        network.activation();
    }
    network.logits()
}
