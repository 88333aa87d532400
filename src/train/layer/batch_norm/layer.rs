//! The layer: statistics of a batch, running statistics, and what is made of them.

#[path = "../accelerated/batch_norm.rs"]
mod accelerated;

use super::sums::{self, GradientSums, Moments};
use super::together::Together;
use crate::spec::batch_norm::Normalisation;
use crate::train::error::TrainError;
use crate::train::kernel::parallel::{BLOCK, for_each_block};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};
use crate::train::lane_set::LaneSet;
use crate::train::layer::parameter::{Parameter, Start, State, StorageOrder};
use crate::train::layer::{Flow, GradientReady, Layer, Lives, Mode, Pass, Shape};
use crate::train::parallel::Peers;

/// y = gamma (x - mean) / sqrt(variance + eps) + beta for each channel; x, y (L, N, H, W, C).
///
/// In training mean and (biased) variance are the batch's, over N, H and W; measuring uses running
/// ones, which move by the momentum towards the batch's mean and unbiased variance in every step. A
/// batch of a single row has no unbiased variance and leaves the running one alone. On several ranks
/// the batch is the rank's part of it, or the whole of it in lanes that [`connect`](Layer::connect)
/// connects; a rank without samples measures nothing.
///
/// In a lane without normalisation y = x, and parameters and statistics are none.
///
/// A forward reads its input twice, once for both moments and once to normalise; a backward reads
/// input and gradient twice, once for both sums and once for the gradient of the input.
pub struct BatchNorm<T> {
    shape: Shape,
    /// `None` in a lane without normalisation.
    lanes: Vec<Option<Normalisation>>,
    /// The lanes whose running statistics move.
    living: LaneSet,
    /// gamma, beta.
    parameters: Vec<Parameter<T>>,
    /// Running mean, running variance.
    states: Vec<State<T>>,
    /// Where lanes look at the whole batch of several ranks.
    together: Option<Together>,
    /// Rows that the moments are of, (L).
    rows: Vec<usize>,
    /// Of the last training batch, (L, C).
    moments: Vec<Moments>,
    /// Of the last training batch, (L, C).
    mean: Vec<T>,
    /// 1 / sqrt(variance + eps) of the last training batch, (L, C).
    inverse_std: Vec<T>,
    /// Of the last backward, (L, C).
    sums: Vec<GradientSums>,
    /// What a row is computed with in the current pass, (L, C) each.
    terms: [Vec<T>; 3],
    /// For kernels.
    kept: accelerated::Kept,
}

impl<T: Real> BatchNorm<T> {
    /// The layer `norm{number}`, a normalisation (or none) for every lane, with gamma and running
    /// variance at 1, beta and running mean at 0.
    ///
    /// # Errors
    /// When the tensor library cannot allocate.
    pub fn new(
        lanes: Vec<impl Into<Option<Normalisation>>>,
        number: usize,
        shape: Shape,
    ) -> Result<Self, TrainError> {
        let lanes: Vec<Option<Normalisation>> = lanes.into_iter().map(Into::into).collect();
        let normalised: LaneSet = lanes.iter().map(Option::is_some).collect();
        let (channels, count) = (shape.channels, lanes.len());
        let parameter = |name: &str, value: f64| {
            let (name, start) = (format!("norm{number}.{name}"), Start::Constant(value));
            let order = StorageOrder::Saved;
            Parameter::new(name, normalised.clone(), vec![channels], order, start)
        };
        let state = |name: &str, start: T| -> Result<State<T>, TrainError> {
            let mut value = Buffer::zeros(count, &[channels])?;
            value.write(|value| {
                normalised.iter().for_each(|lane| value[lane * channels..][..channels].fill(start));
            })?;
            let name = format!("norm{number}.{name}");
            Ok(State { name, lanes: normalised.clone(), value })
        };
        let numbers = || vec![T::ZERO; count * channels];
        Ok(Self {
            shape,
            living: LaneSet::all(count),
            lanes,
            parameters: vec![parameter("weight", 1.0)?, parameter("bias", 0.0)?],
            states: vec![state("running_mean", T::ZERO)?, state("running_var", T::ONE)?],
            together: None,
            rows: vec![0; count],
            moments: vec![Moments::default(); count * channels],
            mean: numbers(),
            inverse_std: numbers(),
            sums: vec![GradientSums::default(); count * channels],
            terms: [numbers(), numbers(), numbers()],
            kept: accelerated::Kept::default(),
        })
    }

