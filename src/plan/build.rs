//! [`Plan`]: every run of a sweep, and what is left to do.
//!
//! In: a sweep file, its record if there is one, how data sets are fingerprinted, and what fits
//! together. Out: the runs in the order in which they are started: all configurations with the
//! first seed, then all with the second, so that a leaderboard compares everything early.

use std::collections::BTreeMap;

use super::error::PlanError;
use super::expand::{ExcludedBy, expand};
use super::identity::{DataPrints, Fingerprint, Identifier};
use super::idle::Idle;
use super::misfit::{MisfitCheck, refuse_idle_axes, refuse_misfits};
use super::points::Points;
use super::stale::{self, Planned, StaleGroup};
use super::status::{self, Durations, Finished, RunState, Warning};
use crate::ids::{RunId, SweepName};
use crate::record::{RECORD_FORMAT, RunRecord, SweepFolder};
use crate::spec::config::ENGINE_NUMERICS;
use crate::spec::run_policy::CheckpointPolicy;
use crate::spec::{Key, RunConfig, Setting, SweepSpec};

/// A planned run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// Number of its configuration, from 0.
    pub configuration: usize,
    /// Its seed.
    pub seed: u64,
    /// What the record says of it.
    pub state: RunState,
}

/// A key that varies among the configurations.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanAxis {
    /// The key.
    pub key: Key,
    /// Its values in the order of the sweep file; a base value that only unset points have is last.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisValue {
    /// The key with the value.
    pub setting: Setting,
    /// Planned runs that have it; 0 where rules dropped them all.
    pub runs: usize,
}

/// How many runs are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Nothing is recorded.
    pub new: usize,
    /// Finished or diverged.
    pub done: usize,
    /// To be tried again.
    pub failed: usize,
    /// To be carried on.
    pub partial: usize,
    /// Not to be executed on this machine.
    pub skipped: usize,
}

impl Counts {
    fn of<'a>(runs: impl Iterator<Item = &'a Run>) -> Self {
        let mut counts = Self::default();
        for run in runs {
            match run.state {
                RunState::New => counts.new += 1,
                RunState::Done => counts.done += 1,
                RunState::Failed { .. } => counts.failed += 1,
                RunState::Partial { .. } => counts.partial += 1,
                RunState::Skipped { .. } => counts.skipped += 1,
            }
        }
        counts
    }

    /// Runs that are still to be done on this machine.
    pub fn missing(&self) -> usize {
        self.new + self.failed + self.partial
    }
}

/// Every run of a sweep, and what is left to do.
#[derive(Debug)]
pub struct Plan {
    /// Name of the sweep.
    pub name: SweepName,
    /// Its description.
    pub description: Option<String>,
    /// The keys that vary.
    pub axes: Vec<PlanAxis>,
    /// The configurations.
    pub points: Points,
    /// The seeds of every configuration.
    pub seeds: Vec<u64>,
    /// Every run: seed by seed, within a seed in the order of the configurations.
    pub runs: Vec<Run>,
    /// How many runs are in which state.
    pub counts: Counts,
    /// What each `[[exclude]]` dropped.
    pub excluded: Vec<ExcludedBy>,
    /// Configurations that `[[include]]` added.
    pub included: usize,
    /// Lines of the `[[include]]`s whose configuration was there already.
    pub duplicates: Vec<usize>,
    /// `[[when]]`s and `[[claim]]`s that no configuration is there for.
    pub idle: Vec<Idle>,
    /// Recorded runs that are no longer planned, grouped by reason.
    pub stale: Vec<StaleGroup>,
    /// What was not understood in the record.
    pub warnings: Vec<Warning>,
    /// How long the finished runs took.
    pub durations: Option<Durations>,
    /// What each finished run took.
    pub finished: Vec<Finished>,
    data: DataPrints,
}

impl Plan {
    /// Plans `spec`. `fingerprint` is asked once for every data set, `check` once for every
    /// configuration and from several threads.
    ///
    /// # Errors
    /// See [`PlanError`]: too many runs, none, runs that cannot be trained, an unreadable record.
    pub fn build(
        spec: &SweepSpec,
        record: Option<&SweepFolder>,
        fingerprint: &Fingerprint<'_>,
        check: &MisfitCheck<'_>,
    ) -> Result<Self, PlanError> {
        let expansion = expand(spec)?;
        let points = expansion.points;
        refuse_misfits(&points, check)?;
        refuse_idle_axes(&points)?;
        let data = DataPrints::new(&points, fingerprint);
        let runs = identified(&points, &data, &spec.seeds);
        let mut plan = Self {
            name: spec.name.clone(),
            description: spec.description.clone(),
            axes: axes(&points, spec.seeds.len()),
            points,
            seeds: spec.seeds.clone(),
            counts: Counts { new: runs.len(), ..Counts::default() },
            runs,
            excluded: expansion.excluded,
            included: expansion.included,
            duplicates: expansion.duplicates,
            idle: expansion.idle,
            stale: Vec::new(),
            warnings: Vec::new(),
            durations: None,
            finished: Vec::new(),
            data,
        };
        if let Some(folder) = record {
            plan.compare(spec, folder)?;
        }
        Ok(plan)
    }

