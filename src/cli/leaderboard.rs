//! `gridlane leaderboard`: the tables of a sweep, made anew from its run folders.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::args::LeaderboardArgs;
use super::boards::Boards;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::folders::Folders;
use super::session::{Source, build, parsed};
use super::terminal;
use super::weights::WeightsFiles;
use crate::ids::SweepName;
use crate::plan::view::recorded_skips;
use crate::record::{RecordError, SweepFolder, atomic};

/// Prints a sweep's leaderboard and writes its CSVs.
///
/// # Errors
/// When there is no such sweep, or its record cannot be read or written.
pub fn leaderboard(args: &LeaderboardArgs) -> Result<ExitCode, CliError> {
    let (runs, name) = locate(args);
    let folder = SweepFolder::new(&runs, &SweepName::new(&name)?);
    let file = folder.sweep_file();
    if !file.exists() {
        let known = sweeps_in(&runs);
        return Err(CliError::NoSweep { name, runs, known });
    }
    let text = fs::read(&file).map_err(RecordError::io("read", &file))?;
    let overrides: Vec<String> = atomic::read_json(&folder.overrides(), 1)?.unwrap_or_default();
    let source = Source { path: &file, text: &text, overrides: &overrides };
    let (mut spec, _) = parsed(&source, &mut Folders::recorded(&folder)?)?;
    let folder = SweepFolder::new(&std::path::absolute(&runs)?, &spec.name);
    WeightsFiles::recall(&mut spec, &folder)?;
    let mut plan = build(&spec, Some(&folder), &WeightsFiles::default())?;
    let skips = recorded_skips(&folder);
    plan.skip(&|_, id| skips.get(&id).cloned());
    let mut boards = Boards::open(&spec, &folder, &plan);
    boards.write()?;
    boards.write_report()?;
    for problem in &boards.problems {
        terminal::notice(&format!("warning: {}", problem.reason(folder.path())));
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", terminal::leaderboard(&boards.leaderboard()))?;
    write!(out, "{}", terminal::throughput(boards.table()))?;
    write!(out, "{}", terminal::claims(&boards.claims()))?;
    writeln!(out, "\n{}", terminal::short_path(&folder.leaderboard_csv()))?;
    writeln!(out, "{}", terminal::short_path(&folder.report_html()))?;
    Ok(ExitCode::Ok)
}

/// `lr`, or the path of its folder as a shell completes it.
fn locate(args: &LeaderboardArgs) -> (PathBuf, String) {
    let given = Path::new(args.sweep.trim_end_matches('/'));
    match (given.parent(), given.file_name()) {
        (Some(runs), Some(name)) if !runs.as_os_str().is_empty() => {
            (runs.to_owned(), name.to_string_lossy().into_owned())
        }
        _ => (args.runs.clone(), args.sweep.clone()),
    }
}

fn sweeps_in(runs: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(runs) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| SweepName::new(&entry.file_name().to_string_lossy()).ok())
        .filter(|name| SweepFolder::new(runs, name).sweep_file().exists())
        .map(|name| name.to_string())
        .collect();
    names.sort();
    names
}
