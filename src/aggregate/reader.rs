//! The run folders of a sweep, read into a [`SweepTable`]: the one file here that opens files.
//!
//! Every table can be rebuilt from the run folders alone. `result.json` says what came of a run;
//! which runs belong to the sweep, and in which order, says the plan if there is one, else every
//! run folder belongs and its `run.json` says what it is. A file that cannot be read costs its own
//! row its numbers and is reported; it never hides the other runs.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use rayon::prelude::*;

use crate::ids::RunId;
use crate::record::atomic::read_json;
use crate::record::{RECORD_FORMAT, RunFolder, RunRecord, RunResult, SweepFolder, lines};
use crate::spec::metric::Metric;
use crate::spec::run_policy::CurveDetail;
use crate::spec::{Key, RunConfig};

use super::compare::RecordedRun;
use super::curves::RunHistory;
use super::error::AggregateError;
use super::row::{AxisValue, PlannedRun, RunRow, RunState};
use super::table::SweepTable;

/// Results that are read together before their curves are handed on.
const HISTORIES_AT_ONCE: usize = 64;

/// What the run folders hold.
#[derive(Debug)]
pub struct Reading {
    /// A row for every run. Of a run without a result it is known only that it is pending.
    pub table: SweepTable,
    /// Files that could not be read, in the order of the rows.
    pub problems: Vec<AggregateError>,
}

/// Reads the results of the planned runs. `axes` are the names of the varied keys.
pub fn read_planned(
    folder: &SweepFolder,
    axes: Vec<String>,
    metric: &Metric,
    runs: Vec<PlannedRun>,
) -> Reading {
    let (rows, problems): (Vec<RunRow>, Vec<Option<AggregateError>>) =
        runs.into_par_iter().map(|run| read_row(folder, run, metric)).unzip();
    Reading {
        table: SweepTable::from_rows(axes, metric.clone(), rows),
        problems: problems.into_iter().flatten().collect(),
    }
}

/// Reads every run folder there is. The varied keys are those in which the configurations differ;
/// the rows are in the order of their values, then of the seeds.
///
/// # Errors
/// When the sweep's folder cannot be listed.
pub fn read_sweep(folder: &SweepFolder, metric: &Metric) -> Result<Reading, AggregateError> {
    let records: Vec<Result<FoundRun, AggregateError>> =
        run_ids(folder)?.into_par_iter().map(|run_id| find_run(folder, run_id)).collect();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Ok(run) => found.push(run),
            Err(problem) => problems.push(problem),
        }
    }
    let axes = varied_keys(&found);
    let mut runs: Vec<PlannedRun> = found
        .into_iter()
        .map(|run| PlannedRun::of(run.run_id, run.configuration, &run.config, &axes))
        .collect();
    runs.sort_by(|a, b| {
        let axes = a.axes.iter().zip(&b.axes).map(|(a, b)| compare_values(a, b));
        let axes = axes.fold(Ordering::Equal, Ordering::then);
        axes.then(a.configuration.cmp(&b.configuration))
            .then(a.seed.cmp(&b.seed))
            .then(a.run_id.cmp(&b.run_id))
    });
    let axes = axes.into_iter().map(|key| key.name().to_owned()).collect();
    let mut reading = read_planned(folder, axes, metric, runs);
    problems.append(&mut reading.problems);
    Ok(Reading { problems, ..reading })
}

/// The runs of a sweep with all that decides whether they can be compared with those of another.
#[derive(Debug)]
pub struct RecordedReading {
    /// The runs, in the order asked for.
    pub runs: Vec<RecordedRun>,
    /// Files that could not be read.
    pub problems: Vec<AggregateError>,
}

