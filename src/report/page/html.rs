//! From the document to the page: the template, filled in.
//!
//! What readers without scripts need is in the page as text: title, verdicts, the leaderboard. All of it
//! goes through the template's escaping. The document itself is JSON inside a script element, where the one
//! character that could end the element is written as an escape.

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::assets::{ECHARTS, SCRIPT, STYLE, TEMPLATE};
use super::document::{Counts, Document};
use super::labels;
use crate::aggregate::leaderboard::{Entry, Leaderboard};
use crate::aggregate::statistics::Summary;
use crate::report::number::plain;

/// Rows of the leaderboard as text.
const MOST_ROWS: usize = 200;

/// The leaderboard in a few columns of text.
#[derive(Debug, Serialize)]
struct PlainBoard {
    columns: Vec<PlainColumn>,
    rows: Vec<Vec<String>>,
    left_out: usize,
}

/// `report.html`, whole: it needs no network and no file beside it.
pub fn html(document: &Document<'_>, board: &Leaderboard) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let page = context! {
        title => document.sweep.name.as_str(),
        description => document.sweep.description.as_str(),
        header => document.sweep.header.as_str(),
        status => status(&document.counts),
        version => document.sweep.version.as_str(),
        claims => Serde(&document.claims),
        leaderboard => Serde(PlainBoard::of(board)),
        document => Value::from_safe_string(json(document)),
        style => Value::from_safe_string(STYLE.to_owned()),
        echarts => Value::from_safe_string(ECHARTS.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
    };
    environment.render_str(TEMPLATE, page).expect(
        "invariant: the template is part of the program and tested with every value missing",
    )
}

/// The document as it may stand inside a script element.
pub fn json(document: &Document<'_>) -> String {
    let json = serde_json::to_string(document).expect("invariant: a document is JSON");
    json.replace('<', "\\u003c")
}

#[derive(Debug, Serialize)]
struct PlainColumn {
    label: String,
    numeric: bool,
}

/// `12 runs: 11 finished, 1 failed`.
fn status(counts: &Counts) -> String {
    let states = [
        (counts.finished, "finished"),
        (counts.diverged, "diverged"),
        (counts.failed, "failed"),
        (counts.running, "running"),
        (counts.pending, "pending"),
        (counts.skipped, "skipped"),
    ];
    let told = states.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, state)| format!("{count} {state}")).collect();
    let plural = if counts.planned == 1 { "" } else { "s" };
    format!("{} run{plural}: {}", counts.planned, told.join(", "))
}

impl PlainBoard {
    fn of(board: &Leaderboard) -> Self {
        let metric = labels::with_unit(labels::of_metric(board.metric().name));
        let columns = [
            ("rank", true),
            ("configuration", false),
            ("n", true),
            (metric.as_str(), true),
            ("95 % interval, low", true),
            ("95 % interval, high", true),
            ("difference to the best", true),
            ("tied with the best", false),
        ];
        let column =
            |(label, numeric): (&str, bool)| PlainColumn { label: label.to_owned(), numeric };
        let entries = board.entries();
        Self {
            columns: columns.map(column).into(),
            rows: entries.iter().take(MOST_ROWS).map(|entry| row(board, entry)).collect(),
            left_out: entries.len().saturating_sub(MOST_ROWS),
        }
    }
}

fn row(board: &Leaderboard, entry: &Entry) -> Vec<String> {
    let Summary { mean, ci95, .. } = entry.summary(board.metric().name);
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| plain(value, 4));
    let tied = match entry.tied_with_best {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    vec![
        entry.rank.map_or_else(String::new, |rank| rank.to_string()),
        entry.configuration.clone(),
        entry.n.to_string(),
        number(mean),
        number(ci95.map(|ci95| ci95.low)),
        number(ci95.map(|ci95| ci95.high)),
        number(entry.difference.map(|difference| difference.mean)),
        tied.to_owned(),
    ]
}
