//! Keeps a sweep's CSVs and its report up to date while it runs, so that they are of use at 3 a.m.
//!
//! In: [`SweepEvent`]s. Out: `runs.csv`, `leaderboard.csv`, `curves.csv` and others, each replaced as a
//! whole. After every run, and every minute while runs are under way, as long as that costs little: a
//! sweep of ten thousand short runs spends at most a twentieth of its time on CSVs. The report is
//! written less often, by the same rule. The last state is always written.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::report::Report;
use crate::aggregate::claims::{ClaimResult, Stated, judge};
use crate::aggregate::effects::Effects;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::quantities::Quantities;
use crate::aggregate::reader::{
    read_events, read_histories, read_history, read_planned, read_result,
};
use crate::aggregate::row::{PlannedRun, RunState};
use crate::aggregate::scaling::ScalingTable;
use crate::aggregate::timings::timings;
use crate::aggregate::{AggregateError, SweepTable};
use crate::event::{AttemptEnd, EpochRecord, RunEvent, SweepEvent};
use crate::ids::RunId;
use crate::plan::{self, Plan};
use crate::record::{Durability, RecordError, RunResult, RunStatus, SweepFolder, atomic};
use crate::report::claims::claims_csv;
use crate::report::csv::{CurvesCsv, leaderboard_csv, runs_csv};
use crate::report::effects::effects_csv;
use crate::report::long::{LayersCsv, StepsCsv};
use crate::report::throughput::{scaling_csv, scaling_fit_csv, throughput_csv};
use crate::spec::claim::Claim;
use crate::spec::run_policy::CurveDetail;
use crate::spec::{Key, RunConfig, SweepSpec};

/// Time between two writes, as a multiple of what a write costs.
const SPARING: u32 = 20;

/// Least time between two writes of which the second tells only how far running runs are.
const PROGRESS_PAUSE: Duration = Duration::from_secs(60);

/// The CSVs of a sweep under way.
pub struct Boards<'a> {
    folder: &'a SweepFolder,
    plan: &'a Plan,
    detail: CurveDetail,
    /// Does any run measure in its layers?
    measured: bool,
    table: SweepTable,
    claims: Vec<Stated>,
    quantities: Quantities,
    /// Files that could not be read when the sweep was opened.
    pub problems: Vec<AggregateError>,
    /// The complete epochs of running runs, by their places in the plan.
    running: BTreeMap<usize, Vec<EpochRecord>>,
    written: Option<Written>,
    stale: bool,
    report: Report<'a>,
}

/// The last write: when it ended and what it cost.
struct Written {
    at: Instant,
    cost: Duration,
}

/// Does any configuration of the sweep measure in its layers?
fn measures(spec: &SweepSpec) -> bool {
    let zips = spec.zips.iter().flat_map(|zip| &zip.axes);
    let whens = spec.whens.iter().flat_map(|when| &when.axes);
    let axes = spec.grid.iter().chain(zips).chain(whens).map(|axis| axis.key);
    let includes = spec.includes.iter().flat_map(|include| &include.settings);
    let mut keys = axes.chain(includes.map(|choice| choice.setting.key()));
    !spec.base.measure.is_empty() || keys.any(|key| key == Key::Measure)
}

/// Does any configuration of the plan time its steps?
fn times_steps(plan: &Plan) -> bool {
    match plan.axes.iter().find(|axis| axis.key == Key::Mode) {
        Some(axis) => axis
            .values
            .iter()
            .any(|value| value.runs > 0 && value.setting != Key::Mode.default_setting()),
        None => plan.runs.first().is_some_and(|run| plan.config(run).mode.course().is_some()),
    }
}

/// The claims, each with the rows that it is about.
fn stated(claims: &[Claim], keys: &[Key], plan: &Plan) -> Vec<Stated> {
    if claims.is_empty() {
        return Vec::new();
    }
    // Runs of one configuration differ in the seed only, which no condition tests.
    let configs: Vec<RunConfig> = (0..plan.points.len()).map(|n| plan.points.config(n)).collect();
    Stated::all(claims, keys, || plan.runs.iter().map(|run| &configs[run.configuration]))
}

