//! What `plateau` remembers: how low the validations have brought the rate, and what it waits for.
//!
//! PyTorch's `ReduceLROnPlateau` in relative mode, without its `eps` (it ignores drops by less than
//! 1e-8, which is a trap at small rates; `min_lr` says where to end). Saved with the progress, so
//! that a resumed run drops its rate after the same epoch.

use serde::{Deserialize, Serialize};

use crate::spec::RunConfig;
use crate::spec::schedule::{Schedule, Watched};
use crate::train::report::Evaluation;

/// The memory of one lane's `plateau`; without meaning for other schedules.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// What the drops so far multiply the rate with.
    factor: f64,
    /// The best value so far; none before the first validation.
    best: Option<f64>,
    /// Validations in a row that were no improvement.
    bad_epochs: u32,
    /// Validations after a drop that are still not counted.
    cooldown: u32,
    /// Validations seen.
    epochs: u32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, best: None, bad_epochs: 0, cooldown: 0, epochs: 0 }
    }
}

impl Plateau {
    /// What the drops so far multiply the rate with, in (0, 1].
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Validations seen so far, one after every epoch.
    pub fn epochs(&self) -> u32 {
        self.epochs
    }

    /// Can this memory, read from a file, be of a run?
    pub fn is_sound(&self) -> bool {
        let finite = self.best.is_none_or(f64::is_finite);
        self.factor > 0.0
            && self.factor <= 1.0
            && finite
            && self.best.is_some() == (self.epochs > 0)
    }

    /// Takes in the validation after an epoch of the run of `config`. A value that is no number is
    /// no improvement.
    pub fn observe(&mut self, config: &RunConfig, validation: &Evaluation) {
        let Schedule::Plateau { factor, patience, threshold, cooldown, min_lr, metric } =
            &config.schedule
        else {
            return;
        };
        self.epochs += 1;
        let better = |(value, best): (f64, f64)| match metric {
            Watched::Loss => value < best * (1.0 - threshold),
            Watched::Accuracy => value > best * (1.0 + threshold),
        };
        let value = match metric {
            Watched::Loss => validation.loss,
            Watched::Accuracy => validation.accuracy,
        };
        if self.best.map_or(value.is_finite(), |best| better((value, best))) {
            self.best = Some(value);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs > *patience {
            self.factor = (self.factor * factor).max(min_lr / config.scaled_lr()).min(self.factor);
            self.cooldown = *cooldown;
            self.bad_epochs = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(patience: u32, metric: Watched) -> RunConfig {
        let (factor, threshold, cooldown, min_lr) = (0.5, 0.1, 0, 0.03);
        let schedule = Schedule::Plateau { factor, patience, threshold, cooldown, min_lr, metric };
        RunConfig { lr: 0.1, schedule, ..RunConfig::default() }
    }

    fn factors(config: &RunConfig, values: &[f64]) -> Vec<f64> {
        let mut plateau = Plateau::default();
        values
            .iter()
            .map(|&value| {
                plateau.observe(config, &Evaluation { loss: value, accuracy: value });
                assert!(plateau.is_sound());
                plateau.factor()
            })
            .collect()
    }

    #[test]
    fn the_rate_drops_when_patience_is_used_up_and_not_below_the_least() {
        let loss = config(1, Watched::Loss);
        let values = [1.0, 0.95, 0.91, 0.5, 0.5, 0.5, 0.5, 0.5];
        let least = 0.3;
        assert_eq!(factors(&loss, &values), [1.0, 1.0, 0.5, 0.5, 0.5, least, least, least]);
        let accuracy = config(0, Watched::Accuracy);
        assert_eq!(factors(&accuracy, &[0.5, 0.6, 0.62, 0.9]), [1.0, 1.0, 0.5, 0.5]);
    }

    #[test]
    fn what_is_no_number_is_no_improvement() {
        let loss = config(0, Watched::Loss);
        assert_eq!(factors(&loss, &[1.0, f64::NAN, 0.5]), [1.0, 0.5, 0.5]);
    }
}
