//! Statistics over the seeds of a configuration, and between two configurations.
//!
//! In: plain numbers. Out: mean, sample standard deviation and 95 % confidence interval of the
//! mean (Student's t), the paired comparison of two configurations on their common seeds, and
//! Holm's correction. What cannot be known (the spread of one value) is `None`; nothing here
//! returns a NaN or an infinity.
//!
//! Two p-values are given for a paired difference. The paired t test assumes that the differences
//! are roughly normal; with that it has some power at three seeds. The exact sign-flip permutation
//! test (Fisher, 1935) assumes only that a difference is as likely as its negative, and pays for it:
//! its smallest p is `2 / 2^n`, 0.25 at three seeds.

use std::sync::LazyLock;

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Most pairs that the permutation test enumerates: 2^12 sign patterns.
pub const MAX_PERMUTED_PAIRS: usize = 12;

/// Below this (corrected) p-value, two configurations are distinguishable.
pub const SIGNIFICANCE: f64 = 0.05;

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ci95 {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ci95 {
    /// Student's interval about a mean of `n >= 2` values with sample standard deviation `std`.
    fn about(mean: f64, std: f64, n: usize) -> Option<Self> {
        let half = t_quantile(n - 1) * std / (n as f64).sqrt();
        Some(Self { low: finite(mean - half)?, high: finite(mean + half)? })
    }
}

/// Some numbers, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// Their mean, if there are any.
    pub mean: Option<f64>,
    /// Their sample standard deviation (divisor `n - 1`), from two on.
    pub std: Option<f64>,
    /// The interval for the mean, from two on; of no width when all are equal.
    pub ci95: Option<Ci95>,
}

impl Summary {
    /// Sums up `values`; those that are not finite are left out. The order does not matter, to the
    /// last bit: equal sets of values have equal means.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|x| x.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let mean = mean(&values);
        let std = mean.and_then(|mean| sample_std(&values, mean));
        let ci95 = mean.zip(std).and_then(|(mean, std)| Ci95::about(mean, std, n));
        Self { n, mean, std, ci95 }
    }
}

/// The comparison of two configurations on their common seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedTest {
    /// Common seeds, at least one.
    pub pairs: usize,
    /// Mean of the differences, first minus second.
    pub mean: f64,
    /// The interval for that mean, from two pairs on.
    pub ci95: Option<Ci95>,
    /// Two-sided p-value of the paired t test, from two pairs on. Where every difference is the same
    /// there is no spread for a t, which would be certain of two seeds: 1 if that difference is zero,
    /// else what the sign-flip test says, 2 / 2^n.
    pub p_value: Option<f64>,
    /// Two-sided p-value of the exact sign-flip permutation test of the mean, for two to
    /// [`MAX_PERMUTED_PAIRS`] pairs.
    pub p_permutation: Option<f64>,
}

impl PairedTest {
    /// Tests `pairs` of finite numbers. None without a pair or when the differences overflow.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let mut differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        differences.sort_by(f64::total_cmp);
        let n = differences.len();
        let mean = mean(&differences)?;
        let std = sample_std(&differences, mean);
        // Differences that are equal but for rounding (0.9 - 0.8, 0.7 - 0.6) have no spread to
        // test against; R's t.test draws the line at the same place.
        let largest = pairs.iter().fold(0.0_f64, |max, (a, b)| max.max(a.abs()).max(b.abs()));
        let noise = 10.0 * f64::EPSILON * largest;
        let std = std.map(|std| if std / (n as f64).sqrt() <= noise { 0.0 } else { std });
        Some(Self {
            pairs: n,
            mean,
            ci95: std.and_then(|std| Ci95::about(mean, std, n)),
            p_value: std.and_then(|std| {
                if std == 0.0 {
                    Some(if mean.abs() <= noise { 1.0 } else { 2.0 * 0.5_f64.powi(n as i32) })
                } else {
                    t_test(mean / (std / (n as f64).sqrt()), (n - 1) as f64)
                }
            }),
            p_permutation: sign_flip(&differences),
        })
    }
}

/// Holm's step-down correction (Holm, 1979): `corrected[i]` belongs to `p_values[i]`. The chance
/// of one false alarm or more among all comparisons is then at most the level.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (place, index) in order.into_iter().enumerate() {
        let remaining = (p_values.len() - place) as f64;
        largest = largest.max(p_values[index] * remaining).min(1.0);
        corrected[index] = largest;
    }
    corrected
}

