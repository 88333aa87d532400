//! What was submitted for a sweep, written down before Slurm is asked, and asking it so that nothing is
//! submitted twice.
//!
//! `sbatch` that times out may have been heard all the same. Every batch of jobs has a name of its own, which
//! is on disk before `sbatch` is called, and without a clear answer it is looked up by that name.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::cluster;
use super::error::SlurmError;
use super::options::SlurmOptions;
use super::queue::Task;
use super::{PATIENCE, Slurm};
use crate::record::{Durability, RecordError, SweepFolder, atomic};

/// Version of `slurm.json`'s format.
pub const SUBMISSION_FORMAT: u32 = 1;

/// Times that one batch is offered to Slurm.
const OFFERS: u32 = 3;

/// Looks at the queue after each, before it counts as not heard.
const LOOKS: u32 = 3;

/// What Slurm says of requests that it will never take.
const FINAL: [&str; 5] = ["invalid", "unrecognized", "violates", "denied", "not permitted"];

/// Words of objections that nodes are the cause of.
const NODES: [&str; 3] = ["node", "not available", "resources"];
const NODES_ARE_DOWN: &str = ": nodes may be down, drained or reserved, see `sinfo`";

/// Characters of a sweep's name in the names of jobs.
const NAME_LENGTH: usize = 24;

/// `slurm.json`: what was submitted for a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// [`SUBMISSION_FORMAT`] of the writer.
    pub format: u32,
    /// What the names of all its jobs begin with: no other sweep has it.
    pub base: String,
    /// Batches that may still have jobs.
    pub batches: Vec<Batch>,
    /// Batches so far, those that are over among them.
    pub count: u32,
    /// What pilots are to do.
    pub orders: PilotOrders,
    /// What each of them asks for.
    pub options: SlurmOptions,
}

/// Jobs that were submitted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The name of its jobs.
    pub name: String,
    /// How many.
    pub pilots: u32,
    /// Is it known that Slurm has it?
    pub accepted: bool,
}

/// What pilots are to do, beside what the sweep's own files say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PilotOrders {
    /// The program, which runs on the nodes too.
    pub program: PathBuf,
    /// Where data sets are.
    pub data: PathBuf,
    /// Runs at a time in each, where a person said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// GPUs that may be used, where a person said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<String>,
    /// Runs that are trained together, as on the command line.
    pub lanes: String,
    /// Seconds for which a pilot may be silent before its runs are taken over.
    pub lease_s: f64,
}

impl PilotOrders {
    /// How long a pilot may be silent before its runs are taken over.
    pub fn lease(&self) -> Duration {
        Duration::try_from_secs_f64(self.lease_s)
            .unwrap_or(PATIENCE)
            .max(Duration::from_millis(100))
    }
}

/// Waits for so long, or shorter where somebody wants to stop: then it gives `false`.
pub type Pause<'a> = dyn FnMut(Duration) -> bool + 'a;

