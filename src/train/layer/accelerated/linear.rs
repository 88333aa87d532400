//! The linear layer on an accelerator: one batch of matrix products over the lanes each way.

use super::Linear;
use crate::spec::precision::Precision;
use crate::train::device::{Accelerator, Address, Operand, Product};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rounded::{self, Rounded};
use crate::train::layer::accelerated::rows;
use crate::train::layer::{Flow, GradientReady, Pass};

/// Copies in bf16 of what products read, made in a forward and used in the backward that follows: the
/// weights are rounded once a step.
#[derive(Debug, Default)]
pub struct Copies {
    input: Rounded,
    weights: Rounded,
}

impl Copies {
    /// Bytes of the copy of the input.
    pub(super) fn bytes(&self) -> usize {
        self.input.bytes()
    }
}

impl<T: Real> Linear<T> {
    fn lanes(&self) -> usize {
        self.parameters[0].lanes.group()
    }

    fn is_rounded(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// A matrix with a row for every sample.
    fn samples_of(buffer: &Buffer<T>, units: usize) -> Operand {
        Operand::new(buffer.address(), units, buffer.lane_len())
    }

    /// The weights (O, I) or their gradient.
    fn weights_in(&self, buffer: &Buffer<T>) -> Operand {
        Operand::new(buffer.address(), self.inputs, buffer.lane_len())
    }

    /// The input and the weights as products read them, after a forward.
    fn factors(&self, input: &Buffer<T>) -> [Operand; 2] {
        let of = |operand: Operand, copy: &Rounded| match self.is_rounded() {
            true => Operand { place: copy.place(), ..operand },
            false => operand,
        };
        let weights = self.weights_in(&self.parameters[0].value);
        let input = Self::samples_of(input, self.inputs);
        [of(input, &self.copies.input), of(weights, &self.copies.weights)]
    }

    /// The gradient of `samples` outputs as products read it; in bf16 a copy in scratch memory.
    fn gradient_of(
        &self,
        accelerator: &Accelerator,
        gradient: &Buffer<T>,
        samples: usize,
    ) -> Result<Operand, TrainError> {
        if !self.is_rounded() {
            return Ok(Self::samples_of(gradient, self.outputs));
        }
        let numbers = samples * self.outputs;
        let place: Address = accelerator.scratch(self.lanes() * numbers * rounded::BYTES)?;
        rounded::round(accelerator, gradient, numbers, (place, numbers))?;
        Ok(Operand::new(place, self.outputs, numbers))
    }

    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if self.is_rounded() {
            let (weights, samples) = (&self.parameters[0].value, pass.samples);
            self.copies.weights.round(accelerator, weights, weights.lane_len())?;
            self.copies.input.round(accelerator, input, samples * self.inputs)?;
        }
        let [left, weights] = self.factors(input);
        let product = Product {
            size: [pass.samples, self.outputs, self.inputs],
            left,
            right: weights.transposed(),
            out: Self::samples_of(output, self.outputs),
            adds: false,
            batch: self.lanes(),
            precision: self.precision,
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
        let (batch, precision) = (self.lanes(), self.precision);
        if let Some(bias) = self.parameters.get_mut(1) {
            let rows = (flow.gradient, pass.samples);
            rows::bias_gradient(accelerator, bias, rows, &mut self.biased)?;
            ready(bias)?;
        }
        // The sums of the bias had the scratch memory before.
        let gradient = self.gradient_of(accelerator, flow.gradient, pass.samples)?;
        let [input, weights] = self.factors(flow.input);
        accelerator.multiply(&Product {
            size: [self.outputs, self.inputs, pass.samples],
            left: gradient.transposed(),
            right: input,
            out: self.weights_in(&self.parameters[0].gradient),
            adds: false,
            batch,
            precision,
        })?;
        ready(&mut self.parameters[0])?;
        let Some(input_gradient) = flow.input_gradient else { return Ok(()) };
        accelerator.multiply(&Product {
            size: [pass.samples, self.inputs, self.outputs],
            left: gradient,
            right: weights,
            out: Self::samples_of(input_gradient, self.inputs),
            adds: false,
            batch,
            precision,
        })?;
        Ok(())
    }
}
