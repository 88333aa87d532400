//! Whole runs on an accelerator: near those of the CPU, and among themselves the same to the bit:
//! stopped and restored, in a group and alone, also where a lane diverges.

use super::*;
use crate::spec::architecture::{Architecture, CONVOLUTION_BYTES, PRODUCT_BYTES};
use crate::spec::augmentation::Level;
use crate::spec::dataset::Dataset;
use crate::spec::precision::Precision;
use crate::train::device::{Accelerator, emulated};

#[path = "pipelined_tests.rs"]
mod pipelined;

/// The accelerators to try.
fn devices() -> Vec<Device> {
    emulated::accelerators().into_iter().map(Device::Accelerator).collect()
}

/// Losses of runs whose sums are made in other orders, relative to the larger of 1 and the loss.
const NEAR: f64 = 2e-4;

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= NEAR * expected.abs().max(1.0)
}

/// A run on the device tells what it tells on the CPU, nearly.
fn compare(found: &[History], expected: &[History]) {
    for (lane, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.parameters, expected.parameters);
        assert_eq!(found.steps.len(), expected.steps.len(), "lane {lane}");
        for (step, (found, expected)) in found.steps.iter().zip(&expected.steps).enumerate() {
            assert!(near(found.loss, expected.loss), "lane {lane} {step}: {found:?} {expected:?}");
            assert_eq!(found.lr, expected.lr);
            let norms = found.gradient_norm.zip(expected.gradient_norm);
            assert!(norms.is_none_or(|(found, expected)| near(found, expected)), "{norms:?}");
            assert_eq!(found.gradient_norm.is_some(), expected.gradient_norm.is_some());
        }
        for (found, expected) in found.validations.iter().zip(&expected.validations) {
            assert!(near(found.loss, expected.loss), "lane {lane}: {found:?} {expected:?}");
        }
        let causes = [found, expected].map(|history| history.divergence.clone());
        let noticed = causes.map(|cause| cause.map(|d| (d.step, d.epoch, d.noticed)));
        assert_eq!(noticed[0], noticed[1], "lane {lane}");
        assert_eq!(found.stopped.is_some(), expected.stopped.is_some(), "lane {lane}");
        assert_eq!(found.measured.len(), expected.measured.len(), "lane {lane}");
    }
}

/// Are products of one lane the same bits in a batch of several? cuBLAS does not promise it.
fn makes_the_same_products(device: &Device) -> bool {
    let Device::Accelerator(accelerator) = device else { return true };
    !accelerator.name().starts_with("cuda:")
}

/// The group on the device is near the one on the CPU, the same bits when it is stopped after some
/// steps and restored, and lane by lane, too, if products are.
fn check_on(device: &Device, lanes: &[RunConfig], data: &Arc<DataSplits>) {
    let whole = histories_on(device, lanes, data, &[]);
    compare(&whole, &histories(lanes, data, &[]));
    let stopped = histories_on(device, lanes, data, &[0, 3]);
    for (lane, config) in lanes.iter().enumerate() {
        let alone = histories_on(device, std::slice::from_ref(config), data, &[]).remove(0);
        let same = |other: &History| {
            assert!(whole[lane].file == other.file, "the file of lane {lane}");
            assert_eq!(whole[lane].told(), other.told(), "lane {lane}");
        };
        same(&stopped[lane]);
        if makes_the_same_products(device) {
            same(&alone);
        } else {
            compare(&[alone], std::slice::from_ref(&whole[lane]));
        }
    }
}

/// How far losses of three epochs may go from those in f32, relative to the larger of 1 and the loss:
/// every product is of factors with a relative error of 2^-8 (bf16; 2^-11 of TF32), at random, so a
/// logit that is a sum over some tens of units is off by about 2^-8, and learning follows the losses.
fn far(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => NEAR,
        Precision::Tf32 => 5e-3,
        Precision::Bf16 => 5e-2,
    }
}

