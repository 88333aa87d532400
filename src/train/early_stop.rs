//! What early stopping remembers of the validations of a run, and when it has seen enough.
//!
//! Saved with the progress, so that a resumed run ends after the same epoch.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::report::Evaluation;
use crate::spec::early_stopping::EarlyStopping;
use crate::spec::schedule::Watched;

/// The memory of one lane's early stopping.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// The best value so far; none before the first validation.
    best: Option<f64>,
    /// The epoch after which it was seen, from 1.
    best_epoch: u32,
    /// Validations seen, one after every epoch.
    epochs: u32,
}

impl Stall {
    /// Validations seen so far.
    pub fn epochs(&self) -> u32 {
        self.epochs
    }

    /// Can this memory, read from a file, be of a run?
    pub fn is_sound(&self) -> bool {
        let seen = self.best_epoch > 0 && self.best_epoch <= self.epochs;
        match self.best {
            Some(best) => best.is_finite() && seen,
            None => self.epochs == 0 && self.best_epoch == 0,
        }
    }

    /// Takes in the validation after an epoch. A value that is no number is no improvement.
    pub fn observe(&mut self, rule: &EarlyStopping, validation: &Evaluation) {
        let EarlyStopping::Validation { min_delta, metric, .. } = rule else { return };
        self.epochs += 1;
        let (value, gain): (f64, fn(f64, f64) -> f64) = match metric {
            Watched::Loss => (validation.loss, |value, best| best - value),
            Watched::Accuracy => (validation.accuracy, |value, best| value - best),
        };
        let is_better = |best: f64| gain(value, best) > *min_delta;
        if value.is_finite() && self.best.is_none_or(is_better) {
            (self.best, self.best_epoch) = (Some(value), self.epochs);
        }
    }

    /// Has the run that this is of waited long enough for an improvement?
    pub fn is_over(&self, rule: &EarlyStopping) -> bool {
        match rule {
            EarlyStopping::None => false,
            EarlyStopping::Validation { patience, .. } => {
                self.epochs - self.best_epoch >= *patience
            }
        }
    }
}

/// Why a run ends here.
impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { best, best_epoch, epochs } = self;
        write!(
            f,
            "stopped early after epoch {epochs}: validation was best after epoch {best_epoch}"
        )?;
        best.map_or(Ok(()), |best| write!(f, " ({best:.4})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(patience: u32, min_delta: f64, metric: Watched) -> EarlyStopping {
        EarlyStopping::Validation { patience, min_delta, metric }
    }

    /// The epoch after which a run with these values ends, if it does.
    fn end(rule: &EarlyStopping, values: &[f64]) -> Option<(u32, String)> {
        let mut stall = Stall::default();
        values.iter().find_map(|&value| {
            stall.observe(rule, &Evaluation { loss: value, accuracy: value });
            assert!(stall.is_sound(), "{stall:?}");
            stall.is_over(rule).then(|| (stall.epochs(), stall.to_string()))
        })
    }

    #[test]
    fn a_run_ends_when_its_patience_is_used_up() {
        let loss = rule(2, 0.0, Watched::Loss);
        let told = "stopped early after epoch 5: validation was best after epoch 3 (0.7000)";
        let ended = end(&loss, &[1.0, 0.9, 0.7, 0.7, 0.8, 0.1]);
        assert_eq!(ended, Some((5, told.to_owned())));
        assert_eq!(end(&loss, &[1.0, 1.1, 0.9, 1.0, 0.8]), None);
        let accuracy = rule(1, 0.05, Watched::Accuracy);
        assert_eq!(end(&accuracy, &[0.5, 0.6, 0.64]).unwrap().0, 3, "too small a gain is none");
        assert_eq!(end(&EarlyStopping::None, &[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn what_is_no_number_is_no_improvement() {
        let loss = rule(1, 0.0, Watched::Loss);
        assert_eq!(end(&loss, &[1.0, f64::NAN, 0.5]).unwrap().0, 2);
    }

    #[test]
    fn a_memory_that_no_run_has_is_told_apart() {
        let memory = |text: &str| serde_json::from_str::<Stall>(text).unwrap().is_sound();
        assert!(memory(r#"{"best":0.5,"best_epoch":2,"epochs":3}"#));
        assert!(!memory(r#"{"best":0.5,"best_epoch":4,"epochs":3}"#));
        assert!(!memory(r#"{"best":null,"best_epoch":0,"epochs":3}"#));
    }
}
