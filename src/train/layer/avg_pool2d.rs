//! Average pooling, over windows that slide or that make the output a given size.

#[path = "accelerated/avg_pool2d.rs"]
mod accelerated;

use super::pool_windows::{Pool, Windows, tables};
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::device::Table;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::for_each_block;
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// The mean of every window: x (L, N, H, W, C) -> y (L, N, H', W', C).
pub struct AvgPool2d {
    windows: Windows,
    /// For every window, 1 / what its sum is divided by.
    shares: Vec<f64>,
    /// For kernels.
    tables: tables::Tables,
    /// The shares, for kernels.
    kept_shares: Table<f32>,
}

impl AvgPool2d {
    /// Windows that slide. Pixels of the padding are 0 and count in the mean if
    /// `count_include_pad`; what a rounded-up window has beyond the padding never counts.
    ///
    /// # Errors
    /// When no window fits, or the padding is more than half a window.
    pub fn new(input: Shape, pool: Pool, count_include_pad: bool) -> Result<Self, TrainError> {
        let windows = Windows::sliding(input, pool)?;
        let divisors = windows.divisors(count_include_pad.then_some(pool));
        Ok(Self::of(windows, &divisors))
    }

    /// A pool to `height` x `width`, each at least 1; any input will do. Output i of an axis is the
    /// mean over floor(i H / H') .. ceil((i + 1) H / H'), as in PyTorch's AdaptiveAvgPool2d.
    pub fn adaptive(input: Shape, size: [usize; 2]) -> Self {
        let windows = Windows::adaptive(input, size);
        let divisors = windows.divisors(None);
        Self::of(windows, &divisors)
    }

    fn of(windows: Windows, divisors: &[usize]) -> Self {
        Self {
            shares: divisors.iter().map(|&n| 1.0 / n as f64).collect(),
            windows,
            tables: tables::Tables::default(),
            kept_shares: Table::default(),
        }
    }