/// Groups in every precision learn nearly as in f32 on the CPU, whatever they are stopped by, and lane by
/// lane as the run alone.
fn check_precisions(base: &RunConfig, data: &Arc<DataSplits>) {
    let lanes = mixed(base)[..2].to_vec();
    let expected = histories(&lanes, data, &[]);
    for device in devices() {
        let mut seen = Vec::new();
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let lanes: Vec<RunConfig> =
                lanes.iter().map(|lane| RunConfig { precision, ..lane.clone() }).collect();
            let whole = histories_on(&device, &lanes, data, &[]);
            let stopped = histories_on(&device, &lanes, data, &[0, 3]);
            for (lane, found) in whole.iter().enumerate() {
                let steps = found.steps.iter().zip(&expected[lane].steps);
                for (step, (found, expected)) in steps.enumerate() {
                    let far = (found.loss - expected.loss).abs() / expected.loss.max(1.0);
                    let said = format!("{precision:?} lane {lane} {step}: {found:?} {expected:?}");
                    assert!(far <= self::far(precision), "{said}");
                }
                let losses = |epoch: usize| -> f64 {
                    let each = found.steps.len() / EPOCHS as usize;
                    found.steps[epoch * each..][..each].iter().map(|step| step.loss).sum()
                };
                assert!(losses(EPOCHS as usize - 1) < losses(0), "{precision:?} does not learn");
                let alone = histories_on(&device, &lanes[lane..=lane], data, &[]).remove(0);
                let others =
                    [Some(&stopped[lane]), makes_the_same_products(&device).then_some(&alone)];
                for other in others.into_iter().flatten() {
                    assert!(found.file == other.file, "{precision:?}: the file of lane {lane}");
                    assert_eq!(found.told(), other.told(), "{precision:?}: lane {lane}");
                }
            }
            seen.push(whole[0].steps.last().map(|step| step.loss.to_bits()));
        }
        assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2], "{seen:?}");
    }
}

#[test]
fn runs_in_every_precision_learn_on_an_accelerator() {
    let base = RunConfig { epochs: EPOCHS, lr: 0.05, ..mlp() };
    check_precisions(&base, &data(40, [1, 8, 8]));
    let base = RunConfig { epochs: EPOCHS, lr: 0.05, ..alexnet32() };
    check_precisions(&base, &data(40, [1, 12, 12]));
}

#[test]
fn a_precision_of_accelerators_is_refused_on_the_cpu() {
    let config = RunConfig { precision: Precision::Bf16, ..mlp() };
    let error = Trainer::on(&[config], data(40, [1, 8, 8]), &Device::Cpu).err().unwrap();
    let expected = "precision = \"bf16\" is for GPUs, and this run is on the cpu; take precision = \
                    \"f32\", or device = \"cuda\"";
    assert_eq!(error.to_string(), expected);
}

/// What is forecast of an accelerator's memory against the most that was allocated there: what
/// libraries work in, and the program, are forecast at their limits.
#[test]
fn memory_of_an_accelerator_is_what_the_architecture_forecasts() {
    let data = data(40, [1, 12, 12]);
    for device in devices() {
        for precision in [Precision::F32, Precision::Bf16] {
            for base in [mlp(), alexnet32()] {
                let shape = data.shape.map(|n| n as u32).to_vec();
                let dataset =
                    Dataset::Synthetic { train: 40, val: 60, test: 40, shape, classes: 4 };
                let optimizer = adam();
                let config = RunConfig { precision, optimizer, epochs: 1, dataset, ..base };
                let Device::Accelerator(accelerator) = &device else { continue };
                let before = accelerator.bytes();
                let mut trainer =
                    Trainer::on(std::slice::from_ref(&config), Arc::clone(&data), &device).unwrap();
                trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
                trainer.validate().unwrap();
                let held = accelerator.bytes() - before;
                drop(trainer);
                let network = Architecture::new(&config, data.shape, data.classes).unwrap();
                let need = network.memory_on_gpu(&config);
                let limits = need.data + need.program + PRODUCT_BYTES;
                let most = (need.total() - limits) as usize;
                let convolves = config.model == alexnet32().model;
                let worked = if convolves { CONVOLUTION_BYTES as usize } else { 0 };
                let what = format!("{precision:?} {:?}: {held} of {most}", config.model);
                assert!(held <= most, "{what}");
                assert!(held >= (most - worked) * 4 / 5, "{what}, without {worked}");
            }
        }
    }
}

#[test]
fn mlps_on_an_accelerator() {
    let data = data(40, [1, 8, 8]);
    for device in devices() {
        for base in trainings(&mlp()) {
            check_on(&device, &mixed(&RunConfig { measure: everything(), ..base }), &data);
        }
    }
}

/// The lists that ship, with lanes that do little or nothing to their images beside them.
#[test]
fn augmented_images_on_an_accelerator() {
    let cutout = vec![Operation::Cutout { size: 5, p: 0.8 }, Operation::Mixup { alpha: 0.4 }];
    let augmentations = [Level::AlexnetStyle, Level::Strong, Level::Basic, Level::None]
        .map(Augmentation::Level)
        .into_iter()
        .chain([Augmentation::of(cutout)]);
    let lane = |(seed, augmentation)| RunConfig {
        seed,
        augmentation,
        epochs: EPOCHS,
        dropout: 0.2,
        ..mlp()
    };
    let lanes: Vec<RunConfig> = (0..).zip(augmentations).map(lane).collect();
    for device in devices() {
        for shape in [[3, 9, 11], [1, 12, 12]] {
            check_on(&device, &lanes, &data(40, shape));
        }
    }
}

