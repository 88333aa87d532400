//! `[[claim]]`s held against the runs of a sweep.
//!
//! In: a claim, which rows are in its two groups, and the rows. Out: a [`ClaimResult`] with the
//! effect, its interval, a p-value and a verdict.
//!
//! Configurations of the two groups that agree in all axes the claim does not test are compared with
//! each other, seed by seed; a seed's differences are averaged, so the sample is the seeds, which are
//! independent, and not the configurations, which are not. What is tested are those means, by
//! Student's t against the claim's bound. A factor is tested on logarithms. Equality is two one-sided
//! tests (Schuirmann, 1987). Where every seed shows the same difference there is no spread for a t,
//! and the exact sign-flip test is taken.
//!
//! Both directions are tested, and the smaller p-value doubled: a claim can be refuted as well as
//! confirmed. Holm's correction is over all claims of the sweep.
//!
//! A run that never came to the target counts with its length: means of `epochs_to_target` are
//! restricted means (Royston and Parmar, 2013), which understate how much later it would have come.

use std::collections::BTreeMap;
use std::iter;

use super::quantities::Quantities;
use super::row::{RowStatus, RunRow};
use super::statistics::{Ci95, SIGNIFICANCE, Summary, holm, student_above};
use super::table::SweepTable;
use crate::spec::claim::{Claim, Reference, Relation};
use crate::spec::metric::MetricName;
use crate::spec::quantity::Quantity;
use crate::spec::{Key, RunConfig};

/// No more seeds than this are ever advised.
const MOST_SEEDS: usize = 1000;

/// A claim with the rows that it is about.
#[derive(Debug, Clone)]
pub struct Stated {
    claim: Claim,
    /// Rows of the subject and, where that is a group, of the reference, by their place in the table.
    groups: [Vec<usize>; 2],
    /// Axes that the claim tests, by their place: pairs need not agree in them.
    tested: Vec<usize>,
    /// Where the rows have the metric, if it is from a run's course.
    quantity: Option<usize>,
}

impl Stated {
    /// All claims of a sweep, in their order; `configs` as for [`of`](Self::of).
    pub fn all<'a, I>(claims: &[Claim], axes: &[Key], configs: impl Fn() -> I) -> Vec<Self>
    where
        I: IntoIterator<Item = &'a RunConfig>,
    {
        let quantities = Quantities::of(claims);
        let stated = claims.iter().map(|claim| Self {
            quantity: quantities.position(&claim.metric),
            ..Self::of(claim, axes, configs())
        });
        stated.collect()
    }

    /// `claim`, about the runs of `configs`, in the order of the table's rows, of a sweep that varies
    /// `axes`.
    pub fn of<'a>(
        claim: &Claim,
        axes: &[Key],
        configs: impl IntoIterator<Item = &'a RunConfig>,
    ) -> Self {
        let mut groups = [Vec::new(), Vec::new()];
        for (row, config) in configs.into_iter().enumerate() {
            let conditions = [Some(&claim.subject), claim.reference.group()];
            for (group, condition) in groups.iter_mut().zip(conditions) {
                if condition.is_some_and(|condition| condition.holds(config)) {
                    group.push(row);
                }
            }
        }
        let tests = |key: &Key| {
            let reference = claim.reference.group().into_iter();
            let mut tests = iter::once(&claim.subject).chain(reference).flat_map(|c| &c.tests);
            tests.any(|(tested, _)| tested == key)
        };
        let tested = (0..axes.len()).filter(|axis| tests(&axes[*axis])).collect();
        Self { claim: claim.clone(), groups, tested, quantity: None }
    }

    /// The rows of `table` that the claim is about, those of its subject first.
    pub fn rows<'a>(&self, table: &'a SweepTable) -> impl Iterator<Item = &'a RunRow> {
        self.groups.iter().flatten().filter_map(|row| table.rows().get(*row))
    }
}

