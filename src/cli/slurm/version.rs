//! Which version of a sweep its jobs have read: they go on with theirs when the sweep file changes.

use std::collections::BTreeSet;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::executor::slurm::Task;
use crate::executor::slurm::submission::job_of;
use crate::ids::RunId;
use crate::plan::Plan;
use crate::record::{Durability, PilotFolder, RecordError, SweepFolder, atomic};

/// Version of the format of a list of runs.
const FORMAT: u32 = 1;

/// The runs of a sweep as jobs have read it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    format: u32,
    runs: BTreeSet<RunId>,
}

/// Jobs at work that have read another version of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    jobs: usize,
    /// Runs that some of them do not know.
    new: usize,
    /// Runs that some of them know, and that are none of the sweep's any more.
    gone: usize,
}

impl Behind {
    /// For a person, who calls the sweep `name`.
    pub fn told(self, name: &str) -> String {
        let Self { jobs, new, gone } = self;
        format!(
            "the sweep is another than its jobs have read ({jobs} of them), and they go on with theirs: {new} runs are \
             new to them, {gone} that they know are no longer in it. `gridlane slurm cancel {name}` and then the \
             `sweep` command again, and they follow"
        )
    }
}

fn runs_of(plan: &Plan) -> BTreeSet<RunId> {
    plan.runs.iter().map(|run| run.id).collect()
}

/// Writes down what a pilot has read. Pilots that have read the same share the list.
///
/// # Errors
/// What the system refuses.
pub fn note(folder: &SweepFolder, pilot: &PilotFolder, plan: &Plan) -> Result<(), RecordError> {
    let version = Version { format: FORMAT, runs: runs_of(plan) };
    let mut hasher = blake3::Hasher::new();
    version.runs.iter().for_each(|run| {
        hasher.update(run.to_string().as_bytes());
    });
    let digest = &hasher.finalize().to_hex()[..16];
    let list = folder.version(digest);
    if !list.exists() {
        atomic::replace_json(&list, &version, Durability::Derived)?;
    }
    atomic::replace(&pilot.version(), digest.as_bytes(), Durability::Derived)
}

/// The jobs among `tasks` that work at another version of the sweep than `plan`.
///
/// # Errors
/// What the system refuses.
pub fn behind(
    folder: &SweepFolder,
    plan: &Plan,
    tasks: &[Task],
) -> Result<Option<Behind>, RecordError> {
    let live: BTreeSet<String> =
        tasks.iter().filter(|task| task.is_live()).map(Task::name).collect();
    let now = runs_of(plan);
    let (mut jobs, mut new, mut gone) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for name in folder.pilot_names().map_err(RecordError::io("read", &folder.pilots()))? {
        let pilot = folder.pilot(&name);
        let job = job_of(&name).to_owned();
        // A job that went back into the queue has had other pilots before.
        if !live.contains(&job) || pilot.left().exists() {
            continue;
        }
        let Ok(digest) = fs::read_to_string(pilot.version()) else { continue };
        let read: Option<Version> = atomic::read_json(&folder.version(digest.trim()), FORMAT)?;
        let Some(Version { runs, .. }) = read.filter(|version| version.runs != now) else {
            continue;
        };
        jobs.insert(job);
        new.extend(now.difference(&runs).copied());
        gone.extend(runs.difference(&now).copied());
    }
    let (new, gone) = (new.len(), gone.len());
    Ok((!jobs.is_empty()).then_some(Behind { jobs: jobs.len(), new, gone }))
}
