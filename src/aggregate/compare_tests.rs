use super::*;
use crate::aggregate::row::{PlannedRun, RunState};
use crate::aggregate::sample;
use crate::ids::RunId;
use crate::record::Site;
use crate::spec::activation::Activation;

const ACCURACY: MetricName = MetricName::ValAccuracy;

fn run(config: &RunConfig, seed: u64, accuracy: Option<f64>) -> RecordedRun {
    let config = RunConfig { seed, ..config.clone() };
    let planned = PlannedRun::of(RunId::of(b"x"), "x".into(), &config, &[]);
    let result = match accuracy {
        Some(accuracy) => sample::result(&[accuracy]),
        None => sample::failed("exit status 1"),
    };
    let row = RunRow::new(planned, RunState::Ended(&result), &sample::metric());
    RecordedRun { config, data: "mnist".into(), engine: 3, row }
}

/// Runs of one activation, seeds from 0.
fn runs(width: f64, activation: Activation, accuracies: &[Option<f64>]) -> Vec<RecordedRun> {
    sample::comparison::runs(width, activation, 0, accuracies)
}

fn side(name: &str, runs: impl IntoIterator<Item = Vec<RecordedRun>>) -> Side {
    Side { name: name.into(), axes: vec![], runs: runs.into_iter().flatten().collect() }
}

fn compare(a: &Side, b: &Side) -> Comparison {
    Comparison::of(a, b, &sample::metric(), ACCURACY, Incomparable::Refuse)
}

#[test]
fn configurations_meet_by_all_keys_but_those_between_the_sweeps() {
    use Activation::{Relu, Sigmoid, Tanh};
    let a = side(
        "narrow",
        [
            runs(0.125, Relu, &[Some(0.50), Some(0.52), Some(0.51)]),
            runs(0.125, Tanh, &[Some(0.60), Some(0.61), Some(0.59)]),
            runs(0.125, Sigmoid, &[Some(0.1)]),
        ],
    );
    let b = side(
        "wide",
        [
            runs(0.25, Tanh, &[Some(0.50), Some(0.515), Some(0.49)]),
            runs(0.25, Relu, &[Some(0.70), Some(0.72), Some(0.715)]),
            runs(0.25, Activation::Silu, &[None]),
        ],
    );
    let found = compare(&a, &b);
    let between = Between { key: "width", values: ["0.125".into(), "0.25".into()] };
    assert_eq!(
        (found.between.as_slice(), found.axes.as_slice()),
        (&[between][..], &["activation".to_owned()][..])
    );
    let rows: Vec<_> = found
        .rows
        .iter()
        .map(|row| {
            let n = row.groups.map(|group| group.map(|group| group.summary.n));
            (row.configuration.as_str(), n, row.verdict)
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("activation=relu", [Some(3), Some(3)], Some(Outcome::Better)),
            ("activation=tanh", [Some(3), Some(3)], Some(Outcome::Worse)),
            ("activation=sigmoid", [Some(1), None], None),
            ("activation=silu", [None, Some(0)], None),
        ]
    );
    let relu = found.rows[0].test.unwrap();
    assert_eq!((relu.name(), relu.pairs()), ("paired t", 3));
    assert!((relu.difference() - 0.205 + 0.0033333333333).abs() < 1e-9, "{}", relu.difference());
    let raw = found.rows.iter().filter_map(|row| row.test?.p_value()).collect::<Vec<_>>();
    let corrected = found.rows.iter().filter_map(|row| row.p_value_holm).collect::<Vec<_>>();
    assert_eq!(corrected, holm(&raw));
    assert_eq!(found.rows[3].groups[1].unwrap().failed, 1);
}

