//! What each ingredient is worth: main effects of every axis and interactions of every two.
//!
//! In: a [`SweepTable`]. Out: for each value of an axis beside its first one, how much the ranking
//! metric changes when that value takes the first one's place and all else stays; for each two values of
//! two axes, how much more than the sum of their own effects they do together.
//!
//! Everything is compared within pairs (fours, for interactions) of runs that agree in all other axes
//! and in the seed; what has no partner is left out, so grids with holes are treated fairly. The
//! differences of a seed are averaged first: the sample is the seeds, as for claims.

use std::collections::{BTreeMap, BTreeSet};

use super::row::AxisValue;
use super::statistics::{PairedTest, holm};
use super::table::SweepTable;
use super::to_target::Lengths;

/// Most rows of interactions: a sweep of two axes with a hundred values each has ten thousand.
pub const MOST_INTERACTIONS: usize = 10_000;

/// A value of an axis in the place of the first one.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The axis, by its place.
    pub axis: usize,
    /// Number of the value among the axis's, from 1.
    pub number: usize,
    /// The value.
    pub value: AxisValue,
    /// The axis's first value.
    pub reference: AxisValue,
}

/// What one change, or two together beyond each alone, is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// The change.
    pub change: Change,
    /// The second change, of an interaction.
    pub with: Option<Change>,
    /// Pairs of runs (fours, of an interaction) that were compared, over all seeds.
    pub pairs: usize,
    /// Over the seeds: n, mean, interval and p-value; `None` where nothing has a partner.
    pub over_seeds: Option<PairedTest>,
    /// The p-value, corrected (Holm) for all effects of its kind.
    pub p_value_holm: Option<f64>,
}

/// The effects of a sweep on the metric that it is ranked by.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    /// Main effects: by axis, then by value in the order of the sweep file.
    pub main: Vec<Effect>,
    /// Interactions: by axes, then by values.
    pub interactions: Vec<Effect>,
    /// Interactions that were left out because there are too many.
    pub left_out: usize,
}

impl Effects {
    /// The effects on what `table` is ranked by.
    pub fn of(table: &SweepTable) -> Self {
        let grid = Grid::of(table);
        let axes = 0..grid.values.len();
        let singles: Vec<Change> = axes.clone().flat_map(|axis| grid.changes(axis)).collect();
        let later = |one: usize| (one + 1..grid.values.len()).map(move |two| (one, two));
        let all: usize =
            axes.clone().flat_map(later).map(|(a, b)| grid.levels(a) * grid.levels(b)).sum();
        let couples = axes.flat_map(later).flat_map(|(a, b)| {
            let seconds: Vec<Change> = grid.changes(b).collect();
            grid.changes(a)
                .flat_map(move |one| seconds.clone().into_iter().map(move |two| (one.clone(), two)))
        });
        let couples: Vec<(Change, Change)> = couples.take(MOST_INTERACTIONS).collect();
        let left_out = all - couples.len();
        let mut main = grid.main(singles);
        let mut interactions = grid.interactions(couples);
        correct(&mut main);
        correct(&mut interactions);
        Self { main, interactions, left_out }
    }
}

/// Fills in the corrected p-values of effects of one kind.
fn correct(effects: &mut [Effect]) {
    let raw = |effect: &Effect| effect.over_seeds.and_then(|test| test.p_value);
    let p_values: Vec<f64> = effects.iter().filter_map(raw).collect();
    let mut corrected = holm(&p_values).into_iter();
    for effect in effects {
        effect.p_value_holm = raw(effect).and_then(|_| corrected.next());
    }
}

/// The finished runs by their values.
struct Grid {
    /// The values of every axis, in the order of the plan.
    values: Vec<Vec<AxisValue>>,
    /// Number of each axis's value, and the seed -> the metric.
    results: BTreeMap<(Vec<usize>, u64), f64>,
}

impl Grid {
    fn of(table: &SweepTable) -> Self {
        let mut grid =
            Self { values: vec![Vec::new(); table.axes().len()], results: BTreeMap::new() };
        let mut numbers: Vec<BTreeMap<String, usize>> = vec![BTreeMap::new(); grid.values.len()];
        let lengths = Lengths::where_reached(table.rows(), table.metric().name);
        for row in table.rows() {
            let mut place = Vec::with_capacity(grid.values.len());
            for (axis, value) in row.run.axes.iter().enumerate().take(grid.values.len()) {
                let known = &mut grid.values[axis];
                let number = *numbers[axis].entry(value.label.clone()).or_insert_with(|| {
                    known.push(value.clone());
                    known.len() - 1
                });
                place.push(number);
            }
            if let Some(value) = lengths.of_finished(row, table.metric().name) {
                grid.results.insert((place, row.run.seed), value);
            }
        }
        grid
    }

