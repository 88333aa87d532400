//! A condition of the sweep file, made fast: every value of every column is tested once, and a
//! point is then judged by table look-ups.

use super::points::{Column, UNSET};
use crate::spec::RunConfig;
use crate::spec::condition::Condition;

/// A condition that rows can be held against.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Do the tests of keys that no rule sets hold?
    base_holds: bool,
    tests: Vec<ColumnTest>,
}

#[derive(Debug)]
struct ColumnTest {
    column: usize,
    /// For each value of the column: does it pass?
    passes: Vec<bool>,
    /// Does the base value pass, where the column is not set?
    base_passes: bool,
}

impl Rule {
    /// Prepares `condition` for rows over `columns`; other keys are at their `base` value.
    pub(crate) fn new(condition: &Condition, columns: &[Column], base: &RunConfig) -> Self {
        let mut rule = Self { base_holds: true, tests: Vec::new() };
        for (key, test) in &condition.tests {
            let base_passes = test.passes(&base.setting(*key));
            match columns.iter().position(|column| column.key == *key) {
                Some(column) => {
                    let passes =
                        columns[column].values.iter().map(|value| test.passes(value)).collect();
                    rule.tests.push(ColumnTest { column, passes, base_passes });
                }
                None => rule.base_holds &= base_passes,
            }
        }
        rule
    }

    /// Does the condition hold at `row`?
    pub(crate) fn holds(&self, row: &[u32]) -> bool {
        self.base_holds
            && self.tests.iter().all(|test| match row[test.column] {
                UNSET => test.base_passes,
                value => test.passes[value as usize],
            })
    }
}