impl<'a> Boards<'a> {
    /// Reads what is recorded of the planned runs.
    pub fn open(spec: &SweepSpec, folder: &'a SweepFolder, plan: &'a Plan) -> Self {
        let keys: Vec<Key> = plan.axes.iter().map(|axis| axis.key).collect();
        let axes = keys.iter().map(|key| key.name().to_owned()).collect();
        let runs = plan.runs.iter().map(|run| {
            PlannedRun::of(run.id, plan.configuration_name(run), &plan.config(run), &keys)
        });
        let mut reading = read_planned(folder, axes, &spec.metric, runs.collect());
        if times_steps(plan) {
            reading.table.times_steps();
        }
        for run in &plan.runs {
            if let plan::RunState::Skipped { reason } = &run.state {
                reading.table.update(run.id, RunState::Skipped { reason });
            }
        }
        let quantities = Quantities::of(&spec.claims);
        if !quantities.is_empty() {
            let read: Vec<(RunId, Vec<Option<f64>>)> = read_events(folder, reading.table.rows())
                .map(|(row, history)| (row.run.run_id, quantities.read(&history)))
                .collect();
            for (run_id, values) in read {
                reading.table.set_quantities(run_id, values);
            }
        }
        Self {
            folder,
            plan,
            detail: spec.run.curves,
            measured: measures(spec),
            table: reading.table,
            claims: stated(&spec.claims, &keys, plan),
            quantities,
            problems: reading.problems,
            running: BTreeMap::new(),
            written: None,
            stale: true,
            report: Report::of(spec, folder, plan, measures(spec)),
        }
    }

    /// Takes note of what happened, and writes if it is time. Says what went wrong with writing:
    /// the sweep goes on, and the files are written again later.
    pub fn observe(&mut self, event: &SweepEvent) -> Option<String> {
        match event {
            SweepEvent::RunStarted { run, .. } => {
                self.running.insert(*run, Vec::new());
                self.update(*run, RunState::Running { epochs: &[] });
                None
            }
            SweepEvent::RunProgress { run, events } => {
                if !self.progressed(*run, events) || !self.has_rested(PROGRESS_PAUSE) {
                    return None;
                }
                self.write_if_due().err().map(|error| error.to_string())
            }
            SweepEvent::RunEnded { run, end, .. } => {
                self.running.remove(run);
                self.ended(*run, end);
                self.write_if_due().err().map(|error| error.to_string())
            }
            _ => None,
        }
    }

    fn ended(&mut self, run: usize, end: &AttemptEnd) {
        let id = self.plan.runs[run].id;
        match end {
            AttemptEnd::Result | AttemptEnd::Diverged { .. } | AttemptEnd::Failed(_) => {
                match (read_result(&self.folder.run(id), id), end) {
                    (Ok(Some(result)), _) => {
                        self.update(run, RunState::Ended(&result));
                        self.read_quantities(run, result);
                    }
                    // It has failed, whether or not that could be written down.
                    (_, AttemptEnd::Failed(failure)) => {
                        let reason = Some(failure.recorded());
                        let failed = RunResult { reason, ..RunResult::new(id, RunStatus::Failed) };
                        self.update(run, RunState::Ended(&failed));
                    }
                    (Ok(None), _) => {}
                    (Err(error), _) => {
                        let reason = error.reason(self.folder.path());
                        self.update(run, RunState::Pending { reason: Some(&reason) });
                    }
                }
            }
            AttemptEnd::Interrupted => {
                self.update(run, RunState::Pending { reason: Some("interrupted") });
            }
            AttemptEnd::Retry { failure, .. } => {
                let reason = format!(
                    "to be tried again after {}: {}",
                    failure.class.as_str(),
                    failure.reason
                );
                self.update(run, RunState::Pending { reason: Some(&reason) });
            }
        }
    }

    /// Reads what claims take from the course of a run that has ended.
    fn read_quantities(&mut self, run: usize, result: RunResult) {
        if self.quantities.is_empty() {
            return;
        }
        let id = self.plan.runs[run].id;
        let history = read_history(&self.folder.run(id), result);
        self.table.set_quantities(id, self.quantities.read(&history));
    }

    fn update(&mut self, run: usize, state: RunState<'_>) {
        self.table.update(self.plan.runs[run].id, state);
        self.stale = true;
    }

    /// The leaderboard as it stands.
    pub fn leaderboard(&self) -> Leaderboard {
        Leaderboard::of(&self.table)
    }

    /// The runs as they stand.
    pub fn table(&self) -> &SweepTable {
        &self.table
    }

    /// What the claims of the sweep have come to so far.
    pub fn claims(&self) -> Vec<ClaimResult> {
        judge(&self.claims, &self.table)
    }

    /// Takes note of the epochs of a running run. Says whether there are new ones.
    fn progressed(&mut self, run: usize, events: &[RunEvent]) -> bool {
        let new = events.iter().filter_map(|event| match event {
            RunEvent::Epoch(epoch) => Some(epoch),
            _ => None,
        });
        let Some(mut epochs) = self.running.remove(&run) else { return false };
        let mut any = false;
        for epoch in new {
            // One that goes on from a checkpoint may come by an epoch a second time.
            epochs.retain(|before| before.epoch < epoch.epoch);
            epochs.push(epoch.clone());
            any = true;
        }
        if any {
            self.update(run, RunState::Running { epochs: &epochs });
        }
        self.running.insert(run, epochs);
        any
    }

