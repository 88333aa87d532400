//! What `gridlane doctor` prints: a line for each thing that was looked at.

use super::columns::{columns, one_line};
use crate::units::counted;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should be.
    Good,
    /// Not there, and not needed by everybody.
    Absent,
    /// Something to put right.
    Bad,
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Absent => "-",
            Self::Bad => "problem",
        }
    }
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub mark: Mark,
    /// What was looked at.
    pub what: &'static str,
    /// What was found, on one line.
    pub told: String,
}

impl Finding {
    /// Something that was looked at.
    pub fn new(mark: Mark, what: &'static str, told: impl Into<String>) -> Self {
        Self { mark, what, told: told.into() }
    }
}

/// Renders findings, and how many of them are to be put right.
pub fn checkup(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        vec![finding.mark.as_str().to_owned(), finding.what.to_owned(), one_line(&finding.told)]
    };
    let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
    let text = columns(&rows, |_| false);
    let told = match findings.iter().filter(|finding| finding.mark == Mark::Bad).count() {
        0 => "nothing is in the way".to_owned(),
        bad => counted(bad, "problem"),
    };
    text + &told + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_stands_in_columns() {
        let good = Finding::new(Mark::Good, "cores", "2: 0, 1");
        let absent = Finding::new(Mark::Absent, "Slurm", "no `sbatch` in PATH");
        let bad = Finding::new(Mark::Bad, "record", "cannot write:\nno room");
        insta::assert_snapshot!(checkup(&[good.clone(), absent.clone()]), @r"
        ok  cores  2: 0, 1
        -   Slurm  no `sbatch` in PATH
        nothing is in the way
        ");
        insta::assert_snapshot!(checkup(&[good, absent, bad]), @r"
        ok       cores   2: 0, 1
        -        Slurm   no `sbatch` in PATH
        problem  record  cannot write: no room
        1 problem
        ");
    }
}
