//! Max pooling on an accelerator.

use super::MaxPool2d;
use crate::train::device::{Accelerator, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::{Flow, Pass};

impl MaxPool2d {
    pub(super) fn forward_on<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let places = self.tables.on(accelerator, &self.windows)?;
        let given = arguments![
            input,
            &*output,
            &self.winners,
            input.pitch(),
            output.pitch(),
            self.winners.pitch(),
            places.shape,
            places.rows,
            places.columns,
        ];
        let threads = [pass.samples * self.windows.output().units(), input.lanes()];
        accelerator.launch_fours("max_pool_forward", threads, given)?;
        Ok(())
    }

    pub(super) fn backward_on<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let Flow { gradient, input_gradient: Some(dx), .. } = flow else { return Ok(()) };
        let places = self.tables.on(accelerator, &self.windows)?;
        let given = arguments![
            gradient,
            &self.winners,
            &*dx,
            gradient.pitch(),
            self.winners.pitch(),
            dx.pitch(),
            places.shape,
            places.rows,
            places.columns,
            places.row_windows,
            places.column_windows,
            places.disjoint,
        ];
        let threads = [pass.samples * self.windows.input().units(), gradient.lanes()];
        accelerator.launch_fours("max_pool_backward", threads, given)?;
        Ok(())
    }
}
