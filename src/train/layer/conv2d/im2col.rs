//! A convolution by gathering patches into a matrix and multiplying (im2col): any kernel, stride,
//! padding, dilation and groups.
//!
//! Tiles bound the matrix's memory. A product packs the weights anew for every tile, so tiles are
//! as large as a share of the outer caches allows, and not smaller than the rows a product needs to
//! be fast.
//!
//! A batch is worked on in parts, which the threads share. How many there are depends on shapes
//! alone, and the parts' weight gradients are added in their order: the same bits on any number of
//! threads.

use std::ops::Range;

use super::Numbers;
use crate::train::kernel::gemm::{Matrix, Output, product};
use crate::train::kernel::parallel::{for_each_block, for_each_pair, threads};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Real, Workspace};
use crate::train::layer::Shape;
use crate::train::layer::linear::add_to_rows;
use crate::train::layer::patches::{Region, Window};

/// Numbers in the patches of one tile: 1 MiB of f32.
const TILE_NUMBERS: usize = 1 << 18;

/// Rows that a tile has at least, for the sake of the matrix product.
const TILE_ROWS: usize = 128;

/// Parts that a batch is divided into at most.
const MOST_PARTS: usize = 8;

/// Output pixels that a part has at least, so that its tiles are not small.
const PART_PIXELS: usize = 1024;

/// Numbers that the parts' weight gradients take at most: 16 MiB of f32.
const PARTIAL_NUMBERS: usize = 1 << 22;

/// A convolution's geometry, cut into regions.
pub struct Im2col {
    /// Output channels.
    channels: usize,
    /// Groups of channels that know nothing of each other.
    groups: usize,
    /// Numbers that one output sums over, in the middle of the image.
    depth: usize,
    regions: Vec<Region>,
}

/// Memory of one tile; its contents mean nothing between two tiles.
struct Scratch<'a, T> {
    /// Input patches, or their gradients: (tile, depth).
    patches: &'a mut [T],
    /// Output rows, or their gradients: (tile, O).
    rows: &'a mut [T],
    /// Weights of a group: (O, depth).
    narrow: &'a mut [T],
    /// Their gradients.
    narrow_gradient: &'a mut [T],
}

impl Im2col {
    /// The convolution from `input` to `output`, whose channels `groups` divides.
    pub fn new(input: Shape, output: Shape, window: Window, groups: usize) -> Self {
        let depth = input.channels / groups * window.size[0] * window.size[1];
        let regions = Region::all(window, input, groups, [output.height, output.width]);
        Self { channels: output.channels, groups, depth, regions }
    }

    /// Numbers that [`forward`](Self::forward) and [`backward`](Self::backward) borrow for batches of
    /// up to `capacity` samples.
    pub fn scratch(&self, capacity: usize) -> usize {
        let share = self.share(capacity);
        share.workers() * (self.tile_scratch() + share.parts_each * self.weights())
    }

    /// How a batch is shared among the threads.
    fn share(&self, samples: usize) -> Share {
        let pixels: usize = self.regions.iter().map(Region::positions).sum();
        let parts = (samples * pixels / PART_PIXELS).min(PARTIAL_NUMBERS / self.weights().max(1));
        let each = samples.div_ceil(parts.clamp(1, MOST_PARTS)).max(1);
        let parts = samples.div_ceil(each);
        Share { samples: each, parts, parts_each: parts.div_ceil(threads()).max(1) }
    }

    /// Numbers of all weights.
    fn weights(&self) -> usize {
        self.channels * self.depth
    }

    /// Numbers that a thread needs for its tiles.
    fn tile_scratch(&self) -> usize {
        self.tile_lens().iter().sum()
    }

    /// Lengths of the fields of [`Scratch`].
    fn tile_lens(&self) -> [usize; 4] {
        let outputs = self.outputs();
        let largest =
            |size: &dyn Fn(&Region) -> usize| self.regions.iter().map(size).max().unwrap_or(0);
        let patches = largest(&|region| tile_rows(region, outputs) * region.depth());
        let rows = largest(&|region| tile_rows(region, outputs) * outputs);
        [patches, rows, outputs * self.depth, outputs * self.depth]
    }

    /// Tiles that the middle of the image is cut into, or wherever most are needed.
    #[cfg(test)]
    pub fn most_tiles(&self, samples: usize) -> usize {
        let count = |region| tiles(region, samples, self.outputs()).count();
        self.regions.iter().map(count).max().unwrap_or(0)
    }

    /// Output channels of one group.
    fn outputs(&self) -> usize {
        self.channels / self.groups
    }

