//! From the tables of a sweep to the report's document.

use std::collections::BTreeMap;

use super::document::{
    AxisValues, ClaimSaid, Configuration, Counts, Curve, DOCUMENT_FORMAT, Document, EffectSaid,
    EffectsSaid, FailureSaid, LayerMap, Layers, MetricSaid, Provenance, Series, Sweep,
};
use super::sentences::{sentence, statement};
use super::table::TableSaid;
use super::{labels, sentences};
use crate::aggregate::bands::{Band, is_stepwise};
use crate::aggregate::claims::{ClaimResult, EffectKind, TestName, Verdict};
use crate::aggregate::courses::Courses;
use crate::aggregate::curves::CurveMetric;
use crate::aggregate::effects::{Change, Effect, Effects};
use crate::aggregate::layer_maps::Measured;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::row::{AxisValue, RowStatus, RunRow};
use crate::aggregate::scaling::ScalingTable;
use crate::aggregate::table::SweepTable;
use crate::aggregate::timings::Timing;
use crate::ids::RunId;
use crate::report::leaderboard::leaderboard_table;
use crate::report::number::rounded;
use crate::report::runs::runs_table;
use crate::report::throughput::{scaling_fit_table, scaling_table, throughput_table};
use crate::spec::claim::Relation;
use crate::spec::metric::{Goal, MetricName};

/// Rows of runs in the page.
const MOST_RUNS: usize = 5000;

/// Configurations in the page.
const MOST_CONFIGURATIONS: usize = 5000;

/// Interactions in the page.
const MOST_INTERACTIONS: usize = 200;

/// Failures in the page.
const MOST_FAILURES: usize = 100;

/// Configurations that a chart of many shows before the reader asks for others.
const SHOWN_AT_FIRST: usize = 6;

/// Epochs of a map of layers.
const MOST_EPOCHS: usize = 100;

/// Numbers of all maps of layers together: some 2 MB.
const MOST_CELLS: usize = 250_000;

/// The curves that are shown, in this order.
const CURVES: [CurveMetric; 7] = [
    CurveMetric::ValAccuracy,
    CurveMetric::TrainAccuracy,
    CurveMetric::ValLoss,
    CurveMetric::TrainLoss,
    CurveMetric::Lr,
    CurveMetric::StepLoss,
    CurveMetric::StepLr,
];

/// All that a report is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The runs.
    pub table: &'a SweepTable,
    /// The configurations, ranked.
    pub board: &'a Leaderboard,
    /// What claims came to.
    pub claims: &'a [ClaimResult],
    /// What varied keys are worth.
    pub effects: &'a Effects,
    /// What steps took.
    pub timings: &'a [Timing],
    /// How that scales.
    pub scaling: &'a ScalingTable,
    /// How runs went.
    pub courses: &'a Courses,
}

/// What tables do not know.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the sweep file says of itself.
    pub sweep: Sweep,
    /// What it all rests on.
    pub provenance: Provenance,
    /// Ends of the error output of [`failed_rows`].
    pub logs: BTreeMap<RunId, String>,
}

/// The rows without a usable result whose reasons the report tells, in the order of the plan.
pub fn failed_rows(table: &SweepTable) -> impl Iterator<Item = &RunRow> {
    all_failed_rows(table).take(MOST_FAILURES)
}

fn all_failed_rows(table: &SweepTable) -> impl Iterator<Item = &RunRow> {
    let failed = |row: &&RunRow| matches!(row.status, RowStatus::Failed | RowStatus::Diverged);
    table.rows().iter().filter(failed)
}