    /// Values of an axis beside its first one.
    fn levels(&self, axis: usize) -> usize {
        self.values[axis].len().saturating_sub(1)
    }

    /// The changes that an axis offers.
    fn changes(&self, axis: usize) -> impl Iterator<Item = Change> {
        let numbered = self.values[axis].iter().enumerate().skip(1);
        numbered.map(move |(number, value)| Change {
            axis,
            number,
            value: value.clone(),
            reference: self.values[axis][0].clone(),
        })
    }

    /// The metric at a place with some axes at their first values.
    fn without(&self, (place, seed): &(Vec<usize>, u64), axes: &[usize]) -> Option<f64> {
        let mut place = place.clone();
        for axis in axes {
            place[*axis] = 0;
        }
        self.results.get(&(place, *seed)).copied()
    }

    fn main(&self, changes: Vec<Change>) -> Vec<Effect> {
        let mut pairs: BTreeMap<[usize; 2], Pairs> = BTreeMap::new();
        for (at, with) in &self.results {
            for axis in (0..self.values.len()).filter(|axis| at.0[*axis] > 0) {
                if let Some(without) = self.without(at, &[axis]) {
                    pairs.entry([axis, at.0[axis]]).or_default().add(at.1, [*with, without]);
                }
            }
        }
        let effect = |change: Change| {
            let pairs = pairs.remove(&[change.axis, change.number]).unwrap_or_default();
            pairs.effect(change, None)
        };
        changes.into_iter().map(effect).collect()
    }

    fn interactions(&self, couples: Vec<(Change, Change)>) -> Vec<Effect> {
        let of_axes = |(one, two): &(Change, Change)| [one.axis, two.axis];
        let axes: BTreeSet<[usize; 2]> = couples.iter().map(of_axes).collect();
        let mut fours: BTreeMap<[usize; 4], Pairs> = BTreeMap::new();
        for (at, together) in &self.results {
            for [a, b] in axes.iter().filter(|axes| axes.iter().all(|axis| at.0[*axis] > 0)) {
                let without = [&[*a][..], &[*b], &[*a, *b]].map(|axes| self.without(at, axes));
                if let [Some(first), Some(second), Some(neither)] = without {
                    // What the first change does beside the second one, against what it does alone.
                    let four = [together - first, second - neither];
                    fours.entry([*a, at.0[*a], *b, at.0[*b]]).or_default().add(at.1, four);
                }
            }
        }
        let effect = |(one, two): (Change, Change)| {
            let key = [one.axis, one.number, two.axis, two.number];
            fours.remove(&key).unwrap_or_default().effect(one, Some(two))
        };
        couples.into_iter().map(effect).collect()
    }
}

/// Sums of pairs of numbers, what is there and what it is compared with, by seed.
#[derive(Default)]
struct Pairs(BTreeMap<u64, ([f64; 2], usize)>);

impl Pairs {
    fn add(&mut self, seed: u64, pair: [f64; 2]) {
        let (sums, count) = self.0.entry(seed).or_default();
        sums.iter_mut().zip(pair).for_each(|(sum, x)| *sum += x);
        *count += 1;
    }