    /// Was the last write so long ago?
    fn has_rested(&self, pause: Duration) -> bool {
        self.written.as_ref().is_none_or(|written| written.at.elapsed() >= pause)
    }

    fn write_if_due(&mut self) -> Result<(), RecordError> {
        if self.written.as_ref().is_none_or(|w| w.at.elapsed() >= w.cost * SPARING) {
            self.write()?;
        }
        if self.report.is_due() {
            self.write_report()?;
        }
        Ok(())
    }

    /// Writes the report and its plots.
    ///
    /// # Errors
    /// What the system refuses; the files that could not be replaced are as they were.
    pub fn write_report(&mut self) -> Result<(), RecordError> {
        self.report.write(&self.table, &self.claims)
    }

    /// Writes all CSVs, unless nothing has changed since the last time.
    ///
    /// # Errors
    /// What the system refuses; the files that could not be replaced are as they were.
    pub fn write(&mut self) -> Result<(), RecordError> {
        if !self.stale {
            return Ok(());
        }
        let begun = Instant::now();
        let derived = Durability::Derived;
        atomic::replace(&self.folder.runs_csv(), &runs_csv(&self.table), derived)?;
        let board = leaderboard_csv(&self.leaderboard());
        atomic::replace(&self.folder.leaderboard_csv(), &board, derived)?;
        let effects = effects_csv(self.table.axes(), &Effects::of(&self.table));
        atomic::replace(&self.folder.effects_csv(), &effects, derived)?;
        self.write_claims(derived)?;
        self.write_throughput(derived)?;
        atomic::replace_with(&self.folder.curves_csv(), derived, &mut |out| self.curves(out))?;
        self.write_long(derived)?;
        self.written = Some(Written { at: Instant::now(), cost: begun.elapsed() });
        self.stale = false;
        Ok(())
    }

    /// Writes the claims, where there are any; takes away those of an earlier sweep that had some.
    fn write_claims(&self, derived: Durability) -> Result<(), RecordError> {
        let path = self.folder.claims_csv();
        match self.claims.is_empty() {
            true => atomic::remove(&path),
            false => atomic::replace(&path, &claims_csv(&self.claims()), derived),
        }
    }

    /// Writes what steps took, where any are timed, and how that scales, where any are on several
    /// devices; takes away what an earlier sweep had of these.
    fn write_throughput(&self, derived: Durability) -> Result<(), RecordError> {
        let (axes, timings) = (self.table.axes(), timings(&self.table));
        let scaling = ScalingTable::of(&self.table, &timings);
        let write = |path: PathBuf, bytes: Option<Vec<u8>>| match bytes {
            Some(bytes) => atomic::replace(&path, &bytes, derived),
            None => atomic::remove(&path),
        };
        let scales = !scaling.rows.is_empty();
        let times = self.table.has_timed_steps();
        write(self.folder.throughput_csv(), times.then(|| throughput_csv(axes, &timings)))?;
        write(self.folder.scaling_csv(), scales.then(|| scaling_csv(axes, &scaling)))?;
        write(self.folder.scaling_fit_csv(), scales.then(|| scaling_fit_csv(axes, &scaling)))
    }

    /// Writes the tables that are not always asked for; takes away those of an earlier sweep that did.
    fn write_long(&self, derived: Durability) -> Result<(), RecordError> {
        let layers = self.folder.layers_csv();
        if self.measured {
            atomic::replace_with(&layers, derived, &mut |out| self.layers(out))?;
        } else {
            atomic::remove(&layers)?;
        }
        let steps = self.folder.steps_csv();
        match self.detail {
            CurveDetail::Step => atomic::replace_with(&steps, derived, &mut |out| self.steps(out)),
            CurveDetail::Epoch => atomic::remove(&steps),
        }
    }

    fn layers(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut csv = LayersCsv::new(out, self.table.axes())?;
        for (row, history) in read_events(self.folder, self.table.rows()) {
            csv.run(row, history.layer_points(self.detail))?;
        }
        csv.finish()?.flush()
    }

    fn steps(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut csv = StepsCsv::new(out, self.table.axes())?;
        for (row, history) in read_events(self.folder, self.table.rows()) {
            csv.run(row, &history)?;
        }
        csv.finish()?.flush()
    }

    fn curves(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut csv = CurvesCsv::new(out, self.table.axes())?;
        for (row, history) in read_histories(self.folder, self.table.rows(), self.detail) {
            csv.run(row, history.points(self.detail))?;
        }
        csv.finish()?.flush()
    }
}
