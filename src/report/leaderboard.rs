//! The leaderboard as a table: a row for every configuration, best first.

use super::select::Direction;
use super::table::{Column, Definition, Kind, Table};
use crate::aggregate::leaderboard::{Entry, Leaderboard};
use crate::aggregate::statistics::{PairedTest, Summary};
use crate::spec::metric::{Goal, Metric, MetricName};

/// What is told of every metric over the seeds: ends of the names of its columns.
pub(super) const SUMMARY_SUFFIXES: [&str; 4] = ["_mean", "_std", "_ci95_low", "_ci95_high"];

/// Numbers of a summary, in the order of [`SUMMARY_SUFFIXES`].
const SUMMARY: [fn(Summary) -> Option<f64>; 4] = [
    |summary| summary.mean,
    |summary| summary.std,
    |summary| summary.ci95.map(|ci95| ci95.low),
    |summary| summary.ci95.map(|ci95| ci95.high),
];

/// The columns; `docs/reference/csv.md` says what each means.
pub(super) fn definition<'a>(board: &Leaderboard) -> Definition<'a, Entry> {
    let names = Definition::new()
        .integer("rank", |entry: &Entry| entry.rank.map(|rank| rank as u64))
        .text("configuration", |entry| &entry.configuration)
        .axes(board.axes(), |entry| &entry.axes)
        .count("n", |entry| entry.n)
        .count("failed", |entry| entry.failed)
        .count("skipped", |entry| entry.skipped);
    let summaries = board.metrics().iter().fold(names, |definition, name| {
        SUMMARY_SUFFIXES.iter().zip(SUMMARY).fold(definition, |definition, (suffix, number)| {
            definition.number(format!("{}{suffix}", name.as_str()), move |entry: &Entry| {
                number(entry.summary(*name))
            })
        })
    });
    comparison(summaries)
}

/// The comparison with the best.
fn comparison(definition: Definition<'_, Entry>) -> Definition<'_, Entry> {
    let of = |entry: &Entry, get: fn(&PairedTest) -> Option<f64>| {
        entry.difference.as_ref().and_then(get)
    };
    definition
        .number("difference_to_best_mean", move |entry| of(entry, |test| Some(test.mean)))
        .number("difference_to_best_ci95_low", move |entry| {
            of(entry, |test| test.ci95.map(|ci95| ci95.low))
        })
        .number("difference_to_best_ci95_high", move |entry| {
            of(entry, |test| test.ci95.map(|ci95| ci95.high))
        })
        .number("p_value", move |entry| of(entry, |test| test.p_value))
        .number("p_value_holm", |entry| entry.p_value_holm)
        .yes_no("tied_with_best", |entry| entry.tied_with_best)
        .number("p_value_permutation", move |entry| of(entry, |test| test.p_permutation))
        .integer("pairs", |entry| entry.difference.map(|difference| difference.pairs as u64))
        .integer("target_reached", |entry| entry.target_reached.map(|reached| reached as u64))
}

/// The configurations, best first.
pub fn leaderboard_table(board: &Leaderboard) -> Table<'_> {
    definition(board).table(board.entries())
}

/// The direction in which a column of the leaderboard is sorted where none is said: metrics, and
/// differences to the best, best first; yes before no; all else smallest first.
pub fn direction(column: &Column, metric: &Metric) -> Direction {
    let best_first = |goal: Goal| match goal {
        Goal::Maximize => Direction::Descending,
        Goal::Minimize => Direction::Ascending,
    };
    let key = column.key.as_ref();
    if column.kind == Kind::Boolean || key == "target_reached" {
        return Direction::Descending;
    }
    if key.starts_with("difference_to_best") {
        return best_first(metric.goal);
    }
    let measured = MetricName::ALL.iter().find(|name| {
        let suffix = key.strip_prefix(name.as_str());
        suffix.is_some_and(|suffix| SUMMARY_SUFFIXES.contains(&suffix) && suffix != "_std")
    });
    match measured {
        Some(name) if *name == metric.name => best_first(metric.goal),
        Some(name) => best_first(name.natural_goal()),
        None => Direction::Ascending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    #[test]
    fn metrics_go_best_first_and_all_else_smallest_first() {
        let metric = Metric { name: MetricName::ValLoss, goal: Goal::Maximize, target: None };
        let of = |key: &'static str, kind| direction(&Column { key: key.into(), kind }, &metric);
        for key in ["val_accuracy_mean", "val_loss_ci95_low", "difference_to_best_mean"] {
            assert_eq!(of(key, Kind::Number), Direction::Descending, "{key}");
        }
        for key in ["test_loss_mean", "wall_s_mean", "val_accuracy_std", "p_value", "rank", "lr"] {
            assert_eq!(of(key, Kind::Number), Direction::Ascending, "{key}");
        }
        assert_eq!(of("tied_with_best", Kind::Boolean), Direction::Descending);
        let table = sample::table(&[]);
        let board = Leaderboard::of(&table);
        assert!(leaderboard_table(&board).rows.is_empty());
    }
}
