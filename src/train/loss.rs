//! The loss: cross-entropy of the softmax, with its gradient in the same pass.

use super::error::TrainError;
use super::kernel::simd::vectorized;
use super::kernel::{Buffer, Real};

/// What one lane's batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BatchLoss {
    /// Sum of the losses of its samples.
    pub sum: f64,
    /// Samples whose largest logit is their class's; the first of equal ones counts.
    pub right: u64,
}

/// For every lane: loss `-log softmax(logits)[label]` summed over the samples, and the number right.
///
/// `logits` (L, N, K); `labels` (L, N), lane by lane, each below K. `gradient`, (L, N, K) where
/// wanted, becomes that of the loss's *mean* over the N samples: (softmax - one-hot) / N.
///
/// # Errors
/// When the tensor library fails.
pub fn cross_entropy<T: Real>(
    logits: &Buffer<T>,
    labels: &[u16],
    classes: usize,
    gradient: Option<&mut Buffer<T>>,
    results: &mut [BatchLoss],
) -> Result<(), TrainError> {
    let samples = labels.len() / results.len();
    let logits = logits.read()?;
    let mut row = vec![T::ZERO; classes];
    let mut lane_loss = |lane: usize, mut gradient: Option<&mut [T]>| {
        let mut result = BatchLoss::default();
        let labels = &labels[lane * samples..][..samples];
        let rows = logits.lane(lane, samples * classes).chunks_exact(classes);
        let share = T::of(1.0 / samples as f64);
        for (sample, (logits, &label)) in rows.zip(labels).enumerate() {
            let label = usize::from(label);
            let sum = exponentials(logits, &mut row);
            let (largest, _) = argmax(logits);
            result.sum += sum.wide().ln() - (logits[label] - logits[largest]).wide();
            result.right += u64::from(largest == label);
            if let Some(gradient) = &mut gradient {
                let out = &mut gradient[sample * classes..][..classes];
                let factor = share / sum;
                for (out, &e) in out.iter_mut().zip(&row) {
                    *out = e * factor;
                }
                out[label] -= share;
            }
        }
        result
    };
    match gradient {
        None => {
            for (lane, result) in results.iter_mut().enumerate() {
                *result = lane_loss(lane, None);
            }
            Ok(())
        }
        Some(gradient) => {
            let capacity = gradient.lane_len();
            gradient.write(|gradient| {
                let lanes = gradient.chunks_exact_mut(capacity).zip(results).enumerate();
                for (lane, (gradient, result)) in lanes {
                    *result = lane_loss(lane, Some(gradient));
                }
            })
        }
    }
}

/// The first place of the largest number, and the number; NaN is never larger.
fn argmax<T: Real>(row: &[T]) -> (usize, T) {
    row.iter().copied().enumerate().fold(
        (0, row[0]),
        |best, (place, x)| {
            if x > best.1 { (place, x) } else { best }
        },
    )
}

/// `out[i] = exp(row[i] - max(row))`; returns their sum.
fn exponentials<T: Real>(row: &[T], out: &mut [T]) -> T {
    let (_, largest) = argmax(row);
    vectorized(
        #[inline(always)]
        || {
            for (out, &x) in out.iter_mut().zip(row) {
                *out = (x - largest).exp();
            }
        },
    );
    out.iter().fold(T::ZERO, |sum, &x| sum + x)
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
        cross_entropy(&buffer(1, &data), &labels, 10, None, &mut results).unwrap();
        assert!((results[0].sum / 16.0 - f64::from(expected)).abs() < 1e-5);
        let right = data
            .chunks(10)
            .zip(&labels)
            .filter(|(row, label)| row.iter().all(|&x| x <= row[usize::from(**label)]));
        assert_eq!(results[0].right, right.count() as u64);
    }

    #[test]
    fn the_gradient_equals_finite_differences_of_the_mean_in_every_lane() {
        let mut data: Vec<f64> = (0..24).map(|i| (f64::from(i) * 1.7).sin() * 3.0).collect();
        let labels = [0, 3, 2, 1, 1, 0];
        let loss = |data: &[f64]| {
            let mut results = [BatchLoss::default(); 2];
            cross_entropy(&buffer(2, data), &labels, 4, None, &mut results).unwrap();
            (results[0].sum + results[1].sum) / 3.0
        };
        let mut gradient = Buffer::<f64>::zeros(2, &[12]).unwrap();
        let mut results = [BatchLoss::default(); 2];
        cross_entropy(&buffer(2, &data), &labels, 4, Some(&mut gradient), &mut results).unwrap();
        for place in 0..data.len() {
            let value = data[place];
            data[place] = value + 1e-5;
            let up = loss(&data);
            data[place] = value - 1e-5;
            let down = loss(&data);
            data[place] = value;
            let expected = (up - down) / 2e-5;
            assert!((gradient.read().unwrap()[place] - expected).abs() < 1e-8);
        }
    }

    #[test]
    fn what_is_not_finite_gives_a_loss_that_is_not() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut results = [BatchLoss::default()];
            cross_entropy(&buffer(1, &[0.0, bad, 1.0]), &[0], 3, None, &mut results).unwrap();
            assert!(!results[0].sum.is_finite());
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut results = [BatchLoss::default()];
        cross_entropy(&buffer(1, &[1e4_f32, 0.0]), &[1], 2, None, &mut results).unwrap();
        assert!((results[0].sum - 1e4).abs() < 1.0);
    }
}
