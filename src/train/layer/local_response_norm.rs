//! Local response normalisation (Krizhevsky et al., 2012, section 3.3): each channel is divided by
//! the activity of its neighbours at the same pixel. Channels are last in memory, so a window of
//! neighbours is contiguous and each of its offsets is one vectorised addition.

#[path = "accelerated/local_response_norm.rs"]
mod accelerated;

use std::ops::Range;

use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::device::Accelerator;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::{BLOCK, for_each_pair};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// y = x s^-beta with s = k + alpha / n * (sum of x^2 over the n channels around it); x, y
/// (L, N, H, W, C). Channels beyond the ends count as 0. As PyTorch's LocalResponseNorm: alpha is
/// divided by n, and of an even n one more channel lies before than after.
pub struct LocalResponseNorm<T> {
    shape: Shape,
    response: Response,
    /// s of the last forward, like the output; backward works in it.
    scales: Buffer<T>,
}

/// The constants of a local response normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Response {
    /// n, the channels of a window; at least 1.
    pub size: usize,
    /// alpha, at least 0.
    pub alpha: f64,
    /// beta.
    pub beta: f64,
    /// k, above 0.
    pub k: f64,
}

impl Response {
    /// The constants of the paper.
    pub const ALEXNET: Self = Self { size: 5, alpha: 1e-4, beta: 0.75, k: 2.0 };

    /// alpha / n.
    fn share(&self) -> f64 {
        self.alpha / self.size as f64
    }

    /// Channels of a window before and after its own.
    fn reach(&self) -> [usize; 2] {
        [self.size / 2, (self.size - 1) / 2]
    }
}

impl<T: Real> LocalResponseNorm<T> {
    /// The layer, with room for `capacity` samples of `shape` in each lane.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new(
        lanes: usize,
        capacity: usize,
        shape: Shape,
        response: Response,
    ) -> Result<Self, TrainError> {
        let scales = Buffer::zeros(lanes, &[capacity, shape.units()])?;
        Ok(Self { shape, response, scales })
    }

    /// Numbers of a block of whole pixels.
    fn block(&self) -> usize {
        (BLOCK / self.shape.channels).max(1) * self.shape.channels
    }
}

/// For every offset of a window that reaches `before` and `after` its own channel: the channels
/// that have a neighbour there, and these neighbours.
#[inline(always)]
fn offsets(
    channels: usize,
    [before, after]: [usize; 2],
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let earlier = (1..=before.min(channels)).map(move |n| (n..channels, 0..channels - n));
    let later = (0..=after.min(channels)).map(move |n| (0..channels - n, n..channels));
    earlier.chain(later)
}

/// s^-beta, with a function for the beta that everybody uses.
#[derive(Debug, Clone, Copy)]
enum Power {
    ThreeQuarters,
    Any(f64),
}

impl Power {
    fn of(beta: f64) -> Self {
        if beta == 0.75 { Self::ThreeQuarters } else { Self::Any(beta) }
    }
}

/// `out = factor s^-beta` for every number.
#[inline(always)]
fn scale_by_power<T: Real>(power: Power, factor: &[T], scales: &[T], out: &mut [T]) {
    let numbers = out.iter_mut().zip(factor.iter().zip(scales));
    match power {
        Power::ThreeQuarters => {
            for (out, (&factor, &scale)) in numbers {
                let root = scale.sqrt();
                *out = factor / (root * root.sqrt());
            }
        }
        Power::Any(beta) => {
            for (out, (&factor, &scale)) in numbers {
                *out = factor * T::of(scale.wide().powf(-beta));
            }
        }
    }
}

/// Output and scales of some pixels.
#[inline(always)]
fn normalise<T: Real>(channels: usize, response: Response, x: &[T], [y, scales]: [&mut [T]; 2]) {
    let (k, share) = (T::of(response.k), T::of(response.share()));
    for (x, scales) in x.chunks_exact(channels).zip(scales.chunks_exact_mut(channels)) {
        scales.fill(T::ZERO);
        for (own, neighbours) in offsets(channels, response.reach()) {
            for (sum, &x) in scales[own].iter_mut().zip(&x[neighbours]) {
                *sum += x * x;
            }
        }
        for scale in scales {
            *scale = k + share * *scale;
        }
    }
    scale_by_power(Power::of(response.beta), x, scales, y);
}

