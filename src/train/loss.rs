//! The loss: cross-entropy of the softmax, with its gradient in the same pass.
//!
//! In training the target may be smoothed and may be shared between two classes (mixup); evaluation
//! measures the plain cross-entropy, so that configurations with different targets can be compared.

#[path = "loss_accelerated.rs"]
pub mod accelerated;

use super::error::TrainError;
use super::kernel::simd::vectorized;
use super::kernel::{Buffer, Real};

/// What one lane's batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BatchLoss {
    /// Sum of the losses of its samples.
    pub sum: f64,
    /// Samples whose largest logit is their class's (of two, the one with the larger share; the
    /// first of equal shares); the first of equal logits counts.
    pub right: u64,
}

/// What a batch should have been classified as, (L, N), lane by lane.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// The class of every sample.
    pub labels: &'a [u16],
    /// A second class of every sample, where images were mixed.
    pub mixed: Option<Mixed<'a>>,
    /// Samples of the whole batch in each lane, where these are a part of it that one rank has.
    pub whole: Option<usize>,
}

/// The second classes of mixed samples (Zhang et al., 2018), (L, N) like the first.
#[derive(Debug, Clone, Copy)]
pub struct Mixed<'a> {
    /// The second class.
    pub labels: &'a [u16],
    /// Share of the first class in 0 ..= 1; the second has the rest.
    pub shares: &'a [f32],
}

impl<'a> Targets<'a> {
    /// One class for every sample.
    pub fn plain(labels: &'a [u16]) -> Self {
        Self { labels, mixed: None, whole: None }
    }

    fn of(&self, sample: usize) -> Target {
        let first = usize::from(self.labels[sample]);
        match &self.mixed {
            None => Target { first, second: first, share: 1.0 },
            Some(mixed) => Target {
                first,
                second: usize::from(mixed.labels[sample]),
                share: f64::from(mixed.shares[sample]),
            },
        }
    }
}

/// The target of one sample.
#[derive(Debug, Clone, Copy)]
struct Target {
    first: usize,
    second: usize,
    share: f64,
}

impl Target {
    /// The class that counts as right.
    fn class(&self) -> usize {
        if self.share >= 0.5 { self.first } else { self.second }
    }
}

/// For every lane: adds the loss `-log softmax(logits)[label]` of each sample, in their order, and the
/// number right to `results`. Batches that follow one another come to the same sums as one of all.
///
/// `logits` (L, N, K); `labels` (L, N), lane by lane, each below K.
///
/// # Errors
/// When the tensor library fails.
pub fn cross_entropy<T: Real>(
    logits: &Buffer<T>,
    labels: &[u16],
    classes: usize,
    results: &mut [BatchLoss],
) -> Result<(), TrainError> {
    let samples = labels.len() / results.len();
    let targets = Targets::plain(labels);
    let logits = logits.read()?;
    for (lane, result) in results.iter_mut().enumerate() {
        let rows = logits.lane(lane, samples * classes).chunks_exact(classes);
        for (sample, row) in rows.enumerate() {
            let target = targets.of(lane * samples + sample);
            let largest = largest(row);
            let sum = sum_of_exponentials(row, largest);
            add(result, row, (largest, sum), (&target, 0.0));
        }
    }
    Ok(())
}

/// For every lane: the loss of `targets` with smoothing, summed over the samples, the number right,
/// and the gradient.
///
/// `logits` and `gradient` (L, N, K), `smoothing` (L). The target of class k is
/// q_k = (1 - s) t_k + s / K for smoothing s, as PyTorch's `CrossEntropyLoss`, with t the shares of
/// the classes; the loss is -sum q_k log softmax_k and `gradient` that of its *mean* over the N
/// samples, or those of the whole batch: (softmax - q) / N.
///
/// # Errors
/// When the tensor library fails.
pub fn cross_entropy_gradient<T: Real>(
    logits: &Buffer<T>,
    targets: &Targets<'_>,
    smoothing: &[f64],
    (gradient, classes): (&mut Buffer<T>, usize),
    results: &mut [BatchLoss],
) -> Result<(), TrainError> {
    let samples = targets.labels.len() / results.len();
    let whole = targets.whole.unwrap_or(samples);
    let logits = logits.read()?;
    let capacity = gradient.lane_len();
    gradient.write(|gradient| {
        let lanes = gradient.chunks_exact_mut(capacity).zip(results).enumerate();
        for (lane, (gradient, result)) in lanes {
            *result = BatchLoss::default();
            let rows = logits.lane(lane, samples * classes).chunks_exact(classes);
            let outs = gradient.chunks_exact_mut(classes);
            for (sample, (row, out)) in rows.zip(outs).enumerate() {
                let target = targets.of(lane * samples + sample);
                let largest = largest(row);
                let sum = exponentials(row, largest, out);
                add(result, row, (largest, sum), (&target, smoothing[lane]));
                subtract(out, sum, whole, (&target, smoothing[lane]));
            }
        }
    })
}

