//! Curves over the seeds of a configuration: at every epoch or step the mean, the smallest and the
//! largest of its runs.
//!
//! In: the histories of runs, one after another. Out: a [`Band`] for every metric of a configuration.
//! Long curves are thinned as they are read, to means over equal stretches of at most
//! [`MOST_POINTS`], so that the steps of a thousand runs are never in memory together.

use std::collections::BTreeMap;

use super::curves::{CurveMetric, RunHistory};
use super::row::RunRow;
use crate::spec::run_policy::CurveDetail;

/// Points of a curve that are kept.
pub const MOST_POINTS: usize = 200;

/// The curves of some configurations.
#[derive(Debug, Clone, Default)]
pub struct Bands {
    runs: BTreeMap<(usize, CurveMetric), Vec<Thinned>>,
}

/// One metric of one configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Band {
    /// Epochs or steps, from 1, the last of each stretch.
    pub x: Vec<u64>,
    /// The mean over the runs that got so far.
    pub mean: Vec<f64>,
    /// The smallest of them.
    pub low: Vec<f64>,
    /// The largest.
    pub high: Vec<f64>,
    /// How many there are.
    pub n: Vec<usize>,
}

/// Is the metric known step by step, and not once an epoch?
pub fn is_stepwise(metric: CurveMetric) -> bool {
    matches!(metric, CurveMetric::StepLoss | CurveMetric::StepLr)
}

impl Bands {
    /// Adds a run of the configuration with this number.
    pub fn add(&mut self, configuration: usize, history: &RunHistory, detail: CurveDetail) {
        let mut curves: BTreeMap<CurveMetric, Thinned> = BTreeMap::new();
        for point in history.points(detail) {
            let x = if is_stepwise(point.metric) { point.step } else { point.epoch.into() };
            curves.entry(point.metric).or_default().add(x, point.value);
        }
        for (metric, curve) in curves {
            self.runs.entry((configuration, metric)).or_default().push(curve);
        }
    }

    /// The metrics that are known of any run.
    pub fn metrics(&self) -> Vec<CurveMetric> {
        let mut metrics: Vec<CurveMetric> = self.runs.keys().map(|(_, metric)| *metric).collect();
        metrics.sort();
        metrics.dedup();
        metrics
    }

    /// A metric of the configuration with this number; `None` where no run knows it.
    pub fn band(&self, configuration: usize, metric: CurveMetric) -> Option<Band> {
        self.runs.get(&(configuration, metric)).map(|runs| Band::of(runs))
    }
}

impl Band {
    fn of(runs: &[Thinned]) -> Self {
        let width = runs.iter().map(|run| run.width).max().unwrap_or(1);
        let runs: Vec<Thinned> = runs.iter().map(|run| run.clone().widened(width)).collect();
        let places: BTreeMap<u64, ()> =
            runs.iter().flat_map(|run| run.stretches.keys().map(|place| (*place, ()))).collect();
        let mut band = Self::default();
        for place in places.into_keys() {
            let stretches = || runs.iter().filter_map(|run| run.stretches.get(&place));
            let mut means: Vec<f64> = stretches().map(Stretch::mean).collect();
            // Sorted, so that the order of the seeds cannot change a bit.
            means.sort_by(f64::total_cmp);
            let (Some(low), Some(high)) = (means.first(), means.last()) else { continue };
            // Halves first: a sum of the largest losses there are would not be finite.
            let mean = means.iter().map(|mean| mean / means.len() as f64).sum();
            band.x.push(stretches().map(|stretch| stretch.last).max().unwrap_or_default());
            band.mean.push(mean);
            band.low.push(*low);
            band.high.push(*high);
            band.n.push(means.len());
        }
        band
    }
}

/// One curve of one run, as means over stretches of `width` epochs or steps, a power of two.
#[derive(Debug, Clone)]
struct Thinned {
    width: u64,
    stretches: BTreeMap<u64, Stretch>,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    sum: f64,
    count: u64,
    last: u64,
}