/// What the runs say of a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimResult {
    /// The claim.
    pub claim: Claim,
    /// Seeds that both groups have: the size of the sample.
    pub n: usize,
    /// Pairs of configurations that were compared, over all seeds.
    pub pairs: usize,
    /// Mean of the metric in the subject, over the pairs.
    pub subject_mean: Option<f64>,
    /// Mean in the reference; the number that it is, where it is one.
    pub reference_mean: Option<f64>,
    /// What is claimed about: the difference, or the ratio.
    pub effect: Effect,
    /// Which test was made.
    pub test: Option<TestName>,
    /// Two-sided p-value; `None` where nothing could be tested.
    pub p_value: Option<f64>,
    /// Corrected for the number of claims that were tested (Holm).
    pub p_value_holm: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// How far the subject is from the reference.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effect {
    /// Is it subject divided by reference, and not subject minus reference?
    pub is_ratio: bool,
    /// Its mean over the seeds; the geometric one of a ratio.
    pub mean: Option<f64>,
    /// The interval for that mean, from two seeds on.
    pub ci95: Option<Ci95>,
}

/// How a claim was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestName {
    /// Paired t test of differences.
    PairedT,
    /// Paired t test of logarithms of ratios.
    PairedTOfLogarithms,
    /// One-sample t test against the number.
    OneSampleT,
    /// One-sample t test of logarithms against that of the number.
    OneSampleTOfLogarithms,
    /// Exact sign-flip test, for differences without spread.
    SignFlip,
}

impl TestName {
    /// As CSV and report spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PairedT => "paired t",
            Self::PairedTOfLogarithms => "paired t of logarithms",
            Self::OneSampleT => "one-sample t",
            Self::OneSampleTOfLogarithms => "one-sample t of logarithms",
            Self::SignFlip => "sign flip",
        }
    }
}

/// What follows for a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, at 5 % after correction.
    Confirmed,
    /// The opposite holds, at 5 % after correction.
    Refuted,
    /// Neither can be said.
    Undecided {
        /// Seeds more that would decide it, if their differences were like those so far. `None` where
        /// no reasonable number would, or nothing is known.
        more_seeds: Option<usize>,
    },
}

impl Verdict {
    /// As CSV and terminal spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Undecided { .. } => "undecided",
        }
    }
}

/// Tests all claims of a sweep, in their order.
pub fn judge(claims: &[Stated], table: &SweepTable) -> Vec<ClaimResult> {
    let samples: Vec<Sample> = claims.iter().map(|stated| Sample::of(stated, table)).collect();
    let tests: Vec<Option<Tested>> = samples.iter().map(Sample::test).collect();
    let p_values: Vec<f64> = tests.iter().flatten().map(Tested::p_value).collect();
    let mut corrected = holm(&p_values).into_iter();
    let claims = claims.iter().zip(samples).zip(tests);
    claims
        .map(|((stated, sample), test)| {
            let p_value_holm = test.as_ref().and_then(|_| corrected.next());
            sample.result(&stated.claim, test, (p_value_holm, p_values.len()))
        })
        .collect()
}

/// The differences of a claim, seed by seed, so turned that more than 0 speaks for it (of an equality:
/// subject minus reference).
struct Sample {
    relation: Relation,
    /// Is the reference a number, and not a group?
    one_sample: bool,
    differences: Vec<f64>,
    /// Are they differences of logarithms?
    logarithms: bool,
    pairs: usize,
    means: [Option<f64>; 2],
    effect: Effect,
}

/// The p-values of the two directions.
struct Tested {
    name: TestName,
    /// That chance alone speaks for the claim as much.
    supports: f64,
    /// That it speaks against it as much.
    opposes: f64,
}

impl Tested {
    fn p_value(&self) -> f64 {
        (2.0 * self.supports.min(self.opposes)).min(1.0)
    }
}