/// Adds a sample's loss, log sum exp z - sum q z, where `sum` is that of exp(z - `largest`).
fn add<T: Real>(
    result: &mut BatchLoss,
    row: &[T],
    (largest, sum): (T, T),
    (target, smoothing): (&Target, f64),
) {
    let below = |class: usize| (row[class] - largest).wide();
    let mut aimed = below(target.first);
    if target.share != 1.0 {
        aimed = target.share * aimed + (1.0 - target.share) * below(target.second);
    }
    if smoothing > 0.0 {
        let all = sum_below(row, largest).wide();
        aimed = (1.0 - smoothing) * aimed + smoothing / row.len() as f64 * all;
    }
    result.sum += sum.wide().ln() - aimed;
    let class = target.class();
    let right = row[class] == largest && row[..class].iter().all(|&x| x < largest);
    result.right += u64::from(right);
}

/// From exponentials with that sum to the gradient, without traces: (softmax - q) / N.
fn subtract<T: Real>(out: &mut [T], sum: T, samples: usize, (target, smoothing): (&Target, f64)) {
    let per_sample = 1.0 / samples as f64;
    let factor = T::of(per_sample) / sum;
    let spread = T::of(per_sample * smoothing / out.len() as f64);
    vectorized(
        #[inline(always)]
        || {
            for out in out.iter_mut() {
                *out = (*out * factor - spread).without_trace();
            }
        },
    );
    let aimed = per_sample * (1.0 - smoothing);
    out[target.first] -= T::of(aimed * target.share);
    if target.share != 1.0 {
        out[target.second] -= T::of(aimed * (1.0 - target.share));
    }
}

/// Partial results that a reduction over classes keeps, so that it vectorises; fewer classes than
/// these are taken one after the other.
const PARTIAL: usize = 16;

/// The larger number; `a` where one is NaN.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The largest number; a NaN at the front stays, others are never larger.
fn largest<T: Real>(row: &[T]) -> T {
    vectorized(
        #[inline(always)]
        || {
            let mut partial = [row[0]; PARTIAL];
            let mut chunks = row.chunks_exact(PARTIAL);
            for chunk in &mut chunks {
                for (best, &x) in partial.iter_mut().zip(chunk) {
                    *best = larger(*best, x);
                }
            }
            let rest = chunks.remainder().iter();
            partial.iter().chain(rest).fold(row[0], |best, &x| larger(best, x))
        },
    )
}

/// The sum of `term` over a row: in 16 partial sums, then those, then what is left, in order.
#[inline(always)]
fn sum<T: Real>(row: &[T], term: impl Fn(T) -> T) -> T {
    let mut partial = [T::ZERO; PARTIAL];
    let mut chunks = row.chunks_exact(PARTIAL);
    for chunk in &mut chunks {
        for (sum, &x) in partial.iter_mut().zip(chunk) {
            *sum += term(x);
        }
    }
    let whole = partial.iter().fold(T::ZERO, |sum, &x| sum + x);
    chunks.remainder().iter().fold(whole, |sum, &x| sum + term(x))
}

/// The sum of exp(x - largest).
fn sum_of_exponentials<T: Real>(row: &[T], largest: T) -> T {
    vectorized(
        #[inline(always)]
        || {
            sum(
                row,
                #[inline(always)]
                |x| (x - largest).exp(),
            )
        },
    )
}

/// The sum of x - largest.
fn sum_below<T: Real>(row: &[T], largest: T) -> T {
    vectorized(
        #[inline(always)]
        || {
            sum(
                row,
                #[inline(always)]
                |x| x - largest,
            )
        },
    )
}