#[test]
fn goals_turn_verdicts_around_and_not_differences() {
    let a = side("a", [runs(1.0, Activation::Relu, &[Some(0.5), Some(0.51), Some(0.5)])]);
    let b = side("b", [runs(1.0, Activation::Relu, &[Some(0.6), Some(0.615), Some(0.6)])]);
    let by = |name| Comparison::of(&a, &b, &sample::metric(), name, Incomparable::Refuse);
    let (accuracy, loss) = (by(ACCURACY), by(MetricName::ValLoss));
    assert_eq!(accuracy.rows[0].verdict, Some(Outcome::Better));
    assert_eq!(loss.rows[0].verdict, Some(Outcome::Better), "less loss is better");
    let difference = |found: &Comparison| found.rows[0].test.unwrap().difference();
    assert!((difference(&accuracy) + difference(&loss)).abs() < 1e-12);
    assert!((difference(&by(MetricName::ValLoss)) + difference(&accuracy)).abs() < 1e-12);
    let back = Comparison::of(&b, &a, &sample::metric(), ACCURACY, Incomparable::Refuse);
    assert_eq!(back.rows[0].verdict, Some(Outcome::Worse));
}

#[test]
fn without_a_common_seed_the_groups_are_independent() {
    let config = RunConfig::default();
    let shifted = |from: u64, accuracies: [f64; 3]| {
        let runs = accuracies.into_iter().zip(from..);
        runs.map(|(accuracy, seed)| run(&config, seed, Some(accuracy))).collect::<Vec<_>>()
    };
    let a = side("a", [shifted(0, [0.5, 0.51, 0.49])]);
    let b = side("b", [shifted(10, [0.7, 0.72, 0.69])]);
    let row = &compare(&a, &b).rows[0];
    let test = row.test.unwrap();
    assert_eq!((test.name(), test.pairs(), row.verdict), ("Welch t", 0, Some(Outcome::Better)));
    let b = side("b", [shifted(2, [0.7, 0.72, 0.69])]);
    let row = &compare(&a, &b).rows[0];
    let test = row.test.unwrap();
    assert_eq!((test.name(), test.pairs(), row.verdict), ("paired t", 1, None));
}

#[test]
fn numbers_that_do_not_mean_the_same_are_refused_unless_forced() {
    let a = side("a", [runs(1.0, Activation::Relu, &[Some(0.5), Some(0.6)])]);
    let mut b = a.clone();
    for run in &mut b.runs {
        run.engine = 2;
        run.data = "mnist again".into();
    }
    let refused = compare(&a, &b);
    let reason = "data: mnist against mnist again; engine numerics: 3 against 2";
    assert_eq!(refused.rows[0].incomparable.as_deref(), Some(reason));
    assert_eq!((refused.rows[0].test, refused.rows[0].verdict), (None, None));
    assert!(refused.rows[0].groups.iter().all(Option::is_some), "means are still told");
    let forced = Comparison::of(&a, &b, &sample::metric(), ACCURACY, Incomparable::Mark);
    assert_eq!(forced.rows[0].incomparable.as_deref(), Some(reason));
    assert_eq!(forced.rows[0].verdict, Some(Outcome::Tied));
}

#[test]
fn devices_differ_only_where_both_are_known() {
    let on = |device: Device| {
        let config = RunConfig { device, ..RunConfig::default() };
        let mut run = run(&config, 0, Some(0.5));
        run.row.metrics.site = None;
        Side { name: "a".into(), axes: vec![], runs: vec![run] }
    };
    let reason = |a, b| compare(&on(a), &on(b)).rows[0].incomparable.clone();
    assert_eq!(reason(Device::Cpu, Device::Cuda).as_deref(), Some("device: cpu against cuda"));
    assert_eq!(reason(Device::Auto, Device::Cpu), None);
    assert_eq!(reason(Device::Cpu, Device::Cpu), None);
}

#[test]
fn where_the_planner_chose_the_record_tells_the_device() {
    let on = |host: &str, device: &str| {
        let mut run = run(&RunConfig::default(), 0, Some(0.5));
        run.row.metrics.site = Some(Site { host: host.to_owned(), device: device.to_owned() });
        Side { name: "a".into(), axes: vec![], runs: vec![run] }
    };
    let reason = |a, b| compare(&a, &b).rows[0].incomparable.clone();
    let gpu = "cuda:0 (NVIDIA H100 80GB HBM3)";
    let found = reason(on("node1", "cpu"), on("node1", gpu));
    assert_eq!(found.as_deref(), Some("device: cpu against cuda"));
    assert_eq!(reason(on("node1", gpu), on("node2", "cuda:1 (NVIDIA H200)")), None);
}

