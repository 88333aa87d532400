//! Generated images: a smooth pattern for each class, shifted, mixed with another class's pattern
//! and covered with noise.
//!
//! For tests, for benchmarks and for a thousand runs of a second each, so it has to be cheap (a few
//! milliseconds for thousands of 28 px images) and neither trivial nor hopeless to learn: the shift
//! by up to two pixels rewards convolutions, and since the other pattern is the stronger one in
//! about 6 % of the images, no network gets them all. Everything is a function of the sample's
//! number, and only additions and multiplications are used, so the images are the same everywhere.
//! Whoever changes a single pixel raises the number in the data set's fingerprint.

use crate::train::rng::{Purpose, Stream, unit};

use super::error::DataError;
use super::splits::{DataSplits, Images};
use super::statistics::{self, Statistics};

/// Images and patterns together take at most this much.
const MOST_BYTES: u64 = 8 << 30;
/// An image is cut out of its pattern at an offset of 0 ..= 2 * SHIFT in each direction.
const SHIFT: usize = 2;
/// Noise is uniform in ± this many grey levels.
const NOISE: i16 = 72;
/// Waves added up in a pattern.
const WAVES: usize = 3;
/// Amplitude of a pattern in grey levels.
const AMPLITUDE: f32 = 96.0;
/// The noise of a sample begins here in its stream; what comes before places and mixes patterns.
const FIRST_NOISE_BLOCK: u64 = 2;

/// Generates `counts` (training, validation, test) images, classes in turn, with the measured
/// statistics of the training part.
///
/// # Errors
/// If the images would take more than 8 GiB.
pub fn generate(
    counts: [usize; 3],
    shape: [usize; 3],
    classes: usize,
) -> Result<DataSplits, DataError> {
    let [channels, height, width] = shape.map(|n| n as u64);
    let images = counts.iter().map(|&n| n as u64).sum::<u64>() * channels * height * width;
    let margin = 2 * SHIFT as u64;
    let patterns = 2 * classes as u64 * channels * (height + margin) * (width + margin);
    if images + patterns > MOST_BYTES {
        return Err(DataError::TooLarge { bytes: images + patterns, limit: MOST_BYTES });
    }
    let patterns = Patterns::new(shape, classes);
    let [train, val, test] = [0, 1, 2].map(|part| patterns.images(part, counts[part as usize]));
    let Statistics { mean, std } = statistics::measure(&train.pixels, shape);
    Ok(DataSplits { shape, classes, mean, std, train, val, test })
}

/// The patterns of all classes, each larger than an image by the margin for the shift.
struct Patterns {
    shape: [usize; 3],
    classes: usize,
    /// Shape (classes, C, H + 2 SHIFT, W + 2 SHIFT), each in ± AMPLITUDE.
    values: Vec<i16>,
}

impl Patterns {
    fn new(shape: [usize; 3], classes: usize) -> Self {
        let [channels, height, width] = shape;
        let (rows, columns) = (height + 2 * SHIFT, width + 2 * SHIFT);
        let mut values = Vec::with_capacity(classes * channels * rows * columns);
        for class in 0..classes {
            let mut draws = Stream::new(0, Purpose::Synthetic, 3, class as u32).reader();
            for _ in 0..channels {
                // Frequency in periods per image (x, y) and phase of each wave.
                let waves: [[f32; 3]; WAVES] = std::array::from_fn(|_| {
                    [draws.uniform_in(-2.5, 2.5), draws.uniform_in(-2.5, 2.5), draws.uniform()]
                });
                for y in 0..rows {
                    for x in 0..columns {
                        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
                        let sum: f32 =
                            waves.iter().map(|[fx, fy, phase]| wave(fx * u + fy * v + phase)).sum();
                        values.push((sum * (AMPLITUDE / WAVES as f32)) as i16);
                    }
                }
            }
        }
        Self { shape, classes, values }
    }

    fn images(&self, part: u32, count: usize) -> Images {
        let size = self.shape.iter().product::<usize>();
        let mut pixels = vec![0; count * size];
        let labels: Vec<u16> = (0..count).map(|sample| (sample % self.classes) as u16).collect();
        for (sample, image) in pixels.chunks_exact_mut(size).enumerate() {
            self.draw(
                Stream::new(0, Purpose::Synthetic, part, sample as u32),
                labels[sample],
                image,
            );
        }
        Images { pixels: pixels.into(), labels }
    }