    /// y (N, H', W', O) = x * W + b.
    pub fn forward<T: Real>(
        &self,
        workspace: &Workspace<T>,
        numbers: &Numbers<'_, T>,
        bias: Option<&[T]>,
        output: &mut [T],
    ) {
        let share = self.share(numbers.samples);
        let (units, scratch) = (output.len() / numbers.samples, self.tile_scratch());
        workspace.lend([share.workers() * scratch], |[memory]| {
            let outputs = (output, share.samples_each() * units);
            for_each_pair(outputs, (memory, scratch), |worker, output, memory| {
                let (mut scratch, _) = Scratch::of(memory, self.tile_lens());
                let parts = output.chunks_mut(share.samples * units);
                for (part, output) in (worker * share.parts_each..).zip(parts) {
                    let numbers = numbers.part(part, share.samples);
                    scratch.forward(self, &numbers, bias, output);
                }
            });
        });
    }

    /// Gradients of the weights and, where wanted, of the input, from the output's.
    pub fn backward<T: Real>(
        &self,
        workspace: &Workspace<T>,
        numbers: &Numbers<'_, T>,
        gradient: &[T],
        weight_gradient: &mut [T],
        input_gradient: Option<&mut [T]>,
    ) {
        let share = self.share(numbers.samples);
        let (tile, weights) = (self.tile_scratch(), self.weights());
        let memory_each = tile + share.parts_each * weights;
        let units = gradient.len() / numbers.samples;
        // One thread's parts: their weight gradients stay in its memory.
        let work = |worker: usize, memory: &mut [T], mut input_gradient: Option<&mut [T]>| {
            let (mut scratch, partials) = Scratch::of(memory, self.tile_lens());
            let parts = worker * share.parts_each..share.parts.min((worker + 1) * share.parts_each);
            for (part, partial) in parts.zip(partials.chunks_exact_mut(weights)) {
                let numbers = numbers.part(part, share.samples);
                let gradient = &gradient[part * share.samples * units..][..numbers.samples * units];
                let input_gradient = input_gradient.as_mut().map(|gradient| {
                    let (part, rest) = std::mem::take(gradient).split_at_mut(numbers.input.len());
                    *gradient = rest;
                    part
                });
                scratch.backward(self, (&numbers, gradient), partial, input_gradient);
            }
        };
        workspace.lend([share.workers() * memory_each], |[memory]| {
            match input_gradient {
                Some(input_gradient) => {
                    let inputs = numbers.input.len() / numbers.samples * share.samples_each();
                    for_each_pair(
                        (memory, memory_each),
                        (input_gradient, inputs),
                        |worker, memory, gradient| work(worker, memory, Some(gradient)),
                    );
                }
                None => for_each_block(memory, memory_each, |start, memory| {
                    work(start / memory_each, memory, None);
                }),
            }
            weight_gradient.fill(T::ZERO);
            let partials = memory
                .chunks_exact(memory_each)
                .flat_map(|memory| memory[tile..].chunks_exact(weights));
            for partial in partials.take(share.parts) {
                add_to_rows(weight_gradient, partial);
            }
        });
    }

    /// One group's weights in a region, (O / groups, depth); copied unless the region uses all.
    fn narrow<'a, T: Real>(
        &self,
        weight: &'a [T],
        memory: &'a mut [T],
        region: &Region,
        group: usize,
    ) -> Matrix<'a, T> {
        let (outputs, depth) = (self.outputs(), region.depth());
        let all = weight.len() / self.groups;
        let weight = &weight[group * all..][..all];
        if region.is_whole() {
            return Matrix::new(weight, outputs, depth);
        }
        let narrow = &mut memory[..outputs * depth];
        region.narrow(weight, narrow);
        Matrix::new(narrow, outputs, depth)
    }
}

/// A batch in parts.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// Samples of a part; the last may have fewer.
    samples: usize,
    parts: usize,
    /// Parts that one thread does; the last may have fewer.
    parts_each: usize,
}

impl Share {
    /// Threads that have something to do.
    fn workers(self) -> usize {
        self.parts.div_ceil(self.parts_each)
    }

    /// Samples of one thread.
    fn samples_each(self) -> usize {
        self.parts_each * self.samples
    }
}

/// Rows of a region's tile.
fn tile_rows(region: &Region, outputs: usize) -> usize {
    (TILE_NUMBERS / region.depth().max(outputs)).max(TILE_ROWS)
}

/// Cuts the rows of a region into tiles.
fn tiles(
    region: &Region,
    samples: usize,
    outputs: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = samples * region.positions();
    let tile = tile_rows(region, outputs);
    (0..rows).step_by(tile).map(move |start| start..(start + tile).min(rows))
}

