//! An operation of the sweep file, made ready for one data set.

use crate::spec::operation::{Operation, Side};
use crate::train::data::DataSplits;
use crate::train::rng::Reader;

use super::affine::{Affine, Ranges};
use super::colour_noise::ColourNoise;
use super::crop;
use super::cutout::Cutout;
use super::jitter::Jitter;
use super::resized_crop::Shapes;
use super::surface::Surface;

/// What is done to one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Padding and a cut of a size.
    Crop {
        /// Black pixels on each side.
        padding: usize,
        /// Height and width of the cut.
        size: Side,
    },
    /// A cut that is resized.
    ResizedCrop {
        /// Area and ratio of the cut.
        shapes: Shapes,
        /// Height and width it is resized to.
        size: Side,
    },
    /// A mirror image with this probability.
    Flip(f32),
    /// A motion in the frame.
    Move(Ranges),
    /// Changed colours.
    Jitter(Jitter),
    /// A colour added.
    Noise(ColourNoise),
    /// A square filled with the mean colour.
    Cutout(Cutout),
}

impl Step {
    /// The step of `operation`; none for mixup, which is not about one image, and for colour noise on
    /// images without colours.
    pub fn new(operation: &Operation, data: &DataSplits) -> Option<Self> {
        let narrow = |pair: [f64; 2]| pair.map(|x| x as f32);
        Some(match *operation {
            Operation::RandomCrop { padding, size } => {
                Self::Crop { padding: padding as usize, size }
            }
            Operation::RandomResizedCrop { size, scale, ratio } => {
                Self::ResizedCrop { shapes: Shapes { scale, ratio }, size }
            }
            Operation::HorizontalFlip { p } => Self::Flip(p as f32),
            Operation::Rotation { degrees } => Self::Move(Ranges::rotation(degrees as f32)),
            Operation::Affine { degrees, translate, scale, shear } => Self::Move(Ranges {
                degrees: degrees as f32,
                translate: narrow(translate),
                scale: narrow(scale),
                shear: narrow(shear),
            }),
            Operation::ColourJitter { brightness, contrast, saturation, hue } => {
                Self::Jitter(Jitter {
                    brightness: brightness as f32,
                    contrast: contrast as f32,
                    saturation: saturation as f32,
                    hue: hue as f32,
                })
            }
            Operation::PcaColourNoise { std } => {
                Self::Noise(ColourNoise::measure(&data.train, data.shape[0], std)?)
            }
            Operation::Cutout { size, p } => {
                Self::Cutout(Cutout { side: size as usize, p: p as f32 })
            }
            Operation::Mixup { .. } => return None,
        })
    }

    /// Does it to an image with one set of draws; `mean` is each channel's.
    pub fn apply(&self, draws: &mut Reader, image: &mut impl Surface, mean: &[f32]) {
        let size = image.size();
        match self {
            Self::Crop { padding, size: side } => {
                let cut = side.of(size);
                image.cut(crop::draw(draws, size, *padding, cut), cut);
            }
            Self::ResizedCrop { shapes, size: side } => {
                image.resize(&shapes.draw(draws, size), side.of(size));
            }
            Self::Flip(p) => image.flip(draws.uniform() < *p),
            Self::Move(ranges) => image.move_by(&Affine::new(&ranges.draw(draws, size), size)),
            Self::Jitter(jitter) => image.jitter(jitter, jitter.draw(draws)),
            Self::Noise(noise) => image.add(noise.draw(draws)),
            Self::Cutout(cutout) => image.fill(cutout.draw(draws, size), mean),
        }
    }
}
