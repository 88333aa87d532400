//! Executes a plan: starts runs, watches them, tries again, stops them, and writes it all down.
//!
//! In: the runs to execute and an [`Executor`]. Out: finished run folders, the journal, and
//! [`SweepEvent`]s for whoever shows them. One event loop owns all state; threads only send
//! messages. Every decision is [`Machine`]'s, which knows no clock; every judgement of an attempt
//! is [`judge`]'s; which cores and GPUs may be used is [`Leasing`]'s; this file does what they say.

pub mod attempt;
#[cfg(test)]
mod dispatch_tests;
pub mod error;
pub mod host;
pub mod inventory;
pub mod leases;
pub mod leasing;
pub mod machine;
pub mod occupancy;
pub mod outlook;
pub mod ownership;
pub mod placement;
mod settling;
pub mod signals;
#[cfg(test)]
mod simulation_tests;
pub mod strays;
pub mod verdict;
pub mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use error::DispatchError;

use crate::event::{RunEvent, SweepEvent};
use crate::executor::{Ended, Executor, Job};
use crate::ids::RunId;
use crate::record::claims::Loss;
use crate::record::crash_point::crash_point;
use crate::record::journal::{JOURNAL_FORMAT, JournalEntry, now};
use crate::record::{LineFollower, LineWriter, RunFolder, RunRecord, SweepFolder};
use crate::spec::device::DeviceId;
use crate::spec::run_policy::RunPolicy;
use crate::units::show_bytes;
use attempt::{not_started, prepare};
use leasing::Leasing;
use machine::{Act, Machine, Shortage, Verdict};
use occupancy::{Host, Kind, Place};
use ownership::{Had, Ownership};
use settling::{Backlog, Settlement};
use verdict::{Log, judge};
use work::Work;

/// How often running workers' events are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often a full disk is looked at again.
const DISK_POLL: Duration = Duration::from_secs(2);
/// How often a process is tried again where the system had no room for one.
const PROCESS_POLL: Duration = Duration::from_millis(500);
/// What must fit on a disk before it counts as having room again.
const DISK_PROBE: usize = 1 << 20;

/// What the event loop is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A worker's process is gone.
    Ended(Ended),
    /// Somebody wants the sweep to stop.
    Interrupt,
    /// The terminal is gone; nobody watches any more.
    TerminalGone,
}

/// What to execute and how.
pub struct Orders<'a> {
    /// The sweep's folder.
    pub folder: &'a SweepFolder,
    /// Where data sets are.
    pub data: PathBuf,
    /// What to execute, without a run twice.
    pub works: Vec<Work>,
    /// The machine to do it on.
    pub host: Host,
    /// Runs of the plan that were done before.
    pub done_before: usize,
    /// `run.json` of a run, by its index in the plan.
    pub record_of: &'a dyn Fn(usize) -> RunRecord,
    /// Timeouts, retries, grace.
    pub policy: RunPolicy,
    /// Runs at a time, as a person is told.
    pub jobs: usize,
    /// Stop at the first run that fails for good.
    pub fail_fast: bool,
}

/// What it is executed with.
pub struct Means<'a> {
    /// Starts and stops workers.
    pub executor: &'a mut dyn Executor,
    /// Leases cores and GPUs.
    pub leasing: Leasing<'a>,
    /// Whose the runs are.
    pub ownership: Ownership<'a>,
}

/// What a sweep's execution came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Runs that finished or diverged.
    pub finished: usize,
    /// Runs that failed for good.
    pub failed: usize,
    /// Runs that were not executed because the sweep was stopped.
    pub left: usize,
}

