//! Dropout (Srivastava et al., 2014), inverted: what is kept is scaled up in training, so that
//! measuring needs no scaling.

#[path = "accelerated/dropout.rs"]
mod accelerated;

use super::{Flow, GradientReady, Layer, Mode, Pass, Shape};
use crate::train::device::Accelerator;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::{BLOCK, for_each_block};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};
use crate::train::rng::{GROUP, Purpose, Stream};

/// In training y = x m / (1 - p), where each m is 0 with probability p and else 1; otherwise y = x.
///
/// The draw of a unit depends on nothing but the lane's seed, the step, the layer's number and the
/// unit's place in the global batch.
pub struct Dropout<T> {
    shape: Shape,
    number: u32,
    lanes: Vec<DropoutLane>,
    /// m / (1 - p), (L, N, units).
    factors: Buffer<T>,
    /// For kernels.
    tables: accelerated::Tables,
}

/// What a lane drops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutLane {
    /// Seed of the lane.
    pub seed: u64,
    /// Probability that a unit is dropped, in 0 .. 1.
    pub probability: f64,
}

impl<T: Real> Dropout<T> {
    /// The layer; `number` is its number among the dropout layers, from 0.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new(
        lanes: &[DropoutLane],
        capacity: usize,
        shape: Shape,
        number: u32,
    ) -> Result<Self, TrainError> {
        let factors = Buffer::zeros(lanes.len(), &[capacity, shape.units()])?;
        let tables = accelerated::Tables::default();
        Ok(Self { shape, number, lanes: lanes.to_vec(), factors, tables })
    }
}

/// A unit is dropped if its 32 bits are below p 2^32.
fn threshold(probability: f64) -> u32 {
    (probability * 4_294_967_296.0) as u32
}

/// 0 for bits below the threshold, else `kept`.
#[inline(always)]
fn factor<T: Real>(bits: u32, threshold: u32, kept: T) -> T {
    if bits < threshold { T::ZERO } else { kept }
}

/// Draws the factors of elements `first ..` of a step.
fn draw<T: Real>(lane: DropoutLane, stream: Stream, first: u64, factors: &mut [T]) {
    let threshold = threshold(lane.probability);
    let kept = T::of(1.0 / (1.0 - lane.probability));
    let each = |first: u64, factors: &mut [T]| {
        for (i, out) in factors.iter_mut().enumerate() {
            *out = factor(stream.element(first + i as u64), threshold, kept);
        }
    };
    let group = GROUP as u64;
    let before = (first.next_multiple_of(group) - first) as usize;
    let (head, rest) = factors.split_at_mut(before.min(factors.len()));
    each(first, head);
    let (groups, tail) = rest.as_chunks_mut::<GROUP>();
    let first_group = first.div_ceil(group);
    each((first_group + groups.len() as u64) * group, tail);
    vectorized(
        #[inline(always)]
        || {
            for (i, factors) in groups.iter_mut().enumerate() {
                let bits = stream.group(first_group + i as u64);
                for (out, bits) in factors.iter_mut().zip(bits) {
                    *out = factor(bits, threshold, kept);
                }
            }
        },
    );
}

/// `out[i] = x[i] * factors[i]`.
fn multiply<T: Real>(x: &[T], factors: &[T], out: &mut [T]) {
    for_each_block(out, BLOCK, |start, out| {
        let [x, factors] = [x, factors].map(|all| &all[start..start + out.len()]);
        vectorized(
            #[inline(always)]
            || {
                for (out, (&x, &factor)) in out.iter_mut().zip(x.iter().zip(factors)) {
                    *out = x * factor;
                }
            },
        );
    });
}

