//! Measurements against the same numbers computed in the plainest way.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::*;
use crate::spec::activation::Activation;
use crate::spec::batch_norm::BatchNorm;
use crate::spec::measure::{Measurements, StepFactors};
use crate::spec::model::Model;
use crate::spec::optimizer::Optimizer as Rule;
use crate::train::data::{DataSplits, Images};
use crate::train::kernel::Buffer;
use crate::train::layer::{Mode, Parameter, Pass};
use crate::train::loss::{BatchLoss, Targets};
use crate::train::model;
use crate::train::report::{EpochEnd, Evaluation, Part};
use crate::train::trainer::Trainer;

const SAMPLES: usize = 6;

/// Every measurement.
fn everything() -> Measurements {
    Measurements::new(vec![
        Measurement::GradientNorm { every_steps: 2 },
        Measurement::Activation,
        Measurement::UpdateRatio,
        Measurement::Drift { samples: 7 },
        Measurement::Smoothness { steps: StepFactors::default(), samples: 5 },
        Measurement::Time,
        Measurement::Memory,
    ])
}

/// Two lanes of a small network, by default with relu.
fn lanes(activation: Activation, batch_norm: bool) -> [RunConfig; 2] {
    let model = Model::Mlp { hidden: vec![20, 17] };
    let batch_norm = if batch_norm { BatchNorm::ON } else { BatchNorm::Off };
    let config = RunConfig { model, activation, batch_norm, ..RunConfig::default() };
    [config.clone(), RunConfig { seed: 5, ..config }]
}

fn labels() -> Vec<u16> {
    (0..2 * SAMPLES).map(|i| (i % 3) as u16).collect()
}

fn fill(input: &mut Buffer<f64>) -> Result<(), TrainError> {
    input.write(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f64 * 0.71).sin()))
}

/// A network, filled, after forward and backward.
fn network(lanes: &[RunConfig]) -> Network<f64> {
    let mut network = model::build::<f64>(lanes, [1, 3, 3], 3, SAMPLES).unwrap();
    fill(network.input_mut()).unwrap();
    loss_and_gradient(&mut network);
    network
}

/// Mean losses in training mode.
fn loss_and_gradient(network: &mut Network<f64>) -> [f64; 2] {
    let pass = Pass { mode: Mode::Train { step: 0 }, samples: SAMPLES, first_sample: 0 };
    let mut losses = [BatchLoss::default(); 2];
    network.forward(&pass).unwrap();
    network.loss_and_gradient(&Targets::plain(&labels()), &[0.1, 0.0], &mut losses).unwrap();
    network.backward(&pass, &mut |_: &mut Parameter<f64>| Ok(())).unwrap();
    losses.map(|loss| loss.sum / SAMPLES as f64)
}

/// One lane of every parameter: its values, or its gradients.
fn flat(network: &Network<f64>, lane: usize, gradients: bool) -> Vec<f64> {
    let numbers = |p: &Parameter<f64>| {
        let buffer = if gradients { &p.gradient } else { &p.value };
        buffer.read().unwrap().lane(lane, p.len()).to_vec()
    };
    network.parameters().flat_map(numbers).collect()
}

/// What was measured of a lane.
fn lane(measured: &Measured, lane: usize) -> &LaneMeasured {
    measured.lanes[lane].as_ref().unwrap()
}

fn norm(numbers: &[f64]) -> f64 {
    numbers.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{found} {expected}");
}

#[test]
fn norms_of_gradients_and_ratios_of_updates() {
    let mut network = network(&lanes(Activation::Tanh, true));
    let measured = gradient::GradientNorm::new(1, &network).measure(&network).unwrap();
    let names: Vec<&str> =
        lane(&measured, 0).layers.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["linear1", "norm1", "linear2", "norm2", "linear3", "network"]);
    for lane in 0..2 {
        let found = &self::lane(&measured, lane).values;
        let place = network.parameters().position(|p| p.name == "linear2.weight").unwrap();
        let weight = network.parameters().nth(place).unwrap();
        let gradient = weight.gradient.read().unwrap();
        assert_close(found[2], norm(gradient.lane(lane, weight.len())));
        assert_close(found[5], norm(&flat(&network, lane, true)));
    }
    assert!(measured.lanes[0] != measured.lanes[1]);

    let mut update = update::UpdateRatio::new(&network);
    update.keep(&network).unwrap();
    for parameter in network.parameters_mut() {
        parameter.value.write(|value| value.iter_mut().for_each(|x| *x *= 1.25)).unwrap();
    }
    let measured = update.measure(&network).unwrap();
    for lane in measured.lanes.iter().flatten() {
        assert_eq!(lane.layers.len(), 5);
        lane.values.iter().for_each(|ratio| assert_close(*ratio, 0.25));
    }
}