#[test]
fn alexnets_on_an_accelerator() {
    for device in devices() {
        let [momentum, adam, clipped] = trainings(&alexnet32());
        for base in [momentum, adam, clipped] {
            check_on(&device, &mixed(&base)[..2], &data(40, [1, 12, 12]));
        }
    }
}

#[test]
fn declared_networks_on_an_accelerator() {
    let layers = serde_json::json!([
        "norm", { "kind": "conv2d", "channels": 8, "kernel": 3, "groups": 2 }, "norm", "relu",
        { "kind": "local_response_norm", "size": 3, "alpha": 0.1 },
        { "kind": "max_pool2d", "kernel": 3, "stride": 2, "padding": 1, "ceil": true },
        { "kind": "avg_pool2d", "kernel": 2, "padding": 1 }, "flatten",
        "dropout", { "kind": "linear", "units": 9 }, "norm", "batch_norm", "tanh", "logits",
    ]);
    let declared =
        RunConfig::from_canonical(&serde_json::json!({ "model": { "layers": layers } })).unwrap();
    let base = RunConfig {
        model: declared.model,
        dropout: 0.2,
        label_smoothing: 0.1,
        epochs: EPOCHS,
        ..mlp()
    };
    for device in devices() {
        check_on(&device, &mixed(&base), &data(40, [2, 8, 8]));
    }
}

#[test]
fn a_lane_that_diverges_on_an_accelerator_ends_where_it_does_on_the_cpu() {
    let base = RunConfig {
        activation: Activation::Relu,
        dropout: 0.2,
        epochs: EPOCHS,
        measure: everything(),
        ..mlp()
    };
    for device in devices() {
        for group in wild_groups(&base, 1e9) {
            check_on(&device, &group, &data(40, [1, 8, 8]));
        }
    }
}

#[test]
fn a_lane_that_is_stopped_early_on_an_accelerator_ends_where_it_does_on_the_cpu() {
    let base = RunConfig { epochs: EPOCHS, dropout: 0.2, measure: everything(), ..mlp() };
    for device in devices() {
        for group in impatient_groups(&base) {
            check_on(&device, &group, &data(40, [1, 8, 8]));
        }
    }
}

#[test]
fn a_run_goes_on_where_it_was_not_begun() {
    let data = data(40, [1, 8, 8]);
    let config = RunConfig { epochs: EPOCHS, optimizer: adam(), lr: 0.003, ..mlp() };
    for device in devices() {
        let expected = histories(std::slice::from_ref(&config), &data, &[]).remove(0);
        for [first, second] in [[&device, &Device::Cpu], [&Device::Cpu, &device]] {
            let trainer = |on: &Device| {
                Trainer::on(std::slice::from_ref(&config), Arc::clone(&data), on).unwrap()
            };
            let mut begun = trainer(first);
            begun.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
            begun.validate().unwrap();
            let mut resumed = trainer(second);
            resumed.restore(&files(&begun)).unwrap();
            assert!(files(&resumed) == files(&begun));
            let mut losses = Vec::new();
            while resumed.epochs_done() < EPOCHS {
                resumed
                    .train_epoch(&mut |report| {
                        losses.extend(report.lanes[0].map(|lane| lane.loss));
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                resumed.validate().unwrap();
            }
            let rest = expected.steps[expected.steps.len() - losses.len()..].iter();
            assert!(rest.zip(&losses).all(|(expected, &found)| near(found, expected.loss)));
        }
    }
}

#[test]
fn a_trainer_starts_with_the_same_bits_wherever_it_is() {
    let data = data(40, [1, 12, 12]);
    let lanes = mixed(&alexnet32());
    let here = Trainer::new(&lanes, Arc::clone(&data)).unwrap();
    for device in devices() {
        let there = Trainer::on(&lanes, Arc::clone(&data), &device).unwrap();
        assert!(files(&here) == files(&there));
        let Device::Accelerator(accelerator) = &device else { continue };
        let on: Option<Accelerator> = there.network.logits().accelerator();
        assert_eq!(on.map(|a| a.name().to_owned()).as_deref(), Some(accelerator.name()));
    }
}
