//! Writes what people look at: `report.html` and `plots/*.svg`.
//!
//! In: the tables of a sweep as [`Boards`](super::boards::Boards) keeps them. What tables do not know is read
//! from the record: the sweep file, the courses of runs, the ends of logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::aggregate::claims::{Stated, judge};
use crate::aggregate::courses::Courses;
use crate::aggregate::effects::Effects;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::reader::{read_histories, read_result};
use crate::aggregate::row::{RowStatus, RunRow};
use crate::aggregate::scaling::ScalingTable;
use crate::aggregate::table::SweepTable;
use crate::aggregate::timings::timings;
use crate::ids::RunId;
use crate::plan::Plan;
use crate::record::journal::JournalEntry;
use crate::record::{Durability, RecordError, SweepFolder, atomic, lines, overrides};
use crate::report::page::document::{DataSaid, Document, Provenance, Sweep};
use crate::report::page::{Facts, Inputs, failed_rows, html};
use crate::report::plots::plots;
use crate::spec::config::ENGINE_NUMERICS;
use crate::spec::run_policy::CurveDetail;
use crate::spec::{Key, SweepSpec};

/// Time between two writes in mid-sweep, as a multiple of what a write costs.
const SPARING: u32 = 20;

/// Least time between two writes in mid-sweep: nobody reads faster.
const PAUSE: Duration = Duration::from_secs(10);

/// Lines of a log.
const LOG_LINES: usize = 20;

/// Bytes of a log.
const LOG_BYTES: usize = 4096;

/// Ending of a plot's file.
const SVG: &str = "svg";

/// The report of a sweep under way.
pub struct Report<'a> {
    folder: &'a SweepFolder,
    /// How finely courses are read.
    detail: CurveDetail,
    sweep: Sweep,
    provenance: Provenance,
    /// When it was last written, or the sweep begun, and what that cost.
    written: (Instant, Duration),
}

