//! What a claim came to, in a sentence: how large, how sure, what would help.

use super::labels::of_quantity;
use crate::aggregate::claims::{ClaimResult, Effect, EffectKind, NeverReached, Nothing, Verdict};
use crate::report::number::{p_value, plain};
use crate::spec::claim::{Claim, Relation};
use crate::spec::metric::MetricName;
use crate::spec::quantity::{CurveName, CurveQuantity, Quantity, Take};

/// The comparison in words: `epochs to target: schedule=cosine smaller than schedule=constant`.
pub fn statement(claim: &Claim) -> String {
    let [subject, reference] = [claim.subject.label(), claim.reference.label()];
    let (metric, _) = of_quantity(&claim.metric);
    match claim.relation {
        Relation::Smaller => format!("{metric}: {subject} smaller than {reference}"),
        Relation::Larger => format!("{metric}: {subject} larger than {reference}"),
        Relation::SmallerBy(factor) => {
            format!("{metric}: {subject} smaller than {reference} by a factor of {factor}")
        }
        Relation::LargerBy(factor) => {
            format!("{metric}: {subject} larger than {reference} by a factor of {factor}")
        }
        Relation::Within(margin) => {
            format!("{metric}: {subject} equal to {reference} within {margin}")
        }
    }
}

/// What the runs say: `4.3 epochs fewer on average (95 % CI 1.2 to 7.4), 3 seeds, p = 0.046 after
/// correction`.
pub fn sentence(result: &ClaimResult) -> String {
    let mut parts: Vec<String> = effect(result).into_iter().collect();
    parts.push(seeds(result.n));
    parts.extend(result.p_value_holm.map(|p| format!("{} after correction", p_value(p))));
    let mut text = parts.join(", ");
    if let Verdict::Undecided { more_seeds } = result.verdict {
        text += &match (result.n, more_seeds) {
            (0, _) => format!("; {}", result.nothing.unwrap_or(Nothing::Yet).as_str()),
            (1, _) => "; one seed has no spread to judge by".to_owned(),
            (_, Some(1)) => format!("; 1 more seed like these would {} it", result.tendency()),
            (_, Some(more)) => {
                format!("; {more} more seeds like these would {} it", result.tendency())
            }
            (_, None) => "; no reasonable number of seeds like these would decide it".to_owned(),
        };
    }
    text + &result
        .never_reached
        .map(|never| never_reached(never, &result.claim))
        .unwrap_or_default()
}

/// `; 3 of the runs never reached the target, and count with 10 epochs`.
fn never_reached(NeverReached { runs, counted }: NeverReached, claim: &Claim) -> String {
    let unit = Measure::of(&claim.metric).unit;
    let counted = format!("{}{unit}", plain(counted, 3));
    match runs {
        0 => String::new(),
        1 => format!("; 1 of the runs never reached the target, and counts with {counted}"),
        _ => format!("; {runs} of the runs never reached the target, and count with {counted}"),
    }
}

/// The effect against which a claim is tested: none at all, or the claim's factor.
pub fn null(result: &ClaimResult) -> f64 {
    match (result.effect.kind, result.claim.relation) {
        (EffectKind::Ratio, Relation::LargerBy(factor)) => factor,
        (EffectKind::Ratio, Relation::SmallerBy(factor)) => 1.0 / factor,
        _ => 0.0,
    }
}

/// What the effect of a claim is about: the metric, or how far that is beyond the claim's factor.
pub fn subject(result: &ClaimResult) -> (String, &'static str) {
    let (metric, unit) = of_quantity(&result.claim.metric);
    match excess_over(result) {
        Some(factor) => (format!("{metric} beyond a factor of {factor}"), unit),
        None => (metric, unit),
    }
}

/// The claim's factor, where the effect is by how much that is exceeded.
fn excess_over(result: &ClaimResult) -> Option<f64> {
    match result.claim.relation {
        Relation::SmallerBy(factor) | Relation::LargerBy(factor) => {
            (result.effect.kind == EffectKind::Excess).then_some(factor)
        }
        Relation::Smaller | Relation::Larger | Relation::Within(_) => None,
    }
}

fn seeds(n: usize) -> String {
    if n == 1 { "1 seed".to_owned() } else { format!("{n} seeds") }
}

/// The effect with its interval.
fn effect(result: &ClaimResult) -> Option<String> {
    let Effect { kind, mean, ci95 } = result.effect;
    let mean = mean?;
    let interval = |[low, high]: [f64; 2], show: &dyn Fn(f64) -> String| {
        format!(" (95 % CI {} to {})", show(low), show(high))
    };
    if kind == EffectKind::Ratio {
        let show = |x: f64| plain(x, 3);
        let interval = ci95.map(|ci95| interval([ci95.low, ci95.high], &show));
        return Some(format!(
            "{} times as large on average{}",
            show(mean),
            interval.unwrap_or_default()
        ));
    }
    let Measure { unit, times, words } = Measure::of(&result.claim.metric);
    let show = |x: f64| plain(x * times, 3);
    let words = match excess_over(result) {
        Some(factor) => ["short of", "beyond"].map(|word| format!("{word} a factor of {factor}")),
        None => words.map(str::to_owned),
    };
    let [less, more] = &words;
    let (sign, word) = if mean < 0.0 { (-1.0, less) } else { (1.0, more) };
    let ends =
        ci95.map(|ci95| if mean < 0.0 { [-ci95.high, -ci95.low] } else { [ci95.low, ci95.high] });
    let interval = ends.map(|ends| interval(ends, &show)).unwrap_or_default();
    if mean == 0.0 {
        return Some(format!("no difference on average{interval}"));
    }
    let shown = show(sign * mean);
    let unit = match unit.as_str() {
        " epochs" if shown == "1" => " epoch",
        " percentage points" if shown == "1" => " percentage point",
        unit => unit,
    };
    Some(format!("{shown}{unit} {word} on average{interval}"))
}

