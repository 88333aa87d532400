//! Dropout on an accelerator: the same draws.

use super::{Dropout, threshold};
use crate::train::device::{Accelerator, Address, DeviceError, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rows;
use crate::train::layer::{Flow, Mode, Pass};
use crate::train::rng::{Purpose, Stream};

/// What the kernel looks up for every lane.
#[derive(Debug, Default)]
pub struct Tables {
    /// The stream's key and the threshold.
    draws: Table<u32>,
    /// What is kept is multiplied with.
    kept: Table<f32>,
    /// The step, which changes: no argument of the kernel, so that the launch does not.
    step: Table<u32>,
}

impl<T: Real> Dropout<T> {
    fn tables_on(&mut self, accelerator: &Accelerator) -> Result<[Address; 2], DeviceError> {
        let (lanes, tables) = (&self.lanes, &mut self.tables);
        let draws = tables.draws.once(accelerator, |table| {
            for lane in lanes {
                table.extend(Stream::new(lane.seed, Purpose::Dropout, 0, 0).key());
                table.push(threshold(lane.probability));
            }
        })?;
        let kept = tables.kept.once(accelerator, |table| {
            table.extend(lanes.iter().map(|lane| (1.0 / (1.0 - lane.probability)) as f32));
        })?;
        Ok([draws, kept])
    }

    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let units = self.shape.units();
        let threads = [pass.samples * units, self.lanes.len()];
        let Mode::Train { step } = pass.mode else {
            return rows::copy(accelerator, input, output, threads);
        };
        let [draws, kept] = self.tables_on(accelerator)?;
        self.tables.step.refill(|table| table.push(step as u32));
        let step = self.tables.step.place(accelerator)?;
        let given = arguments![
            input,
            &*output,
            &self.factors,
            input.pitch(),
            output.pitch(),
            self.factors.pitch(),
            draws,
            kept,
            step,
            self.number,
            (pass.first_sample * units) as u64,
        ];
        accelerator.launch_fours("dropout_forward", threads, given)?;
        Ok(())
    }

    pub(super) fn backward_on(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let Flow { gradient, input_gradient: Some(dx), .. } = flow else { return Ok(()) };
        let threads = [pass.samples * self.shape.units(), self.lanes.len()];
        let factors = &self.factors;
        let given =
            arguments![gradient, factors, &*dx, gradient.pitch(), factors.pitch(), dx.pitch()];
        accelerator.launch_fours("multiply_lanes", threads, given)?;
        Ok(())
    }
}
