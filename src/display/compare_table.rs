//! Two sweeps side by side, as terminal text.
//!
//! In: a [`Comparison`] and the width of the terminal. Out: what is compared, a row for every
//! configuration that both sweeps have, then those that only one has and those that are not compared.

use console::{Style, measure_text_width, truncate_str};

use super::columns::columns;
use super::leaderboard_table::{TableStyle, ellipsis, paint, printable, signed, spread};
use crate::aggregate::compare::{ComparedRow, Comparison, GroupTest, Outcome};
use crate::spec::metric::Goal;

/// Configurations that are shown; a table has all of them.
const HEAD: usize = 50;

/// Configurations that are named one by one where only one sweep has them.
const NAMED: usize = 10;

/// Renders `comparison`.
pub fn compare_table(comparison: &Comparison, style: &TableStyle) -> String {
    let mut lines = title(comparison, style);
    let common: Vec<&ComparedRow> = comparison.rows.iter().filter(|row| is_common(row)).collect();
    lines.extend(table(comparison, &common, style));
    for side in [0, 1] {
        lines.extend(only_in(comparison, side));
    }
    lines.extend(refused(comparison));
    if !common.is_empty() {
        lines.push(verdicts(&common));
    }
    let tail = ellipsis(style.symbols);
    lines.iter().map(|line| format!("{}\n", truncate_str(line, style.width, tail))).collect()
}

fn is_common(row: &ComparedRow) -> bool {
    row.groups.iter().all(Option::is_some)
}

fn title(comparison: &Comparison, style: &TableStyle) -> Vec<String> {
    let [a, b] = &comparison.names.each_ref().map(|name| printable(name));
    let better = match comparison.goal {
        Goal::Maximize => "more is better",
        Goal::Minimize => "less is better",
    };
    let title = format!("{b} beside {a} by {}, {better}", comparison.metric.as_str());
    let mut lines = vec![paint(&title, Style::new().bold(), style)];
    for between in &comparison.between {
        let [in_a, in_b] = &between.values;
        lines.push(format!(
            "{}: {} in {a}, {} in {b}",
            between.key,
            printable(in_a),
            printable(in_b)
        ));
    }
    lines
}

/// The configurations that both sweeps have.
fn table(comparison: &Comparison, common: &[&ComparedRow], style: &TableStyle) -> Vec<String> {
    if common.is_empty() {
        return vec!["no configuration is in both".to_owned()];
    }
    let [a, b] = comparison.names.each_ref().map(|name| printable(name));
    let header = ["configuration", &a, &b, "difference [95 % CI]", "p (Holm)", "test", "verdict"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(common.iter().take(HEAD).map(|row| cells(comparison, row, style)));
    let (text, names) = fit(rows, style.width);
    let mut lines: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let look = match number.checked_sub(1).map(|row| common[row].verdict) {
            None => Style::new().dim(),
            Some(Some(Outcome::Better)) => Style::new().green(),
            Some(Some(Outcome::Worse)) => Style::new().red(),
            Some(_) => Style::new(),
        };
        lines.extend(names.get(number).map(|name| paint(name, look.clone(), style)));
        lines.push(paint(line, look, style));
    }
    if common.len() > HEAD {
        lines.push(format!("{} and {} more", ellipsis(style.symbols), common.len() - HEAD));
    }
    lines
}

/// The rows in columns and, where they are wider than the terminal with them, the names apart, each for
/// a line above its row. Which test it was goes first, and the interval last: what came out of it stays.
fn fit(mut rows: Vec<Vec<String>>, width: usize) -> (String, Vec<String>) {
    let text = |rows: &[Vec<String>]| columns(rows, |_| false);
    let fits = |text: &str| text.lines().map(measure_text_width).max().unwrap_or_default() <= width;
    // By their places: a sweep may be called like a column.
    let without = |rows: &mut Vec<Vec<String>>, place: usize| -> Vec<String> {
        rows.iter_mut().map(|row| row.remove(place)).collect()
    };
    let whole = text(&rows);
    if fits(&whole) {
        return (whole, Vec::new());
    }
    without(&mut rows, 5);
    if fits(&text(&rows)) {
        return (text(&rows), Vec::new());
    }
    let names = without(&mut rows, 0);
    for row in &mut rows {
        row[0].insert_str(0, "  ");
    }
    if !fits(&text(&rows)) {
        for row in &mut rows {
            if let Some(at) = row[2].find(" [") {
                row[2].truncate(at);
            }
        }
    }
    (text(&rows), names)
}

