//! Ranks on accelerators: several come to what one accelerator comes to, to rounding in f32, and hold
//! the same bits. Ranks are threads here, each with an accelerator of its own: an emulated one, and in
//! a program with CUDA a GPU, if the machine has as many.

use super::*;
use crate::train::device::{Accelerator, emulated};

/// What `work` makes of the trainers of all ranks of `lanes`, each on its accelerator.
fn gang_on<R: Send>(
    accelerators: &[Accelerator],
    lanes: &[RunConfig],
    data: &Arc<DataSplits>,
    work: impl Fn(Trainer) -> R + Sync,
) -> Vec<R> {
    let on = |rank: usize, ranks: Ranks<f32>| {
        let mut trainer = Trainer::of_rank(lanes, Arc::clone(data), ranks).unwrap();
        trainer.move_to(&accelerators[rank]).unwrap();
        work(trainer)
    };
    match lanes[0].devices as usize {
        1 => vec![on(0, Ranks::alone())],
        world => linked(world, PATIENCE, |_, links| links, on),
    }
}

/// Do products of one lane have the same bits in a group of several? cuBLAS does not promise it, the
/// one that pretends has them.
fn makes_the_same_products(accelerators: &[Accelerator]) -> bool {
    let name = accelerators[0].name();
    !name.starts_with("cuda:") || name.contains("fake")
}

/// Steps that are compared: rounding grows with them.
const FEW: u64 = 6;

/// Differences of losses and of parameters that rounding in f32 makes in so many steps.
const NEAR: [f64; 2] = [1e-5, 1e-5];

/// The largest distances between what one accelerator and what `devices` come to.
fn distances_to_one(
    accelerators: &[Accelerator],
    config: &RunConfig,
    data: &Arc<DataSplits>,
    devices: u32,
) -> [f64; 2] {
    let run = |devices: u32| {
        let lanes = [on(devices, config)];
        gang_on(accelerators, &lanes, data, |trainer| outcome(trainer, FEW))
    };
    let (one, several) = (run(1).remove(0), run(devices));
    assert!(several.iter().all(|outcome| *outcome == several[0]), "ranks agree to the last bit");
    let (one, several) = (&one, &several[0]);
    assert_eq!(one.accuracies, several.accuracies);
    [distance(&one.losses, &several.losses), distance(&one.parameters, &several.parameters)]
}

#[track_caller]
fn assert_one(
    accelerators: &[Accelerator],
    config: &RunConfig,
    data: &Arc<DataSplits>,
    devices: u32,
) {
    let found = distances_to_one(accelerators, config, data, devices);
    let near = found.iter().zip(NEAR).all(|(found, near)| *found <= near);
    assert!(near, "{} on {devices}: {found:?}", config.model.kind());
}

/// 41 images in batches of 16: the last one is of 9; 49: of 1, so that some ranks have none.
#[test]
fn two_and_four_ranks_are_one_also_in_ragged_batches() {
    for (images, devices) in [(41, 2), (49, 4)] {
        for accelerators in emulated::gangs(devices as usize) {
            for (config, shape) in networks() {
                assert_one(&accelerators, &config, &data(images, shape), devices);
            }
        }
    }
}

#[test]
fn dropout_augmentation_and_mixup_are_those_of_one_rank() {
    let augmentation = |mixed: bool| {
        let mut list = vec![serde_json::json!({ "kind": "random_crop", "padding": 2 })];
        list.push("horizontal_flip".into());
        list.extend(mixed.then(|| serde_json::json!({ "kind": "mixup", "alpha": 0.4 })));
        let list = serde_json::json!({ "augmentation": list });
        RunConfig::from_canonical(&list).unwrap().augmentation
    };
    for accelerators in emulated::gangs(4) {
        // Parts of 3 images part the pairs that are mixed.
        for (mixed, (config, shape)) in [true, false].into_iter().zip(networks()) {
            let config = RunConfig {
                augmentation: augmentation(mixed),
                dropout: 0.3,
                label_smoothing: 0.1,
                batch_size: 12,
                ..config
            };
            assert_one(&accelerators, &config, &data(41, shape), 4);
        }
    }
}

