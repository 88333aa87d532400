//! Convolution by patches of images and matrix products, for any geometry.
//!
//! The patches of as many samples as fit into [`CONVOLUTION_BYTES`] are laid out at a time, for all
//! lanes; lanes, or groups where there are more of them, are the batch of a product. In bf16 patches are
//! rounded where they are laid out; products are in f32 and stay so.

use super::Conv2d;
use super::accelerated::Work;
use crate::spec::architecture::CONVOLUTION_BYTES;
use crate::train::device::{Accelerator, Address, DeviceError, LIMIT, Operand, Product, arguments};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rounded;

/// The matrices of a product for one group of one lane: places of the patches, the weights and the
/// outputs, and from one group or lane to the next.
#[derive(Debug, Clone, Copy)]
struct Matrices {
    patches: Operand,
    weights: Operand,
    outputs: Operand,
}

/// Where each of the three begins, with the bytes of its numbers and how far apart its lanes are.
type Places = [(Address, usize, usize); 3];

/// Samples whose patches are laid out together.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    first: usize,
    samples: usize,
}

/// What a backward of a chunk works with.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The samples.
    pub(super) chunk: Chunk,
    /// Where patches go.
    pub(super) patches: Address,
    /// Where the chunk's gradients are, the bytes of a number, and how far apart lanes are.
    pub(super) gradient: (Address, usize, usize),
}

impl<T: Real> Conv2d<T> {
    /// Numbers of the patches of one sample in one lane, all groups.
    fn patches_of_sample(&self) -> usize {
        self.kept.groups * self.output.area() * self.depth
    }

    /// The samples of a pass, in chunks; the first is the largest.
    pub(super) fn chunks(&self, samples: usize) -> impl Iterator<Item = Chunk> + use<T> {
        let numbers = self.patches_of_sample();
        let fit = CONVOLUTION_BYTES as usize / (self.lanes() * numbers * size_of::<T>());
        let size = fit.min(LIMIT / numbers).clamp(1, samples.max(1));
        let chunk = move |first| Chunk { first, samples: size.min(samples - first) };
        (0..samples).step_by(size).map(chunk)
    }

    /// Bytes of the patches of a chunk, in f32: those of a gradient are.
    pub(super) fn patch_bytes(&self, chunk: Chunk) -> usize {
        self.lanes() * chunk.samples * self.patches_of_sample() * size_of::<T>()
    }

    /// Bytes of a factor of products.
    fn factor_bytes(&self) -> usize {
        if self.kept.is_rounded() { rounded::BYTES } else { size_of::<T>() }
    }

    /// Where a chunk's gradients of outputs are, as products read them.
    pub(super) fn taken(
        &self,
        gradient: &Buffer<T>,
        (samples, work): (usize, Work),
        chunk: Chunk,
    ) -> (Address, usize, usize) {
        let (first, bytes) = (chunk.first * self.output.units(), self.factor_bytes());
        let (place, pitch) = match self.kept.is_rounded() {
            true => (work.gradient, self.pitch_of(samples * self.output.units())),
            false => (gradient.address(), gradient.lane_len()),
        };
        (place.after::<u8>(first * bytes), bytes, pitch)
    }

    /// The weights as products read them.
    fn factors(&self) -> (Address, usize, usize) {
        let weights = &self.parameters[0].value;
        let place = match self.kept.is_rounded() {
            true => self.kept.weights.place(),
            false => weights.address(),
        };
        (place, self.factor_bytes(), weights.lane_len())
    }

    /// Numbers of the patches of a chunk in one lane.
    fn patch_pitch(&self, chunk: Chunk) -> usize {
        chunk.samples * self.patches_of_sample()
    }

    /// Lays out the patches of a chunk of `input`.
    fn gather(
        &mut self,
        accelerator: &Accelerator,
        input: &Buffer<T>,
        (chunk, patches): (Chunk, Address),
    ) -> Result<(), TrainError> {
        let geometry = self.kept.geometry.place(accelerator)?;
        let x = input.address().after::<T>(chunk.first * self.input.units());
        let given = arguments![x, patches, input.pitch(), chunk.samples as u32, geometry];
        let kernel = if self.kept.is_rounded() { "gather_patches_bf16" } else { "gather_patches" };
        accelerator.launch_fours(kernel, [self.patch_pitch(chunk), self.lanes()], given)?;
        Ok(())
    }

