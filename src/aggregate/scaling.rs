//! How training scales over devices: measured, explained by a model of the link between ranks, and
//! forecast for more ranks than there are.
//!
//! In: the [`Timing`]s of a sweep. Out: speed-ups against one device at the same batch (*strong*) and at
//! the same batch for each device (*weak*), the [`Link`] that fits what the sums took, and an
//! [`Outlook`] for each configuration of one device.

use std::collections::{BTreeMap, BTreeSet};

use super::link::{Link, Outlook, Point, Scaling};
use super::relative::rate;
use super::row::{AxisValue, RowStatus};
use super::statistics::Summary;
use super::table::SweepTable;
use super::timings::{Found, Timing, labels_without};
use crate::record::Throughput;

/// The numbers of ranks that are forecast.
const FORECAST: [u32; 8] = [2, 4, 8, 16, 32, 64, 128, 256];

/// Which sums a link is fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All that were timed.
    All,
    /// Those of ranks that had a core for each of their threads.
    WithinCores,
}

impl Scope {
    /// As CSV and terminal spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all runs",
            Self::WithinCores => "ranks within cores",
        }
    }
}

/// A link and what it was fitted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Which sums.
    pub scope: Scope,
    /// The link.
    pub link: Link,
    /// Distinct sizes among them.
    pub sizes: usize,
    /// Distinct numbers of ranks among them.
    pub rank_counts: usize,
}

/// A row of `scaling.csv`: measured, or forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalingRow {
    /// The configuration that was measured, or the one of one device that is forecast from.
    pub configuration: String,
    /// Its values of the varied keys.
    pub axes: Vec<AxisValue>,
    /// What is scaled; `None` of the one device that others are held against.
    pub scaling: Option<Scaling>,
    /// From which fit it is forecast; `None` of what was measured.
    pub forecast: Option<Scope>,
    /// Devices, a rank on each.
    pub ranks: u32,
    /// Images of a step.
    pub step_images: u32,
    /// Finished runs.
    pub n: usize,
    /// What they came to, of what was measured.
    pub found: Option<Found>,
    /// Images a second.
    pub images_per_s: f64,
    /// That over one device's: the mean over the seeds that both finished, or the ratio of the means
    /// where there are none.
    pub speed_up: f64,
    /// Seconds of a step.
    pub step_s: f64,
    /// Seconds of the sums of a step, as the first fit has them.
    pub fitted_communication_s: Option<f64>,
}

/// What is forecast from one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// The configuration of one device.
    pub configuration: String,
    /// Its values of the varied keys.
    pub axes: Vec<AxisValue>,
    /// By which fit.
    pub fit: Fit,
    /// What is forecast.
    pub outlook: Outlook,
    /// Images of a step on one device.
    pub step_images: u32,
}

/// How training scales over devices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScalingTable {
    /// Measured rows in the order of the plan, then what is forecast.
    pub rows: Vec<ScalingRow>,
    /// What each fit forecasts, for every configuration of one device that others are held against.
    pub baselines: Vec<Baseline>,
}

/// Have ranks to share cores?
pub fn shares_cores(steps: &Throughput) -> bool {
    let threads = u64::from(steps.devices) * u64::from(steps.threads);
    steps.device == "cpu" && threads > u64::from(steps.cores)
}

