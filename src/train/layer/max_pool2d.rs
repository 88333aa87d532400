//! Max pooling, with the position of every maximum kept for the way back.

#[path = "accelerated/max_pool2d.rs"]
mod accelerated;

use super::pool_windows::{Pool, Windows, tables};
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::device::Accelerator;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::{for_each_block, for_each_pair};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// The largest number of every window: x (L, N, H, W, C) -> y (L, N, H', W', C); the first of equal
/// ones. NaN counts as largest, so that it is not lost; padding counts as smallest.
pub struct MaxPool2d {
    windows: Windows,
    /// The pixel that won, counted from the first of its window, like the output.
    winners: Buffer<u32>,
    /// For kernels.
    tables: tables::Tables,
}

impl MaxPool2d {
    /// The layer, with room for `capacity` images.
    ///
    /// # Errors
    /// When no window fits, the padding is more than half a window, or the tensor library cannot
    /// allocate.
    pub fn new(
        lanes: usize,
        capacity: usize,
        input: Shape,
        pool: Pool,
    ) -> Result<Self, TrainError> {
        let windows = Windows::sliding(input, pool)?;
        let winners = Buffer::zeros(lanes, &[capacity, windows.output().units()])?;
        Ok(Self { windows, winners, tables: tables::Tables::default() })
    }
}

/// Output and winners of one image.
#[inline(always)]
fn pool<T: Real>(windows: &Windows, x: &[T], y: &mut [T], winners: &mut [u32]) {
    let channels = windows.input().channels;
    let rows = y.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
    for (place, (y, winners)) in windows.iter().zip(rows) {
        y.copy_from_slice(&x[place.first * channels..][..channels]);
        winners.fill(0);
        for offset in place.offsets().skip(1) {
            let x = &x[(place.first + offset) * channels..][..channels];
            for ((best, winner), &x) in y.iter_mut().zip(winners.iter_mut()).zip(x) {
                #[expect(clippy::eq_op, reason = "only NaN differs from itself")]
                let better = x > *best || x != x;
                *best = if better { x } else { *best };
                *winner = if better { offset as u32 } else { *winner };
            }
        }
    }
}

