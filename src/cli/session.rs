//! What `sweep` and `plan` have in common: a sweep file, its plan, its folder.

use std::path::{Path, PathBuf};

use super::args::FileArgs;
use super::error::CliError;
use crate::plan::Plan;
use crate::record::SweepFolder;
use crate::spec::dataset::Dataset;
use crate::spec::validate::misfits;
use crate::spec::{Key, Setting, SweepSpec};
use crate::train::data;

/// A sweep file, read and planned against its record.
pub struct Session {
    /// The sweep file as it stands on disk.
    pub text: Vec<u8>,
    /// The sweep file, read.
    pub spec: SweepSpec,
    /// Its plan.
    pub plan: Plan,
    /// Where its record is.
    pub folder: SweepFolder,
    /// Where data sets are, absolute.
    pub data: PathBuf,
    /// Runs at a time.
    pub jobs: usize,
}

impl Session {
    /// Reads, plans, and looks whether the data sets are there.
    ///
    /// # Errors
    /// Everything that is wrong with the file, what keeps it from a plan, a missing data set.
    pub fn open(args: &FileArgs) -> Result<Self, CliError> {
        let text = std::fs::read(&args.file)
            .map_err(|source| CliError::NoSweepFile { path: args.file.clone(), source })?;
        let (spec, folder, plan) = planned(&args.file, &text, &args.overrides, &args.runs)?;
        let data = std::path::absolute(&args.data)?;
        for dataset in datasets(&plan) {
            data::check_present(&dataset, &data).map_err(CliError::MissingData)?;
        }
        let jobs = args.jobs.map_or_else(|| jobs(spec.run.threads), |jobs| jobs as usize);
        Ok(Self { text, spec, plan, folder, data, jobs })
    }
}

/// Reads a sweep file and plans it against its record under `runs`.
///
/// # Errors
/// Everything that is wrong with the file, and what keeps it from a plan.
pub fn planned(
    path: &Path,
    text: &[u8],
    overrides: &[String],
    runs: &Path,
) -> Result<(SweepSpec, SweepFolder, Plan), CliError> {
    let (spec, _) = SweepSpec::parse_bytes(&path.display().to_string(), text, overrides)?;
    let folder = SweepFolder::new(&std::path::absolute(runs)?, &spec.name);
    let plan = Plan::build(&spec, Some(&folder), &Dataset::fingerprint, &misfits)?;
    Ok((spec, folder, plan))
}

/// Runs at a time that keep the cores busy: those that this process may use by its affinity and its
/// cgroup's quota, in shares of `threads`.
fn jobs(threads: u32) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / threads as usize).max(1)
}

/// The data sets that runs of the plan train on.
fn datasets(plan: &Plan) -> Vec<Dataset> {
    let varied = plan.axes.iter().find(|axis| axis.key == Key::Dataset);
    let settings: Vec<Setting> = match varied {
        Some(axis) => {
            let used = axis.values.iter().filter(|value| value.runs > 0);
            used.map(|value| value.setting.clone()).collect()
        }
        None => plan
            .runs
            .first()
            .map(|run| plan.config(run).setting(Key::Dataset))
            .into_iter()
            .collect(),
    };
    let dataset = |setting| match setting {
        Setting::Dataset(dataset) => Some(dataset),
        _ => None,
    };
    settings.into_iter().filter_map(dataset).collect()
}
