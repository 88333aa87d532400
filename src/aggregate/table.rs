//! [`SweepTable`]: a row for every run of a sweep, the common input of every CSV and table.

use std::collections::BTreeMap;

use crate::ids::RunId;
use crate::spec::metric::{Metric, MetricName};

use super::relative;
use super::row::{PlannedRun, RunRow, RunState};

/// All runs of a sweep, in the order of the plan.
#[derive(Debug, Clone)]
pub struct SweepTable {
    axes: Vec<String>,
    metric: Metric,
    rows: Vec<RunRow>,
    place: BTreeMap<RunId, usize>,
    /// Are there runs whose steps are timed?
    timed: bool,
}

impl SweepTable {
    /// The table of a sweep of which nothing is done yet. `axes` are the names of the varied keys,
    /// in the order of every run's values.
    pub fn new(axes: Vec<String>, metric: Metric, runs: Vec<PlannedRun>) -> Self {
        let pending = RunState::Pending { reason: None };
        let rows = runs.into_iter().map(|run| RunRow::new(run, pending, &metric)).collect();
        Self::from_rows(axes, metric, rows)
    }

    /// The table of rows that are known already. An id identifies a run: of two rows with the same
    /// one, the first stays.
    pub fn from_rows(axes: Vec<String>, metric: Metric, mut rows: Vec<RunRow>) -> Self {
        let mut place = BTreeMap::new();
        rows.retain(|row| {
            let next = place.len();
            *place.entry(row.run.run_id).or_insert(next) == next
        });
        let timed = rows.iter().any(|row| row.metrics.throughput.is_some());
        let mut table = Self { axes, metric, rows, place, timed };
        table.relate();
        table
    }

    /// Says that the sweep times the steps of runs, also while none has a result: its tables have the
    /// columns for it from the first row on.
    pub fn times_steps(&mut self) {
        self.timed = true;
    }

    /// Are there runs whose steps are timed?
    pub fn has_timed_steps(&self) -> bool {
        self.timed
    }

    /// What is relative to other rows.
    fn relate(&mut self) {
        if self.timed {
            relative::fill_in(&self.axes, &mut self.rows);
        }
    }

    /// The metrics that the tables of the sweep have columns for, in their order.
    pub fn metrics(&self) -> &'static [MetricName] {
        MetricName::of_sweep(self.timed)
    }

    /// Sets how run `run_id` stands. False if it is not of this sweep.
    pub fn update(&mut self, run_id: RunId, state: RunState<'_>) -> bool {
        let Some(row) = self.place.get(&run_id).map(|place| &mut self.rows[*place]) else {
            return false;
        };
        *row = RunRow::new(row.run.clone(), state, &self.metric);
        if row.metrics.throughput.is_some() {
            self.timed = true;
            self.relate();
        }
        true
    }

    /// Adds to a run what was read from its course. False if it is not of this sweep.
    pub fn set_quantities(&mut self, run_id: RunId, quantities: Vec<Option<f64>>) -> bool {
        let row = self.place.get(&run_id).map(|place| &mut self.rows[*place]);
        row.map(|row| row.quantities = quantities).is_some()
    }

    /// Names of the varied keys.
    pub fn axes(&self) -> &[String] {
        &self.axes
    }

    /// What configurations are ranked by.
    pub fn metric(&self) -> &Metric {
        &self.metric
    }

    /// The rows, in the order of the plan.
    pub fn rows(&self) -> &[RunRow] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::row::RowStatus;
    use crate::aggregate::sample;

    #[test]
    fn one_row_is_updated_and_the_order_stays() {
        let runs = vec![sample::planned("a", 0), sample::planned("b", 0), sample::planned("a", 0)];
        let ids: Vec<RunId> = runs.iter().map(|run| run.run_id).collect();
        let mut table = SweepTable::new(vec!["activation".into()], sample::metric(), runs);
        assert_eq!(table.rows().len(), 2, "the third is the first again");

        assert!(table.update(ids[1], RunState::Ended(&sample::result(&[0.9]))));
        assert!(!table.update(RunId::of(b"elsewhere"), RunState::Pending { reason: None }));
        let states: Vec<_> = table.rows().iter().map(|row| (row.run.run_id, row.status)).collect();
        assert_eq!(states, [(ids[0], RowStatus::Pending), (ids[1], RowStatus::Finished)]);
    }
}
