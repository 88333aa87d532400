//! The CSV contract: `runs.csv`, `leaderboard.csv` and `curves.csv`.
//!
//! RFC 4180, UTF-8 without a byte-order mark, `.` decimals, LF line ends; every column is there
//! from the first row on, in a stable order, with its unit in its name; what is unknown is an empty
//! cell. `docs/reference/csv.md` says what every column means.

use std::io;

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};

use crate::aggregate::curves::CurvePoint;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::row::{AxisValue, RunRow};
use crate::aggregate::table::SweepTable;

use super::cell;
use super::leaderboard::{self, SUMMARY_SUFFIXES};
use super::runs;
use super::table::{Cell, Definition, Table};

/// Columns of `runs.csv`, and stems of columns of `leaderboard.csv`, that may differ between two
/// executions of the same sweep. All others are the same to the last byte.
pub const TIMING_COLUMNS: &[&str] = &[
    "seconds_to_target",
    "images_per_s",
    "wall_s",
    "peak_memory_bytes",
    "fused_lanes",
    "host",
    "device_name",
    "data_s",
    "forward_s",
    "backward_s",
    "update_s",
    "step_s",
    "device_memory_bytes",
    "speed_up",
    "efficiency",
    "wait_share",
    "step_compute_s",
    "step_communication_s",
    "step_wait_s",
];

/// Is `column`, of any of the CSVs, one that may differ between two executions? Where the sweep is
/// ranked by such a metric, the order of `leaderboard.csv` and its comparisons may differ too.
pub fn is_timing_column(column: &str) -> bool {
    TIMING_COLUMNS.iter().any(|stem| {
        column
            .strip_prefix(stem)
            .is_some_and(|rest| rest.is_empty() || SUMMARY_SUFFIXES.contains(&rest))
    })
}

pub(super) const NAME_COLUMNS: [&str; 2] = ["run_id", "configuration"];
const CURVE_COLUMNS: [&str; 5] = ["seed", "epoch", "step", "metric", "value"];

/// `runs.csv`: a row for every run, in the order of the plan.
pub fn runs_csv(table: &SweepTable) -> Vec<u8> {
    runs::definition(table).csv(table.rows())
}

/// `leaderboard.csv`: a row for every configuration, best first.
pub fn leaderboard_csv(board: &Leaderboard) -> Vec<u8> {
    leaderboard::definition(board).csv(board.entries())
}

/// Any table as CSV, by the contract.
pub fn table_csv(table: &Table<'_>) -> Vec<u8> {
    in_memory(|csv| {
        csv.texts(table.columns.iter().map(|column| column.key.as_ref()))?;
        csv.end_row()?;
        table.rows.iter().try_for_each(|row| csv.row(row.iter()))
    })
}

impl<'a, R: 'a> Definition<'a, R> {
    /// The table of `rows` as CSV, of which no more than a row is held as cells.
    pub(super) fn csv(self, rows: impl IntoIterator<Item = &'a R>) -> Vec<u8> {
        in_memory(|csv| {
            csv.texts(self.keys())?;
            csv.end_row()?;
            rows.into_iter().try_for_each(|row| csv.row(self.cells(row)))
        })
    }
}

/// `curves.csv` in long format, written run by run: no more than one row is held.
#[derive(Debug)]
pub struct CurvesCsv<W: io::Write> {
    csv: CsvRows<W>,
    axes: usize,
}

impl<W: io::Write> CurvesCsv<W> {
    /// Begins the file: writes the header of a sweep that varies `axes`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, axes: &[String]) -> io::Result<Self> {
        let mut csv = CsvRows::new(out);
        csv.texts(NAME_COLUMNS)?;
        csv.texts(axes)?;
        csv.texts(CURVE_COLUMNS)?;
        csv.end_row()?;
        Ok(Self { csv, axes: axes.len() })
    }

    /// Writes the points of one run.
    ///
    /// # Errors
    /// When the writer cannot be written.
    pub fn run(
        &mut self,
        row: &RunRow,
        points: impl IntoIterator<Item = CurvePoint>,
    ) -> io::Result<()> {
        let csv = &mut self.csv;
        for point in points {
            csv.text(&row.run.run_id.to_string())?;
            csv.text(&row.run.configuration)?;
            csv.axes(self.axes, &row.run.axes)?;
            csv.integer(Some(row.run.seed))?;
            csv.integer(Some(point.epoch.into()))?;
            csv.integer(Some(point.step))?;
            csv.text(point.metric.as_str())?;
            csv.number(Some(point.value))?;
            csv.end_row()?;
        }
        Ok(())
    }

    /// Ends the file and gives the writer back.
    ///
    /// # Errors
    /// When the last rows cannot be written.
    pub fn finish(self) -> io::Result<W> {
        self.csv.finish()
    }
}

