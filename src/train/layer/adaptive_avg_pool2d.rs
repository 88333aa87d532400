//! Adaptive average pooling: means over windows that make the output a given size.

use std::ops::Range;

use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::error::TrainError;
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// x (L, N, H, W, C) -> y (L, N, H', W', C) with H' and W' given. Output i of an axis is the mean
/// over floor(i H / H') .. ceil((i + 1) H / H'), as in PyTorch; the windows may overlap.
pub struct AdaptiveAvgPool2d {
    input: Shape,
    output: Shape,
    /// For every output pixel its input pixels.
    windows: Vec<Vec<usize>>,
}

impl AdaptiveAvgPool2d {
    /// A pool to `height` x `width`; any input will do.
    pub fn new(input: Shape, [height, width]: [usize; 2]) -> Self {
        let output = Shape { height, width, channels: input.channels };
        let windows = (0..height)
            .flat_map(|y| (0..width).map(move |x| (y, x)))
            .map(|(y, x)| {
                let columns = window(x, input.width, width);
                window(y, input.height, height)
                    .flat_map(|y| columns.clone().map(move |x| y * input.width + x))
                    .collect()
            })
            .collect();
        Self { input, output, windows }
    }
}

/// The window of output `i` of an axis.
fn window(i: usize, input: usize, output: usize) -> Range<usize> {
    i * input / output..((i + 1) * input).div_ceil(output)
}

impl<T: Real> Layer<T> for AdaptiveAvgPool2d {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let (inputs, outputs) = (self.input.units(), self.output.units());
        let channels = self.input.channels;
        let (input, capacity) = (input.read()?, output.lane_len());
        let windows = &self.windows;
        let pool = |x: &[T], y: &mut [T]| {
            for (pixels, y) in windows.iter().zip(y.chunks_exact_mut(channels)) {
                y.fill(T::ZERO);
                for &pixel in pixels {
                    for (y, &x) in y.iter_mut().zip(&x[pixel * channels..][..channels]) {
                        *y += x;
                    }
                }
                let share = T::of(1.0 / pixels.len() as f64);
                for y in y {
                    *y *= share;
                }
            }
        };
        output.write(|output| {
            for (lane, y) in output.chunks_exact_mut(capacity).enumerate() {
                let x = input.lane(lane, pass.samples * inputs);
                let y = &mut y[..pass.samples * outputs];
                vectorized(
                    #[inline(always)]
                    || {
                        for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
                            pool(x, y);
                        }
                    },
                );
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        _ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let (inputs, outputs) = (self.input.units(), self.output.units());
        let channels = self.input.channels;
        let (gradient, capacity) = (flow.gradient.read()?, input_gradient.lane_len());
        let windows = &self.windows;
        let unpool = |dy: &[T], dx: &mut [T]| {
            dx.fill(T::ZERO);
            for (pixels, dy) in windows.iter().zip(dy.chunks_exact(channels)) {
                let share = T::of(1.0 / pixels.len() as f64);
                for &pixel in pixels {
                    for (dx, &dy) in dx[pixel * channels..][..channels].iter_mut().zip(dy) {
                        *dx += dy * share;
                    }
                }
            }
        };
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let dy = gradient.lane(lane, pass.samples * outputs);
                let dx = &mut dx[..pass.samples * inputs];
                vectorized(
                    #[inline(always)]
                    || {
                        for (dx, dy) in dx.chunks_exact_mut(inputs).zip(dy.chunks_exact(outputs)) {
                            unpool(dy, dx);
                        }
                    },
                );
            }
        })
    }

    fn output_shape(&self) -> Shape {
        self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::gradient_check::{check_layer, run_layer};

    #[test]
    fn gradients_equal_finite_differences() {
        for (height, width) in [(3, 4), (2, 2), (1, 5)] {
            let image = Shape { height, width, channels: 2 };
            check_layer(&mut AdaptiveAvgPool2d::new(image, [2, 2]), image, 3);
        }
    }

    #[test]
    fn three_pixels_become_two_overlapping_means() {
        let image = Shape { height: 3, width: 3, channels: 1 };
        let mut pool = AdaptiveAvgPool2d::new(image, [2, 2]);
        let x: Vec<f64> = (1..=9).map(f64::from).collect();
        let (y, _) = run_layer(&mut pool, &x, &[0.0; 4], Mode::Evaluate);
        assert_eq!(y, [3.0, 4.0, 6.0, 7.0]);
    }

    #[test]
    fn an_output_of_the_inputs_size_is_the_input() {
        let image = Shape { height: 2, width: 2, channels: 3 };
        let mut pool = AdaptiveAvgPool2d::new(image, [2, 2]);
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        let (y, dx) = run_layer(&mut pool, &x, &x, Mode::Train { step: 0 });
        assert_eq!((&y, &dx), (&x, &x));
    }
}