    /// Measures a training batch: keeps its mean and inverse deviation and moves the running
    /// statistics.
    fn measure(&mut self, input: &Buffer<T>, rows: usize) -> Result<(), TrainError> {
        let channels = self.shape.channels;
        {
            let input = input.read()?;
            let lanes = normalised(&self.lanes).filter(|_| rows > 0);
            for (lane, _) in lanes {
                let moments = &mut self.moments[lane * channels..][..channels];
                sums::moments(input.lane(lane, rows * channels), moments);
            }
        }
        self.rows.fill(rows);
        if let Some(together) = &mut self.together {
            together.moments(&mut self.rows, &mut self.moments)?;
        }
        for (lane, normalisation) in normalised(&self.lanes).filter(|(n, _)| self.rows[*n] > 0) {
            for place in lane * channels..(lane + 1) * channels {
                let moments = &self.moments[place];
                let variance = moments.squares / self.rows[lane] as f64;
                self.mean[place] = T::of(moments.mean);
                self.inverse_std[place] = T::of(1.0 / (variance + normalisation.eps).sqrt());
            }
        }
        self.follow(0, 1, |moments, _| moments.mean)?;
        self.follow(1, 2, |moments, rows| moments.squares / (rows - 1) as f64)
    }

    /// Moves a running statistic of the lanes that live towards the batch's, where it has so many
    /// rows.
    fn follow(
        &mut self,
        state: usize,
        least: usize,
        batch: impl Fn(&Moments, usize) -> f64,
    ) -> Result<(), TrainError> {
        let channels = self.shape.channels;
        let (lanes, living) = (&self.lanes, &self.living);
        let (rows, moments) = (&self.rows, &self.moments);
        self.states[state].value.write(|running| {
            let moving = |lane: usize| living.contains(lane) && rows[lane] >= least;
            for (lane, Normalisation { momentum, .. }) in
                normalised(lanes).filter(|(lane, _)| moving(*lane))
            {
                for place in lane * channels..(lane + 1) * channels {
                    let batch = batch(&moments[place], rows[lane]);
                    let moved = (1.0 - momentum) * running[place].wide() + momentum * batch;
                    running[place] = T::of(moved);
                }
            }
        })
    }

    /// Fills the terms of y = (x - centre) factor + offset: the first two, since the offset is beta.
    fn forward_terms(&mut self, mode: Mode) -> Result<(), TrainError> {
        let gamma = self.parameters[0].value.read()?;
        let [centre, factor, _] = &mut self.terms;
        match mode {
            Mode::Train { .. } => {
                centre.copy_from_slice(&self.mean);
                let scales = gamma.iter().zip(&self.inverse_std);
                for (factor, (&gamma, &inverse_std)) in factor.iter_mut().zip(scales) {
                    *factor = gamma * inverse_std;
                }
            }
            Mode::Evaluate => {
                centre.copy_from_slice(&self.states[0].value.read()?);
                let variance = self.states[1].value.read()?;
                let channels = self.shape.channels;
                for (lane, Normalisation { eps, .. }) in normalised(&self.lanes) {
                    for place in lane * channels..(lane + 1) * channels {
                        let variance = variance[place].wide() + eps;
                        factor[place] = gamma[place] * T::of(1.0 / variance.sqrt());
                    }
                }
            }
        }
        Ok(())
    }

    /// Fills the terms of dx = factor dy - offset - slope (x - mean).
    fn backward_terms(&mut self) -> Result<(), TrainError> {
        let channels = self.shape.channels;
        let gamma = self.parameters[0].value.read()?;
        let [factor, offset, slope] = &mut self.terms;
        for (place, &sums) in self.sums.iter().enumerate() {
            let inverse_std = self.inverse_std[place].wide();
            let scale = gamma[place].wide() * inverse_std;
            let rows = self.rows[place / channels].max(1);
            factor[place] = T::of(scale);
            offset[place] = T::of(scale * sums.plain / rows as f64);
            slope[place] = T::of(scale * inverse_std * inverse_std * sums.weighted / rows as f64);
        }
        Ok(())
    }
}

/// The lanes with a normalisation, each with its own.
fn normalised(
    lanes: &[Option<Normalisation>],
) -> impl Iterator<Item = (usize, Normalisation)> + '_ {
    lanes.iter().enumerate().filter_map(|(lane, normalisation)| Some((lane, (*normalisation)?)))
}

