//! Two sweeps side by side: configuration by configuration, on the seeds that both have.
//!
//! In: the recorded runs of each sweep, with what decides whether their numbers mean the same: data,
//! engine, kind of device. Out: a [`Comparison`] with a row for every configuration of either.
//! Configurations are the same when they agree in all keys but those in which the sweeps as a whole
//! differ (one has width 0.25 everywhere, the other 0.5): these are what is compared.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{AxisValue, RowStatus, RunRow};
use super::statistics::{Ci95, PairedTest, SIGNIFICANCE, Summary, holm};
use super::to_target::Lengths;
use super::welch::WelchTest;
use crate::spec::device::Device;
use crate::spec::metric::{Goal, Metric, MetricName};
use crate::spec::{Key, RunConfig, Setting};

/// A run as its folder has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRun {
    /// Its configuration, the seed among it.
    pub config: RunConfig,
    /// Fingerprint of the data set.
    pub data: String,
    /// Version of the engine's numerics.
    pub engine: u32,
    /// What came of it.
    pub row: RunRow,
}

/// One of the sweeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// What tables call it.
    pub name: String,
    /// The keys that it varies, in the order of its sweep file.
    pub axes: Vec<Key>,
    /// Its runs, in the order in which configurations are to be shown.
    pub runs: Vec<RecordedRun>,
}

/// What to do with configurations whose numbers do not mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incomparable {
    /// Say why, and compare nothing.
    Refuse,
    /// Compare them all the same, and say so.
    Mark,
}

/// Two sweeps, compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Names of the two: differences are second minus first.
    pub names: [String; 2],
    /// What is compared.
    pub metric: MetricName,
    /// Which direction is better.
    pub goal: Goal,
    /// The keys in which the sweeps as a whole differ.
    pub between: Vec<Between>,
    /// The keys that vary among the configurations, in the order of the first sweep's file; then those that
    /// only the second varies, in the order of that one's.
    pub axes: Vec<String>,
    /// The configurations: those of the first sweep in its order, then those of the second alone.
    pub rows: Vec<ComparedRow>,
}

/// A key in which two sweeps as a whole differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between {
    /// The key.
    pub key: &'static str,
    /// Its value in each sweep, as tables show it.
    pub values: [String; 2],
}

/// One configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedRow {
    /// The varied keys with their values.
    pub configuration: String,
    /// Values of the varied keys, in the order of [`Comparison::axes`].
    pub axes: Vec<AxisValue>,
    /// Its runs in each sweep; `None` where a sweep has none.
    pub groups: [Option<GroupSummary>; 2],
    /// Why the numbers do not mean the same, if so.
    pub incomparable: Option<String>,
    /// The test, where anything could be compared.
    pub test: Option<GroupTest>,
    /// Its p-value, corrected (Holm) for the number of configurations tested.
    pub p_value_holm: Option<f64>,
    /// What came of it; `None` without a p-value.
    pub verdict: Option<Outcome>,
}

/// The runs of a configuration in one sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupSummary {
    /// Runs that ended without a usable result.
    pub failed: usize,
    /// Runs that have not ended.
    pub unfinished: usize,
    /// The metric over the finished runs that have it.
    pub summary: Summary,
}

/// How a configuration was tested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GroupTest {
    /// On common seeds.
    Paired(PairedTest),
    /// No seed is common.
    Welch(WelchTest),
}

impl GroupTest {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match (self, self.shifted()) {
            (Self::Paired(_), false) => "paired t",
            (Self::Paired(_), true) => "sign flip",
            (Self::Welch(_), false) => "Welch t",
            (Self::Welch(_), true) => "permutation",
        }
    }

    /// Is there a difference and no spread, so that a t test would be certain of it?
    fn shifted(&self) -> bool {
        self.difference() != 0.0 && self.ci95().is_some_and(|ci95| ci95.low == ci95.high)
    }

    /// Common seeds.
    pub fn pairs(&self) -> usize {
        match self {
            Self::Paired(test) => test.pairs,
            Self::Welch(_) => 0,
        }
    }

    /// Mean of the second sweep minus mean of the first; of the paired differences, where there are.
    pub fn difference(&self) -> f64 {
        match self {
            Self::Paired(test) => test.mean,
            Self::Welch(test) => test.mean,
        }
    }

    /// The 95 % confidence interval of the difference.
    pub fn ci95(&self) -> Option<Ci95> {
        match self {
            Self::Paired(test) => test.ci95,
            Self::Welch(test) => test.ci95,
        }
    }

    /// The two-sided p-value. Of a difference without any spread (accuracies over a thousand images are
    /// equal often enough) it is that of the exact test, which knows how few seeds there are.
    pub fn p_value(&self) -> Option<f64> {
        match self {
            Self::Paired(test) => test.p_value,
            Self::Welch(test) if self.shifted() => Some(parted(test.n)),
            Self::Welch(test) => test.p_value,
        }
    }
}

