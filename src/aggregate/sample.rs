//! Small sweeps for the tests of this folder and of those that show its tables.

use crate::event::EpochRecord;
use crate::ids::RunId;
use crate::record::{RunResult, RunStatus};
use crate::spec::metric::{Goal, Metric, MetricName};

use super::row::{AxisValue, PlannedRun, RunRow, RunState};
use super::table::SweepTable;

/// Ranked by validation accuracy, target 0.9.
pub fn metric() -> Metric {
    Metric { name: MetricName::ValAccuracy, goal: Goal::Maximize, target: Some(0.9) }
}

/// A run whose one axis, `activation`, is its configuration's name.
pub fn planned(configuration: &str, seed: u64) -> PlannedRun {
    PlannedRun {
        run_id: RunId::of(format!("{configuration} {seed}").as_bytes()),
        configuration: configuration.to_owned(),
        axes: vec![AxisValue { label: configuration.to_owned(), number: None }],
        seed,
    }
}

/// A finished run with these validation accuracies, one an epoch of 10 s and 100 steps. The
/// validation loss is one minus the accuracy (without rounding noise), the training loss half.
pub fn result(val_accuracies: &[f64]) -> RunResult {
    let epochs = val_accuracies.iter().zip(1_u32..).map(|(accuracy, epoch)| {
        let val_loss = ((1.0 - accuracy) * 1e12).round() / 1e12;
        EpochRecord {
            epoch,
            step: u64::from(epoch) * 100,
            lr: 0.1,
            train_loss: val_loss / 2.0,
            train_accuracy: *accuracy,
            val_loss,
            val_accuracy: *accuracy,
            train_s: 9.0,
            eval_s: 1.0,
            step_compute_s: None,
            step_communication_s: None,
            step_wait_s: None,
            elapsed_s: f64::from(epoch) * 10.0,
        }
    });
    RunResult {
        epochs: epochs.collect(),
        parameters: Some(1_234_567),
        images_per_s: Some(1500.5),
        wall_s: Some(12.25),
        peak_memory_bytes: Some(1 << 30),
        ..RunResult::new(RunId::of(b"sample"), RunStatus::Finished)
    }
}

/// A run that failed before its first epoch.
pub fn failed(reason: &str) -> RunResult {
    RunResult { status: RunStatus::Failed, reason: Some(reason.to_owned()), ..result(&[]) }
}

/// The table of these runs: configuration, seed, last validation accuracy (`None`: failed).
pub fn table(runs: &[(&str, u64, Option<f64>)]) -> SweepTable {
    let metric = metric();
    let rows = runs.iter().map(|(configuration, seed, accuracy)| {
        let result = match accuracy {
            Some(accuracy) => RunResult {
                test_accuracy: Some(accuracy - 0.0625),
                ..result(&[accuracy / 2.0, *accuracy])
            },
            None => failed("exit status 1"),
        };
        RunRow::new(planned(configuration, *seed), RunState::Ended(&result), &metric)
    });
    let rows = rows.collect();
    SweepTable::from_rows(vec!["activation".into()], metric, rows)
}
