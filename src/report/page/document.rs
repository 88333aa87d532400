//! The report's document: all that the page shows, as one JSON object.
//!
//! `docs/reference/report.md` describes it for programs. A number that is not known is `null`. Lists
//! name a configuration by its place in `configurations`.

use serde::Serialize;

use super::table::TableSaid;

/// Version of the document's format.
pub const DOCUMENT_FORMAT: u32 = 1;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document<'a> {
    /// [`DOCUMENT_FORMAT`].
    pub format: u32,
    /// What the sweep file says of itself.
    pub sweep: Sweep,
    /// What is ranked by.
    pub metric: MetricSaid,
    /// How many runs stand how.
    pub counts: Counts,
    /// The varied keys.
    pub axes: Vec<AxisValues>,
    /// The configurations, best first.
    pub configurations: Vec<Configuration>,
    /// Configurations that are left out, the last ones.
    pub configurations_left_out: usize,
    /// The claims, in the order of the sweep file.
    pub claims: Vec<ClaimSaid>,
    /// `leaderboard.csv`; its rows are in the order of `configurations`.
    pub leaderboard: TableSaid<'a>,
    /// Curves over the seeds.
    pub curves: Vec<Curve>,
    /// Configurations without curves here.
    pub curves_left_out: usize,
    /// Of many configurations the few that charts show at first: the best, and those that claims are about.
    pub foremost: Vec<usize>,
    /// Measurements in layers.
    pub layers: Vec<Layers>,
    /// Maps of layers that were left out for their size.
    pub layers_left_out: usize,
    /// What varied keys are worth.
    pub effects: EffectsSaid,
    /// `throughput.csv`, where steps are timed.
    pub throughput: Option<TableSaid<'a>>,
    /// `scaling.csv`, where steps on several devices are.
    pub scaling: Option<TableSaid<'a>>,
    /// `scaling_fit.csv`, likewise.
    pub scaling_fit: Option<TableSaid<'a>>,
    /// Runs that failed or diverged.
    pub failures: Vec<FailureSaid>,
    /// Such runs that were left out.
    pub failures_left_out: usize,
    /// `runs.csv`, up to a number of rows.
    pub runs: TableSaid<'a>,
    /// What it all rests on.
    pub provenance: Provenance,
}

/// What the sweep file says of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Sweep {
    /// `name`.
    pub name: String,
    /// `description`.
    pub description: String,
    /// The comment that the file begins with.
    pub header: String,
    /// What the command line changed.
    pub changes: Vec<String>,
    /// Version of the program.
    pub version: String,
}

/// What is ranked by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricSaid {
    /// Its key.
    pub name: &'static str,
    /// In words.
    pub label: String,
    /// Its unit.
    pub unit: &'static str,
    /// `maximize` or `minimize`.
    pub goal: &'static str,
    /// The target.
    pub target: Option<f64>,
    /// The metric that the target is of: the ranking one, or `val_accuracy`.
    pub target_of: Option<&'static str>,
}

/// How many runs stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All.
    pub planned: usize,
    /// Ended well.
    pub finished: usize,
    /// Ended with a loss that was no number.
    pub diverged: usize,
    /// Every attempt failed.
    pub failed: usize,
    /// Not begun, or to be tried again.
    pub pending: usize,
    /// Under way.
    pub running: usize,
    /// No device for them here.
    pub skipped: usize,
}

/// A varied key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AxisValues {
    /// The key.
    pub key: String,
    /// Its values in the order in which the plan meets them.
    pub values: Vec<String>,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Configuration {
    /// Its name in every CSV.
    pub name: String,
    /// Values of the varied keys.
    pub axes: Vec<String>,
    /// A short text for legends.
    pub label: String,
}

