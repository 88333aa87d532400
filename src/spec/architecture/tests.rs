//! The published networks have their published sizes, declared ones do what the list says, and what
//! does not fit is named.

use super::{Architecture, Operation, Shape, Unfit, smallest_side, walk};
use crate::spec::RunConfig;
use crate::spec::batch_norm::BatchNorm;
use crate::spec::config::Key;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::model::{Model, Pooling};
use crate::spec::node::Node;

const IMAGENET: ([usize; 3], usize) = ([3, 224, 224], 1000);

/// A configuration whose model is written like this in JSON.
fn with_model(model: serde_json::Value) -> RunConfig {
    RunConfig::from_canonical(&serde_json::json!({ "model": model })).unwrap()
}

fn layers(list: serde_json::Value) -> RunConfig {
    with_model(serde_json::json!({ "layers": list }))
}

fn architecture(config: &RunConfig, (image, classes): ([usize; 3], usize)) -> Architecture {
    Architecture::new(config, image, classes).unwrap()
}

fn unfit(config: &RunConfig, image: [usize; 3]) -> Unfit {
    Architecture::new(config, image, 10).unwrap_err()
}

#[test]
fn alexnet_is_torchvisions() {
    for model in ["alexnet".into(), serde_json::json!({ "kind": "alexnet", "pooling": "plain" })] {
        let network = architecture(&with_model(model), IMAGENET);
        assert_eq!(network.parameter_count(), 61_100_840);
        let shapes: Vec<_> = network.parameters().collect();
        assert_eq!(shapes[0], ("conv1.weight".to_owned(), vec![64, 3, 11, 11]));
        assert_eq!(shapes[10], ("linear1.weight".to_owned(), vec![4096, 9216]));
        // 11x11 on 55x55, 5x5 on 27x27, three 3x3 on 13x13, three linear layers.
        let expected = 64 * 363 * 3025
            + 192 * 1600 * 729
            + (384 * 1728 + 256 * 3456 + 256 * 2304) * 169
            + 9216 * 4096
            + 4096 * 4096
            + 4096 * 1000;
        assert_eq!(network.forward_multiply_adds(), expected);
        assert_eq!(network.training_multiply_adds(), 3 * expected - 64 * 363 * 3025);
        assert!(network.is_convolutional(), "for all its linear layers");
    }
}

#[test]
fn alexnet_of_the_paper_has_its_parameters_layer_by_layer() {
    let config = with_model("alexnet_paper".into());
    for side in [224, 227] {
        let network = architecture(&config, ([3, side, side], 1000));
        let learnt: Vec<u64> =
            network.layers.iter().map(super::Layer::parameters).filter(|n| *n > 0).collect();
        let expected = [
            96 * 363 + 96,
            256 * 48 * 25 + 256,
            384 * 256 * 9 + 384,
            384 * 192 * 9 + 384,
            256 * 192 * 9 + 256,
            9216 * 4096 + 4096,
            4096 * 4096 + 4096,
            4096 * 1000 + 1000,
        ];
        assert_eq!(learnt, expected);
        assert_eq!(network.parameter_count(), 60_965_224);
        let names: Vec<String> =
            network.layers.iter().take(4).map(|layer| layer.name.to_string()).collect();
        assert_eq!(names, ["conv1", "relu1", "lrn1", "pool1"]);
        let first = network.layers[0].output;
        assert_eq!(first, Shape { height: 55, width: 55, channels: 96 }, "of {side}");
    }
}

#[test]
fn normalisations_stand_where_the_keys_say() {
    let model = Model::Alexnet { pooling: Pooling::Overlapping, lrn: true };
    let config = RunConfig { model, batch_norm: BatchNorm::ON, dropout: 0.5, ..Default::default() };
    let network = architecture(&config, IMAGENET);
    let names: Vec<String> = network.layers.iter().map(|l| l.name.to_string()).collect();
    insta::assert_snapshot!(names.join(" "), @"conv1 norm1 relu1 lrn1 pool1 conv2 norm2 relu2 lrn2 pool2 conv3 norm3 relu3 conv4 norm4 relu4 conv5 norm5 relu5 pool3 flatten1 dropout1 linear1 relu6 dropout2 linear2 relu7 linear3");
    let biases = network.parameters().filter(|(name, _)| name.starts_with("conv"));
    assert!(biases.map(|(name, _)| name).all(|name| name.ends_with("weight")));
}

