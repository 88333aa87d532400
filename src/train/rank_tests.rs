//! Several ranks are one: N ranks come to what one comes to, to rounding, in f64 to 1e-10 after 20
//! steps; and whatever keeps them from it is noticed. Ranks are threads here, over the memory that
//! processes share.

use std::time::Duration;

use super::*;
use crate::spec::augmentation::Augmentation;
use crate::spec::lr_scaling::LrScaling;
use crate::spec::measure::Measurement;
use crate::spec::operation::Operation;
use crate::train::parallel::{AllReduce, Communicator, ParallelError, Segment, Shared};

#[path = "rank_accelerated_tests.rs"]
mod accelerated;

const PATIENCE: Duration = Duration::from_secs(60);

/// The two ways between ranks.
type Links<T> = (Box<dyn AllReduce<T>>, Box<dyn AllReduce<f64>>);

/// Lets `work` be done by every rank of a world; `links` may change what lies between them.
fn linked<T: Real, R: Send>(
    world: usize,
    patience: Duration,
    links: impl Fn(usize, Links<T>) -> Links<T> + Sync,
    work: impl Fn(usize, Ranks<T>) -> R + Sync,
) -> Vec<R> {
    let segment = Arc::new(Segment::create(world).unwrap());
    let join = |rank: usize| {
        let [gradients, agreement, _] = Shared::channels(&segment, rank, patience);
        let (gradients, agreement) = links(rank, (Box::new(gradients), Box::new(agreement)));
        work(rank, Ranks::new(gradients, agreement))
    };
    std::thread::scope(|scope| {
        let join = &join;
        let threads: Vec<_> = (0..world).map(|rank| scope.spawn(move || join(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// What `work` makes of the trainers of all ranks of `config`; of the one trainer of one device.
fn gang<T: Real, R: Send>(
    lanes: &[RunConfig],
    data: &Arc<DataSplits>,
    work: impl Fn(Trainer<T>) -> R + Sync,
) -> Vec<R> {
    let world = lanes[0].devices as usize;
    if world == 1 {
        return vec![work(Trainer::of_rank(lanes, Arc::clone(data), Ranks::alone()).unwrap())];
    }
    linked(
        world,
        PATIENCE,
        |_, links| links,
        |_, ranks| work(Trainer::of_rank(lanes, Arc::clone(data), ranks).unwrap()),
    )
}

fn on(devices: u32, config: &RunConfig) -> RunConfig {
    RunConfig { devices, ..config.clone() }
}

/// What a training has come to.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    parameters: Vec<f64>,
    losses: Vec<f64>,
    accuracies: Vec<f64>,
}

/// Trains for at least so many steps, to the end of an epoch each time.
fn outcome<T: Real>(mut trainer: Trainer<T>, steps: u64) -> Outcome {
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    while trainer.steps_done() < steps {
        let end = trainer.train_epoch(&mut |report| {
            losses.extend(report.lanes.iter().flatten().map(|lane| lane.loss));
            ControlFlow::Continue(())
        });
        assert!(matches!(end.unwrap(), EpochEnd::Complete(_)));
        let validation = trainer.validate().unwrap()[0].unwrap();
        losses.push(validation.loss);
        accuracies.push(validation.accuracy);
    }
    losses.push(trainer.evaluate(Part::Test).unwrap()[0].unwrap().loss);
    Outcome { parameters: parameters(&trainer), losses, accuracies }
}

fn parameters<T: Real>(trainer: &Trainer<T>) -> Vec<f64> {
    let values = trainer.network.parameters().map(|parameter| parameter.value.read().unwrap());
    values.flat_map(|value| value.iter().map(|x| x.wide()).collect::<Vec<_>>()).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

const STEPS: u64 = 20;

/// The largest distance between what one rank and what `devices` ranks come to in f64.
fn distance_to_one(config: &RunConfig, data: &Arc<DataSplits>, devices: u32) -> f64 {
    let run = |devices: u32| {
        gang::<f64, _>(&[on(devices, config)], data, |trainer| outcome(trainer, STEPS))
    };
    let (one, several) = (run(1).remove(0), run(devices));
    assert!(several.iter().all(|outcome| *outcome == several[0]), "ranks agree to the last bit");
    assert_eq!(one.accuracies, several[0].accuracies);
    let losses = distance(&one.losses, &several[0].losses);
    losses.max(distance(&one.parameters, &several[0].parameters))
}

/// An mlp, an alexnet32 and a declared network.
fn networks() -> [(RunConfig, [usize; 3]); 3] {
    let plain = RunConfig { batch_norm: BatchNorm::Off, dropout: 0.0, ..alexnet32() };
    let layers = serde_json::json!({ "model": { "kind": "layers", "layers": [
        { "kind": "conv2d", "channels": 6, "kernel": 3, "padding": 1 }, "activation",
        { "kind": "avg_pool2d", "kernel": 2 },
        { "kind": "conv2d", "channels": 5, "kernel": 3, "stride": 2 }, "activation",
        "local_response_norm", "flatten",
        { "kind": "linear", "units": 12 }, "activation", "dropout", "logits",
    ] } });
    let layers = RunConfig { model: RunConfig::from_canonical(&layers).unwrap().model, ..mlp() };
    [
        (RunConfig { epochs: 9, clip_norm: 1.0, ..mlp() }, [1, 8, 8]),
        (RunConfig { epochs: 9, ..plain }, [1, 16, 16]),
        (RunConfig { epochs: 9, ..layers }, [3, 12, 12]),
    ]
}

/// 41 images in batches of 16: the last one is of 9; 49: of 1, fewer than there are ranks.
#[test]
fn two_and_four_ranks_are_one_also_in_ragged_batches() {
    for (config, shape) in networks() {
        for (images, devices) in [(41, 2), (49, 4)] {
            let found = distance_to_one(&config, &data(images, shape), devices);
            assert!(found <= 1e-10, "{} on {devices}: {found}", config.model.kind());
        }
    }
}

/// Parts of 3 images: their borders part the pairs that mixup mixes.
#[test]
fn dropout_augmentation_and_mixup_are_those_of_one_rank() {
    let augmentation = serde_json::json!({ "augmentation": [
        { "kind": "random_crop", "padding": 2 }, "horizontal_flip", { "kind": "mixup", "alpha": 0.4 },
    ] });
    let augmentation = RunConfig::from_canonical(&augmentation).unwrap().augmentation;
    for (config, shape) in networks() {
        let config = RunConfig {
            augmentation: augmentation.clone(),
            dropout: 0.3,
            label_smoothing: 0.1,
            batch_size: 12,
            ..config
        };
        let found = distance_to_one(&config, &data(41, shape), 4);
        assert!(found <= 1e-10, "{}: {found}", config.model.kind());
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
        let whole = RunConfig { sync_batch_norm: true, ..config.clone() };
        let found = distance_to_one(&whole, &data, devices);
        assert!(found <= 1e-10, "{}: {found}", config.model.kind());
        let run = |devices: u32| {
            gang::<f64, _>(&[on(devices, &config)], &data, |trainer| outcome(trainer, 3))
        };
        let (one, several) = (run(1).remove(0), run(2));
        assert!(several[0] == several[1]);
        let found = distance(&one.parameters, &several[0].parameters);
        assert!(found > 1e-6, "local statistics are others: {found}");
    }
}

#[test]
fn a_step_in_f32_is_that_of_one_rank_to_rounding() {
    for (config, shape) in networks() {
        let step = |devices: u32| {
            gang::<f32, _>(&[on(devices, &config)], &data(48, shape), |mut trainer| {
                trainer.train_epoch(&mut |_| ControlFlow::Break(())).unwrap();
                parameters(&trainer)
            })
        };
        let (one, two) = (step(1).remove(0), step(2).remove(0));
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let off = norm(&mut one.iter().zip(&two).map(|(a, b)| a - b));
        assert!(off <= 1e-7 * norm(&mut one.iter().copied()), "{off}");
    }
}

#[test]
fn measurements_are_those_of_one_rank() {
    let measure = [
        Measurement::GradientNorm { every_steps: 1 },
        Measurement::Activation,
        Measurement::UpdateRatio,
        Measurement::Drift { samples: 20 },
    ];
    let smoothness = serde_json::json!({ "measure": ["smoothness"] });
    let smoothness = RunConfig::from_canonical(&smoothness).unwrap().measure;
    let measure = measure.into_iter().chain(smoothness.iter().cloned());
    let config = RunConfig {
        measure: crate::spec::measure::Measurements::new(measure.collect()),
        batch_norm: BatchNorm::ON,
        sync_batch_norm: true,
        ..mlp()
    };
    let run = |devices: u32| {
        gang::<f64, _>(&[on(devices, &config)], &data(64, [1, 8, 8]), |mut trainer| {
            let mut all = Vec::new();
            for _ in 0..2 {
                let end = trainer.train_epoch(&mut |report| {
                    all.extend(report.measured.to_vec());
                    ControlFlow::Continue(())
                });
                end.unwrap();
                trainer.validate().unwrap();
                all.extend(trainer.measure().unwrap());
            }
            let values = all.iter().flat_map(|m| m.lanes[0].clone().unwrap().values);
            values.filter(|x| x.is_finite()).collect::<Vec<f64>>()
        })
    };
    let (one, two) = (run(1).remove(0), run(2));
    assert!(two[0] == two[1] && one.len() > 50);
    for (a, b) in one.iter().zip(&two[0]) {
        // Drift is kept in f32.
        assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} {b}");
    }
}

/// Lanes that have little in common, the last of which diverges, on two ranks.
fn unlike_lanes() -> [RunConfig; 4] {
    let mix = Augmentation::of(vec![Operation::Mixup { alpha: 0.4 }]);
    let lane = |seed: u64| RunConfig { seed, batch_size: 6, dropout: 0.2, ..alexnet32() };
    let lanes = [
        RunConfig { batch_norm: BatchNorm::Off, ..lane(1) },
        RunConfig { augmentation: mix, clip_norm: 0.5, ..lane(2) },
        RunConfig { sync_batch_norm: true, lr: 0.1, ..lane(3) },
        RunConfig { lr: 1e9, ..lane(4) },
    ];
    lanes.map(|lane| on(2, &lane))
}

/// Runs share no number, so neither do their sums over ranks.
#[test]
fn lanes_on_two_ranks_are_each_alone_on_two_ranks_to_the_last_bit() {
    let lanes = unlike_lanes();
    let images = data(20, [1, 16, 16]);
    let run = |lanes: &[RunConfig]| {
        gang::<f32, _>(lanes, &images, |mut trainer| {
            let mut told = Vec::new();
            for _ in 0..2 {
                match trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap() {
                    EpochEnd::Diverged => break,
                    _ => told.push(trainer.validate().unwrap()),
                }
            }
            let divergences: Vec<_> =
                (0..lanes.len()).map(|lane| trainer.divergence(lane).cloned()).collect();
            (files(&trainer), told, divergences)
        })
    };
    let (group, _, diverged) = run(&lanes).remove(0);
    assert!(diverged[3].is_some() && diverged[..3].iter().all(Option::is_none), "{diverged:?}");
    for (n, lane) in lanes.iter().enumerate() {
        let ranks = run(std::slice::from_ref(lane));
        assert!(ranks[0].0[0] == group[n], "lane {n}");
        assert_eq!(ranks[0].2[0], diverged[n]);
        assert_eq!(ranks[0].1.len(), ranks[1].1.len());
    }
}

/// Trains until rank `by` has all of them stop after `step`.
fn stop_after<T: Real>(trainer: &mut Trainer<T>, step: u64, by: usize) {
    let rank = trainer.ranks.peers().unwrap().rank();
    loop {
        let end = trainer.train_epoch(&mut |report| match report.step == step && rank == by {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        if matches!(end.unwrap(), EpochEnd::Stopped) {
            return;
        }
    }
}

/// Whatever step it is stopped after, and by whichever rank.
#[test]
fn ranks_stop_together_and_go_on_to_the_same_bits() {
    let config = on(2, &RunConfig { epochs: 2, ..alexnet32() });
    let images = data(40, [1, 16, 16]);
    let lanes = std::slice::from_ref(&config);
    let whole = gang::<f32, _>(lanes, &images, |mut trainer| train(&mut trainer)).remove(0);
    for stop in [0, 2, 4] {
        for by in 0..2 {
            let halves = gang::<f32, _>(lanes, &images, |mut trainer| {
                stop_after(&mut trainer, stop, by);
                (trainer.steps_done(), files(&trainer))
            });
            assert_eq!([halves[0].0, halves[1].0], [stop + 1; 2]);
            // All ranks go on from the files of rank 0.
            let rest = gang::<f32, _>(lanes, &images, |mut trainer| {
                trainer.restore(&halves[0].1).unwrap();
                train(&mut trainer).1
            });
            assert!(rest[0] == whole.1, "stopped after step {stop} by rank {by}");
        }
    }
}

#[test]
fn the_rate_is_scaled_as_the_configuration_says() {
    let config = RunConfig { lr_scaling: LrScaling::Linear, devices: 2, ..mlp() };
    let rates = gang::<f32, _>(&[config], &data(16, [1, 8, 8]), |mut trainer| {
        let mut rate = 0.0;
        let end = trainer.train_epoch(&mut |report| {
            rate = report.lanes[0].unwrap().lr;
            ControlFlow::Break(())
        });
        end.unwrap();
        rate
    });
    assert_eq!(rates, [0.1, 0.1]);
}

#[test]
fn times_of_steps_are_told_of_several_ranks() {
    let config = on(2, &mlp());
    let times = gang::<f32, _>(&[config], &data(64, [1, 8, 8]), |mut trainer| {
        match trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap() {
            EpochEnd::Complete(stats) => stats.times.unwrap(),
            end => panic!("{end:?}"),
        }
    });
    for times in times {
        let all = [times.compute_s, times.communication_s, times.wait_s];
        assert!(all.iter().all(|&seconds| seconds > 0.0 && seconds < 60.0), "{times:?}");
    }
}

/// A link that spoils what goes over it, before it is summed and after.
struct Spoilt<T> {
    link: Box<dyn AllReduce<T>>,
    before: fn(&mut [T]),
    after: fn(&mut [T]),
}

impl<T: Real> Communicator for Spoilt<T> {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn world_size(&self) -> usize {
        self.link.world_size()
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        self.link.barrier()
    }
}

impl<T: Real> AllReduce<T> for Spoilt<T> {
    fn all_reduce(&mut self, data: &mut [T]) -> Result<(), ParallelError> {
        (self.before)(data);
        self.link.all_reduce(data)?;
        (self.after)(data);
        Ok(())
    }

    fn broadcast(&mut self, data: &mut [T]) -> Result<(), ParallelError> {
        self.link.broadcast(data)
    }
}

/// Spoils the gradients of some ranks.
fn spoilt(
    ranks: Range<usize>,
    before: fn(&mut [f32]),
    after: fn(&mut [f32]),
) -> impl Fn(usize, Links<f32>) -> Links<f32> {
    move |rank, (link, agreement)| match ranks.contains(&rank) {
        true => (Box::new(Spoilt { link, before, after }), agreement),
        false => (link, agreement),
    }
}

impl<T: Real> Communicator for Box<dyn AllReduce<T>> {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn world_size(&self) -> usize {
        (**self).world_size()
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        (**self).barrier()
    }
}

/// The error that training on two ranks ends with, on each.
fn errors(
    links: impl Fn(usize, Links<f32>) -> Links<f32> + Sync,
    config: impl Fn(usize) -> RunConfig + Sync,
) -> Vec<String> {
    let images = data(32, [1, 8, 8]);
    linked(2, PATIENCE, links, |rank, ranks: Ranks<f32>| {
        let lanes = [on(2, &config(rank))];
        let mut trainer = Trainer::of_rank(&lanes, Arc::clone(&images), ranks).unwrap();
        let end = trainer.train_epoch(&mut |_| ControlFlow::Continue(()));
        end.err().map_or_else(String::new, |error| error.to_string())
    })
}

const RANK_1_DIFFERS: &str =
    "after epoch 1, 1 of 2 ranks hold other parameters than rank 0: rank 1";

#[test]
fn a_sum_instead_of_a_mean_is_noticed_on_one_rank_by_the_digest_and_on_all_by_the_comparison() {
    let double = |data: &mut [f32]| data.iter_mut().for_each(|x| *x *= 2.0);
    let scale = |ranks| spoilt(ranks, |_| {}, double);
    assert_eq!(errors(scale(1..2), |_| mlp()), [RANK_1_DIFFERS; 2]);
    assert_eq!(errors(scale(0..2), |_| mlp()), [""; 2], "ranks that are wrong alike agree");
    let images = data(32, [1, 8, 8]);
    let wrong = linked(2, PATIENCE, scale(0..2), |_, ranks: Ranks<f32>| {
        outcome(Trainer::of_rank(&[on(2, &mlp())], Arc::clone(&images), ranks).unwrap(), 2)
    });
    let right = gang::<f32, _>(&[mlp()], &images, |trainer| outcome(trainer, 2)).remove(0);
    assert!(distance(&right.parameters, &wrong[0].parameters) > 1e-4);
}

/// As many numbers in each sum, but those of other gradients; where the numbers differ, the sum itself
/// fails (`parallel/exchange.rs`).
#[test]
fn a_rank_that_sums_its_gradients_in_another_order_is_noticed_by_the_digest() {
    let swapped = spoilt(1..2, <[f32]>::reverse, <[f32]>::reverse);
    assert_eq!(errors(swapped, |_| mlp()), [RANK_1_DIFFERS; 2]);
}

#[test]
fn a_rank_with_another_seed_is_noticed_before_the_first_step() {
    let found = errors(|_, links| links, |rank| RunConfig { seed: rank as u64, ..mlp() });
    let expected = "after epoch 0, 1 of 2 ranks hold other parameters than rank 0: rank 1";
    assert_eq!(found, [expected; 2]);
}

#[test]
fn a_rank_with_another_network_is_told_apart() {
    let model = |rank: usize| Model::Mlp { hidden: vec![24, 16 + rank as u32] };
    let found = errors(|_, links| links, |rank| RunConfig { model: model(rank), ..mlp() });
    assert!(found.iter().all(|error| !error.is_empty()), "{found:?}");
}

#[test]
fn a_rank_that_is_gone_is_missed() {
    let images = data(30, [1, 8, 8]);
    let links = |_: usize, links: Links<f32>| links;
    let found = linked(3, Duration::from_millis(300), links, |rank, ranks| {
        let lanes = [RunConfig { devices: 3, batch_size: 15, ..mlp() }];
        let mut trainer = Trainer::of_rank(&lanes, Arc::clone(&images), ranks).unwrap();
        if rank == 2 {
            // It leaves without a word; its memory stays.
            return "gone".to_owned();
        }
        let end = trainer.train_epoch(&mut |_| ControlFlow::Continue(()));
        end.unwrap_err().to_string()
    });
    assert!(found[..2].iter().any(|error| error.contains("rank 2 has not moved")), "{found:?}");
}
