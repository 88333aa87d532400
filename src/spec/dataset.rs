//! `dataset`: the images a run trains on.

use super::RunConfig;
use super::catalogue::{CanonicalFile, Content, Part};
use super::folder::{Folder, FolderFacts};
use super::value::{Interval, ListLimits};
use super::word::words;

const SAMPLES: Interval = Interval::closed(1.0, 10_000_000.0);
const SIDE: Interval = Interval::closed(1.0, 4096.0);

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
        /// JPEG and PNG files in folders named by their classes: PATH/train/CLASS/..., likewise
        /// val/ and test/ where they exist, or PATH/CLASS/... alone.
        ImageFolder = "image-folder" {
            /// The folder; unless it begins with `/` it is looked for in the folder of the data sets.
            path: Folder = Folder::new("image-folder"), ();
            /// Shorter side after resizing; the square in its middle is what is stored.
            resize: u32 = 256, SIDE;
            /// Height and width of what the network is given: the middle, unless the augmentation
            /// cuts out another size.
            crop: u32 = 224, SIDE;
            /// 3 for red, green and blue, 1 for grey.
            channels: u32 = 3, Interval::closed(1.0, 3.0);
            /// Part of the training images that is tested on, where there is no test/.
            test_fraction: f64 = 0.1, Interval::above_up_to(0.0, 0.9);
        },
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

impl RunConfig {
    /// Images of the three parts that a run of this configuration has.
    pub fn parts(&self) -> Parts {
        let published = self.dataset.parts(self.validation_fraction);
        let train = (self.train_fraction * published.train as f64).round() as usize;
        Parts { train, ..published }
    }
}

/// How many images a run trains on, validates on and tests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// To train on.
    pub train: usize,
    /// To validate on, after every epoch.
    pub validation: usize,
    /// To test on, once.
    pub test: usize,
}

impl Dataset {
    /// Shape of one image as it is stored: channels, height, width.
    pub fn image_shape(&self) -> [usize; 3] {
        match self {
            Self::ImageFolder { resize, channels, .. } => {
                let side = *resize as usize;
                [*channels as usize, side, side]
            }
            Self::Mnist10k | Self::FashionMnist5k | Self::Mnist | Self::FashionMnist => [1, 28, 28],
            Self::Cifar10 => [3, 32, 32],
            Self::Synthetic { shape, .. } => {
                [shape[0] as usize, shape[1] as usize, shape[2] as usize]
            }
        }
    }

    /// Height and width of what the network is given of an image, where the augmentation does not
    /// cut out another size; `None` for the image as it is stored.
    pub fn crop(&self) -> Option<[usize; 2]> {
        match self {
            Self::ImageFolder { crop, .. } => Some([*crop as usize; 2]),
            _ => None,
        }
    }

    /// What was found in a folder of images; `None` for other data sets, and as long as nobody has
    /// looked.
    pub fn facts(&self) -> Option<&FolderFacts> {
        match self {
            Self::ImageFolder { path, .. } => path.facts(),
            _ => None,
        }
    }

    /// Number of classes; 0 for a folder that nobody has looked into.
    pub fn classes(&self) -> usize {
        match self {
            Self::ImageFolder { .. } => self.facts().map_or(0, |facts| facts.classes),
            Self::Synthetic { classes, .. } => *classes as usize,
            _ => 10,
        }
    }

    /// Images in the published training part, before a validation part is split off; of a folder
    /// without a test part, those that are left to train on. 0 for a folder that nobody has looked
    /// into.
    pub fn training_images(&self) -> usize {
        match self {
            Self::Mnist10k => 10_000,
            Self::FashionMnist5k => 5_000,
            Self::Mnist | Self::FashionMnist => 60_000,
            Self::Cifar10 => 50_000,
            Self::Synthetic { train, .. } => *train as usize,
            Self::ImageFolder { test_fraction, .. } => self.facts().map_or(0, |facts| {
                let tested = if facts.test > 0 {
                    0
                } else {
                    (test_fraction * facts.train as f64).round() as usize
                };
                facts.train.saturating_sub(tested)
            }),
        }
    }

    /// Images of the three parts that a run has, once `validation_fraction` of the training images is
    /// set aside where there is no validation part.
    pub fn parts(&self, validation_fraction: f64) -> Parts {
        let all = self.training_images();
        let test = match self {
            Self::Synthetic { train, val, test, .. } => {
                let [train, validation, test] = [train, val, test].map(|count| *count as usize);
                return Parts { train, validation, test };
            }
            Self::ImageFolder { .. } => self.facts().map_or(0, |facts| match facts.test {
                0 => facts.train - all,
                test => test,
            }),
            _ => {
                let tested = |file: &&CanonicalFile| {
                    file.part == Part::Test && file.content != Content::IdxLabels
                };
                self.files().iter().filter(tested).map(|file| file.images).sum()
            }
        };
        let own = self.facts().map_or(0, |facts| facts.val);
        let aside = (validation_fraction * all as f64).round() as usize;
        match own {
            0 => Parts { train: all.saturating_sub(aside), validation: aside, test },
            own => Parts { train: all, validation: own, test },
        }
    }

    /// Has the data set a validation part of its own, so that none is split off?
    pub fn has_validation(&self) -> bool {
        matches!(self, Self::Synthetic { .. }) || self.facts().is_some_and(|facts| facts.val > 0)
    }
}
