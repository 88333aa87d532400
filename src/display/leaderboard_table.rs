//! The head of a leaderboard as terminal text.
//!
//! In: a [`Leaderboard`], the width of the terminal and what it can show. Out: lines that fit.
//! Pure: the caller asks the terminal and prints.

use console::{Style, measure_text_width, pad_str, truncate_str};

use crate::aggregate::leaderboard::{Entry, Leaderboard};
use crate::aggregate::statistics::Summary;
use crate::spec::metric::{Goal, MetricName};
use crate::units::show_bytes;

/// Configurations that are shown.
pub const HEAD: usize = 10;

const GAP: &str = "  ";

/// The characters that a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbols {
    /// All of Unicode.
    Unicode,
    /// Nothing beyond ASCII but what names bring along.
    Ascii,
}

/// Is the text coloured?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With escape sequences.
    On,
    /// Plain.
    Off,
}

/// What the terminal can do.
#[derive(Debug, Clone, Copy)]
pub struct TableStyle {
    /// Its width in columns.
    pub width: usize,
    /// Its characters.
    pub symbols: Symbols,
    /// Its colours.
    pub colour: Colour,
}

/// The best configurations: rank, name, mean and standard deviation over the seeds, difference to
/// the best with its corrected p-value, and the result on the test part. A name that is cut says no
/// longer which configuration it is: on a narrow terminal the result on the test part goes, then
/// the names move to lines of their own. Every line ends with a line feed.
pub fn leaderboard_table(board: &Leaderboard, style: &TableStyle) -> String {
    let head = &board.entries()[..board.entries().len().min(HEAD)];
    let mut columns = columns(board, head, style);
    let names = fit(&mut columns, style);
    let mut lines = vec![paint(&title(board), Style::new().bold(), style)];
    let mut row_of = |row: usize, look: Style| {
        lines.push(paint(&line(&columns, row), look.clone(), style));
        if let Some(names) = &names {
            let indented = format!("{:width$}{}", "", names.cells[row], width = columns[0].width());
            lines.push(paint(&cut(&indented, style), look, style));
        }
    };
    row_of(0, Style::new().dim());
    for (row, entry) in head.iter().enumerate() {
        let look = match (entry.tied_with_best, entry.rank) {
            (Some(true), _) => Style::new().green(),
            (_, None) => Style::new().red(),
            _ => Style::new(),
        };
        row_of(row + 1, look);
    }
    let rest = board.entries().len() - head.len();
    if rest > 0 {
        lines.push(format!("{} and {rest} more", ellipsis(style.symbols)));
    }
    lines.iter().map(|line| format!("{}\n", cut(line, style))).collect()
}

/// A line as wide as the terminal at most.
fn cut(line: &str, style: &TableStyle) -> String {
    truncate_str(line, style.width, ellipsis(style.symbols)).into_owned()
}

/// One column: the header, then a cell for every row.
struct Column {
    cells: Vec<String>,
    to_the_right: bool,
}

fn columns(board: &Leaderboard, head: &[Entry], style: &TableStyle) -> Vec<Column> {
    let metric = board.metric().name;
    let test = test_metric(metric);
    let column = |name: &str, to_the_right, cell: &dyn Fn(&Entry) -> String| Column {
        cells: std::iter::once(name.to_owned()).chain(head.iter().map(cell)).collect(),
        to_the_right,
    };
    let mut columns = vec![
        column("rank", true, &|entry| entry.rank.map_or("-".to_owned(), |rank| rank.to_string())),
        column("configuration", false, &|entry| printable(&entry.configuration)),
        column(
            &format!("{} {} std (n)", metric.as_str(), plus_minus(style.symbols)),
            false,
            &|entry| spread(entry.summary(metric), metric, style.symbols),
        ),
        column("difference to best", false, &|entry| difference(entry, metric)),
    ];
    if test != metric {
        let show_test = |entry: &Entry| {
            entry.summary(test).mean.map_or("-".to_owned(), |mean| show(mean, test))
        };
        columns.push(column(test.as_str(), true, &show_test));
    }
    columns
}

fn title(board: &Leaderboard) -> String {
    let better = match board.metric().goal {
        Goal::Maximize => "more is better",
        Goal::Minimize => "less is better",
    };
    let count = board.entries().len();
    let whole = board.configurations();
    let of = if count < whole { format!("{count} of {whole}") } else { count.to_string() };
    let plural = if whole == 1 { "" } else { "s" };
    let sum = |of: fn(&Entry) -> usize| board.entries().iter().map(of).sum::<usize>();
    let mut title =
        format!("{of} configuration{plural} by {}, {better}", board.metric().name.as_str());
    let counts = [
        (sum(|entry| entry.failed - entry.diverged), "failed"),
        (sum(|entry| entry.diverged), "diverged"),
        (sum(|entry| entry.unfinished), "unfinished"),
        (sum(|entry| entry.skipped), "skipped"),
    ];
    for (number, what) in counts {
        if number > 0 {
            let plural = if number == 1 { "" } else { "s" };
            title.push_str(&format!("; {number} run{plural} {what}"));
        }
    }
    title
}

