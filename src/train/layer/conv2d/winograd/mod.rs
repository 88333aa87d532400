//! Convolutions of stride 1 by Winograd's minimal filtering (Lavin and Gray, 2016): 3x3 kernels by
//! F(4x4, 3x3), 36 products for 16 outputs where the definition takes 144; 5x5 kernels by
//! F(2x2, 5x5), 36 products for 4 outputs where the definition takes 100.
//!
//! The output is cut into tiles, each made of 6x6 inputs. Transformed, a tile's inputs,
//! weights and outputs are 36 numbers a channel, and the convolution is 36 matrix products over the
//! channels: `M[p]` = `V[p]` `U[p]^T` with `V[p]` (tiles, C), `U[p]` (O, C), `M[p]` (tiles, O). The
//! gradients are the transposes: `dU[p]` = `dM[p]^T` `V[p]`, `dV[p]` = `dM[p]` `U[p]`.
//!
//! Samples go through in *parts* of a fixed number of tiles, so that V and M of a part stay in a
//! cache; parts are shared among threads, and sums over parts are made in their order.

mod transform;

use transform::{Block, Filtering, INPUTS, Maps, WIDTH, both};

use super::Numbers;
use crate::train::kernel::gemm::{Matrix, Output, product};
use crate::train::kernel::parallel::{for_each_block, for_each_pair};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Real, Workspace};
use crate::train::layer::Shape;

/// Numbers of a transformed tile and channel.
const POINTS: usize = INPUTS * INPUTS;

/// Tiles that a part has at least, for the sake of the matrix products.
const PART_TILES: usize = 64;

/// Parts whose V and M are kept at once in a backward pass: what threads share.
const PARTS_AT_ONCE: usize = 4;

/// Fewer channels than this are not worth the transforms.
const FEWEST_CHANNELS: usize = 16;

/// A convolution's geometry, cut into tiles of OUTPUTS x OUTPUTS pixels, for kernels of TAPS x TAPS.
#[derive(Debug, Clone, Copy)]
pub struct Winograd<const OUTPUTS: usize, const TAPS: usize> {
    input: Shape,
    output: Shape,
    padding: [usize; 2],
    /// Rows and columns of tiles in one image.
    tiles: [usize; 2],
    /// Samples of one part.
    samples: usize,
}

