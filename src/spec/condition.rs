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

/// A test of one key's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `key = value` or `key = { eq = value }`.
    Equals(Setting),
    /// `key = { ne = value }`.
    Differs(Setting),
    /// `key = [values]` or `key = { in = [values] }`.
    OneOf(Vec<Setting>),
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
                format!("={}", values.iter().map(Setting::label).collect::<Vec<_>>().join("|"))
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
            Self::Equals(value) => setting == value,
            Self::Differs(value) => setting != value,
            Self::OneOf(values) => values.contains(setting),
            Self::Below(bound) => number(f64::lt, bound),
            Self::AtMost(bound) => number(f64::le, bound),
            Self::Above(bound) => number(f64::gt, bound),
            Self::AtLeast(bound) => number(f64::ge, bound),
        }
    }
}
