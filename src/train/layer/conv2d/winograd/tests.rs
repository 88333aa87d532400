//! Against the definition of the convolution, summed in f64.

use super::*;
use crate::train::rng::{Purpose, Stream};

/// Uniform in +-1.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut reader = Stream::new(seed, Purpose::Synthetic, 0, 0).reader();
    (0..len).map(|_| reader.uniform_in(-1.0, 1.0)).collect()
}

/// A convolution with all its numbers.
struct Case<const OUTPUTS: usize, const TAPS: usize> {
    geometry: Winograd<OUTPUTS, TAPS>,
    samples: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

/// What a convolution makes: y, dW, dx.
type Results<T> = [Vec<T>; 3];

impl<const OUTPUTS: usize, const TAPS: usize> Case<OUTPUTS, TAPS>
where
    Maps: Filtering<OUTPUTS, TAPS>,
{
    fn new([height, width, inputs, outputs]: [usize; 4], padding: usize, samples: usize) -> Self {
        let input = Shape { height, width, channels: inputs };
        let size = |extent: usize| extent + 2 * padding + 1 - TAPS;
        let (height, width) = (size(height), size(width));
        let output = Shape { height, width, channels: outputs };
        let geometry = Winograd::new(input, output, [padding; 2]).unwrap();
        Self {
            geometry,
            samples,
            x: numbers(1, samples * input.units()),
            w: numbers(2, outputs * TAPS * TAPS * inputs),
            bias: numbers(3, outputs),
            dy: numbers(4, samples * output.units()),
        }
    }

    /// By Winograd.
    fn ours<T: Real>(&self) -> Results<T> {
        let wide = |from: &[f32]| from.iter().map(|&x| T::of(f64::from(x))).collect::<Vec<T>>();
        let (x, w, bias, dy) = (wide(&self.x), wide(&self.w), wide(&self.bias), wide(&self.dy));
        let workspace = Workspace::default();
        // Whatever was there before must not matter.
        workspace.reserve(&self.geometry.scratch(self.samples));
        workspace.lend(self.geometry.scratch(self.samples), |pieces| {
            pieces.into_iter().for_each(|piece| piece.fill(T::of(f64::NAN)));
        });
        let numbers = Numbers { samples: self.samples, weight: &w, input: &x };
        let nan = |len: usize| vec![T::of(f64::NAN); len];
        let (mut y, mut dw, mut dx) = (nan(dy.len()), nan(w.len()), nan(x.len()));
        self.geometry.forward(&workspace, &numbers, Some(&bias), &mut y);
        self.geometry.backward(&workspace, &numbers, &dy, &mut dw, Some(&mut dx));
        let mut alone = nan(w.len());
        self.geometry.backward(&workspace, &numbers, &dy, &mut alone, None);
        assert_eq!(alone, dw);
        [y, dw, dx]
    }

    /// By the definition.
    fn definition(&self) -> Results<f64> {
        let Winograd { input, output, padding, .. } = self.geometry;
        let mut y = vec![0.0; self.dy.len()];
        let (mut dw, mut dx) = (vec![0.0; self.w.len()], vec![0.0; self.x.len()]);
        for pixel in 0..self.samples * output.area() {
            let (sample, row) = (pixel / output.area(), pixel % output.area() / output.width);
            for o in 0..output.channels {
                let place = pixel * output.channels + o;
                y[place] += f64::from(self.bias[o]);
                for tap in 0..TAPS * TAPS {
                    let from = |at: usize, tap: usize, padding: usize, extent: usize| {
                        (at + tap).checked_sub(padding).filter(|&i| i < extent)
                    };
                    let i = from(row, tap / TAPS, padding[0], input.height);
                    let j = from(pixel % output.width, tap % TAPS, padding[1], input.width);
                    let (Some(i), Some(j)) = (i, j) else { continue };
                    let from = ((sample * input.height + i) * input.width + j) * input.channels;
                    let weight = (o * TAPS * TAPS + tap) * input.channels;
                    for c in 0..input.channels {
                        let (x, w) = (f64::from(self.x[from + c]), f64::from(self.w[weight + c]));
                        y[place] += x * w;
                        dw[weight + c] += x * f64::from(self.dy[place]);
                        dx[from + c] += w * f64::from(self.dy[place]);
                    }
                }
            }
        }
        [y, dw, dx]
    }
}

/// Root of the mean squared difference, over that of what is expected.
fn error<T: Real>(found: &[T], expected: &[f64]) -> f64 {
    let sum = |squares: &mut dyn Iterator<Item = f64>| squares.sum::<f64>();
    let difference = sum(&mut found.iter().zip(expected).map(|(a, b)| (a.wide() - b).powi(2)));
    (difference / sum(&mut expected.iter().map(|x| x * x))).sqrt()
}

/// Its numbers in f64 are those of the definition.
fn check<const OUTPUTS: usize, const TAPS: usize>(case: &Case<OUTPUTS, TAPS>)
where
    Maps: Filtering<OUTPUTS, TAPS>,
{
    let expected = case.definition();
    for (found, expected) in case.ours::<f64>().iter().zip(&expected) {
        assert!(error(found, expected) < 1e-14, "{:?}", case.geometry);
    }
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    // One tile an image; several; extents that tiles do not divide; other paddings; more samples
    // than parts kept at once.
    let small = [([4, 4, 16, 24], 1, 5), ([8, 8, 16, 16], 1, 3), ([7, 13, 24, 16], 1, 2)];
    let large = [([10, 9, 16, 32], 0, 3), ([6, 8, 16, 16], 2, 2)];
    for (shape, padding, samples) in small.into_iter().chain(large) {
        check(&Case::<4, 3>::new(shape, padding, samples));
    }
    check(&Case::<4, 3>::new([4, 4, 16, 16], 1, PARTS_AT_ONCE * PART_TILES + 70));
    for (shape, padding) in [([6, 6, 16, 24], 0), ([11, 12, 16, 16], 2), ([9, 8, 24, 16], 1)] {
        check(&Case::<2, 5>::new(shape, padding, 3));
    }
    check(&Case::<2, 5>::new([6, 6, 16, 16], 0, PARTS_AT_ONCE * PART_TILES / 4 + 70));
}

/// The errors of y, dW and dx in f32.
fn errors<const OUTPUTS: usize, const TAPS: usize>(case: &Case<OUTPUTS, TAPS>) -> Vec<f64>
where
    Maps: Filtering<OUTPUTS, TAPS>,
{
    let expected = case.definition();
    case.ours::<f32>().iter().zip(&expected).map(|(a, b)| error(a, b)).collect()
}

/// The transforms lose digits: they take differences of numbers that they scale by up to 8, and
/// an output is the difference of larger sums. Against 64-bit sums the relative error is 1e-6 to
/// 3e-6 at these depths, where a sum of as many f32 in their order has about 3e-7.
#[test]
fn the_error_in_single_precision_is_bounded() {
    let errors = [
        errors(&Case::<4, 3>::new([8, 8, 192, 64], 1, 2)),
        errors(&Case::<4, 3>::new([4, 4, 64, 192], 1, 8)),
        errors(&Case::<2, 5>::new([14, 14, 64, 192], 2, 1)),
        errors(&Case::<2, 5>::new([10, 10, 192, 16], 2, 2)),
    ];
    assert!(errors.iter().flatten().all(|&error| error < 5e-6), "{errors:?}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let three = Case::<4, 3>::new([8, 8, 16, 24], 1, 60);
            let five = Case::<2, 5>::new([8, 8, 16, 24], 2, 40);
            (three.ours::<f32>(), five.ours::<f32>())
        })
    };
    let one = on(1);
    assert_eq!(on(2), one);
    assert_eq!(on(3), one);
}

#[test]
fn small_maps_and_few_channels_are_left_to_the_matrix_product() {
    let shape = |side: usize, channels: usize| Shape { height: side, width: side, channels };
    let suits = |side: usize, channels: usize| {
        Winograd::<4, 3>::new(shape(side, channels), shape(side, 32), [1; 2]).is_some()
    };
    assert!(suits(4, 16) && suits(8, 64) && suits(13, 192) && suits(27, 64));
    // On 3 x 3 pixels 49 taps are inside, against 36 points.
    assert!(!suits(3, 64) && !suits(8, 3) && !suits(8, 20));
    let suits_5 =
        |side: usize| Winograd::<2, 5>::new(shape(side, 64), shape(side, 192), [2; 2]).is_some();
    assert!(suits_5(27) && suits_5(8) && !suits_5(3));
}