impl ScalingTable {
    /// Of the timed configurations of `table`; empty where none has several devices.
    pub fn of(table: &SweepTable, timings: &[Timing]) -> Self {
        let known = |timing: &'_ Timing| timing.found.clone().map(|found| (timing.clone(), found));
        let known: Vec<(Timing, Found)> = timings.iter().filter_map(known).collect();
        if known.iter().all(|(_, found)| found.steps.devices == 1) {
            return Self::default();
        }
        let fits = fits(table);
        let rates = Rates::of(table);
        let mut rows = Vec::new();
        let mut scaled: BTreeSet<(usize, Scaling)> = BTreeSet::new();
        for (timing, found) in &known {
            for scaling in [Scaling::Strong, Scaling::Weak] {
                let Some(one) = one_device(table, &known, (timing, found), scaling) else {
                    continue;
                };
                scaled.insert((one, scaling));
                let speed_up = rates.speed_up(timing, &known[one].0);
                rows.extend(ScalingRow::measured(timing, found, (scaling, speed_up), fits.first()));
            }
        }
        let ones: BTreeSet<usize> = scaled.iter().map(|(one, _)| *one).collect();
        let ones = ones.into_iter().filter_map(|one| ScalingRow::one_device(&known[one]));
        let mut rows: Vec<ScalingRow> = ones.chain(rows).collect();
        let mut baselines = Vec::new();
        for (one, scaling) in scaled {
            let bytes = bytes_like(table, &known, &known[one].0);
            for fit in &fits {
                let Some(bytes) = bytes else { continue };
                let (timing, found) = &known[one];
                let step_s = found.steps.step_s.median;
                let outlook = Outlook { link: fit.link, scaling, step_s, bytes };
                let baseline = Baseline {
                    configuration: timing.configuration.clone(),
                    axes: timing.axes.clone(),
                    fit: *fit,
                    outlook,
                    step_images: found.steps.batch_size,
                };
                rows.extend(FORECAST.iter().map(|ranks| ScalingRow::forecast(&baseline, *ranks)));
                baselines.push(baseline);
            }
        }
        Self { rows, baselines }
    }
}

/// Images per second of every timed run, by configuration and seed.
struct Rates<'a>(BTreeMap<&'a str, BTreeMap<u64, f64>>);

impl<'a> Rates<'a> {
    fn of(table: &'a SweepTable) -> Self {
        let mut rates: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
        for row in table.rows() {
            let Some(rate) = rate(row) else { continue };
            rates.entry(&row.run.configuration).or_default().insert(row.run.seed, rate);
        }
        Self(rates)
    }

    /// How many times as fast as `one` the configuration is, paired by seeds, as in `throughput.csv` and in
    /// claims: what a seed did to both of a pair is no speed-up.
    fn speed_up(&self, timing: &Timing, one: &Timing) -> Option<f64> {
        let [own, one] = [timing, one].map(|timing| self.0.get(timing.configuration.as_str()));
        let (own, one) = (own?, one?);
        let pairs = own.iter().filter_map(|(seed, rate)| Some(rate / one.get(seed)?));
        let paired = Summary::of(pairs).mean;
        let mean = |rates: &BTreeMap<u64, f64>| Summary::of(rates.values().copied()).mean;
        paired.or_else(|| Some(mean(own)? / mean(one)?))
    }
}

/// The configuration of one device that `timing` is held against, by its place.
fn one_device(
    table: &SweepTable,
    known: &[(Timing, Found)],
    (timing, found): (&Timing, &Found),
    scaling: Scaling,
) -> Option<usize> {
    let ranks = found.steps.devices;
    let images = match scaling {
        Scaling::Strong => Some(found.steps.batch_size),
        Scaling::Weak => {
            let batch = found.steps.batch_size;
            batch.is_multiple_of(ranks).then_some(batch / ranks)
        }
    }?;
    let key = alike(table, timing);
    let is_it = |(other, at): &(Timing, Found)| {
        (at.steps.devices, at.steps.batch_size) == (1, images) && alike(table, other) == key
    };
    known.iter().position(is_it).filter(|_| ranks > 1)
}

/// The gradients of a network, in bytes, as runs of it on several devices know them.
fn bytes_like(table: &SweepTable, known: &[(Timing, Found)], timing: &Timing) -> Option<f64> {
    let key = alike(table, timing);
    let of_network = known.iter().filter(|(other, _)| alike(table, other) == key);
    let mut exchanges = of_network.filter_map(|(_, found)| found.steps.exchange.as_ref());
    exchanges.next().map(|exchange| exchange.bytes as f64)
}

/// What configurations have in common that differ in nothing but devices and batch.
fn alike(table: &SweepTable, timing: &Timing) -> Vec<String> {
    let place = |name: &str| table.axes().iter().position(|axis| axis == name);
    labels_without(&timing.axes, &[place("devices"), place("batch_size")])
}

