//! The options of training (schedules, clipping, smoothing, decay): that each has an effect, keeps
//! its bits through stop and resume, and does to a lane what it does to a run alone.

use super::*;
use crate::spec::optimizer::DecayOn;
use crate::spec::schedule::{Anneal, Watched};

const EPOCHS: u32 = 4;

fn plateau(metric: Watched) -> Schedule {
    // So demanding that every epoch but the first is a bad one.
    let (factor, patience, threshold, cooldown) = (0.3, 0, 0.9, 1);
    Schedule::Plateau { factor, patience, threshold, cooldown, min_lr: 0.0, metric }
}

fn one_cycle() -> Schedule {
    let (pct_start, div_factor, final_div_factor) = (0.3, 25.0, 1e4);
    Schedule::OneCycle { pct_start, div_factor, final_div_factor, anneal: Anneal::Cosine }
}

/// A configuration for every schedule and every option, and one with many at once.
fn configurations() -> Vec<RunConfig> {
    let base = RunConfig { epochs: EPOCHS, weight_decay: 0.02, ..mlp() };
    let schedules = [
        Schedule::Constant,
        Schedule::Step { every_epochs: 1, gamma: 0.5 },
        Schedule::MultiStep { milestones: vec![1, 3], gamma: 0.5 },
        Schedule::Exponential { gamma: 0.7, per: Pace::Epoch },
        Schedule::Exponential { gamma: 0.7, per: Pace::Step },
        Schedule::Cosine { final_factor: 0.1, per: Pace::Epoch },
        Schedule::Cosine { final_factor: 0.1, per: Pace::Step },
        Schedule::WarmupCosine { warmup_epochs: 1, final_factor: 0.0 },
        Schedule::Polynomial { power: 2.0, final_factor: 0.0 },
        one_cycle(),
        plateau(Watched::Loss),
        plateau(Watched::Accuracy),
    ];
    let mut all: Vec<RunConfig> =
        schedules.into_iter().map(|schedule| RunConfig { schedule, ..base.clone() }).collect();
    let adam = Rule::Adamw { beta1: 0.9, beta2: 0.99, eps: 1e-8 };
    all.extend([
        RunConfig { warmup_epochs: 1.5, ..base.clone() },
        RunConfig { clip_norm: 0.05, ..base.clone() },
        RunConfig { label_smoothing: 0.2, ..base.clone() },
        RunConfig { weight_decay_on: DecayOn::Weights, ..base.clone() },
        RunConfig {
            optimizer: adam,
            schedule: plateau(Watched::Loss),
            warmup_epochs: 0.5,
            clip_norm: 0.5,
            label_smoothing: 0.1,
            weight_decay_on: DecayOn::Weights,
            ..base
        },
    ]);
    all
}

fn small() -> Arc<DataSplits> {
    data(40, [1, 6, 6])
}

/// Trains to the end with a validation after every epoch, saved and restored into a fresh trainer
/// after each step and each epoch where `broken`.
fn validated(lanes: &[RunConfig], broken: bool) -> (Vec<Vec<LaneStep>>, Vec<Vec<u8>>) {
    let new = || Trainer::new(lanes, small()).unwrap();
    let resumed = |trainer: Trainer| {
        let mut fresh = new();
        fresh.restore(&files(&trainer)).unwrap();
        if broken { fresh } else { trainer }
    };
    let mut trainer = new();
    let mut steps = Vec::new();
    while trainer.epochs_done() < EPOCHS {
        let end = trainer.train_epoch(&mut |report| {
            steps.push(report.lanes.iter().copied().flatten().collect());
            if broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let EpochEnd::Complete(_) = end.unwrap() {
            trainer.validate().unwrap();
        }
        trainer = resumed(trainer);
    }
    (steps, files(&trainer))
}

#[test]
fn every_option_comes_to_the_same_bits_after_stop_and_resume_at_every_step() {
    let mut ends = Vec::new();
    for config in configurations() {
        let unbroken = validated(std::slice::from_ref(&config), false);
        let broken = validated(std::slice::from_ref(&config), true);
        assert!(unbroken == broken, "{:?}", config.canonical());
        assert_eq!(unbroken.0.len(), 12);
        ends.push(unbroken.0.last().unwrap()[0].loss);
    }
    // None of them is without effect.
    for (i, end) in ends.iter().enumerate() {
        let same = ends.iter().filter(|other| *other == end).count();
        // The two plateaus may drop after the same epochs.
        let plateaus = ends[10] == ends[11] && (10..12).contains(&i);
        assert!(same == if plateaus { 2 } else { 1 }, "{i}: {ends:?}");
    }
}

#[test]
fn lanes_with_different_options_equal_each_alone_bit_for_bit() {
    let lanes = configurations();
    let (fused_steps, fused_files) = validated(&lanes, true);
    for (lane, config) in lanes.iter().enumerate() {
        let (steps, files) = validated(std::slice::from_ref(config), false);
        for (alone, fused) in steps.iter().zip(&fused_steps) {
            assert_eq!(alone[0], fused[lane], "{lane}");
        }
        assert!(files[0] == fused_files[lane], "lane {lane}");
    }
}

#[test]
fn measuring_gradients_changes_nothing_else_and_clipping_measures_before_it_clips() {
    let run = |config: RunConfig, measure: bool| {
        let mut trainer = Trainer::new(&[config], small()).unwrap();
        if measure {
            trainer.measure_gradients();
        }
        let mut steps = Vec::new();
        let mut note = |report: &StepReport<'_>| {
            steps.push(report.lanes[0].unwrap());
            ControlFlow::Continue(())
        };
        trainer.train_epoch(&mut note).unwrap();
        (steps, trainer.save(0).unwrap())
    };
    let (plain, plain_bytes) = run(mlp(), false);
    let (measured, measured_bytes) = run(mlp(), true);
    assert!(plain_bytes == measured_bytes);
    assert!(plain.iter().all(|step| step.gradient_norm.is_none()));
    let norms: Vec<f64> = measured.iter().map(|step| step.gradient_norm.unwrap()).collect();
    assert!(norms.iter().all(|norm| *norm > 0.0));
    // A limit that is never reached changes nothing; the first norm is that before any clipping.
    let loose = run(RunConfig { clip_norm: 1e6, ..mlp() }, false).0;
    assert_eq!(loose, measured);
    let tight = run(RunConfig { clip_norm: 1e-3, ..mlp() }, false).0;
    assert_eq!(tight[0], measured[0]);
    assert!(tight[1].loss != measured[1].loss);
}

#[test]
fn a_validation_counts_once_and_an_impossible_memory_is_refused() {
    let config = RunConfig { epochs: EPOCHS, schedule: plateau(Watched::Loss), ..mlp() };
    let mut trainer = Trainer::new(&[config], small()).unwrap();
    trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
    trainer.validate().unwrap();
    let once = trainer.save(0).unwrap();
    trainer.validate().unwrap();
    assert!(trainer.save(0).unwrap() == once);
    let text = String::from_utf8_lossy(&once);
    assert!(text.contains("bad_epochs"));
    let at = once.windows(13).position(|w| w == b"\\\"epochs\\\":1}").unwrap();
    let mut damaged = once.clone();
    damaged[at + 11] = b'2';
    let error = trainer.restore(&[&damaged]).unwrap_err().to_string();
    assert!(error.contains("memory of `plateau` of lane 0"), "{error}");
}