#[test]
fn a_declared_network_is_what_the_list_says() {
    let mut config = layers(serde_json::json!([
        { "kind": "conv2d", "channels": 16, "kernel": 3, "padding": 1, "groups": 4 },
        "norm", "activation", "batch_norm",
        { "kind": "max_pool2d", "kernel": 3, "stride": 2, "padding": 1, "ceil": true },
        { "kind": "conv2d", "channels": 10, "kernel": 3, "dilation": 2, "bias": false },
        { "kind": "local_response_norm", "size": 3 }, "tanh",
        { "kind": "avg_pool2d", "kernel": 2 }, { "kind": "adaptive_avg_pool2d", "side": 2 },
        "flatten", "dropout", { "kind": "dropout", "p": 0.25 },
        { "kind": "linear", "units": 100 }, "norm", "logits",
    ]));
    config.dropout = 0.1;
    let shown = |config: &RunConfig| {
        let network = architecture(config, ([8, 20, 20], 5));
        let line =
            |layer: &super::Layer| format!("{} {} -> {}\n", layer.name, layer.input, layer.output);
        let text: String = network.layers.iter().map(line).collect();
        let parameters: Vec<String> =
            network.parameters().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        format!("{text}{}", parameters.join("\n"))
    };
    insta::assert_snapshot!(shown(&config));
    let rates: Vec<f64> = architecture(&config, ([8, 20, 20], 5))
        .layers
        .iter()
        .filter_map(|layer| match layer.operation {
            Operation::Dropout { p } => Some(p),
            _ => None,
        })
        .collect();
    assert_eq!(rates, [0.1, 0.25]);
    // The key puts both `norm`s in, and takes the biases before them out.
    config.batch_norm = BatchNorm::ON;
    config.width = 0.5;
    insta::assert_snapshot!(shown(&config));
}

#[test]
fn what_does_not_fit_is_named() {
    let conv =
        |kernel: u32| serde_json::json!({ "kind": "conv2d", "channels": 8, "kernel": kernel });
    let pool = |kernel: u32, padding: u32| serde_json::json!({ "kind": "max_pool2d", "kernel": kernel, "padding": padding });
    let wide = serde_json::json!(
        { "kind": "conv2d", "channels": 9, "kernel": 3, "padding": 3, "dilation": 1 });
    let groups = serde_json::json!(
        { "kind": "conv2d", "channels": 9, "kernel": 1, "groups": 3 });
    let lrn = serde_json::json!("local_response_norm");
    let cases = [
        (layers(serde_json::json!([conv(9)])), [3, 8, 28]),
        (layers(serde_json::json!([conv(5), pool(5, 0), conv(2)])), [3, 10, 10]),
        (layers(serde_json::json!([wide])), [3, 8, 8]),
        (layers(serde_json::json!([pool(3, 2)])), [3, 8, 8]),
        (layers(serde_json::json!([conv(3), groups])), [3, 8, 8]),
        (layers(serde_json::json!(["flatten", conv(3)])), [3, 8, 8]),
        (layers(serde_json::json!(["flatten", "relu", lrn])), [3, 8, 8]),
        (layers(serde_json::json!(["logits"])), [3, 8, 8]),
        (layers(serde_json::json!(["flatten"])), [3, 8, 8]),
        (layers(serde_json::json!(["flatten", { "kind": "linear", "units": 11 }])), [3, 8, 8]),
        (layers(serde_json::json!([conv(3)])), [3, 8, 8]),
        (with_model("alexnet".into()), [3, 62, 62]),
        (with_model("alexnet_paper".into()), [3, 28, 28]),
    ];
    let shown = |(config, image): &(RunConfig, [usize; 3])| {
        let Unfit { message, help } = unfit(config, *image);
        format!("{message} | {}", help.unwrap_or("-"))
    };
    insta::assert_snapshot!(cases.iter().map(shown).collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_smallest_image_is_the_smallest_that_fits() {
    for (model, side) in [("alexnet32", 7), ("alexnet", 63), ("alexnet_paper", 63), ("mlp", 1)] {
        let config = with_model(model.into());
        let smallest = smallest_side(&config, 3, 10).unwrap();
        assert_eq!(smallest, side, "{model}");
        let fits = |side: usize| walk(&config, [3, side, side], 10, &mut |_| {}).is_ok();
        assert!(fits(side) && (side == 1 || !fits(side - 1)), "{model}");
    }
}

#[test]
fn labels_are_short_and_tell_networks_apart() {
    let label = |config: &RunConfig| config.setting(Key::Model).label();
    let small = layers(serde_json::json!(["flatten", { "kind": "linear", "units": 9 }, "logits"]));
    let same = layers(serde_json::json!([
        { "kind": "flatten" }, { "kind": "linear", "units": 9.0, "bias": true }, "logits"
    ]));
    let other = layers(serde_json::json!([
        "flatten", { "kind": "linear", "units": 9 }, "relu", "logits"
    ]));
    assert_eq!(label(&small), label(&same));
    assert_eq!(small.canonical(), same.canonical());
    assert!(label(&small).starts_with("layers(f9-") && label(&small).len() == 17);
    assert_ne!(label(&small), label(&other));
    assert_eq!(label(&with_model("alexnet".into())), "alexnet");
}

#[test]
fn the_canonical_form_of_a_declared_network_is_read_back() {
    let config = layers(serde_json::json!([
        { "kind": "conv2d", "kernel": 3, "channels": 8 }, "relu", "flatten",
        { "kind": "dropout", "p": 0.5 }, "logits"
    ]));
    let canonical = serde_json::to_value(config.canonical()).unwrap();
    insta::assert_snapshot!(canonical["model"].to_string(), @r#"{"kind":"layers","layers":[{"channels":8,"kernel":3,"kind":"conv2d"},"relu","flatten",{"kind":"dropout","p":0.5},"logits"]}"#);
    assert_eq!(RunConfig::from_canonical(&canonical).unwrap(), config);
    let node = Node::from_json(&canonical["model"]);
    assert!(Key::Model.read(&node, &mut Diagnostics::new()).is_some());
}