/// `out[i] = exp(row[i] - largest)`; returns their sum, the same as [`sum_of_exponentials`].
fn exponentials<T: Real>(row: &[T], largest: T, out: &mut [T]) -> T {
    vectorized(
        #[inline(always)]
        || {
            for (out, &x) in out.iter_mut().zip(row) {
                *out = (x - largest).exp();
            }
            sum(
                out,
                #[inline(always)]
                |x| x,
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::layer::gradient_check::tensor;

    fn buffer<T: Real>(lanes: usize, data: &[T]) -> Buffer<T> {
        let mut buffer = Buffer::zeros(lanes, &[data.len() / lanes]).unwrap();
        buffer.write(|out| out.copy_from_slice(data)).unwrap();
        buffer
    }

    #[test]
    fn the_loss_equals_candles() {
        let logits = tensor(&[16, 10]).affine(5.0, 0.0).unwrap();
        let labels: Vec<u16> = (0..16).map(|i| (i * 7 % 10) as u16).collect();
        let target = labels.iter().map(|&l| u32::from(l)).collect::<Vec<_>>();
        let target = candle_core::Tensor::new(target, &candle_core::Device::Cpu).unwrap();
        let expected: f32 =
            candle_nn::loss::cross_entropy(&logits, &target).unwrap().to_scalar().unwrap();
        let data = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut results = [BatchLoss::default()];
        cross_entropy(&buffer(1, &data), &labels, 10, &mut results).unwrap();
        assert!((results[0].sum / 16.0 - f64::from(expected)).abs() < 1e-5);
        let right = data
            .chunks(10)
            .zip(&labels)
            .filter(|(row, label)| row.iter().all(|&x| x <= row[usize::from(**label)]));
        assert_eq!(results[0].right, right.count() as u64);
    }

    /// -sum q log softmax of one sample, spelled out in f64.
    fn by_definition(logits: &[f64], target: (usize, usize, f64), smoothing: f64) -> f64 {
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        let classes = logits.len() as f64;
        let q = |k: usize| {
            let first = if k == target.0 { target.2 } else { 0.0 };
            let second = if k == target.1 { 1.0 - target.2 } else { 0.0 };
            (1.0 - smoothing) * (first + second) + smoothing / classes
        };
        logits.iter().enumerate().map(|(k, z)| -q(k) * (z - sum.ln())).sum()
    }

    #[test]
    fn loss_and_gradient_follow_their_definition_for_every_kind_of_target() {
        // More classes than partial sums, and fewer.
        for classes in [4, 37] {
            let numbers = 2 * 3 * classes;
            let mut data: Vec<f64> =
                (0..numbers).map(|i| (f64::from(i as u32) * 1.7).sin() * 3.0).collect();
            let labels = [0, 3, 2, 1, 1, 0];
            let second = [1, 3, 0, 2, 3, 2];
            let shares = [0.25_f32, 0.5, 1.0, 0.0, 0.75, 0.625];
            let mixed = Mixed { labels: &second, shares: &shares };
            for (mixed, smoothing) in
                [(None, [0.0, 0.0]), (None, [0.0, 0.2]), (Some(mixed), [0.1, 0.0])]
            {
                let targets = Targets { labels: &labels, mixed, whole: None };
                let loss = |data: &[f64]| -> f64 {
                    let rows = data.chunks(classes).enumerate();
                    rows.map(|(i, row)| {
                        let target = match mixed {
                            None => (usize::from(labels[i]), 0, 1.0),
                            Some(mixed) => (
                                usize::from(labels[i]),
                                usize::from(second[i]),
                                f64::from(mixed.shares[i]),
                            ),
                        };
                        by_definition(row, target, smoothing[i / 3])
                    })
                    .sum()
                };
                let mut gradient = Buffer::<f64>::zeros(2, &[3 * classes]).unwrap();
                let mut results = [BatchLoss::default(); 2];
                let out = (&mut gradient, classes);
                let logits = buffer(2, &data);
                cross_entropy_gradient(&logits, &targets, &smoothing, out, &mut results).unwrap();
                let found = results[0].sum + results[1].sum;
                assert!((found - loss(&data)).abs() < 1e-12, "{found} {}", loss(&data));
                for place in 0..data.len() {
                    let value = data[place];
                    data[place] = value + 1e-5;
                    let up = loss(&data);
                    data[place] = value - 1e-5;
                    let down = loss(&data);
                    data[place] = value;
                    let expected = (up - down) / 2e-5 / 3.0;
                    assert!((gradient.read().unwrap()[place] - expected).abs() < 1e-8);
                }
            }
        }
    }

    /// `torch.nn.functional.cross_entropy(torch.tensor([[0.5, -1.0, 2.0, 0.25]]), t,
    /// label_smoothing=s)` with torch 2.11.0, t = 1 or t = [0, 0.75, 0, 0.25].
    #[test]
    fn smoothed_and_shared_targets_give_pytorchs_losses() {
        let logits = buffer(1, &[0.5_f32, -1.0, 2.0, 0.25]);
        let shared = Mixed { labels: &[3], shares: &[0.75] };
        for (mixed, smoothing, expected) in [
            (None, 0.0, 3.369278998),
            (None, 0.1, 3.225528998),
            (Some(shared), 0.0, 3.056778998),
            (Some(shared), 0.1, 2.944278998),
        ] {
            let targets = Targets { labels: &[1], mixed, whole: None };
            let mut gradient = Buffer::zeros(1, &[4]).unwrap();
            let mut results = [BatchLoss::default()];
            let out = (&mut gradient, 4);
            cross_entropy_gradient(&logits, &targets, &[smoothing], out, &mut results).unwrap();
            assert!((results[0].sum - expected).abs() < 1e-6, "{} {expected}", results[0].sum);
        }
    }

    #[test]
    fn batches_that_follow_one_another_come_to_the_sums_of_one_bit_for_bit() {
        let data: Vec<f32> = (0..60 * 7).map(|i| ((i * i) as f32 * 0.01).sin() * 4.0).collect();
        let labels: Vec<u16> = (0..60).map(|i| i % 7).collect();
        let sums = |batch: usize| {
            let mut sums = [BatchLoss::default()];
            for (rows, labels) in data.chunks(batch * 7).zip(labels.chunks(batch)) {
                cross_entropy(&buffer(1, rows), labels, 7, &mut sums).unwrap();
            }
            sums
        };
        assert!([1, 7, 16, 59].iter().all(|&batch| sums(batch) == sums(60)));
    }

    #[test]
    fn training_and_evaluation_agree_on_plain_targets_bit_for_bit() {
        let data: Vec<f32> = (0..8 * 100).map(|i| ((i * i) as f32 * 0.01).sin() * 4.0).collect();
        let labels: Vec<u16> = (0..8).map(|i| i * 11).collect();
        let logits = buffer(2, &data);
        let (mut plain, mut trained) = ([BatchLoss::default(); 2], [BatchLoss::default(); 2]);
        cross_entropy(&logits, &labels, 100, &mut plain).unwrap();
        let mut gradient = Buffer::zeros(2, &[400]).unwrap();
        let out = (&mut gradient, 100);
        let targets = Targets::plain(&labels);
        cross_entropy_gradient(&logits, &targets, &[0.0; 2], out, &mut trained).unwrap();
        assert_eq!(plain, trained);
    }

    #[test]
    fn the_first_of_equal_logits_and_the_larger_share_decide_what_is_right() {
        let right = |row: &[f32], labels: &[u16], mixed: Option<Mixed<'_>>| {
            let mut gradient = Buffer::zeros(1, &[row.len()]).unwrap();
            let mut results = [BatchLoss::default()];
            let out = (&mut gradient, row.len());
            let targets = Targets { labels, mixed, whole: None };
            cross_entropy_gradient(&buffer(1, row), &targets, &[0.0], out, &mut results).unwrap();
            results[0].right
        };
        let row = [1.0, 3.0, 3.0];
        assert_eq!([0, 1, 2].map(|label| right(&row, &[label], None)), [0, 1, 0]);
        let mixed = |share: &'static [f32]| Some(Mixed { labels: &[1], shares: share });
        assert_eq!(right(&row, &[0], mixed(&[0.4])), 1);
        assert_eq!(right(&row, &[0], mixed(&[0.5])), 0);
    }

    #[test]
    fn what_is_not_finite_gives_a_loss_that_is_not() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut results = [BatchLoss::default()];
            cross_entropy(&buffer(1, &[0.0, bad, 1.0]), &[0], 3, &mut results).unwrap();
            assert!(!results[0].sum.is_finite());
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut results = [BatchLoss::default()];
        cross_entropy(&buffer(1, &[1e4_f32, 0.0]), &[1], 2, &mut results).unwrap();
        assert!((results[0].sum - 1e4).abs() < 1.0);
    }

    #[test]
    fn the_gradient_of_a_class_that_is_out_of_the_question_is_never_subnormal() {
        for below in (0..=100).map(|x| x as f32) {
            let (logits, mut gradient) = (buffer(1, &[0.0_f32, -below, 0.0]), buffer(1, &[0.0; 3]));
            let (targets, mut results) = (Targets::plain(&[0]), [BatchLoss::default()]);
            let targets = Targets { whole: Some(1000), ..targets };
            cross_entropy_gradient(&logits, &targets, &[0.0], (&mut gradient, 3), &mut results)
                .unwrap();
            let gradient = gradient.read().unwrap();
            assert!(!gradient.iter().any(|x| x.is_subnormal()), "{below} {:?}", &gradient[..]);
        }
    }
}