/// Reads the runs `ids` with their configurations. Where none of them has a folder, as in a sweep that
/// another version of the engine executed, every run that has one, by configuration and seed.
/// `metric` has the target.
///
/// # Errors
/// When the sweep's folder cannot be listed.
pub fn read_recorded(
    folder: &SweepFolder,
    metric: &Metric,
    ids: &[RunId],
) -> Result<RecordedReading, AggregateError> {
    let there = run_ids(folder)?;
    let mut wanted: Vec<RunId> = ids.iter().copied().filter(|id| there.contains(id)).collect();
    let planned = !wanted.is_empty();
    if !planned {
        wanted = there.into_iter().collect();
    }
    let read = wanted.into_par_iter().map(|id| {
        let FoundRun { configuration, config, data, engine, .. } = find_run(folder, id)?;
        let planned = PlannedRun::of(id, configuration, &config, &[]);
        let (row, problem) = read_row(folder, planned, metric);
        Ok((RecordedRun { config, data, engine, row }, problem))
    });
    let read: Vec<Result<(RecordedRun, Option<AggregateError>), AggregateError>> = read.collect();
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    for run in read {
        match run {
            Ok((run, problem)) => {
                runs.push(run);
                problems.extend(problem);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if !planned {
        runs.sort_by_cached_key(|run| (run.row.run.configuration.clone(), run.config.seed));
    }
    Ok(RecordedReading { runs, problems })
}

/// The histories of the runs of `rows` that have a result, in their order. At most
/// `HISTORIES_AT_ONCE` are in memory at a time; runs without a readable result are passed over.
/// Steps are in `events.jsonl` alone, which is read only where `detail` asks for them.
pub fn read_histories<'a>(
    folder: &'a SweepFolder,
    rows: &'a [RunRow],
    detail: CurveDetail,
) -> impl Iterator<Item = (&'a RunRow, RunHistory)> {
    rows.chunks(HISTORIES_AT_ONCE).flat_map(move |rows| {
        let read = |row: &'a RunRow| {
            let run = folder.run(row.run.run_id);
            let history = RunHistory::of_result(read_result(&run, row.run.run_id).ok()??);
            Some((row, with_steps(history, &run, detail)))
        };
        rows.par_iter().filter_map(read).collect::<Vec<_>>()
    })
}

/// As [`read_histories`], but with all that the events tell: steps, and measurements in layers.
pub fn read_events<'a>(
    folder: &'a SweepFolder,
    rows: &'a [RunRow],
) -> impl Iterator<Item = (&'a RunRow, RunHistory)> {
    read_histories(folder, rows, CurveDetail::Step)
}

/// All that is recorded of a run with this result, as far as it can be read.
pub fn read_history(folder: &RunFolder, result: RunResult) -> RunHistory {
    with_steps(RunHistory::of_result(result), folder, CurveDetail::Step)
}

/// The steps of a run beside its epochs, as far as they can be read.
fn with_steps(history: RunHistory, run: &RunFolder, detail: CurveDetail) -> RunHistory {
    match detail {
        CurveDetail::Epoch => history,
        CurveDetail::Step => {
            let events = lines::read(&run.events()).unwrap_or_default();
            RunHistory { epochs: history.epochs, ..RunHistory::of_events(events) }
        }
    }
}

/// Reads the result of a run, if it has one.
///
/// # Errors
/// When the file is there but cannot be read, is of a newer version or of another run.
pub fn read_result(folder: &RunFolder, run_id: RunId) -> Result<Option<RunResult>, AggregateError> {
    let file = folder.result();
    let Some(result) = read_json::<RunResult>(&file, RECORD_FORMAT)? else {
        return Ok(None);
    };
    if result.run_id != run_id {
        return Err(AggregateError::ForeignRun { file, found: result.run_id });
    }
    Ok(Some(result))
}

/// What a `run.json` says.
struct FoundRun {
    run_id: RunId,
    configuration: String,
    config: RunConfig,
    data: String,
    engine: u32,
}

fn read_row(
    folder: &SweepFolder,
    run: PlannedRun,
    metric: &Metric,
) -> (RunRow, Option<AggregateError>) {
    match read_result(&folder.run(run.run_id), run.run_id) {
        Ok(Some(result)) => (RunRow::new(run, RunState::Ended(&result), metric), None),
        Ok(None) => (RunRow::new(run, RunState::Pending { reason: None }, metric), None),
        Err(problem) => {
            let reason = problem.reason(folder.path());
            let state = RunState::Pending { reason: Some(&reason) };
            (RunRow::new(run, state, metric), Some(problem))
        }
    }
}

fn find_run(folder: &SweepFolder, run_id: RunId) -> Result<FoundRun, AggregateError> {
    let file = folder.run(run_id).run();
    let Some(record) = read_json::<RunRecord>(&file, RECORD_FORMAT)? else {
        return Err(AggregateError::NoRun { file });
    };
    if record.run_id != run_id {
        return Err(AggregateError::ForeignRun { file, found: record.run_id });
    }
    let config = serde_json::Value::Object(record.config.into_iter().collect());
    let config = RunConfig::from_canonical(&config)
        .map_err(|source| AggregateError::Config { file, source: Box::new(source) })?;
    let RunRecord { configuration, data, engine, .. } = record;
    Ok(FoundRun { run_id, configuration, config, data, engine })
}

