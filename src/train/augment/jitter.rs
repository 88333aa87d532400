//! Random brightness, contrast and saturation, in random order (torchvision's `ColorJitter` on
//! images in [0, 1]).
//!
//! Each is a blend `factor * image + (1 - factor) * other`, clamped to [0, 1], where the other image
//! is black (brightness), the mean of the grey image (contrast) or the grey image (saturation). A
//! single channel is its own grey image and has no saturation; with channels other than one or
//! three, all weigh the same in the grey mean and saturation is left alone.

use crate::train::rng::Reader;

/// Weights of red, green and blue in a grey image (ITU-R BT.601, as torchvision rounds them).
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// How far each factor may go from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// Range of the brightness factor: 1 ± this.
    pub brightness: f32,
    /// Range of the contrast factor.
    pub contrast: f32,
    /// Range of the saturation factor.
    pub saturation: f32,
}

/// One blend with its factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blend {
    /// With black.
    Brightness(f32),
    /// With the mean of the grey image.
    Contrast(f32),
    /// With the grey image.
    Saturation(f32),
}

impl Jitter {
    /// Is nothing changed?
    pub fn is_none(&self) -> bool {
        self.brightness == 0.0 && self.contrast == 0.0 && self.saturation == 0.0
    }

    /// Draws the factors, each uniform in its range, and their order.
    pub fn draw(&self, draws: &mut Reader) -> [Blend; 3] {
        let mut factor = |range: f32| draws.uniform_in((1.0 - range).max(0.0), 1.0 + range);
        let mut blends = [
            Blend::Brightness(factor(self.brightness)),
            Blend::Contrast(factor(self.contrast)),
            Blend::Saturation(factor(self.saturation)),
        ];
        blends.swap(2, draws.below(3) as usize);
        blends.swap(1, draws.below(2) as usize);
        blends
    }
}

impl Blend {
    /// Changes an image of shape (C, H, W) with values in [0, 1]; they stay there.
    pub fn apply(self, image: &mut [f32], channels: usize) {
        match self {
            // A factor of 1 gives the image back bit for bit, but costs a pass.
            Self::Brightness(1.0) | Self::Contrast(1.0) | Self::Saturation(1.0) => {}
            Self::Brightness(factor) => blend_with(image, factor, 0.0),
            Self::Contrast(factor) => {
                let mean = grey_mean(image, channels);
                blend_with(image, factor, mean);
            }
            Self::Saturation(factor) => saturate(image, channels, factor),
        }
    }
}

fn blend_with(image: &mut [f32], factor: f32, other: f32) {
    let other = (1.0 - factor) * other;
    image.iter_mut().for_each(|value| *value = (factor * *value + other).clamp(0.0, 1.0));
}

fn saturate(image: &mut [f32], channels: usize, factor: f32) {
    if channels != GREY.len() {
        return;
    }
    let (red, rest) = image.split_at_mut(image.len() / 3);
    let (green, blue) = rest.split_at_mut(red.len());
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let other = (1.0 - factor) * (GREY[0] * *r + GREY[1] * *g + GREY[2] * *b);
        for value in [r, g, b] {
            *value = (factor * *value + other).clamp(0.0, 1.0);
        }
    }
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

/// Eight sums side by side, so that the additions do not wait for each other; their order is fixed.
fn mean(values: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|v| f64::from(*v)).sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += f64::from(*value));
    }
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
    fn factors_fill_their_ranges_and_every_order_comes_up() {
        let jitter = Jitter { brightness: 0.3, contrast: 0.2, saturation: 0.1 };
        let mut orders = std::collections::BTreeMap::new();
        let (mut least, mut most) = ([f32::MAX; 3], [0.0_f32; 3]);
        for sample in 0..6000 {
            let mut draws = Stream::new(5, Purpose::Augment, 1, sample).reader();
            let order = jitter.draw(&mut draws).map(|blend| {
                let (kind, factor) = match blend {
                    Blend::Brightness(factor) => (0, factor),
                    Blend::Contrast(factor) => (1, factor),
                    Blend::Saturation(factor) => (2, factor),
                };
                least[kind] = least[kind].min(factor);
                most[kind] = most[kind].max(factor);
                kind
            });
            *orders.entry(order).or_insert(0) += 1;
        }
        assert_close(&least.map(|l| (l * 100.0).round()), &[70.0, 80.0, 90.0]);
        assert_close(&most.map(|m| (m * 100.0).round()), &[130.0, 120.0, 110.0]);
        // 1000 each on average; five standard deviations.
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|n| (850..1150).contains(n)), "{orders:?}");
    }
}
