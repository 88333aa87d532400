//! Convolution in two dimensions, by the method that suits its geometry: Winograd's minimal filtering
//! for 3x3 and 5x5 kernels of stride 1 where it saves enough, the matrix product of patches for all
//! others.

#[path = "../accelerated/conv2d.rs"]
mod accelerated;
mod im2col;
#[path = "../accelerated/conv2d_library.rs"]
mod library;
#[path = "../accelerated/conv2d_patched.rs"]
mod patched;
mod winograd;

use super::linear::{Bias, BiasReading, bias_gradient};
use super::parameter::{Parameter, Start, StorageOrder};
use super::patches::Window;
use super::{Flow, GradientReady, Layer, Pass, Shape};
use crate::spec::precision::Precision;
use crate::train::error::TrainError;
use crate::train::kernel::{Buffer, Real, Workspace};
use im2col::Im2col;
use winograd::Winograd;

/// y = W * x + b, the cross-correlation that networks call convolution: x (L, N, H, W, C),
/// W (L, O, kH, kW, C / groups) in memory and (O, C / groups, kH, kW) saved, b (L, O),
/// y (L, N, H', W', O).
pub struct Conv2d<T> {
    input: Shape,
    output: Shape,
    /// Numbers of the weights that make one output channel.
    depth: usize,
    method: Method,
    /// Weight, then bias if any lane has one.
    parameters: Vec<Parameter<T>>,
    workspace: Workspace<T>,
    /// For kernels.
    kept: accelerated::Kept,
}

/// How the numbers are computed.
enum Method {
    /// 3x3, stride 1.
    Winograd3(Winograd<4, 3>),
    /// 5x5, stride 1.
    Winograd5(Winograd<2, 5>),
    /// Any.
    Im2col(Im2col),
}

/// One lane's numbers that a convolution works on.
#[derive(Debug, Clone, Copy)]
struct Numbers<'a, T> {
    /// Samples in use.
    samples: usize,
    /// (O, kH, kW, C / groups).
    weight: &'a [T],
    /// (N, H, W, C).
    input: &'a [T],
}

impl<'a, T> Numbers<'a, T> {
    /// The numbers of one part of the batch, in parts of `samples`.
    fn part(&self, part: usize, samples: usize) -> Self {
        let units = self.input.len() / self.samples;
        let first = part * samples;
        let samples = samples.min(self.samples - first);
        let input = &self.input[first * units..][..samples * units];
        Self { samples, input, ..*self }
    }
}

/// What a convolution is, but for what arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// Output channels.
    pub channels: usize,
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Groups into which input and output channels are divided; 1 connects every channel with every
    /// other, as many as there are channels is a depthwise convolution.
    pub groups: usize,
    /// In which lanes is a bias added?
    pub bias: Bias,
}

impl<T: Real> Conv2d<T> {
    /// The layer `conv{number}` for up to `capacity` samples. `layer` is its number among all layers
    /// with weights, from 0.
    ///
    /// # Errors
    /// When the window does not fit the image, the groups do not divide the channels, or the tensor
    /// library cannot allocate.
    pub fn new(
        lanes: usize,
        (number, layer): (usize, u32),
        input: Shape,
        convolution: Convolution,
        (workspace, capacity): (&Workspace<T>, usize),
    ) -> Result<Self, TrainError> {
        let &Convolution { channels, window, groups, .. } = &convolution;
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
        let output = Shape { height, width, channels };
        let method = Method::of(input, output, &convolution);
        let kept = accelerated::Kept::new(input, output, &convolution);
        let biased = convolution.bias.of_lanes(lanes);
        if !biased.is_empty() {
            let (name, start) = (format!("conv{number}.bias"), Start::Bias { layer, fan_in });
            let order = StorageOrder::Saved;
            parameters.push(Parameter::new(name, biased, vec![channels], order, start)?);
        }
        method.reserve(workspace, capacity);
        let workspace = workspace.clone();
        Ok(Self { input, output, depth, method, parameters, workspace, kept })
    }

    /// The same in a precision, on an accelerator; cores compute in f32.
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.kept.precision = precision;
        self
    }
}

impl Method {
    /// The better one.
    fn of(input: Shape, output: Shape, convolution: &Convolution) -> Self {
        let &Convolution { window, groups, .. } = convolution;
        let plain = |size| Window { padding: window.padding, ..Window::square(size, 1, 0) };
        let winograd = if groups > 1 {
            None
        } else if window == plain(3) {
            Winograd::new(input, output, window.padding).map(Self::Winograd3)
        } else if window == plain(5) {
            Winograd::new(input, output, window.padding).map(Self::Winograd5)
        } else {
            None
        };
        let im2col = || Self::Im2col(Im2col::new(input, output, window, groups));
        winograd.unwrap_or_else(im2col)
    }