#[test]
fn activations_by_counting() {
    for function in [Activation::Relu, Activation::Sigmoid, Activation::Tanh] {
        let mut network = network(&lanes(function.clone(), false));
        // One unit of lane 1 that is never on, or never anything but saturated.
        let bias = network.parameters_mut().find(|p| p.name == "linear1.bias").unwrap();
        bias.value.write(|bias| bias[20 + 3] = -1e3).unwrap();
        let mut activations = activation::Activations::new(&network);
        activations.clear();
        let mut outputs = Vec::new();
        for shift in 0..2 {
            let input = network.input_mut();
            input.write(|x| x.iter_mut().for_each(|x| *x += f64::from(shift))).unwrap();
            let pass = Pass { mode: Mode::Evaluate, samples: SAMPLES, first_sample: 0 };
            network.forward(&pass).unwrap();
            activations.observe(&network, SAMPLES).unwrap();
            let place = network.labels().iter().position(|l| l.kind() == function.kind()).unwrap();
            outputs.extend_from_slice(network.output(place).read().unwrap().lane(1, SAMPLES * 20));
        }
        let n = outputs.len() as f64;
        let count = |of: &dyn Fn(f64) -> bool| outputs.iter().filter(|x| of(**x)).count() as f64;
        let saturated = |x: f64| match function {
            Activation::Sigmoid => !(0.01..=0.99).contains(&x),
            _ => x.abs() > 0.98,
        };
        let active = |x: f64| if function == Activation::Relu { x > 0.0 } else { !saturated(x) };
        let dead =
            (0..20).filter(|unit| !outputs.iter().skip(*unit).step_by(20).any(|x| active(*x)));
        let dead = dead.count() as f64;
        assert!(dead >= 1.0);
        let mean = outputs.iter().sum::<f64>() / n;
        let variance = outputs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let mut expected = vec![mean, variance.sqrt(), count(&|x| x == 0.0) / n, dead / 20.0];
        if function != Activation::Relu {
            expected.push(count(&saturated) / n);
        }
        let found = activations.measured();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let found = lane(found, 1);
            assert_eq!(found.layers[0].name, format!("{}1", function.kind()));
            assert_close(found.values[0], expected);
        }
    }
}

#[test]
fn smoothness_by_taking_the_steps_and_everything_is_put_back() {
    let lanes = lanes(Activation::Tanh, true);
    let mut network = network(&lanes);
    let before = [0, 1].map(|lane| flat(&network, lane, false));
    let states = |network: &Network<f64>| -> Vec<f64> {
        network.states().flat_map(|state| state.value.read().unwrap().to_vec()).collect()
    };
    let states_before = states(&network);
    let steps = vec![0.5, 3.0];
    let mut smoothness = smoothness::Smoothness::new(steps.clone(), SAMPLES, &network);
    let rates = [0.1, 0.02];
    let found = {
        let mut fill = |input: &mut Buffer<f64>, samples: Range<usize>| {
            assert_eq!(samples, 0..SAMPLES);
            fill(input)?;
            Ok::<_, TrainError>(labels())
        };
        let mut probe = Probe {
            network: &mut network,
            lanes: &LaneSet::all(2),
            fill: &mut fill,
            images: 50,
            rates: &rates,
            smoothing: &[0.1, 0.0],
        };
        smoothness.measure(&mut probe).unwrap()
    };
    assert_eq!([0, 1].map(|lane| flat(&network, lane, false)), before);
    assert_eq!(states(&network), states_before);

    loss_and_gradient(&mut network);
    let gradients = [0, 1].map(|lane| flat(&network, lane, true));
    let mut tried = Vec::new();
    for factor in steps {
        for lane in 0..2 {
            let mut place = 0;
            for parameter in network.parameters_mut() {
                let len = parameter.len();
                let (old, gradient) = (&before[lane][place..], &gradients[lane][place..]);
                parameter
                    .value
                    .write(|value| {
                        for (i, x) in value[lane * len..][..len].iter_mut().enumerate() {
                            *x = old[i] - rates[lane] * factor * gradient[i];
                        }
                    })
                    .unwrap();
                place += len;
            }
        }
        let losses = loss_and_gradient(&mut network);
        tried.push([0, 1].map(|lane: usize| {
            let there = flat(&network, lane, true);
            let moved: Vec<f64> = there.iter().zip(&gradients[lane]).map(|(a, b)| a - b).collect();
            let step = rates[lane] * factor * norm(&gradients[lane]);
            [losses[lane], norm(&moved), norm(&moved) / step]
        }));
    }
    for lane in [0, 1] {
        let of = |number: usize| [tried[0][lane][number], tried[1][lane][number]];
        let least = |number| of(number).into_iter().fold(f64::INFINITY, f64::min);
        let most = |number| of(number).into_iter().fold(0.0, f64::max);
        let expected = [least(0), most(0), least(1), most(1), most(2)];
        for (found, expected) in found.iter().zip(expected) {
            assert_close(self::lane(found, lane).values[0], expected);
        }
    }
}

