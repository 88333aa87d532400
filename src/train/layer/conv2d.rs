//! Convolution in two dimensions, by gathering patches into a matrix and multiplying.
//!
//! Tiles bound the matrix's memory. A product packs the weights anew for every tile, so tiles are
//! as large as a share of the outer caches allows, and not smaller than the rows a product needs to
//! be fast.

use std::ops::Range;

use super::linear::{Bias, sum_rows};
use super::parameter::{Parameter, Start, StorageOrder};
use super::patches::{Group, Window};
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::train::error::TrainError;
use crate::train::kernel::gemm::{Matrix, Output, product};
use crate::train::kernel::simd::vectorized;
use crate::train::kernel::{Buffer, Real};

/// Numbers in the patches of one tile: 1 MiB of f32.
const TILE_NUMBERS: usize = 1 << 18;

/// Rows that a tile has at least, for the sake of the matrix product.
const TILE_ROWS: usize = 128;

/// y = W * x + b, the cross-correlation that networks call convolution: x (L, N, H, W, C),
/// W (L, O, kH, kW, C) in memory and (O, C, kH, kW) saved, b (L, O), y (L, N, H', W', O).
pub struct Conv2d<T> {
    input: Shape,
    output: Shape,
    window: Window,
    groups: Vec<Group>,
    /// Weight, then bias if there is one.
    parameters: Vec<Parameter<T>>,
    scratch: Scratch<T>,
}

/// Memory of one tile; its contents mean nothing between two tiles.
struct Scratch<T> {
    /// Input patches, or their gradients: (tile, depth).
    patches: Vec<T>,
    /// Output rows, or their gradients: (tile, O).
    rows: Vec<T>,
    /// Weights of a group: (O, depth).
    narrow: Vec<T>,
    /// Their gradients.
    narrow_gradient: Vec<T>,
}

impl<T: Real> Conv2d<T> {
    /// The layer `conv{number}`. `layer` is its number among all layers with weights, from 0.
    ///
    /// # Errors
    /// When the window does not fit the image, or the tensor library cannot allocate.
    pub fn new(
        lanes: usize,
        (number, layer): (usize, u32),
        (input, channels): (Shape, usize),
        window: Window,
        bias: Bias,
    ) -> Result<Self, TrainError> {
        let [kernel_height, kernel_width] = window.size;
        let fits = (0..2).all(|axis| window.padding[axis] < window.size[axis]);
        let output = window.output(input).filter(|_| fits && input.units() > 0);
        let [height, width] = output.ok_or_else(|| TrainError::Shape {
            layer: format!("conv{number}"),
            expected: format!("{kernel_height} x {kernel_width} pixels"),
            found: input.to_string(),
        })?;
        let area = kernel_height * kernel_width;
        let (fan_in, fan_out) = (input.channels * area, channels * area);
        let mut parameters = vec![Parameter::new(
            format!("conv{number}.weight"),
            lanes,
            vec![channels, input.channels, kernel_height, kernel_width],
            StorageOrder::ChannelsLast,
            Start::Weight { layer, fan_in, fan_out },
        )?];
        if bias == Bias::With {
            let (name, start) = (format!("conv{number}.bias"), Start::Bias { layer, fan_in });
            let order = StorageOrder::Saved;
            parameters.push(Parameter::new(name, lanes, vec![channels], order, start)?);
        }
        let groups = Group::all(window, input, [height, width]);
        let largest = |size: &dyn Fn(&Group) -> usize| groups.iter().map(size).max().unwrap_or(0);
        let patches = largest(&|group| tile_rows(group, channels) * group.depth());
        let rows = largest(&|group| tile_rows(group, channels) * channels);
        Ok(Self {
            input,
            output: Shape { height, width, channels },
            window,
            groups,
            parameters,
            scratch: Scratch {
                patches: vec![T::ZERO; patches],
                rows: vec![T::ZERO; rows],
                narrow: vec![T::ZERO; channels * fan_in],
                narrow_gradient: vec![T::ZERO; channels * fan_in],
            },
        })
    }

    /// Numbers that one output sums over.
    fn depth(&self) -> usize {
        self.window.size[0] * self.window.size[1] * self.input.channels
    }
}

/// Rows of a group's tile.
fn tile_rows(group: &Group, channels: usize) -> usize {
    (TILE_NUMBERS / group.depth().max(channels)).max(TILE_ROWS)
}

/// Cuts the rows of a group into tiles.
fn tiles(
    group: &Group,
    samples: usize,
    channels: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = samples * group.positions();
    let tile = tile_rows(group, channels);
    (0..rows).step_by(tile).map(move |start| start..(start + tile).min(rows))
}

/// One lane's numbers of a convolution.
struct Lane<'a, T> {
    groups: &'a [Group],
    samples: usize,
    /// Output channels.
    channels: usize,
    /// (O, kH, kW, C).
    weight: &'a [T],
    /// (N, H, W, C).
    input: &'a [T],
}