impl Default for Thinned {
    fn default() -> Self {
        Self { width: 1, stretches: BTreeMap::new() }
    }
}

impl Thinned {
    /// Adds the value at `x`, from 1.
    fn add(&mut self, x: u64, value: f64) {
        self.put(x, Stretch { sum: value, count: 1, last: x });
        while self.stretches.len() > MOST_POINTS {
            *self = std::mem::take(self).doubled();
        }
    }

    fn put(&mut self, x: u64, stretch: Stretch) {
        let place = x.saturating_sub(1) / self.width;
        let known = self.stretches.entry(place).or_insert(Stretch { sum: 0.0, count: 0, last: 0 });
        known.sum += stretch.sum;
        known.count += stretch.count;
        known.last = known.last.max(stretch.last);
    }

    fn doubled(self) -> Self {
        let mut wider = Self { width: self.width * 2, stretches: BTreeMap::new() };
        for stretch in self.stretches.into_values() {
            wider.put(stretch.last, stretch);
        }
        wider
    }

    fn widened(mut self, width: u64) -> Self {
        while self.width < width {
            self = self.doubled();
        }
        self
    }
}

impl Stretch {
    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

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
    sums: BTreeMap<usize, BTreeMap<(String, u32), (f64, usize)>>,
}

/// The layer that stands for all of them.
const NETWORK: &str = "network";

