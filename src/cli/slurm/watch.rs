//! What happens on the shared disk, as events: the same that a dispatcher tells of its own machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::aggregate::reader::read_result;
use crate::event::{AttemptEnd, Failure, RunEvent, SweepEvent};
use crate::executor::slurm::submission::job_of;
use crate::ids::RunId;
use crate::record::beats::{Beats, Life};
use crate::record::checkpoint::step_of;
use crate::record::claims::{newest, read_claim};
use crate::record::{LineFollower, RecordError, RunResult, RunStatus, SweepFolder};

/// Looks at a sweep that others execute.
pub struct Watch<'a> {
    folder: &'a SweepFolder,
    /// Runs without a result, with their places in the plan.
    open: BTreeMap<RunId, usize>,
    under_way: BTreeMap<RunId, UnderWay>,
    /// Has any run been settled since this was last asked?
    settled: bool,
    /// Steps that the checkpoints of runs stood at when this was last asked.
    steps: BTreeMap<RunId, u64>,
    beats: Beats,
    begun: Instant,
    /// Jobs that have runs and were not heard of for a lease.
    silent: BTreeSet<String>,
}

/// A run that somebody has.
struct UnderWay {
    claim: u32,
    /// The job of the one who has it; none where it was given back.
    job: Option<String>,
    events: LineFollower<RunEvent>,
}

impl<'a> Watch<'a> {
    /// Of these runs. Who is silent for the length of a lease is gone.
    pub fn new(folder: &'a SweepFolder, open: BTreeMap<RunId, usize>, lease: Duration) -> Self {
        Self {
            folder,
            open,
            under_way: BTreeMap::new(),
            settled: false,
            steps: BTreeMap::new(),
            beats: Beats::new(folder, lease),
            begun: Instant::now(),
            silent: BTreeSet::new(),
        }
    }

    /// Is the job gone as far as one can see, whatever Slurm says?
    pub fn is_silent(&self, job: &str) -> bool {
        self.silent.contains(job)
    }

    /// Runs that are not settled.
    pub fn left(&self) -> usize {
        self.open.len()
    }

    /// How many runs each job has.
    pub fn holders(&self) -> BTreeMap<&str, usize> {
        let mut holders = BTreeMap::new();
        for job in self.under_way.values().filter_map(|run| run.job.as_deref()) {
            *holders.entry(job).or_default() += 1;
        }
        holders
    }

    /// Has any run come further since the last call? Only what is on disk and gone on from counts: epochs that
    /// no checkpoint follows are trained again and again.
    pub fn take_moved(&mut self) -> bool {
        let mut moved = std::mem::take(&mut self.settled);
        for (id, run) in &self.under_way {
            let step = step_of(&self.folder.attempt(*id, run.claim)).unwrap_or(0);
            let before = self.steps.get(id).copied().unwrap_or(0);
            if step > before {
                self.steps.insert(*id, step);
                moved = true;
            }
        }
        moved
    }

    /// What has happened since the last look.
    ///
    /// # Errors
    /// When the sweep's folder cannot be read.
    pub fn look(&mut self) -> Result<Vec<SweepEvent>, RecordError> {
        let mut events = Vec::new();
        self.silent.clear();
        let (newest, now) = (newest(self.folder)?, self.begun.elapsed());
        for (id, claim) in &newest {
            let Some(run) = self.open.get(id).copied() else { continue };
            let attempt = self.folder.attempt(*id, *claim);
            let owner = read_claim(&attempt).ok().flatten().and_then(|claim| claim.owner);
            // A beat that cannot be read says nothing.
            let life = owner.as_ref().and_then(|owner| self.beats.look(owner, now).ok());
            let job = owner.map(|owner| job_of(&owner).to_owned());
            if life == Some(Life::Gone) {
                self.silent.extend(job.clone());
            }
            match self.under_way.get_mut(id) {
                Some(known) if known.claim == *claim => known.job = job,
                _ if job.is_none() => continue,
                known => {
                    if known.is_some() {
                        events.push(SweepEvent::RunEnded {
                            run,
                            seconds: 0.0,
                            end: AttemptEnd::Interrupted,
                        });
                    }
                    let follower = LineFollower::new(attempt.events());
                    let run_of = UnderWay { claim: *claim, job, events: follower };
                    self.under_way.insert(*id, run_of);
                    events.push(SweepEvent::RunStarted { run, attempt: *claim });
                }
            }
        }
        for (id, under_way) in &mut self.under_way {
            let Some(run) = self.open.get(id).copied() else { continue };
            // What cannot be read now, because it is just being moved, is read with its result.
            let Ok(lines) = under_way.events.poll() else { continue };
            if !lines.is_empty() {
                events.push(SweepEvent::RunProgress { run, events: lines });
            }
        }
        self.settle(&mut events)?;
        Ok(events)
    }

    /// Runs whose results are published.
    fn settle(&mut self, events: &mut Vec<SweepEvent>) -> Result<(), RecordError> {
        let path = self.folder.path();
        for id in self.folder.run_ids().map_err(RecordError::io("read", path))? {
            let Some(&run) = self.open.get(&id) else { continue };
            // It is read again at the next look if it cannot be read yet.
            let Ok(Some(result)) = read_result(&self.folder.run(id), id) else { continue };
            self.open.remove(&id);
            self.settled = true;
            if self.under_way.remove(&id).is_none() {
                events.push(SweepEvent::RunStarted { run, attempt: 1 });
            }
            if let Some(last) = result.epochs.last() {
                let epoch = RunEvent::Epoch(last.clone());
                events.push(SweepEvent::RunProgress { run, events: vec![epoch] });
            }
            let seconds = result.wall_s.unwrap_or_default();
            events.push(SweepEvent::RunEnded { run, seconds, end: end_of(&result) });
        }
        Ok(())
    }
}

fn end_of(result: &RunResult) -> AttemptEnd {
    match result.status {
        RunStatus::Finished => AttemptEnd::Result,
        RunStatus::Diverged => {
            AttemptEnd::Diverged { reason: result.reason.clone().unwrap_or_default() }
        }
        RunStatus::Failed => {
            let reason = result.reason.as_deref().unwrap_or("without a reason");
            AttemptEnd::Failed(Failure::from_recorded(reason))
        }
    }
}
