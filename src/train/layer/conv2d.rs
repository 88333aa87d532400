//! Convolution in two dimensions, by gathering patches into a matrix and multiplying.
//!
//! Tiles bound the matrix's memory. A product packs the weights anew for every tile, so tiles are
//! as large as a share of the outer caches allows, and not smaller than the rows a product needs to
//! be fast.

use std::ops::Range;

use super::linear::{Bias, sum_rows};
use super::parameter::{Parameter, Start, StorageOrder};
use super::patches::{Region, Window};
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
/// W (L, O, kH, kW, C / groups) in memory and (O, C / groups, kH, kW) saved, b (L, O),
/// y (L, N, H', W', O).
pub struct Conv2d<T> {
    input: Shape,
    output: Shape,
    /// Groups of channels that know nothing of each other.
    groups: usize,
    /// Numbers that one output sums over, in the middle of the image.
    depth: usize,
    regions: Vec<Region>,
    /// Weight, then bias if there is one.
    parameters: Vec<Parameter<T>>,
    scratch: Scratch<T>,
}

/// What a convolution is, but for what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Output channels.
    pub channels: usize,
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Groups into which input and output channels are divided; 1 connects every channel with every
    /// other, as many as there are channels is a depthwise convolution.
    pub groups: usize,
    /// Is a bias added?
    pub bias: Bias,
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
    /// When the window does not fit the image, the groups do not divide the channels, or the tensor
    /// library cannot allocate.
    pub fn new(
        lanes: usize,
        (number, layer): (usize, u32),
        input: Shape,
        convolution: Convolution,
    ) -> Result<Self, TrainError> {
        let Convolution { channels, window, groups, bias } = convolution;
        let [height, width] = output_size(number, input, &convolution)?;
        let area = window.size[0] * window.size[1];
        let depth = input.channels / groups * area;
        let (fan_in, fan_out) = (depth, channels / groups * area);
        let mut parameters = vec![Parameter::new(
            format!("conv{number}.weight"),
            lanes,
            vec![channels, input.channels / groups, window.size[0], window.size[1]],
            StorageOrder::ChannelsLast,
            Start::Weight { layer, fan_in, fan_out },
        )?];
        if bias == Bias::With {
            let (name, start) = (format!("conv{number}.bias"), Start::Bias { layer, fan_in });
            let order = StorageOrder::Saved;
            parameters.push(Parameter::new(name, lanes, vec![channels], order, start)?);
        }
        let regions = Region::all(window, input, groups, [height, width]);
        let largest = |size: &dyn Fn(&Region) -> usize| regions.iter().map(size).max().unwrap_or(0);
        let outputs = channels / groups;
        let patches = largest(&|region| tile_rows(region, outputs) * region.depth());
        let rows = largest(&|region| tile_rows(region, outputs) * outputs);
        Ok(Self {
            input,
            output: Shape { height, width, channels },
            groups,
            depth,
            regions,
            parameters,
            scratch: Scratch {
                patches: vec![T::ZERO; patches],
                rows: vec![T::ZERO; rows],
                narrow: vec![T::ZERO; outputs * depth],
                narrow_gradient: vec![T::ZERO; outputs * depth],
            },
        })
    }
}

/// Height and width of the output.
fn output_size(
    number: usize,
    input: Shape,
    convolution: &Convolution,
) -> Result<[usize; 2], TrainError> {
    let &Convolution { channels, window, groups, .. } = convolution;
    let layer = || format!("conv{number}");
    let divides = |channels: usize| channels.is_multiple_of(groups);
    if groups == 0 || !divides(input.channels) || !divides(channels) {
        let channels = [input.channels, channels];
        return Err(TrainError::Groups { layer: layer(), groups, channels });
    }
    let [height, width] = [window.span(0), window.span(1)];
    let fits = window.padding[0] < height && window.padding[1] < width;
    let output = window.output(input).filter(|_| fits && input.units() > 0);
    output.ok_or_else(|| TrainError::Shape {
        layer: layer(),
        expected: format!("{height} x {width} pixels"),
        found: input.to_string(),
    })
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

/// One lane's numbers of a convolution.
struct Lane<'a, T> {
    regions: &'a [Region],
    groups: usize,
    samples: usize,
    /// Output channels.
    channels: usize,
    /// (O, kH, kW, C / groups).
    weight: &'a [T],
    /// (N, H, W, C).
    input: &'a [T],
}