impl<'a, T: Real> Scratch<'a, T> {
    /// Pieces of these lengths, and what is left.
    fn of(mut memory: &'a mut [T], lens: [usize; 4]) -> (Self, &'a mut [T]) {
        let [patches, rows, narrow, narrow_gradient] = lens.map(|len| {
            let (piece, rest) = std::mem::take(&mut memory).split_at_mut(len);
            memory = rest;
            piece
        });
        (Self { patches, rows, narrow, narrow_gradient }, memory)
    }

    /// Output (N, H', W', O) of one lane.
    fn forward(
        &mut self,
        im2col: &Im2col,
        numbers: &Numbers<'_, T>,
        bias: Option<&[T]>,
        output: &mut [T],
    ) {
        let outputs = im2col.outputs();
        for region in &im2col.regions {
            let depth = region.depth();
            for group in 0..im2col.groups {
                let first = group * outputs;
                let bias = bias.map(|bias| &bias[first..][..outputs]);
                let narrow = im2col.narrow(numbers.weight, self.narrow, region, group);
                for tile in tiles(region, numbers.samples, outputs) {
                    let patches = &mut self.patches[..tile.len() * depth];
                    region.gather(tile.clone(), group, numbers.input, patches);
                    let rows = &mut self.rows[..tile.len() * outputs];
                    let patches = Matrix::new(patches, tile.len(), depth);
                    product(rows, patches, narrow.transposed(), Output::Replace);
                    let places = places(region, tile, im2col.channels, first);
                    place_rows(places, rows, (outputs, bias), output);
                }
            }
        }
    }

    /// Gradients of one lane's weights and, where wanted, of its input, from the output's.
    fn backward(
        &mut self,
        im2col: &Im2col,
        (numbers, gradient): (&Numbers<'_, T>, &[T]),
        weight_gradient: &mut [T],
        mut input_gradient: Option<&mut [T]>,
    ) {
        let outputs = im2col.outputs();
        weight_gradient.fill(T::ZERO);
        if let Some(input_gradient) = &mut input_gradient {
            input_gradient.fill(T::ZERO);
        }
        let all = weight_gradient.len() / im2col.groups;
        for region in &im2col.regions {
            let depth = region.depth();
            for group in 0..im2col.groups {
                let narrow = im2col.narrow(numbers.weight, self.narrow, region, group);
                let narrow_gradient = &mut self.narrow_gradient[..outputs * depth];
                let mut output = Output::Replace;
                for tile in tiles(region, numbers.samples, outputs) {
                    let patches = &mut self.patches[..tile.len() * depth];
                    region.gather(tile.clone(), group, numbers.input, patches);
                    let rows = &mut self.rows[..tile.len() * outputs];
                    let places = places(region, tile.clone(), im2col.channels, group * outputs);
                    take_rows(places, outputs, gradient, rows);
                    let rows = Matrix::new(rows, tile.len(), outputs);
                    let inputs = Matrix::new(patches, tile.len(), depth);
                    product(narrow_gradient, rows.transposed(), inputs, output);
                    output = Output::Add;
                    if let Some(input_gradient) = &mut input_gradient {
                        product(patches, rows, narrow, Output::Replace);
                        vectorized(
                            #[inline(always)]
                            || region.scatter_add(tile, group, patches, input_gradient),
                        );
                    }
                }
                region.widen_add(narrow_gradient, &mut weight_gradient[group * all..][..all]);
            }
        }
    }
}

/// Where the channels from `first` on of a tile's pixels start in an output of `channels` channels.
fn places(
    region: &Region,
    tile: Range<usize>,
    channels: usize,
    first: usize,
) -> impl Iterator<Item = usize> + '_ {
    region.output_pixels(tile).map(move |pixel| pixel * channels + first)
}

/// Copies a tile's rows of `channels` numbers to their places in the output, adding the bias.
fn place_rows<T: Real>(
    places: impl Iterator<Item = usize>,
    rows: &[T],
    (channels, bias): (usize, Option<&[T]>),
    output: &mut [T],
) {
    vectorized(
        #[inline(always)]
        || {
            for (place, row) in places.zip(rows.chunks_exact(channels)) {
                let out = &mut output[place..][..channels];
                match bias {
                    Some(bias) => {
                        for ((out, &x), &bias) in out.iter_mut().zip(row).zip(bias) {
                            *out = x + bias;
                        }
                    }
                    None => out.copy_from_slice(row),
                }
            }
        },
    );
}

/// Copies the places of a tile into rows of `channels` numbers.
fn take_rows<T: Real>(
    places: impl Iterator<Item = usize>,
    channels: usize,
    output: &[T],
    rows: &mut [T],
) {
    for (place, row) in places.zip(rows.chunks_exact_mut(channels)) {
        row.copy_from_slice(&output[place..][..channels]);
    }
}