/// The runs that have a folder.
fn run_ids(folder: &SweepFolder) -> Result<BTreeSet<RunId>, AggregateError> {
    let cannot_list = |source| AggregateError::Folder { folder: folder.path().to_owned(), source };
    folder.run_ids().map_err(cannot_list)
}

/// The keys but the seed in which the runs are not all alike, in the order of the documentation.
fn varied_keys(found: &[FoundRun]) -> Vec<Key> {
    let Some((first, rest)) = found.split_first() else {
        return Vec::new();
    };
    let varies = |key: &Key| {
        let setting = first.config.setting(*key);
        rest.iter().any(|run| run.config.setting(*key) != setting)
    };
    Key::ALL.iter().copied().filter(|key| *key != Key::Seed && varies(key)).collect()
}

/// By number where both are one, else by label.
fn compare_values(a: &AxisValue, b: &AxisValue) -> Ordering {
    match (a.number, b.number) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.label.cmp(&b.label),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::aggregate::row::RowStatus;
    use crate::aggregate::sample;
    use crate::ids::SweepName;
    use std::collections::BTreeMap;
    use std::time::Instant;

    /// A run folder with `run.json` and perhaps `result.json`.
    fn write_run(folder: &SweepFolder, lr: f64, seed: u64, result: Option<RunResult>) -> RunId {
        let config = RunConfig { lr, seed, ..RunConfig::default() };
        let config: BTreeMap<String, _> =
            config.canonical().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let run_id = RunId::of(serde_json::to_string(&config).unwrap().as_bytes());
        let run = folder.run(run_id);
        fs::create_dir_all(run.path()).unwrap();
        let record = RunRecord {
            format: RECORD_FORMAT,
            run_id,
            configuration: format!("lr={lr}"),
            config,
            engine: 1,
            data: "data".into(),
            checkpoint_every_epochs: 1,
            checkpoint_keep: 1,
        };
        fs::write(run.run(), serde_json::to_vec(&record).unwrap()).unwrap();
        if let Some(result) = result {
            let result = RunResult { run_id, ..result };
            fs::write(run.result(), serde_json::to_vec(&result).unwrap()).unwrap();
        }
        run_id
    }

    fn sweep() -> (tempfile::TempDir, SweepFolder) {
        let runs = tempfile::tempdir().unwrap();
        let folder = SweepFolder::new(runs.path(), &SweepName::new("lr").unwrap());
        fs::create_dir_all(folder.path()).unwrap();
        (runs, folder)
    }

    #[test]
    fn run_folders_alone_give_the_table() {
        let (_runs, folder) = sweep();
        write_run(&folder, 0.1, 1, Some(sample::result(&[0.5, 0.7])));
        write_run(&folder, 0.1, 0, Some(sample::result(&[0.5, 0.6])));
        write_run(&folder, 0.02, 0, None);
        write_run(&folder, 0.02, 1, Some(sample::failed("out of memory")));
        fs::create_dir(folder.path().join("plots")).unwrap();
        let reading = read_sweep(&folder, &sample::metric()).unwrap();
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        assert_eq!(reading.table.axes(), ["lr"]);
        let rows = reading.table.rows().iter();
        let shown: Vec<_> = rows
            .map(|row| {
                (
                    row.run.axes[0].number.unwrap(),
                    row.run.seed,
                    row.status,
                    row.metrics.val_accuracy,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (0.02, 0, RowStatus::Pending, None),
                (0.02, 1, RowStatus::Failed, None),
                (0.1, 0, RowStatus::Finished, Some(0.6)),
                (0.1, 1, RowStatus::Finished, Some(0.7)),
            ]
        );
    }

    #[test]
    fn a_plan_says_which_runs_and_in_which_order() {
        let (_runs, folder) = sweep();
        let done = write_run(&folder, 0.1, 1, Some(sample::result(&[0.5])));
        write_run(&folder, 0.3, 1, Some(sample::result(&[0.9])));
        let waiting = sample::planned("waiting", 0);
        let runs = vec![waiting.clone(), PlannedRun { run_id: done, ..sample::planned("done", 1) }];
        let reading = read_planned(&folder, vec!["lr".into()], &sample::metric(), runs);
        let states: Vec<_> =
            reading.table.rows().iter().map(|row| (row.run.run_id, row.status)).collect();
        assert_eq!(states, [(waiting.run_id, RowStatus::Pending), (done, RowStatus::Finished)]);
        let histories: Vec<_> =
            read_histories(&folder, reading.table.rows(), CurveDetail::Epoch).collect();
        assert_eq!(histories.len(), 1);
        assert_eq!(histories[0].1.epochs.len(), 1);
    }

    #[test]
    fn recorded_runs_are_the_planned_ones_or_all_where_none_is() {
        let (_runs, folder) = sweep();
        let planned = write_run(&folder, 0.1, 1, Some(sample::result(&[0.5])));
        write_run(&folder, 0.3, 1, Some(sample::result(&[0.9])));
        write_run(&folder, 0.3, 0, None);
        fs::create_dir(folder.run(RunId::of(b"empty")).path()).unwrap();
        let shown = |ids: &[RunId]| {
            let read = read_recorded(&folder, &sample::metric(), ids).unwrap();
            let runs = read.runs.iter().map(|run| {
                (run.config.lr, run.config.seed, run.engine, run.row.metrics.val_accuracy)
            });
            (runs.collect::<Vec<_>>(), read.problems.len())
        };
        assert_eq!(shown(&[RunId::of(b"new"), planned]), (vec![(0.1, 1, 1, Some(0.5))], 0));
        let all = vec![(0.1, 1, 1, Some(0.5)), (0.3, 0, 1, None), (0.3, 1, 1, Some(0.9))];
        assert_eq!(shown(&[RunId::of(b"new")]), (all, 1), "a folder without run.json is told");
    }

    #[test]
    fn a_broken_file_is_reported_and_hides_no_other_run() {
        let (_runs, folder) = sweep();
        let torn = write_run(&folder, 0.1, 0, None);
        fs::write(folder.run(torn).result(), "{\"format\": 1, \"run").unwrap();
        let newer = write_run(&folder, 0.2, 0, None);
        fs::write(folder.run(newer).result(), "{\"format\": 9, \"news\": 1}").unwrap();
        let foreign = write_run(&folder, 0.3, 0, None);
        let other = serde_json::to_vec(&sample::result(&[0.5])).unwrap();
        fs::write(folder.run(foreign).result(), other).unwrap();
        let empty = RunId::of(b"empty");
        fs::create_dir(folder.run(empty).path()).unwrap();
        write_run(&folder, 0.4, 0, Some(sample::result(&[0.5])));

        let reading = read_sweep(&folder, &sample::metric()).unwrap();
        let reasons: Vec<_> =
            reading.table.rows().iter().map(|row| row.reason.clone().unwrap_or_default()).collect();
        assert_eq!(
            reasons[0],
            format!(
                "{torn}/result.json is damaged: EOF while parsing a string at line 1 column 18"
            )
        );
        assert!(
            reasons[1].starts_with(&format!("{newer}/result.json has format 9")),
            "{reasons:?}"
        );
        assert!(reasons[2].starts_with(&format!("{foreign}/result.json is of run ")));
        assert_eq!(reasons[3], "");
        assert_eq!(reading.problems.len(), 4);
        assert_eq!(
            reading.problems[0].reason(folder.path()),
            format!("{empty}/run.json is missing: expected one in every run folder")
        );
    }

    #[test]
    fn a_missing_sweep_is_an_error() {
        let (_runs, folder) = sweep();
        fs::remove_dir(folder.path()).unwrap();
        assert!(matches!(
            read_sweep(&folder, &sample::metric()),
            Err(AggregateError::Folder { .. })
        ));
    }

    #[test]
    #[ignore = "a measurement: 10,000 run folders"]
    #[expect(clippy::print_stderr, reason = "the figure is what the test is run for")]
    fn ten_thousand_folders_are_read_in_seconds() {
        let (_runs, folder) = sweep();
        let accuracies: Vec<f64> = (0..12).map(|epoch| 0.5 + f64::from(epoch) / 30.0).collect();
        for lr in 1..=2000 {
            for seed in 0..5 {
                let result = sample::result(&accuracies);
                write_run(&folder, f64::from(lr) / 1000.0, seed, Some(result));
            }
        }
        let start = Instant::now();
        let reading = read_sweep(&folder, &sample::metric()).unwrap();
        eprintln!("all folders: {:.3} s", start.elapsed().as_secs_f64());
        assert_eq!(reading.table.rows().len(), 10_000);
        let runs = reading.table.rows().iter().map(|row| row.run.clone()).collect();
        let start = Instant::now();
        let planned = read_planned(&folder, vec!["lr".into()], &sample::metric(), runs);
        eprintln!("planned runs: {:.3} s", start.elapsed().as_secs_f64());
        assert_eq!(planned.table.rows(), reading.table.rows());
    }
}
