//! The leaderboard: configurations, ranked by the sweep's metric over their seeds.
//!
//! In: a [`SweepTable`]. Out: one [`Entry`] for every configuration, best first, each with the
//! statistics of every metric and the paired comparison with the best one. Only finished runs
//! count; what failed or diverged is counted beside them, never hidden.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::spec::metric::{Goal, Metric, MetricName};

use super::row::{AxisValue, RowStatus, RunRow};
use super::statistics::{PairedTest, SIGNIFICANCE, Summary, holm};
use super::table::SweepTable;
use super::to_target::Lengths;

/// The ranked configurations of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaderboard {
    axes: Vec<String>,
    metric: Metric,
    /// The metrics that have columns.
    metrics: &'static [MetricName],
    entries: Vec<Entry>,
    /// Configurations of the sweep, of which the entries may be a selection.
    configurations: usize,
}

/// One configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Place, from 1; equal means share one. None without a value of the ranking metric.
    pub rank: Option<usize>,
    /// Its name.
    pub configuration: String,
    /// Values of the varied keys, in the order of [`Leaderboard::axes`].
    pub axes: Vec<AxisValue>,
    /// Finished runs.
    pub n: usize,
    /// Runs that ended without a usable result: failed or diverged.
    pub failed: usize,
    /// Those of them that diverged.
    pub diverged: usize,
    /// Runs that have not ended.
    pub unfinished: usize,
    /// Runs that this machine has no device for.
    pub skipped: usize,
    /// Finished runs that reached the target, if the sweep has one.
    pub target_reached: Option<usize>,
    /// Statistics of every metric, in the order of [`MetricName::ALL`].
    pub summaries: Vec<Summary>,
    /// Against the best configuration, on common seeds; of the best itself, None.
    pub difference: Option<PairedTest>,
    /// The difference's p-value by the paired t test, corrected (Holm) for the number of
    /// configurations compared.
    pub p_value_holm: Option<f64>,
    /// Is it the best, or not distinguishable from it at 5 % after correction? None where nothing
    /// can be said: no value, or fewer than two common seeds.
    pub tied_with_best: Option<bool>,
}

impl Entry {
    /// Statistics of one metric.
    pub fn summary(&self, name: MetricName) -> Summary {
        let place = MetricName::ALL.iter().position(|metric| *metric == name);
        place.and_then(|place| self.summaries.get(place)).copied().unwrap_or_default()
    }
}

impl Leaderboard {
    /// Ranks the configurations of `table`.
    pub fn of(table: &SweepTable) -> Self {
        let metric = table.metric();
        let mut ranked: Vec<(Entry, Group<'_>)> = Group::all(table.rows())
            .into_iter()
            .map(|group| (group.entry(metric), group))
            .collect();
        // The sort is stable: configurations of one place stay in the order of the plan.
        ranked.sort_by(|(a, _), (b, _)| compare(a, b, metric));
        let (mut entries, groups): (Vec<Entry>, Vec<Group<'_>>) = ranked.into_iter().unzip();
        set_ranks(&mut entries, metric);
        compare_with_best(&mut entries, &groups, metric.name, Lengths::of(table.rows()));
        Self {
            axes: table.axes().to_vec(),
            metric: metric.clone(),
            metrics: table.metrics(),
            configurations: entries.len(),
            entries,
        }
    }

    /// The entries numbered `order`, in that order. Their ranks, p-values and ties stay those of the
    /// whole sweep.
    pub fn picked(&self, order: &[usize]) -> Self {
        let entries = order.iter().filter_map(|place| self.entries.get(*place).cloned());
        Self { entries: entries.collect(), ..self.clone() }
    }

    /// Configurations of the sweep, of which [`entries`](Self::entries) may be a selection.
    pub fn configurations(&self) -> usize {
        self.configurations
    }

    /// Names of the varied keys.
    pub fn axes(&self) -> &[String] {
        &self.axes
    }

    /// What is ranked by.
    pub fn metric(&self) -> &Metric {
        &self.metric
    }

    /// The metrics that tables have columns for, in their order.
    pub fn metrics(&self) -> &'static [MetricName] {
        self.metrics
    }

    /// The configurations, best first; those without a value last.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The rows of one configuration.
struct Group<'a> {
    first: &'a RunRow,
    rows: Vec<&'a RunRow>,
}

impl<'a> Group<'a> {
    /// The configurations in the order of their first runs.
    fn all(rows: &'a [RunRow]) -> Vec<Self> {
        let mut place: BTreeMap<&str, usize> = BTreeMap::new();
        let mut groups: Vec<Self> = Vec::new();
        for row in rows {
            let place = *place.entry(&row.run.configuration).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.rows.push(row),
                None => groups.push(Self { first: row, rows: vec![row] }),
            }
        }
        groups
    }

