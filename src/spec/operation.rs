//! The operations that an `augmentation` can be made of.
//!
//! Names, parameters and defaults are torchvision's where it has the operation.

use serde_json::json;

use super::diagnostics::Diagnostics;
use super::node::{Node, Raw};
use super::pair::PairLimits;
use super::value::{Interval, Value};
use super::word::words;

const RATE: Interval = Interval::closed(0.0, 1.0);
const PIXELS: Interval = Interval::closed(1.0, 4096.0);

words! {
    /// One operation on training images, with parameters drawn anew for every image and epoch.
    Operation, "an operation" {
        /// Black pixels around the image, then a cut at a random place (torchvision's `RandomCrop`).
        RandomCrop = "random_crop" {
            /// Pixels added on each side first.
            padding: u32 = 4, Interval::closed(0.0, 4096.0);
            /// Height and width of the cut.
            size: Side = Side::Same, PIXELS;
        },
        /// A cut of random area and shape, resized (torchvision's `RandomResizedCrop`, bilinear and
        /// antialiased as for PIL images; Szegedy et al., 2015).
        RandomResizedCrop = "random_resized_crop" {
            /// Height and width after resizing.
            size: Side = Side::Same, PIXELS;
            /// Range of the cut's area as a part of the image's.
            scale: [f64; 2] = [0.08, 1.0], PairLimits::range(Interval::above_up_to(0.0, 1.0));
            /// Range of the cut's width / height, uniform in its logarithm.
            ratio: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0],
                PairLimits::range(Interval::closed(0.01, 100.0));
        },
        /// Left for right.
        HorizontalFlip = "horizontal_flip" {
            /// Probability.
            p: f64 = 0.5, RATE;
        },
        /// A rotation about the centre, to the nearest pixel, black outside.
        Rotation = "rotation" {
            /// Largest angle, either way.
            degrees: f64 = 10.0, Interval::above_up_to(0.0, 180.0);
        },
        /// Rotation, shear, scale and translation at once about the centre, to the nearest pixel,
        /// black outside (torchvision's `RandomAffine`). At least one of them must be given.
        Affine = "affine" {
            /// Largest angle, either way.
            degrees: f64 = 0.0, Interval::closed(0.0, 180.0);
            /// Largest translation, either way: [part of the width, part of the height].
            translate: [f64; 2] = [0.0, 0.0], PairLimits::each(RATE);
            /// Range of the scale.
            scale: [f64; 2] = [1.0, 1.0], PairLimits::range(Interval::closed(0.01, 100.0));
            /// Largest shear in degrees, either way: [along the width, along the height].
            shear: [f64; 2] = [0.0, 0.0], PairLimits::each(Interval::half_open(0.0, 90.0));
        },
        /// Brightness, contrast, saturation and hue, in random order (torchvision's `ColorJitter`).
        /// At least one of them must be given.
        ColourJitter = "colour_jitter" {
            /// The factor on brightness is from max(0, 1 - this) to 1 + this.
            brightness: f64 = 0.0, Interval::closed(0.0, 100.0);
            /// The factor on contrast, likewise.
            contrast: f64 = 0.0, Interval::closed(0.0, 100.0);
            /// The factor on saturation, likewise; grey images have none.
            saturation: f64 = 0.0, Interval::closed(0.0, 100.0);
            /// Largest turn of the hue, either way, as a part of the circle; grey images have none.
            hue: f64 = 0.0, Interval::closed(0.0, 0.5);
        },
        /// The same colour added to all pixels of an image, along the principal components of the
        /// training images' colours (Krizhevsky et al., 2012, section 4.1).
        PcaColourNoise = "pca_colour_noise" {
            /// Standard deviation of each component's factor.
            std: f64 = 0.1, Interval::above_up_to(0.0, 10.0);
        },
        /// A square of the mean colour at a random place, cut off at the border (DeVries and
        /// Taylor, 2017).
        Cutout = "cutout" {
            /// Side of the square in pixels.
            size: u32 = 16, PIXELS;
            /// Probability.
            p: f64 = 1.0, RATE;
        },
        /// Every image becomes a mean of itself and another of its batch, and its class likewise
        /// (Zhang et al., 2018). The last of the list.
        Mixup = "mixup" {
            /// Both parameters of the Beta distribution that an image's own share is drawn from.
            alpha: f64 = 1.0, Interval::above_up_to(0.0, 100.0);
        },
    }
}

impl Operation {
    /// Does it leave every image as it was, whatever is drawn? Then it was not meant.
    pub fn does_nothing(&self) -> bool {
        match self {
            Self::RandomCrop { padding, size } => *padding == 0 && *size == Side::Same,
            Self::RandomResizedCrop { size, scale, ratio } => {
                *size == Side::Same && *scale == [1.0, 1.0] && *ratio == [1.0, 1.0]
            }
            Self::HorizontalFlip { p } | Self::Cutout { p, .. } => *p == 0.0,
            Self::Affine { degrees, translate, scale, shear } => {
                *degrees == 0.0
                    && *translate == [0.0, 0.0]
                    && *scale == [1.0, 1.0]
                    && *shear == [0.0, 0.0]
            }
            Self::ColourJitter { brightness, contrast, saturation, hue } => {
                [brightness, contrast, saturation, hue].iter().all(|range| **range == 0.0)
            }
            Self::Rotation { .. } | Self::PcaColourNoise { .. } | Self::Mixup { .. } => false,
        }
    }

    /// Height and width after the operation on images of `size`.
    pub fn output_size(&self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Self::RandomCrop { size: side, .. } | Self::RandomResizedCrop { size: side, .. } => {
                side.of(size)
            }
            _ => size,
        }
    }
}

/// Height and width of what an operation gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As those of the image.
    Same,
    /// Both so many pixels.
    Pixels(u32),
}

impl Side {
    /// Height and width, for an image of `size`.
    pub fn of(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Same => size,
            Self::Pixels(side) => [side as usize; 2],
        }
    }
}

impl Value for Side {
    type Limits = Interval;

    fn read(node: &Node, limits: &Interval, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.raw {
            Raw::Text(text) if text == "same" => Some(Self::Same),
            Raw::Text(_) => {
                let message = format!("expected a number of pixels, found {}", node.describe());
                let help = "write 224, or \"same\" for the size of the image";
                diagnostics.error_with_help(node.span, message, "not a size", help);
                None
            }
            _ => u32::read(node, limits, diagnostics).map(Self::Pixels),
        }
    }

    fn label(&self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Pixels(side) => side.to_string(),
        }
    }

    fn canonical(&self) -> serde_json::Value {
        match self {
            Self::Same => json!("same"),
            Self::Pixels(side) => json!(side),
        }
    }

    fn schema(limits: &Interval) -> serde_json::Value {
        json!({ "anyOf": [{ "const": "same" }, u32::schema(limits)] })
    }
}
