//! The learning rate at every step, as a factor on `lr`. Pure: nothing to save, nothing to restore.

use std::f64::consts::PI;

use crate::spec::schedule::Schedule;

/// The factor on the learning rate in optimizer step `step` (from 0, of the run).
///
/// Cosine: with S steps in the run, step s has f + (1 - f) (1 + cos(pi s / S)) / 2 for the final
/// factor f. The first step has 1, and the last is one step before f, which is reached when the run
/// is over; so at an epoch's first step the factor is that of PyTorch's `CosineAnnealingLR` stepped
/// once an epoch with T_max the number of epochs.
///
/// Warm-up and cosine: with W steps of warm-up, step s < W has (s + 1) / W, so that the first step
/// is not lost at a rate of 0; then the cosine over the remaining S - W steps, from 1.
pub fn factor(schedule: &Schedule, step: u64, steps_per_epoch: u64, epochs: u32) -> f64 {
    let epoch = step / steps_per_epoch;
    let total = steps_per_epoch * u64::from(epochs);
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Step { every_epochs, gamma } => {
            gamma.powf((epoch / u64::from(*every_epochs)) as f64)
        }
        Schedule::Exponential { gamma } => gamma.powf(epoch as f64),
        Schedule::Cosine { final_factor } => cosine(step as f64 / total as f64, *final_factor),
        Schedule::WarmupCosine { warmup_epochs, final_factor } => {
            let warmup = steps_per_epoch * u64::from(*warmup_epochs);
            if step < warmup {
                return (step + 1) as f64 / warmup as f64;
            }
            cosine((step - warmup) as f64 / (total - warmup) as f64, *final_factor)
        }
    }
}

/// Half a cosine from 1 (at 0) to `final_factor` (at 1).
fn cosine(progress: f64, final_factor: f64) -> f64 {
    final_factor + (1.0 - final_factor) * 0.5 * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Factors of every step of 4 epochs of 2 steps.
    fn factors(schedule: &Schedule) -> Vec<f64> {
        (0..8).map(|step| factor(schedule, step, 2, 4)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn factors_are_those_of_the_table() {
        let half = 0.5_f64.sqrt();
        let far = (PI / 8.0).cos();
        let near = (PI * 3.0 / 8.0).cos();
        let cosine = [1.0, far, half, near, 0.0, -near, -half, -far];
        let cosine = cosine.map(|c| 0.5 * (1.0 + c));
        assert_close(&factors(&Schedule::Constant), &[1.0; 8]);
        let step = Schedule::Step { every_epochs: 2, gamma: 0.1 };
        assert_close(&factors(&step), &[1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1]);
        let exponential = Schedule::Exponential { gamma: 0.5 };
        assert_close(&factors(&exponential), &[1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
        assert_close(&factors(&Schedule::Cosine { final_factor: 0.0 }), &cosine);
        let raised = cosine.map(|c| 0.2 + 0.8 * c);
        assert_close(&factors(&Schedule::Cosine { final_factor: 0.2 }), &raised);
        let warmup = Schedule::WarmupCosine { warmup_epochs: 2, final_factor: 0.0 };
        let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5 * (1.0 + half), 0.5, 0.5 * (1.0 - half)];
        assert_close(&factors(&warmup), &expected);
    }

    /// PyTorch's recursions, stepped once an epoch: StepLR and ExponentialLR multiply,
    /// CosineAnnealingLR (eta_min = 0) has its closed form.
    #[test]
    fn epochs_begin_with_pytorchs_rates() {
        let (steps_per_epoch, epochs) = (7, 30);
        let (mut step_lr, mut exponential_lr) = (1.0, 1.0);
        for epoch in 0..epochs {
            if epoch > 0 {
                exponential_lr *= 0.95;
                if epoch % 10 == 0 {
                    step_lr *= 0.1;
                }
            }
            let cosine_lr = (1.0 + (PI * f64::from(epoch) / f64::from(epochs)).cos()) / 2.0;
            let first = u64::from(epoch) * steps_per_epoch;
            let found = [
                Schedule::Step { every_epochs: 10, gamma: 0.1 },
                Schedule::Exponential { gamma: 0.95 },
                Schedule::Cosine { final_factor: 0.0 },
            ]
            .map(|schedule| factor(&schedule, first, steps_per_epoch, epochs));
            assert_close(&found, &[step_lr, exponential_lr, cosine_lr]);
        }
    }

    #[test]
    fn warmup_as_long_as_the_run_never_leaves_the_line() {
        let schedule = Schedule::WarmupCosine { warmup_epochs: 4, final_factor: 0.0 };
        let expected: Vec<f64> = (1..=8).map(|s| f64::from(s) / 8.0).collect();
        assert_close(&factors(&schedule), &expected);
    }
}
