//! What each configuration's steps took, summed up over its seeds, and how well its batch fills the
//! device beside smaller and larger ones.
//!
//! In: a [`SweepTable`]. Out: a [`Timing`] for every configuration whose steps are timed, in the order
//! of the plan, also where none of its runs has a result.

use std::collections::BTreeMap;

use super::metrics::RunMetrics;
use super::row::{AxisValue, RowStatus, RunRow};
use super::statistics::Summary;
use super::table::SweepTable;
use crate::record::throughput::Exchange;
use crate::record::{Spread, Throughput};

/// One configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Its name.
    pub configuration: String,
    /// Values of the varied keys, in the order of [`SweepTable::axes`].
    pub axes: Vec<AxisValue>,
    /// Finished runs.
    pub n: usize,
    /// Why there are none, as the first of its runs says.
    pub reason: Option<String>,
    /// What they came to; `None` without any.
    pub found: Option<Found>,
}

/// What the finished runs of a configuration came to. Times are means over them of each run's medians
/// and tenths.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Device, ranks, cores, batch and times: a record as one run would have written it.
    pub steps: Throughput,
    /// Images per second.
    pub images_per_s: Summary,
    /// See [`MetricName::SpeedUp`](crate::spec::metric::MetricName::SpeedUp).
    pub speed_up: Summary,
    /// See [`MetricName::Efficiency`](crate::spec::metric::MetricName::Efficiency).
    pub efficiency: Summary,
    /// Largest resident memory of any of them, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Most that any of them allocated on a GPU at a time, in bytes; `None` on cores.
    pub device_memory_bytes: Option<u64>,
    /// Images per second over those at the smallest batch that agrees in all other keys; `None` where
    /// there is no other batch.
    pub rate_to_smallest_batch: Option<f64>,
    /// The same at the largest: how much of what the device can do this batch gets out of it.
    pub rate_to_largest_batch: Option<f64>,
    /// Bytes that an image of the batch costs beyond the smallest batch.
    pub bytes_per_more_image: Option<f64>,
}

impl Found {
    /// Bytes that the batch is in: on the GPU, where there is one, or resident.
    pub fn memory_bytes(&self) -> Option<f64> {
        self.device_memory_bytes.or(self.peak_memory_bytes).map(|bytes| bytes as f64)
    }

    /// The same for each image of the batch.
    pub fn bytes_per_image(&self) -> Option<f64> {
        self.memory_bytes().map(|bytes| bytes / f64::from(self.steps.batch_size))
    }
}

