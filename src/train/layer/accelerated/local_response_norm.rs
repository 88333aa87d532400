//! Local response normalisation on an accelerator.

use super::LocalResponseNorm;
use crate::train::device::{Accelerator, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::{Flow, Pass};

impl<T: Real> LocalResponseNorm<T> {
    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let (response, scales) = (self.response, &self.scales);
        let [before, after] = response.reach().map(|reach| reach as u32);
        let given = arguments![
            input,
            &*output,
            scales,
            input.pitch(),
            output.pitch(),
            scales.pitch(),
            self.shape.channels as u32,
            before,
            after,
            response.k as f32,
            response.share() as f32,
            response.beta,
        ];
        let threads = [pass.samples * self.shape.units(), input.lanes()];
        accelerator.launch("response_forward", threads, given)?;
        Ok(())
    }

    pub(super) fn backward_on(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let Flow { input, output, gradient, input_gradient: Some(dx) } = flow else {
            return Ok(());
        };
        let (response, scales) = (self.response, &self.scales);
        let threads = [pass.samples * self.shape.units(), input.lanes()];
        let given = arguments![
            output,
            gradient,
            &*dx,
            scales,
            output.pitch(),
            gradient.pitch(),
            dx.pitch(),
            scales.pitch(),
            response.beta,
        ];
        accelerator.launch("response_ratios", threads, given)?;
        let [before, after] = response.reach().map(|reach| reach as u32);
        let given = arguments![
            input,
            scales,
            &*dx,
            input.pitch(),
            scales.pitch(),
            dx.pitch(),
            self.shape.channels as u32,
            before,
            after,
            (2.0 * response.share() * response.beta) as f32,
        ];
        accelerator.launch("response_backward", threads, given)?;
        Ok(())
    }
}
