//! What sweeps look like when they go wrong, or go to extremes, in every format.

use super::compare::comparison_table;
use super::csv::table_csv;
use super::effects::effects_table;
use super::json::json;
use super::leaderboard::leaderboard_table;
use super::markdown::markdown;
use super::runs::runs_table;
use super::table::{Cell, Table};
use super::xlsx::workbook;
use crate::aggregate::SweepTable;
use crate::aggregate::compare::{Comparison, Incomparable, Side};
use crate::aggregate::effects::Effects;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::row::{AxisValue, PlannedRun, RunRow, RunState};
use crate::aggregate::sample;
use crate::ids::RunId;
use crate::spec::activation::Activation;

/// Fails where any format has other cells than the table, or a number that is none.
#[track_caller]
fn check(table: &Table<'_>) {
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    let numbers = table.rows.iter().flatten().filter_map(Cell::as_number);
    assert!(numbers.clone().all(f64::is_finite));

    let bytes = table_csv(table);
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    let cells: Vec<Vec<String>> =
        csv.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(cells.len(), table.rows.len());
    for (text, cell) in cells.iter().flatten().zip(table.rows.iter().flatten()) {
        match cell.as_number() {
            Some(number) => assert_eq!(text.parse::<f64>().unwrap(), number),
            None => assert!(text.is_empty() == cell.is_empty(), "{text:?} for {cell:?}"),
        }
    }

    let rows: serde_json::Value = serde_json::from_str(&json(table)).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), table.rows.len());

    let text = markdown(table);
    assert_eq!(text.lines().count(), table.rows.len() + 2);
    for lie in ["NaN", "nan |", "inf |"] {
        assert!(!text.contains(lie), "{text}");
    }
    workbook(&[("table", table.clone())]).unwrap();
}

/// Checks every table of a sweep.
#[track_caller]
fn check_all(table: &SweepTable) {
    check(&runs_table(table));
    check(&leaderboard_table(&Leaderboard::of(table)));
    check(&effects_table(table.axes(), &Effects::of(table)));
}

#[test]
fn failures_ties_constants_and_single_seeds() {
    check_all(&sample::table(&[]));
    check_all(&sample::table(&[("one", 0, Some(0.5))]));
    check_all(&sample::table(&[("dead", 0, None), ("dead", 1, None)]));
    check_all(&sample::table(&[
        ("a", 0, Some(0.5)),
        ("b", 0, Some(0.5)),
        ("a", 1, Some(0.5)),
        ("b", 1, Some(0.5)),
        ("some fail", 0, Some(0.25)),
        ("some fail", 1, None),
        ("not yet", 7, Some(f64::NAN)),
        ("huge", 0, Some(-1e308)),
        ("huge", 1, Some(1e308)),
    ]));
}

#[test]
fn names_of_any_script_and_names_that_want_to_be_more() {
    let names = [
        "活性化=形状",
        "تنشيط",
        "=HYPERLINK(\"http://x\")",
        "<script>alert(1)</script>",
        "a|b\tc\nd",
        "👩‍🔬 ünï",
        "\u{202e}gnp.exe",
        "\u{0}\u{1b}[31m",
        "yes",
        "0.5",
    ];
    let runs: Vec<_> = names.iter().map(|name| (*name, 0, Some(0.5))).collect();
    check_all(&sample::table(&runs));
}

#[test]
fn a_thousand_values_of_an_axis_and_a_hundred_axes() {
    let names: Vec<String> = (0..1000).map(|value| format!("lr={value}")).collect();
    let runs: Vec<_> =
        names.iter().zip(0..).map(|(name, n)| (name.as_str(), n % 3, Some(0.5))).collect();
    let table = sample::table(&runs);
    check(&runs_table(&table));
    check(&leaderboard_table(&Leaderboard::of(&table)));

    let metric = sample::metric();
    let axes: Vec<String> = (0..100).map(|place| format!("axis_{place}")).collect();
    let row = |n: u32| {
        let value = |place: u32| match (n + place) % 3 {
            0 => AxisValue { label: "auto".into(), number: None },
            number => AxisValue { label: number.to_string(), number: Some(number.into()) },
        };
        let run = PlannedRun {
            run_id: RunId::of(&n.to_le_bytes()),
            configuration: format!("run {n}"),
            axes: (0..100).map(value).collect(),
            seed: u64::MAX,
        };
        RunRow::new(run, RunState::Ended(&sample::result(&[0.5])), &metric)
    };
    let rows = (0..5).map(row).collect();
    let table = SweepTable::from_rows(axes, metric.clone(), rows);
    check(&runs_table(&table));
    check(&leaderboard_table(&Leaderboard::of(&table)));
}

#[test]
fn comparisons_of_little_or_nothing() {
    let side = |name: &str, accuracies: &[Option<f64>]| Side {
        name: name.to_owned(),
        axes: vec![],
        runs: sample::comparison::runs(1.0, Activation::Relu, 0, accuracies),
    };
    let metric = sample::metric();
    let cases: [[&[Option<f64>]; 2]; 6] = [
        [&[], &[]],
        [&[Some(0.5)], &[]],
        [&[Some(0.5)], &[Some(0.5)]],
        [&[None, None], &[Some(0.5), Some(0.25)]],
        [&[Some(0.5), Some(0.5)], &[Some(0.5), Some(0.5)]],
        [&[Some(-1e308), Some(1e308)], &[Some(1e308), Some(f64::NAN)]],
    ];
    for [a, b] in cases {
        let (a, b) = (side("=a", a), side("|形状|", b));
        let found = Comparison::of(&a, &b, &metric, metric.name, Incomparable::Refuse);
        check(&comparison_table(&[found]));
    }
}
