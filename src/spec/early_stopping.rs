//! `early_stopping`: whether a run may end before its last epoch.

use super::config::{Key, RunConfig};
use super::schedule::Watched;
use super::validate::Misfit;
use super::value::Interval;
use super::word::words;

words! {
    /// Whether a run may end before its last epoch. Its results are those of the epoch that it ended
    /// after, and `reason` says so.
    EarlyStopping, "an early stopping" {
        /// Every run has all of its epochs.
        None = "none",
        /// A run ends when validation has stopped improving (Prechelt, 1998), as Keras's EarlyStopping:
        /// nothing is gone back to.
        Validation = "validation" {
            /// Epochs in a row without an improvement after which it ends.
            patience: u32 = 5, Interval::at_least(1.0);
            /// How much another value has to be better than the best by to count.
            min_delta: f64 = 0.0, Interval::at_least(0.0);
            /// What has to improve.
            metric: Watched = Watched::Loss, ();
        },
    }
}

/// A patience that no run can use up changes nothing.
pub fn misfit(config: &RunConfig) -> Option<Misfit> {
    let EarlyStopping::Validation { patience, .. } = config.early_stopping else { return None };
    // The first epoch always improves, and after the last there is nothing to spare.
    let needed = u64::from(patience) + 2;
    (config.mode.course().is_none() && needed > u64::from(config.epochs)).then(|| {
        let epochs = config.epochs;
        let message = format!(
            "early stopping with a patience of {patience} epochs never ends a run of {epochs}"
        );
        let help = format!("take epochs = {needed} or more, or less patience");
        Misfit::new(&[Key::EarlyStopping, Key::Epochs], message, help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::validate::misfits;

    #[test]
    fn a_patience_that_is_never_used_up_is_refused() {
        let found = |patience, epochs| {
            let early_stopping =
                EarlyStopping::Validation { patience, min_delta: 0.0, metric: Watched::Loss };
            misfits(&RunConfig { early_stopping, epochs, ..RunConfig::default() })
        };
        assert_eq!(found(5, 7), []);
        let refused = &found(5, 6)[0];
        assert_eq!(refused.keys, [Key::EarlyStopping, Key::Epochs]);
        assert_eq!(
            refused.message,
            "early stopping with a patience of 5 epochs never ends a run of 6"
        );
        assert_eq!(refused.help.as_deref(), Some("take epochs = 7 or more, or less patience"));
    }
}
