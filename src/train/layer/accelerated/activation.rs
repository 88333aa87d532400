//! Activations on an accelerator: one launch for all lanes, whatever function each has.

use super::Activation;
use crate::spec::activation::Activation as Name;
use crate::train::device::{Accelerator, Address, DeviceError, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::{Flow, Pass};

/// What the kernels look up for every lane.
#[derive(Debug, Default)]
pub struct Tables {
    functions: Table<u32>,
    constants: Table<f32>,
}

/// The number of a function in `kernels/activation.cu`, and its constant.
fn numbered(name: &Name) -> (u32, f32) {
    match *name {
        Name::Relu => (0, 0.0),
        Name::LeakyRelu { negative_slope } => (1, negative_slope as f32),
        Name::Elu { alpha } => (2, alpha as f32),
        Name::Gelu { approximate: false } => (3, 0.0),
        Name::Gelu { approximate: true } => (4, 0.0),
        Name::Silu => (5, 0.0),
        Name::Sigmoid => (6, 0.0),
        Name::Tanh => (7, 0.0),
        Name::Identity => (8, 0.0),
    }
}

impl Activation {
    fn tables_on(&mut self, accelerator: &Accelerator) -> Result<[Address; 2], DeviceError> {
        let (names, tables) = (&self.functions, &mut self.tables);
        let functions = tables
            .functions
            .once(accelerator, |table| table.extend(names.iter().map(|name| numbered(name).0)))?;
        let constants = tables
            .constants
            .once(accelerator, |table| table.extend(names.iter().map(|name| numbered(name).1)))?;
        Ok([functions, constants])
    }

    pub(super) fn forward_on<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let [functions, constants] = self.tables_on(accelerator)?;
        let threads = [pass.samples * self.shape.units(), self.functions.len()];
        let given =
            arguments![input, &*output, input.pitch(), output.pitch(), functions, constants];
        accelerator.launch_fours("activation_forward", threads, given)?;
        Ok(())
    }

    pub(super) fn backward_on<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let Flow { input, output, gradient, input_gradient: Some(dx) } = flow else {
            return Ok(());
        };
        let [functions, constants] = self.tables_on(accelerator)?;
        let threads = [pass.samples * self.shape.units(), self.functions.len()];
        let given = arguments![
            input,
            output,
            gradient,
            &*dx,
            input.pitch(),
            output.pitch(),
            gradient.pitch(),
            dx.pitch(),
            functions,
            constants,
        ];
        accelerator.launch_fours("activation_backward", threads, given)?;
        Ok(())
    }
}
