//! Holds every layer, the loss and the update rules to PyTorch's numbers, which
//! `tests/reference/layers.py` made in f64: in f64 to 1e-10, in f32 to 2e-5, each of the larger of
//! 1 and the number. A case of a layer that is not made here fails.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use super::kernel::{Buffer, Real, Workspace};
use super::layer::activation::Activation;
use super::layer::avg_pool2d::AvgPool2d;
use super::layer::batch_norm::BatchNorm;
use super::layer::conv2d::{Conv2d, Convolution};
use super::layer::linear::{Bias, Linear};
use super::layer::local_response_norm::{LocalResponseNorm, Response};
use super::layer::max_pool2d::MaxPool2d;
use super::layer::parameter::{Parameter, Start, StorageOrder};
use super::layer::patches::Window;
use super::layer::pool_windows::Pool;
use super::layer::{Flow, Layer, Mode, Pass, Shape};
use super::loss::{BatchLoss, Targets, cross_entropy_gradient};
use super::optim::{LaneUpdate, Optimizer};
use crate::spec::RunConfig;
use crate::spec::activation::Activation as Function;
use crate::spec::batch_norm::Normalisation;
use crate::spec::optimizer::Optimizer as Rule;

/// A tensor of the file.
#[derive(Debug, Clone)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

/// The tensors of a case by name.
type Case = BTreeMap<String, Array>;

/// The cases whose names start with `prefix/`, by the rest of their names.
fn cases(prefix: &str) -> BTreeMap<String, Case> {
    let bytes = include_bytes!("../../tests/fixtures/pytorch/layers.safetensors");
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for (name, view) in file.tensors() {
        let (case, tensor) = name.rsplit_once('/').unwrap();
        let Some(case) = case.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let numbers = view.data().chunks_exact(8).map(|bytes| bytes.try_into().unwrap());
        let data = numbers.map(f64::from_le_bytes).collect();
        let array = Array { shape: view.shape().to_vec(), data };
        cases.entry(case.to_owned()).or_default().insert(tensor.to_owned(), array);
    }
    assert!(!cases.is_empty(), "{prefix}");
    cases
}

impl Array {
    /// One sample: (C, H, W), or a vector.
    fn sample(&self) -> Shape {
        match self.shape[..] {
            [_, channels, height, width] => Shape { height, width, channels },
            [_, units] => Shape::flat(units),
            _ => panic!("{:?}", self.shape),
        }
    }

    /// Places of its numbers in our order, channels last.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let shape = self.sample();
        let (units, area, channels) = (shape.units(), shape.area(), shape.channels);
        (0..self.data.len()).map(move |i| {
            let (sample, channel, pixel) = (i / units, i % units / area, i % area);
            sample * units + pixel * channels + channel
        })
    }

    /// In a buffer of one lane, channels last.
    fn buffer<T: Real>(&self) -> Buffer<T> {
        let mut buffer = Buffer::zeros(1, &[self.data.len()]).unwrap();
        buffer
            .write(|out| self.places().zip(&self.data).for_each(|(i, &x)| out[i] = T::of(x)))
            .unwrap();
        buffer
    }

    /// Compares numbers that lie as ours do.
    fn hold<T: Real>(&self, what: &str, found: &Buffer<T>) {
        let found = found.read().unwrap();
        let found: Vec<T> = self.places().map(|i| found[i]).collect();
        close(what, &found, &self.data);
    }
}

/// Compares numbers in one order.
fn close<T: Real>(what: &str, found: &[T], expected: &[f64]) {
    let tolerance = if T::of(1e-12) + T::ONE == T::ONE { 2e-5 } else { 1e-10 };
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found.wide() - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "{what}[{i}]: {found} {expected}");
    }
}

