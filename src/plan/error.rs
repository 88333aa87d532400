//! Why a valid sweep file gives no plan.

use std::path::PathBuf;

use miette::Diagnostic;

use super::expand::{ExcludedBy, MAX_RUNS};
use super::misfit::MisfitGroup;
use crate::spec::Key;
use crate::spec::node::Span;
use crate::units::show_count;

/// Why a valid sweep file gives no plan.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum PlanError {
    /// More than [`MAX_RUNS`].
    #[error(
        "the sweep has {} {what} ({shape}), more than the {} that one sweep may have",
        size.map_or_else(|| "more than 10^38".to_owned(), show_count),
        show_count(MAX_RUNS as u128)
    )]
    #[diagnostic(help(
        "give the largest axes fewer values, move axes into `[[when]]` or `[[zip]]`, or split the sweep into several files"
    ))]
    TooLarge {
        /// How many, where that is a number of 128 bits.
        size: Option<u128>,
        /// `runs`, or `points` where rules may still drop some.
        what: &'static str,
        /// The axes with their sizes.
        shape: String,
    },
    /// A key is varied by two of `[grid]` and `[[zip]]`.
    #[error("`{key}` is varied twice: a key may stand in `[grid]` or in one `[[zip]]`")]
    #[diagnostic(help("remove one of the two"))]
    VariedTwice {
        /// The key.
        key: Key,
    },
    /// Something other than `[repeats]` varies the seed.
    #[error("`seed` cannot be varied: seeds are repeats of a configuration, not configurations")]
    #[diagnostic(help("write `[repeats]` with `seeds = 5` or `seeds = [1, 2, 3]`"))]
    SeedVaried,
    /// A `[[when]]` sets a key that the point already has set.
    #[error(
        "`[[when]]` number {number} sets `{key}` where an earlier table has set it already, at {example}"
    )]
    #[diagnostic(help("make the conditions exclude each other"))]
    SetTwice {
        /// Which `[[when]]`, from 1.
        number: usize,
        /// The key.
        key: Key,
        /// The first point where it happens.
        example: String,
        /// Where the `[[when]]` stands.
        span: Span,
    },
    /// No point is left.
    #[error("no configuration is left: {}", rules_text(excluded))]
    #[diagnostic(help("loosen or remove a rule; `[[include]]` adds single points back"))]
    NothingLeft {
        /// What the rules dropped.
        excluded: Vec<ExcludedBy>,
    },
    /// Configurations that cannot be trained.
    #[error("{bad} of {total} configurations cannot be trained")]
    Misfits {
        /// Configurations with at least one misfit.
        bad: usize,
        /// All configurations.
        total: usize,
        /// What is wrong, each thing once.
        #[related]
        groups: Vec<MisfitGroup>,
    },
    /// The sweep's folder cannot be listed.
    #[error("cannot read the record at {}", path.display())]
    Record {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The record was written by a newer program.
    #[error(
        "{} has format {found}, this program knows formats up to {known}",
        path.display()
    )]
    #[diagnostic(help(
        "update gridlane, or give the sweep another name to start a record of its own"
    ))]
    NewerRecord {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that can be read.
        known: u32,
    },
}

impl PlanError {
    /// Is it the sweep file that must change, rather than the record or the program?
    pub fn is_of_the_file(&self) -> bool {
        !matches!(self, Self::Record { .. } | Self::NewerRecord { .. })
    }
}

fn rules_text(excluded: &[ExcludedBy]) -> String {
    let rules: Vec<String> = excluded
        .iter()
        .filter(|rule| rule.dropped > 0)
        .map(|rule| format!("{} dropped {}", rule.place(), show_count(rule.dropped as u128)))
        .collect();
    if rules.is_empty() { "an axis has no value".to_owned() } else { rules.join(", ") }
}