impl<'a> Document<'a> {
    /// The document of a sweep.
    pub fn of(inputs: &Inputs<'a>, facts: &Facts) -> Self {
        let Inputs { table, board, claims, effects, timings, scaling, courses } = *inputs;
        let axes = table.axes();
        let places = courses.places();
        let scales = !scaling.rows.is_empty();
        let (layers, layers_left_out) = layers(courses, &places);
        let said = |table| TableSaid::of(table, axes, MOST_CONFIGURATIONS);
        let failures = failures(table, board, &facts.logs);
        let configurations = configurations(board);
        Self {
            format: DOCUMENT_FORMAT,
            sweep: facts.sweep.clone(),
            metric: metric(board),
            counts: counts(table),
            axes: axis_values(table),
            configurations_left_out: board.entries().len() - configurations.len(),
            configurations,
            claims: claims.iter().map(claim).collect(),
            leaderboard: said(leaderboard_table(board)),
            curves: curves(courses, &places),
            curves_left_out: courses.left_out,
            foremost: courses.foremost(SHOWN_AT_FIRST, |_| true),
            layers,
            layers_left_out,
            effects: effects_said(table, effects),
            throughput: table.has_timed_steps().then(|| said(throughput_table(axes, timings))),
            scaling: scales.then(|| said(scaling_table(axes, scaling))),
            scaling_fit: scales.then(|| said(scaling_fit_table(axes, scaling))),
            failures_left_out: all_failed_rows(table).count() - failures.len(),
            failures,
            runs: TableSaid::of(runs_table(table), axes, MOST_RUNS),
            provenance: facts.provenance.clone(),
        }
    }
}

fn metric(board: &Leaderboard) -> MetricSaid {
    let metric = board.metric();
    let (label, unit) = labels::of_metric(metric.name);
    let goal = match metric.goal {
        Goal::Maximize => "maximize",
        Goal::Minimize => "minimize",
    };
    let target = metric.target.filter(|target| target.is_finite());
    let target_of = metric.target_of().filter(|_| target.is_some()).map(MetricName::as_str);
    MetricSaid { name: metric.name.as_str(), label, unit, goal, target, target_of }
}

fn counts(table: &SweepTable) -> Counts {
    let mut counts = Counts { planned: table.rows().len(), ..Counts::default() };
    for row in table.rows() {
        *match row.status {
            RowStatus::Pending => &mut counts.pending,
            RowStatus::Running => &mut counts.running,
            RowStatus::Finished => &mut counts.finished,
            RowStatus::Diverged => &mut counts.diverged,
            RowStatus::Failed => &mut counts.failed,
            RowStatus::Skipped => &mut counts.skipped,
        } += 1;
    }
    counts
}

fn axis_values(table: &SweepTable) -> Vec<AxisValues> {
    let mut axes: Vec<AxisValues> = table
        .axes()
        .iter()
        .map(|key| AxisValues { key: key.clone(), values: Vec::new() })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for row in table.rows() {
        for (axis, (said, value)) in axes.iter_mut().zip(&row.run.axes).enumerate() {
            if seen.insert((axis, value.label.as_str())) {
                said.values.push(value.label.clone());
            }
        }
    }
    axes
}

fn configurations(board: &Leaderboard) -> Vec<Configuration> {
    let label = |value: &AxisValue| value.label.clone();
    let said = board.entries().iter().take(MOST_CONFIGURATIONS).map(|entry| Configuration {
        name: entry.configuration.clone(),
        axes: entry.axes.iter().map(label).collect(),
        label: entry.configuration.clone(),
    });
    said.collect()
}

fn claim(result: &ClaimResult) -> ClaimSaid {
    let (metric, unit) = sentences::subject(result);
    let ci95 = result.effect.ci95;
    ClaimSaid {
        text: result.claim.text.clone(),
        statement: statement(&result.claim),
        verdict: result.verdict.as_str(),
        sentence: sentence(result),
        metric,
        unit,
        more_seeds: match result.verdict {
            Verdict::Undecided { more_seeds } => more_seeds,
            Verdict::Confirmed | Verdict::Refuted => None,
        },
        n: result.n,
        pairs: result.pairs,
        subject_mean: result.subject_mean,
        reference_mean: result.reference_mean,
        is_ratio: result.effect.kind == EffectKind::Ratio,
        effect: result.effect.mean,
        low: ci95.map(|ci95| ci95.low),
        high: ci95.map(|ci95| ci95.high),
        null: sentences::null(result),
        margin: match result.claim.relation {
            Relation::Within(margin) => Some(margin),
            _ => None,
        },
        test: result.test.map(TestName::as_str),
        p: result.p_value,
        p_holm: result.p_value_holm,
    }
}

fn curves(courses: &Courses, places: &[usize]) -> Vec<Curve> {
    let known = courses.bands.metrics();
    let shown = CURVES.into_iter().filter(|metric| known.contains(metric));
    let curve = |metric: CurveMetric| {
        let (label, unit) = labels::of_curve(metric);
        let series = places.iter().filter_map(|place| {
            courses.bands.band(*place, metric).map(|band| series(*place, band))
        });
        let x = if is_stepwise(metric) { "step" } else { "epoch" };
        Curve { metric: metric.as_str(), label, unit, x, series: series.collect() }
    };
    shown.map(curve).collect()
}

