//! Max pooling, with the position of every maximum kept for the way back.

use super::patches::Window;
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::error::TrainError;
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// The largest number of every window: x (L, N, H, W, C) -> y (L, N, H', W', C); the first of equal
/// ones. NaN counts as largest, so that it is not lost.
pub struct MaxPool2d {
    geometry: Geometry,
    /// The tap (row * width + column of the window) that won, like the output.
    winners: Buffer<u32>,
}

/// Where the windows lie.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    input: Shape,
    output: Shape,
    window: Window,
}

impl MaxPool2d {
    /// A pool without padding, of windows `size` x `size`, `stride` apart.
    ///
    /// # Errors
    /// When the window does not fit the image, or the tensor library cannot allocate.
    pub fn new(
        lanes: usize,
        capacity: usize,
        input: Shape,
        (size, stride): (usize, usize),
    ) -> Result<Self, TrainError> {
        let window = Window::square(size, stride, 0);
        let [height, width] = window.output(input).ok_or_else(|| TrainError::Shape {
            layer: format!("a pool of {size} x {size}"),
            expected: format!("{size} x {size} pixels"),
            found: input.to_string(),
        })?;
        let output = Shape { height, width, channels: input.channels };
        let winners = Buffer::zeros(lanes, &[capacity, output.units()])?;
        Ok(Self { geometry: Geometry { input, output, window }, winners })
    }
}

impl Geometry {
    /// The first input pixel of every window, over `samples` images, in the output's order.
    fn windows(self, samples: usize) -> impl Iterator<Item = usize> + use<> {
        let Self { input, output, window } = self;
        let stride = window.stride;
        (0..samples * output.area()).map(move |pixel| {
            let (image, y, x) =
                (pixel / output.area(), pixel / output.width % output.height, pixel % output.width);
            (image * input.height + y * stride[0]) * input.width + x * stride[1]
        })
    }

    /// Pixels from the first pixel of a window to its taps, with the taps' numbers.
    fn taps(self) -> impl Iterator<Item = (u32, usize)> + use<> {
        let ([height, width], pitch) = (self.window.size, self.input.width);
        (0..height * width).map(move |tap| (tap as u32, tap / width * pitch + tap % width))
    }

    /// Output and winners of some images.
    #[inline(always)]
    fn pool<T: Real>(self, x: &[T], y: &mut [T], winners: &mut [u32]) {
        let channels = self.input.channels;
        let rows = y.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
        let samples = x.len() / self.input.units();
        for (first, (y, winners)) in self.windows(samples).zip(rows) {
            y.copy_from_slice(&x[first * channels..][..channels]);
            winners.fill(0);
            for (tap, offset) in self.taps().skip(1) {
                let x = &x[(first + offset) * channels..][..channels];
                for ((best, winner), &x) in y.iter_mut().zip(winners.iter_mut()).zip(x) {
                    #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
                    let better = x > *best || x != x;
                    *best = if better { x } else { *best };
                    *winner = if better { tap } else { *winner };
                }
            }
        }
    }

    /// Gradient of the input of some images.
    #[inline(always)]
    fn unpool<T: Real>(self, dy: &[T], winners: &[u32], dx: &mut [T]) {
        let channels = self.input.channels;
        let samples = dx.len() / self.input.units();
        dx.fill(T::ZERO);
        let rows = dy.chunks_exact(channels).zip(winners.chunks_exact(channels));
        for (first, (dy, winners)) in self.windows(samples).zip(rows) {
            for (tap, offset) in self.taps() {
                let dx = &mut dx[(first + offset) * channels..][..channels];
                for ((dx, &dy), &winner) in dx.iter_mut().zip(dy).zip(winners) {
                    *dx += if winner == tap { dy } else { T::ZERO };
                }
            }
        }
    }
}

impl<T: Real> Layer<T> for MaxPool2d {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let geometry = self.geometry;
        let inputs = pass.samples * geometry.input.units();
        let outputs = pass.samples * geometry.output.units();
        let (input, capacity) = (input.read()?, output.lane_len());
        let winners_capacity = self.winners.lane_len();
        output.write(|output| {
            self.winners.write(|winners| {
                for (lane, (y, winners)) in output
                    .chunks_exact_mut(capacity)
                    .zip(winners.chunks_exact_mut(winners_capacity))
                    .enumerate()
                {
                    let x = input.lane(lane, inputs);
                    let (y, winners) = (&mut y[..outputs], &mut winners[..outputs]);
                    vectorized(
                        #[inline(always)]
                        || geometry.pool(x, y, winners),
                    );
                }
            })
        })?
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        _ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let geometry = self.geometry;
        let inputs = pass.samples * geometry.input.units();
        let outputs = pass.samples * geometry.output.units();
        let (gradient, winners) = (flow.gradient.read()?, self.winners.read()?);
        let capacity = input_gradient.lane_len();
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let (dy, winners) = (gradient.lane(lane, outputs), winners.lane(lane, outputs));
                let dx = &mut dx[..inputs];
                vectorized(
                    #[inline(always)]
                    || geometry.unpool(dy, winners, dx),
                );
            }
        })
    }

    fn output_shape(&self) -> Shape {
        self.geometry.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::gradient_check::{check_layer, run_layer};

    #[test]
    fn gradients_equal_finite_differences() {
        let image = Shape { height: 7, width: 6, channels: 2 };
        for (size, stride) in [(2, 2), (3, 2), (3, 1), (2, 3)] {
            let mut pool = MaxPool2d::new(2, 3, image, (size, stride)).unwrap();
            check_layer(&mut pool, image, 3);
        }
    }

    #[test]
    fn overlapping_windows_agree_with_a_case_by_hand() {
        let image = Shape { height: 3, width: 3, channels: 1 };
        let mut pool = MaxPool2d::new(1, 1, image, (2, 1)).unwrap();
        #[rustfmt::skip]
        let x = [1.0, 5.0, 2.0,
                 4.0, 5.0, 6.0,
                 7.0, 8.0, 8.0];
        let (y, dx) = run_layer(&mut pool, &x, &[10.0, 20.0, 30.0, 40.0], Mode::Train { step: 0 });
        assert_eq!(y, [5.0, 6.0, 8.0, 8.0]);
        #[rustfmt::skip]
        assert_eq!(dx, [0.0, 10.0, 0.0,
                        0.0, 0.0, 20.0,
                        0.0, 70.0, 0.0]);
    }

    #[test]
    fn the_gradient_keeps_its_sum_where_windows_tile_the_image() {
        // candle 0.11 loses three quarters of it here.
        let image = Shape { height: 4, width: 4, channels: 1 };
        let mut pool = MaxPool2d::new(1, 1, image, (2, 2)).unwrap();
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let (_, dx) = run_layer(&mut pool, &x, &[1.0; 4], Mode::Train { step: 0 });
        assert_eq!(dx.iter().sum::<f64>(), 4.0);
        assert_eq!(dx[5], 1.0);
    }

    #[test]
    fn nan_is_not_lost() {
        let image = Shape { height: 2, width: 2, channels: 1 };
        for place in 0..4 {
            let mut pool = MaxPool2d::new(1, 1, image, (2, 2)).unwrap();
            let mut x = [1.0; 4];
            x[place] = f64::NAN;
            let (y, _) = run_layer(&mut pool, &x, &[1.0], Mode::Evaluate);
            assert!(y[0].is_nan());
        }
    }
}