impl<'a, T: Real> Lane<'a, T> {
    /// Output channels of one group.
    fn outputs(&self) -> usize {
        self.channels / self.groups
    }

    /// One group's weights in a region, (O / groups, depth); copied unless the region uses all.
    fn narrow(&self, memory: &'a mut [T], region: &Region, group: usize) -> Matrix<'a, T> {
        let (outputs, depth) = (self.outputs(), region.depth());
        let all = self.weight.len() / self.groups;
        let weight = &self.weight[group * all..][..all];
        if region.is_whole() {
            return Matrix::new(weight, outputs, depth);
        }
        let narrow = &mut memory[..outputs * depth];
        region.narrow(weight, narrow);
        Matrix::new(narrow, outputs, depth)
    }
}

impl<T: Real> Scratch<T> {
    /// Output (N, H', W', O) of one lane.
    fn forward(&mut self, lane: &Lane<'_, T>, bias: Option<&[T]>, output: &mut [T]) {
        let outputs = lane.outputs();
        for region in lane.regions {
            let depth = region.depth();
            for group in 0..lane.groups {
                let first = group * outputs;
                let bias = bias.map(|bias| &bias[first..][..outputs]);
                let narrow = lane.narrow(&mut self.narrow, region, group);
                for tile in tiles(region, lane.samples, outputs) {
                    let patches = &mut self.patches[..tile.len() * depth];
                    region.gather(tile.clone(), group, lane.input, patches);
                    let rows = &mut self.rows[..tile.len() * outputs];
                    let patches = Matrix::new(patches, tile.len(), depth);
                    product(rows, patches, narrow.transposed(), Output::Replace);
                    let places = places(region, tile, lane.channels, first);
                    place_rows(places, rows, (outputs, bias), output);
                }
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
        let outputs = lane.outputs();
        weight_gradient.fill(T::ZERO);
        if let Some(input_gradient) = &mut input_gradient {
            input_gradient.fill(T::ZERO);
        }
        let all = weight_gradient.len() / lane.groups;
        for region in lane.regions {
            let depth = region.depth();
            for group in 0..lane.groups {
                let narrow = lane.narrow(&mut self.narrow, region, group);
                let narrow_gradient = &mut self.narrow_gradient[..outputs * depth];
                let mut output = Output::Replace;
                for tile in tiles(region, lane.samples, outputs) {
                    let patches = &mut self.patches[..tile.len() * depth];
                    region.gather(tile.clone(), group, lane.input, patches);
                    let rows = &mut self.rows[..tile.len() * outputs];
                    let places = places(region, tile.clone(), lane.channels, group * outputs);
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

impl<T: Real> Layer<T> for Conv2d<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        let (samples, channels, depth) = (pass.samples, self.output.channels, self.depth);
        let input = input.read()?;
        let weight = self.parameters[0].value.read()?;
        let bias = self.parameters.get(1).map(|bias| bias.value.read()).transpose()?;
        let capacity = output.lane_len();
        let scratch = &mut self.scratch;
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let numbers = Lane {
                    regions: &self.regions,
                    groups: self.groups,
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
        let (samples, channels, depth) = (pass.samples, self.output.channels, self.depth);
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
        let (regions, groups, scratch) = (&self.regions, self.groups, &mut self.scratch);
        let mut run = |lane: usize, weight_gradient: &mut [T], input_gradient: Option<&mut [T]>| {
            let weight = weight.lane(lane, channels * depth);
            let input = input.lane(lane, inputs);
            let numbers = Lane { regions, groups, samples, channels, weight, input };
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

    fn convolution(channels: usize, window: Window, groups: usize, bias: Bias) -> Convolution {
        Convolution { channels, window, groups, bias }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        for (size, stride, padding) in [(3, 1, 1), (3, 2, 1), (2, 1, 0), (4, 3, 2), (1, 1, 0)] {
            for bias in [Bias::With, Bias::Without] {
                let window = Window::square(size, stride, padding);
                let what = convolution(2, window, 1, bias);
                let mut layer = Conv2d::<f64>::new(2, (1, 0), IMAGE, what).unwrap();
                check_layer(&mut layer, IMAGE, 3);
            }
        }
    }

    #[test]
    fn gradients_with_groups_and_dilation_equal_finite_differences() {
        let image = Shape { height: 6, width: 5, channels: 4 };
        for (size, stride, padding, dilation, groups) in [
            ([3, 2], [1, 2], [2, 1], [2, 2], 1),
            ([3, 3], [2, 1], [1, 1], [1, 1], 2),
            ([2, 3], [1, 1], [3, 0], [4, 1], 4),
        ] {
            let window = Window { size, stride, padding, dilation };
            let what = convolution(8, window, groups, Bias::With);
            let mut layer = Conv2d::<f64>::new(2, (1, 0), image, what).unwrap();
            check_layer(&mut layer, image, 2);
        }
    }

    #[test]
    fn values_equal_candles_convolution() {
        for (size, stride, padding, dilation, groups, height) in [
            (3, 1, 1, 1, 1, 9),
            (3, 2, 1, 1, 1, 28),
            (5, 3, 2, 1, 1, 11),
            (3, 1, 2, 2, 1, 9),
            (3, 1, 1, 1, 2, 8),
            (3, 2, 3, 3, 4, 13),
            (1, 1, 0, 1, 2, 5),
        ] {
            let image = Shape { height, width: height, channels: 4 };
            let mut window = Window::square(size, stride, padding);
            window.dilation = [dilation; 2];
            let what = convolution(8, window, groups, Bias::With);
            let mut layer = Conv2d::<f32>::new(1, (1, 0), image, what).unwrap();
            fill(&mut layer);
            let x = tensor(&[6, 4, height, height]);
            let weight = &layer.parameters[0];
            let saved = weight.to_saved(&weight.value.read().unwrap());
            let device = &candle_core::Device::Cpu;
            let shape = (8, 4 / groups, size, size);
            let w = candle_core::Tensor::from_vec(saved, shape, device).unwrap();
            let bias = layer.parameters[1].value.tensor().reshape((1, 8, 1, 1)).unwrap();
            let expected = x.conv2d(&w, padding, stride, dilation, groups).unwrap();
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
        let what = convolution(2, window, 1, Bias::With);
        let mut layer = Conv2d::<f64>::new(1, (1, 0), image, what).unwrap();
        fill(&mut layer);
        assert!(tiles(&layer.regions[4], 4, 2).count() > 1);
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
        let what = convolution(2, window, 1, Bias::With);
        let error = Conv2d::<f32>::new(1, (1, 0), image, what).err().unwrap();
        let expected = "conv1 needs an input of at least 3 x 3 pixels, found 1 x 2 x 2";
        assert_eq!(error.to_string(), expected);
    }
    #[test]
    fn groups_that_do_not_divide_the_channels_are_refused() {
        let what = convolution(4, Window::square(3, 1, 1), 2, Bias::With);
        let error = Conv2d::<f32>::new(1, (1, 0), IMAGE, what).err().unwrap();
        let expected = "conv1 cannot divide 3 input and 4 output channels into 2 groups; \
                        give a number of groups that divides both";
        assert_eq!(error.to_string(), expected);
    }
}
