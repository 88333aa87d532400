//! Batch normalisation (Ioffe and Szegedy, 2015), with PyTorch's conventions. Over vectors and over
//! images it is the same: channels are last in memory, so either is a matrix of rows.

use super::parameter::{Parameter, Start, State, StorageOrder};
use super::{Flow, GradientReady, Layer, Mode, Pass, Shape};
use crate::train::error::TrainError;
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// Added to the variance.
const EPS: f64 = 1e-5;

/// Share of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Rows that are summed in the layer's own precision before they are added up in f64.
const BLOCK: usize = 64;

/// y = gamma (x - mean) / sqrt(variance + 1e-5) + beta for each channel; x, y (L, N, H, W, C).
///
/// In training mean and (biased) variance are the batch's, over N, H and W; measuring uses running
/// ones, which move by a tenth towards the batch's mean and unbiased variance in every step. A
/// batch of a single row has no unbiased variance and leaves the running one alone.
pub struct BatchNorm<T> {
    shape: Shape,
    /// gamma, beta.
    parameters: Vec<Parameter<T>>,
    /// Running mean, running variance.
    states: Vec<State<T>>,
    /// Of the last training batch, (L, C).
    mean: Buffer<T>,
    /// 1 / sqrt(variance + eps) of the last training batch, (L, C).
    inverse_std: Buffer<T>,
}

impl<T: Real> BatchNorm<T> {
    /// The layer `norm{number}`, with gamma and running variance at 1, beta and running mean at 0.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new(lanes: usize, number: usize, shape: Shape) -> Result<Self, TrainError> {
        let channels = shape.channels;
        let parameter = |name: &str, value: f64| {
            let (name, start) = (format!("norm{number}.{name}"), Start::Constant(value));
            Parameter::new(name, lanes, vec![channels], StorageOrder::Saved, start)
        };
        let state = |name: &str, start: T| -> Result<State<T>, TrainError> {
            let mut value = Buffer::zeros(lanes, &[channels])?;
            value.write(|value| value.fill(start))?;
            Ok(State { name: format!("norm{number}.{name}"), value })
        };
        Ok(Self {
            shape,
            parameters: vec![parameter("weight", 1.0)?, parameter("bias", 0.0)?],
            states: vec![state("running_mean", T::ZERO)?, state("running_var", T::ONE)?],
            mean: Buffer::zeros(lanes, &[channels])?,
            inverse_std: Buffer::zeros(lanes, &[channels])?,
        })
    }

    /// Measures a training batch: keeps its mean and inverse deviation and moves the running
    /// statistics.
    fn measure(&mut self, input: &Buffer<T>, rows: usize) -> Result<(), TrainError> {
        let channels = self.shape.channels;
        let input = input.read()?;
        let [running_mean, running_var] = &mut self.states[..] else {
            unreachable!("invariant: two running statistics")
        };
        let (mean, inverse_std) = (&mut self.mean, &mut self.inverse_std);
        running_mean.value.write(|running_mean| {
            running_var.value.write(|running_var| {
                mean.write(|mean| {
                    inverse_std.write(|inverse_std| {
                        for lane in 0..mean.len() / channels {
                            let place = lane * channels..(lane + 1) * channels;
                            let moments = moments(input.lane(lane, rows * channels), channels);
                            for (c, (batch_mean, variance)) in place.zip(moments) {
                                mean[c] = T::of(batch_mean);
                                inverse_std[c] = T::of(1.0 / (variance + EPS).sqrt());
                                move_towards(&mut running_mean[c], batch_mean);
                                if rows > 1 {
                                    let unbiased = variance * rows as f64 / (rows - 1) as f64;
                                    move_towards(&mut running_var[c], unbiased);
                                }
                            }
                        }
                    })
                })
            })
        })????;
        Ok(())
    }
}

/// Moves a running statistic.
fn move_towards<T: Real>(running: &mut T, batch: f64) {
    *running = T::of((1.0 - MOMENTUM) * running.wide() + MOMENTUM * batch);
}

/// Sums `f(x, y, centre)` over all rows, for each channel: in blocks, the blocks in f64.
#[inline(always)]
fn sums<T: Real>([x, y]: [&[T]; 2], centre: &[T], f: impl Fn(T, T, T) -> T) -> Vec<f64> {
    let channels = centre.len();
    let mut totals = vec![0.0; channels];
    let mut block_sums = vec![T::ZERO; channels];
    let block = BLOCK * channels;
    for (x, y) in x.chunks(block).zip(y.chunks(block)) {
        block_sums.fill(T::ZERO);
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact(channels)) {
            let columns = x.iter().zip(y).zip(centre);
            for (sum, ((&x, &y), &centre)) in block_sums.iter_mut().zip(columns) {
                *sum += f(x, y, centre);
            }
        }
        for (total, sum) in totals.iter_mut().zip(&block_sums) {
            *total += sum.wide();
        }
    }
    totals
}

