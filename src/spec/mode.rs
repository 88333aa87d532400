//! `mode`: is a run trained, or are its steps timed?

use super::config::{Key, RunConfig};
use super::validate::Misfit;
use super::value::Interval;
use super::word::words;

words! {
    /// What a run is for.
    Mode, "a mode" {
        /// It trains for `epochs`, validates after each and tests at the end.
        Train = "train",
        /// Its training steps are timed, part by part, and nothing else is done: whole batches of the
        /// data set, round after round, without validation, test or checkpoint. It has the machine to
        /// itself. `epochs` only says how the schedule moves the learning rate.
        Throughput = "throughput" {
            /// Steps that are timed.
            steps: u32 = 20, Interval::closed(1.0, 1_000_000.0);
            /// Steps before them that are not.
            warm_up: u32 = 5, Interval::closed(0.0, 1_000_000.0);
        },
    }
}

/// How many steps a run times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Steps before the first that is timed.
    pub warm_up: u32,
    /// Steps that are timed; at least one.
    pub steps: u32,
}

impl Course {
    /// All steps.
    pub fn total(self) -> u64 {
        u64::from(self.warm_up) + u64::from(self.steps)
    }
}

impl Mode {
    /// The steps that are timed; `None` of a run that is trained.
    pub fn course(&self) -> Option<Course> {
        match self {
            Self::Train => None,
            Self::Throughput { steps, warm_up } => {
                Some(Course { warm_up: *warm_up, steps: *steps })
            }
        }
    }
}

/// What is measured in the layers would be timed as part of the step.
pub fn misfit(config: &RunConfig) -> Option<Misfit> {
    (config.mode.course().is_some() && !config.measure.is_empty()).then(|| {
        let message = "mode = \"throughput\" times the step, and what `measure` asks for would be \
                       timed with it";
        let help = "leave out `measure`, or set it with [[when]] for mode = \"train\"";
        Misfit::new(&[Key::Mode, Key::Measure], message.to_owned(), help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::measure::{Measurement, Measurements};
    use crate::spec::validate::misfits;

    fn read(json: serde_json::Value) -> Result<Mode, String> {
        let config = RunConfig::from_canonical(&serde_json::json!({ "mode": json }));
        config.map(|config| config.mode).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mode_is_a_word_with_defaults_and_training_is_no_news() {
        let written = serde_json::json!({ "kind": "throughput", "steps": 20, "warm_up": 5 });
        let throughput = read("throughput".into()).unwrap();
        assert_eq!(read(written).unwrap(), throughput);
        assert_eq!(throughput.course(), Some(Course { warm_up: 5, steps: 20 }));
        assert_eq!(throughput.course().map(Course::total), Some(25));
        assert_eq!(Mode::Train.course(), None);
        assert!(RunConfig::default().canonical().is_empty(), "no id of before changes");
        for wrong in [
            serde_json::json!("fast"),
            serde_json::json!({ "kind": "throughput", "steps": 0 }),
            serde_json::json!({ "kind": "train", "steps": 3 }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_would_be_timed_with_the_step_is_refused() {
        let measure = Measurements::new(vec![Measurement::UpdateRatio]);
        let mode = Mode::Throughput { steps: 3, warm_up: 0 };
        let config = RunConfig { mode, measure, ..RunConfig::default() };
        let found = misfits(&config);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].keys, [Key::Mode, Key::Measure]);
        assert_eq!(misfits(&RunConfig { mode: Mode::Train, ..config }), []);
    }
}