impl Sample {
    fn of(stated: &Stated, table: &SweepTable) -> Self {
        let relation = stated.claim.relation;
        let by_seed = matched(stated, table);
        let pairs: Vec<(f64, f64)> = by_seed.values().flatten().copied().collect();
        let factor = matches!(relation, Relation::SmallerBy(_) | Relation::LargerBy(_));
        let logarithms = factor && pairs.iter().all(|(a, b)| *a > 0.0 && *b > 0.0);
        let difference = |(a, b): &(f64, f64)| match relation {
            Relation::Smaller => b - a,
            Relation::Larger | Relation::Within(_) => a - b,
            Relation::SmallerBy(factor) if logarithms => b.ln() - a.ln() - factor.ln(),
            Relation::LargerBy(factor) if logarithms => a.ln() - b.ln() - factor.ln(),
            Relation::SmallerBy(factor) => b - factor * a,
            Relation::LargerBy(factor) => a - factor * b,
        };
        let mean = |values: &[(f64, f64)], of: &dyn Fn(&(f64, f64)) -> f64| {
            Summary::of(values.iter().map(of)).mean
        };
        let over_seeds = |of: &dyn Fn(&(f64, f64)) -> f64| -> Vec<f64> {
            by_seed.values().filter_map(|pairs| mean(pairs, of)).collect()
        };
        let shown = match logarithms {
            true => over_seeds(&|(a, b)| a.ln() - b.ln()),
            false => over_seeds(&|(a, b)| a - b),
        };
        let shown = Summary::of(shown);
        let back = |x: f64| if logarithms { x.exp() } else { x };
        Self {
            relation,
            one_sample: stated.claim.reference.group().is_none(),
            differences: over_seeds(&difference),
            logarithms,
            pairs: pairs.len(),
            means: [mean(&pairs, &|pair| pair.0), mean(&pairs, &|pair| pair.1)],
            effect: Effect {
                is_ratio: logarithms,
                mean: shown.mean.map(back),
                ci95: shown.ci95.map(|ci95| Ci95 { low: back(ci95.low), high: back(ci95.high) }),
            },
        }
    }

    /// Mean and standard deviation of the differences, from two on. Differences that are equal but for
    /// rounding have no spread to test against.
    fn spread(&self) -> Option<(f64, f64)> {
        let summary = Summary::of(self.differences.iter().copied());
        let largest = self.differences.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
        let std = summary.std.map(|std| if std <= 1e-12 * largest { 0.0 } else { std });
        summary.mean.zip(std)
    }

    fn test(&self) -> Option<Tested> {
        self.spread().map(|(mean, std)| self.tested(mean, std, self.differences.len()))
    }

    /// The test of `n` seeds with this mean and spread.
    fn tested(&self, mean: f64, std: f64, n: usize) -> Tested {
        if std == 0.0 {
            return self.without_spread(mean, n);
        }
        let error = std / (n as f64).sqrt();
        let above = |distance: f64| student_above(distance / error, n - 1);
        let name = match (self.one_sample, self.logarithms) {
            (false, false) => TestName::PairedT,
            (false, true) => TestName::PairedTOfLogarithms,
            (true, false) => TestName::OneSampleT,
            (true, true) => TestName::OneSampleTOfLogarithms,
        };
        match self.relation {
            Relation::Within(margin) => Tested {
                name,
                supports: above(margin - mean).max(above(margin + mean)),
                opposes: above(mean.abs() - margin),
            },
            _ => Tested { name, supports: above(mean), opposes: above(-mean) },
        }
    }

    /// Of `n` equal differences: as likely as `n` tosses of a coin with the same side up.
    fn without_spread(&self, mean: f64, n: usize) -> Tested {
        let same = 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
        let speaks = match self.relation {
            Relation::Within(margin) => margin - mean.abs(),
            _ => mean,
        };
        let (supports, opposes) = match speaks {
            x if x > 0.0 => (same, 1.0),
            x if x < 0.0 => (1.0, same),
            _ => (1.0, 1.0),
        };
        Tested { name: TestName::SignFlip, supports, opposes }
    }

    fn result(
        self,
        claim: &Claim,
        test: Option<Tested>,
        (p_value_holm, claims): (Option<f64>, usize),
    ) -> ClaimResult {
        let significant = p_value_holm.is_some_and(|p| p < SIGNIFICANCE);
        let verdict = match &test {
            Some(test) if significant && test.supports < test.opposes => Verdict::Confirmed,
            Some(_) if significant => Verdict::Refuted,
            _ => Verdict::Undecided { more_seeds: self.more_seeds(claims) },
        };
        ClaimResult {
            claim: claim.clone(),
            n: self.differences.len(),
            pairs: self.pairs,
            subject_mean: self.means[0],
            reference_mean: self.means[1],
            effect: self.effect,
            test: test.as_ref().map(|test| test.name),
            p_value: test.as_ref().map(Tested::p_value),
            p_value_holm,
            verdict,
        }
    }

