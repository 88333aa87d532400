//! Convolution on an accelerator: by a library of convolutions where it has an algorithm that may be
//! used, by patches and matrix products where it has none; each direction by itself.
//!
//! In bf16 the weights and, for the library, the input are rounded in the forward; the copies are kept
//! for the backward that follows. The gradient of the output is rounded into scratch memory.

use super::patched::{Chunk, Taken};
use super::{Conv2d, Convolution};
use crate::spec::precision::Precision;
use crate::train::device::{Accelerator, Address, Algorithm, Direction, Table};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rounded::{self, Rounded};
use crate::train::layer::accelerated::rows::{self, Parts};
use crate::train::layer::{Flow, GradientReady, Mode, Pass, Shape};

/// What the kernels look up, how the products are shaped, and what was chosen.
#[derive(Debug)]
pub struct Kept {
    pub(super) geometry: Table<u32>,
    pub(super) biased: Table<u32>,
    pub(super) groups: usize,
    /// The convolution, as the library is asked.
    pub(super) convolution: Convolution,
    pub(super) precision: Precision,
    /// What the library offered for a number of samples and a direction, asked once.
    pub(super) chosen: Vec<(usize, Direction, Option<Algorithm>)>,
    /// In bf16.
    pub(super) input: Rounded,
    pub(super) weights: Rounded,
}

/// Scratch memory of a backward, from one end to the other.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// The gradient of the output in bf16; nothing in f32.
    pub(super) gradient: Address,
    /// What the library makes, in bf16, and before that parts of the sums for a bias; nothing in f32.
    pub(super) made: Address,
    /// What the library works in, or patches.
    pub(super) rest: Address,
}

impl Kept {
    pub(super) fn new(input: Shape, output: Shape, convolution: &Convolution) -> Self {
        let Convolution { window, groups, .. } = convolution;
        let mut geometry = Table::default();
        geometry.refill(|table| {
            let image = [input.height, input.width, input.channels, output.height, output.width];
            let pairs = [window.size, window.stride, window.padding, window.dilation];
            let all = image.iter().chain(pairs.as_flattened()).chain([groups]);
            table.extend(all.map(|&size| size as u32));
        });
        Self {
            geometry,
            biased: Table::default(),
            groups: *groups,
            convolution: convolution.clone(),
            precision: Precision::F32,
            chosen: Vec::new(),
            input: Rounded::default(),
            weights: Rounded::default(),
        }
    }

    pub(super) fn is_rounded(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// Bytes of the copy of the input.
    pub(super) fn bytes(&self) -> usize {
        self.input.bytes()
    }
}

/// The next place in scratch memory after so many bytes, aligned as allocations are.
pub(super) fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(256)
}

