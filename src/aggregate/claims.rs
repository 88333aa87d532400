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
//! A run that never came to the target counts with the length of the longest (`Lengths`). That is
//! enough to say which group is sooner, and not by how much: what speaks for a claim only because of
//! where runs ended does not confirm it, what speaks against it so does not refute it.

use std::collections::BTreeMap;

use super::quantities::Quantities;
use super::row::{RowStatus, RunRow};
use super::statistics::{Ci95, SIGNIFICANCE, Summary, holm, student_above};
use super::table::SweepTable;
use super::to_target::{Lengths, Value};
use crate::spec::claim::{Claim, Reference, Relation};
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
            let mut tests = claim.conditions().flat_map(|condition| &condition.tests);
            tests.any(|(tested, _)| tested == key)
        };
        let tested = (0..axes.len()).filter(|axis| tests(&axes[*axis])).collect();
        Self { claim: claim.clone(), groups, tested, quantity: None }
    }

    /// How long its runs are.
    fn lengths(&self, table: &SweepTable) -> Lengths {
        Lengths::of(self.rows(table))
    }

    /// The metric of a run. One that diverged has none, but for the time to a target that it never
    /// reached, and that it diverged.
    fn value(&self, row: &RunRow, lengths: Lengths) -> Option<Value> {
        let finished = row.status == RowStatus::Finished;
        match &self.claim.metric {
            Quantity::Diverged if finished => Some(Value::known(0.0)),
            Quantity::Diverged => (row.status == RowStatus::Diverged).then(|| Value::known(1.0)),
            Quantity::Result(metric) => lengths.value(row, *metric),
            Quantity::Layer(_) | Quantity::Curve(_) => {
                let place = self.quantity.filter(|_| finished)?;
                row.quantities.get(place).copied().flatten().map(Value::known)
            }
        }
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
    /// Runs among them that never came to the target, of a claim about the time to it.
    pub never_reached: Option<NeverReached>,
    /// Mean of the metric in the subject, over the pairs.
    pub subject_mean: Option<f64>,
    /// Mean in the reference; the number that it is, where it is one.
    pub reference_mean: Option<f64>,
    /// What is claimed about: the difference, or the ratio.
    pub effect: Effect,
    /// Why nothing could be compared, where that is so.
    pub nothing: Option<Nothing>,
    /// Which test was made.
    pub test: Option<TestName>,
    /// Two-sided p-value; `None` where nothing could be tested.
    pub p_value: Option<f64>,
    /// Corrected for the number of claims that were tested (Holm).
    pub p_value_holm: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
    /// Do the runs speak for the claim rather than against it? `None` where nothing was tested, or
    /// where neither is so.
    pub leans_for: Option<bool>,
}

impl ClaimResult {
    /// What more seeds would do with the claim, if they were like those so far.
    pub fn tendency(&self) -> &'static str {
        match self.leans_for {
            Some(true) => "confirm",
            Some(false) => "refute",
            None => "decide",
        }
    }
}

/// Runs that never came to the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeverReached {
    /// How many.
    pub runs: usize,
    /// The epochs or seconds that each of them counts with.
    pub counted: f64,
}

/// How far the subject is from the reference.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effect {
    /// What is meant by that.
    pub kind: EffectKind,
    /// Its mean over the seeds; the geometric one of a ratio.
    pub mean: Option<f64>,
    /// The interval for that mean, from two seeds on.
    pub ci95: Option<Ci95>,
}

/// How a distance is told: as what is tested, but for the side on which it speaks for the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EffectKind {
    /// Subject minus reference.
    #[default]
    Difference,
    /// Subject divided by reference.
    Ratio,
    /// Of a claim about a factor of values that are not all above 0, of which there are no logarithms: by
    /// how much the one that is claimed to be larger exceeds so many times the other.
    Excess,
}

impl EffectKind {
    /// As CSV and terminal spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Difference => "difference",
            Self::Ratio => "ratio",
            Self::Excess => "excess",
        }
    }
}