impl Submission {
    /// Of nothing yet, for the sweep in `folder`.
    pub fn new(folder: &SweepFolder, orders: PilotOrders, options: SlurmOptions) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = folder.path();
        let unique = format!("{} {now} {}", path.display(), std::process::id());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name: String = name.chars().take(NAME_LENGTH).collect();
        let hash = blake3::hash(unique.as_bytes()).to_hex();
        let base = format!("gridlane-{name}-{}", &hash.as_str()[..8]);
        Self { format: SUBMISSION_FORMAT, base, batches: Vec::new(), count: 0, orders, options }
    }

    /// As it was written down, if it was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(folder: &SweepFolder) -> Result<Option<Self>, RecordError> {
        atomic::read_json(&folder.submission(), SUBMISSION_FORMAT)
    }

    /// Writes it down, so that it survives a power cut.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn write(&self, folder: &SweepFolder) -> Result<(), RecordError> {
        atomic::replace_json(&folder.submission(), self, Durability::Fact)
    }

    /// The names of its jobs.
    pub fn names(&self) -> Vec<String> {
        self.batches.iter().map(|batch| batch.name.clone()).collect()
    }

    /// Asks Slurm whether it would take such jobs, before there are any. Gives a word of warning where it does
    /// not now, and may later.
    ///
    /// # Errors
    /// Where it never will: [`SlurmError::Refused`] in Slurm's words, [`SlurmError::Unfit`] beside what nodes
    /// have, [`SlurmError::NoCluster`] where there is nobody to ask.
    pub fn check(&self, slurm: &Slurm, folder: &SweepFolder) -> Result<Option<String>, SlurmError> {
        self.write_script(folder)?;
        let paths = (folder.batch_script(), folder.pilots());
        let arguments = self.options.arguments(&self.base, 1, (&paths.0, &paths.1));
        let Some(said) = slurm.objection(&arguments)? else { return Ok(None) };
        let lower = said.to_ascii_lowercase();
        if FINAL.iter().any(|word| lower.contains(word)) {
            return Err(SlurmError::Refused { message: said });
        }
        // Who may not even look at the queue has no cluster here, whatever the objection.
        let looked = slurm.queue(std::slice::from_ref(&self.base));
        if let Err(error @ (SlurmError::Refused { .. } | SlurmError::NoCluster { .. })) = looked {
            return Err(error);
        }
        // The same words for nodes that are too small and for nodes that are down.
        let by_habit = std::env::var("SBATCH_PARTITION").ok();
        let partition = self.options.partition.as_ref().or(by_habit.as_ref());
        match cluster::misfit(&self.options, &slurm.nodes(partition.map(String::as_str))) {
            Some(why) => Err(SlurmError::Unfit { why, said }),
            None => {
                let of_nodes = NODES.iter().any(|word| lower.contains(word));
                let why = if of_nodes { NODES_ARE_DOWN } else { "" };
                Ok(Some(format!(
                    "Slurm could not start such a job now ({said}){why}; it is submitted all the same"
                )))
            }
        }
    }

    /// Submits `pilots` more pilots, once, whatever Slurm answers.
    ///
    /// # Errors
    /// Slurm's refusal; no clear answer again and again: then the batch stays among those that may have
    /// jobs, and is looked for the next time.
    pub fn submit(
        &mut self,
        slurm: &Slurm,
        folder: &SweepFolder,
        pilots: u32,
        pause: &mut Pause<'_>,
    ) -> Result<(), SlurmError> {
        self.write_script(folder)?;
        self.count += 1;
        let name = format!("{}-{}", self.base, self.count);
        self.batches.push(Batch { name: name.clone(), pilots, accepted: false });
        self.write(folder)?;
        let paths = (folder.batch_script(), folder.pilots());
        let arguments = self.options.arguments(&name, pilots, (&paths.0, &paths.1));
        match offer(slurm, &name, &arguments, pause) {
            Ok(()) => self.accepted(folder, &name),
            Err(error) => {
                if error.is_certain() {
                    self.batches.retain(|batch| batch.name != name);
                    self.write(folder)?;
                }
                Err(error)
            }
        }
    }

    /// Looks which batches still have jobs, and forgets the others, on disk with the next submission: this may
    /// be a Slurm that does not show them. A batch of which it was not known whether Slurm has it is given the
    /// time to show up.
    ///
    /// # Errors
    /// When Slurm does not answer.
    pub fn settle(
        &mut self,
        slurm: &Slurm,
        folder: &SweepFolder,
        pause: &mut Pause<'_>,
    ) -> Result<Vec<Task>, SlurmError> {
        let unsure = self.unsure();
        // Whoever finds no cluster will find none in a while either, and a person waits.
        if let Err(error @ SlurmError::NoCluster { .. }) = slurm.queue(&unsure) {
            return Err(error);
        }
        for name in unsure {
            if look_for(slurm, &name, LOOKS, pause)? {
                self.accepted(folder, &name)?;
            }
        }
        let mut tasks = self.queue(slurm)?;
        let live =
            |batch: &Batch| tasks.iter().any(|task| task.is_live() && task.batch == batch.name);
        self.batches.retain(live);
        tasks.retain(|task| self.batches.iter().any(|batch| batch.name == task.batch));
        Ok(tasks)
    }

    /// Are there jobs that Slurm has, as far as is known?
    pub fn is_accepted(&self) -> bool {
        self.batches.iter().any(|batch| batch.accepted)
    }

    fn unsure(&self) -> Vec<String> {
        let unsure = self.batches.iter().filter(|batch| !batch.accepted);
        unsure.map(|batch| batch.name.clone()).collect()
    }

    /// All its jobs, in one question.
    ///
    /// # Errors
    /// When Slurm does not answer: then nothing is known.
    pub fn queue(&self, slurm: &Slurm) -> Result<Vec<Task>, SlurmError> {
        slurm.queue(&self.names())
    }

    fn accepted(&mut self, folder: &SweepFolder, name: &str) -> Result<(), SlurmError> {
        for batch in self.batches.iter_mut().filter(|batch| batch.name == name) {
            batch.accepted = true;
        }
        Ok(self.write(folder)?)
    }

    /// The script and the folder of the logs: Slurm does not make it, and a job that cannot write its log
    /// fails without a word.
    fn write_script(&self, folder: &SweepFolder) -> Result<(), RecordError> {
        let logs = folder.pilots();
        std::fs::create_dir_all(&logs).map_err(RecordError::io("create", &logs))?;
        let script = self.options.script(&self.orders.program, folder.path());
        atomic::replace(&folder.batch_script(), script.as_bytes(), Durability::Derived)
    }

    /// The log of a job.
    pub fn log(folder: &SweepFolder, task: &Task) -> PathBuf {
        folder.pilots().join(format!("{}.log", task.name()))
    }
}

