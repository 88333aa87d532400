//! What a trainer promises, tried on small networks and generated images; what its options
//! promise is in `options`.

use std::ops::{ControlFlow, Range};

use super::*;
use crate::spec::activation::Activation;
use crate::spec::batch_norm::BatchNorm;
use crate::spec::model::Model;
use crate::spec::optimizer::Optimizer as Rule;
use crate::spec::schedule::{Pace, Schedule};
use crate::train::checkpoint;
use crate::train::measure::Measured;
use crate::train::report::{EpochEnd, Evaluation, LaneEpoch, Part, StepReport};
use crate::train::rng::{Purpose, Stream};

#[path = "allocation_tests.rs"]
mod allocations;
#[path = "lane_tests.rs"]
mod lanes;
#[path = "option_tests.rs"]
mod options;
#[path = "rank_tests.rs"]
mod ranks;

/// Images whose class shows in the bright rows, with noise.
fn part(images: usize, [channels, height, width]: [usize; 3], number: u32) -> Images {
    let mut reader = Stream::new(0, Purpose::Synthetic, number, 0).reader();
    let mut part = Images::default();
    for image in 0..images {
        let label = image % 4;
        for pixel in 0..channels * height * width {
            let bright = pixel / width % height % 4 == label;
            part.pixels.to_mut().push((reader.below(120) + if bright { 120 } else { 0 }) as u8);
        }
        part.labels.push(label as u16);
    }
    part
}

fn data(train: usize, shape: [usize; 3]) -> Arc<DataSplits> {
    Arc::new(DataSplits {
        shape,
        classes: 4,
        mean: vec![0.35; shape[0]],
        std: vec![0.3; shape[0]],
        train: part(train, shape, 0),
        val: part(60, shape, 1),
        test: part(40, shape, 2),
    })
}

fn mlp() -> RunConfig {
    RunConfig {
        model: Model::Mlp { hidden: vec![24, 16] },
        batch_size: 16,
        epochs: 4,
        lr: 0.05,
        optimizer: Rule::Sgd { momentum: 0.9, nesterov: false },
        ..RunConfig::default()
    }
}

fn alexnet32() -> RunConfig {
    RunConfig {
        model: Model::Alexnet32,
        width: 0.03,
        batch_norm: BatchNorm::ON,
        dropout: 0.2,
        activation: Activation::Tanh,
        ..mlp()
    }
}

/// The checkpoints of all lanes.
fn files(trainer: &Trainer) -> Vec<Vec<u8>> {
    (0..trainer.lanes.len()).map(|lane| trainer.save(lane).unwrap()).collect()
}

/// Trains to the end; the losses of every step and the final checkpoints.
fn train(trainer: &mut Trainer) -> (Vec<f64>, Vec<Vec<u8>>) {
    let mut losses = Vec::new();
    while trainer.steps_done() < trainer.total_steps() {
        let end = trainer.train_epoch(&mut |report| {
            losses.extend(report.lanes.iter().flatten().map(|lane| lane.loss));
            ControlFlow::Continue(())
        });
        assert!(matches!(end.unwrap(), EpochEnd::Complete(_)));
    }
    (losses, files(trainer))
}

#[test]
fn a_small_mlp_learns_separable_images() {
    let mut trainer = Trainer::new(&[mlp()], data(400, [1, 8, 8])).unwrap();
    assert_eq!((trainer.steps_per_epoch(), trainer.total_steps()), (25, 100));
    assert_eq!(trainer.parameters(0), 65 * 24 + 25 * 16 + 17 * 4);
    let (losses, _) = train(&mut trainer);
    let test = trainer.evaluate(Part::Test).unwrap()[0].unwrap();
    assert!(test.accuracy > 0.9 && test.loss < 0.4, "{test:?}");
    assert!(losses[99] < losses[0]);
    assert_eq!((trainer.epochs_done(), trainer.steps_done()), (4, 100));
    let again = trainer.train_epoch(&mut |_| ControlFlow::Continue(()));
    assert!(matches!(again, Err(TrainError::NothingLeft { epochs: 4 })));
}

