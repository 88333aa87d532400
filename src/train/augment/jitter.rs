//! Random brightness, contrast, saturation and hue, in random order (torchvision's `ColorJitter` on
//! images in [0, 1]).
//!
//! The first three are blends `factor * image + (1 - factor) * other`, clamped to [0, 1], where the
//! other image is black (brightness), the mean of the grey image (contrast) or the grey image
//! (saturation). A single channel is its own grey image and has no saturation; with channels other
//! than one or three, all weigh the same in the grey mean and saturation is left alone.

use super::hue;
use crate::train::kernel::simd::vectorized;
use crate::train::rng::Reader;

/// Weights of red, green and blue in a grey image (ITU-R BT.601, as torchvision rounds them).
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// How far each factor may go from 1, and the hue from where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// Range of the brightness factor: 1 ± this.
    pub brightness: f32,
    /// Range of the contrast factor.
    pub contrast: f32,
    /// Range of the saturation factor.
    pub saturation: f32,
    /// Range of the turn of the hue: ± this part of the circle.
    pub hue: f32,
}

/// One change of colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blend {
    /// With black, by this factor.
    Brightness(f32),
    /// With the mean of the grey image.
    Contrast(f32),
    /// With the grey image.
    Saturation(f32),
    /// A turn by this part of the circle.
    Hue(f32),
}

impl Jitter {
    /// Draws factors and turn, each uniform in its range, and their order.
    pub fn draw(&self, draws: &mut Reader) -> [Blend; 4] {
        let mut factor = |range: f32| draws.uniform_in((1.0 - range).max(0.0), 1.0 + range);
        let mut blends = [
            Blend::Brightness(factor(self.brightness)),
            Blend::Contrast(factor(self.contrast)),
            Blend::Saturation(factor(self.saturation)),
            Blend::Hue(draws.uniform_in(-self.hue, self.hue)),
        ];
        for last in (1..blends.len()).rev() {
            blends.swap(last, draws.below(last as u32 + 1) as usize);
        }
        blends
    }

    /// Can what it draws be another blend than one that changes nothing?
    pub fn draws(&self, blend: &Blend) -> bool {
        let range = match blend {
            Blend::Brightness(_) => self.brightness,
            Blend::Contrast(_) => self.contrast,
            Blend::Saturation(_) => self.saturation,
            Blend::Hue(_) => self.hue,
        };
        range != 0.0
    }
}

impl Blend {
    /// Is it with the mean of the grey image?
    pub fn is_contrast(&self) -> bool {
        matches!(self, Self::Contrast(_))
    }

    /// Does it change an image of so many channels?
    pub fn changes(self, channels: usize) -> bool {
        match self {
            Self::Brightness(factor) | Self::Contrast(factor) => factor != 1.0,
            Self::Saturation(factor) => factor != 1.0 && channels == GREY.len(),
            Self::Hue(turn) => turn != 0.0 && channels == GREY.len(),
        }
    }

    /// Changes an image of shape (C, H, W) with values in [0, 1]; they stay there.
    pub fn apply(self, image: &mut [f32], channels: usize) {
        match self {
            // A factor of 1 gives the image back bit for bit, but costs a pass.
            _ if !self.changes(channels) => {}
            Self::Brightness(factor) => blend_with(image, factor, 0.0),
            Self::Contrast(factor) => {
                let mean = grey_mean(image, channels);
                blend_with(image, factor, mean);
            }
            Self::Saturation(factor) => saturate(image, factor),
            Self::Hue(turn) => hue::turn(image, turn),
        }
    }
}

fn blend_with(image: &mut [f32], factor: f32, other: f32) {
    let other = (1.0 - factor) * other;
    vectorized(
        #[inline(always)]
        || {
            for value in image {
                *value = (factor * *value + other).clamp(0.0, 1.0);
            }
        },
    );
}

fn saturate(image: &mut [f32], factor: f32) {
    let (red, rest) = image.split_at_mut(image.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    vectorized(
        #[inline(always)]
        || {
            for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                let other = (1.0 - factor) * (GREY[0] * *r + GREY[1] * *g + GREY[2] * *b);
                *r = (factor * *r + other).clamp(0.0, 1.0);
                *g = (factor * *g + other).clamp(0.0, 1.0);
                *b = (factor * *b + other).clamp(0.0, 1.0);
            }
        },
    );
}