/// Renders rows into memory, where writing cannot fail.
fn in_memory(rows: impl FnOnce(&mut CsvRows<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
    let mut csv = CsvRows::new(Vec::new());
    rows(&mut csv)
        .and_then(|()| csv.finish())
        .expect("invariant: all rows have the header's cells, and memory can be written")
}

/// Cells after cells, by the contract. A row that has another number of cells than the header is
/// refused by the writer underneath.
#[derive(Debug)]
pub(super) struct CsvRows<W: io::Write> {
    csv: Writer<W>,
    cell: String,
}

impl<W: io::Write> CsvRows<W> {
    pub(super) fn new(out: W) -> Self {
        let csv = WriterBuilder::new()
            .quote_style(QuoteStyle::Necessary)
            .terminator(Terminator::Any(b'\n'))
            .from_writer(out);
        Self { csv, cell: String::new() }
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        Ok(self.csv.write_field(cell::text(text).as_ref())?)
    }

    pub(super) fn texts(
        &mut self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> io::Result<()> {
        texts.into_iter().try_for_each(|text| self.text(text.as_ref()))
    }

    pub(super) fn number(&mut self, value: Option<f64>) -> io::Result<()> {
        self.cell.clear();
        cell::number(value, &mut self.cell);
        Ok(self.csv.write_field(&self.cell)?)
    }

    pub(super) fn integer(&mut self, value: Option<u64>) -> io::Result<()> {
        self.cell.clear();
        cell::integer(value, &mut self.cell);
        Ok(self.csv.write_field(&self.cell)?)
    }

    /// Exactly `count` cells, whatever a row brings along.
    pub(super) fn axes(&mut self, count: usize, values: &[AxisValue]) -> io::Result<()> {
        for place in 0..count {
            match values.get(place) {
                Some(AxisValue { number: Some(number), .. }) => self.number(Some(*number))?,
                Some(AxisValue { label, number: None }) => self.text(label)?,
                None => self.text("")?,
            }
        }
        Ok(())
    }

    /// One whole row.
    fn row<'c, C>(&mut self, cells: impl IntoIterator<Item = C>) -> io::Result<()>
    where
        C: std::borrow::Borrow<Cell<'c>>,
    {
        for cell in cells {
            match cell.borrow() {
                Cell::Empty => self.text("")?,
                Cell::Text(text) => self.text(text)?,
                Cell::Number(number) => self.number(Some(*number))?,
                Cell::Integer(integer) => self.integer(Some(*integer))?,
                Cell::Boolean(true) => self.text("yes")?,
                Cell::Boolean(false) => self.text("no")?,
            }
        }
        self.end_row()
    }

    pub(super) fn end_row(&mut self) -> io::Result<()> {
        Ok(self.csv.write_record(None::<&[u8]>)?)
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.csv.into_inner().map_err(|error| error.into_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::curves::RunHistory;
    use crate::aggregate::row::{PlannedRun, RunState};
    use crate::aggregate::sample;
    use crate::ids::RunId;
    use crate::record::{RunResult, RunStatus, Site};
    use crate::spec::Key;
    use crate::spec::metric::MetricName;
    use crate::spec::run_policy::CurveDetail;
    use proptest::prelude::*;
    use std::time::Instant;

    fn parse(bytes: &[u8]) -> (Vec<String>, Vec<Vec<String>>) {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let mut records = reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect::<Vec<String>>());
        (records.next().unwrap(), records.collect())
    }

    fn small_table() -> SweepTable {
        let mut table = sample::table(&[
            ("relu", 0, Some(0.9375)),
            ("relu", 1, Some(0.875)),
            ("=tanh", 0, Some(0.5)),
            ("=tanh", 1, Some(0.75)),
            ("naïve, \"q\"", 0, None),
        ]);
        let failed = sample::failed("worker panicked:\n  index out of bounds");
        table.update(sample::planned("naïve, \"q\"", 0).run_id, RunState::Ended(&failed));
        table
    }

    #[test]
    fn runs() {
        insta::assert_snapshot!(String::from_utf8(runs_csv(&small_table())).unwrap());
    }

    #[test]
    fn leaderboard() {
        let board = Leaderboard::of(&small_table());
        insta::assert_snapshot!(String::from_utf8(leaderboard_csv(&board)).unwrap());
    }

    #[test]
    fn curves() {
        let table = small_table();
        let history = RunHistory::of_result(sample::result(&[0.5, 0.9375]));
        let mut csv = CurvesCsv::new(Vec::new(), table.axes()).unwrap();
        csv.run(&table.rows()[0], history.points(CurveDetail::Epoch)).unwrap();
        insta::assert_snapshot!(String::from_utf8(csv.finish().unwrap()).unwrap());
    }

    #[test]
    fn no_key_of_a_sweep_file_is_called_like_another_column() {
        let mut empty = SweepTable::new(vec![], sample::metric(), vec![]);
        empty.times_steps();
        let curves = CurvesCsv::new(Vec::new(), &[]).unwrap().finish().unwrap();
        let board = leaderboard_csv(&Leaderboard::of(&empty));
        for header in [runs_csv(&empty), board, curves].map(|bytes| parse(&bytes).0) {
            for name in Key::NAMES.iter().filter(|name| **name != "seed") {
                assert!(!header.iter().any(|column| column == name), "{name}");
            }
        }
    }

    #[test]
    fn every_column_is_documented() {
        let reference = include_str!("../../docs/reference/csv.md");
        let mut empty = SweepTable::new(vec![], sample::metric(), vec![]);
        empty.times_steps();
        let curves = CurvesCsv::new(Vec::new(), &[]).unwrap().finish().unwrap();
        let board = leaderboard_csv(&Leaderboard::of(&empty));
        for column in [runs_csv(&empty), board, curves].iter().flat_map(|bytes| parse(bytes).0) {
            let name = MetricName::ALL.iter().find_map(|name| {
                let suffix = column.strip_prefix(name.as_str())?;
                SUMMARY_SUFFIXES.contains(&suffix).then_some(name.as_str())
            });
            let column = name.unwrap_or(&column);
            assert!(reference.contains(&format!("| `{column}` |")), "{column}");
        }
    }

    #[test]
    fn timing_columns_are_the_measured_ones() {
        for timing in ["wall_s", "wall_s_mean", "seconds_to_target_ci95_low", "images_per_s_std"] {
            assert!(is_timing_column(timing), "{timing}");
        }
        for fixed in ["val_accuracy_mean", "epochs_to_target", "wall_south", "parameters"] {
            assert!(!is_timing_column(fixed), "{fixed}");
        }
    }

    /// A run whose every text and number is arbitrary.
    fn any_row() -> impl Strategy<Value = (String, String, u64, Option<RunResult>)> {
        let status = prop::sample::select(vec![
            RunStatus::Finished,
            RunStatus::Finished,
            RunStatus::Diverged,
            RunStatus::Failed,
        ]);
        let site = any::<Option<(String, String)>>();
        let numbers = (any::<f64>(), any::<Option<f64>>(), any::<Option<u64>>(), site);
        let result =
            (status, any::<Option<String>>(), prop::collection::vec(any::<f64>(), 0..3), numbers);
        let result = result.prop_map(|(status, reason, accuracies, (loss, other, count, site))| {
            let mut result = RunResult { status, reason, ..sample::result(&accuracies) };
            result.test_loss = Some(loss);
            result.images_per_s = other;
            result.peak_memory_bytes = count;
            result.site = site.map(|(host, device)| Site { host, device });
            result
        });
        let configuration = prop_oneof![any::<String>(), "[abc]"];
        (configuration, any::<String>(), 0..4_u64, prop::option::of(result))
    }

    fn any_table() -> impl Strategy<Value = SweepTable> {
        let name = prop::sample::select(MetricName::ALL);
        let runs = prop::collection::vec(any_row(), 0..24);
        (name, any::<Option<f64>>(), runs).prop_map(|(name, target, runs)| {
            let metric = crate::spec::metric::Metric { name, goal: name.natural_goal(), target };
            let rows = runs.into_iter().enumerate().map(|(index, (name, label, seed, result))| {
                let run = PlannedRun {
                    run_id: RunId::of(&index.to_le_bytes()),
                    configuration: name,
                    axes: vec![AxisValue { label, number: None }],
                    seed,
                };
                match &result {
                    Some(result) => RunRow::new(run, RunState::Ended(result), &metric),
                    None => RunRow::new(run, RunState::Pending { reason: None }, &metric),
                }
            });
            let rows = rows.collect();
            SweepTable::from_rows(vec!["dataset".into()], metric, rows)
        })
    }

    #[track_caller]
    fn assert_numeric(cell: &str) {
        assert!(cell.is_empty() || cell.parse::<f64>().is_ok_and(f64::is_finite), "{cell}");
    }

    proptest! {
        #[test]
        fn any_sweep_gives_whole_tables(table in any_table()) {
            let bytes = runs_csv(&table);
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(lines, table.rows().len() + 1, "a row is a line");
            let (header, rows) = parse(&bytes);
            for (row, source) in rows.iter().zip(table.rows()) {
                prop_assert_eq!(row.len(), header.len());
                prop_assert_eq!(&row[1], &cell::text(&source.run.configuration));
                prop_assert_eq!(&row[2], &cell::text(&source.run.axes[0].label));
                for (name, found) in header.iter().zip(row).skip(5) {
                    match (name.as_str(), &source.metrics.site) {
                        ("host", Some(site)) => prop_assert_eq!(found, &cell::text(&site.host)),
                        ("device_name", Some(site)) => {
                            prop_assert_eq!(found, &cell::text(&site.device));
                        }
                        _ => assert_numeric(found),
                    }
                }
            }

            let board = Leaderboard::of(&table);
            let (header, rows) = parse(&leaderboard_csv(&board));
            prop_assert_eq!(rows.len(), board.entries().len());
            let tied = header.iter().position(|column| column == "tied_with_best").unwrap();
            for row in &rows {
                prop_assert_eq!(row.len(), header.len());
                assert_numeric(&row[0]);
                prop_assert!(["yes", "no", ""].contains(&row[tied].as_str()));
                let numbers = row.iter().enumerate().skip(3).filter(|(place, _)| *place != tied);
                numbers.for_each(|(_, cell)| assert_numeric(cell));
            }
            let known = |row: &&Vec<String>| !row[0].is_empty();
            let ranked = rows.iter().take_while(known).count();
            prop_assert_eq!(rows.iter().filter(known).count(), ranked, "unknown ranks are last");
        }
    }

    #[test]
    #[ignore = "a measurement: tables of 1,000 and 10,000 runs"]
    #[expect(clippy::print_stderr, reason = "the figure is what the test is run for")]
    fn tables_are_rendered_in_milliseconds() {
        for configurations in [333, 3333] {
            let names: Vec<String> = (0..configurations).map(|i| format!("lr={i}")).collect();
            let runs: Vec<_> = names
                .iter()
                .flat_map(|name| (0..3).map(move |seed| (name, seed)))
                .enumerate()
                .map(|(i, (name, seed))| {
                    (name.as_str(), seed, Some((i * 7919 % 1009) as f64 / 1009.0))
                })
                .collect();
            let table = sample::table(&runs);
            let start = Instant::now();
            let bytes = runs_csv(&table).len();
            let runs_time = start.elapsed();
            let board = Leaderboard::of(&table);
            let ranked = start.elapsed() - runs_time;
            let board_bytes = leaderboard_csv(&board).len();
            let rendered = start.elapsed() - runs_time - ranked;
            eprintln!(
                "{} runs: runs.csv {runs_time:?} ({bytes} B), ranking {ranked:?}, leaderboard.csv \
                 {rendered:?} ({board_bytes} B)",
                runs.len()
            );
        }
    }
}
