//! The linear layer: y = x W^T + b.

use super::parameter::{Parameter, Start, StorageOrder};
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::error::TrainError;
use crate::train::kernel::gemm::{Matrix, Output, shared_product};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// y = x W^T + b with x (L, N, I), W (L, O, I), b (L, O), y (L, N, O).
pub struct Linear<T> {
    inputs: usize,
    outputs: usize,
    /// Weight, then bias if there is one.
    parameters: Vec<Parameter<T>>,
}

/// Does a layer add a bias?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Yes.
    With,
    /// No: a normalisation that follows would take it out again.
    Without,
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
        if bias == Bias::With {
            let start = Start::Bias { layer, fan_in: inputs };
            let name = format!("linear{number}.bias");
            parameters.push(Parameter::new(name, lanes, vec![outputs], saved, start)?);
        }
        Ok(Self { inputs, outputs, parameters })
    }
}

impl<T: Real> Layer<T> for Linear<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let (n, inputs, outputs) = (pass.samples, self.inputs, self.outputs);
        let input = input.read()?;
        let weight = self.parameters[0].value.read()?;
        let bias = self.parameters.get(1).map(|bias| bias.value.read()).transpose()?;
        let capacity = output.lane_len();
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let output = &mut output[..n * outputs];
                let x = Matrix::new(input.lane(lane, n * inputs), n, inputs);
                let w = Matrix::new(weight.lane(lane, outputs * inputs), outputs, inputs);
                shared_product(output, x, w.transposed(), Output::Replace);
                if let Some(bias) = &bias {
                    add_to_rows(output, bias.lane(lane, outputs));
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
        let (n, inputs, outputs) = (pass.samples, self.inputs, self.outputs);
        let gradient = flow.gradient.read()?;
        if let Some(bias) = self.parameters.get_mut(1) {
            bias.gradient.write(|sums| {
                for (lane, sums) in sums.chunks_exact_mut(outputs).enumerate() {
                    sum_rows(gradient.lane(lane, n * outputs), sums);
                }
            })?;
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

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
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
pub(super) fn sum_rows<T: Real>(rows: &[T], sums: &mut [T]) {
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