/// A claim and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimSaid {
    /// The claim in the author's words.
    pub text: String,
    /// What is compared.
    pub statement: String,
    /// `confirmed`, `refuted` or `undecided`.
    pub verdict: &'static str,
    /// What the runs say.
    pub sentence: String,
    /// The compared quantity in words.
    pub metric: String,
    /// Its unit.
    pub unit: &'static str,
    /// Seeds that would decide it.
    pub more_seeds: Option<usize>,
    /// Seeds that both groups have.
    pub n: usize,
    /// Pairs of configurations, over all seeds.
    pub pairs: usize,
    /// Mean of the group that the claim is about.
    pub subject_mean: Option<f64>,
    /// Mean of the group that it is compared with.
    pub reference_mean: Option<f64>,
    /// Is the effect a ratio?
    pub is_ratio: bool,
    /// The effect.
    pub effect: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// The effect against which the claim is tested.
    pub null: f64,
    /// How far from there still counts as equal.
    pub margin: Option<f64>,
    /// The test.
    pub test: Option<&'static str>,
    /// Its two-sided p-value.
    pub p: Option<f64>,
    /// The same, corrected.
    pub p_holm: Option<f64>,
}

/// A metric's curves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// As `curves.csv` spells it.
    pub metric: &'static str,
    /// In words.
    pub label: String,
    /// Its unit.
    pub unit: &'static str,
    /// `epoch` or `step`.
    pub x: &'static str,
    /// A curve a configuration.
    pub series: Vec<Series>,
}

/// The curve of a configuration over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Which.
    pub configuration: usize,
    /// Epochs or steps, from 1.
    pub x: Vec<u64>,
    /// Means.
    pub mean: Vec<f64>,
    /// Smallest.
    pub low: Vec<f64>,
    /// Largest.
    pub high: Vec<f64>,
    /// Seeds.
    pub n: Vec<usize>,
}

/// A measurement in layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layers {
    /// As `layers.csv` spells it.
    pub measurement: String,
    /// In words.
    pub label: String,
    /// Its layers, in the order of the network.
    pub layers: Vec<String>,
    /// Its epochs.
    pub epochs: Vec<u32>,
    /// A map a configuration.
    pub maps: Vec<LayerMap>,
}

/// Means over the seeds, by layer and epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerMap {
    /// Which.
    pub configuration: usize,
    /// For each layer, a number for each epoch.
    pub values: Vec<Vec<Option<f64>>>,
}

/// What varied keys are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectsSaid {
    /// On which metric.
    pub metric: &'static str,
    /// One key changed.
    pub main: Vec<EffectSaid>,
    /// Two together beyond each alone, the largest first.
    pub interactions: Vec<EffectSaid>,
    /// Interactions that are not here.
    pub left_out: usize,
}

/// An effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectSaid {
    /// The key.
    pub axis: String,
    /// Its value.
    pub value: String,
    /// The value that it stands instead of.
    pub reference: String,
    /// The second key, of an interaction; so the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_axis: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_value: Option<String>,
    /// What that stands instead of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_reference: Option<String>,
    /// Pairs (or fours) compared.
    pub pairs: usize,
    /// Its mean.
    pub effect: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// p-value.
    pub p: Option<f64>,
    /// The same, corrected.
    pub p_holm: Option<f64>,
}

/// A run without a usable result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureSaid {
    /// Its id.
    pub run: String,
    /// Its configuration.
    pub configuration: usize,
    /// Its seed.
    pub seed: u64,
    /// `failed` or `diverged`.
    pub status: &'static str,
    /// Why.
    pub reason: String,
    /// The end of its error output.
    pub log: String,
}

/// What it all rests on.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Provenance {
    /// The sweep file.
    pub sweep_file: String,
    /// What the command line changed of it.
    pub overrides: Vec<String>,
    /// The seeds of every configuration.
    pub seeds: Vec<u64>,
    /// The data sets.
    pub data: Vec<DataSaid>,
    /// Version of the engine's numerics.
    pub engine_numerics: u32,
    /// When the report was written, RFC 3339.
    pub written: String,
    /// Version of the program that wrote it.
    pub gridlane: String,
    /// The machines that the sweep ran on, as far as its journal tells, and the devices that were timed.
    pub hosts: Vec<String>,
    /// Runs.
    pub run_ids: usize,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataSaid {
    /// As the sweep file names it.
    pub dataset: String,
    /// Of its contents.
    pub fingerprint: String,
}