impl<const OUTPUTS: usize, const TAPS: usize> Winograd<OUTPUTS, TAPS>
where
    Maps: Filtering<OUTPUTS, TAPS>,
{
    /// The convolution of a kernel with stride 1 from `input` to `output`, if fewer products
    /// than half of the definition's are left (those with padding not counted) and the channels come
    /// in whole blocks, as those of every network with a width of 1, 1/2 or 1/4 do.
    pub fn new(input: Shape, output: Shape, padding: [usize; 2]) -> Option<Self> {
        let tiles = [output.height.div_ceil(OUTPUTS), output.width.div_ceil(OUTPUTS)];
        let taps = |extent: usize, outputs: usize, padding: usize| -> usize {
            let inside = |output: usize| {
                (output..output + TAPS).filter(|&i| i >= padding && i < extent + padding).count()
            };
            (0..outputs).map(inside).sum()
        };
        let direct = taps(input.height, output.height, padding[0])
            * taps(input.width, output.width, padding[1]);
        let ours = tiles[0] * tiles[1] * POINTS;
        let suits = |channels: usize| channels >= FEWEST_CHANNELS && channels.is_multiple_of(WIDTH);
        let worth = suits(input.channels) && suits(output.channels) && 2 * ours <= direct;
        let samples = PART_TILES.div_ceil(tiles[0] * tiles[1]);
        worth.then_some(Self { input, output, padding, tiles, samples })
    }

    /// Lengths of what [`forward`](Self::forward) and [`backward`](Self::backward) borrow.
    pub fn scratch(&self, capacity: usize) -> [usize; 3] {
        let parts = capacity.div_ceil(self.samples).min(PARTS_AT_ONCE);
        let transformed = POINTS * self.input.channels * self.output.channels;
        [transformed, transformed, parts * self.part_len()]
    }

    /// Tiles of one image.
    fn image_tiles(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Numbers of V and M of one part.
    fn part_len(&self) -> usize {
        POINTS * self.samples * self.image_tiles() * (self.input.channels + self.output.channels)
    }

    /// y (N, H', W', O) = x * W + b.
    pub fn forward<T: Real>(
        &self,
        workspace: &Workspace<T>,
        numbers: &Numbers<'_, T>,
        bias: Option<&[T]>,
        output: &mut [T],
    ) {
        let units = self.samples * self.output.units();
        let output = &mut output[..numbers.samples * self.output.units()];
        let [transformed, _, parts] = self.scratch(numbers.samples);
        workspace.lend([transformed, parts], |[u, parts]| {
            self.transform_weights(numbers.weight, u);
            let u = &*u;
            // As many parts at a time as there is memory for.
            let together = units * PARTS_AT_ONCE;
            for (first, output) in output.chunks_mut(together).enumerate() {
                let first = first * PARTS_AT_ONCE * self.samples;
                for_each_pair((parts, self.part_len()), (output, units), |part, memory, output| {
                    let samples = output.len() / self.output.units();
                    let start = first + part * self.samples;
                    let input = &numbers.input[start * self.input.units()..];
                    let (v, m) = self.split(memory, samples);
                    self.transform_inputs(&input[..samples * self.input.units()], v);
                    self.multiply(v, u, m);
                    self.make_outputs(m, bias, output);
                });
            }
        });
    }

    /// Gradients of the weights and, where wanted, of the input, from the output's.
    pub fn backward<T: Real>(
        &self,
        workspace: &Workspace<T>,
        numbers: &Numbers<'_, T>,
        gradient: &[T],
        weight_gradient: &mut [T],
        mut input_gradient: Option<&mut [T]>,
    ) {
        let [transformed, _, parts] = self.scratch(numbers.samples);
        let together = PARTS_AT_ONCE * self.samples;
        workspace.lend([transformed, transformed, parts], |[u, du, parts]| {
            if input_gradient.is_some() {
                self.transform_weights(numbers.weight, u);
            }
            for first in (0..numbers.samples).step_by(together) {
                let samples = first..(first + together).min(numbers.samples);
                let of = |units: usize| samples.start * units..samples.end * units;
                let inputs = &numbers.input[of(self.input.units())];
                let gradients = &gradient[of(self.output.units())];
                self.transform_parts(inputs, gradients, parts);
                self.sum_weights(parts, samples.len(), first > 0, du);
                if let Some(input_gradient) = &mut input_gradient {
                    let input_gradient = &mut input_gradient[of(self.input.units())];
                    self.make_input_gradients(parts, u, input_gradient);
                }
            }
            self.make_weight_gradient(du, weight_gradient);
        });
    }

    /// V and M of a part, each (POINTS, tiles, channels).
    fn split<'a, T>(&self, memory: &'a mut [T], samples: usize) -> (&'a mut [T], &'a mut [T]) {
        let tiles = POINTS * samples * self.image_tiles();
        let (v, rest) = memory.split_at_mut(tiles * self.input.channels);
        (v, &mut rest[..tiles * self.output.channels])
    }

    /// Makes V and dM of every part.
    fn transform_parts<T: Real>(&self, inputs: &[T], gradients: &[T], parts: &mut [T]) {
        let units = (self.input.units(), self.output.units());
        let count = (inputs.len() / units.0).div_ceil(self.samples);
        let parts = &mut parts[..count * self.part_len()];
        for_each_block(parts, self.part_len(), |start, memory| {
            let part = start / self.part_len();
            let input = part_of(inputs, self.samples * units.0, part);
            let gradient = part_of(gradients, self.samples * units.1, part);
            let (v, m) = self.split(memory, input.len() / units.0);
            self.transform_inputs(input, v);
            self.transform_gradients(gradient, m);
        });
    }

    /// `dU[p]` = sum over the parts of `dM[p]^T` `V[p]`, added to what is there if `add`.
    fn sum_weights<T: Real>(&self, parts: &[T], samples: usize, add: bool, du: &mut [T]) {
        let (inputs, outputs) = (self.input.channels, self.output.channels);
        for_each_block(du, outputs * inputs, |start, du| {
            let point = start / (outputs * inputs);
            for (part, memory) in parts.chunks(self.part_len()).enumerate() {
                let Some(left) = samples.checked_sub(part * self.samples).filter(|&n| n > 0) else {
                    break;
                };
                let tiles = left.min(self.samples) * self.image_tiles();
                let (v, m) = memory.split_at(POINTS * tiles * inputs);
                let v = Matrix::new(&v[point * tiles * inputs..], tiles, inputs);
                let m = Matrix::new(&m[point * tiles * outputs..], tiles, outputs);
                let output = if add || part > 0 { Output::Add } else { Output::Replace };
                product(du, m.transposed(), v, output);
            }
        });
    }

    /// The input's gradient of every part, from `dV[p]` = `dM[p]` `U[p]`.
    fn make_input_gradients<T: Real>(&self, parts: &mut [T], u: &[T], gradient: &mut [T]) {
        let (inputs, outputs) = (self.input.channels, self.output.channels);
        let units = self.samples * self.input.units();
        for_each_pair((parts, self.part_len()), (gradient, units), |_, memory, gradient| {
            let samples = gradient.len() / self.input.units();
            let tiles = samples * self.image_tiles();
            let (v, m) = self.split(memory, samples);
            for (point, v) in v.chunks_exact_mut(tiles * inputs).enumerate() {
                let m = Matrix::new(&m[point * tiles * outputs..], tiles, outputs);
                let u = Matrix::new(&u[point * outputs * inputs..], outputs, inputs);
                product(v, m, u, Output::Replace);
            }
            self.add_input_gradients(v, gradient);
        });
    }

    /// `M[p]` = `V[p]` `U[p]^T`.
    fn multiply<T: Real>(&self, v: &[T], u: &[T], m: &mut [T]) {
        let (inputs, outputs) = (self.input.channels, self.output.channels);
        let tiles = v.len() / (POINTS * inputs);
        for (point, m) in m.chunks_exact_mut(tiles * outputs).enumerate() {
            let v = Matrix::new(&v[point * tiles * inputs..], tiles, inputs);
            let u = Matrix::new(&u[point * outputs * inputs..], outputs, inputs);
            product(m, v, u.transposed(), Output::Replace);
        }
    }

    /// U, (POINTS, O, C), from W, (O, TAPS, TAPS, C).
    fn transform_weights<T: Real>(&self, weight: &[T], u: &mut [T]) {
        let inputs = self.input.channels;
        let plane = u.len() / POINTS;
        vectorized(
            #[inline(always)]
            || {
                for (output, weight) in weight.chunks_exact(TAPS * TAPS * inputs).enumerate() {
                    for channel in (0..inputs).step_by(WIDTH) {
                        let mut square = [[Block::ZERO; TAPS]; TAPS];
                        for (tap, block) in square.as_flattened_mut().iter_mut().enumerate() {
                            *block = Block::load(&weight[tap * inputs..][channel..inputs]);
                        }
                        let points = both(&square, Maps::weight);
                        store_points(&points, u, (plane, output * inputs + channel));
                    }
                }
            },
        );
    }

    /// dW, (O, TAPS, TAPS, C), from dU, (POINTS, O, C).
    fn make_weight_gradient<T: Real>(&self, du: &[T], gradient: &mut [T]) {
        let inputs = self.input.channels;
        let plane = du.len() / POINTS;
        vectorized(
            #[inline(always)]
            || {
                for (output, gradient) in
                    gradient.chunks_exact_mut(TAPS * TAPS * inputs).enumerate()
                {
                    for channel in (0..inputs).step_by(WIDTH) {
                        let square = load_points(du, (plane, output * inputs + channel));
                        let taps = both(&square, Maps::weight_gradient);
                        for (tap, block) in taps.as_flattened().iter().enumerate() {
                            block.store(&mut gradient[tap * inputs..][channel..inputs]);
                        }
                    }
                }
            },
        );
    }

    /// V, (POINTS, tiles, C), from x, (samples, H, W, C).
    fn transform_inputs<T: Real>(&self, input: &[T], v: &mut [T]) {
        let channels = self.input.channels;
        let plane = v.len() / POINTS;
        vectorized(
            #[inline(always)]
            || {
                for (tile, place) in self.walk(plane / channels).enumerate() {
                    let pixels = self.input_pixels(place);
                    for channel in (0..channels).step_by(WIDTH) {
                        let square = load_pixels(input, &pixels, (channels, channel));
                        let points = both(&square, transform::input);
                        store_points(&points, v, (plane, tile * channels + channel));
                    }
                }
            },
        );
    }

    /// The input's gradient, (samples, H, W, C), from dV, (POINTS, tiles, C); tiles overlap.
    fn add_input_gradients<T: Real>(&self, v: &[T], gradient: &mut [T]) {
        let channels = self.input.channels;
        let plane = v.len() / POINTS;
        gradient.fill(T::ZERO);
        vectorized(
            #[inline(always)]
            || {
                for (tile, place) in self.walk(plane / channels).enumerate() {
                    let pixels = self.input_pixels(place);
                    for channel in (0..channels).step_by(WIDTH) {
                        let square = load_points(v, (plane, tile * channels + channel));
                        let square = both(&square, transform::input_gradient);
                        for (&block, pixel) in square.as_flattened().iter().zip(pixels) {
                            if let Some(pixel) = pixel {
                                let row = &mut gradient[pixel * channels..][..channels];
                                let sum = Block::load(&row[channel..]) + block;
                                sum.store(&mut row[channel..]);
                            }
                        }
                    }
                }
            },
        );
    }

    /// y, (samples, H', W', O), from M, (POINTS, tiles, O).
    fn make_outputs<T: Real>(&self, m: &[T], bias: Option<&[T]>, output: &mut [T]) {
        let channels = self.output.channels;
        let plane = m.len() / POINTS;
        vectorized(
            #[inline(always)]
            || {
                for (tile, place) in self.walk(plane / channels).enumerate() {
                    let pixels = self.output_pixels(place);
                    for channel in (0..channels).step_by(WIDTH) {
                        let square = load_points(m, (plane, tile * channels + channel));
                        let bias = bias.map_or(Block::ZERO, |bias| Block::load(&bias[channel..]));
                        let square = both(&square, Maps::output);
                        let pixels = pixels.as_flattened();
                        for (&block, pixel) in square.as_flattened().iter().zip(pixels) {
                            if let Some(pixel) = pixel {
                                let row = &mut output[pixel * channels..][..channels];
                                (block + bias).store(&mut row[channel..]);
                            }
                        }
                    }
                }
            },
        );
    }

    /// dM, (POINTS, tiles, O), from the output's gradient, (samples, H', W', O).
    fn transform_gradients<T: Real>(&self, gradient: &[T], m: &mut [T]) {
        let channels = self.output.channels;
        let plane = m.len() / POINTS;
        vectorized(
            #[inline(always)]
            || {
                for (tile, place) in self.walk(plane / channels).enumerate() {
                    let pixels = self.output_pixels(place);
                    for channel in (0..channels).step_by(WIDTH) {
                        let square =
                            load_pixels(gradient, pixels.as_flattened(), (channels, channel));
                        let points = both(&square, Maps::output_gradient);
                        store_points(&points, m, (plane, tile * channels + channel));
                    }
                }
            },
        );
    }

    /// Image, row and column of the first `tiles` tiles.
    #[inline(always)]
    fn walk(&self, tiles: usize) -> impl Iterator<Item = [usize; 3]> + use<OUTPUTS, TAPS> {
        let [rows, columns] = self.tiles;
        (0..tiles).map(move |tile| {
            let (image, tile) = (tile / (rows * columns), tile % (rows * columns));
            [image, tile / columns, tile % columns]
        })
    }

    /// Pixels of the input under a tile, counted over (samples, H, W); none where there is padding.
    #[inline(always)]
    fn input_pixels(&self, [image, row, column]: [usize; 3]) -> [Option<usize>; POINTS] {
        let Shape { height, width, .. } = self.input;
        let inside = |axis: usize, tile: usize, place: usize, extent: usize| {
            (tile * OUTPUTS + place).checked_sub(self.padding[axis]).filter(|&i| i < extent)
        };
        std::array::from_fn(|point| {
            let y = inside(0, row, point / INPUTS, height)?;
            let x = inside(1, column, point % INPUTS, width)?;
            Some((image * height + y) * width + x)
        })
    }

    /// Pixels of the output in a tile, counted over (samples, H', W'); none beyond the image.
    #[inline(always)]
    fn output_pixels(
        &self,
        [image, row, column]: [usize; 3],
    ) -> [[Option<usize>; OUTPUTS]; OUTPUTS] {
        let Shape { height, width, .. } = self.output;
        std::array::from_fn(|y| {
            let y = row * OUTPUTS + y;
            std::array::from_fn(|x| {
                let x = column * OUTPUTS + x;
                (y < height && x < width).then_some((image * height + y) * width + x)
            })
        })
    }
}