/// Links fitted to all sums, and to those of ranks that shared no core where there are others.
fn fits(table: &SweepTable) -> Vec<Fit> {
    let finished = table.rows().iter().filter(|row| row.status == RowStatus::Finished);
    let all: Vec<&Throughput> =
        finished.filter_map(|row| row.metrics.throughput.as_ref()).collect();
    let within: Vec<&Throughput> =
        all.iter().copied().filter(|steps| !shares_cores(steps)).collect();
    let mut fits: Vec<Fit> = Fit::of(Scope::All, &all).into_iter().collect();
    if within.len() < all.len() {
        fits.extend(Fit::of(Scope::WithinCores, &within));
    }
    fits
}

impl Fit {
    fn of(scope: Scope, runs: &[&Throughput]) -> Option<Self> {
        let point = |steps: &&Throughput| {
            let exchange = steps.exchange.as_ref()?;
            let seconds = exchange.communication_s.median;
            Some(Point { ranks: steps.devices, bytes: exchange.bytes as f64, seconds })
        };
        let points: Vec<Point> = runs.iter().filter_map(point).collect();
        let sizes: BTreeSet<u64> = points.iter().map(|point| point.bytes as u64).collect();
        let ranks: BTreeSet<u32> = points.iter().map(|point| point.ranks).collect();
        let link = Link::fit(&points)?;
        Some(Self { scope, link, sizes: sizes.len(), rank_counts: ranks.len() })
    }
}

impl ScalingRow {
    /// Seconds of a step that were computed, for which sums were under way, and that were waited; nothing of
    /// what is forecast. One device computes all of its step and waits for nobody: that is what the parts of
    /// several are held against.
    pub fn parts(&self) -> Option<[f64; 3]> {
        let steps = &self.found.as_ref()?.steps;
        match &steps.exchange {
            Some(sums) => Some(
                [sums.compute_s, sums.communication_s, sums.wait_s].map(|seconds| seconds.median),
            ),
            None => (steps.devices == 1).then_some([steps.step_s.median, 0.0, 0.0]),
        }
    }

    fn of_timing(timing: &Timing, found: &Found) -> Option<Self> {
        Some(Self {
            configuration: timing.configuration.clone(),
            axes: timing.axes.clone(),
            scaling: None,
            forecast: None,
            ranks: found.steps.devices,
            step_images: found.steps.batch_size,
            n: timing.n,
            found: Some(found.clone()),
            images_per_s: found.images_per_s.mean?,
            speed_up: 1.0,
            step_s: found.steps.step_s.median,
            fitted_communication_s: None,
        })
    }

    /// Of the one device that others are held against.
    fn one_device((timing, found): &(Timing, Found)) -> Option<Self> {
        Self::of_timing(timing, found)
    }

    fn measured(
        timing: &Timing,
        found: &Found,
        (scaling, speed_up): (Scaling, Option<f64>),
        fit: Option<&Fit>,
    ) -> Option<Self> {
        let row = Self::of_timing(timing, found)?;
        let bytes = found.steps.exchange.as_ref().map(|exchange| exchange.bytes as f64);
        Some(Self {
            scaling: Some(scaling),
            speed_up: speed_up?,
            fitted_communication_s: fit.zip(bytes).map(|(fit, b)| fit.link.seconds(row.ranks, b)),
            ..row
        })
    }

    fn forecast(baseline: &Baseline, ranks: u32) -> Self {
        let outlook = &baseline.outlook;
        let step_images = match outlook.scaling {
            Scaling::Strong => baseline.step_images,
            Scaling::Weak => baseline.step_images.saturating_mul(ranks),
        };
        let step_s = outlook.step_s(ranks);
        Self {
            configuration: baseline.configuration.clone(),
            axes: baseline.axes.clone(),
            scaling: Some(outlook.scaling),
            forecast: Some(baseline.fit.scope),
            ranks,
            step_images,
            n: 0,
            found: None,
            images_per_s: f64::from(step_images) / step_s,
            speed_up: outlook.speed_up(ranks),
            step_s,
            fitted_communication_s: Some(outlook.link.seconds(ranks, outlook.bytes)),
        }
    }