    /// Seeds more that would decide the claim among so many, if mean and spread stay.
    fn more_seeds(&self, claims: usize) -> Option<usize> {
        let (mean, std) = self.spread()?;
        let level = SIGNIFICANCE / claims.max(1) as f64;
        let enough = |n: &usize| self.tested(mean, std, *n).p_value() < level;
        // The p-value falls as the seeds grow, so halves may be left out.
        let most = enough(&MOST_SEEDS).then_some(MOST_SEEDS)?;
        let (mut few, mut many) = (self.differences.len(), most);
        while many - few > 1 {
            let middle = few + (many - few) / 2;
            if enough(&middle) { many = middle } else { few = middle }
        }
        Some(many - self.differences.len())
    }
}

/// The values of subject and reference that are compared, seed by seed.
fn matched(stated: &Stated, table: &SweepTable) -> BTreeMap<u64, Vec<(f64, f64)>> {
    let rows = table.rows();
    let lengths = Lengths::of(stated, rows);
    let [subjects, references] = stated.groups.each_ref().map(|group| {
        let mut found: BTreeMap<(u64, Vec<&str>), Vec<f64>> = BTreeMap::new();
        for row in group.iter().filter_map(|row| rows.get(*row)) {
            if let Some(value) = lengths.value(row, stated) {
                let axes = row.run.axes.iter().enumerate();
                let others = axes.filter(|(axis, _)| !stated.tested.contains(axis));
                let others = others.map(|(_, value)| value.label.as_str()).collect();
                found.entry((row.run.seed, others)).or_default().push(value);
            }
        }
        found
    });
    let mut by_seed: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    let mean = |values: &Vec<f64>| Summary::of(values.iter().copied()).mean;
    for ((seed, others), values) in subjects {
        let compared = match stated.claim.reference {
            Reference::Group(_) => references.get(&(seed, others)).and_then(mean),
            Reference::Value(value) => Some(value),
        };
        if let Some(pair) = mean(&values).zip(compared) {
            by_seed.entry(seed).or_default().push(pair);
        }
    }
    by_seed
}

/// How long the runs of a claim are: what one counts with that never came to the target.
struct Lengths {
    epochs: Option<f64>,
    seconds: Option<f64>,
}

impl Lengths {
    fn of(stated: &Stated, rows: &[RunRow]) -> Self {
        let all = stated.groups.iter().flatten().filter_map(|row| rows.get(*row));
        let finished = || all.clone().filter(|row| row.status == RowStatus::Finished);
        let largest = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::max);
        let epochs = |row: &RunRow| row.metrics.epochs_done.map(f64::from);
        Self {
            epochs: largest(&mut finished().filter_map(epochs)),
            seconds: largest(&mut finished().filter_map(|row| row.metrics.wall_s)),
        }
    }

    /// The metric of a run. One that diverged has none, but for the time to a target that it never
    /// reached, and that it diverged.
    fn value(&self, row: &RunRow, stated: &Stated) -> Option<f64> {
        let finished = row.status == RowStatus::Finished;
        let ended = finished || row.status == RowStatus::Diverged;
        match &stated.claim.metric {
            _ if !ended => None,
            Quantity::Diverged => Some(if finished { 0.0 } else { 1.0 }),
            Quantity::Result(metric) => {
                let length = match metric {
                    MetricName::EpochsToTarget => self.epochs,
                    MetricName::SecondsToTarget => row.metrics.wall_s.or(self.seconds),
                    _ => None,
                };
                let known = row.metrics.get(*metric).filter(|_| finished);
                known.or(length)
            }
            Quantity::Layer(_) | Quantity::Curve(_) => {
                let place = stated.quantity.filter(|_| finished)?;
                row.quantities.get(place).copied().flatten()
            }
        }
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
