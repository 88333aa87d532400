//! For tests: the gradients of whole networks against finite differences of the loss.

use super::build;
use crate::spec::RunConfig;
use crate::spec::activation::Activation;
use crate::spec::batch_norm::BatchNorm;
use crate::spec::model::Model;
use crate::train::layer::{Mode, Pass};
use crate::train::loss::{BatchLoss, Targets};

const SAMPLES: usize = 5;

/// Checks every 7th number of every parameter, in f64, with smooth and with kinked activations.
fn check(config: &RunConfig, image: [usize; 3]) {
    let lanes = [config.clone(), RunConfig { seed: 9, dropout: 0.2, ..config.clone() }];
    let mut network = build::<f64>(&lanes, image, 3, SAMPLES + 1).unwrap();
    network
        .input_mut()
        .write(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = (i as f64 * 0.71).sin()))
        .unwrap();
    let labels: Vec<u16> = (0..2 * SAMPLES).map(|i| (i % 3) as u16).collect();
    let pass = Pass { mode: Mode::Train { step: 0 }, samples: SAMPLES, first_sample: 0 };
    let mut results = [BatchLoss::default(); 2];
    network.forward(&pass).unwrap();
    network.loss_and_gradient(&Targets::plain(&labels), &[0.0; 2], &mut results).unwrap();
    let mut order = Vec::new();
    network
        .backward(&pass, &mut |parameter| {
            order.push(parameter.name.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(order.len(), network.parameters().count());
    assert!(order[0].starts_with("linear") && order.last().unwrap().ends_with("1.weight"));
    let gradients: Vec<(String, Vec<f64>)> = network
        .parameters()
        .map(|p| (p.name.clone(), p.gradient.read().unwrap().to_vec()))
        .collect();
    for (p, (name, gradient)) in gradients.iter().enumerate() {
        for place in (0..gradient.len()).step_by(7) {
            let mut loss_at = |delta: f64| {
                let shift = |value: &mut [f64]| value[place] += delta;
                network.parameters_mut().nth(p).unwrap().value.write(shift).unwrap();
                network.forward(&pass).unwrap();
                results = [BatchLoss::default(); 2];
                network.add_loss(&labels, &mut results).unwrap();
                (results[0].sum + results[1].sum) / SAMPLES as f64
            };
            // Small, because a normalisation over five samples curves strongly.
            let step = 1e-7;
            let up = loss_at(step);
            let down = loss_at(-2.0 * step);
            loss_at(step);
            let expected = (up - down) / (2.0 * step);
            let error = (gradient[place] - expected).abs();
            assert!(
                error < 1e-6,
                "{name}[{place}]: {}, by differences {expected}",
                gradient[place]
            );
        }
    }
}

#[test]
fn gradients_of_the_mlp_equal_finite_differences() {
    for activation in [
        Activation::Relu,
        Activation::LeakyRelu { negative_slope: 0.2 },
        Activation::Elu { alpha: 1.5 },
        Activation::Gelu { approximate: false },
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Tanh,
    ] {
        for batch_norm in [BatchNorm::Off, BatchNorm::ON] {
            let model = Model::Mlp { hidden: vec![6, 5] };
            let activation = activation.clone();
            let config = RunConfig { model, activation, batch_norm, ..Default::default() };
            check(&config, [1, 3, 3]);
        }
    }
}

#[test]
fn gradients_of_alexnet32_equal_finite_differences() {
    for batch_norm in [BatchNorm::Off, BatchNorm::ON] {
        let activation = Activation::Tanh;
        let (model, width) = (Model::Alexnet32, 0.001);
        let config = RunConfig { model, width, activation, batch_norm, ..Default::default() };
        check(&config, [2, 12, 14]);
    }
}

#[test]
fn gradients_of_a_declared_network_equal_finite_differences() {
    let config = RunConfig::from_canonical(&serde_json::json!({ "activation": "gelu", "model": { "layers": [
        { "kind": "conv2d", "channels": 4, "kernel": 3, "padding": 1, "groups": 2 },
        { "kind": "local_response_norm", "size": 3, "alpha": 0.1 }, "tanh",
        { "kind": "max_pool2d", "kernel": 3, "stride": 2, "padding": 1, "ceil": true },
        { "kind": "conv2d", "channels": 6, "kernel": 2, "dilation": 2 }, "batch_norm", "activation",
        { "kind": "avg_pool2d", "kernel": 2, "padding": 1 },
        "flatten", { "kind": "dropout", "p": 0.3 }, { "kind": "linear", "units": 5 }, "silu", "logits",
    ] } }))
    .unwrap();
    check(&config, [2, 9, 8]);
}
