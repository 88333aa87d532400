//! `dataset`: the images a run trains on.

use super::value::{Interval, ListLimits};
use super::word::words;

const SAMPLES: Interval = Interval::closed(1.0, 10_000_000.0);

words! {
    /// The images a run trains on.
    Dataset, "a data set" {
        /// 10,000 training and 2,000 test images of MNIST, balanced, inside the program.
        Mnist10k = "mnist-10k",
        /// 5,000 training and 1,000 test images of Fashion-MNIST, balanced, inside the program.
        FashionMnist5k = "fashion-mnist-5k",
        /// MNIST, 60,000 + 10,000 grey images of 28 px (LeCun et al., 1998).
        Mnist = "mnist",
        /// Fashion-MNIST, 60,000 + 10,000 grey images of 28 px (Xiao et al., 2017).
        FashionMnist = "fashion-mnist",
        /// CIFAR-10, 50,000 + 10,000 colour images of 32 px (Krizhevsky, 2009).
        Cifar10 = "cifar10",
        /// Generated images: a pattern for each class plus noise.
        Synthetic = "synthetic" {
            /// Training images.
            train: u32 = 2048, SAMPLES;
            /// Validation images.
            val: u32 = 512, SAMPLES;
            /// Test images.
            test: u32 = 512, SAMPLES;
            /// Channels, height, width.
            shape: Vec<u32> = vec![1, 28, 28],
                ListLimits { item: Interval::closed(1.0, 1024.0), length: (3, 3) };
            /// Number of classes.
            classes: u32 = 10, Interval::closed(2.0, 65_536.0);
        },
    }
}

impl Dataset {
    /// Shape of one image: channels, height, width.
    pub fn image_shape(&self) -> [usize; 3] {
        match self {
            Self::Mnist10k | Self::FashionMnist5k | Self::Mnist | Self::FashionMnist => [1, 28, 28],
            Self::Cifar10 => [3, 32, 32],
            Self::Synthetic { shape, .. } => {
                [shape[0] as usize, shape[1] as usize, shape[2] as usize]
            }
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Self::Synthetic { classes, .. } => *classes as usize,
            _ => 10,
        }
    }

    /// Images in the published training part, before a validation part is split off.
    pub fn training_images(&self) -> usize {
        match self {
            Self::Mnist10k => 10_000,
            Self::FashionMnist5k => 5_000,
            Self::Mnist | Self::FashionMnist => 60_000,
            Self::Cifar10 => 50_000,
            Self::Synthetic { train, .. } => *train as usize,
        }
    }

    /// Has the data set a validation part of its own, so that none is split off?
    pub fn has_validation(&self) -> bool {
        matches!(self, Self::Synthetic { .. })
    }
}