#[test]
fn a_sweep_against_its_copy_is_tied_with_itself() {
    let a = side(
        "a",
        [
            runs(1.0, Activation::Relu, &[Some(0.5), Some(0.6), None]),
            runs(1.0, Activation::Tanh, &[None, None, None]),
        ],
    );
    let found = compare(&a, &Side { name: "copy".into(), ..a.clone() });
    assert!(found.between.is_empty() && found.has_common());
    let [relu, tanh] = found.rows.as_slice() else { panic!("two configurations") };
    assert_eq!((relu.test.unwrap().difference(), relu.p_value_holm), (0.0, Some(1.0)));
    assert_eq!((relu.verdict, tanh.verdict, tanh.test), (Some(Outcome::Tied), None, None));
    assert_eq!(tanh.groups[0].unwrap().failed, 3);
}

#[test]
fn nothing_in_common_and_nothing_at_all_are_no_panic() {
    let a = side("a", [runs(1.0, Activation::Relu, &[Some(0.5)])]);
    let mut grown = runs(0.5, Activation::Tanh, &[Some(0.5)]);
    grown.extend(runs(2.0, Activation::Tanh, &[Some(0.5)]));
    let b = side("b", [grown]);
    let found = compare(&a, &b);
    assert!(!found.has_common());
    assert_eq!(found.rows.len(), 3);
    let empty = side("empty", []);
    assert_eq!(compare(&empty, &empty).rows, []);
    assert_eq!(compare(&a, &empty).rows.len(), 1);
}

#[test]
fn a_difference_without_spread_is_judged_by_how_many_seeds_show_it() {
    let found = |a: &[f64], b: &[f64], first: u64| {
        let runs = |values: &[f64], first| {
            let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
            sample::comparison::runs(1.0, Activation::Relu, first, &values)
        };
        let (a, b) = (side("a", [runs(a, 0)]), side("b", [runs(b, first)]));
        let row = compare(&a, &b).rows.remove(0);
        (row.test.unwrap().name(), row.p_value_holm.unwrap(), row.verdict.unwrap())
    };
    let two = found(&[0.5, 0.75], &[0.625, 0.875], 0);
    assert_eq!(two, ("sign flip", 0.5, Outcome::Tied));
    let six = found(&[0.5; 6], &[0.625; 6], 0);
    assert_eq!(six, ("sign flip", 0.03125, Outcome::Better));
    let apart = found(&[0.5; 3], &[0.625; 3], 10);
    assert_eq!(apart, ("permutation", 0.1, Outcome::Tied));
    let uneven = found(&[0.5; 2], &[0.25; 6], 10);
    assert_eq!(uneven, ("permutation", 1.0 / 28.0, Outcome::Worse));
    let same = found(&[0.5; 3], &[0.5; 3], 10);
    assert_eq!(same, ("Welch t", 1.0, Outcome::Tied));
}

#[test]
fn keys_are_in_the_order_of_the_sweep_files() {
    use Activation::{Relu, Tanh};
    let grid = |axes: &[Key], lr: f64| {
        let [narrow, wide] = [0.125, 0.25].map(|width| {
            let mut runs = runs(width, Relu, &[Some(0.5)]);
            runs.extend(self::runs(width, Tanh, &[Some(0.5)]));
            runs
        });
        let mut wider = wide.clone();
        wider.iter_mut().for_each(|run| run.config.lr = lr);
        Side { axes: axes.to_vec(), ..side("a", [narrow, wide, wider]) }
    };
    let named = |a: &Side, b: &Side| {
        let found = compare(a, b);
        (found.axes.join(" "), found.rows[0].configuration.clone())
    };
    let lr = RunConfig::default().lr;
    let (one, other) = (
        grid(&[Key::Width, Key::Activation], lr),
        grid(&[Key::Lr, Key::Activation, Key::Width], 2.0 * lr),
    );
    let (axes, name) = named(&one, &one);
    assert_eq!((axes.as_str(), name.as_str()), ("width activation", "width=0.125 activation=relu"));
    let turned = Side { axes: vec![Key::Activation, Key::Width], ..one.clone() };
    assert_eq!(named(&turned, &one).1, "activation=relu width=0.125");
    assert_eq!(named(&one, &other).0, "width activation lr", "what only the second varies is last");
    assert_eq!(named(&other, &one).0, "lr activation width");
}