/// Runs a layer with the parameters of a case forward and back and compares all of it.
fn hold<T: Real>(name: &str, case: &Case, layer: &mut dyn Layer<T>) {
    let what = |tensor: &str| format!("{name}, {tensor}");
    assert_eq!(layer.output_shape(), case["y"].sample(), "{name}");
    for parameter in layer.parameters_mut() {
        let saved = &case[parameter.name.rsplit_once('.').unwrap().1];
        assert_eq!(parameter.shape, saved.shape, "{name}");
        let numbers: Vec<T> = saved.data.iter().map(|&x| T::of(x)).collect();
        let stored = parameter.to_stored(numbers);
        parameter.value.write(|value| value.copy_from_slice(&stored)).unwrap();
    }
    let x = case["x"].buffer::<T>();
    let (mut y, mut dx) = (case["y"].buffer::<T>(), case["x"].buffer::<T>());
    let samples = case["x"].shape[0];
    let pass = Pass { mode: Mode::Train { step: 0 }, samples, first_sample: 0 };
    layer.forward(&x, &mut y, &pass).unwrap();
    case["y"].hold(&what("y"), &y);
    let gradient = case["dy"].buffer::<T>();
    let flow = Flow { input: &x, output: &y, gradient: &gradient, input_gradient: Some(&mut dx) };
    layer.backward(flow, &pass, &mut |_| Ok(())).unwrap();
    case["dx"].hold(&what("dx"), &dx);
    for parameter in layer.parameters() {
        let tensor = format!("d_{}", parameter.name.rsplit_once('.').unwrap().1);
        let gradient = parameter.gradient.read().unwrap();
        let found = parameter.to_saved(&gradient);
        close(&what(&tensor), &found, &case[&tensor].data);
    }
}

/// Holds every case of a kind of layer in both precisions; `$layer` makes the layer of type `T`.
macro_rules! hold_all {
    ($prefix:literal, |$T:ident, $name:ident, $input:ident| $layer:expr) => {
        for (name, case) in cases($prefix) {
            fn make<$T: Real>($name: &str, $input: Shape) -> impl Layer<$T> {
                $layer
            }
            let (what, input) = (format!("{}/{name}", $prefix), case["x"].sample());
            hold::<f64>(&what, &case, &mut make::<f64>(&name, input));
            hold::<f32>(&what, &case, &mut make::<f32>(&name, input));
        }
    };
}

#[test]
fn activations_have_pytorchs_numbers() {
    hold_all!("activation", |T, name, input| {
        let function = match name {
            "relu" => Function::Relu,
            "leaky_relu" => Function::LeakyRelu { negative_slope: 0.01 },
            "leaky_relu_0.3" => Function::LeakyRelu { negative_slope: 0.3 },
            "elu" => Function::Elu { alpha: 1.0 },
            "elu_1.7" => Function::Elu { alpha: 1.7 },
            "gelu" => Function::Gelu { approximate: false },
            "gelu_tanh" => Function::Gelu { approximate: true },
            "silu" => Function::Silu,
            "sigmoid" => Function::Sigmoid,
            "tanh" => Function::Tanh,
            "identity" => Function::Identity,
            other => panic!("{other}"),
        };
        Activation::new(vec![function], input)
    });
}

/// The pools of the script, by number.
fn pool(number: &str) -> Pool {
    let square = |size, stride, padding: usize, ceil_mode| Pool {
        padding: [padding; 2],
        ceil_mode,
        ..Pool::square(size, stride)
    };
    match number {
        "0" => square(2, 2, 0, false),
        "1" => square(2, 2, 0, true),
        "2" => square(3, 2, 0, false),
        "3" => square(3, 2, 0, true),
        "4" => square(3, 2, 1, false),
        "5" => square(3, 2, 1, true),
        "6" => square(3, 1, 1, false),
        "7" => square(2, 3, 0, true),
        "8" => Pool { size: [3, 2], stride: [2, 1], padding: [1, 0], ceil_mode: true },
        "9" => Pool { size: [1, 4], stride: [1, 3], padding: [0, 2], ceil_mode: true },
        other => panic!("{other}"),
    }
}

#[test]
fn max_pools_have_pytorchs_numbers() {
    hold_all!("max_pool2d", |T, name, input| MaxPool2d::new(1, 2, input, pool(name)).unwrap());
}

