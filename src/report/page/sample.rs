//! Sweeps for the tests of the page and of the plots.

use super::assemble::{Facts, Inputs};
use super::document::{DataSaid, Provenance, Sweep};
use crate::aggregate::claims::ClaimResult;
use crate::aggregate::courses::Courses;
use crate::aggregate::curves::RunHistory;
use crate::aggregate::effects::Effects;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::row::RunRow;
use crate::aggregate::scaling::ScalingTable;
use crate::aggregate::table::SweepTable;
use crate::aggregate::timings::{Timing, timings};
use crate::aggregate::{RowStatus, sample};
use crate::event::LayersRecord;
use crate::spec::run_policy::CurveDetail;

/// All that a report is made from, owned.
pub struct Bundle {
    pub table: SweepTable,
    pub board: Leaderboard,
    pub claims: Vec<ClaimResult>,
    pub effects: Effects,
    pub timings: Vec<Timing>,
    pub scaling: ScalingTable,
    pub courses: Courses,
}

impl Bundle {
    /// Of a table and these claims; `history` says how a run went that has ended.
    pub fn new(
        table: SweepTable,
        claims: Vec<ClaimResult>,
        history: impl Fn(&RunRow) -> RunHistory,
    ) -> Self {
        let board = Leaderboard::of(&table);
        let mut courses = Courses::of(&board, []);
        let ended = |row: &&RunRow| {
            matches!(row.status, RowStatus::Finished | RowStatus::Diverged | RowStatus::Failed)
        };
        for row in table.rows().iter().filter(ended) {
            courses.add(row, &history(row), CurveDetail::Epoch);
        }
        let timings = timings(&table);
        Self {
            effects: Effects::of(&table),
            scaling: ScalingTable::of(&table, &timings),
            timings,
            courses,
            claims,
            board,
            table,
        }
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            table: &self.table,
            board: &self.board,
            claims: &self.claims,
            effects: &self.effects,
            timings: &self.timings,
            scaling: &self.scaling,
            courses: &self.courses,
        }
    }
}

/// A run that came to `accuracy` in so many epochs, with gradient norms in so many layers.
pub fn history(accuracy: f64, epochs: u32, layers: usize) -> RunHistory {
    let rising = |epoch: u32| accuracy * f64::from(epoch) / f64::from(epochs);
    let accuracies: Vec<f64> = (1..=epochs).map(rising).collect();
    let mut history = RunHistory::of_result(sample::result(&accuracies));
    let norm = |epoch: u32, layer: usize| accuracy * 0.5_f64.powi(layer as i32) / f64::from(epoch);
    history.layers = (1..=epochs)
        .filter(|_| layers > 0)
        .map(|epoch| LayersRecord {
            epoch,
            measurement: "gradient_norm".to_owned(),
            layers: (1..=layers).map(|layer| format!("fc{layer}")).collect(),
            kinds: vec!["fc".to_owned(); layers],
            steps: vec![u64::from(epoch)],
            values: vec![(0..layers).map(|layer| norm(epoch, layer)).collect()],
        })
        .collect();
    history
}

/// Three activations with two seeds, one run of which failed; claims of every verdict.
pub fn small() -> Bundle {
    let table = sample::table(&[
        ("relu", 0, Some(0.9375)),
        ("tanh", 0, Some(0.875)),
        ("elu", 0, Some(0.5)),
        ("relu", 1, Some(0.9375)),
        ("tanh", 1, Some(0.75)),
        ("elu", 1, None),
    ]);
    let accuracy = |row: &RunRow| row.metrics.val_accuracy.unwrap_or(0.25);
    Bundle::new(table, sample::claims::judged(), |row| history(accuracy(row), 3, 2))
}

/// Facts about the small sweep.
pub fn facts(bundle: &Bundle) -> Facts {
    let failed = super::failed_rows(&bundle.table);
    Facts {
        sweep: Sweep {
            name: "small".to_owned(),
            description: "Which activation?".to_owned(),
            header: "A header.".to_owned(),
            changes: vec!["epochs=3".to_owned()],
            version: "1.2.3".to_owned(),
        },
        provenance: Provenance {
            sweep_file: "name = \"small\"\n".to_owned(),
            overrides: vec!["epochs=3".to_owned()],
            seeds: vec![0, 1],
            data: vec![DataSaid { dataset: "mnist-10k".to_owned(), fingerprint: "f".to_owned() }],
            engine_numerics: 3,
            written: "2026-01-02T03:04:05Z".to_owned(),
            gridlane: "1.2.3".to_owned(),
            hosts: Vec::new(),
            run_ids: bundle.table.rows().len(),
        },
        logs: failed.map(|row| (row.run.run_id, "thread panicked\n".to_owned())).collect(),
    }
}