impl<T: Real> Layer<T> for Dropout<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let units = self.shape.units();
        let len = pass.samples * units;
        if let Mode::Train { step } = pass.mode {
            let (capacity, lanes, number) = (self.factors.lane_len(), &self.lanes, self.number);
            let first = (pass.first_sample * units) as u64;
            self.factors.write(|factors| {
                for (lane, factors) in lanes.iter().zip(factors.chunks_exact_mut(capacity)) {
                    let stream = Stream::new(lane.seed, Purpose::Dropout, step as u32, number);
                    for_each_block(&mut factors[..len], BLOCK, |start, factors| {
                        draw(*lane, stream, first + start as u64, factors);
                    });
                }
            })?;
        }
        let (input, factors) = (input.read()?, self.factors.read()?);
        let capacity = output.lane_len();
        output.write(|output| {
            for (lane, y) in output.chunks_exact_mut(capacity).enumerate() {
                let (x, y) = (input.lane(lane, len), &mut y[..len]);
                match pass.mode {
                    Mode::Train { .. } => multiply(x, factors.lane(lane, len), y),
                    Mode::Evaluate => y.copy_from_slice(x),
                }
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
        let len = pass.samples * self.shape.units();
        let (gradient, factors) = (flow.gradient.read()?, self.factors.read()?);
        let capacity = input_gradient.lane_len();
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                multiply(gradient.lane(lane, len), factors.lane(lane, len), &mut dx[..len]);
            }
        })
    }

    fn kept_bytes(&self) -> usize {
        self.factors.lane_len() * size_of::<T>()
    }

    fn move_to(&mut self, accelerator: &Accelerator) -> Result<(), TrainError> {
        self.factors.move_to(accelerator)
    }

    fn output_shape(&self) -> Shape {
        self.shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::gradient_check::{check_layer, run_layer};

    const LANE: DropoutLane = DropoutLane { seed: 3, probability: 0.3 };

    fn dropped(first_sample: usize, samples: usize, step: u64) -> Vec<f64> {
        let mut layer = Dropout::<f64>::new(&[LANE], samples, Shape::flat(7), 0).unwrap();
        let mut input = Buffer::<f64>::zeros(1, &[samples, 7]).unwrap();
        input.write(|x| x.fill(1.0)).unwrap();
        let mut output = Buffer::<f64>::zeros(1, &[samples, 7]).unwrap();
        let pass = Pass { mode: Mode::Train { step }, samples, first_sample };
        layer.forward(&input, &mut output, &pass).unwrap();
        output.read().unwrap().to_vec()
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let other = DropoutLane { seed: 4, probability: 0.6 };
        let mut layer = Dropout::<f64>::new(&[LANE, other], 5, Shape::flat(7), 1).unwrap();
        check_layer(&mut layer, Shape::flat(7), 5);
    }

    #[test]
    fn the_mean_is_kept_and_the_share_dropped_is_p() {
        let y = dropped(0, 10_000, 0);
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let zeros = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        // Five standard errors of 70,000 draws.
        assert!((mean - 1.0).abs() < 0.013, "{mean}");
        assert!((zeros - 0.3).abs() < 0.009, "{zeros}");
    }

    #[test]
    fn a_share_of_the_global_batch_draws_what_the_whole_would() {
        let whole = dropped(0, 9, 5);
        assert_eq!(dropped(5, 4, 5), whole[35..]);
        assert_ne!(dropped(0, 9, 6), whole);
        let whole = dropped(0, 40, 5);
        for first in [1, 3, 4, 30, 37] {
            assert_eq!(dropped(first, 40 - first, 5), whole[7 * first..]);
        }
    }

    #[test]
    fn measuring_drops_nothing_and_probability_0_changes_no_bit() {
        let x = [0.1, 0.2, 0.3];
        let mut layer = Dropout::<f64>::new(&[LANE], 1, Shape::flat(3), 0).unwrap();
        assert_eq!(run_layer(&mut layer, &x, &x, Mode::Evaluate).0, x);
        let never = DropoutLane { seed: 3, probability: 0.0 };
        let mut layer = Dropout::<f64>::new(&[never], 1, Shape::flat(3), 0).unwrap();
        assert_eq!(run_layer(&mut layer, &x, &x, Mode::Train { step: 0 }).0, x);
    }
}
