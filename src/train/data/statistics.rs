//! Mean and standard deviation of each channel, with which images are normalised.
//!
//! For the published sets these are the constants that everybody uses, so that results compare; the
//! embedded subsets take those of their full set. Generated images and folders are measured.

use crate::spec::dataset::Dataset;

/// Mean and standard deviation of each channel, of pixels in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Means, one a channel.
    pub mean: Vec<f32>,
    /// Standard deviations, one a channel, above 0.
    pub std: Vec<f32>,
}

/// The usual constants of a published data set, none for other images.
pub fn published(dataset: &Dataset) -> Option<Statistics> {
    let (mean, std): (&[f32], &[f32]) = match dataset {
        Dataset::Mnist10k | Dataset::Mnist => (&[0.1307], &[0.3081]),
        Dataset::FashionMnist5k | Dataset::FashionMnist => (&[0.2860], &[0.3530]),
        Dataset::Cifar10 => (&[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
        Dataset::Synthetic { .. } | Dataset::ImageFolder { .. } => return None,
    };
    Some(Statistics { mean: mean.to_vec(), std: std.to_vec() })
}

/// Measures pixels of shape (N, C, H, W). A channel without any variation gets the deviation 1, so
/// that it can be divided by.
pub fn measure(pixels: &[u8], shape: [usize; 3]) -> Statistics {
    let [channels, height, width] = shape;
    let mut sums = vec![(0_u64, 0_u64); channels];
    for (plane, values) in pixels.chunks_exact(height * width).enumerate() {
        let (sum, squares) = &mut sums[plane % channels];
        // 4096 squares of a byte fit into 32 bits, and 32-bit sums vectorise.
        for chunk in values.chunks(4096) {
            *sum += u64::from(chunk.iter().map(|&v| u32::from(v)).sum::<u32>());
            let square = |&v: &u8| u32::from(u16::from(v) * u16::from(v));
            *squares += u64::from(chunk.iter().map(square).sum::<u32>());
        }
    }
    Statistics::of_sums(sums.into_iter(), (pixels.len() / channels) as u64)
}

impl Statistics {
    /// From each channel's sum of bytes and sum of their squares, over `pixels` pixels.
    pub fn of_sums(sums: impl Iterator<Item = (u64, u64)>, pixels: u64) -> Self {
        let n = pixels as f64;
        let moments = |(sum, squares): (u64, u64)| {
            let mean = sum as f64 / n;
            let variance = squares as f64 / n - mean * mean;
            let std = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
            ((mean / 255.0) as f32, std as f32)
        };
        let (mean, std) = sums.map(moments).unzip();
        Self { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::load;

    #[test]
    fn channels_are_measured_apart() {
        let pixels = [0, 255, 51, 51, 255, 0, 51, 51];
        let found = measure(&pixels, [2, 1, 2]);
        assert_eq!(found, Statistics { mean: vec![0.5, 0.2], std: vec![0.5, 1.0] });
    }

    #[test]
    fn the_constants_fit_the_embedded_subsets() {
        for dataset in [Dataset::Mnist10k, Dataset::FashionMnist5k] {
            let splits = load(&dataset, 0.1, "".as_ref()).unwrap();
            let found = measure(&splits.train.pixels, splits.shape);
            assert!((found.mean[0] - splits.mean[0]).abs() < 0.005, "{found:?}");
            assert!((found.std[0] - splits.std[0]).abs() < 0.005, "{found:?}");
        }
    }
}
