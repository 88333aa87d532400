//! Average pooling on an accelerator.

use super::AvgPool2d;
use crate::train::device::{Accelerator, Address, DeviceError, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::{Flow, Pass};

impl AvgPool2d {
    fn shares_on(&mut self, accelerator: &Accelerator) -> Result<Address, DeviceError> {
        let shares = &self.shares;
        self.kept_shares.once(accelerator, |table| {
            table.extend(shares.iter().map(|&share| share as f32));
        })
    }

    pub(super) fn forward_on<T: Real>(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let places = self.tables.on(accelerator, &self.windows)?;
        let shares = self.shares_on(accelerator)?;
        let given = arguments![
            input,
            &*output,
            input.pitch(),
            output.pitch(),
            places.shape,
            places.rows,
            places.columns,
            shares,
        ];
        let threads = [pass.samples * self.windows.output().units(), input.lanes()];
        accelerator.launch("avg_pool_forward", threads, given)?;
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
        let shares = self.shares_on(accelerator)?;
        let given = arguments![
            gradient,
            &*dx,
            gradient.pitch(),
            dx.pitch(),
            places.shape,
            places.row_windows,
            places.column_windows,
            shares,
            places.disjoint,
        ];
        let threads = [pass.samples * self.windows.input().units(), gradient.lanes()];
        accelerator.launch("avg_pool_backward", threads, given)?;
        Ok(())
    }
}