    /// Output of one image.
    #[inline(always)]
    fn pool<T: Real>(&self, x: &[T], y: &mut [T]) {
        let channels = self.windows.input().channels;
        let places = self.windows.iter().zip(&self.shares);
        for ((place, &share), y) in places.zip(y.chunks_exact_mut(channels)) {
            y.copy_from_slice(&x[place.first * channels..][..channels]);
            for offset in place.offsets().skip(1) {
                let x = &x[(place.first + offset) * channels..][..channels];
                for (y, &x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
            let share = T::of(share);
            for y in y {
                *y *= share;
            }
        }
    }

    /// Gradient of the input of one image.
    #[inline(always)]
    fn unpool<T: Real>(&self, dy: &[T], dx: &mut [T]) {
        let channels = self.windows.input().channels;
        let disjoint = self.windows.are_disjoint();
        if !self.windows.are_a_tiling() {
            dx.fill(T::ZERO);
        }
        let places = self.windows.iter().zip(&self.shares);
        for ((place, &share), dy) in places.zip(dy.chunks_exact(channels)) {
            let share = T::of(share);
            for offset in place.offsets() {
                let dx = &mut dx[(place.first + offset) * channels..][..channels];
                if disjoint {
                    for (dx, &dy) in dx.iter_mut().zip(dy) {
                        *dx = dy * share;
                    }
                } else {
                    for (dx, &dy) in dx.iter_mut().zip(dy) {
                        *dx += dy * share;
                    }
                }
            }
        }
    }
}

impl<T: Real> Layer<T> for AvgPool2d {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let (inputs, outputs) = (self.windows.input().units(), self.windows.output().units());
        let (input, capacity) = (input.read()?, output.lane_len());
        let (pool, images) = (&*self, self.windows.images_of_a_block());
        output.write(|output| {
            for (lane, y) in output.chunks_exact_mut(capacity).enumerate() {
                let x = input.lane(lane, pass.samples * inputs);
                let y = &mut y[..pass.samples * outputs];
                for_each_block(y, images * outputs, |start, y| {
                    let x = x[start / outputs * inputs..].chunks_exact(inputs);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (x, y) in x.zip(y.chunks_exact_mut(outputs)) {
                                pool.pool(x, y);
                            }
                        },
                    );
                });
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        _ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = flow.gradient.accelerator() {
            return self.backward_on(&accelerator, flow, pass);
        }
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let (inputs, outputs) = (self.windows.input().units(), self.windows.output().units());
        let (gradient, capacity) = (flow.gradient.read()?, input_gradient.lane_len());
        let (pool, images) = (&*self, self.windows.images_of_a_block());
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let dy = gradient.lane(lane, pass.samples * outputs);
                let dx = &mut dx[..pass.samples * inputs];
                for_each_block(dx, images * inputs, |start, dx| {
                    let dy = dy[start / inputs * outputs..].chunks_exact(outputs);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (dy, dx) in dy.zip(dx.chunks_exact_mut(inputs)) {
                                pool.unpool(dy, dx);
                            }
                        },
                    );
                });
            }
        })
    }

    fn output_shape(&self) -> Shape {
        self.windows.output()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::gradient_check::{check_layer, run_layer};

    #[test]
    fn gradients_of_sliding_windows_equal_finite_differences() {
        let image = Shape { height: 6, width: 5, channels: 2 };
        for (size, stride, padding, ceil_mode) in
            [(2, 2, 0, false), (2, 2, 0, true), (3, 2, 1, false), (3, 2, 1, true), (3, 1, 1, false)]
        {
            for count_include_pad in [false, true] {
                let padding = [padding; 2];
                let pool = Pool { padding, ceil_mode, ..Pool::square(size, stride) };
                let mut pool = AvgPool2d::new(image, pool, count_include_pad).unwrap();
                check_layer(&mut pool, image, 2);
            }
        }
    }

    #[test]
    fn gradients_of_adaptive_windows_equal_finite_differences() {
        for (height, width) in [(3, 4), (2, 2), (1, 5), (7, 3)] {
            let image = Shape { height, width, channels: 2 };
            for size in [[2, 2], [1, 1], [3, 1], [4, 5]] {
                check_layer(&mut AvgPool2d::adaptive(image, size), image, 2);
            }
        }
    }

    #[test]
    fn padding_counts_only_if_asked() {
        let image = Shape { height: 2, width: 2, channels: 1 };
        let pool = Pool { padding: [1; 2], ..Pool::square(2, 2) };
        for (count, expected) in [(true, [1.0, 2.0, 3.0, 4.0]), (false, [4.0, 8.0, 12.0, 16.0])] {
            let mut pool = AvgPool2d::new(image, pool, count).unwrap();
            let (y, _) = run_layer(&mut pool, &[4.0, 8.0, 12.0, 16.0], &[0.0; 4], Mode::Evaluate);
            assert_eq!(y, expected);
        }
    }

    #[test]
    fn three_pixels_become_two_overlapping_means() {
        let image = Shape { height: 3, width: 3, channels: 1 };
        let mut pool = AvgPool2d::adaptive(image, [2, 2]);
        let x: Vec<f64> = (1..=9).map(f64::from).collect();
        let (y, _) = run_layer(&mut pool, &x, &[0.0; 4], Mode::Evaluate);
        assert_eq!(y, [3.0, 4.0, 6.0, 7.0]);
    }

    #[test]
    fn an_output_of_the_inputs_size_is_the_input() {
        let image = Shape { height: 2, width: 2, channels: 3 };
        let mut pool = AvgPool2d::adaptive(image, [2, 2]);
        let x: Vec<f64> = (0..12).map(f64::from).collect();
        let (y, dx) = run_layer(&mut pool, &x, &x, Mode::Train { step: 0 });
        assert_eq!((&y, &dx), (&x, &x));
    }
}
