//! The names of everything on disk. No other file spells one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::{RunId, SweepName};

/// `runs/<sweep>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepFolder {
    root: PathBuf,
}

impl SweepFolder {
    /// The folder of `sweep` under `runs`.
    pub fn new(runs: &Path, sweep: &SweepName) -> Self {
        Self { root: runs.join(sweep.as_str()) }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The runs that have a folder.
    ///
    /// # Errors
    /// When the folder is not there, or cannot be read.
    pub fn run_ids(&self) -> io::Result<BTreeSet<RunId>> {
        let mut ids = BTreeSet::new();
        for entry in self.root.read_dir()? {
            ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RunId>().ok()));
        }
        Ok(ids)
    }

    /// The names of what is in the folder of pilots, their own folders among them.
    ///
    /// # Errors
    /// When the folder is not there, or cannot be read.
    pub fn pilot_names(&self) -> io::Result<Vec<String>> {
        let entries = self.pilots().read_dir()?.flatten();
        Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// The sweep file as it was when last run.
    pub fn sweep_file(&self) -> PathBuf {
        self.root.join("sweep.toml")
    }

    /// What the command line changed of it.
    pub fn overrides(&self) -> PathBuf {
        self.root.join("overrides.json")
    }

    /// What was found in the folders of images that were last trained on.
    pub fn folders(&self) -> PathBuf {
        self.root.join("folders.json")
    }

    /// The plan that was last run.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// What the dispatcher did, a line for each act.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// Held while a dispatcher works here.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// A row for every run.
    pub fn runs_csv(&self) -> PathBuf {
        self.root.join("runs.csv")
    }

    /// A row for every configuration, ranked.
    pub fn leaderboard_csv(&self) -> PathBuf {
        self.root.join("leaderboard.csv")
    }

    /// A row for every effect of a varied key, and for every two of them together.
    pub fn effects_csv(&self) -> PathBuf {
        self.root.join("effects.csv")
    }

    /// A row for every claim; only where the sweep makes any.
    pub fn claims_csv(&self) -> PathBuf {
        self.root.join("claims.csv")
    }

    /// A row for every configuration whose steps are timed; only where there are any.
    pub fn throughput_csv(&self) -> PathBuf {
        self.root.join("throughput.csv")
    }

    /// Speed-ups over devices, measured and forecast; only where steps on several are timed.
    pub fn scaling_csv(&self) -> PathBuf {
        self.root.join("scaling.csv")
    }

    /// The fitted link between ranks and what follows; only where there is `scaling.csv`.
    pub fn scaling_fit_csv(&self) -> PathBuf {
        self.root.join("scaling_fit.csv")
    }

    /// A row for every run, epoch and metric.
    pub fn curves_csv(&self) -> PathBuf {
        self.root.join("curves.csv")
    }

    /// A row for every run, epoch, layer and measurement; only where something was measured.
    pub fn layers_csv(&self) -> PathBuf {
        self.root.join("layers.csv")
    }

    /// A row for every run and optimizer step; only where steps are asked for.
    pub fn steps_csv(&self) -> PathBuf {
        self.root.join("steps.csv")
    }

    /// All of it for people, in one page.
    pub fn report_html(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// The folder of its plots.
    pub fn plots(&self) -> PathBuf {
        self.root.join("plots")
    }

    /// The folder of the initial weights that runs start from.
    pub fn weights(&self) -> PathBuf {
        self.root.join("weights")
    }

    /// Initial weights with this digest.
    pub fn weights_file(&self, digest: &str) -> PathBuf {
        self.weights().join(format!("{digest}.safetensors"))
    }

    /// The names that the sweep file has for them: a JSON table of digests.
    pub fn weights_index(&self) -> PathBuf {
        self.weights().join("index.json")
    }

    /// The folder of a run.
    pub fn run(&self, id: RunId) -> RunFolder {
        RunFolder { root: self.root.join(id.to_string()) }
    }

    /// The folder of runs under way, where several dispatchers share a sweep.
    pub fn attempts(&self) -> PathBuf {
        self.root.join(ATTEMPTS)
    }

    /// The folder of a run while it is under way, of the claim with this number.
    pub fn attempt(&self, id: RunId, claim: u32) -> RunFolder {
        RunFolder { root: self.attempts().join(format!("{id}.{claim}")) }
    }

    /// The folder of all dispatchers that share the sweep, and of the logs of their jobs.
    pub fn pilots(&self) -> PathBuf {
        self.root.join("pilots")
    }

    /// There once somebody wants all of them to leave.
    pub fn called_off(&self) -> PathBuf {
        self.pilots().join("called-off")
    }

    /// The folder of the dispatcher with this name.
    pub fn pilot(&self, name: &str) -> PilotFolder {
        PilotFolder { root: self.pilots().join(name) }
    }

    /// There once pilots have given up, with why.
    pub fn given_up(&self) -> PathBuf {
        self.pilots().join("given-up")
    }

    /// The runs of the sweep as some of its pilots have read it: a JSON list, under its digest.
    pub fn version(&self, digest: &str) -> PathBuf {
        self.pilots().join(format!("version-{digest}.json"))
    }

    /// What was submitted to a cluster.
    pub fn submission(&self) -> PathBuf {
        self.root.join("slurm.json")
    }

    /// The script that was submitted.
    pub fn batch_script(&self) -> PathBuf {
        self.root.join("slurm.sh")
    }
}

/// Where runs under way are.
const ATTEMPTS: &str = "attempts";

/// The run and the number of the claim that a folder in [`SweepFolder::attempts`] is of.
pub fn claim_of(folder_name: &str) -> Option<(RunId, u32)> {
    let (id, claim) = folder_name.split_once('.')?;
    Some((id.parse().ok()?, claim.parse().ok()?))
}

/// `runs/<sweep>/pilots/<name>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PilotFolder {
    root: PathBuf,
}