    /// Calls `multiply` with the matrices of each product, and how many products it is a batch of.
    fn each_product(
        &self,
        chunk: Chunk,
        [patches, weights, outputs]: Places,
        mut multiply: impl FnMut(Matrices, usize) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let (groups, lanes, depth) = (self.kept.groups, self.lanes(), self.depth);
        let (channels, rows) = (self.output.channels, chunk.samples * self.output.area());
        let of_group = channels / groups;
        // From group to group, and from lane to lane.
        let steps = [[rows * depth, of_group * depth, of_group], [patches.2, weights.2, outputs.2]];
        let places = [patches, weights, outputs];
        let ([outer, inner], [count, batch]) = if groups > lanes {
            ([steps[1], steps[0]], [lanes, groups])
        } else {
            (steps, [groups, lanes])
        };
        for at in 0..count {
            let operand = |which: usize, pitch: usize| {
                let (place, bytes, _) = places[which];
                Operand::new(place.after::<u8>(at * outer[which] * bytes), pitch, inner[which])
            };
            let (patches, weights) = (operand(0, depth), operand(1, depth));
            multiply(Matrices { patches, weights, outputs: operand(2, channels) }, batch)?;
        }
        Ok(())
    }

    /// Rows, output channels of a group and numbers of a row: the extents of a chunk's products.
    fn extents(&self, chunk: Chunk) -> [usize; 3] {
        let of_group = self.output.channels / self.kept.groups;
        [chunk.samples * self.output.area(), of_group, self.depth]
    }

    /// The outputs of a chunk, without a bias.
    pub(super) fn forward_by_patches(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &Buffer<T>),
        chunk: Chunk,
    ) -> Result<(), TrainError> {
        let patches = accelerator.scratch(self.patch_bytes(chunk))?;
        self.gather(accelerator, input, (chunk, patches))?;
        let precision = self.kept.precision;
        let y = output.address().after::<T>(chunk.first * self.output.units());
        let outputs = (y, size_of::<T>(), output.lane_len());
        let patches = (patches, self.factor_bytes(), self.patch_pitch(chunk));
        self.each_product(chunk, [patches, self.factors(), outputs], |matrices, batch| {
            let Matrices { patches: left, weights, outputs: out } = matrices;
            let (right, size) = (weights.transposed(), self.extents(chunk));
            accelerator.multiply(&Product { size, left, right, out, adds: false, batch, precision })
        })?;
        Ok(())
    }

    /// Adds a chunk's part to the gradient of the weights; the first one overwrites it.
    pub(super) fn filter_by_patches(
        &mut self,
        accelerator: &Accelerator,
        input: &Buffer<T>,
        Taken { chunk, patches, gradient }: Taken,
    ) -> Result<(), TrainError> {
        self.gather(accelerator, input, (chunk, patches))?;
        let precision = self.kept.precision;
        let [rows, of_group, depth] = self.extents(chunk);
        let weights = &self.parameters[0].gradient;
        let weights = (weights.address(), size_of::<T>(), weights.lane_len());
        let patches = (patches, self.factor_bytes(), self.patch_pitch(chunk));
        self.each_product(chunk, [patches, weights, gradient], |matrices, batch| {
            let Matrices { patches: right, weights: out, outputs } = matrices;
            let (left, size) = (outputs.transposed(), [of_group, depth, rows]);
            let adds = chunk.first > 0;
            accelerator.multiply(&Product { size, left, right, out, adds, batch, precision })
        })?;
        Ok(())
    }

    /// The gradient of a chunk's inputs: patches of it by products, then every pixel from the places
    /// at which it stands.
    pub(super) fn scatter(
        &mut self,
        accelerator: &Accelerator,
        input_gradient: &mut Buffer<T>,
        Taken { chunk, patches, gradient }: Taken,
    ) -> Result<(), TrainError> {
        let precision = self.kept.precision;
        let [rows, of_group, depth] = self.extents(chunk);
        let pitch = self.patch_pitch(chunk);
        let made = (patches, size_of::<T>(), pitch);
        self.each_product(chunk, [made, self.factors(), gradient], |matrices, batch| {
            let Matrices { patches: out, weights: right, outputs: left } = matrices;
            let size = [rows, depth, of_group];
            accelerator.multiply(&Product { size, left, right, out, adds: false, batch, precision })
        })?;
        let geometry = self.kept.geometry.place(accelerator)?;
        let dx = input_gradient.address().after::<T>(chunk.first * self.input.units());
        let [pitch, samples] = [pitch as u32, chunk.samples as u32];
        let given = arguments![patches, dx, input_gradient.pitch(), pitch, samples, geometry];
        let threads = [chunk.samples * self.input.units(), self.lanes()];
        accelerator.launch("scatter_patches", threads, given)?;
        Ok(())
    }
}