/// Drops the result on the test part where the table is wider than the terminal with it, then takes the
/// names out, to be shown in lines of their own; what is still too wide loses further columns.
fn fit(columns: &mut Vec<Column>, style: &TableStyle) -> Option<Column> {
    let total = |columns: &[Column]| {
        columns.iter().map(Column::width).sum::<usize>() + GAP.len() * (columns.len() - 1)
    };
    let without_test = &columns[..columns.len().min(4)];
    if total(columns) <= style.width {
        return None;
    }
    if total(without_test) <= style.width {
        columns.truncate(4);
        return None;
    }
    let mut names = columns.remove(1);
    for name in &mut names.cells {
        name.insert_str(0, GAP);
    }
    while columns.len() > 2 && total(columns) > style.width {
        columns.pop();
    }
    Some(names)
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| measure_text_width(cell)).max().unwrap_or(0)
    }
}

fn line(columns: &[Column], row: usize) -> String {
    let cells = columns.iter().map(|column| {
        let side =
            if column.to_the_right { console::Alignment::Right } else { console::Alignment::Left };
        pad_str(&column.cells[row], column.width(), side, None)
    });
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

/// `0.9523 ± 0.0012 (3)`.
pub(super) fn spread(summary: Summary, name: MetricName, symbols: Symbols) -> String {
    let Summary { n, mean, std, .. } = summary;
    let Some(mean) = mean else {
        return "-".to_owned();
    };
    let plus_minus = plus_minus(symbols);
    match std {
        Some(std) => format!("{} {plus_minus} {} ({n})", show(mean, name), show(std, name)),
        None => format!("{} ({n})", show(mean, name)),
    }
}

fn plus_minus(symbols: Symbols) -> &'static str {
    match symbols {
        Symbols::Unicode => "±",
        Symbols::Ascii => "+/-",
    }
}

/// `-0.0012 (p 0.21, tied)`.
fn difference(entry: &Entry, name: MetricName) -> String {
    let Some(difference) = entry.difference else {
        return if entry.rank == Some(1) { "best" } else { "-" }.to_owned();
    };
    let shown = signed(difference.mean, name);
    let tied = if entry.tied_with_best == Some(true) { ", tied" } else { "" };
    match entry.p_value_holm {
        Some(p) if p < 0.001 => format!("{shown} (p < 0.001{tied})"),
        Some(p) => format!("{shown} (p {p:.3}{tied})"),
        None => shown,
    }
}

/// A difference of two values, with its sign.
pub(super) fn signed(difference: f64, name: MetricName) -> String {
    let sign = if difference < 0.0 { "-" } else { "+" };
    format!("{sign}{}", show(difference.abs(), name))
}

/// A value with as many digits as one compares by.
pub(super) fn show(value: f64, name: MetricName) -> String {
    match name {
        MetricName::PeakMemoryBytes | MetricName::DeviceMemoryBytes => {
            show_bytes(value.max(0.0) as u64)
        }
        MetricName::ImagesPerS => format!("{value:.0}"),
        MetricName::SecondsToTarget | MetricName::WallS if value.abs() < 10.0 => {
            format!("{value:.3}")
        }
        MetricName::EpochsToTarget | MetricName::SecondsToTarget | MetricName::WallS => {
            format!("{value:.1}")
        }
        // A loss can be enormous just before it diverges.
        _ if value.abs() >= 1e6 => format!("{value:.3e}"),
        _ => format!("{value:.4}"),
    }
}

/// The test metric that goes with a ranking metric.
fn test_metric(name: MetricName) -> MetricName {
    match name {
        MetricName::ValLoss | MetricName::TrainLoss | MetricName::TestLoss => MetricName::TestLoss,
        _ => MetricName::TestAccuracy,
    }
}

/// A name without what a terminal would obey instead of show.
pub(super) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub(super) fn ellipsis(symbols: Symbols) -> &'static str {
    match symbols {
        Symbols::Unicode => "…",
        Symbols::Ascii => "...",
    }
}

