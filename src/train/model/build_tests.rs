//! What is built is what the architecture says, and the networks have their published sizes.

use crate::spec::architecture::Architecture;
use crate::spec::batch_norm::BatchNorm;
use crate::spec::dataset::Dataset;
use crate::spec::model::{Model, Pooling};
use crate::spec::{Key, RunConfig};
use crate::train::model::build;

/// Names and shapes of the parameters, as built and as the architecture says.
fn parameters(config: &RunConfig, image: [usize; 3], classes: usize) -> Vec<(String, Vec<usize>)> {
    let network = build::<f32>(std::slice::from_ref(config), image, classes, 1).unwrap();
    let built: Vec<_> = network.parameters().map(|p| (p.name.clone(), p.shape.clone())).collect();
    let architecture = Architecture::new(config, image, classes).unwrap();
    assert_eq!(built, architecture.parameters().collect::<Vec<_>>());
    let states: Vec<_> =
        network.states().map(|s| (s.name.clone(), vec![s.value.lane_len()])).collect();
    assert_eq!(states, architecture.states().collect::<Vec<_>>());
    assert_eq!(network.classes(), classes);
    let count: usize = built.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(count as u64, architecture.parameter_count());
    built
}

fn count(config: &RunConfig, image: [usize; 3]) -> usize {
    let parameters = parameters(config, image, 10);
    parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

#[test]
fn the_networks_of_the_exercises_have_their_parameters() {
    let config = RunConfig::default();
    let built = parameters(&config, [1, 28, 28], 10);
    // 784-512-256-128-10.
    assert_eq!(count(&config, [1, 28, 28]), 567_434);
    assert_eq!(built[0], ("linear1.weight".to_owned(), vec![512, 784]));
    assert_eq!(built[7], ("linear4.bias".to_owned(), vec![10]));
    let config = RunConfig { batch_norm: BatchNorm::ON, ..config };
    let normed = parameters(&config, [1, 28, 28], 10);
    let names: Vec<&str> = normed.iter().map(|p| p.0.as_str()).take(4).collect();
    assert_eq!(names, ["linear1.weight", "norm1.weight", "norm1.bias", "linear2.weight"]);
    assert_eq!(count(&config, [1, 28, 28]), 567_434 + 512 + 256 + 128);
}

#[test]
fn width_scales_hidden_layers_down_to_16_units() {
    let model = Model::Mlp { hidden: vec![100, 40, 8] };
    let config = RunConfig { model, width: 0.25, ..Default::default() };
    let built = parameters(&config, [1, 28, 28], 10);
    let biases: Vec<usize> = built.iter().skip(1).step_by(2).map(|p| p.1[0]).collect();
    assert_eq!(biases, [25, 16, 8, 10]);
}

/// Weights and biases of 3x3 convolutions and linear layers, by their definition.
fn expected(channels: [usize; 6], hidden: usize, batch_norm: bool) -> usize {
    let per_channel = if batch_norm { 2 } else { 1 };
    let convolutions: usize =
        channels.windows(2).map(|c| c[0] * c[1] * 9 + c[1] * per_channel).sum();
    let linear = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
    convolutions + linear(channels[5] * 4, hidden) + linear(hidden, hidden) + linear(hidden, 10)
}

#[test]
fn alexnet32_has_the_parameters_of_its_definition() {
    let alexnet32 = |width, batch_norm| {
        let model = Model::Alexnet32;
        let batch_norm = if batch_norm { BatchNorm::ON } else { BatchNorm::Off };
        RunConfig { model, width, batch_norm, ..Default::default() }
    };
    let full = [3, 64, 192, 384, 256, 256];
    assert_eq!(count(&alexnet32(1.0, false), [3, 32, 32]), expected(full, 1024, false));
    let quarter = [1, 16, 48, 96, 64, 64];
    assert_eq!(count(&alexnet32(0.25, true), [1, 28, 28]), expected(quarter, 256, true));
    let least = [1, 8, 8, 8, 8, 8];
    assert_eq!(count(&alexnet32(0.01, false), [1, 28, 28]), expected(least, 16, false));
}

#[test]
fn a_narrow_alexnet_is_built_as_described() {
    for pooling in [Pooling::Overlapping, Pooling::Plain] {
        let model = Model::Alexnet { pooling, lrn: true };
        let config =
            RunConfig { model, width: 0.02, batch_norm: BatchNorm::ON, ..Default::default() };
        // Six pixels reach the adaptive pool from 224, two from 96.
        for side in [224, 96] {
            let built = parameters(&config, [3, side, side], 7);
            let first_linear = built.iter().find(|p| p.0 == "linear1.weight").unwrap();
            assert_eq!(first_linear.1, [81, 8 * 36]);
        }
    }
}

#[test]
fn the_papers_alexnet_is_built_in_groups() {
    let model = Model::AlexnetPaper;
    let config = RunConfig { model, width: 0.03, dropout: 0.5, ..Default::default() };
    let built = parameters(&config, [3, 227, 227], 7);
    let second = built.iter().find(|p| p.0 == "conv2.weight").unwrap();
    // 0.03 * 96 channels are too few, 0.03 * 256 are 7: eight remain of either.
    assert_eq!(second.1, [8, 4, 5, 5]);
}

#[test]
fn an_image_that_the_pools_use_up_is_refused_by_the_layers_name() {
    let config = RunConfig { model: Model::Alexnet32, ..Default::default() };
    let error = build::<f32>(&[config], [1, 4, 4], 10, 1).err().unwrap();
    let expected =
        "pool2 (2 x 2, stride 2) needs at least 2 x 2 pixels, found 192 x 1 x 1 from relu2";
    assert_eq!(error.to_string(), expected);
}

/// What is forecast of a network's memory against what is built.
#[test]
fn memory_is_what_the_architecture_forecasts() {
    const IMAGES: usize = 16;
    let quarter = RunConfig { width: 0.25, ..RunConfig::default() };
    let paper = RunConfig { model: Model::AlexnetPaper, width: 0.1, ..RunConfig::default() };
    let lrn = Model::Alexnet { pooling: Pooling::Overlapping, lrn: true };
    for (config, side) in [
        (RunConfig { dropout: 0.5, ..RunConfig::default() }, 28),
        (RunConfig { model: Model::Alexnet32, dropout: 0.2, ..RunConfig::default() }, 32),
        (RunConfig { model: Model::Alexnet32, batch_norm: BatchNorm::ON, ..quarter.clone() }, 28),
        (RunConfig { model: lrn, ..quarter }, 96),
        (RunConfig { dropout: 0.5, ..paper }, 227),
    ] {
        let shape = vec![3, side, side];
        let count = IMAGES as u32;
        let dataset =
            Dataset::Synthetic { train: count, val: count, test: count, shape, classes: 10 };
        let config = RunConfig { dataset, batch_size: count, ..config };
        let image = config.input_shape();
        // On one thread, which is what is forecast.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let network = pool
            .install(|| build::<f32>(std::slice::from_ref(&config), image, 10, IMAGES))
            .unwrap();
        let architecture = Architecture::of(&config).unwrap();
        let memory = architecture.memory(&config);
        let what = config.setting(Key::Model).label();
        assert_eq!(network.activation_bytes(0) as u64, memory.activations, "{what}");
        let units = (0..network.labels().len()).map(|layer| network.shape_after(layer).units());
        let gradients = 2 * IMAGES * units.max().unwrap();
        let built = network.scratch_bytes(0) / size_of::<f32>() - gradients;
        let forecast = architecture.workspace(IMAGES);
        let apart = forecast.abs_diff(built);
        assert!(apart <= (1 << 16) + built / 20, "{what}: {built} numbers, forecast {forecast}");
    }
}