fn cells(comparison: &Comparison, row: &ComparedRow, style: &TableStyle) -> Vec<String> {
    let metric = comparison.metric;
    let group = |side: usize| match &row.groups[side] {
        Some(group) if group.summary.n == 0 && group.failed > 0 => "all failed".to_owned(),
        Some(group) => spread(group.summary, metric, style.symbols),
        None => "-".to_owned(),
    };
    let difference = row.test.as_ref().map(|test| {
        let mean = signed(test.difference(), metric);
        match test.ci95() {
            Some(ci95) => {
                format!("{mean} [{}, {}]", signed(ci95.low, metric), signed(ci95.high, metric))
            }
            None => mean,
        }
    });
    let p = row.p_value_holm.map(|p| match p < 0.001 {
        true => "< 0.001".to_owned(),
        false => format!("{p:.3}"),
    });
    let test = row.test.as_ref().map(|test| match test {
        GroupTest::Paired(test) if test.pairs == 1 => "1 common seed".to_owned(),
        GroupTest::Paired(paired) => format!("{}, {} seeds", test.name(), paired.pairs),
        GroupTest::Welch(_) => format!("{}, no common seed", test.name()),
    });
    let marked =
        if row.incomparable.is_some() && row.test.is_some() { " (incomparable)" } else { "" };
    let verdict = row.verdict.map_or("-", Outcome::as_str);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        name(row),
        group(0),
        group(1),
        or_dash(difference),
        or_dash(p),
        or_dash(test),
        format!("{verdict}{marked}"),
    ]
}

fn name(row: &ComparedRow) -> String {
    printable(&row.configuration)
}

/// The configurations that only one of the sweeps has.
fn only_in(comparison: &Comparison, side: usize) -> Option<String> {
    let only = |row: &&ComparedRow| row.groups[side].is_some() && row.groups[1 - side].is_none();
    let names: Vec<String> = comparison.rows.iter().filter(only).map(name).collect();
    let sweep = printable(&comparison.names[side]);
    listed(&names).map(|names| format!("only in {sweep}: {names}"))
}

fn listed(names: &[String]) -> Option<String> {
    let head = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match names.len() {
        0 => None,
        count if count > NAMED => Some(format!("{head}; and {} more", count - NAMED)),
        _ => Some(head),
    }
}

/// Why configurations are not compared, each reason once.
fn refused(comparison: &Comparison) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for row in comparison.incomparable() {
        let reason = row.incomparable.as_deref().unwrap_or_default();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name(row)),
            None => reasons.push((reason, vec![name(row)])),
        }
    }
    let forced = comparison.incomparable().any(|row| row.test.is_some());
    let what = if forced { "incomparable" } else { "not compared" };
    let line = |(reason, names): (&str, Vec<String>)| {
        let names = listed(&names).unwrap_or_default();
        format!("{what} ({}): {names}", printable(reason))
    };
    reasons.into_iter().map(line).collect()
}

/// How many came out how.
fn verdicts(common: &[&ComparedRow]) -> String {
    let count =
        |outcome: Option<Outcome>| common.iter().filter(|row| row.verdict == outcome).count();
    format!(
        "{} in both: {} better, {} worse, {} tied, {} undecided",
        common.len(),
        count(Some(Outcome::Better)),
        count(Some(Outcome::Worse)),
        count(Some(Outcome::Tied)),
        count(None),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::compare::{Incomparable, Side};
    use crate::aggregate::sample::{self, comparison};
    use crate::display::leaderboard_table::{Colour, Symbols};
    use crate::spec::activation::Activation;
    use proptest::prelude::*;

    fn plain(width: usize) -> TableStyle {
        TableStyle { width, symbols: Symbols::Unicode, colour: Colour::Off }
    }

    #[test]
    fn a_row_of_every_kind() {
        insta::assert_snapshot!(compare_table(&comparison::of_every_kind(), &plain(160)));
    }

    #[test]
    fn sweeps_without_a_varied_key_have_one_row_and_forced_ones_are_marked() {
        let accuracies = [Some(0.5), Some(0.625)];
        let a = Side {
            name: "a".into(),
            axes: vec![],
            runs: comparison::runs(1.0, Activation::Relu, 0, &accuracies),
        };
        let mut b = Side { name: "b".into(), ..a.clone() };
        b.runs.iter_mut().for_each(|run| run.data = "other".into());
        let metric = sample::metric();
        let forced = Comparison::of(&a, &b, &metric, metric.name, Incomparable::Mark);
        insta::assert_snapshot!(compare_table(&forced, &plain(160)));
        let empty = Side { name: "b".into(), axes: vec![], runs: vec![] };
        let nothing = Comparison::of(&a, &empty, &metric, metric.name, Incomparable::Refuse);
        insta::assert_snapshot!(compare_table(&nothing, &plain(160)), @r"
        b beside a by val_accuracy, more is better
        no configuration is in both
        only in a: base
        ");
    }

    #[test]
    fn on_a_narrow_terminal_what_came_out_of_it_stays() {
        insta::assert_snapshot!(compare_table(&comparison::of_every_kind(), &plain(80)));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(width in 20..160_usize, name in any::<String>()) {
            let mut comparison = comparison::of_every_kind();
            comparison.names[1] = name.clone();
            comparison.rows[0].configuration = name;
            for line in compare_table(&comparison, &plain(width)).split_terminator('\n') {
                prop_assert!(measure_text_width(line) <= width, "{line:?}");
            }
        }
    }
}