/// Mean of sorted values. The second pass takes back what rounding the first one's sum lost.
fn mean(sorted: &[f64]) -> Option<f64> {
    let (first, last) = (sorted.first()?, sorted.last()?);
    if first == last {
        return finite(*first);
    }
    let n = sorted.len() as f64;
    let rough = sorted.iter().sum::<f64>() / n;
    finite(rough + sorted.iter().map(|x| x - rough).sum::<f64>() / n)
}

/// Sample standard deviation of sorted values about their mean (corrected two-pass formula of
/// Chan, Golub and LeVeque, 1983).
fn sample_std(sorted: &[f64], mean: f64) -> Option<f64> {
    let n = sorted.len();
    if n < 2 {
        return None;
    }
    if sorted.first() == sorted.last() {
        return Some(0.0);
    }
    let (mut squares, mut sum) = (0.0, 0.0);
    for x in sorted {
        squares += (x - mean) * (x - mean);
        sum += x - mean;
    }
    finite(((squares - sum * sum / n as f64) / (n - 1) as f64).max(0.0).sqrt())
}

/// Two-sided p-value of Student's t with `freedom` degrees of freedom.
pub(super) fn t_test(t: f64, freedom: f64) -> Option<f64> {
    // The lower tail is a beta function without a subtraction from one: small p keep their digits.
    finite(2.0 * student(freedom).cdf(-t.abs())).map(|p| p.min(1.0))
}

/// How likely Student's t with `freedom` degrees of freedom is above `t`.
pub(super) fn student_above(t: f64, freedom: usize) -> f64 {
    student(freedom as f64).cdf(-t)
}

/// 97.5 % quantile of Student's t: the half width of a 95 % interval in standard errors. A table
/// for usual numbers of seeds, since the inverse beta function costs more than all the rest.
fn t_quantile(freedom: usize) -> f64 {
    static TABLE: LazyLock<Vec<f64>> =
        LazyLock::new(|| (1..=64_u32).map(|freedom| wide_quantile(freedom.into())).collect());
    TABLE.get(freedom - 1).copied().unwrap_or_else(|| wide_quantile(freedom as f64))
}

/// The same, computed, for any number of degrees of freedom above zero.
pub(super) fn wide_quantile(freedom: f64) -> f64 {
    student(freedom).inverse_cdf(0.975)
}

fn student(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("invariant: degrees of freedom are above zero")
}

/// Share of the 2^n sign patterns whose sum is at least as far from zero as the observed one.
fn sign_flip(differences: &[f64]) -> Option<f64> {
    if !(2..=MAX_PERMUTED_PAIRS).contains(&differences.len()) {
        return None;
    }
    let size: f64 = differences.iter().map(|d| d.abs()).sum();
    let observed = differences.iter().sum::<f64>().abs();
    // A pattern that ties with the observed one must not be lost to rounding.
    let threshold = finite(observed - 1e-12 * size)?;
    // A pattern and its opposite are equally far: half of them, with the first sign fixed, will do.
    let (first, rest) = differences.split_first()?;
    let extreme = count_extreme(rest, *first, threshold);
    Some(f64::from(extreme) / f64::from(1_u32 << rest.len()))
}

fn count_extreme(rest: &[f64], sum: f64, threshold: f64) -> u32 {
    match rest.split_first() {
        None => u32::from(sum.abs() >= threshold),
        Some((d, rest)) => {
            count_extreme(rest, sum + d, threshold) + count_extreme(rest, sum - d, threshold)
        }
    }
}