/// The transformed numbers of some channels, `plane` numbers from point to point, from `place` on.
#[inline(always)]
fn load_points<T: Real>(
    numbers: &[T],
    (plane, place): (usize, usize),
) -> [[Block<T>; INPUTS]; INPUTS] {
    let mut square = [[Block::ZERO; INPUTS]; INPUTS];
    for (point, block) in square.as_flattened_mut().iter_mut().enumerate() {
        *block = Block::load(&numbers[point * plane + place..]);
    }
    square
}

/// Puts them there.
#[inline(always)]
fn store_points<T: Real>(
    square: &[[Block<T>; INPUTS]; INPUTS],
    numbers: &mut [T],
    (plane, place): (usize, usize),
) {
    for (point, block) in square.as_flattened().iter().enumerate() {
        block.store(&mut numbers[point * plane + place..]);
    }
}

/// Some channels, from `channel` on, of the pixels of a tile; zeros where there is none.
#[inline(always)]
fn load_pixels<T: Real, const SIDE: usize>(
    numbers: &[T],
    pixels: &[Option<usize>],
    (channels, channel): (usize, usize),
) -> [[Block<T>; SIDE]; SIDE] {
    let mut square = [[Block::ZERO; SIDE]; SIDE];
    for (block, pixel) in square.as_flattened_mut().iter_mut().zip(pixels) {
        if let Some(pixel) = pixel {
            *block = Block::load(&numbers[pixel * channels + channel..]);
        }
    }
    square
}

/// The `part`-th run of `len` numbers; the last one may be shorter.
fn part_of<T>(numbers: &[T], len: usize, part: usize) -> &[T] {
    &numbers[part * len..numbers.len().min((part + 1) * len)]
}

#[cfg(test)]
mod tests;