/// `out = (x - centre) factor + offset` by channel; `terms` are (centre, factor, offset).
fn normalise<T: Real>(x: &[T], out: &mut [T], [centre, factor, offset]: [&[T]; 3]) {
    let channels = centre.len();
    for_each_block(out, block(channels), |start, out| {
        let x = &x[start..start + out.len()];
        vectorized(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    let terms = centre.iter().zip(factor).zip(offset);
                    for ((out, &x), ((&centre, &factor), &offset)) in
                        out.iter_mut().zip(x).zip(terms)
                    {
                        *out = (x - centre) * factor + offset;
                    }
                }
            },
        );
    });
}

/// `dx = factor dy - offset - slope (x - mean)` by channel; `terms` are (mean, factor, offset,
/// slope).
fn propagate<T: Real>([x, dy]: [&[T]; 2], dx: &mut [T], terms: [&[T]; 4]) {
    let [mean, factor, offset, slope] = terms;
    let channels = mean.len();
    for_each_block(dx, block(channels), |start, dx| {
        let place = start..start + dx.len();
        let (x, dy) = (&x[place.clone()], &dy[place]);
        vectorized(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
                for (dx, (x, dy)) in dx.chunks_exact_mut(channels).zip(rows) {
                    let terms = factor.iter().zip(offset).zip(slope).zip(mean);
                    for ((dx, (&x, &dy)), (((&factor, &offset), &slope), &mean)) in
                        dx.iter_mut().zip(x.iter().zip(dy)).zip(terms)
                    {
                        *dx = factor * dy - offset - slope * (x - mean);
                    }
                }
            },
        );
    });
}

/// Numbers of a block of whole rows.
fn block(channels: usize) -> usize {
    (BLOCK / channels).max(1) * channels
}

