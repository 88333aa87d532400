//! The learning rate at every step, as a factor on `lr`. Pure: all but `plateau` follows from the
//! step's number, so there is nothing to save and nothing to restore; the memory of `plateau` is in
//! [`plateau`] and goes into the checkpoint.

mod one_cycle;
pub mod plateau;

use std::f64::consts::PI;

use crate::spec::RunConfig;
use crate::spec::schedule::{Pace, Schedule};

/// What a schedule needs to know of its run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeline {
    /// Optimizer steps of an epoch.
    pub steps_per_epoch: u64,
    /// Epochs of the run.
    pub epochs: u32,
    /// Epochs of linear warm-up before the schedule begins; fractions are rounded to whole steps.
    pub warmup_epochs: f64,
}

impl Timeline {
    /// The timeline of a run.
    pub fn new(config: &RunConfig, steps_per_epoch: u64) -> Self {
        // One of the two is 0: a configuration with both is refused.
        let own = match config.schedule {
            Schedule::WarmupCosine { warmup_epochs, .. } => f64::from(warmup_epochs),
            _ => 0.0,
        };
        let warmup_epochs = config.warmup_epochs.max(own);
        Self { steps_per_epoch, epochs: config.epochs, warmup_epochs }
    }

    fn total(&self) -> u64 {
        self.steps_per_epoch * u64::from(self.epochs)
    }

    fn warmup(&self) -> u64 {
        (self.warmup_epochs * self.steps_per_epoch as f64).round() as u64
    }
}

/// The factor on the learning rate in optimizer step `step` (from 0, of the run); `dropped` is what
/// the validations so far have made of the rate, 1 for every schedule but `plateau`.
///
/// Warm-up of W steps: step s < W has (s + 1) / W, so that the first step is not lost at a rate of
/// 0. After it, cosine, exponential and polynomial begin with 1 and share the steps that are left;
/// `step`, `multi_step` and `plateau` count the epochs of the whole run (Goyal et al., 2017), so
/// that a warm-up does not move their drops.
///
/// Cosine: with S steps left, step s of them has f + (1 - f) (1 + cos(pi s / S)) / 2 for the final
/// factor f. The first step has 1, and the last is one step before f, which is reached when the run
/// is over; so at an epoch's first step the factor is that of PyTorch's `CosineAnnealingLR` stepped
/// once an epoch with T_max the number of epochs.
pub fn factor(schedule: &Schedule, step: u64, timeline: &Timeline, dropped: f64) -> f64 {
    let warmup = timeline.warmup();
    if step < warmup {
        return (step + 1) as f64 / warmup as f64 * dropped;
    }
    let epoch = step / timeline.steps_per_epoch;
    let after = Stretch { step: step - warmup, steps: timeline.total() - warmup };
    let per_epoch = timeline.steps_per_epoch;
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Step { every_epochs, gamma } => {
            gamma.powf((epoch / u64::from(*every_epochs)) as f64)
        }
        Schedule::MultiStep { milestones, gamma } => {
            let passed = milestones.iter().filter(|milestone| u64::from(**milestone) <= epoch);
            gamma.powf(passed.count() as f64)
        }
        Schedule::Exponential { gamma, per: Pace::Epoch } => {
            gamma.powf((after.step / per_epoch) as f64)
        }
        Schedule::Exponential { gamma, per: Pace::Step } => {
            gamma.powf(after.step as f64 / per_epoch as f64)
        }
        Schedule::Cosine { final_factor, per } => {
            cosine(after.progress(per, per_epoch), *final_factor)
        }
        Schedule::WarmupCosine { final_factor, .. } => {
            cosine(after.progress(&Pace::Step, per_epoch), *final_factor)
        }
        Schedule::Polynomial { power, final_factor } => {
            let left = (1.0 - after.progress(&Pace::Step, per_epoch)).powf(*power);
            final_factor + (1.0 - final_factor) * left
        }
        Schedule::OneCycle { pct_start, div_factor, final_div_factor, anneal } => {
            let cycle = one_cycle::Cycle {
                rise: *pct_start,
                first: 1.0 / div_factor,
                last: 1.0 / (div_factor * final_div_factor),
                anneal,
            };
            cycle.factor(step, timeline.total())
        }
        Schedule::Plateau { .. } => dropped,
    }
}

/// A step among those after the warm-up.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    step: u64,
    steps: u64,
}

impl Stretch {
    /// How much of the stretch is over, in 0 .. 1.
    fn progress(self, pace: &Pace, steps_per_epoch: u64) -> f64 {
        let step = match pace {
            Pace::Step => self.step,
            Pace::Epoch => self.step / steps_per_epoch * steps_per_epoch,
        };
        step as f64 / self.steps as f64
    }
}

