//! Convolution on an accelerator: patches of images into matrix products, for any geometry.
//!
//! The patches of as many samples as fit into `PATCHES` bytes are laid out at a time, for all lanes;
//! lanes, or groups where there are more of them, are the batch of a product.

use super::{Conv2d, Convolution};
use crate::train::device::{
    Accelerator, Address, DeviceError, LIMIT, Operand, Product, Table, arguments,
};
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real};
use crate::train::layer::accelerated::rows;
use crate::train::layer::{Flow, GradientReady, Pass, Shape};

/// Most bytes of patches at a time.
const PATCHES: usize = 1 << 28;

/// What the kernels look up, and how the products are shaped.
#[derive(Debug)]
pub struct Kept {
    geometry: Table<u32>,
    pub(super) biased: Table<u32>,
    groups: usize,
}

/// The matrices of a product for one group of one lane: places of the patches, the weights and the
/// outputs, and from one group or lane to the next.
#[derive(Debug, Clone, Copy)]
struct Matrices {
    patches: Operand,
    weights: Operand,
    outputs: Operand,
}

/// Samples whose patches are laid out together.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    first: usize,
    samples: usize,
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
        Self { geometry, biased: Table::default(), groups: *groups }
    }
}

impl<T: Real> Conv2d<T> {
    fn lanes(&self) -> usize {
        self.parameters[0].lanes.group()
    }

    /// Numbers of the patches of one sample in one lane, all groups.
    fn patches_of_sample(&self) -> usize {
        self.kept.groups * self.output.area() * self.depth
    }

    /// The samples of a pass, in chunks.
    fn chunks(&self, samples: usize) -> impl Iterator<Item = Chunk> + use<T> {
        let numbers = self.patches_of_sample();
        let fit = PATCHES / (self.lanes() * numbers * size_of::<T>());
        let size = fit.min(LIMIT / numbers).clamp(1, samples.max(1));
        let chunk = move |first| Chunk { first, samples: size.min(samples - first) };
        (0..samples).step_by(size).map(chunk)
    }

    /// Memory for the patches of a chunk.
    fn patches_on(&self, accelerator: &Accelerator, chunk: Chunk) -> Result<Address, DeviceError> {
        let numbers = self.lanes() * chunk.samples * self.patches_of_sample();
        accelerator.scratch(numbers * size_of::<T>())
    }

    /// Lays out the patches of a chunk of `input`.
    fn gather(
        &mut self,
        accelerator: &Accelerator,
        input: &Buffer<T>,
        chunk: Chunk,
    ) -> Result<Address, TrainError> {
        let patches = self.patches_on(accelerator, chunk)?;
        let geometry = self.kept.geometry.place(accelerator)?;
        let x = input.address().after::<T>(chunk.first * self.input.units());
        let given = arguments![x, patches, input.pitch(), chunk.samples as u32, geometry];
        let threads = [chunk.samples * self.patches_of_sample(), self.lanes()];
        accelerator.launch("gather_patches", threads, given)?;
        Ok(patches)
    }

    /// Calls `multiply` with the matrices of each product, and how many products it is a batch of.
    fn each_product(
        &self,
        chunk: Chunk,
        patches: Address,
        (weights, outputs): (&Buffer<T>, &Buffer<T>),
        mut multiply: impl FnMut(Matrices, usize) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let (groups, lanes, depth) = (self.kept.groups, self.lanes(), self.depth);
        let (channels, rows) = (self.output.channels, chunk.samples * self.output.area());
        let of_group = channels / groups;
        // From group to group, and from lane to lane.
        let steps = [
            [rows * depth, of_group * depth, of_group],
            [groups * rows * depth, weights.lane_len(), outputs.lane_len()],
        ];
        let first = chunk.first * self.output.units();
        let places = [patches, weights.address(), outputs.address().after::<T>(first)];
        let ([outer, inner], [count, batch]) = if groups > lanes {
            ([steps[1], steps[0]], [lanes, groups])
        } else {
            (steps, [groups, lanes])
        };
        for at in 0..count {
            let operand = |which: usize, pitch: usize| {
                let place = places[which].after::<T>(at * outer[which]);
                Operand::new(place, pitch, inner[which])
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

    pub(super) fn forward_on(
        &mut self,
        accelerator: &Accelerator,
        (input, output): (&Buffer<T>, &mut Buffer<T>),
        pass: &Pass,
    ) -> Result<(), TrainError> {
        for chunk in self.chunks(pass.samples) {
            let patches = self.gather(accelerator, input, chunk)?;
            let of = (&self.parameters[0].value, &*output);
            self.each_product(chunk, patches, of, |matrices, batch| {
                let Matrices { patches, weights, outputs } = matrices;
                let (left, right, size) = (patches, weights.transposed(), self.extents(chunk));
                let out = outputs;
                accelerator.multiply(&Product { size, left, right, out, adds: false, batch })
            })?;
        }
        let Some(bias) = self.parameters.get(1) else { return Ok(()) };
        let rows = (output, pass.samples * self.output.area());
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
        if let Some(bias) = self.parameters.get_mut(1) {
            let rows = (gradient, pass.samples * self.output.area());
            rows::bias_gradient(accelerator, bias, rows, &mut self.kept.biased)?;
            ready(bias)?;
        }
        for chunk in self.chunks(pass.samples) {
            let patches = self.gather(accelerator, input, chunk)?;
            let [rows, of_group, depth] = self.extents(chunk);
            let of = (&self.parameters[0].gradient, gradient);
            self.each_product(chunk, patches, of, |matrices, batch| {
                let Matrices { patches: right, weights: out, outputs } = matrices;
                let (left, size) = (outputs.transposed(), [of_group, depth, rows]);
                let adds = chunk.first > 0;
                accelerator.multiply(&Product { size, left, right, out, adds, batch })
            })?;
            if let Some(input_gradient) = &mut input_gradient {
                self.scatter(accelerator, gradient, input_gradient, chunk)?;
            }
        }
        ready(&mut self.parameters[0])
    }

    /// The gradient of a chunk's inputs: patches of it by products, then every pixel from the places
    /// at which it stands.
    fn scatter(
        &mut self,
        accelerator: &Accelerator,
        gradient: &Buffer<T>,
        input_gradient: &mut Buffer<T>,
        chunk: Chunk,
    ) -> Result<(), TrainError> {
        let patches = self.patches_on(accelerator, chunk)?;
        let [rows, of_group, depth] = self.extents(chunk);
        let of = (&self.parameters[0].value, gradient);
        self.each_product(chunk, patches, of, |matrices, batch| {
            let Matrices { patches: out, weights: right, outputs: left } = matrices;
            let size = [rows, depth, of_group];
            accelerator.multiply(&Product { size, left, right, out, adds: false, batch })
        })?;
        let geometry = self.kept.geometry.place(accelerator)?;
        let dx = input_gradient.address().after::<T>(chunk.first * self.input.units());
        let pitch = (chunk.samples * self.patches_of_sample()) as u32;
        let given =
            arguments![patches, dx, input_gradient.pitch(), pitch, chunk.samples as u32, geometry];
        let threads = [chunk.samples * self.input.units(), self.lanes()];
        accelerator.launch("scatter_patches", threads, given)?;
        Ok(())
    }
}