/// Offers a batch until it is certain that Slurm has it, or refuses it.
fn offer(
    slurm: &Slurm,
    name: &str,
    arguments: &[String],
    pause: &mut Pause<'_>,
) -> Result<(), SlurmError> {
    let mut said = None;
    for _ in 0..OFFERS {
        match slurm.sbatch(arguments) {
            Ok(()) => return Ok(()),
            // Nobody was asked; unless it was somebody before, who may have heard.
            Err(error @ (SlurmError::Missing { .. } | SlurmError::NoCluster { .. }))
                if said.is_none() =>
            {
                return Err(error);
            }
            Err(error) => {
                let refused = matches!(error, SlurmError::Refused { .. });
                let looks = if refused { 1 } else { LOOKS };
                if look_for(slurm, name, looks, pause)? {
                    return Ok(());
                }
                if refused {
                    return Err(error);
                }
                said = Some(error);
            }
        }
    }
    Err(said.unwrap_or(SlurmError::Stopped))
}

/// Is there a job of that name? A controller that has just come back may take a while to show it.
fn look_for(
    slurm: &Slurm,
    name: &str,
    enough: u32,
    pause: &mut Pause<'_>,
) -> Result<bool, SlurmError> {
    let mut wait = slurm.patience.min(PATIENCE) / 10;
    let mut unanswered = None;
    let mut looks = 0;
    // Silence is no look: the controller may be away for a minute or two.
    for _ in 0..LOOKS * 3 {
        match slurm.queue(&[name.to_owned()]) {
            Ok(tasks) if !tasks.is_empty() => return Ok(true),
            Ok(_) => {
                looks += 1;
                unanswered = None;
            }
            Err(error @ SlurmError::Missing { .. }) => return Err(error),
            Err(error) => unanswered = Some(error),
        }
        if looks >= enough {
            return Ok(false);
        }
        if !pause(wait) {
            return Err(SlurmError::Stopped);
        }
        wait = wait.saturating_mul(3) / 2;
    }
    match unanswered {
        // By now it is not about the cluster, but about jobs that it may have.
        Some(SlurmError::NoCluster { message }) => Err(SlurmError::Unclear { message }),
        Some(error) => Err(error),
        None => Ok(false),
    }
}

/// The program's own file, by a name that other machines know.
///
/// # Errors
/// What the system refuses.
pub fn own_program() -> std::io::Result<PathBuf> {
    std::env::current_exe().and_then(|path| std::fs::canonicalize(&path).or(Ok(path)))
}

/// What a pilot calls itself: its job, when it began, its process. No other has or will have the name,
/// though Slurm gives numbers of jobs again.
pub fn pilot_name() -> String {
    let mut job = own_job().unwrap_or_else(|| "0".to_owned());
    if !job.contains('_') {
        job += "_0";
    }
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{job}-{began}-{}", std::process::id())
}

/// The job that this process runs in, as Slurm takes it for this one alone: the number of one job of an array is
/// also that of the array, and means all of them.
pub fn own_job() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| is_number(text));
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(array), Some(task)) => Some(format!("{array}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    }
}

/// The job of a pilot with this name: `17_3`.
pub fn job_of(pilot: &str) -> &str {
    pilot.split('-').next().unwrap_or(pilot)
}

/// When a pilot with this name began, in seconds since 1970.
pub fn began(pilot: &str) -> Option<u64> {
    pilot.split('-').nth(1)?.parse().ok()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The last line of a job's log. Is there none, the node could not write it.
pub fn last_words(log: &Path) -> Option<String> {
    Some(end_of(log, 1)?.pop().unwrap_or_default().trim().to_owned())
}

/// The last lines of a job's log that say anything, `count` at most.
pub fn end_of(log: &Path, count: usize) -> Option<Vec<String>> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let mut lines: Vec<String> = lines.take(count).map(|line| line.trim_end().to_owned()).collect();
    lines.reverse();
    Some(lines)
}