/// Gradient of the input of some pixels: dx = dy s^-beta - 2 alpha beta / n * x * (sum of dy y / s
/// over the windows that the channel is in). Leaves dy y / s in `scales`.
#[inline(always)]
fn propagate<T: Real>(
    channels: usize,
    response: Response,
    [x, y, dy]: [&[T]; 3],
    [dx, scales]: [&mut [T]; 2],
) {
    scale_by_power(Power::of(response.beta), dy, scales, dx);
    for (scale, (&dy, &y)) in scales.iter_mut().zip(dy.iter().zip(y)) {
        *scale = dy * y / *scale;
    }
    let factor = T::of(2.0 * response.share() * response.beta);
    // A window that reaches `before` a channel is, seen from its neighbours, one that reaches as
    // far after them.
    let [before, after] = response.reach();
    let rows = x.chunks_exact(channels).zip(scales.chunks_exact(channels));
    for (dx, (x, ratios)) in dx.chunks_exact_mut(channels).zip(rows) {
        for (own, others) in offsets(channels, [after, before]) {
            let terms = x[own.clone()].iter().zip(&ratios[others]);
            for (dx, (&x, &ratio)) in dx[own].iter_mut().zip(terms) {
                *dx -= factor * x * ratio;
            }
        }
    }
}

impl<T: Real> Layer<T> for LocalResponseNorm<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let len = pass.samples * self.shape.units();
        let (channels, response, block) = (self.shape.channels, self.response, self.block());
        let (input, capacity) = (input.read()?, output.lane_len());
        let scales_capacity = self.scales.lane_len();
        output.write(|output| {
            self.scales.write(|scales| {
                let scales = scales.chunks_exact_mut(scales_capacity);
                let lanes = output.chunks_exact_mut(capacity).zip(scales);
                for (lane, (y, scales)) in lanes.enumerate() {
                    let x = input.lane(lane, len);
                    let (y, scales) = ((&mut y[..len], block), (&mut scales[..len], block));
                    for_each_pair(y, scales, |n, y, scales| {
                        let x = &x[n * block..][..y.len()];
                        vectorized(
                            #[inline(always)]
                            || normalise(channels, response, x, [y, scales]),
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
        let len = pass.samples * self.shape.units();
        let (channels, response, block) = (self.shape.channels, self.response, self.block());
        let (input, output) = (flow.input.read()?, flow.output.read()?);
        let (gradient, capacity) = (flow.gradient.read()?, input_gradient.lane_len());
        let scales_capacity = self.scales.lane_len();
        input_gradient.write(|input_gradient| {
            self.scales.write(|scales| {
                let scales = scales.chunks_exact_mut(scales_capacity);
                let lanes = input_gradient.chunks_exact_mut(capacity).zip(scales);
                for (lane, (dx, scales)) in lanes.enumerate() {
                    let (x, y) = (input.lane(lane, len), output.lane(lane, len));
                    let dy = gradient.lane(lane, len);
                    let (dx, scales) = ((&mut dx[..len], block), (&mut scales[..len], block));
                    for_each_pair(dx, scales, |n, dx, scales| {
                        let given = [x, y, dy].map(|all| &all[n * block..][..dx.len()]);
                        vectorized(
                            #[inline(always)]
                            || propagate(channels, response, given, [dx, scales]),
                        );
                    });
                }
            })
        })?
    }

    fn kept_bytes(&self) -> usize {
        self.scales.lane_len() * size_of::<T>()
    }

    fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        self.scales.move_to(accelerator)
    }

    fn output_shape(&self) -> Shape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::Mode;
    use crate::train::layer::gradient_check::{check_layer, run_layer};

    #[test]
    fn gradients_equal_finite_differences() {
        let shape = Shape { height: 2, width: 1, channels: 7 };
        for (size, beta) in [(5, 0.75), (4, 0.75), (3, 0.5), (1, 1.3), (20, 0.75)] {
            let response = Response { size, alpha: 0.9, beta, k: 1.1 };
            let mut layer = LocalResponseNorm::<f64>::new(1, 4, shape, response).unwrap();
            check_layer(&mut layer, shape, 3);
        }
    }

    #[test]
    fn the_papers_equation_by_hand() {
        let response = Response { size: 3, alpha: 3.0, beta: 0.75, k: 2.0 };
        let mut layer = LocalResponseNorm::<f64>::new(1, 1, Shape::flat(4), response).unwrap();
        let x = [1.0, 2.0, 3.0, 1.5];
        let (y, _) = run_layer(&mut layer, &x, &[0.0; 4], Mode::Evaluate);
        let sums = [5.0, 14.0, 15.25, 11.25_f64];
        for ((y, x), sum) in y.iter().zip(x).zip(sums) {
            assert!((y - x * (2.0 + sum).powf(-0.75)).abs() < 1e-15, "{y}");
        }
    }

    #[test]
    fn nan_is_not_lost() {
        let response = Response::ALEXNET;
        let mut layer = LocalResponseNorm::<f64>::new(1, 1, Shape::flat(3), response).unwrap();
        let (y, _) = run_layer(&mut layer, &[f64::NAN, 1.0, 1.0], &[0.0; 3], Mode::Evaluate);
        assert!(y[0].is_nan());
    }
}
