//! Lanes that do not all have the same layers, or not all the same end: that each is what it is
//! alone, in every number that is reported and every byte that is saved.

use super::*;
use crate::spec::augmentation::Augmentation;
use crate::spec::batch_norm::Normalisation;
use crate::spec::early_stopping::EarlyStopping;
use crate::spec::init::Init;
use crate::spec::measure::{Measurement, Measurements, StepFactors};
use crate::spec::operation::Operation;
use crate::spec::schedule::Watched;
use crate::train::measure::LaneMeasured;
use crate::train::weights::Weights;

#[path = "accelerated_tests.rs"]
mod accelerated;

const EPOCHS: u32 = 3;

/// All that is told of one lane, and what is saved of it in the end.
#[derive(Debug, Default, Clone)]
struct History {
    parameters: u64,
    steps: Vec<LaneStep>,
    epochs: Vec<LaneEpoch>,
    validations: Vec<Evaluation>,
    measured: Vec<(u64, &'static str, LaneMeasured)>,
    test: Option<Evaluation>,
    divergence: Option<Divergence>,
    stopped: Option<String>,
    file: Vec<u8>,
}

impl History {
    /// All but the file, as text: every number to its last bit, NaN the same as NaN.
    fn told(&self) -> String {
        format!("{:?}", Self { file: Vec::new(), ..self.clone() })
    }
}

/// The histories of a group; after each of the steps `stops` it is saved and a fresh one restored.
fn histories(lanes: &[RunConfig], data: &Arc<DataSplits>, stops: &[u64]) -> Vec<History> {
    histories_on(&Device::Cpu, lanes, data, stops)
}

/// The same on a device.
fn histories_on(
    device: &Device,
    lanes: &[RunConfig],
    data: &Arc<DataSplits>,
    stops: &[u64],
) -> Vec<History> {
    let new = || Trainer::on(lanes, Arc::clone(data), device).unwrap();
    let mut trainer = new();
    let mut all: Vec<History> = (0..lanes.len())
        .map(|lane| History { parameters: trainer.parameters(lane), ..History::default() })
        .collect();
    while trainer.epochs_done() < EPOCHS {
        let end = trainer.train_epoch(&mut |report| {
            for (lane, history) in all.iter_mut().enumerate() {
                history.steps.extend(report.lanes[lane]);
                note(history, lane, report.step, report.measured);
            }
            let stop = stops.contains(&report.step);
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match end.unwrap() {
            EpochEnd::Complete(stats) => {
                let validations = trainer.validate().unwrap();
                let (step, measured) = (trainer.steps_done(), trainer.measure().unwrap());
                for (lane, history) in all.iter_mut().enumerate() {
                    history.epochs.extend(stats.lanes[lane]);
                    history.validations.extend(validations[lane]);
                    note(history, lane, step, &measured);
                }
                test_stopped(&mut trainer, &mut all);
            }
            EpochEnd::Diverged => break,
            EpochEnd::Stopped => {
                let saved = files(&trainer);
                trainer = new();
                trainer.restore(&saved).unwrap();
                assert!(files(&trainer) == saved, "what is restored is what was saved");
            }
        }
    }
    let tests = trainer.evaluate(Part::Test).unwrap();
    for (lane, history) in all.iter_mut().enumerate() {
        history.divergence = trainer.divergence(lane).cloned();
        let last = tests[lane].filter(|_| history.divergence.is_none());
        history.test = history.test.or(last);
        history.file = trainer.save(lane).unwrap();
    }
    all
}

/// Tests the lanes that early stopping has ended since: they stand where the others do now alone.
fn test_stopped(trainer: &mut Trainer, all: &mut [History]) {
    for (lane, history) in all.iter_mut().enumerate() {
        let stopped = trainer.early_stop(lane).map(ToString::to_string);
        if stopped.is_some() && history.stopped.is_none() {
            history.stopped = stopped;
            history.test = trainer.evaluate(Part::Test).unwrap()[lane];
            assert!(history.test.is_some());
        }
    }
}

fn note(history: &mut History, lane: usize, step: u64, measured: &[Measured]) {
    let own = |m: &Measured| Some((step, m.measurement, m.lanes[lane].clone()?));
    history.measured.extend(measured.iter().filter_map(own));
}

/// Every lane of the group, stopped and restored or not, equals the run alone.
#[track_caller]
fn check(lanes: &[RunConfig], data: &Arc<DataSplits>) -> Vec<History> {
    let alone: Vec<History> =
        lanes.iter().flat_map(|lane| histories(std::slice::from_ref(lane), data, &[])).collect();
    for stops in [[].as_slice(), &[0, 3, 4]] {
        let fused = histories(lanes, data, stops);
        for (lane, (fused, alone)) in fused.iter().zip(&alone).enumerate() {
            assert!(fused.file == alone.file, "the file of lane {lane}, stopped after {stops:?}");
            assert_eq!(fused.told(), alone.told(), "lane {lane}, stopped after {stops:?}");
        }
    }
    alone
}

/// A lane without normalisation, with one, with another, and one without again.
fn mixed(base: &RunConfig) -> [RunConfig; 4] {
    let lane = |batch_norm| RunConfig { batch_norm, ..base.clone() };
    let other = BatchNorm::On(Normalisation { momentum: 0.5, eps: 0.3 });
    let off = lane(BatchNorm::Off);
    let seeded = RunConfig { seed: 7, ..off.clone() };
    [off, lane(BatchNorm::ON), lane(other), seeded]
}

fn everything() -> Measurements {
    Measurements::new(vec![
        Measurement::GradientNorm { every_steps: 2 },
        Measurement::Activation,
        Measurement::UpdateRatio,
        Measurement::Drift { samples: 7 },
        Measurement::Smoothness { steps: StepFactors::default(), samples: 5 },
        Measurement::Memory,
    ])
}

fn adam() -> Rule {
    Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
}

/// A network with its training in three variants: momentum, Adam, momentum with clipped gradients.
fn trainings(base: &RunConfig) -> [RunConfig; 3] {
    let base = RunConfig {
        epochs: EPOCHS,
        dropout: 0.2,
        weight_decay: 0.01,
        augmentation: Augmentation::of(vec![
            Operation::HorizontalFlip { p: 0.5 },
            Operation::Rotation { degrees: 10.0 },
            Operation::Mixup { alpha: 0.5 },
        ]),
        ..base.clone()
    };
    let clipped = RunConfig { clip_norm: 0.1, ..base.clone() };
    [base.clone(), RunConfig { optimizer: adam(), lr: 0.003, ..base }, clipped]
}

#[test]
fn mlps_with_and_without_batch_norm_equal_each_alone() {
    let data = data(40, [1, 8, 8]);
    for base in trainings(&mlp()) {
        let base = RunConfig { measure: everything(), ..base };
        let alone = check(&mixed(&base), &data);
        // A bias becomes gamma and beta.
        let sizes: Vec<u64> = alone.iter().map(|lane| lane.parameters).collect();
        assert_eq!(sizes, [0, 24 + 16, 24 + 16, 0].map(|more| more + 65 * 24 + 25 * 16 + 17 * 4));
        let losses: Vec<f64> = alone.iter().map(|lane| lane.test.unwrap().loss).collect();
        assert!((1..4).all(|lane| losses[lane] != losses[lane - 1]), "{losses:?}");
    }
}

#[test]
fn alexnets_with_and_without_batch_norm_equal_each_alone() {
    let data = data(40, [1, 12, 12]);
    for base in trainings(&alexnet32()) {
        check(&mixed(&base), &data);
    }
    // Wide enough for convolutions by Winograd's filters.
    let wide = RunConfig { width: 0.25, epochs: EPOCHS, ..alexnet32() };
    check(&mixed(&wide), &super::data(20, [1, 20, 20]));
}

#[test]
fn a_group_in_which_every_lane_has_another_rule_equals_each_alone() {
    let data = data(40, [1, 8, 8]);
    let [momentum, adam, clipped] = trainings(&mlp());
    let [one, two, three] =
        [mixed(&momentum)[2].clone(), mixed(&adam)[0].clone(), mixed(&clipped)[1].clone()];
    let plain = Rule::Sgd { momentum: 0.0, nesterov: false };
    let four = RunConfig { optimizer: plain, dropout: 0.0, ..mixed(&momentum)[3].clone() };
    let watching = Schedule::Plateau {
        factor: 0.3,
        patience: 0,
        threshold: 0.9,
        cooldown: 1,
        min_lr: 0.0,
        metric: Watched::Loss,
    };
    let five = RunConfig { schedule: watching, ..one.clone() };
    check(&[one, two, three, four, five].map(|c| RunConfig { measure: everything(), ..c }), &data);
}

#[test]
fn declared_networks_normalised_anywhere_equal_each_alone() {
    let data = data(40, [2, 8, 8]);
    for layers in [
        // A normalisation of the images, before anything that learns.
        serde_json::json!([
            "norm", { "kind": "conv2d", "channels": 8, "kernel": 3 }, "norm", "relu", "flatten",
            "dropout", { "kind": "linear", "units": 9 }, "norm", "batch_norm", "tanh", "logits",
        ]),
        // What would be flattened at once comes after it.
        serde_json::json!([
            "norm", "flatten", { "kind": "linear", "units": 12 }, "batch_norm", "relu", "norm",
            { "kind": "linear", "units": 9 }, "batch_norm", "relu", "logits",
        ]),
    ] {
        let model =
            serde_json::json!({ "model": { "layers": layers }, "measure": ["gradient_norm"] });
        let declared = RunConfig::from_canonical(&model).unwrap();
        let RunConfig { model, measure, .. } = declared;
        let base = RunConfig { model, measure, dropout: 0.2, epochs: EPOCHS, ..mlp() };
        check(&mixed(&base), &data);
    }
}

#[test]
fn weights_of_a_file_go_to_the_lanes_that_have_them() {
    let data = data(40, [1, 8, 8]);
    let folder = tempfile::tempdir().unwrap();
    let lanes = mixed(&RunConfig { epochs: EPOCHS, ..mlp() });
    let trained = histories(&lanes, &data, &[]);
    let weights = [0, 1].map(|lane| {
        let path = folder.path().join(format!("{lane}.safetensors"));
        std::fs::write(&path, &trained[lane].file).unwrap();
        Weights::open(&path).unwrap()
    });
    let mut group = Trainer::new(&lanes, Arc::clone(&data)).unwrap();
    // The networks of the lanes differ, so each refuses the other's file.
    for (lane, config) in lanes.iter().enumerate() {
        let normalised = config.batch_norm.is_on();
        let [own, other] = if normalised { [1, 0] } else { [0, 1] };
        let error = group.start_from(lane, &weights[other]).unwrap_err().to_string();
        let missing = if normalised { "`norm1.weight` is missing" } else { "`linear1.bias` is" };
        assert!(error.contains(missing), "{error}");
        group.start_from(lane, &weights[own]).unwrap();
    }
    let ends = group.evaluate(Part::Test).unwrap();
    assert_eq!([ends[0], ends[1]], [trained[0].test, trained[1].test]);
    assert_eq!(ends[3], ends[0]);
}

#[test]
fn initial_weights_do_not_depend_on_the_other_lanes() {
    let data = data(40, [1, 12, 12]);
    for init in [Init::Pytorch, Init::Alexnet] {
        let lanes = mixed(&RunConfig { init: init.clone(), ..alexnet32() });
        let group = files(&Trainer::new(&lanes, Arc::clone(&data)).unwrap());
        for (lane, file) in lanes.iter().zip(&group) {
            let alone = Trainer::new(std::slice::from_ref(lane), Arc::clone(&data)).unwrap();
            assert!(*file == alone.save(0).unwrap(), "{init:?}");
        }
    }
}

#[test]
fn what_a_lane_lacks_stays_at_0_and_is_never_counted() {
    let lanes = mixed(&RunConfig { weight_decay: 0.5, optimizer: adam(), ..mlp() });
    let mut trainer = Trainer::new(&lanes, data(40, [1, 8, 8])).unwrap();
    trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
    let mut absent = 0;
    let parameters = trainer.network.parameters().map(|p| (&p.lanes, &p.value, Some(&p.gradient)));
    let states = trainer.network.states().map(|s| (&s.lanes, &s.value, None));
    for (present, value, gradient) in parameters.chain(states) {
        for lane in (0..4).filter(|lane| !present.contains(*lane)) {
            absent += 1;
            for numbers in [Some(value), gradient].into_iter().flatten() {
                let numbers = numbers.read().unwrap();
                assert!(numbers.lane(lane, value.lane_len()).iter().all(|x| x.to_bits() == 0));
            }
        }
    }
    // Two biases in two lanes; of each of two normalisations two parameters and two statistics in
    // the other two.
    assert_eq!(absent, 2 * 2 + 2 * 4 * 2);
}

#[test]
fn lanes_whose_layers_differ_otherwise_are_refused_by_the_key() {
    let refusal = |other: RunConfig| {
        let lanes = [mlp(), other];
        Trainer::new(&lanes, data(40, [1, 8, 8])).err().unwrap().to_string()
    };
    let wider = RunConfig { width: 2.0, batch_norm: BatchNorm::ON, ..mlp() };
    let expected = "lanes of one network share `width`: lane 0 has 1, lane 1 has 2";
    assert_eq!(refusal(wider), expected);
    let deeper = RunConfig { model: Model::Mlp { hidden: vec![24, 16, 16] }, ..mlp() };
    assert!(refusal(deeper).contains("share `model`"));
}

/// Which lanes of a group go wild, for every place that they can take.
fn wild_groups(base: &RunConfig, lr: f64) -> Vec<Vec<RunConfig>> {
    let wild = RunConfig { lr, seed: 11, ..base.clone() };
    let [plain, normalised, other, seeded] = mixed(base);
    vec![
        vec![wild.clone(), plain.clone(), normalised],
        vec![other, wild.clone(), seeded],
        vec![plain, wild.clone(), RunConfig { seed: 3, ..wild }],
    ]
}

#[test]
fn a_lane_that_diverges_ends_as_alone_and_the_others_go_on_as_alone() {
    for (base, lr, shape) in [
        (mlp(), 1e9, [1, 8, 8]),
        (mlp(), 20.0, [1, 8, 8]),
        (alexnet32(), 1e9, [1, 12, 12]),
        (RunConfig { width: 0.25, ..alexnet32() }, 1e9, [1, 20, 20]),
    ] {
        let base = RunConfig {
            activation: Activation::Relu,
            dropout: 0.2,
            epochs: EPOCHS,
            measure: everything(),
            ..base
        };
        let data = data(40, shape);
        for group in wild_groups(&base, lr) {
            let alone = check(&group, &data);
            for (config, lane) in group.iter().zip(&alone) {
                let diverged = lane.divergence.is_some();
                assert!(!diverged || lane.steps.iter().all(|step| step.loss.is_finite()));
                assert_eq!(diverged, config.lr == lr, "{:?}", lane.divergence);
                assert!(lane.steps.len() == 9 || diverged);
            }
        }
    }
}

/// Groups in which one lane is stopped after its second epoch of three, and one after the first.
fn impatient_groups(base: &RunConfig) -> Vec<Vec<RunConfig>> {
    let stopping = |patience, metric, lane: &RunConfig| {
        // Nothing improves by so much: the first epoch stays the best.
        let early_stopping = EarlyStopping::Validation { patience, min_delta: 1e9, metric };
        RunConfig { early_stopping, ..lane.clone() }
    };
    let [plain, normalised, other, seeded] = mixed(base);
    let short = stopping(1, Watched::Loss, &normalised);
    vec![
        vec![plain.clone(), short.clone(), seeded],
        vec![stopping(1, Watched::Accuracy, &plain), other.clone()],
        vec![short, stopping(1, Watched::Loss, &other), plain, stopping(2, Watched::Loss, &other)],
    ]
}

#[test]
fn a_lane_that_is_stopped_early_ends_as_alone_and_the_others_go_on_as_alone() {
    for (base, shape) in [(mlp(), [1, 8, 8]), (alexnet32(), [1, 12, 12])] {
        let base = RunConfig { dropout: 0.2, epochs: EPOCHS, measure: everything(), ..base };
        let data = data(40, shape);
        for group in impatient_groups(&base) {
            let alone = check(&group, &data);
            for (config, lane) in group.iter().zip(&alone) {
                let patience = match config.early_stopping {
                    EarlyStopping::Validation { patience, .. } => patience,
                    EarlyStopping::None => EPOCHS,
                };
                // Patience that is used up after the last epoch ends nothing.
                let epochs = (patience + 1).min(EPOCHS);
                assert_eq!(lane.epochs.len(), epochs as usize);
                assert_eq!(lane.stopped.is_some(), epochs < EPOCHS, "{:?}", lane.stopped);
                assert!(lane.test.is_some() && lane.divergence.is_none());
            }
        }
    }
}

#[test]
fn a_checkpoint_keeps_who_was_stopped_early_and_refuses_what_cannot_be() {
    let data = data(40, [1, 8, 8]);
    let group = impatient_groups(&RunConfig { epochs: EPOCHS, ..mlp() }).remove(1);
    let mut trainer = Trainer::new(&group, Arc::clone(&data)).unwrap();
    for _ in 0..2 {
        trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
        trainer.validate().unwrap();
    }
    let told = |trainer: &Trainer| [0, 1].map(|lane| trainer.early_stop(lane).copied());
    assert!(matches!(told(&trainer), [Some(_), None]));
    let saved = files(&trainer);
    let mut restored = Trainer::new(&group, Arc::clone(&data)).unwrap();
    restored.restore(&saved).unwrap();
    assert_eq!(told(&restored), told(&trainer));
    restored.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(restored.save(0).unwrap() == saved[0], "it stays as it was");
    let text = String::from_utf8_lossy(&saved[0]).into_owned();
    for (there, instead) in
        [(r#"\"best_epoch\":1"#, r#"\"best_epoch\":9"#), (r#"\"epochs\":2"#, r#"\"epochs\":3"#)]
    {
        assert!(text.contains(there), "{there}");
        let place = saved[0].windows(there.len()).position(|at| at == there.as_bytes()).unwrap();
        let mut other = saved.clone();
        other[0].splice(place..place + there.len(), instead.bytes());
        let error = restored.restore(&other).unwrap_err().to_string();
        assert!(error.contains("memory of `early_stopping` of lane 0"), "{error}");
    }
}

#[test]
fn an_infinite_gradient_of_a_finite_loss_ends_only_the_lanes_that_measure_it() {
    // From 1e-30 through 1e30 to finite outputs; the way back multiplies the two large ones.
    let grow = |trainer: &mut Trainer, lane: usize| {
        for (parameter, size) in trainer.network.parameters_mut().zip([1e-30, 0.0, 1e30, 0.0, 1e30])
        {
            let place = lane * parameter.len()..(lane + 1) * parameter.len();
            let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
            let fill = |value: &mut [f32]| {
                value[place].iter_mut().enumerate().for_each(|(i, x)| *x = size * sign(i));
            };
            parameter.value.write(fill).unwrap();
        }
    };
    let ends = |lanes: &[RunConfig], grown: &[usize]| -> Vec<(Option<Divergence>, Vec<u8>)> {
        let mut trainer = Trainer::new(lanes, data(64, [1, 8, 8])).unwrap();
        grown.iter().for_each(|&lane| grow(&mut trainer, lane));
        trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
        let lanes = (0..lanes.len()).zip(files(&trainer));
        lanes.map(|(lane, file)| (trainer.divergence(lane).cloned(), file)).collect()
    };
    let clipped = RunConfig { clip_norm: 1.0, ..mlp() };
    let group = [mlp(), clipped.clone(), clipped];
    let fused = ends(&group, &[0, 1]);
    for (lane, config) in group.iter().enumerate() {
        let grown: &[usize] = if lane < 2 { &[0] } else { &[] };
        assert!(ends(std::slice::from_ref(config), grown)[0] == fused[lane], "lane {lane}");
    }
    let noticed = |lane: usize| fused[lane].0.as_ref().map(|d| (d.step, d.noticed));
    assert!(matches!(noticed(0), Some((1, Noticed::Loss { .. }))), "{:?}", noticed(0));
    assert!(matches!(noticed(1), Some((0, Noticed::GradientNorm { .. }))), "{:?}", noticed(1));
    assert_eq!(noticed(2), None);
}

#[test]
fn a_validation_that_is_not_finite_ends_its_lane_after_the_epochs_records() {
    // One step an epoch: what it breaks shows in the validation first.
    let one_step = |lr| RunConfig { lr, batch_size: 64, epochs: EPOCHS, ..mlp() };
    let group = [one_step(0.05), one_step(1e30), one_step(0.1)]
        .map(|config| RunConfig { measure: everything(), ..config });
    let alone = check(&group, &data(40, [1, 8, 8]));
    let cause = alone[1].divergence.clone().unwrap();
    assert_eq!((cause.noticed, cause.step, cause.epoch), (Noticed::ValidationLoss, 1, 1));
    let lane = &alone[1];
    assert_eq!((lane.steps.len(), lane.epochs.len(), lane.validations.len()), (1, 1, 1));
    assert!(!lane.validations[0].loss.is_finite());
    assert!([0, 2].iter().all(|&lane| alone[lane].divergence.is_none()));
}

#[test]
fn a_checkpoint_of_a_group_keeps_who_has_diverged_and_refuses_what_cannot_be() {
    let data = data(40, [1, 8, 8]);
    let base = RunConfig { epochs: EPOCHS, ..mlp() };
    let lanes =
        [base.clone(), RunConfig { lr: 1e9, ..base.clone() }, RunConfig { seed: 2, ..base }];
    let mut trainer = Trainer::new(&lanes, Arc::clone(&data)).unwrap();
    trainer.train_epoch(&mut |_| ControlFlow::Continue(())).unwrap();
    let cause = trainer.divergence(1).unwrap().clone();
    assert_eq!(trainer.evaluate(Part::Test).unwrap()[1], None);
    let saved = files(&trainer);
    let mut restored = Trainer::new(&lanes, Arc::clone(&data)).unwrap();
    restored.restore(&saved).unwrap();
    assert_eq!([0, 1, 2].map(|lane| restored.divergence(lane)), [None, Some(&cause), None]);
    restored
        .train_epoch(&mut |report| {
            assert_eq!(
                report.lanes.iter().map(Option::is_some).collect::<Vec<_>>(),
                [true, false, true]
            );
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(restored.save(1).unwrap() == saved[1]);
    // A trainer in which the lane had diverged goes back to where it had not.
    let fresh = files(&Trainer::new(&lanes, Arc::clone(&data)).unwrap());
    restored.restore(&fresh).unwrap();
    assert!((0..3).all(|lane| restored.divergence(lane).is_none()));
    assert!(files(&restored) == fresh);
    // Living lanes that have not come as far as the diverged one.
    let ahead = [&fresh[0], &saved[1], &fresh[2]];
    let error = restored.restore(&ahead).unwrap_err().to_string();
    let expected = format!("steps done of lane 1: expected at most 0, found {}", cause.step);
    assert!(error.contains(&expected), "{error}");
    // A divergence in another step than the progress says.
    let mut header = trainer.header(1);
    header.progress.steps_done += 1;
    let source = (&trainer.network, &trainer.optimizer, [].as_slice());
    let mut moved = Vec::new();
    checkpoint::write(source, 1, &header, &mut moved).unwrap();
    let error = restored.restore(&[&saved[0], &moved, &saved[2]]).unwrap_err().to_string();
    assert!(error.contains("step at which lane 1 diverged"), "{error}");
}
