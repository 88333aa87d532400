//! What `sweep` and `plan` have in common: a sweep file, its plan, its folder.

use std::path::{Path, PathBuf};

use super::args::{FileArgs, changes};
use super::error::CliError;
use super::folders::Folders;
use super::placing::Placing;
use super::recorded::Recorded;
use super::sweep_file::{absolute_folder, read_sweep_file};
use super::weights::WeightsFiles;
use crate::dispatch::inventory::Inventory;
use crate::plan::{Lanes, Plan};
use crate::record::SweepFolder;
use crate::spec::dataset::Dataset;
use crate::spec::slurm::SlurmSection;
use crate::spec::validate::misfits;
use crate::spec::{Key, RunConfig, Setting, Sources, SweepSpec};
use crate::train::data;

/// A sweep file, read and planned against its record.
pub struct Session {
    /// The sweep file as it stands on disk.
    pub text: Vec<u8>,
    /// The sweep file, read.
    pub spec: SweepSpec,
    /// Its plan.
    pub plan: Plan,
    /// The files of weights that runs start from.
    pub weights: WeightsFiles,
    /// Where its record is.
    pub folder: SweepFolder,
    /// Where data sets are, absolute.
    pub data: PathBuf,
    /// The folder of all sweeps.
    pub sweeps: PathBuf,
    /// The machine, and what of it each run takes.
    pub placing: Placing,
    /// Runs that are trained together.
    pub lanes: Lanes,
    /// The folders of images that were looked into.
    pub folders: Folders,
    /// What the command line changes of the file.
    pub changes: Vec<String>,
}

/// A sweep file with what the command line changes of it.
pub struct Source<'a> {
    /// Its path, for messages.
    pub path: &'a Path,
    /// What is in it.
    pub text: &'a [u8],
    /// The changes.
    pub overrides: &'a [String],
}

impl Session {
    /// Reads, plans, and looks whether the data sets are there.
    ///
    /// # Errors
    /// Everything that is wrong with the file, what keeps it from a plan, a missing data set.
    pub fn open(args: &FileArgs) -> Result<Self, CliError> {
        Self::open_on(args, None)
    }

    /// The same for a machine that is not this one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(args: &FileArgs, machine: Option<Inventory>) -> Result<Self, CliError> {
        let text = read_sweep_file(&args.file)?;
        let data = absolute_folder(&args.data, "--data")?;
        let mut folders = Folders::on_disk(&data);
        let changes = changes(args.short, &args.overrides);
        let source = Source { path: &args.file, text: &text, overrides: &changes };
        let (mut spec, sources) = parsed(&source, &mut folders)?;
        let beside = args.file.parent().unwrap_or(Path::new(""));
        let weights = WeightsFiles::read(&mut spec, &sources, beside)?;
        let sweeps = absolute_folder(&args.runs, "--runs")?;
        let folder = SweepFolder::new(&sweeps, &spec.name);
        let mut plan = build(&spec, Some(&folder), &weights)?;
        for dataset in datasets(&plan) {
            data::check_present(&dataset, &data).map_err(CliError::MissingData)?;
        }
        let placing = match machine {
            Some(machine) => Placing::on(machine, args, &spec, &mut plan)?,
            None => Placing::new(args, &spec, &mut plan)?,
        };
        Ok(Self {
            text,
            spec,
            plan,
            weights,
            folder,
            data,
            sweeps,
            placing,
            lanes: args.lanes,
            folders,
            changes,
        })
    }
}

impl Session {
    /// A sweep as its folder has it, on `machine`: for a dispatcher that shares it with others.
    ///
    /// # Errors
    /// When the record cannot be read, or the machine cannot train what is planned.
    pub fn recorded(
        recorded: Recorded,
        args: &FileArgs,
        machine: Inventory,
    ) -> Result<Self, CliError> {
        let Recorded { spec, mut plan, folder } = recorded;
        let placing = Placing::on(machine, args, &spec, &mut plan)?;
        let sweeps = folder.path().parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Self {
            text: Vec::new(),
            folders: Folders::recorded(&folder)?,
            weights: WeightsFiles::default(),
            changes: Vec::new(),
            data: args.data.clone(),
            lanes: args.lanes,
            spec,
            plan,
            folder,
            sweeps,
            placing,
        })
    }
}

/// What a sweep file asks a cluster for.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn slurm_section(args: &FileArgs) -> Result<SlurmSection, CliError> {
    let text = read_sweep_file(&args.file)?;
    let name = args.file.display().to_string();
    let changes = changes(args.short, &args.overrides);
    Ok(SweepSpec::parse_bytes(&name, &text, &changes)?.0.slurm)
}

/// Reads a sweep file, with what `folders` says of folders of images.
///
/// # Errors
/// Everything that is wrong with the file or with a folder.
pub fn parsed(
    source: &Source<'_>,
    folders: &mut Folders,
) -> Result<(SweepSpec, Sources), CliError> {
    let name = source.path.display().to_string();
    let (mut spec, sources) = SweepSpec::parse_bytes(&name, source.text, source.overrides)?;
    folders.look_into(&mut spec)?;
    Ok((spec, sources))
}

/// Plans a sweep, against its record where there is one to compare with.
///
/// # Errors
/// What keeps it from a plan.
pub fn build(
    spec: &SweepSpec,
    record: Option<&SweepFolder>,
    weights: &WeightsFiles,
) -> Result<Plan, CliError> {
    let check = |config: &RunConfig| {
        let mut found = misfits(config);
        found.extend(weights.misfit(config));
        found
    };
    Ok(Plan::build(spec, record, &Dataset::fingerprint, &check)?)
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
