//! Welch's t test: two groups without common seeds, whose spreads may differ.
//!
//! In: the numbers of each group. Out: the difference of the means with its 95 % confidence interval
//! and two-sided p-value, by Student's t with the degrees of freedom of Welch and Satterthwaite.
//! Where seeds are common, [`PairedTest`](super::statistics::PairedTest) has more power.

use super::statistics::{Ci95, Summary, finite, t_test, wide_quantile};

/// The comparison of two independent groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WelchTest {
    /// How many there are in each group, at least one.
    pub n: [usize; 2],
    /// Mean of the first minus mean of the second.
    pub mean: f64,
    /// Degrees of freedom, a fraction; from two in each group on, and where either has a spread.
    pub freedom: Option<f64>,
    /// The interval for the difference, from two in each group on.
    pub ci95: Option<Ci95>,
    /// Two-sided p-value, likewise. Where neither group has a spread, the limit of the test: 1 for
    /// equal means, else 0.
    pub p_value: Option<f64>,
}

impl WelchTest {
    /// Tests two groups of numbers; those that are not finite are left out. None where either is
    /// empty or the difference overflows.
    pub fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        let [a, b] = [a, b].map(|values| Summary::of(values.iter().copied()));
        let (mean_a, mean_b) = (a.mean?, b.mean?);
        let mean = finite(mean_a - mean_b)?;
        let only_mean = Self { n: [a.n, b.n], mean, freedom: None, ci95: None, p_value: None };
        let Some((std_a, std_b)) = a.std.zip(b.std) else { return Some(only_mean) };
        // Squares of standard errors, of each mean.
        let squares = [(std_a, a.n), (std_b, b.n)].map(|(std, n)| std * std / n as f64);
        let error = (squares[0] + squares[1]).sqrt();
        // Spreads of nothing but rounding are none; R's t.test draws the line at the same place.
        let noise = 10.0 * f64::EPSILON * mean_a.abs().max(mean_b.abs());
        if error <= noise {
            let p_value = Some(if mean.abs() <= noise { 1.0 } else { 0.0 });
            let ci95 = Some(Ci95 { low: mean, high: mean });
            return Some(Self { ci95, p_value, ..only_mean });
        }
        let shares = squares.map(|square| square / (squares[0] + squares[1]));
        let parts = [(shares[0], a.n), (shares[1], b.n)];
        let freedom = finite(
            1.0 / parts.map(|(share, n)| share * share / (n - 1) as f64).iter().sum::<f64>(),
        );
        let half = freedom.map(|freedom| wide_quantile(freedom) * error);
        Some(Self {
            freedom,
            ci95: half.and_then(|half| {
                Some(Ci95 { low: finite(mean - half)?, high: finite(mean + half)? })
            }),
            p_value: freedom.and_then(|freedom| t_test(mean / error, freedom)),
            ..only_mean
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Golden {
        welch: Vec<GoldenWelch>,
    }

    #[derive(Deserialize)]
    struct GoldenWelch {
        a: Vec<f64>,
        b: Vec<f64>,
        mean: f64,
        freedom: f64,
        low: f64,
        high: f64,
        p: f64,
    }

    #[track_caller]
    fn assert_near(ours: f64, golden: f64) {
        assert!((ours - golden).abs() <= 1e-9 * golden.abs().max(1.0), "{ours} against {golden}");
    }

    #[test]
    fn agrees_with_scipy() {
        let text = include_str!("../../tests/fixtures/reference/seed_statistics.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert!(golden.welch.len() >= 40);
        for case in golden.welch {
            let ours = WelchTest::of(&case.a, &case.b).unwrap();
            assert_near(ours.mean, case.mean);
            assert_near(ours.freedom.unwrap(), case.freedom);
            assert_near(ours.ci95.unwrap().low, case.low);
            assert_near(ours.ci95.unwrap().high, case.high);
            assert_near(ours.p_value.unwrap(), case.p);
        }
    }

    #[test]
    fn what_cannot_be_tested_still_has_a_difference() {
        assert_eq!(WelchTest::of(&[], &[1.0]), None);
        let single = WelchTest::of(&[0.75], &[0.5, 0.25]).unwrap();
        assert_eq!((single.n, single.mean, single.p_value), ([1, 2], 0.375, None));
        let same = WelchTest::of(&[0.1; 3], &[0.1; 2]).unwrap();
        assert_eq!((same.p_value, same.ci95), (Some(1.0), Some(Ci95 { low: 0.0, high: 0.0 })));
        let shifted = WelchTest::of(&[0.5; 3], &[0.25; 2]).unwrap();
        assert_eq!((shifted.mean, shifted.p_value), (0.25, Some(0.0)));
    }

    proptest! {
        #[test]
        fn any_numbers_give_finite_statistics(
            a in prop::collection::vec(any::<f64>(), 0..8),
            b in prop::collection::vec(any::<f64>(), 0..8),
        ) {
            let Some(test) = WelchTest::of(&a, &b) else { return Ok(()) };
            prop_assert!(test.mean.is_finite());
            prop_assert!(test.freedom.is_none_or(|freedom| freedom.is_finite() && freedom > 0.0));
            prop_assert!(test.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)));
            prop_assert!(test.ci95.is_none_or(|ci95| ci95.low <= ci95.high));
        }

        #[test]
        fn the_order_of_the_groups_is_only_a_sign(
            a in prop::collection::vec(-1e3..1e3_f64, 2..8),
            b in prop::collection::vec(-1e3..1e3_f64, 2..8),
        ) {
            let (there, back) = (WelchTest::of(&a, &b).unwrap(), WelchTest::of(&b, &a).unwrap());
            prop_assert_eq!(there.mean, -back.mean);
            let (p, q) = (there.p_value.unwrap(), back.p_value.unwrap());
            prop_assert!((p - q).abs() < 1e-9);
        }
    }
}