/// The configurations whose steps are timed.
pub fn timings(table: &SweepTable) -> Vec<Timing> {
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<&RunRow>> = Vec::new();
    for row in table.rows().iter().filter(|row| is_timed(table, row)) {
        let place = *place.entry(&row.run.configuration).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let mut timings: Vec<Timing> = groups.iter().filter_map(|rows| Timing::of(rows)).collect();
    compare_batches(table, &mut timings);
    timings
}

/// Are the steps of the run timed, or will they be?
fn is_timed(table: &SweepTable, row: &RunRow) -> bool {
    let mode = table.axes().iter().position(|axis| axis == "mode");
    match mode.and_then(|axis| row.run.axes.get(axis)) {
        Some(mode) => mode.label != "train",
        None => table.has_timed_steps(),
    }
}

impl Timing {
    /// Of the runs of one configuration; at least one.
    fn of(rows: &[&RunRow]) -> Option<Self> {
        let finished: Vec<&RunRow> =
            rows.iter().copied().filter(|row| row.status == RowStatus::Finished).collect();
        let first = rows.first()?;
        Some(Self {
            configuration: first.run.configuration.clone(),
            axes: first.run.axes.clone(),
            n: finished.len(),
            reason: rows.iter().find_map(|row| row.reason.clone()).filter(|_| finished.is_empty()),
            found: Found::of(&finished),
        })
    }
}

impl Found {
    fn of(rows: &[&RunRow]) -> Option<Self> {
        let records: Vec<&Throughput> =
            rows.iter().filter_map(|row| row.metrics.throughput.as_ref()).collect();
        let first = *records.first()?;
        let mean = |of: fn(&Throughput) -> Spread| mean(records.iter().map(|record| of(record)));
        let exchanges: Vec<&Exchange> =
            records.iter().filter_map(|record| record.exchange.as_ref()).collect();
        let largest = |of: fn(&RunMetrics) -> Option<u64>| {
            rows.iter().filter_map(|row| of(&row.metrics)).max()
        };
        Some(Self {
            steps: Throughput {
                step_s: mean(|record| record.step_s),
                data_s: mean(|record| record.data_s),
                forward_s: mean(|record| record.forward_s),
                backward_s: mean(|record| record.backward_s),
                update_s: mean(|record| record.update_s),
                exchange: mean_exchange(&exchanges),
                ..first.clone()
            },
            images_per_s: Summary::of(rows.iter().filter_map(|row| row.metrics.images_per_s)),
            speed_up: Summary::of(rows.iter().filter_map(|row| row.metrics.speed_up)),
            efficiency: Summary::of(rows.iter().filter_map(|row| row.metrics.efficiency)),
            peak_memory_bytes: largest(|metrics| metrics.peak_memory_bytes),
            device_memory_bytes: largest(|metrics| metrics.device_memory_bytes),
            rate_to_smallest_batch: None,
            rate_to_largest_batch: None,
            bytes_per_more_image: None,
        })
    }
}

fn mean(spreads: impl Iterator<Item = Spread> + Clone) -> Spread {
    let of = |get: fn(&Spread) -> f64| {
        Summary::of(spreads.clone().map(|spread| get(&spread))).mean.unwrap_or(f64::NAN)
    };
    Spread { median: of(|s| s.median), p10: of(|s| s.p10), p90: of(|s| s.p90) }
}

fn mean_exchange(exchanges: &[&Exchange]) -> Option<Exchange> {
    let first = exchanges.first()?;
    let mean = |of: fn(&Exchange) -> Spread| mean(exchanges.iter().map(|exchange| of(exchange)));
    Some(Exchange {
        bytes: first.bytes,
        compute_s: mean(|exchange| exchange.compute_s),
        communication_s: mean(|exchange| exchange.communication_s),
        wait_s: mean(|exchange| exchange.wait_s),
    })
}

/// Holds each configuration against the smallest and the largest batch that agree in all else.
fn compare_batches(table: &SweepTable, timings: &mut [Timing]) {
    let batch = table.axes().iter().position(|axis| axis == "batch_size");
    let mut ends: BTreeMap<Vec<String>, [Found; 2]> = BTreeMap::new();
    for timing in timings.iter() {
        let Some(found) = &timing.found else { continue };
        let key = labels_without(&timing.axes, &[batch]);
        let [smallest, largest] = ends.entry(key).or_insert_with(|| [found.clone(), found.clone()]);
        if found.steps.batch_size < smallest.steps.batch_size {
            *smallest = found.clone();
        }
        if found.steps.batch_size > largest.steps.batch_size {
            *largest = found.clone();
        }
    }
    for timing in timings {
        let key = labels_without(&timing.axes, &[batch]);
        let (Some(found), Some([smallest, largest])) = (&mut timing.found, ends.get(&key)) else {
            continue;
        };
        let to = |other: &Found| Some(found.images_per_s.mean? / other.images_per_s.mean?);
        let more = found.steps.batch_size.saturating_sub(smallest.steps.batch_size);
        let bytes = found.memory_bytes().zip(smallest.memory_bytes());
        let per_more = bytes.map(|(own, least)| (own - least) / f64::from(more));
        let several = smallest.steps.batch_size < largest.steps.batch_size;
        let [to_smallest, to_largest] =
            [smallest, largest].map(|other| to(other).filter(|_| several));
        found.bytes_per_more_image = per_more.filter(|_| more > 0);
        found.rate_to_smallest_batch = to_smallest;
        found.rate_to_largest_batch = to_largest;
    }
}

/// The values of all axes but some.
pub(super) fn labels_without(axes: &[AxisValue], left_out: &[Option<usize>]) -> Vec<String> {
    let axes = axes.iter().enumerate();
    let kept = axes.filter(|(axis, _)| !left_out.contains(&Some(*axis)));
    kept.map(|(_, value)| value.label.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::timed_table;

    #[test]
    fn batches_are_compared_at_one_device_and_memory_is_told_apart() {
        let table = timed_table(&[
            ("cpu", 1, 32, 0, Some(100.0)),
            ("cpu", 1, 64, 0, Some(120.0)),
            ("cpu", 1, 128, 0, Some(125.0)),
            ("cpu", 1, 32, 1, Some(140.0)),
            ("cuda", 1, 32, 0, Some(1000.0)),
            ("cuda", 1, 64, 0, None),
        ]);
        let timings = timings(&table);
        assert_eq!(timings.iter().map(|timing| timing.n).collect::<Vec<_>>(), [2, 1, 1, 1, 0]);
        let found: Vec<&Found> =
            timings.iter().filter_map(|timing| timing.found.as_ref()).collect();
        assert_eq!(found[0].images_per_s.mean, Some(120.0));
        assert_eq!(found[2].rate_to_smallest_batch, Some(125.0 / 120.0));
        assert_eq!(found[0].rate_to_largest_batch, Some(120.0 / 125.0));
        assert_eq!(found[3].rate_to_smallest_batch, None, "the only batch on its device");
        assert_eq!(found[3].speed_up.mean, Some(10.0));
        let mib = f64::from(1 << 20);
        assert_eq!(
            (found[0].bytes_per_more_image, found[2].bytes_per_more_image),
            (None, Some(mib))
        );
        assert_eq!(found[0].bytes_per_image(), Some(132.0 * mib / 32.0));
        assert_eq!(found[3].bytes_per_image(), Some(mib / 32.0), "that of the GPU");
        let mean = (32.0 / 100.0 + 32.0 / 140.0) / 2.0;
        assert!((found[0].steps.step_s.median - mean).abs() < 1e-12);
    }
}