impl PilotFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Its text changes for as long as the dispatcher lives.
    pub fn beat(&self) -> PathBuf {
        self.root.join("beat")
    }

    /// What the dispatcher did, a line for each act.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// The digest of the version of the sweep that it has read.
    pub fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    /// There once its time was up before any run got further.
    pub fn out_of_time(&self) -> PathBuf {
        self.root.join("out-of-time")
    }

    /// [`Left`](super::claims::Left), once the dispatcher has left in an orderly way.
    pub fn left(&self) -> PathBuf {
        self.root.join("left")
    }
}

/// `runs/<sweep>/<run_id>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The run folder at `path`, as a worker is told it.
    pub fn at(path: &Path) -> Self {
        Self { root: path.to_owned() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The folder of the sweep that the run belongs to.
    pub fn sweep(&self) -> SweepFolder {
        let above = self.root.parent().unwrap_or(&self.root);
        let root = above.parent().filter(|_| above.ends_with(ATTEMPTS)).unwrap_or(above);
        SweepFolder { root: root.to_owned() }
    }

    /// [`Claim`](super::claims::Claim), where several dispatchers share the sweep.
    pub fn claim(&self) -> PathBuf {
        self.root.join("claim.json")
    }

    /// [`RunRecord`](super::RunRecord).
    pub fn run(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// [`RunEvent`](crate::event::RunEvent)s.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    /// [`RunResult`](super::RunResult).
    pub fn result(&self) -> PathBuf {
        self.root.join("result.json")
    }

    /// The worker's output.
    pub fn stdout(&self) -> PathBuf {
        self.root.join("stdout.log")
    }

    /// The worker's error output.
    pub fn stderr(&self) -> PathBuf {
        self.root.join("stderr.log")
    }

    /// The folder of checkpoints; the last one holds the final weights.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// The state that the newest checkpoint's envelope holds.
    pub fn checkpoint_state(&self) -> PathBuf {
        self.checkpoints().join("state.json")
    }

    /// Weights and optimizer state after `step` optimizer steps.
    pub fn checkpoint_tensors(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step:09}.safetensors"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_under_way_belongs_to_the_same_sweep() {
        let sweep = SweepFolder::new(Path::new("/runs"), &SweepName::new("lr").unwrap());
        let id = RunId::of(b"a");
        assert_eq!(sweep.run(id).sweep(), sweep);
        assert_eq!(sweep.attempt(id, 12).sweep(), sweep);
        let name = sweep.attempt(id, 12).path().file_name().unwrap().to_owned();
        assert_eq!(claim_of(name.to_str().unwrap()), Some((id, 12)));
        assert_eq!(claim_of("x.12").or(claim_of(&id.to_string())), None);
    }
}