#[test]
fn average_pools_have_pytorchs_numbers() {
    hold_all!("avg_pool2d", |T, name, input| {
        let (number, count) = name.split_once('_').unwrap();
        AvgPool2d::new(input, pool(number), count == "with").unwrap()
    });
    hold_all!("adaptive_avg_pool2d", |T, name, input| {
        let (height, width) = name.split_once('x').unwrap();
        AvgPool2d::adaptive(input, [height, width].map(|size| size.parse().unwrap()))
    });
}

#[test]
fn local_response_normalisations_have_pytorchs_numbers() {
    hold_all!("local_response_norm", |T, name, input| {
        let response = match name {
            "paper" => Response::ALEXNET,
            "strong" => Response { size: 5, alpha: 0.9, beta: 0.75, k: 1.0 },
            "wide" => Response { size: 9, alpha: 0.5, beta: 0.5, k: 1.0 },
            "even" => Response { size: 4, alpha: 0.7, beta: 1.3, k: 0.5 },
            "single" => Response { size: 1, alpha: 0.7, beta: 1.0, k: 0.5 },
            other => panic!("{other}"),
        };
        LocalResponseNorm::<T>::new(1, 2, input, response).unwrap()
    });
}

/// The batch normalisation of a case.
fn batch_norm<T: Real>(name: &str, input: Shape) -> BatchNorm<T> {
    let default = Normalisation::default();
    let normalisation = match name {
        "images" | "vectors" => default,
        "momentum" => Normalisation { momentum: 0.37, ..default },
        "eps" => Normalisation { eps: 0.05, ..default },
        other => panic!("{other}"),
    };
    BatchNorm::new(vec![normalisation], 1, input).unwrap()
}

/// One batch as `hold` does it, a second batch, and a measurement of that.
fn hold_statistics<T: Real>(name: &str, case: &Case) {
    let mut layer = batch_norm::<T>(name, case["x"].sample());
    hold::<T>(name, case, &mut layer);
    let (x, mut y) = (case["second_x"].buffer::<T>(), case["y"].buffer::<T>());
    let samples = case["x"].shape[0];
    for mode in [Mode::Train { step: 1 }, Mode::Evaluate] {
        layer.forward(&x, &mut y, &Pass { mode, samples, first_sample: 0 }).unwrap();
    }
    case["measured_y"].hold(name, &y);
    for (state, expected) in layer.states().iter().zip(["running_mean", "running_var"]) {
        assert_eq!(state.name, format!("norm1.{expected}"));
        close(expected, &state.value.read().unwrap(), &case[expected].data);
    }
}

#[test]
fn batch_normalisations_have_pytorchs_numbers_and_running_statistics() {
    for (name, case) in cases("batch_norm") {
        hold_statistics::<f64>(&name, &case);
        hold_statistics::<f32>(&name, &case);
    }
}

#[test]
fn linear_layers_have_pytorchs_numbers() {
    hold_all!("linear", |T, name, input| {
        let bias = if name == "bias" { Bias::With } else { Bias::Without };
        Linear::<T>::new(1, (1, 0), (input.units(), 3), bias).unwrap()
    });
}

#[test]
fn convolutions_have_pytorchs_numbers() {
    hold_all!("conv2d", |T, name, input| {
        let dense =
            |window, channels| Convolution { channels, window, groups: 1, bias: Bias::With };
        let convolution = match name {
            "plain" => Convolution { bias: Bias::Without, ..dense(Window::square(3, 1, 0), 3) },
            "padding" => dense(Window::square(3, 1, 1), 3),
            "stride" => dense(Window::square(3, 2, 1), 3),
            "large" => dense(Window::square(5, 1, 2), 3),
            "point" => dense(Window::square(1, 1, 0), 3),
            "unequal" => {
                let dilation = [1; 2];
                dense(Window { size: [3, 2], stride: [1, 2], padding: [2, 1], dilation }, 3)
            }
            "dilation" => dense(Window { dilation: [2; 2], ..Window::square(3, 1, 2) }, 3),
            "groups" => Convolution { groups: 2, ..dense(Window::square(3, 1, 1), 6) },
            "depthwise" => Convolution { groups: 4, ..dense(Window::square(3, 1, 1), 4) },
            "everything" => {
                let window = Window { dilation: [2; 2], ..Window::square(3, 2, 3) };
                Convolution { groups: 2, ..dense(window, 6) }
            }
            other => panic!("{other}"),
        };
        let memory = Workspace::default();
        Conv2d::<T>::new(1, (1, 0), input, convolution, (&memory, 1)).unwrap()
    });
}