/// Gradient of the input of one image.
#[inline(always)]
fn unpool<T: Real>(windows: &Windows, dy: &[T], winners: &[u32], dx: &mut [T]) {
    let channels = windows.input().channels;
    let disjoint = windows.are_disjoint();
    if !windows.are_a_tiling() {
        dx.fill(T::ZERO);
    }
    let rows = dy.chunks_exact(channels).zip(winners.chunks_exact(channels));
    for (place, (dy, winners)) in windows.iter().zip(rows) {
        for offset in place.offsets() {
            let dx = &mut dx[(place.first + offset) * channels..][..channels];
            let won = dy.iter().zip(winners);
            if disjoint {
                for (dx, (&dy, &winner)) in dx.iter_mut().zip(won) {
                    *dx = if winner == offset as u32 { dy } else { T::ZERO };
                }
            } else {
                for (dx, (&dy, &winner)) in dx.iter_mut().zip(won) {
                    *dx += if winner == offset as u32 { dy } else { T::ZERO };
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
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let windows = &self.windows;
        let (inputs, outputs) = (windows.input().units(), windows.output().units());
        let images = windows.images_of_a_block();
        let (input, capacity) = (input.read()?, output.lane_len());
        let winners_capacity = self.winners.lane_len();
        output.write(|output| {
            self.winners.write(|winners| {
                for (lane, (y, winners)) in output
                    .chunks_exact_mut(capacity)
                    .zip(winners.chunks_exact_mut(winners_capacity))
                    .enumerate()
                {
                    let x = input.lane(lane, pass.samples * inputs);
                    let len = pass.samples * outputs;
                    let y = (&mut y[..len], images * outputs);
                    let winners = (&mut winners[..len], images * outputs);
                    for_each_pair(y, winners, |n, y, winners| {
                        let x = x[n * images * inputs..].chunks_exact(inputs);
                        let made = y.chunks_exact_mut(outputs);
                        let made = made.zip(winners.chunks_exact_mut(outputs));
                        vectorized(
                            #[inline(always)]
                            || {
                                for (x, (y, winners)) in x.zip(made) {
                                    pool(windows, x, y, winners);
                                }
                            },
                        );
                    });
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
        if let Some(accelerator) = flow.gradient.accelerator() {
            return self.backward_on(&accelerator, flow, pass);
        }
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let windows = &self.windows;
        let (inputs, outputs) = (windows.input().units(), windows.output().units());
        let images = windows.images_of_a_block();
        let (gradient, winners) = (flow.gradient.read()?, self.winners.read()?);
        let capacity = input_gradient.lane_len();
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let len = pass.samples * outputs;
                let (dy, winners) = (gradient.lane(lane, len), winners.lane(lane, len));
                let dx = &mut dx[..pass.samples * inputs];
                for_each_block(dx, images * inputs, |start, dx| {
                    let first = start / inputs * outputs;
                    let dy = dy[first..].chunks_exact(outputs);
                    let rows = dy.zip(winners[first..].chunks_exact(outputs));
                    let rows = dx.chunks_exact_mut(inputs).zip(rows);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (dx, (dy, winners)) in rows {
                                unpool(windows, dy, winners, dx);
                            }
                        },
                    );
                });
            }
        })
    }

    fn kept_bytes(&self) -> usize {
        self.winners.lane_len() * size_of::<u32>()
    }

    fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        self.winners.move_to(accelerator)
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
    fn gradients_equal_finite_differences() {
        let image = Shape { height: 7, width: 6, channels: 2 };
        for (size, stride) in [(2, 2), (3, 2), (3, 1), (2, 3)] {
            for (padding, ceil_mode) in [(0, false), (0, true), (1, false), (1, true)] {
                let pool = Pool { padding: [padding; 2], ceil_mode, ..Pool::square(size, stride) };
                check_layer(&mut MaxPool2d::new(2, 4, image, pool).unwrap(), image, 3);
            }
        }
    }

    #[test]
    fn overlapping_windows_agree_with_a_case_by_hand() {
        let image = Shape { height: 3, width: 3, channels: 1 };
        let mut pool = MaxPool2d::new(1, 1, image, Pool::square(2, 1)).unwrap();
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
        let mut pool = MaxPool2d::new(1, 1, image, Pool::square(2, 2)).unwrap();
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let (_, dx) = run_layer(&mut pool, &x, &[1.0; 4], Mode::Train { step: 0 });
        assert_eq!(dx.iter().sum::<f64>(), 4.0);
        assert_eq!(dx[5], 1.0);
    }

    #[test]
    fn padding_never_wins() {
        let image = Shape { height: 2, width: 2, channels: 1 };
        let pool = Pool { padding: [1; 2], ..Pool::square(2, 2) };
        let mut pool = MaxPool2d::new(1, 1, image, pool).unwrap();
        let x = [-4.0, -3.0, -2.0, -1.0];
        let (y, dx) = run_layer(&mut pool, &x, &[1.0; 4], Mode::Train { step: 0 });
        assert_eq!((y.as_slice(), dx.as_slice()), (&x[..], &[1.0; 4][..]));
    }

    #[test]
    fn nan_is_not_lost() {
        let image = Shape { height: 2, width: 2, channels: 1 };
        for place in 0..4 {
            let mut pool = MaxPool2d::new(1, 1, image, Pool::square(2, 2)).unwrap();
            let mut x = [1.0; 4];
            x[place] = f64::NAN;
            let (y, _) = run_layer(&mut pool, &x, &[1.0], Mode::Evaluate);
            assert!(y[0].is_nan());
        }
    }
}