impl<T: Real> Scratch<T> {
    /// Output (N, H', W', O) of one lane.
    fn forward(&mut self, lane: &Lane<'_, T>, bias: Option<&[T]>, output: &mut [T]) {
        let channels = lane.channels;
        for group in lane.groups {
            let depth = group.depth();
            let narrow = Self::narrow(&mut self.narrow, group, lane);
            for tile in tiles(group, lane.samples, channels) {
                let patches = &mut self.patches[..tile.len() * depth];
                group.gather(tile.clone(), lane.input, patches);
                let rows = &mut self.rows[..tile.len() * channels];
                let patches = Matrix::new(patches, tile.len(), depth);
                product(rows, patches, narrow.transposed(), Output::Replace);
                place_rows(group, tile, rows, bias, output);
            }
        }
    }

    /// Gradients of one lane's weights and, where wanted, of its input, from the output's.
    fn backward(
        &mut self,
        lane: &Lane<'_, T>,
        gradient: &[T],
        weight_gradient: &mut [T],
        mut input_gradient: Option<&mut [T]>,
    ) {
        let channels = lane.channels;
        weight_gradient.fill(T::ZERO);
        if let Some(input_gradient) = &mut input_gradient {
            input_gradient.fill(T::ZERO);
        }
        for group in lane.groups {
            let depth = group.depth();
            let narrow = Self::narrow(&mut self.narrow, group, lane);
            let narrow_gradient = &mut self.narrow_gradient[..channels * depth];
            let mut output = Output::Replace;
            for tile in tiles(group, lane.samples, channels) {
                let patches = &mut self.patches[..tile.len() * depth];
                group.gather(tile.clone(), lane.input, patches);
                let rows = &mut self.rows[..tile.len() * channels];
                take_rows(group, tile.clone(), gradient, rows);
                let rows = Matrix::new(rows, tile.len(), channels);
                let inputs = Matrix::new(patches, tile.len(), depth);
                product(narrow_gradient, rows.transposed(), inputs, output);
                output = Output::Add;
                if let Some(input_gradient) = &mut input_gradient {
                    product(patches, rows, narrow, Output::Replace);
                    vectorized(
                        #[inline(always)]
                        || group.scatter_add(tile, patches, input_gradient),
                    );
                }
            }
            group.widen_add(narrow_gradient, weight_gradient);
        }
    }

    /// The weights of a group, (O, depth); copied unless the group uses all of them.
    fn narrow<'a>(memory: &'a mut [T], group: &Group, lane: &Lane<'a, T>) -> Matrix<'a, T> {
        let (channels, depth) = (lane.channels, group.depth());
        if group.is_whole() {
            return Matrix::new(lane.weight, channels, depth);
        }
        let narrow = &mut memory[..channels * depth];
        group.narrow(lane.weight, narrow);
        Matrix::new(narrow, channels, depth)
    }
}