    /// `speed_up` over the ranks.
    pub fn efficiency(&self) -> f64 {
        self.speed_up / f64::from(self.ranks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample::timed_table;
    use crate::aggregate::timings::timings;

    #[test]
    fn strong_and_weak_scaling_have_their_own_reference() {
        let table = timed_table(&[
            ("cpu", 1, 64, 0, Some(100.0)),
            ("cpu", 2, 64, 0, Some(160.0)),
            ("cpu", 2, 128, 0, Some(180.0)),
            ("cpu", 4, 64, 0, Some(160.0)),
            ("cpu", 4, 256, 0, Some(200.0)),
            ("cpu", 2, 33, 0, Some(1.0)),
        ]);
        let scaling = ScalingTable::of(&table, &timings(&table));
        let measured: Vec<_> = scaling
            .rows
            .iter()
            .filter(|row| row.forecast.is_none())
            .map(|row| (row.scaling, row.ranks, row.step_images, row.speed_up, row.efficiency()))
            .collect();
        let [strong, weak] = [Some(Scaling::Strong), Some(Scaling::Weak)];
        assert_eq!(
            measured,
            [
                (None, 1, 64, 1.0, 1.0),
                (strong, 2, 64, 1.6, 0.8),
                (weak, 2, 128, 1.8, 0.9),
                (strong, 4, 64, 1.6, 0.4),
                (weak, 4, 256, 2.0, 0.5),
            ]
        );
    }

    #[test]
    fn a_speed_up_is_the_mean_over_pairs_of_seeds_as_in_the_table_of_steps() {
        let table = timed_table(&[
            ("cpu", 1, 64, 0, Some(100.0)),
            ("cpu", 1, 64, 1, Some(400.0)),
            ("cpu", 2, 64, 0, Some(150.0)),
            ("cpu", 2, 64, 1, Some(200.0)),
            ("cpu", 4, 64, 2, Some(500.0)),
        ]);
        let timings = timings(&table);
        let scaling = ScalingTable::of(&table, &timings);
        let (two, four) = (&scaling.rows[1], &scaling.rows[2]);
        assert_eq!((two.speed_up, two.efficiency()), (1.0, 0.5), "1.5 and 0.5, not 350 of 500");
        let steps = timings[1].found.as_ref().unwrap();
        assert_eq!(steps.speed_up.mean, Some(two.speed_up));
        assert_eq!(four.speed_up, 2.0, "no seed in common: the ratio of the means");
    }

    #[test]
    fn ranks_that_share_cores_are_fitted_apart_and_every_outlook_says_by_which_fit() {
        let table = timed_table(&[
            ("cpu", 1, 64, 0, Some(100.0)),
            ("cpu", 2, 64, 0, Some(160.0)),
            ("cpu", 4, 64, 0, Some(160.0)),
        ]);
        let scaling = ScalingTable::of(&table, &timings(&table));
        // Of one size on two ranks alone nothing can be told apart.
        let scopes: Vec<Scope> = scaling.baselines.iter().map(|b| b.fit.scope).collect();
        assert_eq!(scopes, [Scope::All]);
        let fit = scaling.baselines[0].fit;
        assert_eq!((fit.link.points, fit.sizes, fit.rank_counts), (2, 1, 2));
        let four = &scaling.rows[2];
        assert!(shares_cores(&four.found.as_ref().unwrap().steps));
        assert!(four.fitted_communication_s.is_some());
        let forecast = scaling.rows.iter().filter(|row| row.forecast.is_some());
        assert_eq!(forecast.map(|row| row.ranks).collect::<Vec<_>>(), FORECAST);
    }

    #[test]
    fn a_sweep_of_one_device_does_not_scale() {
        let table = timed_table(&[("cpu", 1, 64, 0, Some(100.0))]);
        assert_eq!(ScalingTable::of(&table, &timings(&table)), ScalingTable::default());
    }
}
