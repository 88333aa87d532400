//! Do drawn numbers have the distribution that is documented? For tests.

/// Holds the largest distance between the share of `draws` below x and `cdf(x)` against what one in
/// a million of true samples exceeds (Kolmogorov's limit, sqrt(n) D > 2.69).
pub fn assert_distribution(draws: &[f64], cdf: impl Fn(f64) -> f64) {
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance = sorted.iter().enumerate().fold(0.0_f64, |distance, (below, &x)| {
        let expected = cdf(x);
        let steps = [below as f64 / n - expected, (below + 1) as f64 / n - expected];
        steps.iter().fold(distance, |distance, step| distance.max(step.abs()))
    });
    assert!(distance * n.sqrt() < 2.69, "distance {distance} of {n} draws");
}

/// The same for the uniform distribution from `low` to `high`.
pub fn assert_uniform(draws: &[f64], low: f64, high: f64) {
    assert_distribution(draws, |x| ((x - low) / (high - low)).clamp(0.0, 1.0));
}

#[test]
fn what_is_not_the_distribution_is_found() {
    let draws: Vec<f64> = (0..5000).map(|i| f64::from(i) / 5000.0).collect();
    assert_uniform(&draws, 0.0, 1.0);
    for (low, high) in [(0.0, 1.05), (-0.05, 1.0)] {
        assert!(std::panic::catch_unwind(|| assert_uniform(&draws, low, high)).is_err());
    }
}