    /// Draws one image of class `label`.
    fn draw(&self, stream: Stream, label: u16, image: &mut [u8]) {
        let [top, left, other_top, other_left] =
            stream.block(0).map(|bits| (bits % (2 * SHIFT as u32 + 1)) as usize);
        let [weight, other_weight, other, _] = stream.block(1);
        // In 1/256: the class's own pattern at 1/2 to 1, the other one at 0 to 0.7.
        let weight = 128 + (unit(weight) * 128.0) as i16;
        let other_weight = (unit(other_weight) * 179.0) as i16;
        let step = 1 + (unit(other) * (self.classes - 1) as f32) as usize;
        let label = usize::from(label);
        let own = self.window(label, top, left);
        let other = self.window((label + step) % self.classes, other_top, other_left);

        fill_with_noise(stream, image);
        let width = self.shape[2];
        for ((row, own), other) in image.chunks_exact_mut(width).zip(own).zip(other) {
            for ((pixel, &a), &b) in row.iter_mut().zip(own).zip(other) {
                // Every product fits into 16 bits, and 16-bit arithmetic vectorises best.
                let pattern = ((weight * a) >> 8) + ((other_weight * b) >> 8);
                let noise = ((i16::from(*pixel) - 128) * NOISE) >> 7;
                *pixel = (128 + pattern + noise).clamp(0, 255) as u8;
            }
        }
    }

    /// The rows of a class's pattern, channel by channel, at an offset.
    fn window(&self, class: usize, top: usize, left: usize) -> impl Iterator<Item = &[i16]> {
        let [channels, height, width] = self.shape;
        let (rows, columns) = (height + 2 * SHIFT, width + 2 * SHIFT);
        let size = channels * rows * columns;
        self.values[class * size..(class + 1) * size].chunks_exact(rows * columns).flat_map(
            move |plane| {
                plane[top * columns..(top + height) * columns]
                    .chunks_exact(columns)
                    .map(move |row| &row[left..left + width])
            },
        )
    }
}

/// Uniform bytes, sixteen from each block of the stream.
fn fill_with_noise(stream: Stream, bytes: &mut [u8]) {
    for (block, bytes) in bytes.chunks_mut(16).enumerate() {
        let words = stream.block(FIRST_NOISE_BLOCK + block as u64);
        for (bytes, word) in bytes.chunks_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }
}

/// Two parabolas that look like a sine of period 1, from -1 to 1; the phase is above -64.
fn wave(phase: f32) -> f32 {
    // Rounding down by way of an integer costs no call of a function.
    let phase = phase + 64.0;
    let t = 2.0 * (phase - (phase as i32) as f32);
    if t < 1.0 { 4.0 * t * (1.0 - t) } else { -4.0 * (t - 1.0) * (2.0 - t) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> DataSplits {
        generate([2048, 512, 512], [1, 28, 28], 10).unwrap()
    }

    /// Every run's identity names this generator: if this fails, the fingerprint's number must rise.
    #[test]
    fn the_images_stay_what_they_are() {
        let splits = generate([64, 32, 16], [3, 9, 7], 5).unwrap();
        let mut hasher = blake3::Hasher::new();
        for part in [&splits.train, &splits.val, &splits.test] {
            let labels: Vec<u8> = part.labels.iter().map(|&label| label as u8).collect();
            hasher.update(&part.pixels).update(&labels);
        }
        insta::assert_snapshot!(hasher.finalize().to_hex()[..16].to_owned());
    }

    #[test]
    fn a_sample_does_not_depend_on_how_many_there_are() {
        let (few, many) = (small(), generate([4096, 600, 512], [1, 28, 28], 10).unwrap());
        assert_eq!(few.train.pixels[..], many.train.pixels[..few.train.pixels.len()]);
        assert_eq!(few.val.pixels[..], many.val.pixels[..few.val.pixels.len()]);
        assert_ne!(few.val.pixels, few.test.pixels);
    }

    #[test]
    fn odd_shapes_work() {
        for shape in [[1, 1, 1], [2, 3, 5], [3, 17, 1]] {
            let splits = generate([7, 1, 1], shape, 256).unwrap();
            assert_eq!(splits.train.pixels.len(), 7 * shape.iter().product::<usize>());
            assert!(splits.std.iter().all(|std| std.is_finite() && *std > 0.0));
        }
    }

    #[test]
    fn more_than_memory_holds_is_refused() {
        let error = generate([10_000_000, 1, 1], [1024, 1024, 1024], 10).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { .. }));
    }

    /// The mean image of each class, as a linear classifier would use it, is right often but not
    /// always; a network that looks for shifted patterns has something to gain.
    #[test]
    fn classes_can_be_learnt_but_not_at_a_glance() {
        let splits = small();
        let size = 28 * 28;
        let mut centre = vec![vec![0.0_f64; size]; 10];
        for (image, label) in splits.train.pixels.chunks(size).zip(&splits.train.labels) {
            let sums = &mut centre[usize::from(*label)];
            sums.iter_mut().zip(image).for_each(|(sum, p)| *sum += f64::from(*p) / 204.8);
        }
        let distance = |image: &[u8], centre: &[f64]| -> f64 {
            image.iter().zip(centre).map(|(p, c)| (f64::from(*p) - c).powi(2)).sum()
        };
        let right =
            splits.val.pixels.chunks(size).zip(&splits.val.labels).filter(|(image, label)| {
                let nearest = (0..10).min_by(|a, b| {
                    distance(image, &centre[*a]).total_cmp(&distance(image, &centre[*b]))
                });
                nearest == Some(usize::from(**label))
            });
        let accuracy = right.count() as f64 / splits.val.len() as f64;
        assert!((0.6..0.97).contains(&accuracy), "{accuracy}");
    }
}