impl<T: Real> Layer<T> for BatchNorm<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let channels = self.shape.channels;
        let len = pass.samples * self.shape.units();
        if matches!(pass.mode, Mode::Train { .. }) {
            self.measure(input, pass.samples * self.shape.area())?;
        }
        self.forward_terms(pass.mode)?;
        let ([centre, factor, _], beta) = (&self.terms, self.parameters[1].value.read()?);
        let lanes = &self.lanes;
        let (input, capacity) = (input.read()?, output.lane_len());
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let (x, y) = (input.lane(lane, len), &mut output[..len]);
                if lanes[lane].is_none() {
                    y.copy_from_slice(x);
                    continue;
                }
                let terms =
                    [&centre[..], factor, &beta].map(|term| &term[lane * channels..][..channels]);
                normalise(x, y, terms);
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
        if let Some(accelerator) = flow.gradient.accelerator() {
            return self.backward_on(&accelerator, flow, pass, ready);
        }
        let channels = self.shape.channels;
        let len = pass.samples * self.shape.units();
        let (input, gradient) = (flow.input.read()?, flow.gradient.read()?);
        // Without a normalisation the sums, and with them the gradients, are and stay 0.
        for (lane, _) in normalised(&self.lanes) {
            let sums = &mut self.sums[lane * channels..][..channels];
            let mean = &self.mean[lane * channels..][..channels];
            sums::gradient_sums(input.lane(lane, len), gradient.lane(lane, len), mean, sums);
        }
        let (sums, inverse_std) = (&self.sums, &self.inverse_std);
        let [gamma, beta] = &mut self.parameters[..] else {
            unreachable!("invariant: gamma and beta")
        };
        beta.gradient.write(|beta| {
            for (beta, sums) in beta.iter_mut().zip(sums) {
                *beta = T::of(sums.plain);
            }
        })?;
        ready(beta)?;
        gamma.gradient.write(|gamma| {
            for (gamma, (sums, inverse_std)) in gamma.iter_mut().zip(sums.iter().zip(inverse_std)) {
                *gamma = T::of(sums.weighted * inverse_std.wide());
            }
        })?;
        ready(gamma)?;
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        if let Some(together) = &mut self.together {
            together.gradient_sums(&mut self.sums)?;
        }
        self.backward_terms()?;
        let ([factor, offset, slope], mean, lanes) = (&self.terms, &self.mean, &self.lanes);
        let capacity = input_gradient.lane_len();
        input_gradient.write(|input_gradient| {
            for (lane, dx) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let (x, dy, dx) = (input.lane(lane, len), gradient.lane(lane, len), &mut dx[..len]);
                if lanes[lane].is_none() {
                    dx.copy_from_slice(dy);
                    continue;
                }
                let terms = [mean, factor, offset, slope];
                let terms = terms.map(|term| &term[lane * channels..][..channels]);
                propagate([x, dy], dx, terms);
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

    fn keep_alive(&mut self, living: &LaneSet) {
        self.living.clone_from(living);
        self.tell_lanes();
    }

    fn heed(&mut self, lives: &Lives) {
        self.kept.lives = Some(lives.clone());
    }

    fn connect(&mut self, peers: &Peers, lanes: &LaneSet) {
        let normalised = |lane: usize| self.lanes[lane].is_some() && lanes.contains(lane);
        let lanes = (0..self.lanes.len()).filter(|&lane| normalised(lane)).collect();
        self.together = Together::new(peers, lanes, self.shape.channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::gradient_check::{check_layer, compare_forward, fill, tensor};
    use candle_core::{DType, Device};
    use candle_nn::{ModuleT, VarBuilder, VarMap};

    const DEFAULT: Normalisation = Normalisation { momentum: 0.1, eps: 1e-5 };
    const IMAGE: Shape = Shape { height: 3, width: 2, channels: 4 };

    #[test]
    fn gradients_equal_finite_differences() {
        let lanes = [DEFAULT, Normalisation { momentum: 0.5, eps: 0.3 }];
        for shape in [IMAGE, Shape::flat(5)] {
            check_layer(&mut BatchNorm::<f64>::new(lanes.to_vec(), 1, shape).unwrap(), shape, 6);
        }
    }

    #[test]
    fn a_lane_without_normalisation_passes_through_and_learns_nothing() {
        let lanes = vec![Some(DEFAULT), None];
        let mut layer = BatchNorm::<f64>::new(lanes, 1, Shape::flat(2)).unwrap();
        let buffer = |numbers: [f64; 8]| {
            let mut buffer = Buffer::zeros(2, &[2, 2]).unwrap();
            buffer.write(|to| to.copy_from_slice(&numbers)).unwrap();
            buffer
        };
        let x = buffer([1.0, 2.0, 3.0, 5.0, 1.0, f64::NAN, 3.0, 5.0]);
        let (mut y, mut dx) = (buffer([0.0; 8]), buffer([0.0; 8]));
        let dy = buffer([0.5, 2.0, 7.0, 1.0, 4.0, 3.0, 2.0, f64::INFINITY]);
        for mode in [Mode::Evaluate, Mode::Train { step: 0 }] {
            let pass = Pass { mode, samples: 2, first_sample: 0 };
            layer.forward(&x, &mut y, &pass).unwrap();
            let (x, y) = (x.read().unwrap(), y.read().unwrap());
            let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&y[4..]), bits(&x[4..]));
            assert!(y[..4].iter().zip(&x[..4]).any(|(y, x)| y != x));
        }
        let pass = Pass { mode: Mode::Train { step: 0 }, samples: 2, first_sample: 0 };
        let flow = Flow { input: &x, output: &y, gradient: &dy, input_gradient: Some(&mut dx) };
        layer.backward(flow, &pass, &mut |_| Ok(())).unwrap();
        assert_eq!(dx.read().unwrap()[4..], dy.read().unwrap()[4..]);
        for parameter in &layer.parameters {
            let [value, gradient] =
                [&parameter.value, &parameter.gradient].map(|b| b.read().unwrap());
            assert!(gradient[..2] != [0.0; 2]);
            assert_eq!((&value[2..], &gradient[2..]), ([0.0; 2].as_slice(), [0.0; 2].as_slice()));
        }
        assert!(layer.states.iter().all(|state| state.value.read().unwrap()[2..] == [0.0; 2]));
    }

    #[test]
    fn values_and_running_statistics_equal_candles() {
        let vars = VarMap::new();
        let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let reference = candle_nn::batch_norm(4, 1e-5, builder).unwrap();
        let mut layer = BatchNorm::<f32>::new(vec![DEFAULT], 1, IMAGE).unwrap();
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
        let mut layer = BatchNorm::<f64>::new(vec![DEFAULT], 1, Shape::flat(2)).unwrap();
        let mode = Mode::Train { step: 0 };
        let run = crate::train::layer::gradient_check::run_layer;
        let (y, dx) = run(&mut layer, &[3.0, -4.0], &[1.0, 1.0], mode);
        assert_eq!((y, dx), (vec![0.0, 0.0], vec![0.0, 0.0]));
        assert_eq!(*layer.states[1].value.read().unwrap(), [1.0, 1.0]);
    }
}