#[test]
fn a_small_alexnet_learns_with_every_optimizer() {
    let moments = |decoupled: bool| {
        let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
        if decoupled { Rule::Adamw { beta1, beta2, eps } } else { Rule::Adam { beta1, beta2, eps } }
    };
    for optimizer in [mlp().optimizer, moments(false), moments(true)] {
        let lr = if matches!(optimizer, Rule::Sgd { .. }) { 0.05 } else { 0.005 };
        let config = RunConfig { optimizer, lr, weight_decay: 1e-4, epochs: 12, ..alexnet32() };
        let mut trainer = Trainer::new(&[config], data(320, [1, 16, 16])).unwrap();
        train(&mut trainer);
        let accuracy = trainer.evaluate(Part::Validation).unwrap()[0].unwrap().accuracy;
        assert!(accuracy > 0.9, "{accuracy}");
    }
}

#[test]
fn an_epoch_reports_the_means_over_its_images() {
    let mut trainer = Trainer::new(&[mlp()], data(40, [1, 8, 8])).unwrap();
    let mut losses = Vec::new();
    let end = trainer.train_epoch(&mut |report| {
        losses.push((report.step, report.epoch, report.lanes[0].unwrap()));
        ControlFlow::Continue(())
    });
    let EpochEnd::Complete(stats) = end.unwrap() else { panic!("not complete") };
    // Batches of 16, 16 and the 8 that are left.
    let mean = (16.0 * losses[0].2.loss + 16.0 * losses[1].2.loss + 8.0 * losses[2].2.loss) / 40.0;
    let epoch = stats.lanes[0].unwrap();
    assert!((epoch.train_loss - mean).abs() < 1e-12);
    assert_eq!(losses.iter().map(|l| (l.0, l.1)).collect::<Vec<_>>(), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!((stats.epoch, epoch.lr), (1, 0.05));
}

#[test]
fn lanes_equal_the_same_runs_alone_bit_for_bit() {
    for base in [mlp(), alexnet32()] {
        let data = data(70, [2, 12, 12]);
        let adam = Rule::Adam { beta1: 0.8, beta2: 0.99, eps: 1e-6 };
        let lanes = [
            base.clone(),
            RunConfig { seed: 5, dropout: 0.4, lr: 0.01, ..base.clone() },
            RunConfig { optimizer: adam, weight_decay: 0.01, lr: 0.002, ..base.clone() },
            RunConfig {
                schedule: Schedule::Cosine { final_factor: 0.0, per: Pace::Step },
                dropout: 0.0,
                ..base.clone()
            },
        ];
        let mut fused = Trainer::new(&lanes, Arc::clone(&data)).unwrap();
        let (fused_losses, fused_files) = train(&mut fused);
        let fused_test = fused.evaluate(Part::Test).unwrap();
        for (lane, config) in lanes.iter().enumerate() {
            let mut alone = Trainer::new(std::slice::from_ref(config), Arc::clone(&data)).unwrap();
            let (losses, files) = train(&mut alone);
            let same: Vec<f64> = fused_losses.iter().skip(lane).step_by(4).copied().collect();
            assert_eq!(losses, same, "lane {lane}");
            assert_eq!(alone.evaluate(Part::Test).unwrap()[0], fused_test[lane]);
            assert!(files[0] == fused_files[lane], "lane {lane}");
        }
    }
}

/// The rounding of a matrix product may depend on its extents, the sums of the losses must not: they
/// are made image by image.
#[test]
fn how_many_images_are_evaluated_at_once_changes_no_result() {
    for config in [mlp(), alexnet32()] {
        let data = data(70, [2, 12, 12]);
        let results = [60, 59, 23, 16].map(|room| {
            let lanes = std::slice::from_ref(&config);
            let mut trainer =
                Trainer::<f32>::with_room(lanes, Arc::clone(&data), room, Ranks::alone()).unwrap();
            let (losses, bytes) = train(&mut trainer);
            let parts = [Part::Validation, Part::Test];
            (losses, bytes, parts.map(|part| trainer.evaluate(part).unwrap()[0].unwrap()))
        });
        let [(losses, bytes, expected), others @ ..] = &results;
        for (other_losses, other_bytes, found) in others {
            assert!(other_losses == losses && other_bytes == bytes);
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.accuracy, expected.accuracy);
                assert!((found.loss / expected.loss - 1.0).abs() < 1e-6, "{found:?} {expected:?}");
            }
        }
    }
}