    /// Fills in what the record says.
    fn compare(&mut self, spec: &SweepSpec, folder: &SweepFolder) -> Result<(), PlanError> {
        let recorded = status::compare(folder, self.runs.iter().map(|run| run.id))?;
        for (place, state) in recorded.states {
            self.runs[place].state = state;
        }
        let planned = Planned {
            points: &self.points,
            seeds: &self.seeds,
            excludes: &spec.excludes,
            data: &self.data,
        };
        let (stale, warnings) = stale::explain(folder, &recorded.strangers, &planned)?;
        self.stale = stale;
        self.warnings = recorded.warnings;
        self.warnings.extend(warnings);
        self.durations = recorded.durations;
        self.finished = recorded.finished;
        self.counts = Counts::of(self.runs.iter());
        Ok(())
    }

    /// Leaves out the runs without a result of which `skips` says why, by their configuration and id.
    pub fn skip(&mut self, skips: &dyn Fn(usize, RunId) -> Option<String>) {
        for run in self.runs.iter_mut().filter(|run| run.state != RunState::Done) {
            if let Some(reason) = skips(run.configuration, run.id) {
                run.state = RunState::Skipped { reason };
            }
        }
        self.counts = Counts::of(self.runs.iter());
    }

    /// The reasons for which runs are left out, each with how many.
    pub fn skipped(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for run in &self.runs {
            if let RunState::Skipped { reason } = &run.state {
                *reasons.entry(reason.as_str()).or_default() += 1;
            }
        }
        reasons
    }

    /// All that `run` computes.
    pub fn config(&self, run: &Run) -> RunConfig {
        RunConfig { seed: run.seed, ..self.points.config(run.configuration) }
    }

    /// Name of the configuration of `run`.
    pub fn configuration_name(&self, run: &Run) -> String {
        self.points.name(run.configuration)
    }

    /// The fingerprint of the data that `run` trains on, as its id knows it.
    pub fn data(&self, run: &Run) -> &str {
        self.data.of(self.points.matrix.row(run.configuration))
    }

    /// What `run.json` says of `run`.
    pub fn run_record(&self, run: &Run, checkpoint: CheckpointPolicy) -> RunRecord {
        let config = self.config(run).canonical();
        RunRecord {
            format: RECORD_FORMAT,
            run_id: run.id,
            configuration: self.configuration_name(run),
            config: config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            engine: ENGINE_NUMERICS,
            data: self.data(run).to_owned(),
            checkpoint_every_epochs: checkpoint.every_epochs,
            checkpoint_keep: checkpoint.keep,
        }
    }

    /// The runs of a configuration, in the order of the seeds.
    pub fn runs_of(&self, configuration: usize) -> impl Iterator<Item = &Run> {
        self.runs.iter().skip(configuration).step_by(self.points.len())
    }

    /// How many runs of a configuration are in which state.
    pub fn counts_of(&self, configuration: usize) -> Counts {
        Counts::of(self.runs_of(configuration))
    }

    /// Recorded runs that are no longer planned.
    pub fn stale_runs(&self) -> usize {
        self.stale.iter().map(|group| group.runs).sum()
    }
}

fn identified(points: &Points, data: &DataPrints, seeds: &[u64]) -> Vec<Run> {
    let identifier = Identifier::new(points, data);
    let mut runs = Vec::with_capacity(points.len() * seeds.len());
    for seed in seeds {
        let ids = identifier.ids(points, *seed);
        runs.extend(ids.into_iter().enumerate().map(|(configuration, id)| Run {
            id,
            configuration,
            seed: *seed,
            state: RunState::New,
        }));
    }
    runs
}

fn axes(points: &Points, seeds: usize) -> Vec<PlanAxis> {
    let axis = |column: &usize| {
        let counts = points.counts(*column);
        let column = &points.columns[*column];
        let values = column.values.iter().zip(counts);
        let values = values
            .map(|(setting, count)| AxisValue { setting: setting.clone(), runs: count * seeds });
        PlanAxis { key: column.key, values: values.collect() }
    };
    points.varied().iter().map(axis).collect()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