impl LayerMaps {
    /// Adds a run of the configuration with this number.
    pub fn add(&mut self, configuration: usize, history: &RunHistory) {
        // Where the layer before stands in its measurement's list, to put a new one behind it.
        let mut before: Option<(String, usize)> = None;
        for point in history.layer_points(CurveDetail::Epoch) {
            let name = format!("{}{}", point.measurement, point.suffix);
            let place = self.measurements.iter().position(|known| known.name == name);
            let place = place.unwrap_or_else(|| {
                let new = Measured { name: name.clone(), layers: Vec::new(), sums: BTreeMap::new() };
                self.measurements.push(new);
                self.measurements.len() - 1
            });
            let measured = &mut self.measurements[place];
            let behind = before.filter(|(of, _)| *of == name).map_or(0, |(_, layer)| layer + 1);
            let layer = measured.place(point.layer, behind);
            let sums = measured.sums.entry(configuration).or_default();
            let (sum, count) = sums.entry((point.layer.to_owned(), point.epoch)).or_default();
            *sum += point.value;
            *count += 1;
            before = Some((name, layer));
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

/// The configurations whose curves are worth showing: `first` of them, in the order of the leaderboard,
/// those that a claim is about, then the others up to `most`. As places in the leaderboard, sorted.
pub fn chosen(names: &[&str], claimed: &[&RunRow], first: usize, most: usize) -> Vec<usize> {
    let claimed: std::collections::BTreeSet<&str> =
        claimed.iter().map(|row| row.run.configuration.as_str()).collect();
    let all = 0..names.len();
    let of_claims = all.clone().filter(|place| claimed.contains(names[*place]));
    let mut chosen: Vec<usize> = Vec::new();
    for place in all.clone().take(first).chain(of_claims).chain(all) {
        if chosen.len() < most && !chosen.contains(&place) {
            chosen.push(place);
        }
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::curves::StepRecord;
    use crate::aggregate::row::RunState;
    use crate::aggregate::sample;
    use crate::event::LayersRecord;

    fn history(accuracies: &[f64]) -> RunHistory {
        RunHistory::of_result(sample::result(accuracies))
    }

    #[test]
    fn a_band_is_mean_and_range_of_the_runs_that_got_so_far() {
        let mut bands = Bands::default();
        bands.add(3, &history(&[0.25, 0.5, 1.0]), CurveDetail::Epoch);
        bands.add(3, &history(&[0.75, 1.0]), CurveDetail::Epoch);
        bands.add(1, &history(&[0.5]), CurveDetail::Epoch);
        let band = bands.band(3, CurveMetric::ValAccuracy).unwrap();
        let expected = Band {
            x: vec![1, 2, 3],
            mean: vec![0.5, 0.75, 1.0],
            low: vec![0.25, 0.5, 1.0],
            high: vec![0.75, 1.0, 1.0],
            n: vec![2, 2, 1],
        };
        assert_eq!(band, expected);
        assert_eq!(bands.band(2, CurveMetric::ValAccuracy), None);
        assert_eq!(bands.band(1, CurveMetric::StepLoss), None);
        assert!(bands.metrics().contains(&CurveMetric::Lr));
    }

    #[test]
    fn long_curves_are_means_over_stretches_of_one_width() {
        let steps = |count: u64| {
            let step = |step| StepRecord { step, epoch: 1, loss: step as f64, lr: 0.1 };
            RunHistory { steps: (0..count).map(step).collect(), ..RunHistory::default() }
        };
        let mut bands = Bands::default();
        // The second diverged early and would be thinned less on its own.
        bands.add(0, &steps(1000), CurveDetail::Step);
        bands.add(0, &steps(100), CurveDetail::Step);
        let band = bands.band(0, CurveMetric::StepLoss).unwrap();
        assert_eq!((band.x.len(), band.x[0], band.x.last()), (125, 8, Some(&1000)));
        assert_eq!((band.mean[0], band.low[0], band.high[0]), (3.5, 3.5, 3.5), "steps 0 to 7");
        assert_eq!((band.n[12], band.n[13]), (2, 1));
        assert_eq!(band.x[12], 104, "the longer of the two");
        let whole: f64 = band.high.iter().map(|mean| 8.0 * mean).sum();
        assert_eq!(whole, 499_500.0, "thinning keeps the mean");
    }

    #[test]
    fn layers_of_different_networks_stand_in_their_order() {
        let record = |epoch: u32, layers: &[&str], values: &[f64]| LayersRecord {
            epoch,
            measurement: "update_ratio".to_owned(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            kinds: layers.iter().map(|_| "fc".to_owned()).collect(),
            steps: vec![u64::from(epoch)],
            values: vec![values.to_vec()],
        };
        let history = |records: Vec<LayersRecord>| RunHistory { layers: records, ..RunHistory::default() };
        let mut maps = LayerMaps::default();
        let small = ["fc1", "fc3", "network"];
        maps.add(0, &history(vec![record(1, &small, &[1.0, 2.0, 9.0])]));
        maps.add(0, &history(vec![record(1, &small, &[3.0, f64::NAN, 9.0])]));
        maps.add(5, &history(vec![record(2, &["fc1", "fc2", "fc3", "fc4"], &[1.0, 2.0, 3.0, 4.0])]));
        let [measured] = maps.measurements() else { panic!("one measurement") };
        assert_eq!(measured.layers, ["fc1", "fc2", "fc3", "fc4", "network"]);
        assert_eq!(measured.epochs(10), [1, 2]);
        assert_eq!(measured.epochs(1), [2]);
        assert_eq!(measured.configurations().collect::<Vec<_>>(), [0, 5]);
        let map = measured.map(0, &[1, 2]);
        assert_eq!(map[0], [Some(2.0), None]);
        assert_eq!(map[1], [None, None]);
        assert_eq!(map[2], [Some(2.0), None], "of the one run that knows it");
    }

    #[test]
    fn curves_of_the_best_and_of_claims_are_shown() {
        let names: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let pending = RunState::Pending { reason: None };
        let row = RunRow::new(sample::planned("c8", 0), pending, &sample::metric());
        assert_eq!(chosen(&names, &[&row], 2, 4), [0, 1, 2, 8]);
        assert_eq!(chosen(&names, &[], 2, 3), [0, 1, 2]);
        assert_eq!(chosen(&names, &[&row], 2, 40).len(), 10);
        assert!(chosen(&[], &[], 2, 3).is_empty());
    }
}