/// Mean and biased variance of each channel, in two passes.
fn moments<T: Real>(x: &[T], channels: usize) -> Vec<(f64, f64)> {
    let rows = (x.len() / channels) as f64;
    vectorized(
        #[inline(always)]
        || {
            let mut centre = vec![T::ZERO; channels];
            let mut means = sums(
                [x, x],
                &centre,
                #[inline(always)]
                |x, _, _| x,
            );
            for (mean, centre) in means.iter_mut().zip(&mut centre) {
                *mean /= rows;
                *centre = T::of(*mean);
            }
            let squares = sums(
                [x, x],
                &centre,
                #[inline(always)]
                |x, _, centre| (x - centre) * (x - centre),
            );
            means.into_iter().zip(squares).map(|(mean, sum)| (mean, sum / rows)).collect()
        },
    )
}

/// Sums of dy and of (x - mean) dy over the rows, for each channel.
fn gradient_sums<T: Real>(x: &[T], dy: &[T], mean: &[T]) -> (Vec<f64>, Vec<f64>) {
    vectorized(
        #[inline(always)]
        || {
            let plain = sums(
                [x, dy],
                mean,
                #[inline(always)]
                |_, dy, _| dy,
            );
            let weighted = sums(
                [x, dy],
                mean,
                #[inline(always)]
                |x, dy, mean| (x - mean) * dy,
            );
            (plain, weighted)
        },
    )
}

/// `out = (x - centre) * factor + offset` by channel.
fn affine<T: Real>(x: &[T], out: &mut [T], centre: &[T], factor: &[T], offset: &[T]) {
    let channels = centre.len();
    vectorized(
        #[inline(always)]
        || {
            for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let terms = centre.iter().zip(factor).zip(offset);
                for ((out, &x), ((&centre, &factor), &offset)) in out.iter_mut().zip(x).zip(terms) {
                    *out = (x - centre) * factor + offset;
                }
            }
        },
    );
}

impl<T: Real> Layer<T> for BatchNorm<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let channels = self.shape.channels;
        let rows = pass.samples * self.shape.area();
        if matches!(pass.mode, Mode::Train { .. }) {
            self.measure(input, rows)?;
        }
        let (gamma, beta) = (self.parameters[0].value.read()?, self.parameters[1].value.read()?);
        let (mean, inverse_std) = match pass.mode {
            Mode::Train { .. } => (self.mean.read()?.to_vec(), self.inverse_std.read()?.to_vec()),
            Mode::Evaluate => {
                let variance = self.states[1].value.read()?;
                let inverse = variance.iter().map(|v| T::of(1.0 / (v.wide() + EPS).sqrt()));
                (self.states[0].value.read()?.to_vec(), inverse.collect())
            }
        };
        let factor: Vec<T> = gamma.iter().zip(&inverse_std).map(|(&g, &i)| g * i).collect();
        let (input, capacity) = (input.read()?, output.lane_len());
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let place = lane * channels..(lane + 1) * channels;
                affine(
                    input.lane(lane, rows * channels),
                    &mut output[..rows * channels],
                    &mean[place.clone()],
                    &factor[place],
                    beta.lane(lane, channels),
                );
            }
        })
    }

    /// With x^ = (x - mean) / std: dbeta = sum dy, dgamma = sum dy x^, and
    /// dx = gamma / std (dy - dbeta / rows - x^ dgamma / rows).
    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let channels = self.shape.channels;
        let rows = pass.samples * self.shape.area();
        let (input, gradient) = (flow.input.read()?, flow.gradient.read()?);
        let (mean, inverse_std) = (self.mean.read()?, self.inverse_std.read()?);
        let [gamma, beta] = &mut self.parameters[..] else {
            unreachable!("invariant: gamma and beta")
        };
        gamma.gradient.write(|gamma| {
            beta.gradient.write(|beta| {
                let lanes = gamma.chunks_exact_mut(channels).zip(beta.chunks_exact_mut(channels));
                for (lane, (gamma, beta)) in lanes.enumerate() {
                    let x = input.lane(lane, rows * channels);
                    let dy = gradient.lane(lane, rows * channels);
                    let (beta_sums, gamma_sums) = gradient_sums(x, dy, mean.lane(lane, channels));
                    let inverse_std = inverse_std.lane(lane, channels);
                    for c in 0..channels {
                        beta[c] = T::of(beta_sums[c]);
                        gamma[c] = T::of(gamma_sums[c] * inverse_std[c].wide());
                    }
                }
            })
        })??;
        ready(beta)?;
        ready(gamma)?;
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let (gamma_value, gamma) = (gamma.value.read()?, gamma.gradient.read()?);
        let beta = beta.gradient.read()?;
        let capacity = input_gradient.lane_len();
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let x = input.lane(lane, rows * channels);
                let dy = gradient.lane(lane, rows * channels);
                let (mean, inverse_std) =
                    (mean.lane(lane, channels), inverse_std.lane(lane, channels));
                // dx = factor dy - offset - slope (x - mean)
                let share = T::of(1.0 / rows as f64);
                let places = lane * channels..(lane + 1) * channels;
                let terms: Vec<[T; 3]> = places
                    .zip(inverse_std)
                    .map(|(c, &inverse)| {
                        let factor = gamma_value[c] * inverse;
                        let slope = factor * inverse * gamma[c] * share;
                        [factor, factor * beta[c] * share, slope]
                    })
                    .collect();
                let dx = &mut dx[..rows * channels];
                propagate([x, dy], mean, &terms, dx);
            }
        })
    }

    fn output_shape(&self) -> Shape {
        self.shape
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }

    fn states(&self) -> &[State<T>] {
        &self.states
    }

    fn states_mut(&mut self) -> &mut [State<T>] {
        &mut self.states
    }
}

