//! AlexNet as Krizhevsky et al. (2012) trained it on two devices, section 3.5: the second, fourth and
//! fifth convolution see only the half of the channels that lay on their device. 60,965,224
//! parameters for 1000 classes.

use super::alexnet::RESPONSE_NORM;
use super::draft::{Draft, LEAST_CHANNELS, LEAST_UNITS, Unfit, scaled};
use super::window::Window;

/// The image side that the paper's arithmetic needs without a border; it says 224, which needs 2
/// pixels of border to give the 55 x 55 it goes on with.
const BARE_SIDE: usize = 227;

/// Devices, and so groups.
const DEVICES: usize = 2;

/// Units of both hidden linear layers.
const HIDDEN: usize = 4096;

/// A convolution and what follows its activation.
struct Stage {
    channels: usize,
    window: Window,
    groups: usize,
    response_norm: bool,
    pool: bool,
}

/// Batch normalisation, if wanted, stands between each convolution (then without bias) and its
/// activation; dropout before both hidden linear layers.
pub(super) fn define(network: &mut Draft<'_>) -> Result<(), Unfit> {
    let (config, normalised) = (network.config(), network.normalised());
    for stage in stages(network.shape().width) {
        // Both devices have the same share.
        let channels = scaled(stage.channels, config.width, LEAST_CHANNELS) / DEVICES * DEVICES;
        network.convolution(channels, stage.window, stage.groups, !normalised)?;
        if normalised {
            network.batch_norm();
        }
        network.activation();
        if stage.response_norm {
            network.local_response_norm(RESPONSE_NORM.0, RESPONSE_NORM.1)?;
        }
        if stage.pool {
            network.max_pool(Window::new(3, 2, 0), false)?;
        }
    }
    network.flatten();
    for _ in 0..2 {
        network.dropout();
        network.linear(scaled(HIDDEN, config.width, LEAST_UNITS), true)?;
        network.activation();
    }
    network.logits()
}

fn stages(width: usize) -> [Stage; 5] {
    let stage = |channels, window, groups, (response_norm, pool)| Stage {
        channels,
        window,
        groups,
        response_norm,
        pool,
    };
    let border = if width == BARE_SIDE { 0 } else { 2 };
    let small = Window::new(3, 1, 1);
    [
        stage(96, Window::new(11, 4, border), 1, (true, true)),
        stage(256, Window::new(5, 1, 2), DEVICES, (true, true)),
        stage(384, small, 1, (false, false)),
        stage(384, small, DEVICES, (false, false)),
        stage(256, small, DEVICES, (false, true)),
    ]
}