impl<T: Real> Conv2d<T> {
    pub(super) fn lanes(&self) -> usize {
        self.parameters[0].lanes.group()
    }

    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let samples = pass.samples;
        if samples == 0 {
            return Ok(());
        }
        let forward = self.algorithm(accelerator, Direction::Forward, samples, [input, output])?;
        if self.kept.is_rounded() {
            let weights = &self.parameters[0].value;
            self.kept.weights.round(accelerator, weights, weights.lane_len())?;
            // Patches are rounded where they are laid out.
            let learns = matches!(pass.mode, Mode::Train { .. });
            let filter = match learns {
                true => self.algorithm(
                    accelerator,
                    Direction::BackwardFilter,
                    samples,
                    [input, output],
                )?,
                false => None,
            };
            if forward.or(filter).is_some() {
                self.kept.input.round(accelerator, input, samples * self.input.units())?;
            }
        }
        let Some(algorithm) = forward else {
            for chunk in self.chunks(samples) {
                self.forward_by_patches(accelerator, (input, output), chunk)?;
            }
            return self.add_bias(accelerator, output, samples);
        };
        if !self.kept.is_rounded() {
            let workspace = accelerator.scratch(algorithm.bytes(self.lanes()))?;
            self.forward_by_library(accelerator, algorithm, [input, &*output], workspace)?;
            return self.add_bias(accelerator, output, samples);
        }
        let numbers = samples * self.output.units();
        let pitch = self.pitch_of(numbers);
        let made = aligned(self.lanes() * pitch * rounded::BYTES);
        let place = accelerator.scratch(made + algorithm.bytes(self.lanes()))?;
        let workspace = place.after::<u8>(made);
        self.forward_rounded(accelerator, algorithm, (input, (place, pitch)), workspace)?;
        match self.parameters.get(1) {
            None => rounded::widen(accelerator, (place, pitch), output, numbers),
            Some(bias) => {
                let rows = (output, samples * self.output.area());
                let bias = (bias, &mut self.kept.biased);
                rows::widen_with_bias(accelerator, (place, pitch), rows, bias)
            }
        }
    }

    fn add_bias(
        &mut self,
        accelerator: &Accelerator,
        output: &mut Buffer<T>,
        samples: usize,
    ) -> Result<(), TrainError> {
        let Some(bias) = self.parameters.get(1) else { return Ok(()) };
        let rows = (output, samples * self.output.area());
        rows::add_bias(accelerator, rows, bias, &mut self.kept.biased)
    }

    pub(super) fn backward_on(
        &mut self,
        accelerator: &Accelerator,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let Flow { input, gradient, mut input_gradient, .. } = flow;
        let samples = pass.samples;
        let rows = (gradient, samples * self.output.area());
        let is_rounded = self.kept.is_rounded();
        if let (false, Some(bias)) = (is_rounded, self.parameters.get_mut(1)) {
            rows::bias_gradient(accelerator, bias, rows, &mut self.kept.biased)?;
            ready(bias)?;
        }
        let filter =
            self.algorithm(accelerator, Direction::BackwardFilter, samples, [input, gradient])?;
        let data = match &input_gradient {
            Some(dx) => {
                self.algorithm(accelerator, Direction::BackwardData, samples, [&**dx, gradient])?
            }
            None => None,
        };
        let work = self.work(accelerator, samples, [filter, data])?;
        if is_rounded {
            let numbers = samples * self.output.units();
            let to = (work.gradient, self.pitch_of(numbers));
            match self.parameters.get_mut(1) {
                None => rounded::round(accelerator, gradient, numbers, to)?,
                // Read once for both.
                Some(bias) => {
                    let (to, present) = ((work.made, to), &mut self.kept.biased);
                    rows::bias_gradient_and_rounded(accelerator, bias, rows, to, present)?;
                    ready(bias)?;
                }
            }
        }
        if let Some(algorithm) = filter {
            self.filter_by_library(accelerator, algorithm, [input, gradient], (samples, work))?;
        }
        if let (Some(algorithm), Some(dx)) = (data, &mut input_gradient) {
            self.data_by_library(accelerator, algorithm, [gradient, &**dx], (samples, work))?;
        }
        for chunk in self.chunks(samples) {
            let gradient = self.taken(gradient, (samples, work), chunk);
            let taken = Taken { chunk, patches: work.rest, gradient };
            if filter.is_none() {
                self.filter_by_patches(accelerator, input, taken)?;
            }
            if let (None, Some(input_gradient)) = (data, &mut input_gradient) {
                self.scatter(accelerator, input_gradient, taken)?;
            }
        }
        ready(&mut self.parameters[0])
    }

    /// Scratch memory for a backward, asked for once: a second time would lose what is in it.
    fn work(
        &self,
        accelerator: &Accelerator,
        samples: usize,
        [filter, data]: [Option<Algorithm>; 2],
    ) -> Result<Work, TrainError> {
        let rounded = |numbers: usize| match self.kept.is_rounded() {
            true => aligned(self.lanes() * self.pitch_of(numbers) * rounded::BYTES),
            false => 0,
        };
        let gradient = rounded(samples * self.output.units());
        let weights = filter.map_or(0, |_| rounded(self.parameters[0].len()));
        let images = data.map_or(0, |_| rounded(samples * self.input.units()));
        let chunk = self.chunks(samples).next();
        let patches = chunk.map_or(0, |chunk: Chunk| self.patch_bytes(chunk));
        let of =
            |algorithm: Option<Algorithm>| algorithm.map_or(patches, |it| it.bytes(self.lanes()));
        let made = weights.max(images);
        // Parts of the sums for a bias are gone when the library begins.
        let sums = match self.parameters.get(1).filter(|_| self.kept.is_rounded()) {
            Some(bias) => {
                let rows = samples * self.output.area();
                Parts::of(rows, bias.value.lane_len()).bytes([1, self.lanes()])
            }
            None => 0,
        };
        let after = (made + of(filter).max(of(data))).max(sums);
        let start = accelerator.scratch(gradient + after)?;
        let made_at = start.after::<u8>(gradient);
        Ok(Work { gradient: start, made: made_at, rest: made_at.after::<u8>(made) })
    }
}
