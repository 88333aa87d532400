//! The runs as a table: a row for every run, in the order of the plan.

use super::table::{Definition, Table};
use crate::aggregate::row::RunRow;
use crate::aggregate::table::SweepTable;

/// The columns; `docs/reference/csv.md` says what each means.
pub(super) fn definition<'a>(table: &SweepTable) -> Definition<'a, RunRow> {
    let state = Definition::new()
        .text("run_id", |row: &RunRow| row.run.run_id.to_string())
        .text("configuration", |row| &row.run.configuration)
        .axes(table.axes(), |row| &row.run.axes)
        .text("status", |row| row.status.as_str())
        .text("reason", |row| row.reason.as_deref().unwrap_or_default())
        .integer("seed", |row| Some(row.run.seed))
        .integer("epochs_done", |row| row.metrics.epochs_done.map(u64::from));
    let metrics = table.metrics().iter().fold(state, |definition, name| {
        definition.number(name.as_str(), move |row: &RunRow| row.metrics.get(*name))
    });
    metrics
        .integer("parameters", |row| row.metrics.parameters)
        .integer("fused_lanes", |row| row.metrics.fused_lanes.map(u64::from))
        .text("host", |row| row.metrics.site.as_ref().map_or("", |site| &site.host))
        .text("device_name", |row| row.metrics.site.as_ref().map_or("", |site| &site.device))
        .number("step_compute_s", |row| row.metrics.step_seconds[0])
        .number("step_communication_s", |row| row.metrics.step_seconds[1])
        .number("step_wait_s", |row| row.metrics.step_seconds[2])
}

/// The runs, in the order of the plan.
pub fn runs_table(table: &SweepTable) -> Table<'_> {
    definition(table).table(table.rows())
}