fn series(configuration: usize, band: Band) -> Series {
    let short = |values: Vec<f64>| values.into_iter().map(rounded).collect();
    let Band { x, mean, low, high, n } = band;
    Series { configuration, x, mean: short(mean), low: short(low), high: short(high), n }
}

/// The maps, of the best configurations first, as far as there is room; how many there was none for.
fn layers(courses: &Courses, places: &[usize]) -> (Vec<Layers>, usize) {
    let (mut room, mut left_out) = (MOST_CELLS, 0);
    let mut said: Vec<(Layers, &Measured)> =
        courses.maps.measurements().iter().map(begun).collect();
    for place in places {
        for (layers, measured) in &mut said {
            if !measured.configurations().any(|known| known == *place) {
                continue;
            }
            let cells = layers.layers.len() * layers.epochs.len();
            if cells > room {
                left_out += 1;
                continue;
            }
            room -= cells;
            let short = |value: Option<f64>| value.map(rounded);
            let values = measured.map(*place, &layers.epochs).into_iter();
            let values = values.map(|row| row.into_iter().map(short).collect()).collect();
            layers.maps.push(LayerMap { configuration: *place, values });
        }
    }
    (said.into_iter().map(|(layers, _)| layers).filter(|l| !l.maps.is_empty()).collect(), left_out)
}

/// A measurement without a map yet.
fn begun(measured: &Measured) -> (Layers, &Measured) {
    let layers = Layers {
        measurement: measured.name.clone(),
        label: labels::of_measurement(&measured.name),
        layers: measured.layers.clone(),
        epochs: measured.epochs(MOST_EPOCHS),
        maps: Vec::new(),
    };
    (layers, measured)
}

fn effects_said(table: &SweepTable, effects: &Effects) -> EffectsSaid {
    let said = |effect: &Effect| effect_said(table.axes(), effect);
    let size = |effect: &Effect| effect.over_seeds.map_or(0.0, |test| test.mean.abs());
    let mut interactions: Vec<&Effect> = effects.interactions.iter().collect();
    interactions.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let left_out = interactions.len().saturating_sub(MOST_INTERACTIONS) + effects.left_out;
    interactions.truncate(MOST_INTERACTIONS);
    EffectsSaid {
        metric: table.metric().name.as_str(),
        main: effects.main.iter().map(said).collect(),
        interactions: interactions.into_iter().map(said).collect(),
        left_out,
    }
}

fn effect_said(axes: &[String], effect: &Effect) -> EffectSaid {
    let axis = |change: &Change| axes.get(change.axis).cloned().unwrap_or_default();
    let Effect { change, with, over_seeds, .. } = effect;
    let ci95 = over_seeds.and_then(|test| test.ci95);
    EffectSaid {
        axis: axis(change),
        value: change.value.label.clone(),
        reference: change.reference.label.clone(),
        with_axis: with.as_ref().map(axis),
        with_value: with.as_ref().map(|change| change.value.label.clone()),
        with_reference: with.as_ref().map(|change| change.reference.label.clone()),
        pairs: effect.pairs,
        effect: over_seeds.map(|test| test.mean),
        low: ci95.map(|ci95| ci95.low),
        high: ci95.map(|ci95| ci95.high),
        p: over_seeds.and_then(|test| test.p_value),
        p_holm: effect.p_value_holm,
    }
}

fn failures(
    table: &SweepTable,
    board: &Leaderboard,
    logs: &BTreeMap<RunId, String>,
) -> Vec<FailureSaid> {
    let names = board.entries().iter().enumerate().take(MOST_CONFIGURATIONS);
    let places: BTreeMap<&str, usize> =
        names.map(|(place, entry)| (entry.configuration.as_str(), place)).collect();
    let said = failed_rows(table).filter_map(|row| {
        Some(FailureSaid {
            run: row.run.run_id.to_string(),
            configuration: *places.get(row.run.configuration.as_str())?,
            seed: row.run.seed,
            status: row.status.as_str(),
            reason: row.reason.clone().unwrap_or_default(),
            log: logs.get(&row.run.run_id).cloned().unwrap_or_default(),
        })
    });
    said.collect()
}
