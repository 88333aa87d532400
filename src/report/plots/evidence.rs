//! Forest plots of what a sweep rests its conclusions on: effects of keys, and claims.

use super::Plot;
use super::forest::{Mark, Panel, Row, draw_forest};
use crate::aggregate::claims::{ClaimResult, EffectKind, Verdict};
use crate::aggregate::effects::{Effect, Effects};
use crate::aggregate::statistics::SIGNIFICANCE;
use crate::report::number::{p_value, plain};
use crate::report::page::{labels, sentences};
use crate::spec::claim::Relation;
use crate::spec::metric::{Goal, Metric};

/// Rows of a plot: beyond, nobody reads them.
const MOST: usize = 40;

/// Main effects of the varied keys on `metric`, in the order of the sweep file; of very many, the
/// largest.
pub fn effects_plot(axes: &[String], metric: &Metric, effects: &Effects) -> Option<Plot> {
    let mut known: Vec<&Effect> =
        effects.main.iter().filter(|effect| effect.over_seeds.is_some()).collect();
    let all = known.len();
    if all > MOST {
        let size = |effect: &Effect| effect.over_seeds.map_or(0.0, |test| test.mean.abs());
        known.sort_by(|a, b| size(b).total_cmp(&size(a)));
        known.truncate(MOST);
    }
    let rows: Vec<Row> = known.into_iter().filter_map(|e| effect_row(axes, metric, e)).collect();
    if rows.is_empty() {
        return None;
    }
    let (name, unit) = labels::of_metric(metric.name);
    let title = match all > MOST {
        true => format!("What each value is worth: {name}, the largest {MOST} of {all}"),
        false => format!("What each value is worth: {name}"),
    };
    let label = labels::with_unit((format!("{name}, difference"), unit));
    let panel = Panel { label, ratio: false, rows };
    let caption = "Mean and 95 % interval over the seeds. Circle: better, cross: worse, open: \
                   neither at 5 % (Holm). Arrow: goes on.";
    Some(Plot { name: "effects".to_owned(), svg: draw_forest(&title, &[panel], caption) })
}

fn effect_row(axes: &[String], metric: &Metric, effect: &Effect) -> Option<Row> {
    let test = effect.over_seeds?;
    let change = &effect.change;
    let axis = axes.get(change.axis).map_or("", String::as_str);
    let better = match metric.goal {
        Goal::Maximize => test.mean > 0.0,
        Goal::Minimize => test.mean < 0.0,
    };
    let significant = effect.p_value_holm.is_some_and(|p| p < SIGNIFICANCE);
    Some(Row {
        label: format!("{axis}={} instead of {}", change.value.label, change.reference.label),
        effect: test.mean,
        interval: test.ci95.map(|ci95| [ci95.low, ci95.high]),
        null: Some(0.0),
        margin: None,
        note: note(test.pairs, effect.p_value_holm),
        mark: match (significant, better) {
            (true, true) => Mark::Yes,
            (true, false) => Mark::No,
            (false, _) => Mark::Open,
        },
    })
}

/// The claims, in panels of what they compare; those of which nothing is known yet are left out.
pub fn claims_plot(claims: &[ClaimResult]) -> Option<Plot> {
    let mut panels: Vec<Panel> = Vec::new();
    for result in claims.iter().take(MOST) {
        let Some(effect) = result.effect.mean.filter(|effect| effect.is_finite()) else { continue };
        let ratio = result.effect.kind == EffectKind::Ratio;
        let (metric, unit) = sentences::subject(result);
        let label = match ratio {
            // Claims about different factors have their lines at different places, and panels of their own.
            true => {
                let factor = plain(sentences::null(result), 3);
                format!("{metric}, ratio (tested against {factor})")
            }
            false => labels::with_unit((format!("{metric}, difference"), unit)),
        };
        let row = claim_row(result, effect);
        match panels.iter_mut().find(|panel| panel.label == label) {
            Some(panel) => panel.rows.push(row),
            None => panels.push(Panel { label, ratio, rows: vec![row] }),
        }
    }
    if panels.is_empty() {
        return None;
    }
    let caption = "Mean and 95 % interval over the seeds. Circle: confirmed, cross: refuted, open: \
                   undecided.\nVertical line: what the claim is tested against. Grey: equal. Arrow: \
                   goes on.";
    Some(Plot { name: "claims".to_owned(), svg: draw_forest("Claims", &panels, caption) })
}

fn claim_row(result: &ClaimResult, effect: f64) -> Row {
    Row {
        label: result.claim.text.clone(),
        effect,
        interval: result.effect.ci95.map(|ci95| [ci95.low, ci95.high]),
        null: Some(sentences::null(result)),
        margin: match result.claim.relation {
            Relation::Within(margin) => Some(margin),
            _ => None,
        },
        note: note(result.n, result.p_value_holm),
        mark: match result.verdict {
            Verdict::Confirmed => Mark::Yes,
            Verdict::Refuted => Mark::No,
            Verdict::Undecided { .. } => Mark::Open,
        },
    }
}

fn note(n: usize, p: Option<f64>) -> String {
    match p {
        Some(p) => format!("n = {n}, {}", p_value(p)),
        None => format!("n = {n}"),
    }
}
