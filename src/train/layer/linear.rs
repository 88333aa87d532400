//! The linear layer: y = x W^T + b.

#[path = "accelerated/linear.rs"]
mod accelerated;

use super::parameter::{Parameter, Start, StorageOrder};
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::spec::precision::Precision;
use crate::train::device::Table;
use crate::train::error::TrainError;
use crate::train::kernel::gemm::{Matrix, Output, shared_product};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Reading, Real};
use crate::train::lane_set::LaneSet;

/// y = x W^T + b with x (L, N, I), W (L, O, I), b (L, O), y (L, N, O).
pub struct Linear<T> {
    inputs: usize,
    outputs: usize,
    /// Weight, then bias if any lane has one.
    parameters: Vec<Parameter<T>>,
    /// The lanes with a bias, for kernels.
    biased: Table<u32>,
    /// How an accelerator computes its products.
    precision: Precision,
    /// What they read, where they do not read f32.
    copies: accelerated::Copies,
}

/// Does a layer add a bias?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bias {
    /// In every lane.
    With,
    /// In none: a normalisation that follows would take it out again.
    Without,
    /// In these lanes.
    In(LaneSet),
}

impl Bias {
    /// The lanes, of so many, in which the layer adds one.
    pub(super) fn of_lanes(self, lanes: usize) -> LaneSet {
        match self {
            Self::With => LaneSet::all(lanes),
            Self::Without => LaneSet::none(lanes),
            Self::In(set) => set,
        }
    }
}

impl<T: Real> Linear<T> {
    /// The layer `linear{number}`. `layer` is its number among all layers with weights, from 0.
    ///
    /// # Errors
    /// When the tensor library cannot allocate the parameters.
    pub fn new(
        lanes: usize,
        (number, layer): (usize, u32),
        (inputs, outputs): (usize, usize),
        bias: Bias,
    ) -> Result<Self, TrainError> {
        let weight = Start::Weight { layer, fan_in: inputs, fan_out: outputs };
        let saved = StorageOrder::Saved;
        let mut parameters = vec![Parameter::new(
            format!("linear{number}.weight"),
            lanes,
            vec![outputs, inputs],
            saved,
            weight,
        )?];
        let biased = bias.of_lanes(lanes);
        if !biased.is_empty() {
            let start = Start::Bias { layer, fan_in: inputs };
            let name = format!("linear{number}.bias");
            parameters.push(Parameter::new(name, biased, vec![outputs], saved, start)?);
        }
        let (biased, copies) = (Table::default(), accelerated::Copies::default());
        Ok(Self { inputs, outputs, parameters, biased, precision: Precision::F32, copies })
    }

    /// The same with products in a precision, on an accelerator; cores compute in f32.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }
}

impl<T: Real> Layer<T> for Linear<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let (n, inputs, outputs) = (pass.samples, self.inputs, self.outputs);
        let input = input.read()?;
        let weight = self.parameters[0].value.read()?;
        let bias = BiasReading::of(self.parameters.get(1))?;
        let capacity = output.lane_len();
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let output = &mut output[..n * outputs];
                let x = Matrix::new(input.lane(lane, n * inputs), n, inputs);
                let w = Matrix::new(weight.lane(lane, outputs * inputs), outputs, inputs);
                shared_product(output, x, w.transposed(), Output::Replace);
                if let Some(bias) = bias.lane(lane) {
                    add_to_rows(output, bias);
                }
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = flow.gradient.accelerator() {
            return self.backward_on(&accelerator, flow, pass, ready);
        }
        let (n, inputs, outputs) = (pass.samples, self.inputs, self.outputs);
        let gradient = flow.gradient.read()?;
        if let Some(bias) = self.parameters.get_mut(1) {
            bias_gradient(bias, &gradient, n * outputs)?;
            ready(bias)?;
        }
        let weight = &mut self.parameters[0];
        {
            let input = flow.input.read()?;
            weight.gradient.write(|w| {
                for (lane, w) in w.chunks_exact_mut(outputs * inputs).enumerate() {
                    let g = Matrix::new(gradient.lane(lane, n * outputs), n, outputs);
                    let x = Matrix::new(input.lane(lane, n * inputs), n, inputs);
                    shared_product(w, g.transposed(), x, Output::Replace);
                }
            })?;
        }
        ready(weight)?;
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        let weight = weight.value.read()?;
        // The two gradient buffers of a network have room for its largest layer.
        let capacity = input_gradient.lane_len();
        input_gradient.write(|input_gradient| {
            for (lane, out) in input_gradient.chunks_exact_mut(capacity).enumerate() {
                let g = Matrix::new(gradient.lane(lane, n * outputs), n, outputs);
                let w = Matrix::new(weight.lane(lane, outputs * inputs), outputs, inputs);
                shared_product(&mut out[..n * inputs], g, w, Output::Replace);
            }
        })
    }

    fn output_shape(&self) -> Shape {
        Shape::flat(self.outputs)
    }

    fn kept_bytes(&self) -> usize {
        self.copies.bytes() / self.parameters[0].lanes.group()
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}