/// The number, if it is one.
pub(super) fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        quantiles: Vec<(usize, f64)>,
        summaries: Vec<GoldenSummary>,
        paired: Vec<GoldenPaired>,
        holm: Vec<GoldenHolm>,
    }

    #[derive(Deserialize)]
    struct GoldenSummary {
        values: Vec<f64>,
        mean: f64,
        std: f64,
        low: f64,
        high: f64,
    }

    #[derive(Deserialize)]
    struct GoldenPaired {
        a: Vec<f64>,
        b: Vec<f64>,
        mean: f64,
        low: f64,
        high: f64,
        p: f64,
        p_permutation: Option<f64>,
    }

    #[derive(Deserialize)]
    struct GoldenHolm {
        p: Vec<f64>,
        corrected: Vec<f64>,
    }

    /// Made by `tests/fixtures/reference/seed_statistics.py` with scipy and statsmodels.
    fn golden() -> Golden {
        let text = include_str!("../../tests/fixtures/reference/seed_statistics.json");
        serde_json::from_str(text).unwrap()
    }

    #[track_caller]
    fn assert_near(ours: f64, golden: f64) {
        assert!((ours - golden).abs() <= 1e-9 * golden.abs().max(1.0), "{ours} against {golden}");
    }

    #[test]
    fn agrees_with_scipy_and_statsmodels() {
        let golden = golden();
        for (freedom, quantile) in golden.quantiles {
            assert_near(t_quantile(freedom), quantile);
        }
        for case in golden.summaries {
            let ours = Summary::of(case.values);
            assert_near(ours.mean.unwrap(), case.mean);
            assert_near(ours.std.unwrap(), case.std);
            assert_near(ours.ci95.unwrap().low, case.low);
            assert_near(ours.ci95.unwrap().high, case.high);
        }
        for case in golden.paired {
            let pairs: Vec<_> = case.a.into_iter().zip(case.b).collect();
            let ours = PairedTest::of(&pairs).unwrap();
            assert_near(ours.mean, case.mean);
            assert_near(ours.ci95.unwrap().low, case.low);
            assert_near(ours.ci95.unwrap().high, case.high);
            assert_near(ours.p_value.unwrap(), case.p);
            assert_eq!(ours.p_permutation, case.p_permutation);
        }
        for case in golden.holm {
            for (ours, golden) in holm(&case.p).into_iter().zip(case.corrected) {
                assert_near(ours, golden);
            }
        }
    }

    #[test]
    fn one_value_has_no_spread_and_constant_values_have_none_to_show() {
        assert_eq!(Summary::of([]), Summary::default());
        assert_eq!(Summary::of([0.3]), Summary { n: 1, mean: Some(0.3), std: None, ci95: None });
        let ci95 = Some(Ci95 { low: 0.1, high: 0.1 });
        assert_eq!(Summary::of([0.1; 3]), Summary { n: 3, mean: Some(0.1), std: Some(0.0), ci95 });
        assert_eq!(Summary::of([f64::NAN, 0.5, f64::INFINITY]).n, 1);
    }

    #[test]
    fn differences_without_spread_are_decided_without_a_division_by_zero() {
        let same = PairedTest::of(&[(0.5, 0.5), (0.7, 0.7)]).unwrap();
        assert_eq!((same.p_value, same.p_permutation), (Some(1.0), Some(1.0)));
        let shifted = PairedTest::of(&[(0.9, 0.8), (0.7, 0.6), (0.4, 0.3)]).unwrap();
        assert_eq!((shifted.p_value, shifted.p_permutation), (Some(0.25), Some(0.25)));
        let ci95 = shifted.ci95.unwrap();
        assert_eq!((ci95.low, ci95.high), (shifted.mean, shifted.mean));
        let single = PairedTest::of(&[(0.9, 0.8)]).unwrap();
        assert_eq!((single.ci95, single.p_value, single.p_permutation), (None, None, None));
        assert_eq!(PairedTest::of(&[]), None);
    }

    proptest! {
        #[test]
        fn any_numbers_give_finite_and_ordered_statistics(
            values in prop::collection::vec(any::<f64>(), 0..20)
        ) {
            let summary = Summary::of(values.iter().copied());
            prop_assert!(summary.mean.is_none_or(f64::is_finite));
            prop_assert!(summary.std.is_none_or(|std| std.is_finite() && std >= 0.0));
            if let Some(ci95) = summary.ci95 {
                prop_assert!(ci95.low <= ci95.high);
            }
            let mut reversed = values;
            reversed.reverse();
            prop_assert_eq!(Summary::of(reversed), summary);
        }

        #[test]
        fn any_pairs_give_probabilities(
            pairs in prop::collection::vec((-1e6..1e6_f64, -1e6..1e6_f64), 1..14)
        ) {
            let test = PairedTest::of(&pairs).unwrap();
            for p in [test.p_value, test.p_permutation].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&p));
            }
            if let Some(p) = test.p_permutation {
                prop_assert!(p >= 2.0 / f64::from(1_u32 << pairs.len()));
            }
        }

        #[test]
        fn holm_never_makes_a_p_value_smaller(p in prop::collection::vec(0.0..=1.0_f64, 0..20)) {
            for (raw, corrected) in p.iter().zip(holm(&p)) {
                prop_assert!(*raw <= corrected && corrected <= 1.0);
            }
        }
    }
}