/// How likely two groups of equal values each are to part like this by chance: one way of drawing the
/// first, or two of equal size, among all.
fn parted([n, m]: [usize; 2]) -> f64 {
    let ways = (1..=n).fold(1.0, |ways, place| ways * (m + place) as f64 / place as f64);
    let extreme = if n == m { 2.0 } else { 1.0 };
    extreme / ways
}

/// What the second sweep is beside the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Better, at 5 % after correction.
    Better,
    /// Worse, likewise.
    Worse,
    /// Not distinguishable.
    Tied,
}

impl Outcome {
    /// As tables spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Tied => "tied",
        }
    }
}

impl Comparison {
    /// Compares `b` with `a` by the metric `name`; `metric` is the ranking metric of `a`, whose goal
    /// holds where it is the same one.
    pub fn of(a: &Side, b: &Side, metric: &Metric, name: MetricName, force: Incomparable) -> Self {
        let goal = if name == metric.name { metric.goal } else { name.natural_goal() };
        let between = between(a, b);
        let aside: Vec<Key> = between.iter().map(|(key, _)| *key).collect();
        let keys = varied_keys([a, b], &aside);
        let recorded = [a, b].into_iter().flat_map(|side| &side.runs).map(|run| &run.row);
        let lengths = Lengths::where_reached(recorded, name);
        let mut rows: Vec<ComparedRow> = Matched::all([a, b], &aside)
            .iter()
            .map(|matched| matched.row(&keys, (name, lengths), force))
            .collect();
        judge(&mut rows, goal);
        Self {
            names: [a.name.clone(), b.name.clone()],
            metric: name,
            goal,
            between: between.into_iter().map(|(_, between)| between).collect(),
            axes: keys.iter().map(|key| key.name().to_owned()).collect(),
            rows,
        }
    }

    /// The rows whose numbers do not mean the same, of those that both sweeps have.
    pub fn incomparable(&self) -> impl Iterator<Item = &ComparedRow> {
        self.rows.iter().filter(|row| row.incomparable.is_some())
    }

    /// Is there a configuration that both sweeps have?
    pub fn has_common(&self) -> bool {
        self.rows.iter().any(|row| row.groups.iter().all(Option::is_some))
    }
}

/// The one value of `key` in all runs of a sweep, if it is one.
fn constant(side: &Side, key: Key) -> Option<Setting> {
    let (first, rest) = side.runs.split_first()?;
    let setting = first.config.setting(key);
    rest.iter().all(|run| run.config.setting(key) == setting).then_some(setting)
}

fn keys() -> impl Iterator<Item = Key> {
    Key::ALL.iter().copied().filter(|key| *key != Key::Seed)
}

/// The keys that have one value in each of the sweeps, and not the same.
fn between(a: &Side, b: &Side) -> Vec<(Key, Between)> {
    let differing = keys().filter_map(|key| {
        let values = [constant(a, key)?, constant(b, key)?];
        let between = Between { key: key.name(), values: [values[0].label(), values[1].label()] };
        (values[0] != values[1]).then_some((key, between))
    });
    differing.collect()
}

/// The keys that the configurations are told apart by.
fn varied_keys(sides: [&Side; 2], aside: &[Key]) -> Vec<Key> {
    let mut runs = sides.iter().flat_map(|side| &side.runs);
    let Some(first) = runs.next() else { return Vec::new() };
    let runs: Vec<&RecordedRun> = runs.collect();
    let varies = |key: &Key| {
        let setting = first.config.setting(*key);
        runs.iter().any(|run| run.config.setting(*key) != setting)
    };
    let mut varied: Vec<Key> = keys().filter(|key| !aside.contains(key)).filter(varies).collect();
    let files: Vec<Key> = sides.iter().flat_map(|side| side.axes.iter().copied()).collect();
    // What neither file varies (each has one value of it, and a run of another version a third) is last.
    varied.sort_by_key(|key| files.iter().position(|axis| axis == key).unwrap_or(files.len()));
    varied
}

/// The runs of one configuration in both sweeps.
struct Matched<'a> {
    runs: [Vec<&'a RecordedRun>; 2],
}