#[test]
fn the_loss_has_pytorchs_numbers() {
    fn hold<T: Real>(smoothing: f64, case: &Case) {
        let labels: Vec<u16> = case["labels"].data.iter().map(|&label| label as u16).collect();
        let (x, mut dx) = (case["x"].buffer::<T>(), case["x"].buffer::<T>());
        let mut results = [BatchLoss::default()];
        let classes = case["x"].shape[1];
        let targets = Targets::plain(&labels);
        let gradient = (&mut dx, classes);
        cross_entropy_gradient(&x, &targets, &[smoothing], gradient, &mut results).unwrap();
        close("y", &[T::of(results[0].sum / labels.len() as f64)], &case["y"].data);
        case["dx"].hold("dx", &dx);
    }
    for (name, case) in cases("cross_entropy") {
        let smoothing = match name.as_str() {
            "plain" => 0.0,
            "smoothed" => 0.1,
            "strong" => 0.6,
            other => panic!("{other}"),
        };
        hold::<f64>(smoothing, &case);
        hold::<f32>(smoothing, &case);
    }
}

#[test]
fn update_rules_have_pytorchs_numbers() {
    fn hold<T: Real>(name: &str, case: &Case) {
        let sgd = |momentum, nesterov| Rule::Sgd { momentum, nesterov };
        let (rule, rate, weight_decay) = match name {
            "sgd" => (sgd(0.0, false), 0.1, 0.0),
            "sgd_decay" => (sgd(0.0, false), 0.1, 0.03),
            "momentum" => (sgd(0.9, false), 0.1, 0.03),
            "nesterov" => (sgd(0.9, true), 0.1, 0.03),
            "adam" => (Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 }, 0.01, 0.0),
            "adam_decay" => (Rule::Adam { beta1: 0.8, beta2: 0.95, eps: 1e-6 }, 0.01, 0.1),
            "adamw" => (Rule::Adamw { beta1: 0.9, beta2: 0.999, eps: 1e-8 }, 0.01, 0.1),
            other => panic!("{other}"),
        };
        let numbers = |data: &[f64]| -> Vec<T> { data.iter().map(|&x| T::of(x)).collect() };
        let (order, start) = (StorageOrder::Saved, Start::Constant(0.0));
        let mut parameter = Parameter::<T>::new("w".to_owned(), 1, vec![6], order, start).unwrap();
        let first = numbers(&case["start"].data);
        parameter.value.write(|value| value.copy_from_slice(&first)).unwrap();
        let config = RunConfig { optimizer: rule, weight_decay, ..RunConfig::default() };
        let mut optimizer = Optimizer::new(&[config], std::iter::once(&parameter)).unwrap();
        let steps = case["gradients"].data.chunks(6).zip(case["values"].data.chunks(6));
        for (step, (gradient, expected)) in steps.enumerate() {
            let gradient = numbers(gradient);
            parameter.gradient.write(|out| out.copy_from_slice(&gradient)).unwrap();
            let parameters = std::iter::once(&mut parameter);
            let update = LaneUpdate { rate, scale: 1.0 };
            optimizer.update(parameters, step as u64, &[Some(update)]).unwrap();
            close(&format!("{name}, step {step}"), &parameter.value.read().unwrap(), expected);
        }
    }
    for (name, case) in cases("optimizer") {
        hold::<f64>(&name, &case);
        hold::<f32>(&name, &case);
    }
}
