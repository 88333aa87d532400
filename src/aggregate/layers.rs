//! Measurements in layers: from the record's tables to rows.
//!
//! In: the [`LayersRecord`]s of one run. Out: one [`LayerPoint`] for every known number. What was
//! measured in several steps of an epoch is summed up by its mean, smallest and largest number; the
//! steps themselves come along only where steps are asked for.

use crate::event::LayersRecord;
use crate::spec::run_policy::CurveDetail;

use super::curves::RunHistory;

/// Measurements that are taken in steps, not at the end of an epoch.
const STEPWISE: &str = "gradient_norm";

/// The layer that stands for all of them.
const NETWORK: &str = "network";

/// A number of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerPoint<'a> {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Optimizer steps done by then since the start of the run.
    pub step: u64,
    /// Name of the layer.
    pub layer: &'a str,
    /// What the layer is.
    pub kind: &'a str,
    /// Which number: `gradient_norm`, and `_mean`, `_min` or `_max` of it over an epoch.
    pub measurement: &'a str,
    /// What follows the measurement's name.
    pub suffix: &'static str,
    /// The number.
    pub value: f64,
}

/// Forgets what was measured after step `steps_done`: an attempt begins there anew.
pub(super) fn keep_until(records: &mut Vec<LayersRecord>, steps_done: u64) {
    for record in records.iter_mut() {
        let kept = record.steps.partition_point(|step| *step <= steps_done);
        record.steps.truncate(kept);
        record.values.truncate(kept);
    }
    records.retain(|record| !record.steps.is_empty());
}

/// Adds a record to those of the same measurement and epoch.
pub(super) fn add(records: &mut Vec<LayersRecord>, mut record: LayersRecord) {
    let same = |known: &&mut LayersRecord| {
        known.epoch == record.epoch
            && known.measurement == record.measurement
            && known.layers == record.layers
    };
    match records.iter_mut().rev().find(same) {
        Some(known) => {
            known.steps.append(&mut record.steps);
            known.values.append(&mut record.values);
        }
        None => records.push(record),
    }
}

impl RunHistory {
    /// Every number of a layer that is known (finite): epoch by epoch, measurement by measurement,
    /// layers in the order of the network.
    pub fn layer_points(&self, detail: CurveDetail) -> impl Iterator<Item = LayerPoint<'_>> {
        let mut records: Vec<&LayersRecord> = self.layers.iter().collect();
        // Stable: within an epoch as it was recorded.
        records.sort_by_key(|record| record.epoch);
        records
            .into_iter()
            .flat_map(move |record| record_points(record, detail))
            .filter(|point| point.value.is_finite())
    }

    /// The norm of the whole gradient in a step (its number from 0), where it was measured.
    pub fn gradient_norms(&self) -> std::collections::BTreeMap<u64, f64> {
        let norms = self.layers.iter().filter(|record| record.measurement == STEPWISE);
        norms
            .filter_map(|record| {
                let place = record.layers.iter().position(|layer| layer == NETWORK)?;
                let rows = record.steps.iter().zip(&record.values);
                Some(rows.filter_map(move |(step, row)| Some((step - 1, *row.get(place)?))))
            })
            .flatten()
            .collect()
    }
}

fn record_points(record: &LayersRecord, detail: CurveDetail) -> Vec<LayerPoint<'_>> {
    let names = record.layers.iter().zip(&record.kinds);
    let point = |step, (layer, kind), suffix, value| LayerPoint {
        epoch: record.epoch,
        step,
        layer,
        kind,
        measurement: &record.measurement,
        suffix,
        value,
    };
    let stepwise = record.measurement == STEPWISE;
    let mut points = Vec::new();
    if !stepwise || detail == CurveDetail::Step {
        for (step, row) in record.steps.iter().zip(&record.values) {
            let layers = names.clone().zip(row);
            points.extend(
                layers.map(|((l, k), value)| point(*step, (l.as_str(), k.as_str()), "", *value)),
            );
        }
    }
    let Some(last) = record.steps.last().filter(|_| stepwise) else { return points };
    for (place, (layer, kind)) in names.enumerate() {
        let column = || record.values.iter().map(|row| row.get(place).copied().unwrap_or(f64::NAN));
        let mean = column().sum::<f64>() / record.values.len() as f64;
        // One number that is not known makes the summary unknown, as the sum is.
        let unless_nan = |value: f64| if mean.is_nan() { mean } else { value };
        let least = unless_nan(column().fold(f64::INFINITY, f64::min));
        let most = unless_nan(column().fold(f64::NEG_INFINITY, f64::max));
        for (suffix, value) in [("_mean", mean), ("_min", least), ("_max", most)] {
            points.push(point(*last, (layer.as_str(), kind.as_str()), suffix, value));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunEvent;

    fn record(epoch: u32, steps: &[u64], values: &[[f64; 2]]) -> RunEvent {
        RunEvent::Layers(LayersRecord {
            epoch,
            measurement: "gradient_norm".to_owned(),
            layers: vec!["conv1".to_owned(), "network".to_owned()],
            kinds: vec!["conv".to_owned(), "network".to_owned()],
            steps: steps.to_vec(),
            values: values.iter().map(|row| row.to_vec()).collect(),
        })
    }

    fn started(resumed_at_step: u64) -> RunEvent {
        RunEvent::Started {
            format: crate::event::EVENT_FORMAT,
            attempt: 1,
            resumed_at_step,
            total_steps: 4,
            checkpoint_refused: None,
        }
    }

    #[test]
    fn a_broken_run_has_the_measurements_of_an_unbroken_one() {
        let rows = [[1.0, 2.0], [3.0, 5.0], [4.0, f64::NAN]];
        let whole = RunHistory::of_events([
            started(0),
            record(1, &[1, 2], &rows[..2]),
            record(2, &[3], &rows[2..]),
        ]);
        let broken = RunHistory::of_events([
            started(0),
            record(1, &[1], &rows[..1]),
            record(1, &[2], &[[9.0, 9.0]]),
            record(2, &[3], &[[9.0, 9.0]]),
            started(1),
            record(1, &[2], &rows[1..2]),
            started(2),
            record(2, &[3], &rows[2..]),
        ]);
        let shown = |history: &RunHistory| -> Vec<String> {
            let points = history.layer_points(CurveDetail::Step);
            let show = |p: LayerPoint<'_>| {
                let LayerPoint { epoch, step, layer, measurement, suffix, value, .. } = p;
                format!("{epoch} {step} {layer} {measurement}{suffix} {value}")
            };
            points.map(show).collect()
        };
        assert_eq!(shown(&broken), shown(&whole));
        assert_eq!(
            shown(&whole),
            [
                "1 1 conv1 gradient_norm 1",
                "1 1 network gradient_norm 2",
                "1 2 conv1 gradient_norm 3",
                "1 2 network gradient_norm 5",
                "1 2 conv1 gradient_norm_mean 2",
                "1 2 conv1 gradient_norm_min 1",
                "1 2 conv1 gradient_norm_max 3",
                "1 2 network gradient_norm_mean 3.5",
                "1 2 network gradient_norm_min 2",
                "1 2 network gradient_norm_max 5",
                "2 3 conv1 gradient_norm 4",
                "2 3 conv1 gradient_norm_mean 4",
                "2 3 conv1 gradient_norm_min 4",
                "2 3 conv1 gradient_norm_max 4",
            ]
        );
        let norms = whole.gradient_norms();
        assert_eq!((norms[&0], norms[&1], norms.len()), (2.0, 5.0, 3));
    }
}
