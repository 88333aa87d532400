//! Training beside PyTorch: the same weights, the same batches, the same losses.
//!
//! `tests/reference/parity.py` made the weights and the losses; its head says how.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridlane::spec::RunConfig;
use gridlane::spec::dataset::Dataset;
use gridlane::train::data::{DataSplits, Images, load};
use gridlane::train::rng::{Purpose, Stream};
use gridlane::train::weights::Weights;
use gridlane::train::{EpochEnd, Trainer};

const IMAGES: usize = 640;
const EPOCHS: u32 = 5;

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

/// The first test images of mnist-10k, which no split moves, as training images.
fn data(mean: f32, std: f32) -> DataSplits {
    let splits = load(&Dataset::Mnist10k, 0.1, Path::new("")).unwrap();
    let train = Images {
        pixels: splits.test.pixels[..IMAGES * 784].to_vec().into(),
        labels: splits.test.labels[..IMAGES].to_vec(),
    };
    DataSplits { mean: vec![mean], std: vec![std], train, ..splits }
}

#[test]
fn the_script_has_our_order_of_the_images() {
    let epoch = |epoch| Stream::new(0, Purpose::Order, epoch, 0).reader().permutation(IMAGES);
    let order: Vec<Vec<u32>> = (1..=EPOCHS).map(epoch).collect();
    let path = reference().join("parity_order.json");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, serde_json::to_string(&order).unwrap() + "\n").unwrap();
    }
    let written: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(written == order, "the order changed: UPDATE_REFERENCE=1, then run parity.py");
}

/// Trains as `parity.json` in `folder` says, and gives the largest relative departure of a loss from
/// PyTorch's in float32 and in float64.
fn departures(folder: &Path) -> [f64; 2] {
    let text = std::fs::read(folder.join("parity.json")).unwrap();
    let parity: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let number = |key: &str| parity[key].as_f64().unwrap();
    let config = RunConfig::from_canonical(&serde_json::json!({
        "model": "alexnet32",
        "width": number("width"),
        "activation": "tanh",
        "batch_size": number("batch_size"),
        "lr": number("lr"),
        "optimizer": { "kind": "sgd", "momentum": number("momentum") },
        "epochs": EPOCHS,
        "init": { "from": "parity.safetensors" },
    }))
    .unwrap();
    let data = Arc::new(data(number("mean") as f32, number("std") as f32));
    let mut trainer = Trainer::new(&[config], data).unwrap();
    trainer.start_from(0, &Weights::open(&folder.join("parity.safetensors")).unwrap()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..EPOCHS {
        let end = trainer.train_epoch(&mut |report| {
            losses.extend(report.lanes[0].map(|lane| lane.loss));
            ControlFlow::Continue(())
        });
        assert!(matches!(end.unwrap(), EpochEnd::Complete(_)));
    }
    ["losses_f32", "losses_f64"].map(|key| {
        let expected: Vec<f64> = serde_json::from_value(parity[key].clone()).unwrap();
        assert_eq!((losses.len(), expected.len()), (50, 50));
        assert!(expected[49] < 0.5 * expected[0], "nothing was learnt that could go wrong");
        let departure = |(found, expected): (&f64, &f64)| (found - expected).abs() / expected;
        losses.iter().zip(&expected).map(departure).fold(0.0, f64::max)
    })
}

#[test]
fn fifty_steps_from_pytorchs_weights_have_pytorchs_losses() {
    let [single, double] = departures(&reference());
    assert!(single < 1e-4 && double < 1e-4, "{single:e} of float32, {double:e} of float64");
}

/// For other widths, whose weights are too large to keep: `python parity.py 1.0 0.001 FOLDER`, then this
/// with `GRIDLANE_PARITY=FOLDER`.
#[test]
#[ignore = "needs weights that parity.py has to make first"]
fn fifty_steps_from_weights_made_now() {
    let folder = std::env::var_os("GRIDLANE_PARITY").expect("GRIDLANE_PARITY is set");
    let [single, double] = departures(Path::new(&folder));
    eprintln!("{single:e} of float32, {double:e} of float64");
    assert!(single < 1e-4 && double < 1e-4, "{single:e} of float32, {double:e} of float64");
}
