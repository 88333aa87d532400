//! `model`: the network. What each is made of stands in `architecture/`.

use super::layers::Entry;
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
        /// AlexNet for one device (Krizhevsky, 2014) as in torchvision, for images of about 224 px,
        /// at least 63: convolutions of 64, 192, 384, 256, 256 channels, the first 11x11 with stride
        /// 4, two hidden linear layers of 4096; 61,100,840 parameters for 1000 classes. torchvision
        /// drops half: `dropout = 0.5`.
        Alexnet = "alexnet" {
            /// The three max pools.
            pooling: Pooling = Pooling::Overlapping, ();
            /// Local response normalisation after the first two activations, with the constants of
            /// Krizhevsky et al. (2012), section 3.3.
            lrn: bool = false, ();
        },
        /// AlexNet as Krizhevsky et al. (2012) trained it on two devices, for images of 227 or
        /// 224 px: 96, 256, 384, 384, 256 channels, the second, fourth and fifth convolution in two
        /// groups, local response normalisation, overlapping pools; 60,965,224 parameters for 1000
        /// classes. The paper drops half: `dropout = 0.5`.
        AlexnetPaper = "alexnet_paper",
        /// A network declared layer by layer: `model = { layers = ["flatten", "logits"] }`; see
        /// [Layers](#layers).
        Layers = "layers" {
            /// The layers, from the images to `"logits"`.
            layers: Vec<Entry>, ();
        },
    }
}

words! {
    /// The windows of AlexNet's max pools.
    Pooling, "a kind of pooling" {
        /// 3 x 3 windows, 2 pixels apart (Krizhevsky et al., 2012, section 3.4).
        Overlapping = "overlapping",
        /// 2 x 2 windows, 2 pixels apart.
        Plain = "plain",
    }
}