fn grey_mean(image: &[f32], channels: usize) -> f32 {
    let planes = image.chunks_exact(image.len() / channels).map(mean);
    let mean = if channels == GREY.len() {
        planes.zip(GREY).map(|(mean, weight)| mean * f64::from(weight)).sum::<f64>()
    } else {
        planes.sum::<f64>() / channels as f64
    };
    mean as f32
}

/// Sixteen sums side by side, so that the additions do not wait for each other; their order is
/// fixed, whatever the instruction set.
fn mean(values: &[f32]) -> f64 {
    const SUMS: usize = 16;
    let mut sums = [0.0_f64; SUMS];
    let chunks = values.chunks_exact(SUMS);
    let rest: f64 = chunks.remainder().iter().map(|v| f64::from(*v)).sum();
    vectorized(
        #[inline(always)]
        || {
            for chunk in chunks {
                for (sum, value) in sums.iter_mut().zip(chunk) {
                    *sum += f64::from(*value);
                }
            }
        },
    );
    (sums.iter().sum::<f64>() + rest) / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    fn changed(blend: Blend, image: &[f32], channels: usize) -> Vec<f32> {
        let mut image = image.to_vec();
        blend.apply(&mut image, channels);
        image
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        let close = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6);
        assert!(close && found.len() == expected.len(), "{found:?}, expected {expected:?}");
    }

    #[test]
    fn brightness_scales_and_clamps() {
        assert_close(&changed(Blend::Brightness(1.5), &[0.0, 0.4, 0.8], 1), &[0.0, 0.6, 1.0]);
        assert_close(&changed(Blend::Brightness(0.5), &[0.0, 0.4, 0.8], 1), &[0.0, 0.2, 0.4]);
    }

    #[test]
    fn contrast_moves_from_the_grey_mean() {
        // Mean 0.4: 1.5 v - 0.2, 0.5 v + 0.2.
        assert_close(&changed(Blend::Contrast(1.5), &[0.0, 0.4, 0.8], 1), &[0.0, 0.4, 1.0]);
        assert_close(&changed(Blend::Contrast(0.5), &[0.0, 0.4, 0.8], 1), &[0.2, 0.4, 0.6]);
        // Two pixels of each colour: the grey mean is 0.2989 * 0.5 + 0.587 * 0.2 + 0.114 * 0.3.
        let colours = [0.4, 0.6, 0.1, 0.3, 0.3, 0.3];
        let grey = 0.301_05_f32;
        let expected = colours.map(|v| 0.8 * v + 0.2 * grey);
        assert_close(&changed(Blend::Contrast(0.8), &colours, 3), &expected);
    }

    #[test]
    fn saturation_moves_from_the_grey_image() {
        // One pixel: grey is 0.2989 * 0.5 + 0.587 * 0.2 + 0.114 * 1.
        let grey = 0.380_85_f32;
        let expected = [0.5, 0.2, 1.0].map(|v| 0.5 * v + 0.5 * grey);
        assert_close(&changed(Blend::Saturation(0.5), &[0.5, 0.2, 1.0], 3), &expected);
        assert_close(&changed(Blend::Saturation(0.5), &[0.5, 0.2, 1.0], 1), &[0.5, 0.2, 1.0]);
    }

    #[test]
    fn every_order_comes_up_equally_often() {
        let jitter = Jitter { brightness: 0.3, contrast: 0.2, saturation: 0.1, hue: 0.05 };
        let mut orders = std::collections::BTreeMap::new();
        for sample in 0..24_000 {
            let mut draws = Stream::new(5, Purpose::Augment, 1, sample).reader();
            let order = jitter.draw(&mut draws).map(|blend| match blend {
                Blend::Brightness(_) => 0,
                Blend::Contrast(_) => 1,
                Blend::Saturation(_) => 2,
                Blend::Hue(_) => 3,
            });
            *orders.entry(order).or_insert(0) += 1;
        }
        // 1000 each on average; five standard deviations.
        assert_eq!(orders.len(), 24);
        assert!(orders.values().all(|n| (850..1150).contains(n)), "{orders:?}");
    }
}
