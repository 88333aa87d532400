use serde::Deserialize;

use super::*;
use crate::aggregate::row::{AxisValue, PlannedRun, RunState};
use crate::aggregate::sample::{self, claims::activation};
use crate::ids::RunId;
use crate::record::{RunResult, RunStatus};
use crate::spec::activation::Activation::{Relu, Tanh};
use crate::spec::claim::Reference;
use crate::spec::metric::{Goal, Metric, MetricName};
use crate::spec::quantity::{CurveName, CurveQuantity, Take};

/// A run: is it of the subject, the value of the other axis, seed, accuracies by epoch; none of a run
/// that failed, NaN of one that diverged.
type Run<'a> = (bool, &'a str, u64, &'a [f64]);

/// What a claim comes to about these runs.
fn judged(metric: impl Into<Quantity>, relation: Relation, runs: &[Run<'_>]) -> ClaimResult {
    let claim = sample::claims::claim("claimed", relation, [Relu, Tanh]);
    judged_claim(Claim { metric: metric.into(), ..claim }, runs)
}

fn judged_claim(claim: Claim, runs: &[Run<'_>]) -> ClaimResult {
    let name = claim.metric.result().unwrap_or(MetricName::ValAccuracy);
    let axes = [Key::Activation, Key::Lr];
    let ranked = Metric { name, goal: Goal::Maximize, target: Some(0.9) };
    let rows = runs.iter().map(|(subject, other, seed, accuracies)| {
        let name = if *subject { "relu" } else { "tanh" };
        let label = |label: &str| AxisValue { label: label.to_owned(), number: None };
        let planned = PlannedRun {
            run_id: RunId::of(format!("{name} {other} {seed}").as_bytes()),
            configuration: format!("{name} {other}"),
            axes: vec![label(name), label(other)],
            seed: *seed,
        };
        let result = match accuracies.last() {
            None => sample::failed("gone"),
            Some(last) if last.is_nan() => {
                RunResult { status: RunStatus::Diverged, ..sample::result(accuracies) }
            }
            Some(_) => sample::result(accuracies),
        };
        RunRow::new(planned, RunState::Ended(&result), &ranked)
    });
    let rows = rows.collect();
    let mut table =
        SweepTable::from_rows(vec!["activation".into(), "lr".into()], ranked.clone(), rows);
    let config = |(subject, ..): &Run<'_>| RunConfig {
        activation: if *subject { Relu } else { Tanh },
        ..RunConfig::default()
    };
    let configs: Vec<RunConfig> = runs.iter().map(config).collect();
    // What the courses of these runs have to say is ten times their accuracy.
    let ids: Vec<RunId> = table.rows().iter().map(|row| row.run.run_id).collect();
    for (run_id, (.., accuracies)) in ids.into_iter().zip(runs) {
        table.set_quantities(run_id, vec![accuracies.last().map(|accuracy| 10.0 * accuracy)]);
    }
    judge(&Stated::all(&[claim], &axes, || &configs), &table).remove(0)
}

/// Of accuracies of subject and reference by seed.
fn of_pairs(relation: Relation, subject: &[f64], reference: &[f64]) -> ClaimResult {
    let [subject, reference] = [subject, reference].map(|all| all.iter().map(|x| [*x]));
    let [subject, reference]: [Vec<[f64; 1]>; 2] = [subject.collect(), reference.collect()];
    let runs: Vec<Run<'_>> = (0..)
        .zip(subject.iter().zip(&reference))
        .flat_map(|(seed, (a, b))| [(true, "", seed, &a[..]), (false, "", seed, &b[..])])
        .collect();
    judged(MetricName::ValAccuracy, relation, &runs)
}

/// Of accuracies of the subject by seed, beside a number.
fn of_number(relation: Relation, subject: &[f64], number: f64) -> ClaimResult {
    let claim = sample::claims::claim("claimed", relation, [Relu, Tanh]);
    let claim = Claim { reference: Reference::Value(number), ..claim };
    let runs: Vec<_> = (0..).zip(subject).map(|(seed, x)| ("relu", seed, Some(*x))).collect();
    let configs = vec![RunConfig { activation: Relu, ..RunConfig::default() }; runs.len()];
    let stated = Stated::all(&[claim], &[Key::Activation], || &configs);
    judge(&stated, &sample::table(&runs)).remove(0)
}

#[derive(Deserialize)]
struct Golden {
    relation: String,
    bound: f64,
    subject: Vec<f64>,
    reference: Vec<f64>,
    effect: f64,
    low: f64,
    high: f64,
    p: f64,
    verdict: String,
    /// What `reference` is with every seed, where the claim is about a number.
    number: Option<f64>,
    more_seeds: Option<usize>,
}

/// Values made by `tests/fixtures/reference/claims.py` with scipy and statsmodels.
#[test]
fn agrees_with_scipy_and_statsmodels() {
    let text = include_str!("../../tests/fixtures/reference/claims.json");
    let cases: Vec<Golden> = serde_json::from_str(text).unwrap();
    assert!(cases.len() >= 20);
    let near = |ours: f64, golden: f64| {
        let close = (ours - golden).abs() <= 1e-9 * golden.abs().max(1e-3);
        assert!(close, "{ours} against {golden}");
    };
    for case in cases {
        let relation = match case.relation.as_str() {
            "smaller" => Relation::Smaller,
            "larger" => Relation::Larger,
            "smaller_by" => Relation::SmallerBy(case.bound),
            "larger_by" => Relation::LargerBy(case.bound),
            "within" => Relation::Within(case.bound),
            other => panic!("{other}"),
        };
        let result = match case.number {
            Some(number) => of_number(relation, &case.subject, number),
            None => of_pairs(relation, &case.subject, &case.reference),
        };
        near(result.effect.mean.unwrap(), case.effect);
        near(result.effect.ci95.unwrap().low, case.low);
        near(result.effect.ci95.unwrap().high, case.high);
        near(result.p_value.unwrap(), case.p);
        assert_eq!(result.verdict.as_str(), case.verdict);
        let more = match result.verdict {
            Verdict::Undecided { more_seeds } => more_seeds,
            Verdict::Confirmed | Verdict::Refuted => None,
        };
        assert_eq!(more, case.more_seeds, "{} {}", case.relation, case.bound);
    }
}

#[test]
fn a_number_is_a_reference_that_every_seed_has() {
    let result = of_number(Relation::Smaller, &[0.5, 0.6, 0.55], 0.9);
    assert_eq!((result.n, result.pairs, result.reference_mean), (3, 3, Some(0.9)));
    assert_eq!((result.test, result.verdict), (Some(TestName::OneSampleT), Verdict::Confirmed));
    assert_eq!(result.claim.comparison(), "val_accuracy: activation=relu < 0.9");
    let result = of_number(Relation::LargerBy(2.0), &[0.5, 0.6, 0.55], 0.9);
    assert_eq!(result.test, Some(TestName::OneSampleTOfLogarithms));
    let result = of_number(Relation::Larger, &[0.5], 0.9);
    assert_eq!((result.n, result.p_value), (1, None));
}

#[test]
fn the_sample_is_the_seeds_however_many_configurations_there_are() {
    let accuracy = |x: f64| [x];
    let values = [0.9, 0.8, 0.92, 0.81, 0.7, 0.5, 0.72, 0.51].map(accuracy);
    let runs: Vec<Run<'_>> = (0..8)
        .map(|n| {
            let other = if n % 2 == 0 { "0.1" } else { "0.01" };
            (n < 4, other, (n as u64 / 2) % 2, &values[n][..])
        })
        .collect();
    let result = judged(MetricName::ValAccuracy, Relation::Larger, &runs);
    assert_eq!((result.n, result.pairs), (2, 4));
    assert!((result.effect.mean.unwrap() - 0.25).abs() < 1e-12);
    // A configuration that only one group has is left out.
    let result = judged(MetricName::ValAccuracy, Relation::Larger, &runs[..7]);
    assert_eq!((result.n, result.pairs), (2, 3));
}

#[test]
fn a_run_that_never_came_to_the_target_counts_with_its_length() {
    let (early, late, never) = ([0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.9, 0.9], [0.1; 4]);
    let mut runs: Vec<Run<'_>> = Vec::new();
    for seed in 0..6 {
        runs.push((true, "", seed, if seed == 0 { &late } else { &early }));
        runs.push((false, "", seed, if seed < 3 { &never } else { &late }));
    }
    let result = judged(MetricName::EpochsToTarget, Relation::Smaller, &runs);
    assert_eq!((result.n, result.pairs), (6, 6));
    assert_eq!(result.subject_mean, Some((3.0 + 5.0) / 6.0));
    assert_eq!(result.reference_mean, Some((3.0 * 4.0 + 3.0 * 3.0) / 6.0));
    assert_eq!(result.verdict, Verdict::Confirmed);
}

/// Epochs to the target of subject and reference by seed; 0 of a run of four that never got there.
fn of_epochs(relation: Relation, subject: &[usize], reference: &[usize]) -> ClaimResult {
    let course = |reached: &usize| -> Vec<f64> {
        (1..=4).map(|epoch| if *reached > 0 && epoch >= *reached { 0.9 } else { 0.1 }).collect()
    };
    let [subject, reference] = [subject, reference].map(|all| all.iter().map(course));
    let [subject, reference]: [Vec<Vec<f64>>; 2] = [subject.collect(), reference.collect()];
    let runs: Vec<Run<'_>> = (0..)
        .zip(subject.iter().zip(&reference))
        .flat_map(|(seed, (a, b))| [(true, "", seed, &a[..]), (false, "", seed, &b[..])])
        .collect();
    judged(MetricName::EpochsToTarget, relation, &runs)
}

#[test]
fn a_factor_is_not_refuted_by_runs_that_ended_too_soon_for_it() {
    let thrice = Relation::SmallerBy(3.0);
    // Twice as soon at least, and perhaps a hundred times.
    let result = of_epochs(thrice, &[2; 8], &[0; 8]);
    assert_eq!((result.n, result.verdict), (8, Verdict::Undecided { more_seeds: None }));
    assert_eq!(result.never_reached, Some(NeverReached { runs: 8, counted: 4.0 }));
    // The other way round it is sure.
    assert_eq!(of_epochs(thrice, &[0; 8], &[2; 8]).verdict, Verdict::Refuted);
    assert_eq!(of_epochs(thrice, &[1; 8], &[0; 8]).verdict, Verdict::Confirmed);
    assert_eq!(of_epochs(thrice, &[2; 8], &[4; 8]).verdict, Verdict::Refuted);
    let none = of_epochs(Relation::SmallerBy(1.5), &[0; 8], &[0; 8]);
    assert_eq!(none.verdict, Verdict::Undecided { more_seeds: None }, "neither got there");
}

#[test]
fn runs_that_never_got_there_are_not_equal_and_not_there_by_a_later_epoch() {
    let undecided = Verdict::Undecided { more_seeds: None };
    let same = Relation::Within(0.5);
    assert_eq!(of_epochs(same, &[0; 8], &[0; 8]).verdict, undecided);
    assert_eq!(of_epochs(same, &[2; 8], &[2; 8]).verdict, Verdict::Confirmed);
    assert_eq!(of_epochs(same, &[2; 8], &[0; 8]).verdict, Verdict::Refuted);
    let runs: Vec<Run<'_>> = (0..8).map(|seed| (true, "", seed, &[0.1; 4][..])).collect();
    let before = |epoch: f64| {
        let claim = sample::claims::claim("claimed", Relation::Smaller, [Relu, Tanh]);
        let reference = Reference::Value(epoch);
        let metric = MetricName::EpochsToTarget.into();
        judged_claim(Claim { metric, reference, ..claim }, &runs).verdict
    };
    assert_eq!(before(30.0), undecided, "four epochs without it say nothing of thirty");
    assert_eq!(before(3.0), Verdict::Refuted);
}

#[test]
fn a_run_is_as_long_as_it_was_trained_and_not_as_its_start_took() {
    // One epoch of ten seconds, 12.25 from start to result.
    let runs: Vec<Run<'_>> = (0..8).map(|seed| (true, "", seed, &[0.1][..])).collect();
    let within = |seconds: f64| {
        let claim = sample::claims::claim("claimed", Relation::Smaller, [Relu, Tanh]);
        let reference = Reference::Value(seconds);
        let metric = MetricName::SecondsToTarget.into();
        judged_claim(Claim { metric, reference, ..claim }, &runs).verdict
    };
    assert_eq!(within(11.0), Verdict::Undecided { more_seeds: None }, "none trained for eleven");
    assert_eq!(within(9.0), Verdict::Refuted);
}

#[test]
fn a_run_that_diverged_soon_is_not_soon_at_the_target() {
    // Ten seconds an epoch; what diverges does so in the first.
    let mut runs: Vec<Run<'_>> = Vec::new();
    for seed in 0..8 {
        runs.push((true, "", seed, &[f64::NAN]));
        runs.push((false, "", seed, &[0.1, 0.1, 0.9]));
    }
    let result = judged(MetricName::SecondsToTarget, Relation::Smaller, &runs);
    assert_eq!(result.subject_mean, Some(30.0), "the length of the finished runs");
    assert_ne!(result.verdict, Verdict::Confirmed);
}

#[test]
fn that_a_run_diverged_can_be_claimed_and_a_failed_one_says_nothing() {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for seed in 0..6 {
        runs.push((true, "", seed, &[f64::NAN]));
        runs.push((false, "", seed, if seed == 5 { &[] } else { &[0.9] }));
    }
    let result = judged(Quantity::Diverged, Relation::Larger, &runs);
    assert_eq!((result.n, result.subject_mean, result.reference_mean), (5, Some(1.0), Some(0.0)));
    assert_eq!(result.test, Some(TestName::SignFlip));
    assert_eq!(result.verdict, Verdict::Undecided { more_seeds: Some(1) }, "2 / 2^6 is below 5 %");
}

#[test]
fn what_the_course_of_a_run_has_is_compared_as_its_results_are() {
    let curve = CurveQuantity { curve: CurveName::StepLoss, take: Take::Spikes, since: None };
    let runs: Vec<Run<'_>> = (0..4_u8)
        .flat_map(|seed| {
            let high: &[f64] = [&[0.9], &[0.91], &[0.92], &[0.9]][usize::from(seed)];
            let low: &[f64] = if seed == 3 { &[f64::NAN] } else { &[0.2] };
            [(true, "", u64::from(seed), high), (false, "", u64::from(seed), low)]
        })
        .collect();
    let result = judged(Quantity::Curve(curve), Relation::LargerBy(2.0), &runs);
    assert_eq!((result.n, result.reference_mean), (3, Some(2.0)), "what diverged has no number");
    assert_eq!(result.verdict, Verdict::Confirmed);
}

#[test]
fn equal_differences_are_tossed_coins_and_not_certainty() {
    let result = of_pairs(Relation::Larger, &[0.9, 0.8, 0.7], &[0.8, 0.7, 0.6]);
    assert_eq!((result.test, result.p_value), (Some(TestName::SignFlip), Some(0.25)));
    assert_eq!(result.verdict, Verdict::Undecided { more_seeds: Some(3) }, "2 / 2^6 is below 5 %");
    let result = of_pairs(Relation::Larger, &[0.5; 6], &[0.5; 6]);
    assert_eq!(result.p_value, Some(1.0));
    assert_eq!(result.verdict, Verdict::Undecided { more_seeds: None });
    let result = of_pairs(Relation::Within(0.01), &[0.5; 6], &[0.5; 6]);
    assert_eq!((result.p_value, result.verdict), (Some(2.0 / 64.0), Verdict::Confirmed));
}

#[test]
fn what_is_undecided_says_which_way_it_leans() {
    let (low, high) = ([0.5, 0.6, 0.55], [0.6, 0.6, 0.7]);
    let tendency = |relation, a, b| of_pairs(relation, a, b).tendency();
    assert_eq!(tendency(Relation::Smaller, &low, &high), "confirm");
    assert_eq!(tendency(Relation::Larger, &low, &high), "refute");
    assert_eq!(tendency(Relation::Within(0.5), &low, &high), "confirm");
    assert_eq!(tendency(Relation::Within(0.01), &low, &high), "refute");
    assert_eq!(tendency(Relation::Larger, &low, &low), "decide");
}

#[test]
fn too_little_is_no_verdict() {
    let one = of_pairs(Relation::Larger, &[0.9], &[0.1]);
    assert_eq!((one.n, one.p_value), (1, None));
    assert_eq!(one.verdict, Verdict::Undecided { more_seeds: None });
    let gone = judged(MetricName::ValAccuracy, Relation::Larger, &[(true, "", 0, &[])]);
    assert_eq!((gone.n, gone.effect), (0, Effect::default()));
    assert_eq!(gone.verdict, Verdict::Undecided { more_seeds: None });
}

#[test]
fn a_factor_of_values_that_are_not_above_0_is_told_as_it_is_tested() {
    let (subject, reference) = ([-0.5, -0.25, -0.5], [0.25, 0.5, 0.5]);
    let smaller = of_pairs(Relation::SmallerBy(2.0), &subject, &reference);
    let mean = (1.25 + 1.0 + 1.5) / 3.0;
    assert_eq!(
        (smaller.effect.kind, smaller.effect.mean),
        (EffectKind::Excess, Some(mean)),
        "B - 2 A"
    );
    assert_eq!(smaller.test, Some(TestName::PairedT));
    let larger = of_pairs(Relation::LargerBy(2.0), &subject, &reference);
    let mean = -(1.0 + 1.25 + 1.5) / 3.0;
    assert_eq!(
        (larger.effect.kind, larger.effect.mean),
        (EffectKind::Excess, Some(mean)),
        "A - 2 B"
    );
    // The interval has 0 in it where the test cannot tell.
    for result in [&smaller, &larger] {
        let ci95 = result.effect.ci95.unwrap();
        let apart = ci95.low > 0.0 || ci95.high < 0.0;
        assert_eq!(apart, result.p_value.unwrap() < 0.05);
    }
    let above = of_pairs(Relation::LargerBy(2.0), &[0.5, 0.25], &[0.25, 0.5]);
    assert_eq!(above.effect.kind, EffectKind::Ratio);
}

#[test]
fn that_nothing_is_compared_has_a_reason() {
    let nothing =
        |runs: &[Run<'_>]| judged(MetricName::ValAccuracy, Relation::Larger, runs).nothing;
    let some: &[f64] = &[0.9];
    assert_eq!(nothing(&[(true, "", 0, some), (false, "", 0, some)]), None);
    let diverged = [(true, "", 0, some), (false, "", 0, &[f64::NAN][..])];
    assert_eq!(nothing(&diverged), Some(Nothing::NoneFinished));
    let apart = [(true, "", 0, some), (false, "", 1, some)];
    assert_eq!(nothing(&apart), Some(Nothing::NoPair));

    let claim = sample::claims::claim("claimed", Relation::Larger, [Relu, Tanh]);
    let curve = CurveQuantity { curve: CurveName::StepLoss, take: Take::Spikes, since: None };
    let of_curve = Claim { metric: Quantity::Curve(curve), ..claim.clone() };
    let configs = [Relu, Tanh].map(|activation| RunConfig { activation, ..RunConfig::default() });
    let judged = |claim: Claim, table: &SweepTable| {
        judge(&Stated::all(&[claim], &[Key::Activation], || &configs), table).remove(0).nothing
    };
    let ended = [("relu", 0, Some(0.9)), ("tanh", 0, Some(0.9))];
    let mut table = sample::table(&ended);
    for run_id in table.rows().iter().map(|row| row.run.run_id).collect::<Vec<_>>() {
        table.set_quantities(run_id, vec![None]);
    }
    assert_eq!(judged(of_curve, &table), Some(Nothing::TooShort));
    let without = Claim { metric: MetricName::SpeedUp.into(), ..claim.clone() };
    assert_eq!(judged(without, &table), Some(Nothing::NoNumber));

    let pending = |name| {
        let state = RunState::Pending { reason: None };
        RunRow::new(sample::planned(name, 0), state, &sample::metric())
    };
    let rows = vec![sample::table(&ended).rows()[0].clone(), pending("tanh")];
    let table = SweepTable::from_rows(vec!["activation".into()], sample::metric(), rows);
    assert_eq!(judged(claim, &table), Some(Nothing::Yet));
}

#[test]
fn many_claims_are_corrected_together_and_a_claim_can_be_refuted() {
    let results = sample::claims::judged();
    let found: Vec<_> =
        results.iter().map(|result| (result.claim.text.as_str(), result.verdict)).collect();
    let undecided = |more| Verdict::Undecided { more_seeds: more };
    assert_eq!(found[0], ("relu beats sigmoid", Verdict::Confirmed));
    assert_eq!(found[1], ("sigmoid beats tanh", Verdict::Refuted));
    assert!(matches!(found[2].1, Verdict::Undecided { .. }));
    assert_eq!(found[5], ("tanh equals elu", undecided(None)));
    let smallest = results.iter().filter_map(|result| result.p_value).fold(1.0, f64::min);
    let corrected = results.iter().filter_map(|result| result.p_value_holm).fold(1.0, f64::min);
    assert_eq!(corrected, (smallest * 5.0).min(1.0), "five were tested");
    assert_eq!(activation(Relu).label(), "activation=relu");
}
