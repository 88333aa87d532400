//! Measurements in layers over the seeds of a configuration: a mean for every layer and epoch.
//!
//! In: the histories of runs, one after another. Out: for each measurement its layers in the order of the
//! network, also where networks differ, and a map for every configuration.

use std::collections::BTreeMap;

use super::curves::RunHistory;
use crate::spec::run_policy::CurveDetail;

/// The mean of a measurement in every layer and epoch, over the runs of a configuration.
#[derive(Debug, Clone, Default)]
pub struct LayerMaps {
    measurements: Vec<Measured>,
}

/// One measurement in all configurations.
#[derive(Debug, Clone)]
pub struct Measured {
    /// As `layers.csv` spells it: `gradient_norm_mean`.
    pub name: String,
    /// The layers that have it, the nearest to the images first, `network` last.
    pub layers: Vec<String>,
    /// By configuration.
    sums: BTreeMap<usize, Sums>,
}

/// Sum and number of the values of a layer in an epoch.
type Sums = BTreeMap<(String, u32), (f64, usize)>;

/// The layer that stands for all of them.
const NETWORK: &str = "network";

impl LayerMaps {
    /// Adds a run of the configuration with this number.
    pub fn add(&mut self, configuration: usize, history: &RunHistory) {
        // Where the layer before stands in its measurement's list, to put a new one behind it. Numbers
        // of one layer under several names come together.
        let mut before: BTreeMap<String, (u32, usize)> = BTreeMap::new();
        for point in history.layer_points(CurveDetail::Epoch) {
            let name = format!("{}{}", point.measurement, point.suffix);
            let place = self.measurements.iter().position(|known| known.name == name);
            let place = place.unwrap_or_else(|| {
                let new =
                    Measured { name: name.clone(), layers: Vec::new(), sums: BTreeMap::new() };
                self.measurements.push(new);
                self.measurements.len() - 1
            });
            let measured = &mut self.measurements[place];
            let last = before.get(&name).filter(|(epoch, _)| *epoch == point.epoch);
            let behind = last.map_or(0, |(_, layer)| layer + 1);
            let layer = measured.place(point.layer, behind);
            let sums = measured.sums.entry(configuration).or_default();
            let (sum, count) = sums.entry((point.layer.to_owned(), point.epoch)).or_default();
            *sum += point.value;
            *count += 1;
            before.insert(name, (point.epoch, layer));
        }
    }

    /// What was measured, in the order in which it was first met.
    pub fn measurements(&self) -> &[Measured] {
        &self.measurements
    }
}

impl Measured {
    /// Where `layer` stands; a new one is put at `behind`, but never behind the whole network.
    fn place(&mut self, layer: &str, behind: usize) -> usize {
        if let Some(known) = self.layers.iter().position(|known| known == layer) {
            return known;
        }
        let ends = self.layers.last().is_some_and(|last| last == NETWORK);
        let last = self.layers.len() - usize::from(ends);
        let place = if layer == NETWORK { self.layers.len() } else { behind.min(last) };
        self.layers.insert(place, layer.to_owned());
        place
    }

    /// The epochs in which anything was measured, at most so many of them, evenly spaced.
    pub fn epochs(&self, most: usize) -> Vec<u32> {
        let mut epochs: Vec<u32> =
            self.sums.values().flat_map(|sums| sums.keys().map(|(_, epoch)| *epoch)).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let apart = epochs.len().div_ceil(most.max(1)).max(1);
        // From the last one backwards: what training came to is never left out.
        let mut kept: Vec<u32> = epochs.into_iter().rev().step_by(apart).collect();
        kept.reverse();
        kept
    }

    /// The configurations with a run that has it, by their numbers.
    pub fn configurations(&self) -> impl Iterator<Item = usize> {
        self.sums.keys().copied()
    }

    /// The means of a configuration: for each layer a number for each of `epochs`.
    pub fn map(&self, configuration: usize, epochs: &[u32]) -> Vec<Vec<Option<f64>>> {
        let sums = self.sums.get(&configuration);
        let mean = |layer: &String, epoch: u32| {
            let (sum, count) = sums?.get(&(layer.clone(), epoch))?;
            Some(sum / *count as f64).filter(|mean| mean.is_finite())
        };
        let row = |layer: &String| epochs.iter().map(|epoch| mean(layer, *epoch)).collect();
        self.layers.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LayersRecord;

    #[test]
    fn layers_of_different_networks_stand_in_their_order() {
        for (measurement, numbers) in [("update_ratio", 1), ("gradient_norm", 3)] {
            layers_of_different_networks(measurement, numbers);
        }
    }

    fn layers_of_different_networks(measurement: &str, numbers: usize) {
        let record = |epoch: u32, layers: &[&str], values: &[f64]| LayersRecord {
            epoch,
            measurement: measurement.to_owned(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            kinds: layers.iter().map(|_| "fc".to_owned()).collect(),
            steps: vec![u64::from(epoch)],
            values: vec![values.to_vec()],
        };
        let history =
            |records: Vec<LayersRecord>| RunHistory { layers: records, ..RunHistory::default() };
        let mut maps = LayerMaps::default();
        let small = ["fc1", "fc3", "network"];
        maps.add(0, &history(vec![record(1, &small, &[1.0, 2.0, 9.0])]));
        maps.add(0, &history(vec![record(1, &small, &[3.0, f64::NAN, 9.0])]));
        maps.add(
            5,
            &history(vec![record(2, &["fc1", "fc2", "fc3", "fc4"], &[1.0, 2.0, 3.0, 4.0])]),
        );
        assert_eq!(maps.measurements().len(), numbers);
        let measured = &maps.measurements()[0];
        assert_eq!(measured.layers, ["fc1", "fc2", "fc3", "fc4", "network"]);
        assert_eq!(measured.epochs(10), [1, 2]);
        assert_eq!(measured.epochs(1), [2]);
        assert_eq!(measured.configurations().collect::<Vec<_>>(), [0, 5]);
        let map = measured.map(0, &[1, 2]);
        assert_eq!(map[0], [Some(2.0), None]);
        assert_eq!(map[1], [None, None]);
        assert_eq!(map[2], [Some(2.0), None], "of the one run that knows it");
    }
}
