//! [`SweepSpec`]: a whole sweep file, read and valid.

use super::budget::Budget;
use super::claim::Claim;
use super::condition::Condition;
use super::config::{Key, RunConfig, Setting};
use super::dataset::Dataset;
use super::metric::Metric;
use super::node::Span;
use super::run_policy::RunPolicy;
use super::slurm::SlurmSection;
use crate::ids::SweepName;

/// A sweep file, read, typed and valid as far as one can say before it is expanded.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepSpec {
    /// `name`.
    pub name: SweepName,
    /// `description`.
    pub description: Option<String>,
    /// Every key that does not vary: defaults, `[base]` and single overrides.
    pub base: RunConfig,
    /// The keys that `[base]` or an override wrote, and where.
    pub base_spans: Vec<(Key, Span)>,
    /// `[grid]`: axes whose product is taken, in the order written.
    pub grid: Vec<Axis>,
    /// `[[zip]]`: axes that move together.
    pub zips: Vec<Zip>,
    /// `[[when]]`: axes of the points that a condition picks.
    pub whens: Vec<When>,
    /// `[[exclude]]`: points to leave out.
    pub excludes: Vec<Exclude>,
    /// `[[include]]`: points beside the grid.
    pub includes: Vec<Include>,
    /// `[repeats]`: the seeds of every configuration, distinct, at least one.
    pub seeds: Vec<u64>,
    /// `[metric]`.
    pub metric: Metric,
    /// `[run]`.
    pub run: RunPolicy,
    /// `[budget]`.
    pub budget: Budget,
    /// `[slurm]`.
    pub slurm: SlurmSection,
    /// `[[claim]]`: what the sweep is to show, in the order written.
    pub claims: Vec<Claim>,
}

impl SweepSpec {
    /// Every data set that runs may train on, to hand in what is known of folders.
    pub fn datasets_mut(&mut self) -> impl Iterator<Item = &mut Dataset> {
        let axes = self.grid.iter_mut();
        let axes = axes.chain(self.zips.iter_mut().flat_map(|zip| &mut zip.axes));
        let axes = axes.chain(self.whens.iter_mut().flat_map(|when| &mut when.axes));
        let choices = axes.flat_map(|axis| &mut axis.values);
        let choices = choices.chain(self.includes.iter_mut().flat_map(|point| &mut point.settings));
        let varied = choices.filter_map(|choice| match &mut choice.setting {
            Setting::Dataset(dataset) => Some(dataset),
            _ => None,
        });
        std::iter::once(&mut self.base.dataset).chain(varied)
    }
}

/// A key that varies, with the values it takes: distinct, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The key.
    pub key: Key,
    /// Its values in the order written.
    pub values: Vec<Choice>,
}

/// One value of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The key with its value.
    pub setting: Setting,
    /// Where it is written.
    pub span: Span,
}

/// Axes of one length that move together.
#[derive(Debug, Clone, PartialEq)]
pub struct Zip {
    /// The axes; the n-th values of all of them form a point.
    pub axes: Vec<Axis>,
}

/// Axes that only the points picked by a condition have.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// Which points. Tests keys of `[base]`, `[grid]`, `[[zip]]` and of earlier `[[when]]`s.
    pub condition: Condition,
    /// The axes, whose product is taken; keys that neither `[grid]` nor `[[zip]]` vary.
    pub axes: Vec<Axis>,
    /// Where it is written.
    pub span: Span,
    /// Line of the file, from 1; 0 on the command line.
    pub line: usize,
}

/// A rule that drops points.
#[derive(Debug, Clone, PartialEq)]
pub struct Exclude {
    /// Which points.
    pub condition: Condition,
    /// Line of the file, from 1, to name the rule by; 0 on the command line.
    pub line: usize,
}

/// A point beside the grid: `[base]` with these keys changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Include {
    /// The changed keys.
    pub settings: Vec<Choice>,
    /// Line of the file, from 1.
    pub line: usize,
}
