//! Steps that are begun before the one before them is known, and graphs: the same bits as step by
//! step and launch by launch, and a device that never waits for the host.

use super::*;
use crate::train::device::emulated::counting::{Count, Counting, Counts};

/// The emulated accelerator, watched.
fn watched(refuses_graphs: bool) -> Option<(Accelerator, Counts)> {
    let counts = Counts::default();
    let inner = emulated::backend()?;
    let backend = Counting { inner, counts: counts.clone(), refuses_graphs };
    Some((Accelerator::new(Box::new(backend)), counts))
}

/// All that a step can have: draws, windows, mixtures, smoothing, a rate that changes.
fn full(base: RunConfig) -> RunConfig {
    RunConfig {
        optimizer: adam(),
        lr: 0.003,
        dropout: 0.2,
        label_smoothing: 0.1,
        weight_decay: 0.01,
        schedule: Schedule::Cosine { final_factor: 0.0, per: Pace::Step },
        augmentation: Augmentation::of(vec![
            Operation::HorizontalFlip { p: 0.5 },
            Operation::Mixup { alpha: 0.5 },
        ]),
        epochs: EPOCHS,
        ..base
    }
}

#[test]
fn a_steady_step_is_one_launch_and_the_device_has_always_something_to_do() {
    let Some((accelerator, counts)) = watched(false) else { return };
    let device = Device::Accelerator(accelerator);
    for (base, shape, clip_norm) in
        [(mlp(), [1, 8, 8], 0.0), (alexnet32(), [1, 12, 12], 0.0), (mlp(), [1, 8, 8], 0.1)]
    {
        let mut lanes = mixed(&full(base));
        lanes[1].clip_norm = clip_norm;
        if clip_norm > 0.0 {
            // What is more than a window has kernels of its own.
            lanes[2].augmentation = Augmentation::of(vec![
                Operation::Rotation { degrees: 10.0 },
                Operation::Mixup { alpha: 0.5 },
            ]);
        }
        let mut trainer = Trainer::on(&lanes, data(16 * 6, shape), &device).unwrap();
        let mut steps: Vec<Count> = Vec::new();
        while trainer.epochs_done() < EPOCHS {
            let mut before = counts.so_far();
            trainer
                .train_epoch(&mut |_| {
                    let now = counts.so_far();
                    steps.push(now - before);
                    before = now;
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
        // The first report of an epoch comes after two steps were begun, the last after none.
        for epoch in steps.chunks(6).skip(1) {
            for (at, step) in epoch.iter().enumerate() {
                let begun = [2, 1, 1, 1, 1, 0][at];
                assert_eq!((step.commands, step.allocations), (0, 0), "step {at}: {step:?}");
                // Losses, and norms where they clip.
                let of_step = if clip_norm > 0.0 { 2 } else { 1 };
                let fetches = of_step * begun;
                assert_eq!((step.replays, step.fetches), (begun, fetches), "step {at}: {step:?}");
                let waits = if at == 5 { of_step } else { 0 };
                assert_eq!(step.waits, waits, "step {at}: {step:?}");
                // Images, shares twice, labels, partners; the update; the step of two dropouts. Once
                // an epoch the lanes that live.
                let most = 8 * begun + u64::from(at == 0);
                assert!(step.uploads <= most, "step {at}: {step:?}");
            }
        }
        assert!(steps[0].commands > 20, "{:?}", steps[0]);
    }
}

/// The passes of an evaluation are one launch each, once such a list has come twice, and the host waits
/// with nothing queued once: for the last pass. The sums are those of main memory, image by image.
#[test]
fn passes_of_an_evaluation_are_queued_one_behind_the_other() {
    let Some((accelerator, counts)) = watched(false) else { return };
    let mut data = Arc::unwrap_or_clone(data(16, [1, 8, 8]));
    // Passes of up to 256: seven whole ones and a ragged one.
    data.val = part(1800, data.shape, 3);
    let data = Arc::new(data);
    let lanes = mixed(&mlp());
    let mut alone = Trainer::on(&lanes, Arc::clone(&data), &Device::Cpu).unwrap();
    let mut trainer = Trainer::on(&lanes, data, &Device::Accelerator(accelerator)).unwrap();
    let expected = alone.evaluate(Part::Validation).unwrap();
    for turn in 0..3 {
        let before = counts.so_far();
        let found = trainer.evaluate(Part::Validation).unwrap();
        let seen = counts.so_far() - before;
        // Losses and numbers right of the last pass.
        assert_eq!((seen.fetches, seen.waits), (2 * 8, 2), "{turn}: {seen:?}");
        if turn == 2 {
            assert_eq!((seen.replays, seen.commands, seen.allocations), (8, 0, 0), "{seen:?}");
        }
        for (found, expected) in found.iter().zip(&expected) {
            let (found, expected) = (found.unwrap(), expected.unwrap());
            assert!((found.loss - expected.loss).abs() < 1e-5 * expected.loss);
            assert_eq!(found.accuracy, expected.accuracy);
        }
    }
}

#[test]
fn graphs_change_no_bit() {
    for device in devices() {
        let Device::Accelerator(accelerator) = &device else { continue };
        for (base, shape) in [(mlp(), [1, 8, 8]), (alexnet32(), [1, 12, 12])] {
            let (lanes, data) = (mixed(&full(base)), data(72, shape));
            accelerator.use_graphs(true);
            let before = accelerator.replays();
            let with = histories_on(&device, &lanes, &data, &[]);
            // Five steps an epoch, the last of which is ragged; the first of each kind is not one.
            let replays = accelerator.replays() - before;
            assert!(replays >= 10, "{replays}");
            accelerator.use_graphs(false);
            let before = accelerator.replays();
            let without = histories_on(&device, &lanes, &data, &[]);
            assert_eq!(accelerator.replays(), before);
            same(&with, &without);
            compare(&with, &histories(&lanes, &data, &[]));
        }
    }
}

#[test]
fn a_driver_that_refuses_to_record_changes_no_bit() {
    let (lanes, data) = (mixed(&full(mlp())), data(72, [1, 8, 8]));
    let told = [false, true].map(|refuses| {
        let (accelerator, counts) = watched(refuses)?;
        let found = histories_on(&Device::Accelerator(accelerator), &lanes, &data, &[]);
        assert_eq!(counts.so_far().replays == 0, refuses);
        Some(found)
    });
    if let [Some(with), Some(without)] = &told {
        same(with, without);
    }
}

/// The same bits in all that is told and saved.
#[track_caller]
fn same(found: &[History], expected: &[History]) {
    for (lane, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.told(), expected.told(), "lane {lane}");
        assert!(found.file == expected.file, "the file of lane {lane}");
    }
}

/// What a run without measurements comes to: all that is told of its steps, why it ended, its file.
#[derive(Debug, PartialEq)]
struct End {
    losses: Vec<String>,
    divergence: Option<String>,
    file: Vec<u8>,
}

/// The ends of a group, with steps ahead of the one that is reported, or none.
fn ends(device: &Device, lanes: &[RunConfig], data: &Arc<DataSplits>, ahead: bool) -> Vec<End> {
    ends_of(Trainer::on(lanes, Arc::clone(data), device).unwrap(), ahead)
}

fn ends_of(mut trainer: Trainer, ahead: bool) -> Vec<End> {
    let lanes = trainer.lanes.clone();
    let mut losses = vec![Vec::new(); lanes.len()];
    while trainer.epochs_done() < EPOCHS {
        if !ahead {
            trainer.nothing_ahead_of(Some(trainer.steps_done() + 1));
        }
        let end = trainer.train_epoch(&mut |report| {
            for (losses, lane) in losses.iter_mut().zip(report.lanes) {
                losses.extend(lane.map(|lane| format!("{lane:?}")));
            }
            if ahead { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if end.unwrap() == EpochEnd::Diverged {
            break;
        }
    }
    let ends = losses.into_iter().enumerate().map(|(lane, losses)| End {
        losses,
        divergence: trainer.divergence(lane).map(ToString::to_string),
        file: trainer.save(lane).unwrap(),
    });
    ends.collect()
}

#[test]
fn a_lane_ends_as_if_every_step_had_been_waited_for() {
    for device in devices() {
        let Device::Accelerator(accelerator) = &device else { continue };
        // Where sums overflow first depends on their order, which in convolutions is another one in
        // main memory.
        for (base, lr, shape, breaks_alike) in [
            (mlp(), 1e9, [1, 8, 8], true),
            (mlp(), 20.0, [1, 8, 8], true),
            (RunConfig { optimizer: adam(), ..mlp() }, 1e12, [1, 8, 8], true),
            (RunConfig { clip_norm: 1e30, ..mlp() }, 1e9, [1, 8, 8], true),
            (alexnet32(), 1e9, [1, 12, 12], false),
        ] {
            let activation = Activation::Relu;
            let base = RunConfig { activation, dropout: 0.2, epochs: EPOCHS, ..base };
            let data = data(72, shape);
            let breaks_alike = breaks_alike && makes_the_same_products(&device);
            for group in wild_groups(&base, lr) {
                let here = ends(&Device::Cpu, &group, &data, true);
                let one_by_one = ends(&device, &group, &data, false);
                assert!(here.iter().any(|end| end.divergence.is_some()));
                for graphs in [true, false] {
                    accelerator.use_graphs(graphs);
                    let found = ends(&device, &group, &data, true);
                    for (lane, (found, expected)) in found.iter().zip(&one_by_one).enumerate() {
                        assert_eq!(found.losses, expected.losses, "lane {lane}");
                        let expected_text = if breaks_alike {
                            &here[lane].divergence
                        } else {
                            &expected.divergence
                        };
                        assert_eq!(&found.divergence, expected_text, "lane {lane}");
                        assert!(found == expected, "lane {lane}, graphs: {graphs}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_stop_is_heeded_after_the_step_that_was_begun_or_exactly_where_nothing_is_ahead() {
    let data = data(16 * 6, [1, 8, 8]);
    let config = RunConfig { epochs: EPOCHS, ..mlp() };
    for device in devices() {
        let reported = |trainer: &mut Trainer, last: u64| {
            let mut steps = Vec::new();
            let end = trainer.train_epoch(&mut |report| {
                steps.push(report.step);
                if report.step >= last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (steps, end.unwrap() == EpochEnd::Stopped, trainer.steps_done())
        };
        let new =
            || Trainer::on(std::slice::from_ref(&config), Arc::clone(&data), &device).unwrap();
        let mut trainer = new();
        assert_eq!(reported(&mut trainer, 1), (vec![0, 1, 2], true, 3));
        assert_eq!(reported(&mut trainer, 5), (vec![3, 4, 5], true, 6));
        assert_eq!(reported(&mut trainer, 5), (vec![], false, 6), "the epoch's end was left");
        let mut exact = new();
        exact.nothing_ahead_of(Some(2));
        assert_eq!(reported(&mut exact, 1), (vec![0, 1], true, 2));
        exact.nothing_ahead_of(None);
        assert_eq!(reported(&mut exact, 9), (vec![2, 3, 4, 5], false, 6));
        assert!(files(&exact) == files(&trainer));
    }
}

#[test]
fn norms_that_nobody_waits_for_have_the_bits_of_those_that_somebody_does() {
    let data = data(72, [1, 8, 8]);
    let [plain, normalised, ..] = mixed(&full(mlp()));
    let lanes = [RunConfig { clip_norm: 0.1, ..plain.clone() }, normalised, plain];
    let every_step = Measurements::new(vec![Measurement::GradientNorm { every_steps: 1 }]);
    let seen = lanes.clone().map(|lane| RunConfig { measure: every_step.clone(), ..lane });
    for device in devices() {
        let steps = |lanes: &[RunConfig]| {
            let found = histories_on(&device, lanes, &data, &[]);
            found.into_iter().map(|history| history.steps).collect::<Vec<_>>()
        };
        let unseen = steps(&lanes);
        assert_eq!(unseen, steps(&seen));
        assert!(unseen[0].iter().all(|step| step.gradient_norm.is_some_and(|norm| norm > 0.1)));
    }
}

#[test]
fn an_infinite_gradient_of_a_finite_loss_ends_only_the_lanes_that_measure_it() {
    let clipped = RunConfig { clip_norm: 1.0, epochs: EPOCHS, ..mlp() };
    let group = [RunConfig { clip_norm: 0.0, ..clipped.clone() }, clipped.clone(), clipped];
    let data = data(72, [1, 8, 8]);
    // As in the test of that name on the CPU.
    let grown = |device: &Device| {
        let mut trainer = Trainer::on(&group, Arc::clone(&data), device).unwrap();
        for (parameter, size) in trainer.network.parameters_mut().zip([1e-30, 0.0, 1e30, 0.0, 1e30])
        {
            let place = 0..2 * parameter.len();
            let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
            let fill = |value: &mut [f32]| {
                value[place].iter_mut().enumerate().for_each(|(i, x)| *x = size * sign(i));
            };
            parameter.value.write(fill).unwrap();
        }
        trainer
    };
    let here = ends_of(grown(&Device::Cpu), true);
    for device in devices() {
        let [ahead, one_by_one] = [true, false].map(|ahead| ends_of(grown(&device), ahead));
        assert!(ahead == one_by_one);
        for (found, expected) in ahead.iter().zip(&here) {
            assert_eq!(found.divergence, expected.divergence);
        }
        let text = ahead[1].divergence.as_deref().unwrap_or_default();
        assert!(text.contains("gradient") && text.contains("step 0"), "{text}");
        assert_eq!(ahead[2].divergence, None);
    }
}

#[test]
fn where_a_lane_broke_is_looked_for_in_the_batch_that_broke_it() {
    // One image alone has a pixel that is not 0, at a weight that makes it infinite.
    let shape = [1, 8, 8];
    let mut pixels = vec![0; 72 * 64];
    pixels[32 * 64 + 9] = 255;
    let mut splits = (*data(72, shape)).clone();
    (splits.train.pixels, splits.mean) = (pixels.into(), vec![0.0]);
    let splits = Arc::new(splits);
    let config = RunConfig { epochs: EPOCHS, clip_norm: 1.0, ..mlp() };
    let group = [config.clone(), RunConfig { seed: 5, ..config }];
    type Spoil = fn(&mut Trainer);
    let too_bright: Spoil = |trainer| {
        let parameter = trainer.network.parameters_mut().next().unwrap();
        let len = parameter.len();
        parameter.value.write(|value| value[len + 9] = f32::MAX).unwrap();
    };
    // As in the test of infinite gradients: outputs are finite, the way back is not.
    let too_steep: Spoil = |trainer| {
        for (parameter, size) in trainer.network.parameters_mut().zip([1e-30, 0.0, 1e30, 0.0, 1e30])
        {
            let len = parameter.len();
            let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
            let fill = |value: &mut [f32]| {
                value[len..].iter_mut().enumerate().for_each(|(i, x)| *x = size * sign(i));
            };
            parameter.value.write(fill).unwrap();
        }
    };
    for (spoil, found_in) in [
        (too_bright, "first non-finite output in linear1"),
        (too_steep, "first non-finite gradient of linear1.bias"),
    ] {
        let divergence = |device: &Device| {
            let mut trainer = Trainer::on(&group, Arc::clone(&splits), device).unwrap();
            spoil(&mut trainer);
            let end = ends_of(trainer, true).remove(1);
            // A sum of infinities is one or NaN, by its order.
            let told = end.divergence.unwrap();
            told.split_once(" at step ").unwrap().1.to_owned()
        };
        let expected = divergence(&Device::Cpu);
        assert!(expected.ends_with(found_in), "{expected}");
        assert!(!expected.starts_with('4'), "a step is begun before it is noticed: {expected}");
        for device in devices() {
            assert_eq!(divergence(&device), expected);
        }
    }
}

#[test]
fn a_lane_that_had_diverged_lives_again_where_it_is_restored_to_before() {
    let data = data(72, [1, 8, 8]);
    let base = RunConfig { epochs: EPOCHS, batch_norm: BatchNorm::ON, ..mlp() };
    for device in devices() {
        let lanes = [base.clone(), RunConfig { seed: 4, ..base.clone() }];
        let new = || Trainer::on(&lanes, Arc::clone(&data), &device).unwrap();
        let mut trainer = new();
        let fresh = files(&trainer);
        let spoil = |value: &mut [f32]| value.fill(f32::NAN);
        trainer.network.parameters_mut().next().unwrap().value.write(spoil).unwrap();
        let end = trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(end, EpochEnd::Diverged);
        trainer.restore(&fresh).unwrap();
        assert!(ends_of(trainer, true) == ends_of(new(), true));
    }
}