/// Executes `orders`; returns when all runs are settled or the sweep was stopped.
///
/// # Errors
/// When the sweep's own record cannot be written. Workers are stopped first.
pub fn dispatch(
    orders: &Orders<'_>,
    means: Means<'_>,
    messages: &Receiver<Message>,
    observe: &mut dyn FnMut(&SweepEvent),
) -> Result<Outcome, DispatchError> {
    let Means { executor, leasing, ownership } = means;
    let journal = LineWriter::open(&ownership.journal())?.0;
    let machine =
        Machine::new(&orders.works, &orders.host, orders.policy.clone(), orders.fail_fast);
    let active = BTreeMap::new();
    let begun = Instant::now();
    let mut dispatcher = Dispatcher {
        orders,
        executor,
        leasing,
        ownership,
        observe,
        journal,
        machine,
        active,
        begun,
        probed: begun,
        short_of_processes: false,
        backlog: Backlog::default(),
    };
    dispatcher.run(messages)
}

/// A group under way.
struct ActiveGroup {
    lanes: Vec<Lane>,
    log: Log,
    /// Runs of it that another dispatcher has meanwhile.
    lost: Vec<usize>,
}

/// One run of it.
struct Lane {
    run: usize,
    record: RunRecord,
    folder: RunFolder,
    events: LineFollower<RunEvent>,
}

impl Lane {
    fn new(run: usize, record: RunRecord, folder: RunFolder) -> Self {
        let events = LineFollower::new(folder.events());
        Self { run, record, folder, events }
    }
}

struct Dispatcher<'a> {
    orders: &'a Orders<'a>,
    executor: &'a mut dyn Executor,
    leasing: Leasing<'a>,
    ownership: Ownership<'a>,
    observe: &'a mut dyn FnMut(&SweepEvent),
    journal: LineWriter<JournalEntry>,
    machine: Machine,
    active: BTreeMap<usize, ActiveGroup>,
    begun: Instant,
    /// When it was last looked whether a shortage is over.
    probed: Instant,
    /// Has the system refused a process since it last gave one?
    short_of_processes: bool,
    /// What a full disk has not taken yet.
    backlog: Backlog,
}