    fn finished(&self) -> impl Iterator<Item = &'a RunRow> {
        self.rows.iter().copied().filter(|row| row.status == RowStatus::Finished)
    }

    fn count(&self, statuses: &[RowStatus]) -> usize {
        self.rows.iter().filter(|row| statuses.contains(&row.status)).count()
    }

    /// The entry, as far as it depends on no other configuration.
    fn entry(&self, metric: &Metric) -> Entry {
        let values = |name| self.finished().filter_map(move |row| row.metrics.get(name));
        let reached = |row: &&RunRow| row.metrics.epochs_to_target.is_some();
        Entry {
            rank: None,
            configuration: self.first.run.configuration.clone(),
            axes: self.first.run.axes.clone(),
            n: self.finished().count(),
            failed: self.count(&[RowStatus::Failed, RowStatus::Diverged]),
            diverged: self.count(&[RowStatus::Diverged]),
            unfinished: self.count(&[RowStatus::Pending, RowStatus::Running]),
            skipped: self.count(&[RowStatus::Skipped]),
            target_reached: metric.target.map(|_| self.finished().filter(reached).count()),
            summaries: MetricName::ALL.iter().map(|name| Summary::of(values(*name))).collect(),
            difference: None,
            p_value_holm: None,
            tied_with_best: None,
        }
    }

    /// The ranking metric of every finished run that has it, by seed. Of a time to the target all have:
    /// a run that never got there counts with the length of the longest.
    fn by_seed(&self, name: MetricName, lengths: Lengths) -> BTreeMap<u64, f64> {
        let value = |row: &RunRow| Some((row.run.seed, lengths.of_finished(row, name)?));
        self.finished().filter_map(value).collect()
    }
}

/// Best first. A run that never reached the target has no `epochs_to_target`, so the mean is over
/// its luckier siblings; a configuration that always gets there therefore goes before one that
/// sometimes does.
fn compare(a: &Entry, b: &Entry, metric: &Metric) -> Ordering {
    let (Some(mean_a), Some(mean_b)) = (a.summary(metric.name).mean, b.summary(metric.name).mean)
    else {
        let unknown = |entry: &Entry| entry.summary(metric.name).mean.is_none();
        return unknown(a).cmp(&unknown(b));
    };
    let missed = missed_target(a, metric.name).total_cmp(&missed_target(b, metric.name));
    // Adding zero makes one zero of the two.
    let means = (mean_a + 0.0).total_cmp(&(mean_b + 0.0));
    missed.then(match metric.goal {
        Goal::Maximize => means.reverse(),
        Goal::Minimize => means,
    })
}

/// Share of the finished runs that did not reach the target, where that is what is ranked by.
fn missed_target(entry: &Entry, name: MetricName) -> f64 {
    match name {
        MetricName::EpochsToTarget | MetricName::SecondsToTarget => {
            1.0 - entry.summary(name).n as f64 / entry.n.max(1) as f64
        }
        _ => 0.0,
    }
}