impl<'a> Report<'a> {
    /// The report of a sweep that `measured` something in layers, or did not.
    pub fn of(spec: &SweepSpec, folder: &'a SweepFolder, plan: &Plan, measured: bool) -> Self {
        let text = fs::read(folder.sweep_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let changes = overrides::read(folder).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let sweep = Sweep {
            name: spec.name.to_string(),
            description: spec.description.clone().unwrap_or_default(),
            header: header(&text),
            changes: changes.clone(),
            version: version.clone(),
        };
        let provenance = Provenance {
            sweep_file: text,
            overrides: changes,
            seeds: plan.seeds.clone(),
            data: data(plan),
            engine_numerics: ENGINE_NUMERICS,
            gridlane: version,
            run_ids: plan.runs.len(),
            ..Provenance::default()
        };
        let detail = if measured { CurveDetail::Step } else { spec.run.curves };
        let written = (Instant::now(), Duration::ZERO);
        Self { folder, detail, sweep, provenance, written }
    }

    /// Is it time for another one, while the sweep goes on?
    pub fn is_due(&self) -> bool {
        let (at, cost) = self.written;
        at.elapsed() >= (cost * SPARING).max(PAUSE)
    }

    /// Writes the page and the plots.
    ///
    /// # Errors
    /// What the system refuses; the files that could not be replaced are as they were.
    pub fn write(&mut self, table: &SweepTable, claims: &[Stated]) -> Result<(), RecordError> {
        let begun = Instant::now();
        let (board, timings) = (Leaderboard::of(table), timings(table));
        let courses = self.courses(&board, table, claims);
        let inputs = Inputs {
            table,
            board: &board,
            claims: &judge(claims, table),
            effects: &Effects::of(table),
            timings: &timings,
            scaling: &ScalingTable::of(table, &timings),
            courses: &courses,
        };
        let page = html(&Document::of(&inputs, &self.facts(table)), &board);
        atomic::replace(&self.folder.report_html(), page.as_bytes(), Durability::Derived)?;
        self.write_plots(&inputs)?;
        self.written = (Instant::now(), begun.elapsed());
        Ok(())
    }

    /// How the runs went that are worth showing; the others are not read.
    fn courses(&self, board: &Leaderboard, table: &SweepTable, claims: &[Stated]) -> Courses {
        let claimed = claims.iter().flat_map(|claim| claim.rows(table));
        let mut courses = Courses::of(board, claimed);
        let wanted = table.rows().iter().filter(|row| courses.want(row));
        let rows: Vec<RunRow> = wanted.cloned().collect();
        for (row, history) in read_histories(self.folder, &rows, self.detail) {
            courses.add(row, &history, self.detail);
        }
        courses
    }

    fn facts(&self, table: &SweepTable) -> Facts {
        let written = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let log = |row: &RunRow| (row.run.run_id, self.log(row.run.run_id));
        Facts {
            sweep: self.sweep.clone(),
            provenance: Provenance { written, hosts: self.hosts(table), ..self.provenance.clone() },
            logs: failed_rows(table).map(log).collect::<BTreeMap<RunId, String>>(),
        }
    }

    /// The machines that the sweep ran on, as its journal has them, and the devices that were timed.
    fn hosts(&self, table: &SweepTable) -> Vec<String> {
        let pilots = self.folder.pilot_names().unwrap_or_default().into_iter();
        let journals = pilots.map(|pilot| self.folder.pilot(&pilot).journal());
        let acts = journals
            .chain([self.folder.journal()])
            .flat_map(|journal| lines::read::<JournalEntry>(&journal).unwrap_or_default());
        let hosts = acts.filter_map(|act| match act {
            JournalEntry::SweepStarted { host, .. } => host,
            _ => None,
        });
        hosts.chain(devices(table)).collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// The end of a run's error output: as its result has it, else as the worker left it.
    fn log(&self, run_id: RunId) -> String {
        let run = self.folder.run(run_id);
        let result = read_result(&run, run_id).ok().flatten();
        let tail = result.and_then(|result| result.log_tail);
        last_lines(&tail.unwrap_or_else(|| end_of(&run.stderr()).unwrap_or_default()))
    }

    /// Writes the plots; takes away those that an earlier report had and this one has not.
    fn write_plots(&self, inputs: &Inputs<'_>) -> Result<(), RecordError> {
        let (folder, plots) = (self.folder.plots(), plots(inputs));
        if !plots.is_empty() {
            atomic::create_folder(&folder)?;
        }
        for plot in &plots {
            let path = folder.join(format!("{}.{SVG}", plot.name));
            atomic::replace(&path, plot.svg.as_bytes(), Durability::Derived)?;
        }
        let is_of_now = |path: &Path| {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
            plots.iter().any(|plot| Some(&plot.name) == name.as_ref())
        };
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = file.path();
            if path.extension().is_some_and(|ending| ending == SVG) && !is_of_now(&path) {
                atomic::remove(&path)?;
            }
        }
        Ok(())
    }
}

/// The comment that a sweep file begins with; what editors read of it is left out.
fn header(text: &str) -> String {
    let comments = text.lines().take_while(|line| line.is_empty() || line.starts_with('#'));
    let comments = comments.filter(|line| !line.starts_with("#:"));
    let said = comments.map(|line| {
        let line = line.strip_prefix('#').unwrap_or(line);
        line.strip_prefix(' ').unwrap_or(line).trim_end()
    });
    said.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// The data sets of the plan with their fingerprints.
fn data(plan: &Plan) -> Vec<DataSaid> {
    let varies = plan.axes.iter().any(|axis| axis.key == Key::Dataset);
    let most = if varies { plan.points.len() } else { 1 };
    let mut seen = BTreeSet::new();
    let runs = plan.runs.iter().take(most).filter(|run| seen.insert(plan.data(run)));
    runs.map(|run| DataSaid {
        dataset: plan.config(run).setting(Key::Dataset).label(),
        fingerprint: plan.data(run).to_owned(),
    })
    .collect()
}

/// The devices that runs tell of: those whose steps were timed.
fn devices(table: &SweepTable) -> impl Iterator<Item = String> {
    let finished = table.rows().iter().filter(|row| row.status == RowStatus::Finished);
    let timed = finished.filter_map(|row| row.metrics.throughput.as_ref());
    timed.map(|steps| match steps.cores {
        1 => format!("{}, 1 core", steps.device),
        cores => format!("{}, {cores} cores", steps.device),
    })
}

/// The last bytes of a file.
pub(super) fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES as u64)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines, as far as they are not too long together.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let text = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    let cut = (text.len().saturating_sub(LOG_BYTES)..).find(|at| text.is_char_boundary(*at));
    text[cut.unwrap_or(0)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_that_a_file_begins_with_is_its_header() {
        let file =
            "# What?\n#\n#   just sweep\n\n# Data  x\n#:schema ./schema.json\nschema = 1\n# no\n";
        assert_eq!(header(file), "What?\n\n  just sweep\n\nData  x");
        assert_eq!(header("schema = 1\n# no"), "");
        assert_eq!(header(""), "");
    }

    #[test]
    fn of_a_log_the_last_lines_are_kept() {
        let long: String = (0..50).map(|line| format!("line {line}\n")).collect();
        let kept = last_lines(&long);
        assert_eq!((kept.lines().count(), kept.lines().next()), (LOG_LINES, Some("line 30")));
        let wide = "é".repeat(5000);
        let kept = last_lines(&wide);
        assert!(kept.len() <= LOG_BYTES && kept.chars().all(|c| c == 'é'));
        assert_eq!(last_lines(""), "");
    }
}