/// `dx = factor dy - offset - slope (x - mean)` by channel, from (factor, offset, slope).
fn propagate<T: Real>([x, dy]: [&[T]; 2], mean: &[T], terms: &[[T; 3]], dx: &mut [T]) {
    let channels = mean.len();
    let column = |i: usize| terms.iter().map(|term| term[i]).collect::<Vec<T>>();
    let (factor, offset, slope) = (column(0), column(1), column(2));
    vectorized(
        #[inline(always)]
        || {
            let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
            for (dx, (x, dy)) in dx.chunks_exact_mut(channels).zip(rows) {
                let terms = factor.iter().zip(&offset).zip(&slope).zip(mean);
                for ((dx, (&x, &dy)), (((&factor, &offset), &slope), &mean)) in
                    dx.iter_mut().zip(x.iter().zip(dy)).zip(terms)
                {
                    *dx = factor * dy - offset - slope * (x - mean);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::gradient_check::{check_layer, compare_forward, fill, tensor};
    use candle_core::{DType, Device};
    use candle_nn::{ModuleT, VarBuilder, VarMap};

    const IMAGE: Shape = Shape { height: 3, width: 2, channels: 4 };

    #[test]
    fn gradients_equal_finite_differences() {
        for shape in [IMAGE, Shape::flat(5)] {
            check_layer(&mut BatchNorm::<f64>::new(2, 1, shape).unwrap(), shape, 6);
        }
    }

    #[test]
    fn values_and_running_statistics_equal_candles() {
        let vars = VarMap::new();
        let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let reference = candle_nn::batch_norm(4, 1e-5, builder).unwrap();
        let mut layer = BatchNorm::<f32>::new(1, 1, IMAGE).unwrap();
        fill(&mut layer);
        let set = |i: usize, name: &str| {
            let value = layer.parameters[i].value.tensor().copy().unwrap().squeeze(0).unwrap();
            vars.data().lock().unwrap()[name].set(&value).unwrap();
        };
        set(0, "weight");
        set(1, "bias");
        for round in 0..3 {
            let x = tensor(&[6, 4, 3, 2]).affine(1.0 + f64::from(round), 0.5).unwrap();
            let nhwc = |t: &candle_core::Tensor| t.permute((0, 2, 3, 1)).unwrap();
            let expected = reference.forward_t(&x, true).unwrap();
            compare_forward(&mut layer, &nhwc(&x), &nhwc(&expected), 1e-4);
        }
        let running = [reference.running_mean(), reference.running_var()];
        for (state, expected) in layer.states.iter().zip(running) {
            let expected: Vec<f32> = expected.to_vec1().unwrap();
            for (found, expected) in state.value.read().unwrap().iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_batch_of_one_row_is_finite_and_leaves_the_running_variance() {
        let mut layer = BatchNorm::<f64>::new(1, 1, Shape::flat(2)).unwrap();
        let mode = Mode::Train { step: 0 };
        let run = crate::train::layer::gradient_check::run_layer;
        let (y, dx) = run(&mut layer, &[3.0, -4.0], &[1.0, 1.0], mode);
        assert_eq!((y, dx), (vec![0.0, 0.0], vec![0.0, 0.0]));
        assert_eq!(*layer.states[1].value.read().unwrap(), [1.0, 1.0]);
    }
}