    fn reserve<T: Real>(&self, workspace: &Workspace<T>, capacity: usize) {
        match self {
            Self::Winograd3(it) => workspace.reserve(&it.scratch(capacity)),
            Self::Winograd5(it) => workspace.reserve(&it.scratch(capacity)),
            Self::Im2col(it) => workspace.reserve(&[it.scratch(capacity)]),
        }
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

impl<T: Real> Layer<T> for Conv2d<T> {
    fn forward(
        &mut self,
        input: &Buffer<T>,
        output: &mut Buffer<T>,
        pass: &Pass,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = output.accelerator() {
            return self.forward_on(&accelerator, (input, output), pass);
        }
        let (samples, channels, depth) = (pass.samples, self.output.channels, self.depth);
        if samples == 0 {
            return Ok(());
        }
        let input = input.read()?;
        let weight = self.parameters[0].value.read()?;
        let bias = BiasReading::of(self.parameters.get(1))?;
        let capacity = output.lane_len();
        let (method, workspace) = (&self.method, &self.workspace);
        output.write(|output| {
            for (lane, output) in output.chunks_exact_mut(capacity).enumerate() {
                let weight = weight.lane(lane, channels * depth);
                let input = input.lane(lane, samples * self.input.units());
                let numbers = Numbers { samples, weight, input };
                let bias = bias.lane(lane);
                let output = &mut output[..samples * self.output.units()];
                match method {
                    Method::Winograd3(it) => it.forward(workspace, &numbers, bias, output),
                    Method::Winograd5(it) => it.forward(workspace, &numbers, bias, output),
                    Method::Im2col(it) => it.forward(workspace, &numbers, bias, output),
                }
            }
        })
    }

    fn backward(
        &mut self,
        flow: Flow<'_, T>,
        pass: &Pass,
        ready: &mut GradientReady<'_, T>,
    ) -> Result<(), TrainError> {
        if let Some(accelerator) = flow.gradient.accelerator() {
            return self.backward_on(&accelerator, flow, pass, ready);
        }
        let (samples, channels, depth) = (pass.samples, self.output.channels, self.depth);
        let gradient = flow.gradient.read()?;
        let gradients = samples * self.output.units();
        if let Some(bias) = self.parameters.get_mut(1) {
            bias_gradient(bias, &gradient, gradients)?;
            ready(bias)?;
        }
        if samples == 0 {
            self.parameters[0].gradient.write(|sums| sums.fill(T::ZERO))?;
            return ready(&mut self.parameters[0]);
        }
        let input = flow.input.read()?;
        let inputs = samples * self.input.units();
        let Parameter { value, gradient: weight_gradient, .. } = &mut self.parameters[0];
        let weight = value.read()?;
        let (method, memory) = (&self.method, &self.workspace);
        let run = |lane: usize, dw: &mut [T], dx: Option<&mut [T]>| {
            let weight = weight.lane(lane, channels * depth);
            let numbers = Numbers { samples, weight, input: input.lane(lane, inputs) };
            let dy = gradient.lane(lane, gradients);
            match method {
                Method::Winograd3(it) => it.backward(memory, &numbers, dy, dw, dx),
                Method::Winograd5(it) => it.backward(memory, &numbers, dy, dw, dx),
                Method::Im2col(it) => it.backward(memory, &numbers, dy, dw, dx),
            }
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

    fn kept_bytes(&self) -> usize {
        self.kept.bytes() / self.lanes()
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
                let mut layer =
                    Conv2d::<f64>::new(2, (1, 0), IMAGE, what, (&Workspace::default(), 1)).unwrap();
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
            let mut layer =
                Conv2d::<f64>::new(2, (1, 0), image, what, (&Workspace::default(), 1)).unwrap();
            check_layer(&mut layer, image, 2);
        }
    }

    #[test]
    fn gradients_of_every_lane_equal_finite_differences_by_winograd() {
        let image = Shape { height: 7, width: 4, channels: 16 };
        let window = Window::square(3, 1, 1);
        let what = Convolution { channels: 16, window, groups: 1, bias: Bias::With };
        let memory = Workspace::default();
        let mut layer = Conv2d::<f64>::new(2, (1, 0), image, what, (&memory, 3)).unwrap();
        assert!(matches!(layer.method, Method::Winograd3(_)));
        check_layer(&mut layer, image, 2);
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
            let mut layer =
                Conv2d::<f32>::new(1, (1, 0), image, what, (&Workspace::default(), 1)).unwrap();
            fill(&mut layer);
            let x = tensor(&[6, 4, height, height]);
            let weight = &layer.parameters[0];
            let saved = weight.to_saved(&weight.value.read().unwrap()).into_owned();
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
        let mut layer =
            Conv2d::<f64>::new(1, (1, 0), image, what, (&Workspace::default(), 1)).unwrap();
        fill(&mut layer);
        let Method::Im2col(im2col) = &layer.method else { panic!("few channels") };
        assert!(im2col.most_tiles(4) > 1);
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
        let error =
            Conv2d::<f32>::new(1, (1, 0), image, what, (&Workspace::default(), 1)).err().unwrap();
        let expected = "conv1 needs an input of at least 3 x 3 pixels, found 1 x 2 x 2";
        assert_eq!(error.to_string(), expected);
    }
    #[test]
    fn groups_that_do_not_divide_the_channels_are_refused() {
        let what = convolution(4, Window::square(3, 1, 1), 2, Bias::With);
        let error =
            Conv2d::<f32>::new(1, (1, 0), IMAGE, what, (&Workspace::default(), 1)).err().unwrap();
        let expected = "conv1 cannot divide 3 input and 4 output channels into 2 groups; \
                        give a number of groups that divides both";
        assert_eq!(error.to_string(), expected);
    }
}