/// How differences of a metric are told.
struct Measure {
    /// With a space in front.
    unit: String,
    /// What they are multiplied with.
    times: f64,
    /// Of less and of more.
    words: [&'static str; 2],
}

impl Measure {
    fn of(quantity: &Quantity) -> Self {
        let sizes = ["smaller", "larger"];
        let (unit, times, words) = match quantity {
            Quantity::Result(MetricName::EpochsToTarget) => (" epochs", 1.0, ["fewer", "more"]),
            quantity if is_share(quantity) => (" percentage points", 100.0, sizes),
            other => match of_quantity(other).1 {
                "" => ("", 1.0, sizes),
                "s" => (" s", 1.0, ["less", "more"]),
                "images/s" => (" images/s", 1.0, ["fewer", "more"]),
                unit => {
                    return Self { unit: format!(" {unit}"), times: 1.0, words: ["less", "more"] };
                }
            },
        };
        Self { unit: unit.to_owned(), times, words }
    }
}

/// Is it a share, of samples or of runs?
fn is_share(quantity: &Quantity) -> bool {
    match quantity {
        Quantity::Result(metric) => {
            matches!(metric, MetricName::ValAccuracy | MetricName::TestAccuracy)
        }
        Quantity::Diverged => true,
        Quantity::Curve(CurveQuantity { curve, take, .. }) => {
            // Spikes are counted.
            matches!(curve, CurveName::TrainAccuracy | CurveName::ValAccuracy)
                && *take != Take::Spikes
        }
        Quantity::Layer(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::claims;
    use crate::aggregate::statistics::Ci95;

    #[test]
    fn every_verdict_in_words() {
        let told: Vec<String> = claims::judged()
            .iter()
            .map(|r| {
                format!("{}\n  {}\n  {}", r.verdict.as_str(), statement(&r.claim), sentence(r))
            })
            .collect();
        insta::assert_snapshot!("sentences", told.join("\n"));
    }

    #[test]
    fn runs_that_never_reached_the_target_are_told_of() {
        let mut result = claims::judged().swap_remove(0);
        result.claim.metric = MetricName::EpochsToTarget.into();
        let mut told = |runs| {
            result.never_reached = Some(NeverReached { runs, counted: 10.0 });
            sentence(&result)
        };
        assert!(told(0).ends_with("after correction"));
        assert!(
            told(1)
                .ends_with("; 1 of the runs never reached the target, and counts with 10 epochs")
        );
        assert!(
            told(3).ends_with("; 3 of the runs never reached the target, and count with 10 epochs")
        );
        let mut seconds = claims::judged().swap_remove(0);
        seconds.claim.metric = MetricName::SecondsToTarget.into();
        assert!(sentence(&seconds).contains(" s more on average"), "{}", sentence(&seconds));
    }

    #[test]
    fn an_interval_is_told_in_the_direction_of_the_effect() {
        let mut result = claims::judged().swap_remove(0);
        result.claim.metric = MetricName::EpochsToTarget.into();
        let ci95 = Some(Ci95 { low: -7.4, high: 1.2 });
        result.effect = Effect { kind: EffectKind::Difference, mean: Some(-3.1), ci95 };
        assert!(sentence(&result).starts_with("3.1 epochs fewer on average (95 % CI -1.2 to 7.4)"));
    }

    #[test]
    fn what_is_tested_of_values_without_logarithms_is_told() {
        let mut result = claims::judged().swap_remove(0);
        result.claim.metric = MetricName::GeneralizationGap.into();
        result.claim.relation = Relation::SmallerBy(1.5);
        let ci95 = Some(Ci95 { low: -0.004, high: -0.002 });
        result.effect = Effect { kind: EffectKind::Excess, mean: Some(-0.003), ci95 };
        let told = "0.003 short of a factor of 1.5 on average (95 % CI 0.002 to 0.004)";
        assert!(sentence(&result).starts_with(told), "{}", sentence(&result));
        assert_eq!(
            (null(&result), subject(&result).0.as_str()),
            (0.0, "generalization gap beyond a factor of 1.5")
        );
        result.effect.mean = Some(0.003);
        assert!(sentence(&result).starts_with("0.003 beyond a factor of 1.5 on average"));
    }

    #[test]
    fn accuracies_have_one_unit_wherever_they_are_from() {
        let mut result = claims::judged().swap_remove(0);
        let mut told = |curve, take| {
            let quantity = CurveQuantity { curve, take, since: None };
            result.claim.metric = Quantity::Curve(quantity);
            sentence(&result)
        };
        let points = "49.3 percentage points larger";
        assert!(told(CurveName::ValAccuracy, Take::Max).starts_with(points));
        assert!(told(CurveName::TrainAccuracy, Take::Mean).starts_with(points));
        assert!(told(CurveName::ValAccuracy, Take::Spikes).starts_with("0.493 larger"));
        assert!(told(CurveName::ValLoss, Take::Max).starts_with("0.493 larger"));
    }

    #[test]
    fn where_nothing_is_compared_that_has_a_reason() {
        let mut result = claims::judged().swap_remove(5);
        result.nothing = Some(Nothing::Yet);
        assert_eq!(sentence(&result), "0 seeds; nothing to compare yet");
        result.nothing = Some(Nothing::TooShort);
        assert_eq!(sentence(&result), "0 seeds; nothing to compare: the curve is too short");
    }
}