impl Dispatcher<'_> {
    fn run(&mut self, messages: &Receiver<Message>) -> Result<Outcome, DispatchError> {
        let runs: usize = self.orders.works.iter().map(|work| work.group.runs.len()).sum();
        self.journal.append(&JournalEntry::SweepStarted {
            format: JOURNAL_FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now(),
            pid: std::process::id(),
            runs: runs as u64,
            jobs: u32::try_from(self.orders.jobs).unwrap_or(u32::MAX),
            host: Some(host::host()),
        })?;
        (self.observe)(&SweepEvent::Started {
            runs,
            done_before: self.orders.done_before,
            jobs: self.orders.jobs,
        });
        loop {
            for notice in self.leasing.acquire(&mut self.machine) {
                self.notice(&notice);
            }
            let acts = self.machine.tick(self.begun.elapsed());
            self.perform(acts)?;
            self.leasing.trim(&mut self.machine);
            self.keep_claims()?;
            // What came of the last runs, too, waits for room on the disk; not where somebody wants to stop.
            let written = self.backlog.is_empty() || self.machine.is_stopping();
            let left = self.machine.is_left_to_others();
            let over = self.machine.is_over()
                || (left && self.ownership.others_live(self.begun.elapsed()));
            if over && written {
                break;
            }
            match messages.recv_timeout(self.patience()) {
                Ok(message) => self.receive(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("invariant: the executor holds a sender")
                }
            }
            self.follow_all();
            self.probe()?;
        }
        self.end()
    }

    /// How long to wait for a message before looking at events and deadlines.
    fn patience(&self) -> Duration {
        let deadline = self.machine.next_deadline().unwrap_or(Duration::MAX);
        let until = deadline.saturating_sub(self.begun.elapsed());
        until.clamp(Duration::from_millis(1), POLL)
    }

    fn receive(&mut self, message: Message) -> Result<(), DispatchError> {
        match message {
            Message::Ended(ended) => self.ended(ended),
            Message::Interrupt => {
                let acts = self.machine.interrupt(self.begun.elapsed());
                let notice = match acts.first() {
                    Some(Act::Stop { how: crate::executor::Stop::AtOnce, .. }) => {
                        "stopping at once: running runs go on from their last checkpoint next time"
                    }
                    _ => "stopping: running runs checkpoint and leave (again to stop at once)",
                };
                self.notice(notice);
                self.perform(acts)
            }
            Message::TerminalGone => {
                (self.observe)(&SweepEvent::TerminalGone);
                Ok(())
            }
        }
    }

    fn perform(&mut self, acts: Vec<Act>) -> Result<(), DispatchError> {
        for act in acts {
            match act {
                Act::Start { group, attempt, place } => self.start(group, attempt, &place)?,
                Act::Stop { group, how } => self.executor.stop(group, how),
                // Runs are settled where their process ended, see `group_over`.
                Act::Settle { .. } => {}
            }
        }
        Ok(())
    }

    fn start(&mut self, group: usize, attempt: u32, place: &Place) -> Result<(), DispatchError> {
        let Some(lanes) = self.lanes(group)? else { return Ok(()) };
        let prepared = lanes.iter().try_for_each(|lane| prepare(&lane.folder, &lane.record));
        let job = Job {
            group,
            attempt,
            folders: lanes.iter().map(|lane| lane.folder.clone()).collect(),
            devices: self.devices(group, place),
            threads: self.orders.policy.threads,
            data: self.orders.data.clone(),
        };
        if let Some(there) = place.short_of {
            let name = &lanes[0].record.configuration;
            self.notice(&format!(
                "{name} is expected to need more memory than the {} that are free: it has its device \
                 to itself",
                show_bytes(there)
            ));
        }
        let ids: Vec<RunId> = lanes.iter().map(|lane| lane.record.run_id).collect();
        let runs: Vec<usize> = lanes.iter().map(|lane| lane.run).collect();
        // Its output goes to the first run's log, which is read for all of them.
        let log = Log::from_now_on(&job.folders[0].stderr());
        let alone = self.active.is_empty();
        self.active.insert(group, ActiveGroup { lanes, log, lost: Vec::new() });
        crash_point();
        let started = match prepared {
            Ok(()) => self.executor.start(&job).map_err(|error| not_started(&error, alone)),
            Err(error) => Err(self.not_prepared(&error)),
        };
        crash_point();
        self.note_processes(&started);
        if !matches!(started, Err(Verdict::NoProcess | Verdict::NoRecord)) {
            for run in runs {
                (self.observe)(&SweepEvent::RunStarted { run, attempt });
            }
        }
        match started {
            Ok(pid) => ids.into_iter().try_for_each(|run_id| {
                self.write(JournalEntry::AttemptStarted { run_id, attempt, pid, at: now() })
            }),
            Err(verdict) => self.group_over(group, vec![verdict; ids.len()]),
        }
    }

    /// The runs of a group with their folders, where all of them are to be had; the others of the group
    /// then go on without those that are not.
    fn lanes(&mut self, group: usize) -> Result<Option<Vec<Lane>>, DispatchError> {
        let runs = self.machine.runs(group).to_vec();
        let (mut lanes, mut verdicts) = (Vec::new(), Vec::new());
        let (now, retries) = (self.begun.elapsed(), self.orders.policy.retries.count);
        for run in runs {
            let record = (self.orders.record_of)(run);
            match self.ownership.take(record.run_id, now, retries)? {
                Had::Folder(folder) => {
                    lanes.push(Lane::new(run, record, folder));
                    verdicts.push(Verdict::Waits);
                }
                Had::Hopeless(folder, failure) => {
                    // What is known of it goes where a result is expected.
                    let _ = prepare(&folder, &record);
                    lanes.push(Lane::new(run, record, folder));
                    verdicts.push(Verdict::Failed(failure));
                }
                Had::Not(verdict, notice) => {
                    notice.into_iter().for_each(|text| self.notice(&text));
                    verdicts.push(verdict);
                }
            }
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::Waits) {
            return Ok(Some(lanes));
        }
        let log = lanes.first().map(|lane| Log::from_now_on(&lane.folder.stderr()));
        let log = log.unwrap_or_else(|| Log::from_now_on(self.orders.folder.path()));
        self.active.insert(group, ActiveGroup { lanes, log, lost: Vec::new() });
        self.group_over(group, verdicts)?;
        Ok(None)
    }

    /// Shows other dispatchers that this one lives, and stops what they have taken over.
    fn keep_claims(&mut self) -> Result<(), DispatchError> {
        let lost = self.ownership.keep(self.begun.elapsed())?;
        for (id, why) in lost {
            for (group, active) in &mut self.active {
                let Some(lane) = active.lanes.iter().find(|lane| lane.record.run_id == id) else {
                    continue;
                };
                active.lost.push(lane.run);
                self.executor.stop(*group, crate::executor::Stop::AtOnce);
            }
            self.notice(&match why {
                Loss::TakenOver => {
                    format!("run {id} was taken over by another dispatcher: stopping it here")
                }
                Loss::Unheard => format!(
                    "this dispatcher cannot show that it lives, and others may soon take run {id}: stopping it here"
                ),
            });
        }
        Ok(())
    }

    /// A device for each rank of a group.
    fn devices(&self, group: usize, place: &Place) -> Vec<DeviceId> {
        match place.kind {
            Kind::Core => vec![DeviceId::Cpu; self.machine.ranks(group) as usize],
            Kind::Gpu => {
                let gpu = |(slot, _): &(usize, u32)| self.leasing.inventory().device(*slot);
                place.shares.iter().map(gpu).collect()
            }
        }
    }

    fn ended(&mut self, ended: Ended) -> Result<(), DispatchError> {
        let Ended { group, exit } = ended;
        self.executor.settle(ended);
        self.follow(group);
        let Some(active) = self.active.get(&group) else { return Ok(()) };
        let again = self.ownership.patience();
        let judged = |lane: &Lane| match active.lost.contains(&lane.run) {
            true => Verdict::Elsewhere { again },
            false => match judge(&lane.folder, lane.record.run_id, exit, &active.log) {
                Verdict::Failed(_) if !active.lost.is_empty() => Verdict::Waits,
                verdict => verdict,
            },
        };
        let verdicts = active.lanes.iter().map(judged).collect();
        self.group_over(group, verdicts)
    }

    fn group_over(&mut self, group: usize, verdicts: Vec<Verdict>) -> Result<(), DispatchError> {
        if verdicts.contains(&Verdict::DiskFull) && self.machine.shortage() != Some(Shortage::Disk)
        {
            self.notice("the disk is full: waiting for room, then the sweep goes on by itself");
        }
        let Some(ActiveGroup { lanes, log, .. }) = self.active.remove(&group) else {
            return Ok(());
        };
        let acts = self.machine.ended(self.begun.elapsed(), group, verdicts);
        for act in acts {
            match act {
                Act::Settle { run, attempt, took, end } => {
                    let Some(lane) = lanes.iter().find(|lane| lane.run == run) else { continue };
                    self.settle(Settlement::new(lane, attempt, (took, end)), &log)?;
                }
                other => self.perform(vec![other])?,
            }
        }
        Ok(())
    }

    fn follow_all(&mut self) {
        let groups: Vec<usize> = self.active.keys().copied().collect();
        for group in groups {
            self.follow(group);
        }
    }

    /// Shows what a worker has written. What cannot be read is not shown; what it means for the run
    /// is judged when the attempt is over.
    fn follow(&mut self, group: usize) {
        let Some(active) = self.active.get_mut(&group) else { return };
        for lane in &mut active.lanes {
            match lane.events.poll() {
                Ok(events) if !events.is_empty() => {
                    (self.observe)(&SweepEvent::RunProgress { run: lane.run, events });
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Says once that processes are wanting, and once that they are not any more.
    fn note_processes(&mut self, started: &Result<u32, Verdict>) {
        match started {
            Err(Verdict::NoProcess) if !self.short_of_processes => {
                self.notice(
                    "the system has no room for another process (`ulimit -u`, memory): trying again \
                     until it has",
                );
                self.short_of_processes = true;
            }
            Ok(_) if self.short_of_processes => {
                self.notice("there is room for processes again: going on");
                self.short_of_processes = false;
            }
            _ => {}
        }
    }

    fn notice(&mut self, text: &str) {
        (self.observe)(&SweepEvent::Notice(text.to_owned()));
    }
}