/// Half a cosine from 1 (at 0) to `final_factor` (at 1).
fn cosine(progress: f64, final_factor: f64) -> f64 {
    final_factor + (1.0 - final_factor) * 0.5 * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::report::Evaluation;

    /// Factors of every step of 4 epochs of 2 steps.
    fn factors(schedule: &Schedule) -> Vec<f64> {
        warmed_up(schedule, 0.0)
    }

    /// The same, after so many epochs of warm-up.
    fn warmed_up(schedule: &Schedule, warmup_epochs: f64) -> Vec<f64> {
        let config = RunConfig {
            epochs: 4,
            warmup_epochs,
            schedule: schedule.clone(),
            ..RunConfig::default()
        };
        let timeline = Timeline::new(&config, 2);
        (0..8).map(|step| factor(schedule, step, &timeline, 1.0)).collect()
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
        let exponential = Schedule::Exponential { gamma: 0.5, per: Pace::Epoch };
        assert_close(&factors(&exponential), &[1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]);
        assert_close(&factors(&Schedule::Cosine { final_factor: 0.0, per: Pace::Step }), &cosine);
        let raised = cosine.map(|c| 0.2 + 0.8 * c);
        assert_close(&factors(&Schedule::Cosine { final_factor: 0.2, per: Pace::Step }), &raised);
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
                Schedule::Exponential { gamma: 0.95, per: Pace::Epoch },
                Schedule::Cosine { final_factor: 0.0, per: Pace::Step },
            ]
            .map(|schedule| {
                let timeline = Timeline { steps_per_epoch, epochs, warmup_epochs: 0.0 };
                factor(&schedule, first, &timeline, 1.0)
            });
            assert_close(&found, &[step_lr, exponential_lr, cosine_lr]);
        }
    }

    #[test]
    fn warmup_as_long_as_the_run_never_leaves_the_line() {
        let schedule = Schedule::WarmupCosine { warmup_epochs: 4, final_factor: 0.0 };
        let expected: Vec<f64> = (1..=8).map(|s| f64::from(s) / 8.0).collect();
        assert_close(&factors(&schedule), &expected);
    }

    #[test]
    fn drops_count_the_runs_epochs_and_curves_those_after_the_warm_up() {
        let multi_step = Schedule::MultiStep { milestones: vec![1, 3], gamma: 0.5 };
        assert_close(&factors(&multi_step), &[1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]);
        // One and a half epochs are three steps.
        let third = 1.0 / 3.0;
        let expected = [third, 2.0 * third, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25];
        assert_close(&warmed_up(&multi_step, 1.5), &expected);
        let line = Schedule::Polynomial { power: 1.0, final_factor: 0.0 };
        let expected = [third, 2.0 * third, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2];
        assert_close(&warmed_up(&line, 1.5), &expected);
        let slow = Schedule::Exponential { gamma: 0.25, per: Pace::Step };
        assert_close(&factors(&slow)[..4], &[1.0, 0.5, 0.25, 0.125]);
        let stairs = Schedule::Cosine { final_factor: 0.0, per: Pace::Epoch };
        let near = 0.5 * (1.0 + 0.5_f64.sqrt());
        assert_close(&factors(&stairs)[..6], &[1.0, 1.0, near, near, 0.5, 0.5]);
    }

    /// What the script beside the file made with PyTorch's own schedulers.
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        config: serde_json::Value,
        steps_per_epoch: u64,
        /// Losses or accuracies after every epoch.
        validation: Option<Vec<f64>>,
        rates: Vec<f64>,
    }

    #[test]
    fn every_rate_of_every_step_is_pytorchs() {
        let text = include_str!("../../../tests/fixtures/pytorch/schedules.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for case in cases {
            let config = RunConfig::from_canonical(&case.config).unwrap();
            kinds.insert(config.schedule.kind());
            let timeline = Timeline::new(&config, case.steps_per_epoch);
            let mut plateau = plateau::Plateau::default();
            assert_eq!(case.rates.len() as u64, timeline.total(), "{}", case.name);
            for (step, expected) in case.rates.iter().enumerate() {
                let step = step as u64;
                let dropped = plateau.factor();
                let rate = config.lr * factor(&config.schedule, step, &timeline, dropped);
                let error = (rate - expected).abs();
                assert!(error <= 1e-12 * config.lr, "{} {step}: {rate} {expected}", case.name);
                let done = step + 1;
                if let Some(values) = &case.validation
                    && done.is_multiple_of(case.steps_per_epoch)
                {
                    let value = values[(done / case.steps_per_epoch) as usize - 1];
                    let seen = Evaluation { loss: value, accuracy: value };
                    plateau.observe(&config, &seen);
                }
            }
        }
        assert_eq!(kinds.len(), Schedule::KINDS.len(), "kinds held to PyTorch: {kinds:?}");
    }
}
