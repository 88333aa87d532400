//! A sweep as its folder has it: the file it was last run with, planned anew against its record.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::folders::Folders;
use super::session::{Source, build, parsed};
use super::sweep_file::absolute;
use super::weights::WeightsFiles;
use crate::ids::SweepName;
use crate::plan::Plan;
use crate::plan::view::recorded_skips;
use crate::record::{RecordError, SweepFolder, overrides};
use crate::spec::SweepSpec;

/// A sweep that was executed, or is being executed.
pub struct Recorded {
    /// The sweep file as it was when last run.
    pub spec: SweepSpec,
    /// Its plan.
    pub plan: Plan,
    /// Its folder, absolute.
    pub folder: SweepFolder,
}

impl Recorded {
    /// Opens the sweep `given`, a name under `runs` or the path of a folder. Where the folder is a copy
    /// under another name, it is the folder that counts.
    ///
    /// # Errors
    /// When there is no such sweep, or its record cannot be read.
    pub fn open(given: &str, runs: &Path) -> Result<Self, CliError> {
        let (runs, name) = locate(given, runs);
        let folder = SweepFolder::new(&absolute(&runs)?, &SweepName::new(&name)?);
        let file = folder.sweep_file();
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if is_absence(&error) => {
                let known = sweeps_in(&runs)?;
                return Err(CliError::NoSweep { name, runs, known });
            }
            Err(error) => return Err(unreadable(&file, error)),
        };
        let overrides = overrides::read(&folder)?;
        let source = Source { path: &file, text: &text, overrides: &overrides };
        let (mut spec, _) = parsed(&source, &mut Folders::recorded(&folder)?)?;
        WeightsFiles::recall(&mut spec, &folder)?;
        let mut plan = build(&spec, Some(&folder), &WeightsFiles::default())?;
        let skips = recorded_skips(&folder);
        plan.skip(&|_, id| skips.get(&id).cloned());
        Ok(Self { spec, plan, folder })
    }
}

/// `lr`, or the path of its folder as a shell completes it.
fn locate(given: &str, runs: &Path) -> (PathBuf, String) {
    let given = given.trim_end_matches('/');
    let path = Path::new(given);
    match (path.parent(), path.file_name()) {
        (Some(runs), Some(name)) if !runs.as_os_str().is_empty() => {
            (runs.to_owned(), name.to_string_lossy().into_owned())
        }
        _ => (runs.to_owned(), given.to_owned()),
    }
}

/// Does it say that there is no such file? All else, that one may not look for instance, does not.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// What is there and cannot be read.
fn unreadable(path: &Path, source: io::Error) -> CliError {
    match source.kind() {
        ErrorKind::PermissionDenied => CliError::Closed { path: path.to_owned(), source },
        _ => RecordError::io("read", path)(source).into(),
    }
}

/// The sweeps in a folder, sorted; those that cannot be read among them.
///
/// # Errors
/// When the folder is there and cannot be listed.
pub(super) fn sweeps_in(runs: &Path) -> Result<Vec<String>, CliError> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(runs, error)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| SweepName::new(&entry.file_name().to_string_lossy()).ok())
        .filter(|name| {
            let file = fs::metadata(SweepFolder::new(runs, name).sweep_file());
            file.map_or_else(|error| !is_absence(&error), |_| true)
        })
        .map(|name| name.to_string())
        .collect();
    names.sort();
    Ok(names)
}
