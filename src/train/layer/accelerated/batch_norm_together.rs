//! Batch normalisation of several ranks' accelerators over the whole batch. What ranks tell each other
//! comes to main memory and goes back, which waits for the accelerator, once each way.

use super::BatchNorm;
use crate::train::device::{Accelerator, Address, Memory, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::batch_norm::sums::{GradientSums, Moments};

/// What is told and heard: rows of every lane, and two rows of (channels) for each.
#[derive(Debug, Default)]
pub(super) struct Whole {
    memory: Option<Memory>,
    numbers: Vec<f64>,
}

impl Whole {
    /// Places of the rows and of the other numbers.
    fn places(
        &mut self,
        accelerator: &Accelerator,
        [lanes, channels]: [usize; 2],
    ) -> Result<[Address; 2], TrainError> {
        let len = lanes + 2 * lanes * channels;
        let memory = match &self.memory {
            Some(memory) => memory,
            None => self.memory.insert(accelerator.zeros::<f64>(len)?),
        };
        self.numbers.resize(len, 0.0);
        Ok([memory.address(), memory.address().after::<f64>(lanes)])
    }

    /// Reads all numbers; waits for everything that is queued.
    fn hear(&mut self) -> Result<(), TrainError> {
        let memory = self.memory.as_ref().expect("invariant: has places");
        Ok(memory.download(0, &mut self.numbers)?)
    }

    /// Writes all numbers.
    fn tell(&self) -> Result<(), TrainError> {
        let memory = self.memory.as_ref().expect("invariant: has places");
        Ok(memory.upload(0, &self.numbers)?)
    }
}

/// Sums over the parts of a rank's rows, and where its terms are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) sums: Address,
    /// Parts.
    pub(super) count: u32,
    /// Rows.
    pub(super) rows: u32,
    /// The table of the lanes.
    pub(super) lanes: Address,
    pub(super) terms: Address,
}

impl<T: Real> BatchNorm<T> {
    fn extents(&self) -> [usize; 2] {
        [self.lanes.len(), self.shape.channels]
    }

    /// Keeps the terms of the whole batch, and moves the running statistics.
    pub(super) fn moments_together(
        &mut self,
        accelerator: &Accelerator,
        input: &Buffer<T>,
        parts: &Parts,
    ) -> Result<(), TrainError> {
        let Parts { sums, count, rows, lanes, terms } = *parts;
        let [group, channels] = self.extents();
        let [rows_at, numbers] = self.kept.whole.places(accelerator, [group, channels])?;
        let threads = [channels, group];
        if rows > 0 {
            let given = arguments![input, sums, numbers, input.pitch(), count, rows, lanes];
            accelerator.launch("moments_tell", threads, given)?;
        }
        let (whole, together) = (&mut self.kept.whole, self.together.as_mut());
        whole.hear()?;
        let (heard, told) = whole.numbers.split_at_mut(group);
        let columns = |told: &[f64], lane: usize, at: usize| {
            let lane = &told[lane * 2 * channels..][..2 * channels];
            [lane[at], lane[channels + at]]
        };
        self.rows.fill(rows as usize);
        for (place, moments) in self.moments.iter_mut().enumerate() {
            let [mean, squares] = columns(told, place / channels, place % channels);
            *moments = Moments { mean, squares };
        }
        let together = together.expect("invariant: asked for where lanes are together");
        together.moments(&mut self.rows, &mut self.moments)?;
        heard.iter_mut().zip(&self.rows).for_each(|(heard, &rows)| *heard = rows as f64);
        for (place, moments) in self.moments.iter().enumerate() {
            let lane = &mut told[place / channels * 2 * channels..][..2 * channels];
            lane[place % channels] = moments.mean;
            lane[channels + place % channels] = moments.squares;
        }
        whole.tell()?;
        let gamma = &self.parameters[0].value;
        let [mean, variance] = [0, 1].map(|state| &self.states[state].value);
        let all = (group * channels) as u32;
        let given = arguments![rows_at, numbers, terms, gamma, mean, variance, all, lanes];
        accelerator.launch("moments_keep", threads, given)?;
        Ok(())
    }

    /// Sums of this rank's part, to be told: before anything else takes the memory of its parts.
    pub(super) fn tell_gradients(
        &mut self,
        accelerator: &Accelerator,
        parts: &Parts,
    ) -> Result<(), TrainError> {
        let [group, channels] = self.extents();
        let [_, numbers] = self.kept.whole.places(accelerator, [group, channels])?;
        let given = arguments![parts.sums, numbers, parts.count, parts.lanes];
        accelerator.launch("gradient_tell", [channels, group], given)?;
        Ok(())
    }

    /// Keeps what the gradient of the input is made of, by the sums over the whole batch.
    pub(super) fn gradients_together(
        &mut self,
        accelerator: &Accelerator,
        parts: &Parts,
    ) -> Result<(), TrainError> {
        let [group, channels] = self.extents();
        let [rows_at, numbers] = self.kept.whole.places(accelerator, [group, channels])?;
        let (whole, together) = (&mut self.kept.whole, self.together.as_mut());
        whole.hear()?;
        let (heard, told) = whole.numbers.split_at_mut(group);
        for (place, sums) in self.sums.iter_mut().enumerate() {
            let lane = &told[place / channels * 2 * channels..][..2 * channels];
            let (plain, weighted) = (lane[place % channels], lane[channels + place % channels]);
            *sums = GradientSums { plain, weighted };
        }
        let together = together.expect("invariant: asked for where lanes are together");
        together.gradient_sums(&mut self.sums)?;
        heard.iter_mut().zip(&self.rows).for_each(|(heard, &rows)| *heard = rows as f64);
        for (place, sums) in self.sums.iter().enumerate() {
            let lane = &mut told[place / channels * 2 * channels..][..2 * channels];
            lane[place % channels] = sums.plain;
            lane[channels + place % channels] = sums.weighted;
        }
        whole.tell()?;
        let gamma = &self.parameters[0].value;
        let all = (group * channels) as u32;
        let given = arguments![rows_at, numbers, parts.terms, gamma, all, parts.lanes];
        accelerator.launch("gradient_keep", [channels, group], given)?;
        Ok(())
    }
}
