//! Against the definition of the convolution, summed in f64.

use super::*;
use crate::train::rng::{Purpose, Stream};

/// Uniform in +-1.
fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut reader = Stream::new(seed, Purpose::Synthetic, 0, 0).reader();
    (0..len).map(|_| reader.uniform_in(-1.0, 1.0)).collect()
}

/// A convolution with all its numbers.
struct Case {
    geometry: Winograd,
    samples: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

/// What a convolution makes: y, dW, dx.
type Results<T> = [Vec<T>; 3];

impl Case {
    fn new([height, width, inputs, outputs]: [usize; 4], padding: usize, samples: usize) -> Self {
        let input = Shape { height, width, channels: inputs };
        let (height, width) = (height + 2 * padding - 2, width + 2 * padding - 2);
        let output = Shape { height, width, channels: outputs };
        let geometry = Winograd::new(input, output, [padding; 2]).unwrap();
        Self {
            geometry,
            samples,
            x: numbers(1, samples * input.units()),
            w: numbers(2, outputs * 9 * inputs),
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
                for tap in 0..9 {
                    let from = |at: usize, tap: usize, padding: usize, extent: usize| {
                        (at + tap).checked_sub(padding).filter(|&i| i < extent)
                    };
                    let i = from(row, tap / 3, padding[0], input.height);
                    let j = from(pixel % output.width, tap % 3, padding[1], input.width);
                    let (Some(i), Some(j)) = (i, j) else { continue };
                    let from = ((sample * input.height + i) * input.width + j) * input.channels;
                    let weight = (o * 9 + tap) * input.channels;
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

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    let cases = [
        // One tile an image; several; extents that tiles do not divide; channels that registers do
        // not; other paddings; more samples than parts kept at once.
        Case::new([4, 4, 16, 24], 1, 5),
        Case::new([8, 8, 16, 16], 1, 3),
        Case::new([7, 13, 19, 17], 1, 2),
        Case::new([10, 9, 16, 21], 0, 3),
        Case::new([6, 8, 16, 16], 2, 2),
        Case::new([4, 4, 16, 16], 1, PARTS_AT_ONCE * PART_TILES + 70),
    ];
    for case in cases {
        let expected = case.definition();
        for (found, expected) in case.ours::<f64>().iter().zip(&expected) {
            assert!(error(found, expected) < 1e-14, "{:?}", case.geometry);
        }
    }
}

/// F(4x4) loses digits: its transforms take differences of numbers that they scale by up to 8, and
/// an output is the difference of larger sums. Against 64-bit sums the relative error is 1e-6 to
/// 3e-6 at these depths, where a sum of as many f32 in their order has about 3e-7.
#[test]
fn the_error_in_single_precision_is_bounded() {
    for case in [Case::new([8, 8, 192, 64], 1, 2), Case::new([4, 4, 64, 192], 1, 8)] {
        let expected = case.definition();
        let errors: Vec<f64> =
            case.ours::<f32>().iter().zip(&expected).map(|(a, b)| error(a, b)).collect();
        assert!(errors.iter().all(|&error| error < 5e-6), "{errors:?}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let case = Case::new([8, 8, 16, 20], 1, 60);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.ours::<f32>())
    };
    let one = on(1);
    assert_eq!(on(2), one);
    assert_eq!(on(3), one);
}

#[test]
fn small_maps_and_few_channels_are_left_to_the_matrix_product() {
    let shape = |side: usize, channels: usize| Shape { height: side, width: side, channels };
    let suits = |side: usize, channels: usize| {
        Winograd::new(shape(side, channels), shape(side, 32), [1; 2]).is_some()
    };
    assert!(suits(4, 16) && suits(8, 64) && suits(13, 192) && suits(27, 64));
    // On 3 x 3 pixels 49 taps are inside, against 36 points.
    assert!(!suits(3, 64) && !suits(8, 3));
}

/// Milliseconds of the layers of alexnet32 on 32 px images, forward and both gradients.
#[test]
#[ignore = "a timing, to be looked at"]
#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn time_the_layers_of_alexnet32() {
    for (side, inputs, outputs) in [(8, 64, 192), (4, 192, 384), (4, 384, 256), (4, 256, 256)] {
        let case = Case::new([side, side, inputs, outputs], 1, 128);
        let workspace = Workspace::default();
        let numbers = Numbers { samples: 128, weight: &case.w, input: &case.x };
        let (mut y, mut dw, mut dx) = (case.dy.clone(), case.w.clone(), case.x.clone());
        let mut times = [f64::INFINITY; 2];
        for _ in 0..7 {
            let begun = std::time::Instant::now();
            case.geometry.forward(&workspace, &numbers, Some(&case.bias), &mut y);
            times[0] = times[0].min(begun.elapsed().as_secs_f64());
            let begun = std::time::Instant::now();
            case.geometry.backward(&workspace, &numbers, &case.dy, &mut dw, Some(&mut dx));
            times[1] = times[1].min(begun.elapsed().as_secs_f64());
        }
        let [forward, backward] = times.map(|seconds| seconds * 1e3);
        println!("{inputs} -> {outputs}, {side} x {side}: {forward:.1} + {backward:.1} ms");
    }
}