#[test]
fn batch_norm_over_all_ranks_is_that_of_one_and_over_each_is_not() {
    let alexnet = RunConfig { dropout: 0.0, epochs: 9, ..alexnet32() };
    let mlp = RunConfig { batch_norm: BatchNorm::ON, epochs: 9, ..mlp() };
    // The last batch is of 2 images: two of four ranks have none.
    for (config, shape, devices, images) in [(alexnet, [1, 16, 16], 2, 40), (mlp, [1, 8, 8], 4, 50)]
    {
        let data = data(images, shape);
        for accelerators in emulated::gangs(devices as usize) {
            let whole = RunConfig { sync_batch_norm: true, ..config.clone() };
            assert_one(&accelerators, &whole, &data, devices);
            let run = |devices: u32| {
                let lanes = [on(devices, &config)];
                gang_on(&accelerators, &lanes, &data, |trainer| outcome(trainer, 3))
            };
            let (one, several) = (run(1).remove(0), run(devices));
            assert!(several.iter().all(|outcome| *outcome == several[0]));
            let found = distance(&one.parameters, &several[0].parameters);
            assert!(found > 1e-4, "local statistics are others: {found}");
        }
    }
}

#[test]
fn measurements_and_clipping_are_those_of_one_rank() {
    let measure = serde_json::json!({ "measure": [
        { "kind": "gradient_norm", "every_steps": 1 }, "activation", "update_ratio",
        { "kind": "drift", "samples": 20 }, "smoothness",
    ] });
    let measure = RunConfig::from_canonical(&measure).unwrap().measure;
    let config = RunConfig {
        measure,
        batch_norm: BatchNorm::ON,
        sync_batch_norm: true,
        clip_norm: 0.1,
        ..mlp()
    };
    for accelerators in emulated::gangs(2) {
        let run = |devices: u32| {
            let (lanes, data) = ([on(devices, &config)], data(64, [1, 8, 8]));
            gang_on(&accelerators, &lanes, &data, |mut trainer| {
                let mut all = Vec::new();
                trainer
                    .train_epoch(&mut |report| {
                        all.extend(report.measured.to_vec());
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                trainer.validate().unwrap();
                all.extend(trainer.measure().unwrap());
                let values = all.iter().flat_map(|m| m.lanes[0].clone().unwrap().values);
                values.filter(|x| x.is_finite()).collect::<Vec<f64>>()
            })
        };
        let (one, two) = (run(1).remove(0), run(2));
        assert!(two[0] == two[1] && one.len() > 25 && one.len() == two[0].len(), "{}", one.len());
        for (a, b) in one.iter().zip(&two[0]) {
            assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn lanes_on_two_ranks_are_each_alone_on_two_ranks_to_the_last_bit() {
    let lanes = unlike_lanes();
    let images = data(20, [1, 16, 16]);
    for accelerators in emulated::gangs(2) {
        let run = |lanes: &[RunConfig]| {
            gang_on(&accelerators, lanes, &images, |mut trainer| {
                let end = trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
                let loss = match end {
                    EpochEnd::Diverged => vec![None; lanes.len()],
                    _ => trainer.validate().unwrap(),
                };
                let divergences: Vec<_> =
                    (0..lanes.len()).map(|lane| trainer.divergence(lane).cloned()).collect();
                (files(&trainer), loss, divergences)
            })
        };
        let (group, validated, diverged) = run(&lanes).remove(0);
        assert!(diverged[3].is_some() && diverged[..3].iter().all(Option::is_none), "{diverged:?}");
        for (n, lane) in lanes.iter().enumerate() {
            let (alone, loss, divergence) = run(std::slice::from_ref(lane)).remove(0);
            if makes_the_same_products(&accelerators) {
                assert!(alone[0] == group[n], "lane {n}");
                assert_eq!(divergence[0], diverged[n]);
            }
            let losses = loss[0].zip(validated[n]).map(|(a, b)| (a.loss - b.loss).abs());
            assert!(losses.is_none_or(|apart| apart < 2e-4), "lane {n}: {losses:?}");
        }
    }
}

/// Whatever step it is stopped after, and by whichever rank; on accelerators and off them.
#[test]
fn ranks_stop_together_and_go_on_to_the_same_bits() {
    let config = on(2, &RunConfig { epochs: 2, ..mlp() });
    let images = data(40, [1, 8, 8]);
    let lanes = std::slice::from_ref(&config);
    for accelerators in emulated::gangs(2) {
        let run = |work: &(dyn Fn(Trainer) -> Vec<Vec<u8>> + Sync)| {
            gang_on(&accelerators, lanes, &images, work).remove(0)
        };
        let whole = run(&|mut trainer| train(&mut trainer).1);
        for stop in [0, 4] {
            for by in 0..2 {
                let half = run(&|mut trainer| {
                    stop_after(&mut trainer, stop, by);
                    files(&trainer)
                });
                let rest = run(&|mut trainer| {
                    trainer.restore(&half).unwrap();
                    train(&mut trainer).1
                });
                assert!(rest == whole, "stopped after step {stop} by rank {by}");
            }
        }
    }
}

#[test]
fn a_rank_whose_parameters_change_is_noticed_at_the_end_of_the_epoch() {
    let (config, images) = (on(2, &mlp()), data(32, [1, 8, 8]));
    for accelerators in emulated::gangs(2) {
        let found =
            gang_on(&accelerators, std::slice::from_ref(&config), &images, |mut trainer| {
                trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
                if trainer.ranks.peers().unwrap().rank() == 1 {
                    let parameter = trainer.network.parameters_mut().next().unwrap();
                    parameter.value.write(|value| value[7] += 1e-3).unwrap();
                }
                let end = trainer.train_epoch(&mut |_| ControlFlow::Continue(()));
                end.unwrap_err().to_string()
            });
        let expected = "after epoch 2, 1 of 2 ranks hold other parameters than rank 0: rank 1";
        assert_eq!(found, [expected; 2]);
    }
}

#[test]
fn ranks_with_other_gradients_are_told_apart_before_anything_is_summed() {
    let images = data(32, [1, 8, 8]);
    for accelerators in emulated::gangs(2) {
        let join = |rank: usize, ranks: Ranks<f32>| {
            let hidden = vec![24, 16 + rank as u32];
            let config = RunConfig { model: Model::Mlp { hidden }, ..on(2, &mlp()) };
            let mut trainer = Trainer::of_rank(&[config], Arc::clone(&images), ranks).unwrap();
            trainer.is_checked = true;
            trainer.move_to(&accelerators[rank]).unwrap();
            let end = trainer.train_epoch(&mut |_| ControlFlow::Continue(()));
            end.unwrap_err().to_string()
        };
        let found = linked(2, PATIENCE, |_, links| links, join);
        for (rank, found) in found.iter().enumerate() {
            let expected = format!(
                "rank {rank} and rank {} are out of step: the gradients of 6 parameters against other \
                 gradients, or in another order",
                1 - rank
            );
            assert_eq!(*found, expected);
        }
    }
}

#[test]
fn times_of_steps_are_told_of_several_ranks() {
    let config = on(2, &mlp());
    for accelerators in emulated::gangs(2) {
        let images = data(64, [1, 8, 8]);
        let times =
            gang_on(&accelerators, std::slice::from_ref(&config), &images, |mut trainer| {
                trainer.keep_rank_times(3);
                match trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap() {
                    EpochEnd::Complete(stats) => (stats.times.unwrap(), trainer.kept_rank_times()),
                    end => panic!("{end:?}"),
                }
            });
        for (times, kept) in times {
            assert_eq!(kept.len(), 3);
            for times in kept.iter().chain([&times]) {
                let all = [times.compute_s, times.communication_s, times.wait_s];
                assert!(all.iter().all(|&seconds| (0.0..60.0).contains(&seconds)), "{times:?}");
                assert!(times.communication_s > 0.0 && times.wait_s > 0.0, "{times:?}");
            }
        }
    }
}
