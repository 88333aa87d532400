//! For tests: layers against finite differences and against reference values.

use candle_core::{Device, Tensor};

use super::{Flow, Layer, Mode, Pass, Shape};
use crate::train::kernel::{Buffer, Real};

/// Numbers in (-1, 1) without pattern or ties.
fn number(i: usize) -> f64 {
    (i as f64 * 12.9898 + 0.5).sin() * 43_758.547 % 1.0
}

/// A tensor of such numbers.
pub fn tensor(shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    let data: Vec<f32> = (0..len).map(|i| number(i) as f32).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// Gives every parameter such numbers.
pub fn fill<T: Real>(layer: &mut dyn Layer<T>) {
    for (p, parameter) in layer.parameters_mut().iter_mut().enumerate() {
        parameter
            .value
            .write(|value| {
                for (i, x) in value.iter_mut().enumerate() {
                    *x = T::of(number(1000 * (p + 1) + i));
                }
            })
            .unwrap();
    }
}

/// Output and input gradient of one lane for the given input and output gradient, all samples.
pub fn run_layer(
    layer: &mut dyn Layer<f64>,
    x: &[f64],
    dy: &[f64],
    mode: Mode,
) -> (Vec<f64>, Vec<f64>) {
    let units = layer.output_shape().units();
    let samples = dy.len() / units;
    let buffer = |data: &[f64]| {
        let mut buffer = Buffer::<f64>::zeros(1, &[data.len()]).unwrap();
        buffer.write(|out| out.copy_from_slice(data)).unwrap();
        buffer
    };
    let (input, gradient, mut dx) = (buffer(x), buffer(dy), buffer(x));
    let mut output = buffer(&vec![0.0; dy.len()]);
    let pass = Pass { mode, samples, first_sample: 0 };
    layer.forward(&input, &mut output, &pass).unwrap();
    if mode != Mode::Evaluate {
        let input_gradient = Some(&mut dx);
        let flow = Flow { input: &input, output: &output, gradient: &gradient, input_gradient };
        layer.backward(flow, &pass, &mut |_| Ok(())).unwrap();
    }
    (output.read().unwrap().to_vec(), dx.read().unwrap().to_vec())
}

/// Checks the gradients of the input and of every parameter against central differences of a
/// weighted sum of the outputs, for every lane, with fewer samples than there is room for.
pub fn check_layer(layer: &mut dyn Layer<f64>, input: Shape, samples: usize) {
    fill(layer);
    let lanes = if layer.parameters().is_empty() {
        1
    } else {
        layer.parameters()[0].value.tensor().dims()[0]
    };
    let (inputs, outputs) = (input.units(), layer.output_shape().units());
    let pass = Pass { mode: Mode::Train { step: 3 }, samples, first_sample: 0 };
    let mut x = Buffer::<f64>::zeros(lanes, &[samples + 1, inputs]).unwrap();
    x.write(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = number(i))).unwrap();
    let mut dy = Buffer::<f64>::zeros(lanes, &[samples + 1, outputs]).unwrap();
    dy.write(|dy| dy.iter_mut().enumerate().for_each(|(i, dy)| *dy = number(i + 77))).unwrap();
    let mut y = Buffer::<f64>::zeros(lanes, &[samples + 1, outputs]).unwrap();
    let mut dx = Buffer::<f64>::zeros(lanes, &[samples + 1, inputs]).unwrap();

    let mut loss = |layer: &mut dyn Layer<f64>, x: &Buffer<f64>| {
        layer.forward(x, &mut y, &pass).unwrap();
        let (y, dy) = (y.read().unwrap(), dy.read().unwrap());
        let lane = |lane| {
            let (y, dy) = (y.lane(lane, samples * outputs), dy.lane(lane, samples * outputs));
            y.iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>()
        };
        (0..lanes).map(lane).sum::<f64>()
    };
    loss(layer, &x);
    let mut y = Buffer::<f64>::zeros(lanes, &[samples + 1, outputs]).unwrap();
    layer.forward(&x, &mut y, &pass).unwrap();
    let mut completed = Vec::new();
    let flow = Flow { input: &x, output: &y, gradient: &dy, input_gradient: Some(&mut dx) };
    layer
        .backward(flow, &pass, &mut |parameter| {
            completed.push(parameter.name.clone());
            Ok(())
        })
        .unwrap();
    completed.sort();
    let mut names: Vec<String> = layer.parameters().iter().map(|p| p.name.clone()).collect();
    names.sort();
    assert_eq!(completed, names, "every parameter is announced once");

    let step = 1e-5;
    let agree = |what: &str, place: usize, found: f64, up: f64, down: f64| {
        let expected = (up - down) / (2.0 * step);
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error < 1e-6, "{what}[{place}]: {found}, by differences {expected}");
    };
    for place in 0..lanes * (samples + 1) * inputs {
        let sample = place / inputs % (samples + 1);
        if sample == samples {
            continue;
        }
        let at = |x: &mut Buffer<f64>, delta: f64| x.write(|x| x[place] += delta).unwrap();
        at(&mut x, step);
        let up = loss(layer, &x);
        at(&mut x, -2.0 * step);
        let down = loss(layer, &x);
        at(&mut x, step);
        agree("input", place, dx.read().unwrap()[place], up, down);
    }
    for p in 0..layer.parameters().len() {
        let (name, gradient) = {
            let parameter = &layer.parameters()[p];
            (parameter.name.clone(), parameter.gradient.read().unwrap().to_vec())
        };
        for (place, &found) in gradient.iter().enumerate() {
            let at = |layer: &mut dyn Layer<f64>, delta: f64| {
                layer.parameters_mut()[p].value.write(|value| value[place] += delta).unwrap();
            };
            at(layer, step);
            let up = loss(layer, &x);
            at(layer, -2.0 * step);
            let down = loss(layer, &x);
            at(layer, step);
            agree(&name, place, found, up, down);
        }
    }
}

/// Checks a training forward of all samples in `input`, (N, …), against `expected`.
pub fn compare_forward(
    layer: &mut dyn Layer<f32>,
    input: &Tensor,
    expected: &Tensor,
    tolerance: f32,
) {
    let samples = input.dims()[0];
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (data, expected) = (numbers(input), numbers(expected));
    let mut x = Buffer::<f32>::zeros(1, &[data.len()]).unwrap();
    x.write(|x| x.copy_from_slice(&data)).unwrap();
    let mut y = Buffer::<f32>::zeros(1, &[expected.len()]).unwrap();
    let pass = Pass { mode: Mode::Train { step: 0 }, samples, first_sample: 0 };
    layer.forward(&x, &mut y, &pass).unwrap();
    for (place, (found, expected)) in y.read().unwrap().iter().zip(&expected).enumerate() {
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(close, "[{place}]: {found}, expected {expected}");
    }
}