/// Numbers the entries that have a value: 1, 2, 2, 4.
fn set_ranks(entries: &mut [Entry], metric: &Metric) {
    for place in 0..entries.len() {
        let (before, rest) = entries.split_at_mut(place);
        let entry = &mut rest[0];
        if entry.summary(metric.name).mean.is_none() {
            break;
        }
        entry.rank = match before.last() {
            Some(above) if compare(above, entry, metric) == Ordering::Equal => above.rank,
            _ => Some(place + 1),
        };
    }
}

/// Fills in the comparisons with the first entry.
fn compare_with_best(
    entries: &mut [Entry],
    groups: &[Group<'_>],
    name: MetricName,
    lengths: Lengths,
) {
    let (Some((best, others)), Some((best_group, groups))) =
        (entries.split_first_mut(), groups.split_first())
    else {
        return;
    };
    if best.rank.is_none() {
        return;
    }
    best.tied_with_best = Some(true);
    let reference = best_group.by_seed(name, lengths);
    for (entry, group) in others.iter_mut().zip(groups) {
        let pairs: Vec<(f64, f64)> = group
            .by_seed(name, lengths)
            .iter()
            .filter_map(|(seed, value)| Some((*value, *reference.get(seed)?)))
            .collect();
        entry.difference = PairedTest::of(&pairs);
    }
    let p_values: Vec<f64> = others.iter().filter_map(raw_p).collect();
    let mut corrected = holm(&p_values).into_iter();
    for entry in others {
        entry.p_value_holm = raw_p(entry).and_then(|_| corrected.next());
        entry.tied_with_best = entry.p_value_holm.map(|p| p >= SIGNIFICANCE);
    }
}

fn raw_p(entry: &Entry) -> Option<f64> {
    entry.difference.and_then(|difference| difference.p_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::row::RunState;
    use crate::aggregate::sample;

    fn ranks(board: &Leaderboard) -> Vec<(Option<usize>, &str)> {
        board.entries().iter().map(|entry| (entry.rank, entry.configuration.as_str())).collect()
    }

    #[test]
    fn configurations_are_ranked_compared_and_counted() {
        let board = Leaderboard::of(&sample::table(&[
            ("tanh", 0, Some(0.80)),
            ("tanh", 1, Some(0.81)),
            ("tanh", 2, Some(0.79)),
            ("dead", 0, None),
            ("dead", 1, None),
            ("relu", 0, Some(0.90)),
            ("relu", 1, Some(0.92)),
            ("relu", 2, Some(0.91)),
            ("gelu", 0, Some(0.91)),
            ("gelu", 1, Some(0.90)),
            ("gelu", 2, None),
        ]));
        assert_eq!(
            ranks(&board),
            [(Some(1), "relu"), (Some(2), "gelu"), (Some(3), "tanh"), (None, "dead")]
        );
        let [relu, gelu, tanh, dead] = board.entries() else { panic!("four configurations") };
        assert_eq!((relu.n, relu.failed, relu.difference), (3, 0, None));
        assert_eq!((gelu.n, gelu.failed), (2, 1));
        assert_eq!((dead.n, dead.failed, dead.tied_with_best), (0, 2, None));
        assert_eq!(relu.tied_with_best, Some(true));
        assert_eq!(gelu.tied_with_best, Some(true), "two seeds, one up and one down");
        assert_eq!(tanh.tied_with_best, Some(false));
        let [gelu_difference, difference] = [gelu, tanh].map(|entry| entry.difference.unwrap());
        assert_eq!((gelu_difference.pairs, difference.pairs), (2, 3));
        assert!((difference.mean + 0.11).abs() < 1e-12, "configuration minus best");
        assert_eq!(
            tanh.p_value_holm,
            difference.p_value.map(|p| 2.0 * p),
            "two comparisons were made"
        );
        assert_eq!(relu.target_reached, Some(3));
        assert_eq!(tanh.target_reached, Some(0));
    }

    #[test]
    fn equal_means_share_a_rank_whatever_the_order_of_the_seeds() {
        let board = Leaderboard::of(&sample::table(&[
            ("a", 0, Some(0.1)),
            ("a", 1, Some(0.2)),
            ("a", 2, Some(0.3)),
            ("b", 0, Some(0.3)),
            ("b", 1, Some(0.2)),
            ("b", 2, Some(0.1)),
            ("c", 0, Some(0.05)),
        ]));
        assert_eq!(ranks(&board), [(Some(1), "a"), (Some(1), "b"), (Some(3), "c")]);
        assert_eq!(board.entries()[2].tied_with_best, None, "one common seed says nothing");
    }

    #[test]
    fn reaching_the_target_always_goes_before_reaching_it_sometimes() {
        let metric =
            Metric { name: MetricName::EpochsToTarget, goal: Goal::Minimize, target: Some(0.9) };
        let row = |configuration, seed, accuracies: &[f64]| {
            let result = sample::result(accuracies);
            RunRow::new(sample::planned(configuration, seed), RunState::Ended(&result), &metric)
        };
        let rows = vec![
            row("lucky", 0, &[0.9]),
            row("lucky", 1, &[0.1]),
            row("steady", 0, &[0.1, 0.9]),
            row("steady", 1, &[0.1, 0.9]),
            row("never", 0, &[0.1]),
        ];
        let board = Leaderboard::of(&SweepTable::from_rows(vec![], metric.clone(), rows));
        assert_eq!(ranks(&board), [(Some(1), "steady"), (Some(2), "lucky"), (None, "never")]);
        let reached: Vec<_> = board.entries().iter().map(|entry| entry.target_reached).collect();
        assert_eq!(reached, [Some(2), Some(1), Some(0)]);
    }

    #[test]
    fn a_run_that_never_got_there_is_compared_with_the_length_of_the_longest() {
        let metric =
            Metric { name: MetricName::EpochsToTarget, goal: Goal::Minimize, target: Some(0.9) };
        let run = |name: &str, seed: u64, accuracies: &[f64]| {
            let result = sample::result(accuracies);
            RunRow::new(sample::planned(name, seed), RunState::Ended(&result), &metric)
        };
        let mut rows = Vec::new();
        for seed in 0..3 {
            rows.push(run("sure", seed, &[0.1, 0.9, 0.9, 0.9]));
            rows.push(run("never", seed, &[0.1; 4]));
            let lucky = if seed == 0 { [0.9; 4] } else { [0.1; 4] };
            rows.push(run("lucky", seed, &lucky));
        }
        let board =
            Leaderboard::of(&SweepTable::from_rows(vec!["activation".into()], metric, rows));
        assert_eq!(ranks(&board), [(Some(1), "sure"), (Some(2), "lucky"), (None, "never")]);
        let differences = board.entries().iter().map(|entry| entry.difference);
        let differences: Vec<_> =
            differences.map(|test| test.map(|test| (test.pairs, test.mean))).collect();
        // Of lucky: 1, 4 and 4 epochs, where sure needs 2.
        assert_eq!(differences, [None, Some((3, 1.0)), Some((3, 2.0))]);
    }

    #[test]
    fn picked_entries_keep_their_ranks_and_tests() {
        let board = Leaderboard::of(&sample::table(&[
            ("a", 0, Some(0.9)),
            ("b", 0, Some(0.8)),
            ("c", 0, Some(0.7)),
        ]));
        let picked = board.picked(&[2, 0, 7]);
        assert_eq!(ranks(&picked), [(Some(3), "c"), (Some(1), "a")]);
        assert_eq!(
            (picked.configurations(), picked.entries()[0].clone()),
            (3, board.entries()[2].clone())
        );
    }

    #[test]
    fn a_sweep_without_a_result_has_no_ranks() {
        let runs = vec![sample::planned("a", 0), sample::planned("b", 0)];
        let table = SweepTable::new(vec!["activation".into()], sample::metric(), runs);
        let board = Leaderboard::of(&table);
        assert_eq!(ranks(&board), [(None, "a"), (None, "b")]);
        assert_eq!(board.entries()[0].unfinished, 1);
        assert!(Leaderboard::of(&sample::table(&[])).entries().is_empty());
    }
}
