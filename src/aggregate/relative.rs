//! What a run's speed is worth beside that of a reference: the run of the same sweep that agrees in
//! seed and all varied keys but `device` and `devices`, in which it has the first value of the sweep
//! and the fewest.
//!
//! Timed runs only: how fast training runs went depends on what else ran beside them.

use std::collections::BTreeMap;

use super::row::{RowStatus, RunRow};

/// Fills in `speed_up` and `efficiency` of all rows.
pub(super) fn fill_in(axes: &[String], rows: &mut [RunRow]) {
    let found = {
        let references = References::of(axes, rows);
        let relative = |row: &RunRow| {
            let own = rate(row)?;
            let reference = references.of_row(row)?;
            let (times, devices) = (own / rate(reference)?, devices(row)? / devices(reference)?);
            (times.is_finite() && devices > 0.0).then_some((times, times / devices))
        };
        rows.iter().map(relative).collect::<Vec<_>>()
    };
    for (row, found) in rows.iter_mut().zip(found) {
        row.metrics.speed_up = found.map(|(times, _)| times);
        row.metrics.efficiency = found.map(|(_, efficiency)| efficiency);
    }
}

/// Images per second of a run whose steps were timed.
pub(super) fn rate(row: &RunRow) -> Option<f64> {
    row.metrics.throughput.as_ref()?;
    row.metrics.images_per_s.filter(|rate| *rate > 0.0 && row.status == RowStatus::Finished)
}

fn devices(row: &RunRow) -> Option<f64> {
    Some(f64::from(row.metrics.throughput.as_ref()?.devices))
}

/// The reference of every group of rows that agree in all else.
struct References<'a> {
    /// Which axes are not agreed in.
    compared: Vec<usize>,
    found: BTreeMap<Group<'a>, &'a RunRow>,
}

/// What the runs of one group agree in: the seed, and the other axes.
type Group<'a> = (u64, Vec<&'a str>);

impl<'a> References<'a> {
    fn of(axes: &[String], rows: &'a [RunRow]) -> Self {
        let place = |name: &str| axes.iter().position(|axis| axis == name);
        let [device, devices] = ["device", "devices"].map(place);
        let compared: Vec<usize> = device.into_iter().chain(devices).collect();
        let mut references = Self { compared, found: BTreeMap::new() };
        // Nothing is relative in a sweep that varies neither.
        if references.compared.is_empty() {
            return references;
        }
        let label = |row: &'a RunRow| Some(row.run.axes.get(device?)?.label.as_str());
        let count = |row: &RunRow| row.run.axes.get(devices?)?.number;
        let first = rows.first().and_then(label);
        let fewest = rows.iter().filter_map(count).reduce(f64::min);
        for row in rows.iter().filter(|row| label(row) == first && count(row) == fewest) {
            let key = references.key(row);
            references.found.entry(key).or_insert(row);
        }
        references
    }

    /// What rows of one group have in common.
    fn key(&self, row: &'a RunRow) -> Group<'a> {
        let axes = row.run.axes.iter().enumerate();
        let others = axes.filter(|(axis, _)| !self.compared.contains(axis));
        (row.run.seed, others.map(|(_, value)| value.label.as_str()).collect())
    }

    fn of_row(&self, row: &'a RunRow) -> Option<&'a RunRow> {
        self.found.get(&self.key(row)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::timed;

    /// Runs of (device, devices, batch size, seed) with so many images a second.
    fn filled(rows: &[(&str, u32, u32, u64, Option<f64>)]) -> Vec<Option<(f64, f64)>> {
        let axes = ["device", "devices", "batch_size"].map(str::to_owned);
        let mut rows: Vec<RunRow> = rows.iter().map(|row| timed(*row)).collect();
        fill_in(&axes, &mut rows);
        rows.iter().map(|row| row.metrics.speed_up.zip(row.metrics.efficiency)).collect()
    }

    #[test]
    fn a_run_is_held_against_the_first_device_and_the_fewest_at_the_same_batch_and_seed() {
        let found = filled(&[
            ("cpu", 2, 32, 0, Some(150.0)),
            ("cpu", 1, 32, 0, Some(100.0)),
            ("cuda", 1, 32, 0, Some(1000.0)),
            ("cuda", 1, 64, 0, Some(2000.0)),
            ("cpu", 1, 64, 0, Some(80.0)),
            ("cpu", 1, 32, 1, Some(50.0)),
            ("cuda", 1, 32, 1, Some(1000.0)),
        ]);
        let expected = [
            (1.5, 0.75),
            (1.0, 1.0),
            (10.0, 10.0),
            (25.0, 25.0),
            (1.0, 1.0),
            (1.0, 1.0),
            (20.0, 20.0),
        ];
        assert_eq!(found, expected.map(Some));
    }

    #[test]
    fn without_its_reference_nothing_is_known() {
        let found = filled(&[("cpu", 1, 32, 0, None), ("cuda", 1, 32, 0, Some(1000.0))]);
        assert_eq!(found, [None, None], "the reference has not run");
        let found = filled(&[
            ("cpu", 1, 32, 0, Some(100.0)),
            ("cpu", 2, 64, 0, Some(180.0)),
            ("cuda", 1, 64, 0, Some(900.0)),
        ]);
        let expected = [Some((1.0, 1.0)), None, None];
        assert_eq!(found, expected, "nothing was measured on one core at that batch");
        let mut rows = vec![timed(("cpu", 1, 32, 0, Some(9.0)))];
        fill_in(&["a".to_owned(), "b".to_owned(), "c".to_owned()], &mut rows);
        assert_eq!(rows[0].metrics.speed_up, None, "the sweep varies no device");
    }
}
