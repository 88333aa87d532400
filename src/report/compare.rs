//! Comparisons of sweeps as a table: `gridlane compare --format csv`.

use super::csv::table_csv;
use super::table::{Cell, Definition, Table};
use crate::aggregate::compare::{ComparedRow, Comparison, GroupSummary, GroupTest};
use crate::aggregate::statistics::Summary;

/// The columns; `docs/reference/csv.md` says what each means.
fn definition<'a>(comparison: &'a Comparison, axes: &[String]) -> Definition<'a, ComparedRow> {
    let names = Definition::new()
        .text("sweep_a", |_: &ComparedRow| comparison.names[0].as_str())
        .text("sweep_b", |_| comparison.names[1].as_str())
        .text("configuration", |row| row.configuration.as_str());
    let keys = axes.iter().fold(names, |definition, name| {
        let place = comparison.axes.iter().position(|axis| axis == name);
        definition.mixed(name.clone(), move |row: &ComparedRow| {
            place.and_then(|place| row.axes.get(place)).map_or(Cell::Empty, Cell::of_axis)
        })
    });
    let described = keys
        .text("between_sweeps", |_| between(comparison))
        .text("metric", |_| comparison.metric.as_str());
    let groups = groups(described);
    groups
        .text("test", |row| row.test.as_ref().map_or("", GroupTest::name))
        .integer("pairs", |row| row.test.as_ref().map(|test| test.pairs() as u64))
        .number("difference_mean", |row| row.test.as_ref().map(GroupTest::difference))
        .number("difference_ci95_low", |row| row.test.as_ref()?.ci95().map(|ci95| ci95.low))
        .number("difference_ci95_high", |row| row.test.as_ref()?.ci95().map(|ci95| ci95.high))
        .number("p_value", |row| row.test.as_ref()?.p_value())
        .number("p_value_holm", |row| row.p_value_holm)
        .text("verdict", |row| row.verdict.map_or("", |verdict| verdict.as_str()))
        .text("incomparable", |row| row.incomparable.as_deref().unwrap_or_default())
}

/// What each of the two sweeps has of a configuration.
fn groups(definition: Definition<'_, ComparedRow>) -> Definition<'_, ComparedRow> {
    const NAMES: [[&str; 4]; 2] =
        [["n_a", "failed_a", "mean_a", "std_a"], ["n_b", "failed_b", "mean_b", "std_b"]];
    NAMES.iter().enumerate().fold(definition, |definition, (side, [n, failed, mean, std])| {
        let group = move |row: &ComparedRow| row.groups[side];
        let summary = move |row: &ComparedRow| group(row).map(|group| group.summary);
        definition
            .integer(n, move |row| summary(row).map(|summary: Summary| summary.n as u64))
            .integer(failed, move |row| group(row).map(|group: GroupSummary| group.failed as u64))
            .number(*mean, move |row| summary(row)?.mean)
            .number(*std, move |row| summary(row)?.std)
    })
}

/// What differs between the sweeps, in one text: `width: 0.125 against 0.25`.
fn between(comparison: &Comparison) -> String {
    let differing = comparison.between.iter();
    let differing = differing.map(|between| {
        let [a, b] = &between.values;
        format!("{}: {a} against {b}", between.key)
    });
    differing.collect::<Vec<_>>().join("; ")
}

/// Comparisons with one first sweep: a row for every configuration of each.
pub fn comparison_table(comparisons: &[Comparison]) -> Table<'_> {
    let mut axes: Vec<String> = Vec::new();
    for axis in comparisons.iter().flat_map(|comparison| &comparison.axes) {
        if !axes.contains(axis) {
            axes.push(axis.clone());
        }
    }
    let tables =
        comparisons.iter().map(|comparison| definition(comparison, &axes).table(&comparison.rows));
    Table::stacked(tables)
}

/// The same as CSV.
pub fn comparison_csv(comparisons: &[Comparison]) -> Vec<u8> {
    table_csv(&comparison_table(comparisons))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::comparison;

    #[test]
    fn comparison_as_csv() {
        let csv = comparison_csv(&[comparison::of_every_kind()]);
        insta::assert_snapshot!(String::from_utf8(csv).unwrap());
    }

    #[test]
    fn comparisons_with_other_keys_share_a_table() {
        let of_every_kind = comparison::of_every_kind();
        let mut other = of_every_kind.clone();
        other.axes = vec!["lr".into()];
        other.names[1] = "third".into();
        let table_of_both = [of_every_kind, other];
        let table = comparison_table(&table_of_both);
        let keys: Vec<_> = table.columns.iter().map(|column| column.key.as_ref()).collect();
        assert_eq!(keys[2..6], ["configuration", "activation", "lr", "between_sweeps"]);
        assert_eq!(table.rows.len(), 2 * table_of_both[0].rows.len());
        assert!(table.rows.iter().all(|row| row.len() == keys.len()));
        assert!(comparison_table(&[]).columns.is_empty());
    }

    #[test]
    fn every_column_is_documented() {
        let reference = include_str!("../../docs/reference/csv.md");
        let section = reference.split("\n## ").find(|s| s.starts_with("Comparisons")).unwrap();
        let comparison = comparison::of_every_kind();
        for column in definition(&comparison, &[]).keys() {
            assert!(section.contains(&format!("`{column}`")), "{column}");
        }
    }
}
