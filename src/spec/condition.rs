//! Conditions of `[[exclude]]` and `if`: tests of keys, all of which must hold.

use super::config::{Key, RunConfig, Setting};

/// Tests that must all hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The tests, each of one key.
    pub tests: Vec<(Key, Test)>,
}

impl Condition {
    /// Does a configuration pass all tests?
    pub fn holds(&self, config: &RunConfig) -> bool {
        self.tests.iter().all(|(key, test)| test.passes(&config.setting(*key)))
    }

    /// The condition as tables show it: `activation=relu lr>0.01`.
    pub fn label(&self) -> String {
        let test = |(key, test): &(Key, Test)| format!("{key}{}", test.label());
        self.tests.iter().map(test).collect::<Vec<_>>().join(" ")
    }
}

/// What a test names.
#[derive(Debug, Clone, PartialEq)]
pub enum Named {
    /// This value.
    Value(Setting),
    /// Every value of this kind, whatever its parameters: a word without any, `schedule = "step"`.
    Kind(&'static str),
}

impl Named {
    /// Is `setting` what is named?
    pub fn is(&self, setting: &Setting) -> bool {
        match self {
            Self::Value(value) => value == setting,
            Self::Kind(kind) => setting.kind() == Some(kind),
        }
    }

    /// As tables show it.
    pub fn label(&self) -> String {
        match self {
            Self::Value(value) => value.label(),
            Self::Kind(kind) => (*kind).to_owned(),
        }
    }
}

impl From<Setting> for Named {
    fn from(value: Setting) -> Self {
        Self::Value(value)
    }
}

/// A test of one key's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `key = value` or `key = { eq = value }`.
    Equals(Named),
    /// `key = { ne = value }`.
    Differs(Named),
    /// `key = [values]` or `key = { in = [values] }`.
    OneOf(Vec<Named>),
    /// `key = { lt = number }`.
    Below(f64),
    /// `key = { le = number }`.
    AtMost(f64),
    /// `key = { gt = number }`.
    Above(f64),
    /// `key = { ge = number }`.
    AtLeast(f64),
}

impl Test {
    /// The operator and what it compares with.
    fn label(&self) -> String {
        match self {
            Self::Equals(value) => format!("={}", value.label()),
            Self::Differs(value) => format!("!={}", value.label()),
            Self::OneOf(values) => {
                format!("={}", values.iter().map(Named::label).collect::<Vec<_>>().join("|"))
            }
            Self::Below(bound) => format!("<{bound}"),
            Self::AtMost(bound) => format!("<={bound}"),
            Self::Above(bound) => format!(">{bound}"),
            Self::AtLeast(bound) => format!(">={bound}"),
        }
    }

    /// Does `setting`, a value of the tested key, pass?
    pub fn passes(&self, setting: &Setting) -> bool {
        let number = |test: fn(&f64, &f64) -> bool, bound: &f64| {
            setting.number().is_some_and(|x| test(&x, bound))
        };
        match self {
            Self::Equals(value) => value.is(setting),
            Self::Differs(value) => !value.is(setting),
            Self::OneOf(values) => values.iter().any(|value| value.is(setting)),
            Self::Below(bound) => number(f64::lt, bound),
            Self::AtMost(bound) => number(f64::le, bound),
            Self::Above(bound) => number(f64::gt, bound),
            Self::AtLeast(bound) => number(f64::ge, bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::config::{RunConfig, Setting};
    use crate::spec::schedule::Schedule;
    use crate::spec::{Key, SweepSpec};

    #[test]
    fn a_word_alone_is_every_value_of_its_kind() {
        let file = |test: &str| {
            format!(
                "schema = 1\nname = \"kinds\"\n[grid]\nschedule = [\"constant\", \
                 {{ kind = \"step\", every_epochs = 4 }}, {{ kind = \"step\", gamma = 0.5 }}]\n\
                 [[exclude]]\nschedule = {test}\n"
            )
        };
        let excluded = |test: &str| {
            let (spec, _) = SweepSpec::parse("kinds.toml", &file(test), &[]).unwrap();
            let values = spec.grid[0].values.iter().map(|choice| &choice.setting);
            let held = values.map(|setting| {
                let mut config = RunConfig::default();
                config.set(setting);
                spec.excludes[0].condition.holds(&config)
            });
            (held.collect::<Vec<bool>>(), spec.excludes[0].condition.label())
        };
        let both = (vec![false, true, true], "schedule=step".to_owned());
        assert_eq!(excluded("\"step\""), both);
        assert_eq!(excluded("[\"step\"]"), both);
        assert_eq!(excluded("{ ne = \"step\" }").0, [true, false, false]);
        assert_eq!(excluded("{ kind = \"step\", gamma = 0.5 }").0, [false, false, true]);
        let missing = SweepSpec::parse("kinds.toml", &file("\"cosine\""), &[]);
        assert!(missing.is_err(), "no schedule of the sweep is of this kind");
        let step = Setting::Schedule(Schedule::Step { every_epochs: 10, gamma: 0.1 });
        assert_eq!((step.key(), step.kind()), (Key::Schedule, Some("step")));
    }
}
