//! `layers.csv` and `steps.csv`: long tables that are written run by run, like `curves.csv`, and by
//! the same contract. Either is there only where it was asked for.

use std::io;

use super::csv::{CsvRows, NAME_COLUMNS};
use crate::aggregate::curves::RunHistory;
use crate::aggregate::layers::LayerPoint;
use crate::aggregate::row::RunRow;

/// Columns of `layers.csv` behind the varied keys.
const LAYER_COLUMNS: [&str; 7] = ["seed", "epoch", "step", "layer", "kind", "measurement", "value"];

/// Columns of `steps.csv` behind the varied keys.
const STEP_COLUMNS: [&str; 6] = ["seed", "epoch", "step", "loss", "lr", "gradient_norm"];

/// A long table under way.
#[derive(Debug)]
struct Long<W: io::Write> {
    csv: CsvRows<W>,
    axes: usize,
}

impl<W: io::Write> Long<W> {
    fn new(out: W, axes: &[String], columns: &[&str]) -> io::Result<Self> {
        let mut csv = CsvRows::new(out);
        csv.texts(NAME_COLUMNS)?;
        csv.texts(axes)?;
        csv.texts(columns)?;
        csv.end_row()?;
        Ok(Self { csv, axes: axes.len() })
    }

    /// The cells that every row of a run begins with, up to its seed.
    fn begin_row(&mut self, row: &RunRow) -> io::Result<()> {
        self.csv.text(&row.run.run_id.to_string())?;
        self.csv.text(&row.run.configuration)?;
        self.csv.axes(self.axes, &row.run.axes)?;
        self.csv.integer(Some(row.run.seed))
    }
}

/// `layers.csv`: a row for every run, epoch, measurement and layer.
#[derive(Debug)]
pub struct LayersCsv<W: io::Write>(Long<W>);

impl<W: io::Write> LayersCsv<W> {
    /// Begins the file: writes the header of a sweep that varies `axes`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, axes: &[String]) -> io::Result<Self> {
        Ok(Self(Long::new(out, axes, &LAYER_COLUMNS)?))
    }

    /// Writes the points of one run.
    ///
    /// # Errors
    /// When the writer cannot be written.
    pub fn run<'a>(
        &mut self,
        row: &RunRow,
        points: impl IntoIterator<Item = LayerPoint<'a>>,
    ) -> io::Result<()> {
        for point in points {
            self.0.begin_row(row)?;
            let csv = &mut self.0.csv;
            csv.integer(Some(point.epoch.into()))?;
            csv.integer(Some(point.step))?;
            csv.text(point.layer)?;
            csv.text(point.kind)?;
            csv.text(&format!("{}{}", point.measurement, point.suffix))?;
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
        self.0.csv.finish()
    }
}

/// `steps.csv`: a row for every run and optimizer step.
#[derive(Debug)]
pub struct StepsCsv<W: io::Write>(Long<W>);

impl<W: io::Write> StepsCsv<W> {
    /// Begins the file: writes the header of a sweep that varies `axes`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, axes: &[String]) -> io::Result<Self> {
        Ok(Self(Long::new(out, axes, &STEP_COLUMNS)?))
    }

    /// Writes the steps of one run.
    ///
    /// # Errors
    /// When the writer cannot be written.
    pub fn run(&mut self, row: &RunRow, history: &RunHistory) -> io::Result<()> {
        let norms = history.gradient_norms();
        for step in &history.steps {
            self.0.begin_row(row)?;
            let csv = &mut self.0.csv;
            csv.integer(Some(step.epoch.into()))?;
            csv.integer(Some(step.step + 1))?;
            csv.number(Some(step.loss))?;
            csv.number(Some(step.lr))?;
            csv.number(norms.get(&step.step).copied())?;
            csv.end_row()?;
        }
        Ok(())
    }

    /// Ends the file and gives the writer back.
    ///
    /// # Errors
    /// When the last rows cannot be written.
    pub fn finish(self) -> io::Result<W> {
        self.0.csv.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;
    use crate::event::{LayersRecord, RunEvent};
    use crate::spec::run_policy::CurveDetail;

    fn history() -> RunHistory {
        RunHistory::of_events([
            RunEvent::Steps {
                first_step: 0,
                epoch: 1,
                loss: vec![2.5, f64::NAN],
                lr: vec![0.1, 0.05],
            },
            RunEvent::Layers(LayersRecord {
                epoch: 1,
                measurement: "gradient_norm".to_owned(),
                layers: vec!["linear1".to_owned(), "network".to_owned()],
                kinds: vec!["linear".to_owned(), "network".to_owned()],
                steps: vec![1],
                values: vec![vec![0.75, 1.5]],
            }),
            RunEvent::Layers(LayersRecord {
                epoch: 1,
                measurement: "activation_dead".to_owned(),
                layers: vec!["relu1".to_owned(), "relu2".to_owned()],
                kinds: vec!["relu".to_owned(), "relu".to_owned()],
                steps: vec![2],
                values: vec![vec![0.25, f64::NAN]],
            }),
        ])
    }

    #[test]
    fn layers() {
        let table = sample::table(&[("relu", 7, Some(0.5))]);
        let mut csv = LayersCsv::new(Vec::new(), table.axes()).unwrap();
        csv.run(&table.rows()[0], history().layer_points(CurveDetail::Epoch)).unwrap();
        insta::assert_snapshot!(String::from_utf8(csv.finish().unwrap()).unwrap());
    }

    #[test]
    fn steps() {
        let table = sample::table(&[("relu", 7, Some(0.5))]);
        let mut csv = StepsCsv::new(Vec::new(), table.axes()).unwrap();
        csv.run(&table.rows()[0], &history()).unwrap();
        insta::assert_snapshot!(String::from_utf8(csv.finish().unwrap()).unwrap());
    }

    #[test]
    fn every_column_is_documented_and_like_no_key() {
        let reference = include_str!("../../docs/reference/csv.md");
        for column in LAYER_COLUMNS.iter().chain(&STEP_COLUMNS) {
            assert!(reference.contains(&format!("| `{column}` |")), "{column}");
        }
        for column in LAYER_COLUMNS {
            assert!(column == "seed" || crate::spec::Key::from_name(column).is_none(), "{column}");
        }
    }
}