/// Images of four classes, with noise.
fn part(images: usize) -> Images {
    let pixel =
        |i: usize| (i * 7919 % 251) as u8 / 2 + if i / 64 % 4 == i / 8 % 4 { 120 } else { 0 };
    Images {
        pixels: (0..images * 64).map(pixel).collect(),
        labels: (0..images).map(|i| (i % 4) as u16).collect(),
    }
}

/// Losses of all steps, evaluations and measurements of a training.
fn train(lanes: &[RunConfig]) -> (Vec<f64>, Vec<Evaluation>, Vec<(u32, Measured)>) {
    let data = DataSplits {
        shape: [1, 8, 8],
        classes: 4,
        mean: vec![0.35],
        std: vec![0.3],
        train: part(40),
        val: part(30),
        test: part(8),
    };
    let mut trainer = Trainer::new(lanes, Arc::new(data)).unwrap();
    let (mut losses, mut evaluations, mut measured) = (Vec::new(), Vec::new(), Vec::new());
    for epoch in 1..=3 {
        let end = trainer.train_epoch(&mut |report| {
            losses.extend(report.lanes.iter().flatten().map(|lane| lane.loss));
            measured.extend(report.measured.iter().map(|m| (epoch, m.clone())));
            ControlFlow::Continue(())
        });
        assert!(matches!(end, Ok(EpochEnd::Complete(_))));
        let found = trainer.evaluate(Part::Validation).unwrap();
        evaluations.extend(found.into_iter().flatten());
        measured.extend(trainer.measure().unwrap().into_iter().map(|m| (epoch, m)));
    }
    (losses, evaluations, measured)
}

#[test]
fn measuring_changes_no_bit_and_lanes_are_measured_as_if_alone() {
    let base = RunConfig {
        dropout: 0.2,
        batch_size: 16,
        epochs: 3,
        lr: 0.05,
        ..lanes(Activation::Relu, true)[0].clone()
    };
    let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    let plain = RunConfig { batch_norm: BatchNorm::Off, dropout: 0.0, ..base.clone() };
    let off = [
        base.clone(),
        RunConfig { seed: 9, lr: 0.1, ..base.clone() },
        RunConfig { optimizer: adam, lr: 0.001, ..plain },
        base,
    ];
    let on = off.clone().map(|lane| RunConfig { measure: everything(), ..lane });
    let (losses, evaluations, none) = train(&off);
    assert!(none.is_empty());
    let (with_losses, with_evaluations, measured) = train(&on);
    assert_eq!((with_losses, with_evaluations), (losses, evaluations));

    // Norms in steps 1, 3, 5, 7 and 9; at three ends an update, four of activations, five of
    // smoothness; two of drift from the second on; memory once; no time without a clock.
    assert_eq!(measured.len(), 5 + 3 * (1 + 4 + 5) + 2 * 2 + 6);
    for (lane, config) in on.iter().enumerate() {
        let (_, _, alone) = train(std::slice::from_ref(config));
        assert_eq!(alone.len(), measured.len());
        for ((epoch, alone), (_, fused)) in alone.iter().zip(&measured) {
            let what = alone.measurement;
            assert_eq!(what, fused.measurement);
            let (alone, fused) = (self::lane(alone, 0), self::lane(fused, lane));
            assert_eq!(alone, fused, "{what} in epoch {epoch}");
            assert!(alone.values.iter().all(|value| value.is_finite()), "{what}: {alone:?}");
            if what == "drift_mean" {
                assert!(alone.values[0] == 0.0 && alone.values[1] > 0.0, "{alone:?}");
            }
        }
    }
}