/// Why a claim has nothing to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// Runs that it is about are to be executed.
    Yet,
    /// They have ended, and in one of the groups none finished.
    NoneFinished,
    /// Runs finished and were too short for the number that is taken of their curve.
    TooShort,
    /// Runs finished and none of a group has the number.
    NoNumber,
    /// No run of one group agrees with one of the other in the seed and all that is not tested.
    NoPair,
}

impl Nothing {
    /// As terminal and report say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yet => "nothing to compare yet",
            Self::NoneFinished => "nothing to compare: no such run finished",
            Self::TooShort => "nothing to compare: the curve is too short",
            Self::NoNumber => "nothing to compare: no run that finished has this number",
            Self::NoPair => "nothing to compare: no run that finished has its counterpart",
        }
    }
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
    /// Do pairs speak for the claim, or against it, that might not if runs had lasted longer?
    open: Open,
    pairs: usize,
    never_reached: Option<NeverReached>,
    means: [Option<f64>; 2],
    effect: Effect,
    nothing: Option<Nothing>,
}

/// Directions that are not known, because runs ended before they came to the target.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    supports: bool,
    opposes: bool,
}

/// What subject and reference come to where all else agrees.
#[derive(Debug, Clone, Copy)]
struct Pair {
    subject: Value,
    reference: Value,
    /// Runs of both that never came to the target.
    never_reached: usize,
}

impl Pair {
    fn counted(&self) -> (f64, f64) {
        (self.subject.counted, self.reference.counted)
    }