    fn effect(self, change: Change, with: Option<Change>) -> Effect {
        let mean = |(sums, count): &([f64; 2], usize)| sums.map(|sum| sum / *count as f64);
        let means: Vec<(f64, f64)> = self.0.values().map(mean).map(|[a, b]| (a, b)).collect();
        Effect {
            change,
            with,
            pairs: self.0.values().map(|(_, count)| count).sum(),
            over_seeds: PairedTest::of(&means),
            p_value_holm: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::row::{PlannedRun, RunRow, RunState};
    use crate::aggregate::sample;
    use crate::ids::RunId;
    use proptest::prelude::*;

    /// A table of two axes: values of both, seed, accuracy (none of a run that failed).
    fn table(runs: &[(&str, &str, u64, Option<f64>)]) -> SweepTable {
        let metric = sample::metric();
        let rows = runs.iter().map(|(a, b, seed, accuracy)| {
            let value = |label: &&str| AxisValue { label: (*label).to_owned(), number: None };
            let planned = PlannedRun {
                run_id: RunId::of(format!("{a} {b} {seed}").as_bytes()),
                configuration: format!("a={a} b={b}"),
                axes: [a, b].map(value).to_vec(),
                seed: *seed,
            };
            let result = match accuracy {
                Some(accuracy) => sample::result(&[*accuracy]),
                None => sample::failed("gone"),
            };
            RunRow::new(planned, RunState::Ended(&result), &metric)
        });
        let rows = rows.collect();
        SweepTable::from_rows(vec!["a".into(), "b".into()], metric, rows)
    }

    fn mean(effect: &Effect) -> f64 {
        effect.over_seeds.unwrap().mean
    }

    #[test]
    fn effects_are_those_of_the_formula_that_made_the_numbers() {
        let mut runs = Vec::new();
        for seed in 0..3 {
            for (a, of_a) in [("off", 0.0), ("on", 0.2)] {
                for (b, of_b) in [("1", 0.0), ("2", 0.05), ("3", -0.1)] {
                    let together = if (a, b) == ("on", "2") { 0.03 } else { 0.0 };
                    let noise = 0.001 * seed as f64;
                    runs.push((a, b, seed, Some(0.4 + of_a + of_b + together + noise)));
                }
            }
        }
        let effects = Effects::of(&table(&runs));
        let near = |x: f64, y: f64| assert!((x - y).abs() < 1e-12, "{x} against {y}");
        let [on, two, three] = effects.main.as_slice() else { panic!("three changes") };
        near(mean(on), 0.2 + 0.03 / 3.0);
        near(mean(two), 0.05 + 0.03 / 2.0);
        near(mean(three), -0.1);
        assert_eq!((on.pairs, two.pairs, on.over_seeds.unwrap().pairs), (9, 6, 3));
        let [with_two, with_three] = effects.interactions.as_slice() else { panic!("two") };
        near(mean(with_two), 0.03);
        near(mean(with_three), 0.0);
        assert_eq!(with_two.with.as_ref().unwrap().value.label, "2");
        assert_eq!(effects.left_out, 0);
    }

    #[test]
    fn what_has_no_partner_is_left_out() {
        let runs = [
            ("off", "1", 0, Some(0.5)),
            ("on", "1", 0, Some(0.6)),
            ("off", "2", 0, None),
            ("on", "2", 0, Some(0.9)),
            ("on", "1", 1, Some(0.7)),
        ];
        let effects = Effects::of(&table(&runs));
        assert_eq!((effects.main[0].pairs, effects.main[1].pairs), (1, 1));
        assert!((mean(&effects.main[0]) - 0.1).abs() < 1e-12);
        assert_eq!(effects.interactions[0].over_seeds, None, "one of the four failed");
        assert_eq!(Effects::of(&table(&[])).main, []);
    }

    #[test]
    fn a_large_grid_has_its_first_interactions_only() {
        let names: Vec<String> = (0..150).map(|n| n.to_string()).collect();
        let cells = names.iter().flat_map(|a| names.iter().map(move |b| (a.as_str(), b.as_str())));
        let runs: Vec<_> = cells.map(|(a, b)| (a, b, 0, Some(0.5))).collect();
        let effects = Effects::of(&table(&runs));
        assert_eq!(effects.main.len(), 2 * 149);
        assert_eq!(effects.interactions.len(), MOST_INTERACTIONS);
        assert_eq!(effects.left_out, 149 * 149 - MOST_INTERACTIONS);
    }

    proptest! {
        /// A sum of one number for each value and of the seed's has these as its main effects, whichever
        /// runs are missing, and no interactions.
        #[test]
        fn a_sum_has_no_interactions_whatever_is_missing(
            missing in prop::collection::vec(any::<bool>(), 18),
            of_a in prop::collection::vec(0.0..0.2_f64, 3),
            of_b in prop::collection::vec(0.0..0.2_f64, 3),
        ) {
            let names = ["x", "y", "z"];
            let mut runs = Vec::new();
            for (n, missing) in missing.iter().enumerate() {
                let (a, b, seed) = (n % 3, n / 3 % 3, (n / 9) as u64);
                let value = 0.3 + of_a[a] + of_b[b] + 0.1 * seed as f64;
                runs.push((names[a], names[b], seed, (!missing).then_some(value)));
            }
            let effects = Effects::of(&table(&runs));
            for effect in &effects.main {
                let of = [&of_a, &of_b][effect.change.axis];
                let at = names.iter().position(|name| *name == effect.change.value.label).unwrap();
                if let Some(test) = effect.over_seeds {
                    prop_assert!((test.mean - (of[at] - of[0])).abs() < 1e-9);
                }
            }
            for effect in &effects.interactions {
                prop_assert!(effect.over_seeds.is_none_or(|test| test.mean.abs() < 1e-9));
            }
        }
    }
}