/// Copies a tile's rows to their pixels of the output, adding the bias.
fn place_rows<T: Real>(
    group: &Group,
    tile: Range<usize>,
    rows: &[T],
    bias: Option<&[T]>,
    output: &mut [T],
) {
    let channels = rows.len() / tile.len();
    vectorized(
        #[inline(always)]
        || {
            for (pixel, row) in group.output_pixels(tile).zip(rows.chunks_exact(channels)) {
                let out = &mut output[pixel * channels..][..channels];
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

/// Copies the pixels of a tile into rows.
fn take_rows<T: Real>(group: &Group, tile: Range<usize>, pixels: &[T], rows: &mut [T]) {
    let channels = rows.len() / tile.len();
    for (pixel, row) in group.output_pixels(tile).zip(rows.chunks_exact_mut(channels)) {
        row.copy_from_slice(&pixels[pixel * channels..][..channels]);
    }
}

impl<T: Real> Layer<T> for Conv2d<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let (samples, channels, depth) = (pass.samples, self.output.channels, self.depth());
        let input = input.read()?;
        let weight = self.parameters[0].value.read()?;
        let bias = self.parameters.get(1).map(|bias| bias.value.read()).transpose()?;
        let capacity = output.lane_len();
        let scratch = &mut self.scratch;
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let numbers = Lane {
                    groups: &self.groups,
                    samples,
                    channels,
                    weight: weight.lane(lane, channels * depth),
                    input: input.lane(lane, samples * self.input.units()),
                };
                let bias = bias.as_ref().map(|bias| bias.lane(lane, channels));
                scratch.forward(&numbers, bias, output);
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        let (samples, channels, depth) = (pass.samples, self.output.channels, self.depth());
        let gradient = flow.gradient.read()?;
        let gradients = samples * self.output.units();
        if let Some(bias) = self.parameters.get_mut(1) {
            bias.gradient.write(|sums| {
                for (lane, sums) in sums.chunks_exact_mut(channels).enumerate() {
                    sum_rows(gradient.lane(lane, gradients), sums);
                }
            })?;
            ready(bias)?;
        }
        let input = flow.input.read()?;
        let inputs = samples * self.input.units();
        let Parameter { value, gradient: weight_gradient, .. } = &mut self.parameters[0];
        let weight = value.read()?;
        let (groups, scratch) = (&self.groups, &mut self.scratch);
        let mut run = |lane: usize, weight_gradient: &mut [T], input_gradient: Option<&mut [T]>| {
            let weight = weight.lane(lane, channels * depth);
            let input = input.lane(lane, inputs);
            let numbers = Lane { groups, samples, channels, weight, input };
            scratch.backward(
                &numbers,
                gradient.lane(lane, gradients),
                weight_gradient,
                input_gradient,
            );
        };
        weight_gradient.write(|weight_gradient| {
            let lanes = weight_gradient.chunks_exact_mut(channels * depth).enumerate();
            let Some(input_gradient) = flow.input_gradient else {
                lanes.for_each(|(lane, weight_gradient)| run(lane, weight_gradient, None));
                return Ok(());
            };
            let capacity = input_gradient.lane_len();
            input_gradient.write(|input_gradient| {
                let input_gradients = input_gradient.chunks_exact_mut(capacity);
                for ((lane, weight_gradient), input_gradient) in lanes.zip(input_gradients) {
                    run(lane, weight_gradient, Some(&mut input_gradient[..inputs]));
                }
            })
        })??;
        drop(weight);
        ready(&mut self.parameters[0])
    }

    fn output_shape(&self) -> Shape {
        self.output
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::gradient_check::{check_layer, compare_forward, fill, tensor};

    const IMAGE: Shape = Shape { height: 5, width: 4, channels: 3 };

    #[test]
    fn gradients_equal_finite_differences() {
        for (size, stride, padding) in [(3, 1, 1), (3, 2, 1), (2, 1, 0), (4, 3, 2), (1, 1, 0)] {
            for bias in [Bias::With, Bias::Without] {
                let window = Window::square(size, stride, padding);
                let mut layer = Conv2d::<f64>::new(2, (1, 0), (IMAGE, 2), window, bias).unwrap();
                check_layer(&mut layer, IMAGE, 3);
            }
        }
    }

    #[test]
    fn values_equal_candles_convolution() {
        for (size, stride, padding, height) in [(3, 1, 1, 9), (3, 2, 1, 28), (5, 3, 2, 11)] {
            let image = Shape { height, width: height, channels: 3 };
            let window = Window::square(size, stride, padding);
            let mut layer = Conv2d::<f32>::new(1, (1, 0), (image, 8), window, Bias::With).unwrap();
            fill(&mut layer);
            let x = tensor(&[6, 3, height, height]);
            let weight = &layer.parameters[0];
            let saved = weight.to_saved(&weight.value.read().unwrap());
            let device = &candle_core::Device::Cpu;
            let w = candle_core::Tensor::from_vec(saved, (8, 3, size, size), device).unwrap();
            let bias = layer.parameters[1].value.tensor().reshape((1, 8, 1, 1)).unwrap();
            let expected = x.conv2d(&w, padding, stride, 1, 1).unwrap();
            let expected = expected.broadcast_add(&bias).unwrap().permute((0, 2, 3, 1)).unwrap();
            let x = x.permute((0, 2, 3, 1)).unwrap();
            compare_forward(&mut layer, &x, &expected, 1e-4);
        }
    }

    #[test]
    fn tiles_change_nothing() {
        // Enough rows for several tiles: each sample must come out as it does alone.
        let image = Shape { height: 40, width: 40, channels: 8 };
        let window = Window::square(3, 1, 1);
        let mut layer = Conv2d::<f64>::new(1, (1, 0), (image, 2), window, Bias::With).unwrap();
        fill(&mut layer);
        assert!(tiles(&layer.groups[4], 4, 2).count() > 1);
        let mode = super::super::Mode::Evaluate;
        let mut forward = |numbers: &[f64], samples: usize| {
            let mut input = Buffer::<f64>::zeros(1, &[samples, image.units()]).unwrap();
            input.write(|x| x.copy_from_slice(numbers)).unwrap();
            let units = layer.output_shape().units();
            let mut output = Buffer::<f64>::zeros(1, &[samples, units]).unwrap();
            let pass = Pass { mode, samples, first_sample: 0 };
            layer.forward(&input, &mut output, &pass).unwrap();
            output.read().unwrap().to_vec()
        };
        let numbers: Vec<f64> = (0..4 * image.units()).map(|i| (i as f64 * 0.37).sin()).collect();
        let together = forward(&numbers, 4);
        for (sample, alone) in numbers.chunks(image.units()).enumerate() {
            let alone = forward(alone, 1);
            let same = &together[sample * alone.len()..][..alone.len()];
            assert!(alone.iter().zip(same).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn an_image_smaller_than_the_kernel_is_refused() {
        let image = Shape { height: 2, width: 2, channels: 1 };
        let window = Window::square(3, 1, 0);
        let error = Conv2d::<f32>::new(1, (1, 0), (image, 2), window, Bias::With).err().unwrap();
        let expected = "conv1 needs an input of at least 3 x 3 pixels, found 1 x 2 x 2";
        assert_eq!(error.to_string(), expected);
    }
}