pub(super) fn paint(text: &str, look: Style, style: &TableStyle) -> String {
    match style.colour {
        Colour::On => look.force_styling(true).apply_to(text).to_string(),
        Colour::Off => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::row::{RunRow, RunState};
    use crate::aggregate::{SweepTable, sample};
    use crate::record::{RunResult, RunStatus};
    use proptest::prelude::*;

    fn board() -> Leaderboard {
        Leaderboard::of(&sample::table(&[
            ("activation=relu, schedule=warmup_cosine(warmup_epochs=2)", 0, Some(0.9512)),
            ("activation=relu, schedule=warmup_cosine(warmup_epochs=2)", 1, Some(0.9523)),
            ("activation=relu, schedule=warmup_cosine(warmup_epochs=2)", 2, Some(0.9498)),
            ("活性化=形状, schedule=cosine", 0, Some(0.9501)),
            ("活性化=形状, schedule=cosine", 1, Some(0.9520)),
            ("活性化=形状, schedule=cosine", 2, None),
            ("tanh", 0, Some(0.8)),
            ("tanh", 1, Some(0.81)),
            ("tanh", 2, Some(0.79)),
            ("one seed", 5, Some(0.7)),
            ("dead", 0, None),
        ]))
    }

    fn plain(width: usize, symbols: Symbols) -> TableStyle {
        TableStyle { width, symbols, colour: Colour::Off }
    }

    #[test]
    fn wide_terminal() {
        insta::assert_snapshot!(leaderboard_table(&board(), &plain(140, Symbols::Unicode)));
    }

    #[test]
    fn narrow_ascii_terminal() {
        insta::assert_snapshot!(leaderboard_table(&board(), &plain(80, Symbols::Ascii)));
    }

    #[test]
    fn very_narrow_terminal() {
        insta::assert_snapshot!(leaderboard_table(&board(), &plain(44, Symbols::Unicode)));
    }

    #[test]
    fn a_name_is_whole_on_an_ordinary_terminal() {
        let text = leaderboard_table(&board(), &plain(80, Symbols::Unicode));
        let name = "activation=relu, schedule=warmup_cosine(warmup_epochs=2)";
        assert!(text.contains(name), "{text}");
        let short = Leaderboard::of(&sample::table(&[
            ("lr=0.01 activation=tanh", 0, Some(0.5)),
            ("lr=0.01 activation=tanh", 1, Some(0.6)),
            ("lr=0.01 activation=relu", 0, Some(0.4)),
            ("lr=0.01 activation=relu", 1, Some(0.45)),
        ]));
        let text = leaderboard_table(&short, &plain(80, Symbols::Unicode));
        assert_eq!(text.lines().count(), 4, "one line for each: {text}");
        assert!(text.contains("lr=0.01 activation=tanh  0.5500"), "{text}");
    }

    #[test]
    fn runs_that_diverged_are_not_called_failed() {
        let mut rows = vec![];
        for (seed, status) in [(0, RunStatus::Diverged), (1, RunStatus::Failed)] {
            let result = RunResult { status, ..sample::failed("why") };
            let run = sample::planned("a", seed);
            rows.push(RunRow::new(run, RunState::Ended(&result), &sample::metric()));
        }
        let table = SweepTable::from_rows(vec![], sample::metric(), rows);
        let text = leaderboard_table(&Leaderboard::of(&table), &plain(80, Symbols::Unicode));
        assert!(
            text.starts_with(
                "1 configuration by val_accuracy, more is better; 1 run failed; 1 run diverged"
            ),
            "{text}"
        );
    }

    #[test]
    fn only_the_head_is_shown() {
        let names: Vec<String> = (0..13).map(|i| format!("lr={i}")).collect();
        let runs: Vec<_> = names
            .iter()
            .zip(1..)
            .map(|(name, i)| (name.as_str(), 0, Some(f64::from(i) / 16.0)))
            .collect();
        let board = Leaderboard::of(&sample::table(&runs));
        let text = leaderboard_table(&board, &plain(80, Symbols::Unicode));
        assert_eq!(text.lines().count(), 2 + HEAD + 1);
        assert!(text.ends_with("… and 3 more\n"), "{text}");
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let coloured = TableStyle { colour: Colour::On, ..plain(100, Symbols::Unicode) };
        let text = leaderboard_table(&board(), &coloured);
        assert!(text.contains("\u{1b}[32m"), "the best is green");
        assert_eq!(
            console::strip_ansi_codes(&text),
            leaderboard_table(&board(), &plain(100, Symbols::Unicode))
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            width in 20..160_usize,
            names in prop::collection::vec(any::<String>(), 1..6),
        ) {
            let runs: Vec<_> = names.iter().map(|name| (name.as_str(), 0, Some(0.5))).collect();
            let text = leaderboard_table(
                &Leaderboard::of(&sample::table(&runs)),
                &plain(width, Symbols::Unicode),
            );
            for line in text.split_terminator('\n') {
                prop_assert!(measure_text_width(line) <= width, "{line:?}");
            }
        }
    }
}