#[test]
fn a_run_stopped_anywhere_and_restored_equals_an_unbroken_one() {
    let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    let schedule = Schedule::WarmupCosine { warmup_epochs: 1, final_factor: 0.1 };
    let other = RunConfig { seed: 1, optimizer: adam, schedule, lr: 0.003, ..alexnet32() };
    let lanes = [RunConfig { epochs: 3, ..alexnet32() }, RunConfig { epochs: 3, ..other }];
    let data = data(40, [1, 12, 12]);
    let new = || Trainer::new(&lanes, Arc::clone(&data)).unwrap();
    let collect = |trainer: &mut Trainer, stop: Option<u64>| {
        let mut reports = Vec::new();
        let mut epochs = Vec::new();
        while trainer.epochs_done() < 3 {
            let end = trainer.train_epoch(&mut |report| {
                reports.push((report.step, report.lanes.to_vec()));
                if Some(report.step) == stop {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            match end.unwrap() {
                EpochEnd::Complete(stats) => epochs.push(stats),
                end => {
                    assert_eq!(end, EpochEnd::Stopped);
                    break;
                }
            }
        }
        (reports, epochs)
    };
    let mut unbroken = new();
    let (reports, epochs) = collect(&mut unbroken, None);
    // After the first step, in mid-epoch, at an epoch's last step, at the run's last step.
    for stop in [0, 4, 5, 8] {
        let mut first = new();
        let (mut found, mut found_epochs) = collect(&mut first, Some(stop));
        assert_eq!(first.steps_done(), stop + 1);
        let saved = files(&first);
        assert!(saved == files(&first), "saving twice gives the same bytes");
        let mut second = new();
        second.restore(&saved).unwrap();
        assert!(saved == files(&second), "what is restored is what was saved");
        let (rest, rest_epochs) = collect(&mut second, None);
        found.extend(rest);
        found_epochs.extend(rest_epochs);
        assert_eq!((&found, &found_epochs), (&reports, &epochs));
        assert!(files(&second) == files(&unbroken));
    }
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_names_the_step() {
    let wild = RunConfig { lr: 1e30, ..mlp() };
    let mut trainer = Trainer::new(&[wild], data(200, [1, 8, 8])).unwrap();
    let mut last = None;
    let end = trainer.train_epoch(&mut |report| {
        assert!(report.lanes[0].unwrap().loss.is_finite());
        last = Some(report.step);
        ControlFlow::Continue(())
    });
    let expected = last.unwrap() + 1;
    assert_eq!(end.unwrap(), EpochEnd::Diverged);
    let cause = trainer.divergence(0).unwrap().clone();
    assert_eq!((cause.step, cause.epoch), (expected, 1));
    assert!(matches!(cause.noticed, Noticed::Loss { .. }), "{cause}");
    let place = cause.to_string();
    assert!(place.contains("first non-finite") && place.contains("linear"), "{place}");
    assert_eq!(trainer.steps_done(), expected);
    let saved = files(&trainer);
    let again = trainer.train_epoch(&mut |_| panic!("a step of a run that has ended"));
    assert_eq!(again.unwrap(), EpochEnd::Diverged);
    assert!(files(&trainer) == saved);
}

#[test]
fn checkpoints_that_are_damaged_or_anothers_are_refused_and_change_nothing() {
    let data = data(40, [1, 8, 8]);
    let mut trainer = Trainer::new(&[mlp()], Arc::clone(&data)).unwrap();
    let stop = &mut |_: &StepReport<'_>| ControlFlow::Break(());
    trainer.train_epoch(stop).unwrap();
    let saved = trainer.save(0).unwrap();
    trainer.train_epoch(stop).unwrap();
    let before = trainer.save(0).unwrap();
    for length in (0..saved.len()).step_by(97) {
        assert!(trainer.restore(&[&saved[..length]]).is_err(), "{length} bytes");
    }
    let header = 8 + u64::from_le_bytes(saved[..8].try_into().unwrap()) as usize;
    for place in 0..header {
        let mut damaged = saved.clone();
        damaged[place] ^= 1;
        // Some bits leave a file that is whole and means the same, or another number of right
        // answers: the envelope's checksum guards those. None may panic.
        if trainer.restore(&[&damaged]).is_ok() {
            trainer.restore(&[&before]).unwrap();
        }
        assert!(trainer.save(0).unwrap() == before, "byte {place}");
    }
    let refusal = |lanes: &[RunConfig]| {
        let other = Trainer::new(lanes, Arc::clone(&data)).unwrap();
        let mut trainer = Trainer::new(&[mlp()], Arc::clone(&data)).unwrap();
        trainer.restore(&[other.save(0).unwrap()]).unwrap_err().to_string()
    };
    let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    for (lanes, expected) in [
        (vec![RunConfig { lr: 0.1, ..mlp() }], "configuration of lane 0"),
        (vec![RunConfig { seed: 1, ..mlp() }], "configuration of lane 0"),
        (vec![RunConfig { optimizer: adam, ..mlp() }], "number of tensors"),
        (
            vec![RunConfig { model: Model::Mlp { hidden: vec![24, 17] }, ..mlp() }],
            "lane0/linear2.weight: expected F32 [16, 24], found F32 [17, 24]",
        ),
    ] {
        let refusal = refusal(&lanes);
        assert!(refusal.contains(expected), "{refusal}");
    }
    let mut pair = Trainer::new(&[mlp(), mlp()], Arc::clone(&data)).unwrap();
    for (files, expected) in [
        (vec![&saved], "number of lanes: expected 2, found 1"),
        (vec![&before, &saved], "steps done of lane 1: expected 2, found 1"),
    ] {
        assert_eq!(
            pair.restore(&files).unwrap_err().to_string(),
            format!("checkpoint: {expected}")
        );
    }
}

#[test]
fn progress_that_cannot_be_is_refused() {
    let data = data(40, [1, 8, 8]);
    let mut trainer = Trainer::new(&[mlp()], data).unwrap();
    for (steps_done, epochs_done) in [(4, 0), (2, 1), (13, 4), (12, 5), (u64::MAX, u32::MAX)] {
        let mut header = trainer.header(0);
        header.progress.steps_done = steps_done;
        header.progress.epochs_done = epochs_done;
        let mut bytes = Vec::new();
        let source = (&trainer.network, &trainer.optimizer, [].as_slice());
        checkpoint::write(source, 0, &header, &mut bytes).unwrap();
        let error = trainer.restore(&[&bytes]).unwrap_err().to_string();
        assert!(error.contains("steps done after"), "{error}");
    }
}

#[test]
fn configurations_and_data_that_do_not_fit_are_refused_by_name() {
    let whole = data(40, [1, 8, 8]);
    let refusal = |lanes: &[RunConfig], data: &Arc<DataSplits>| {
        Trainer::new(lanes, Arc::clone(data)).err().unwrap().to_string()
    };
    assert_eq!(refusal(&[], &whole), "a trainer needs at least 1 configuration, found none");
    let wider = RunConfig { batch_size: 8, ..mlp() };
    assert_eq!(
        refusal(&[mlp(), wider], &whole),
        "lanes of one network share `batch_size`: lane 0 has 16, lane 1 has 8"
    );
    let two = RunConfig { devices: 2, ..mlp() };
    assert_eq!(refusal(&[two], &whole), "a run of devices = 2 needs as many ranks, found 1");
    let mut torn = (*whole).clone();
    torn.val.pixels.to_mut().pop();
    assert_eq!(
        refusal(&[mlp()], &Arc::new(torn)),
        "the validation part has a wrong number of bytes: expected 3840, found 3839"
    );
    let mut strange = (*whole).clone();
    strange.test.labels[3] = 4;
    assert_eq!(
        refusal(&[mlp()], &Arc::new(strange)),
        "the test part has a class out of range: expected below 4, found 4"
    );
}

#[test]
fn evaluating_changes_nothing() {
    let mut trainer = Trainer::new(&[alexnet32()], data(40, [1, 16, 16])).unwrap();
    trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
    let before = trainer.save(0).unwrap();
    let first = trainer.evaluate(Part::Validation).unwrap();
    assert_eq!(trainer.evaluate(Part::Validation).unwrap(), first);
    assert!(trainer.save(0).unwrap() == before);
}