    /// Which way it speaks only because of where runs ended. `difference` is above 0 where it speaks
    /// for the claim. Which of two groups is sooner can be told within the length of the runs; by how
    /// much, or how a number beyond it compares, cannot.
    fn open(&self, stated: &Stated, difference: &dyn Fn(&(f64, f64)) -> f64) -> Open {
        let relation = stated.claim.relation;
        let which = matches!(relation, Relation::Smaller | Relation::Larger);
        let restricted = which && stated.claim.reference.group().is_some();
        let (a, b) = (self.subject.range(restricted), self.reference.range(restricted));
        let counted = self.counted();
        if let Relation::Within(margin) = relation {
            let (apart, nearest) = ((counted.0 - counted.1).abs(), (a.0 - b.1).max(b.0 - a.1));
            let farthest = (a.1 - b.0).max(b.1 - a.0);
            return Open {
                supports: apart < margin && farthest > margin,
                opposes: apart > margin && nearest < margin,
            };
        }
        let ends = [difference(&(a.0, b.1)), difference(&(a.1, b.0))];
        let counted = difference(&counted);
        Open {
            supports: counted > 0.0 && ends.iter().any(|end| *end < 0.0),
            opposes: counted < 0.0 && ends.iter().any(|end| *end > 0.0),
        }
    }
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
        let lengths = stated.lengths(table);
        let matched = matched(stated, table, lengths);
        let all: Vec<Pair> = matched.values().flatten().copied().collect();
        let by_seed: Vec<Vec<(f64, f64)>> =
            matched.values().map(|pairs| pairs.iter().map(Pair::counted).collect()).collect();
        let pairs: Vec<(f64, f64)> = by_seed.iter().flatten().copied().collect();
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
            by_seed.iter().filter_map(|pairs| mean(pairs, of)).collect()
        };
        let (kind, shown) = match (factor, logarithms) {
            (true, true) => (EffectKind::Ratio, over_seeds(&|(a, b)| a.ln() - b.ln())),
            // Neither difference nor ratio would say what was tested.
            (true, false) => (EffectKind::Excess, over_seeds(&difference)),
            (false, _) => (EffectKind::Difference, over_seeds(&|(a, b)| a - b)),
        };
        let shown = Summary::of(shown);
        let back = |x: f64| if logarithms { x.exp() } else { x };
        let open: Vec<Open> = all.iter().map(|pair| pair.open(stated, &difference)).collect();
        let time = stated.claim.metric.result().and_then(|metric| lengths.of_metric(metric));
        Self {
            relation,
            one_sample: stated.claim.reference.group().is_none(),
            differences: over_seeds(&difference),
            logarithms,
            open: Open {
                supports: open.iter().any(|open| open.supports),
                opposes: open.iter().any(|open| open.opposes),
            },
            pairs: pairs.len(),
            never_reached: time.map(|counted| NeverReached {
                runs: all.iter().map(|pair| pair.never_reached).sum(),
                counted,
            }),
            means: [mean(&pairs, &|pair| pair.0), mean(&pairs, &|pair| pair.1)],
            effect: Effect {
                kind,
                mean: shown.mean.map(back),
                ci95: shown.ci95.map(|ci95| Ci95 { low: back(ci95.low), high: back(ci95.high) }),
            },
            nothing: pairs.is_empty().then(|| nothing(stated, table, lengths)),
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
        let tested = match std == 0.0 {
            true => self.without_spread(mean, n),
            false => self.by_student(mean, std, n),
        };
        Tested {
            supports: if self.open.supports { 1.0 } else { tested.supports },
            opposes: if self.open.opposes { 1.0 } else { tested.opposes },
            ..tested
        }
    }

    fn by_student(&self, mean: f64, std: f64, n: usize) -> Tested {
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
            never_reached: self.never_reached,
            subject_mean: self.means[0],
            reference_mean: self.means[1],
            effect: self.effect,
            nothing: self.nothing,
            test: test.as_ref().map(|test| test.name),
            p_value: test.as_ref().map(Tested::p_value),
            p_value_holm,
            verdict,
            leans_for: test
                .filter(|test| test.supports != test.opposes)
                .map(|test| test.supports < test.opposes),
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

/// Why nothing is compared.
fn nothing(stated: &Stated, table: &SweepTable, lengths: Lengths) -> Nothing {
    let pending = |row: &RunRow| matches!(row.status, RowStatus::Pending | RowStatus::Running);
    if stated.rows(table).any(pending) {
        return Nothing::Yet;
    }
    let compared = if stated.claim.reference.group().is_some() { 2 } else { 1 };
    for group in &stated.groups[..compared] {
        let rows = || group.iter().filter_map(|row| table.rows().get(*row));
        if rows().any(|row| stated.value(row, lengths).is_some()) {
            continue;
        }
        let finished = rows().any(|row| row.status == RowStatus::Finished);
        return match (&stated.claim.metric, finished) {
            (_, false) => Nothing::NoneFinished,
            (Quantity::Curve(_), true) => Nothing::TooShort,
            (_, true) => Nothing::NoNumber,
        };
    }
    Nothing::NoPair
}

/// What is compared, seed by seed.
fn matched(stated: &Stated, table: &SweepTable, lengths: Lengths) -> BTreeMap<u64, Vec<Pair>> {
    let rows = table.rows();
    let [subjects, references] = stated.groups.each_ref().map(|group| {
        let mut found: BTreeMap<(u64, Vec<&str>), Vec<Value>> = BTreeMap::new();
        for row in group.iter().filter_map(|row| rows.get(*row)) {
            if let Some(value) = stated.value(row, lengths) {
                let axes = row.run.axes.iter().enumerate();
                let others = axes.filter(|(axis, _)| !stated.tested.contains(axis));
                let others = others.map(|(_, value)| value.label.as_str()).collect();
                found.entry((row.run.seed, others)).or_default().push(value);
            }
        }
        found
    });
    let mut by_seed: BTreeMap<u64, Vec<Pair>> = BTreeMap::new();
    let never = |values: &[Value]| values.iter().filter(|value| value.at_least.is_some()).count();
    for ((seed, others), values) in subjects {
        let mut never_reached = never(&values);
        let compared = match stated.claim.reference {
            Reference::Group(_) => references.get(&(seed, others)).and_then(|others| {
                never_reached += never(others);
                Value::mean(others)
            }),
            Reference::Value(value) => Some(Value::known(value)),
        };
        if let Some((subject, reference)) = Value::mean(&values).zip(compared) {
            by_seed.entry(seed).or_default().push(Pair { subject, reference, never_reached });
        }
    }
    by_seed
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
