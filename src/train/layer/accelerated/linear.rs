//! The linear layer on an accelerator: one batch of matrix products over the lanes each way.

use super::Linear;
use crate::train::device::{Accelerator, Operand, Product};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rows;
use crate::train::layer::{Flow, GradientReady, Pass};

impl<T: Real> Linear<T> {
    fn lanes(&self) -> usize {
        self.parameters[0].lanes.group()
    }

    /// A matrix with a row for every sample.
    fn samples_of(buffer: &Buffer<T>, units: usize) -> Operand {
        Operand::new(buffer.address(), units, buffer.lane_len())
    }

    /// The weights (O, I) or their gradient.
    fn weights_in(&self, buffer: &Buffer<T>) -> Operand {
        Operand::new(buffer.address(), self.inputs, buffer.lane_len())
    }

    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let product = Product {
            size: [pass.samples, self.outputs, self.inputs],
            left: Self::samples_of(input, self.inputs),
            right: self.weights_in(&self.parameters[0].value).transposed(),
            out: Self::samples_of(output, self.outputs),
            adds: false,
            batch: self.lanes(),
        };
        accelerator.multiply(&product)?;
        let Some(bias) = self.parameters.get(1) else { return Ok(()) };
        rows::add_bias(accelerator, (output, pass.samples), bias, &mut self.biased)
    }

    pub(super) fn backward_on(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let batch = self.lanes();
        let gradient = Self::samples_of(flow.gradient, self.outputs);
        if let Some(bias) = self.parameters.get_mut(1) {
            let rows = (flow.gradient, pass.samples);
            rows::bias_gradient(accelerator, bias, rows, &mut self.biased)?;
            ready(bias)?;
        }
        accelerator.multiply(&Product {
            size: [self.outputs, self.inputs, pass.samples],
            left: gradient.transposed(),
            right: Self::samples_of(flow.input, self.inputs),
            out: self.weights_in(&self.parameters[0].gradient),
            adds: false,
            batch,
        })?;
        ready(&mut self.parameters[0])?;
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        accelerator.multiply(&Product {
            size: [pass.samples, self.inputs, self.outputs],
            left: gradient,
            right: self.weights_in(&self.parameters[0].value),
            out: Self::samples_of(input_gradient, self.inputs),
            adds: false,
            batch,
        })?;
        Ok(())
    }
}
