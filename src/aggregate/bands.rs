//! Curves over the seeds of a configuration: at every epoch or step the mean, the smallest and the
//! largest of its runs.
//!
//! In: the histories of runs, one after another. Out: a [`Band`] for every metric of a configuration.
//! Long curves are thinned as they are read, to means over equal stretches of at most
//! [`MOST_POINTS`], so that the steps of a thousand runs are never in memory together.

use std::collections::{BTreeMap, BTreeSet};

use super::curves::{CurveMetric, RunHistory};
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
        let places: BTreeSet<u64> =
            runs.iter().flat_map(|run| run.stretches.keys().copied()).collect();
        let mut band = Self::default();
        for place in places {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::curves::StepRecord;
    use crate::aggregate::sample;

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
}