/// The numbers of a layer's bias, to read.
pub(super) struct BiasReading<'a, T>(Option<(&'a Parameter<T>, Reading<'a, T>)>);

impl<'a, T: Real> BiasReading<'a, T> {
    /// Of the bias that a layer has in some lane, if it has one.
    pub(super) fn of(bias: Option<&'a Parameter<T>>) -> Result<Self, TrainError> {
        Ok(Self(bias.map(|bias| Ok::<_, TrainError>((bias, bias.value.read()?))).transpose()?))
    }

    /// One lane's numbers; `None` in a lane without bias.
    pub(super) fn lane(&self, lane: usize) -> Option<&[T]> {
        let (bias, numbers) = self.0.as_ref()?;
        bias.lanes.contains(lane).then(|| numbers.lane(lane, bias.len()))
    }
}

/// Overwrites the gradient of a bias in the lanes that have it with the sum of the rows of
/// `gradient`, whose first `len` numbers are in use.
pub(super) fn bias_gradient<T: Real>(
    bias: &mut Parameter<T>,
    gradient: &Reading<'_, T>,
    len: usize,
) -> Result<(), TrainError> {
    let (lanes, outputs) = (&bias.lanes, bias.value.lane_len());
    bias.gradient.write(|sums| {
        for lane in lanes.iter() {
            sum_rows(gradient.lane(lane, len), &mut sums[lane * outputs..][..outputs]);
        }
    })
}

/// Adds `row` to every row of `rows`.
pub(super) fn add_to_rows<T: Real>(rows: &mut [T], row: &[T]) {
    vectorized(
        #[inline(always)]
        || {
            for out in rows.chunks_exact_mut(row.len()) {
                for (out, &x) in out.iter_mut().zip(row) {
                    *out += x;
                }
            }
        },
    );
}

/// Sums over all rows, in their order.
fn sum_rows<T: Real>(rows: &[T], sums: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            sums.fill(T::ZERO);
            for row in rows.chunks_exact(sums.len()) {
                for (sum, &x) in sums.iter_mut().zip(row) {
                    *sum += x;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::gradient_check::{check_layer, compare_forward, fill};
    use candle_nn::Module;

    #[test]
    fn gradients_equal_finite_differences() {
        for bias in [Bias::With, Bias::Without] {
            let mut layer = Linear::<f64>::new(2, (1, 0), (5, 3), bias).unwrap();
            check_layer(&mut layer, Shape::flat(5), 4);
        }
    }

    #[test]
    fn values_equal_candles_linear_layer() {
        let mut layer = Linear::<f32>::new(1, (1, 0), (20, 7), Bias::With).unwrap();
        fill(&mut layer);
        let reference = |x: &candle_core::Tensor| {
            let tensor = |i: usize| layer.parameters[i].value.tensor().copy().unwrap();
            let (w, b) = (tensor(0).squeeze(0).unwrap(), tensor(1).squeeze(0).unwrap());
            candle_nn::Linear::new(w, Some(b)).forward(x).unwrap()
        };
        let (input, expected) = {
            let x = crate::train::layer::gradient_check::tensor(&[9, 20]);
            let y = reference(&x);
            (x, y)
        };
        compare_forward(&mut layer, &input, &expected, 1e-5);
    }
}
