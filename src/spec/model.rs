//! `model`: the network.

use super::value::{Interval, ListLimits};
use super::word::words;

words! {
    /// The network.
    Model, "a model" {
        /// Linear layers with the activation after each hidden one; exercise 2's 784-512-256-128-10
        /// on 28 px grey images.
        Mlp = "mlp" {
            /// Widths of the hidden layers, before the factor `width`.
            hidden: Vec<u32> = vec![512, 256, 128],
                ListLimits { item: Interval::closed(1.0, 65_536.0), length: (1, 16) };
        },
        /// AlexNet (Krizhevsky et al., 2012) for images of about 32 px: five 3x3 convolutions (64,
        /// 192, 384, 256, 256 channels), pooling to 2x2, two hidden linear layers of 1024.
        Alexnet32 = "alexnet32",
    }
}
