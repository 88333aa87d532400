//! Batch normalisation on an accelerator.

#[path = "batch_norm_together.rs"]
mod together;

use super::BatchNorm;
use crate::train::device::{Accelerator, Address, Memory, Table, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rows::Parts;
use crate::train::layer::{Flow, GradientReady, Lives, Mode, Pass};

/// Rows of `Kept::terms`.
const TERMS: usize = 7;

/// What the kernels look up and keep.
#[derive(Debug, Default)]
pub struct Kept {
    /// For every lane: is it normalised, does it live, its momentum, its eps.
    pub(super) lanes: Table<f64>,
    /// For every lane and channel: centre and factor of the output; mean and 1 / deviation of the
    /// batch; factor, offset and slope of the gradient.
    terms: Option<Memory>,
    /// What is told to other ranks, and what they told.
    whole: together::Whole,
    /// The lanes that live, as the device knows it.
    pub(super) lives: Option<Lives>,
}

impl<T: Real> BatchNorm<T> {
    /// Fills the table of the lanes anew.
    pub(super) fn tell_lanes(&mut self) {
        let (lanes, living) = (&self.lanes, &self.living);
        self.kept.lanes.refill(|table| {
            for (lane, normalisation) in lanes.iter().enumerate() {
                let yes = |is: bool| f64::from(u8::from(is));
                let (momentum, eps) = normalisation.map_or((0.0, 1.0), |n| (n.momentum, n.eps));
                let [normalised, lives] = [normalisation.is_some(), living.contains(lane)].map(yes);
                table.extend([normalised, lives, momentum, eps]);
            }
        });
    }

    /// Places of the lanes' table and of the terms.
    fn kept_on(&mut self, accelerator: &Accelerator) -> Result<[Address; 2], TrainError> {
        if self.kept.lanes.is_empty() {
            self.tell_lanes();
        }
        let len = TERMS * self.lanes.len() * self.shape.channels;
        let Kept { lanes, terms, .. } = &mut self.kept;
        let terms = match terms {
            Some(terms) => terms.address(),
            none => none.insert(accelerator.zeros::<f32>(len)?).address(),
        };
        Ok([lanes.place(accelerator)?, terms])
    }

    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let [lanes, terms] = self.kept_on(accelerator)?;
        let (channels, count) = (self.shape.channels, self.lanes.len());
        let all = (count * channels) as u32;
        let gamma = &self.parameters[0].value;
        let [mean, variance] = [0, 1].map(|i| &self.states[i].value);
        if matches!(pass.mode, Mode::Train { .. }) {
            let rows = pass.samples * self.shape.area();
            let parts = Parts::of(rows, channels);
            let sums = parts.scratch(accelerator, [2, count])?;
            let (pitch, columns, rows) = (input.pitch(), channels as u32, rows as u32);
            let given = arguments![input, sums, pitch, columns, rows, parts.rows as u32, lanes];
            parts.launch(accelerator, "moments_parts", count, given)?;
            let sums = parts.join(accelerator, sums, [2, count])?;
            let parts = parts.joined() as u32;
            if self.together.is_some() {
                let given = together::Parts { sums, count: parts, rows, lanes, terms };
                self.moments_together(accelerator, input, &given)?;
            } else if rows > 0 {
                let lives = Lives::address(self.kept.lives.as_ref());
                let given = arguments![
                    input, sums, terms, gamma, mean, variance, pitch, parts, rows, all, lanes,
                    lives
                ];
                accelerator.launch("moments_join", [channels, count], given)?;
            }
        } else {
            let given = arguments![terms, gamma, mean, variance, all, lanes];
            accelerator.launch("running_terms", [channels, count], given)?;
        }
        let beta = &self.parameters[1].value;
        let given = arguments![
            input,
            &*output,
            terms,
            beta,
            input.pitch(),
            output.pitch(),
            channels as u32,
            all,
            lanes,
        ];
        let threads = [pass.samples * self.shape.units(), count];
        accelerator.launch_fours("normalise", threads, given)?;
        Ok(())
    }

    pub(super) fn backward_on(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let [lanes, terms] = self.kept_on(accelerator)?;
        let Flow { input, gradient, input_gradient, .. } = flow;
        let (channels, count) = (self.shape.channels, self.lanes.len());
        let (columns, all) = (channels as u32, (count * channels) as u32);
        let rows = pass.samples * self.shape.area();
        let cut = Parts::of(rows, channels);
        let sums = cut.scratch(accelerator, [2, count])?;
        let [of_part, parts, rows] = [cut.rows as u32, cut.joined() as u32, rows as u32];
        let (x_pitch, dy_pitch) = (input.pitch(), gradient.pitch());
        let given = arguments![
            input, gradient, terms, sums, x_pitch, dy_pitch, columns, rows, of_part, all, lanes
        ];
        cut.launch(accelerator, "gradient_parts", count, given)?;
        let sums = cut.join(accelerator, sums, [2, count])?;
        let [gamma, beta] = &mut self.parameters[..] else {
            unreachable!("invariant: gamma and beta")
        };
        let given = arguments![
            sums,
            terms,
            &gamma.value,
            &gamma.gradient,
            &beta.gradient,
            parts,
            rows,
            all,
            lanes,
        ];
        accelerator.launch("gradient_join", [channels, count], given)?;
        let given = together::Parts { sums, count: parts, rows, lanes, terms };
        let told = self.together.is_some() && input_gradient.is_some();
        if told {
            self.tell_gradients(accelerator, &given)?;
        }
        let [gamma, beta] = &mut self.parameters[..] else {
            unreachable!("invariant: gamma and beta")
        };
        ready(beta)?;
        ready(gamma)?;
        let Some(dx) = input_gradient else { return Ok(()) };
        if told {
            self.gradients_together(accelerator, &given)?;
        }
        let given = arguments![
            input,
            gradient,
            &*dx,
            terms,
            x_pitch,
            dy_pitch,
            dx.pitch(),
            columns,
            all,
            lanes,
        ];
        let threads = [pass.samples * self.shape.units(), count];
        accelerator.launch_fours("propagate", threads, given)?;
        Ok(())
    }
}