impl<'a> Matched<'a> {
    fn all(sides: [&'a Side; 2], aside: &[Key]) -> Vec<Self> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut all: Vec<Self> = Vec::new();
        for (number, side) in sides.into_iter().enumerate() {
            for run in &side.runs {
                let place = *places.entry(identity(&run.config, aside)).or_insert(all.len());
                if place == all.len() {
                    all.push(Self { runs: [Vec::new(), Vec::new()] });
                }
                all[place].runs[number].push(run);
            }
        }
        all
    }

    fn row(
        &self,
        keys: &[Key],
        (name, lengths): (MetricName, Lengths),
        force: Incomparable,
    ) -> ComparedRow {
        let config = self.runs.iter().flatten().next().map(|run| &run.config);
        let settings: Vec<Setting> = config
            .map(|config| keys.iter().map(|key| config.setting(*key)).collect())
            .unwrap_or_default();
        let incomparable = self.incomparable();
        let name_of = |setting: &Setting| format!("{}={}", setting.key(), setting.label());
        let configuration = settings.iter().map(name_of).collect::<Vec<_>>().join(" ");
        let compared = incomparable.is_none() || force == Incomparable::Mark;
        ComparedRow {
            // As the planner calls a configuration in which nothing varies.
            configuration: if settings.is_empty() { "base".to_owned() } else { configuration },
            axes: settings.iter().map(AxisValue::of).collect(),
            groups: [0, 1].map(|side| summary(&self.runs[side], name)),
            test: if compared { self.test(name, lengths) } else { None },
            incomparable,
            p_value_holm: None,
            verdict: None,
        }
    }

    /// Why the numbers of the two do not mean the same.
    fn incomparable(&self) -> Option<String> {
        if self.runs.iter().any(Vec::is_empty) {
            return None;
        }
        type Fact = fn(&RecordedRun) -> Option<String>;
        const FACTS: [(&str, Fact); 3] = [
            ("data", |run| Some(run.data.clone())),
            ("engine numerics", |run| Some(run.engine.to_string())),
            ("device", device_kind),
        ];
        let reasons = FACTS.iter().filter_map(|(what, fact)| {
            let [a, b] = [0, 1].map(|side| {
                self.runs[side].iter().filter_map(|run| fact(run)).collect::<BTreeSet<String>>()
            });
            let list = |facts: &BTreeSet<String>| {
                facts.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
            };
            // Nothing is said against what is not recorded.
            (!a.is_empty() && !b.is_empty() && a != b)
                .then(|| format!("{what}: {} against {}", list(&a), list(&b)))
        });
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn test(&self, name: MetricName, lengths: Lengths) -> Option<GroupTest> {
        let value = |row: &RunRow| lengths.of_finished(row, name);
        let [a, b] = [0, 1].map(|side| by_seed(&self.runs[side], value));
        let pairs: Vec<(f64, f64)> =
            b.iter().filter_map(|(seed, value)| Some((*value, *a.get(seed)?))).collect();
        if pairs.is_empty() {
            let [a, b] = [a, b].map(|values| values.into_values().collect::<Vec<f64>>());
            return WelchTest::of(&b, &a).map(GroupTest::Welch);
        }
        PairedTest::of(&pairs).map(GroupTest::Paired)
    }
}

/// A configuration without its seed and the keys `aside`, as a text that is the same for equal ones.
fn identity(config: &RunConfig, aside: &[Key]) -> String {
    let mut fields = config.canonical();
    fields.retain(|name, _| {
        *name != Key::Seed.name() && !aside.iter().any(|key| key.name() == *name)
    });
    serde_json::to_string(&fields).expect("invariant: a map of JSON values is JSON")
}

/// Where a run was trained, as far as its record tells.
fn device_kind(run: &RecordedRun) -> Option<String> {
    if let Some(site) = &run.row.metrics.site {
        return Some(if site.is_gpu() { "cuda" } else { "cpu" }.to_owned());
    }
    match run.config.device {
        Device::Auto => None,
        Device::Cpu => Some("cpu".to_owned()),
        Device::Cuda => Some("cuda".to_owned()),
    }
}

/// What the finished runs come to, by seed.
fn by_seed(runs: &[&RecordedRun], value: impl Fn(&RunRow) -> Option<f64>) -> BTreeMap<u64, f64> {
    let finished = runs.iter().filter(|run| run.row.status == RowStatus::Finished);
    finished.filter_map(|run| Some((run.config.seed, value(&run.row)?))).collect()
}

fn summary(runs: &[&RecordedRun], name: MetricName) -> Option<GroupSummary> {
    let count = |statuses: &[RowStatus]| {
        runs.iter().filter(|run| statuses.contains(&run.row.status)).count()
    };
    (!runs.is_empty()).then(|| GroupSummary {
        failed: count(&[RowStatus::Failed, RowStatus::Diverged]),
        unfinished: count(&[RowStatus::Pending, RowStatus::Running, RowStatus::Skipped]),
        summary: Summary::of(by_seed(runs, |row| row.metrics.get(name)).into_values()),
    })
}

/// Corrects the p-values together and gives the verdicts.
fn judge(rows: &mut [ComparedRow], goal: Goal) {
    let raw = |row: &ComparedRow| row.test.as_ref().and_then(GroupTest::p_value);
    let mut corrected = holm(&rows.iter().filter_map(raw).collect::<Vec<f64>>()).into_iter();
    for row in rows {
        row.p_value_holm = raw(row).and_then(|_| corrected.next());
        let difference = row.test.as_ref().map_or(0.0, GroupTest::difference);
        let gain = match goal {
            Goal::Maximize => difference,
            Goal::Minimize => -difference,
        };
        row.verdict = row.p_value_holm.map(|p| match p < SIGNIFICANCE {
            true if gain > 0.0 => Outcome::Better,
            true => Outcome::Worse,
            false => Outcome::Tied,
        });
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
