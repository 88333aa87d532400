//! PCA colour noise (Krizhevsky et al., 2012, section 4.1): to every pixel of an image the same
//! `sum over k of p_k * lambda_k * alpha_k` is added, where `lambda_k` and `p_k` are eigenvalues and
//! eigenvectors of the covariance of red, green and blue over the training images, and each
//! `alpha_k` is normal, in the paper with deviation 0.1, drawn anew for every image.
//!
//! The covariance is that of values in [0, 1], as is usual; the paper does not say.

use crate::train::data::Images;
use crate::train::kernel::simd::vectorized;
use crate::train::rng::Reader;

use super::eigen::eigen;

/// The directions in which colours vary, scaled with their eigenvalues.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourNoise {
    /// `axes[k][c]` is the deviation of `alpha_k` times `lambda_k * p_k[c]`.
    axes: [[f32; 3]; 3],
}

impl ColourNoise {
    /// Measures the images, for factors with the deviation `std`; none if they are not of three
    /// channels, or if there are none.
    pub fn measure(images: &Images, channels: usize, std: f64) -> Option<Self> {
        if channels != 3 || images.is_empty() {
            return None;
        }
        let pairs = eigen(covariance(&images.pixels, images.pixels.len() / images.len()));
        Some(Self { axes: pairs.map(|(value, axis)| axis.map(|part| (std * value * part) as f32)) })
    }

    /// Draws what is added to red, green and blue.
    pub fn draw(&self, draws: &mut Reader) -> [f32; 3] {
        let mut shift = [0.0; 3];
        for axis in self.axes {
            let alpha = draws.normal();
            shift.iter_mut().zip(axis).for_each(|(sum, part)| *sum += alpha * part);
        }
        shift
    }
}

/// Adds `shift` to the channels of an image of shape (3, H, W) with values in [0, 1]; they stay
/// there.
pub fn add(image: &mut [f32], shift: [f32; 3]) {
    let size = image.len() / 3;
    vectorized(
        #[inline(always)]
        || {
            for (plane, shift) in image.chunks_exact_mut(size).zip(shift) {
                for value in plane {
                    *value = (*value + shift).clamp(0.0, 1.0);
                }
            }
        },
    );
}

/// Covariance of the channels over all pixels of images of shape (N, 3, H, W) with `size` bytes
/// each, for values in [0, 1].
fn covariance(pixels: &[u8], size: usize) -> [[f64; 3]; 3] {
    let mut sums = [0_u64; 3];
    let mut products = [[0_u64; 3]; 3];
    for image in pixels.chunks_exact(size) {
        let (red, rest) = image.split_at(size / 3);
        let (green, blue) = rest.split_at(size / 3);
        // 4096 products of two bytes fit into 32 bits, and 32-bit sums vectorise.
        for ((red, green), blue) in red.chunks(4096).zip(green.chunks(4096)).zip(blue.chunks(4096))
        {
            let planes = [red, green, blue];
            for i in 0..3 {
                sums[i] += u64::from(planes[i].iter().map(|&v| u32::from(v)).sum::<u32>());
                for j in i..3 {
                    products[i][j] += u64::from(dot(planes[i], planes[j]));
                }
            }
        }
    }
    let n = (pixels.len() / 3) as f64;
    let mut covariance = [[0.0; 3]; 3];
    for i in 0..3 {
        for j in i..3 {
            let mean = (sums[i] as f64 / n) * (sums[j] as f64 / n);
            let value = (products[i][j] as f64 / n - mean) / (255.0 * 255.0);
            covariance[i][j] = value;
            covariance[j][i] = value;
        }
    }
    covariance
}

/// The sum of the products of at most 4096 pairs.
fn dot(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(&a, &b)| u32::from(u16::from(a) * u16::from(b))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::{Purpose, Stream};

    fn noisy_images() -> Images {
        let mut draws = Stream::new(2, Purpose::Init, 0, 0).reader();
        let mut pixels = Vec::new();
        for _ in 0..200 {
            let common = draws.below(128);
            for channel in 0..3 {
                pixels.extend((0..4).map(|_| (common + draws.below(32 << channel)) as u8));
            }
        }
        Images { pixels: pixels.into(), labels: vec![0; 200] }
    }

    #[test]
    fn the_covariance_is_that_of_the_definition() {
        let images = noisy_images();
        let found = covariance(&images.pixels, 12);
        let channel = |c: usize| -> Vec<f64> {
            let planes = images.pixels.chunks(4).skip(c).step_by(3);
            planes.flatten().map(|v| f64::from(*v) / 255.0).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        for (i, row) in found.iter().enumerate() {
            for (j, found) in row.iter().enumerate() {
                let (a, b) = (channel(i), channel(j));
                let (ma, mb) = (mean(&a), mean(&b));
                let products: Vec<f64> =
                    a.iter().zip(&b).map(|(a, b)| (a - ma) * (b - mb)).collect();
                assert!((found - mean(&products)).abs() < 1e-12);
            }
        }
    }

    /// The covariance of what is added is `0.01 * sum of lambda_k^2 p_k p_k^T`: 0.01 times the
    /// square of the images' covariance.
    #[test]
    fn the_noise_has_the_covariance_of_the_paper() {
        let images = noisy_images();
        let noise = ColourNoise::measure(&images, 3, 0.1).unwrap();
        let n = 40_000;
        let mut found = [[0.0_f64; 3]; 3];
        for sample in 0..n {
            let shift = noise.draw(&mut Stream::new(4, Purpose::Augment, 0, sample).reader());
            for (i, j) in (0..9).map(|k| (k / 3, k % 3)) {
                found[i][j] += f64::from(shift[i]) * f64::from(shift[j]) / f64::from(n);
            }
        }
        let c = covariance(&images.pixels, 12);
        let scale = 0.01 * (0..3).map(|k| c[2][k] * c[2][k]).sum::<f64>();
        for (i, j) in (0..9).map(|k| (k / 3, k % 3)) {
            let expected = 0.01 * (0..3).map(|k| c[i][k] * c[k][j]).sum::<f64>();
            assert!((found[i][j] - expected).abs() < 0.04 * scale, "{found:?}");
        }
    }

    #[test]
    fn it_is_added_to_each_channel_and_stays_in_range() {
        let mut image = [0.5, 1.0, 0.5, 0.0, 0.5, 0.25];
        add(&mut image, [0.25, -0.25, 0.5]);
        assert_eq!(image, [0.75, 1.0, 0.25, 0.0, 1.0, 0.75]);
    }

    #[test]
    fn grey_images_get_none() {
        assert_eq!(ColourNoise::measure(&noisy_images(), 1, 0.1), None);
    }
}
