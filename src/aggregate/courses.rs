//! How the runs of the configurations went that are worth showing: their curves and their layers.
//!
//! In: the leaderboard, what claims are about, then the runs' histories, one after another. Out:
//! [`Bands`] and [`LayerMaps`] by the configurations' places in the leaderboard. A sweep may have a
//! thousand configurations; nobody looks at a thousand curves.

use std::collections::{BTreeMap, BTreeSet};

use super::bands::Bands;
use super::curves::RunHistory;
use super::layer_maps::LayerMaps;
use super::leaderboard::Leaderboard;
use super::row::RunRow;
use crate::spec::run_policy::CurveDetail;

/// Configurations whose courses are kept.
pub const MOST_CONFIGURATIONS: usize = 40;

/// How many of them are the best ones, whatever claims are about.
const BEST: usize = 20;

/// The courses of some configurations.
#[derive(Debug, Clone, Default)]
pub struct Courses {
    /// The configurations, by name, with their places in the leaderboard.
    places: BTreeMap<String, usize>,
    /// Their places once more: the best, those that claims are about in the order of the claims, the others.
    preferred: Vec<usize>,
    /// Configurations that are left out.
    pub left_out: usize,
    /// Their curves.
    pub bands: Bands,
    /// What was measured in their layers.
    pub maps: LayerMaps,
}

impl Courses {
    /// The courses of the best of `board` and of those that `claimed` rows belong to, which come in the
    /// order of the claims; nothing is known of them yet.
    pub fn of<'a>(board: &Leaderboard, claimed: impl IntoIterator<Item = &'a RunRow>) -> Self {
        let names: Vec<&str> =
            board.entries().iter().map(|entry| entry.configuration.as_str()).collect();
        let claimed: Vec<&str> =
            claimed.into_iter().map(|row| row.run.configuration.as_str()).collect();
        let all = claimed.iter().copied().collect();
        let chosen = chosen(&names, &all, BEST, MOST_CONFIGURATIONS);
        Self {
            preferred: preferred(&names, &claimed, &chosen),
            left_out: names.len() - chosen.len(),
            places: chosen.into_iter().map(|place| (names[place].to_owned(), place)).collect(),
            ..Self::default()
        }
    }

    /// Is the run of one of them?
    pub fn want(&self, row: &RunRow) -> bool {
        self.places.contains_key(&row.run.configuration)
    }

    /// Adds a run; one that is not wanted is passed over.
    pub fn add(&mut self, row: &RunRow, history: &RunHistory, detail: CurveDetail) {
        if let Some(place) = self.places.get(&row.run.configuration) {
            self.bands.add(*place, history, detail);
            self.maps.add(*place, history);
        }
    }

    /// The places of the configurations in the leaderboard, best first.
    pub fn places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = self.places.values().copied().collect();
        places.sort_unstable();
        places
    }

    /// The few of those that a picture `can` show which it shows at first: the best, and those that
    /// claims are about, since what was asked is to be seen; best first.
    pub fn foremost(&self, most: usize, can: impl Fn(usize) -> bool) -> Vec<usize> {
        let able = self.preferred.iter().copied().filter(|place| can(*place));
        let mut places: Vec<usize> = able.take(most).collect();
        places.sort_unstable();
        places
    }
}

/// `first` configurations in the order of the leaderboard, those that claims are about, then the
/// others, up to `most`; as places, sorted.
fn chosen(names: &[&str], claimed: &BTreeSet<&str>, first: usize, most: usize) -> Vec<usize> {
    let all = 0..names.len();
    let of_claims = all.clone().filter(|place| claimed.contains(names[*place]));
    let mut chosen: BTreeSet<usize> = BTreeSet::new();
    for place in all.clone().take(first).chain(of_claims).chain(all) {
        if chosen.len() == most {
            break;
        }
        chosen.insert(place);
    }
    chosen.into_iter().collect()
}

/// The `chosen` places in the order in which a picture of a few takes them.
fn preferred(names: &[&str], claimed: &[&str], chosen: &[usize]) -> Vec<usize> {
    let place_of: BTreeMap<&str, usize> =
        chosen.iter().map(|place| (names[*place], *place)).collect();
    let of_claims = claimed.iter().filter_map(|name| place_of.get(name).copied());
    let mut seen = BTreeSet::new();
    let all = chosen.iter().copied();
    all.clone().take(1).chain(of_claims).chain(all).filter(|place| seen.insert(*place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::curves::CurveMetric;
    use crate::aggregate::sample;

    #[test]
    fn curves_of_the_best_and_of_claims_are_shown() {
        let names: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let claimed = BTreeSet::from(["c8"]);
        assert_eq!(chosen(&names, &claimed, 2, 4), [0, 1, 2, 8]);
        assert_eq!(chosen(&names, &BTreeSet::new(), 2, 3), [0, 1, 2]);
        assert_eq!(chosen(&names, &claimed, 2, 40).len(), 10);
        assert!(chosen(&[], &claimed, 2, 3).is_empty());
    }

    #[test]
    fn a_picture_of_a_few_has_what_claims_are_about() {
        let names = ["a", "b", "c", "d", "e"];
        assert_eq!(preferred(&names, &["e", "c", "e", "?"], &[0, 1, 2, 4]), [0, 4, 2, 1]);
        let table = sample::table(&[("a", 0, Some(0.9)), ("b", 0, Some(0.8)), ("c", 0, Some(0.7))]);
        let courses = Courses::of(&Leaderboard::of(&table), &table.rows()[2..]);
        let foremost = |most| courses.foremost(most, |_| true);
        assert_eq!((foremost(2), foremost(9)), (vec![0, 2], vec![0, 1, 2]));
        assert_eq!(courses.foremost(1, |place| place > 0), [2], "of what can be shown");
    }

    #[test]
    fn a_run_is_filed_under_the_place_of_its_configuration() {
        let table = sample::table(&[("a", 0, Some(0.5)), ("b", 0, Some(0.75))]);
        let mut courses = Courses::of(&Leaderboard::of(&table), table.rows());
        assert_eq!(courses.places(), [0, 1]);
        let history = RunHistory::of_result(sample::result(&[0.25]));
        let [a, _] = table.rows() else { panic!("two rows") };
        assert!(courses.want(a));
        courses.add(a, &history, CurveDetail::Epoch);
        let band = |place| courses.bands.band(place, CurveMetric::ValAccuracy);
        assert!(band(0).is_none() && band(1).is_some_and(|band| band.mean == [0.25]), "b is best");
    }
}
