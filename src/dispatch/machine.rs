//! Which group of runs is started, stopped, tried again or given up, and when: a pure state machine.
//!
//! A group is what one process trains; of one run, ordinarily. Its runs are judged one by one: a run
//! with a result is settled whatever became of the process, and one without goes on alone.
//!
//! In: what happened and the time. Out: [`Act`]s for the driver. No clock, no process and no file
//! here, so tests and simulations run it in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::occupancy::{Demand, Host, Kind, Occupancy, Place};
use super::placement::{Placement, order};
use super::work::Work;
use crate::event::{AttemptEnd, Failure, FailureClass};
use crate::executor::Stop;
use crate::spec::run_policy::{Backoff, Retries, RunPolicy};
use crate::units::show_bytes;

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Start an attempt at the runs of a group.
    Start {
        /// Number of the group.
        group: usize,
        /// Which attempt, from 1.
        attempt: u32,
        /// Where.
        place: Place,
    },
    /// Stop a group.
    Stop {
        /// Number of the group.
        group: usize,
        /// How.
        how: Stop,
    },
    /// An attempt at a run is over: write down how, and show it.
    Settle {
        /// Index of the run in the plan.
        run: usize,
        /// Which attempt.
        attempt: u32,
        /// How long it took.
        took: Duration,
        /// How it ended.
        end: AttemptEnd,
    },
}

/// What became of an attempt, read from its exit and its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is a result.
    Result,
    /// There is a result: the loss was no number any more.
    Diverged {
        /// Where.
        reason: String,
    },
    /// It checkpointed and left.
    Interrupted,
    /// The disk was full.
    DiskFull,
    /// It was not started: the system has no room for a process, and says nothing of the run by that.
    NoProcess,
    /// It was not started: nothing can be written into the sweep's folder, which says nothing of the run.
    NoRecord,
    /// It failed.
    Failed(Failure),
    /// It was not started: another dispatcher of the sweep has the run. It may be asked for again then.
    Elsewhere {
        /// How much later.
        again: Duration,
    },
    /// It was not started, or does not count: the run was settled by another dispatcher.
    Gone,
    /// It was not started, since others of its group are elsewhere, or was stopped with them.
    Waits,
}

/// What the sweep waits for, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Room on the disk.
    Disk,
    /// Room for another process.
    Processes,
    /// That the sweep's folder can be written.
    Record,
}

/// Who else was there when a run failed.
#[derive(Debug, Clone, Copy)]
struct Company {
    /// Other runs in the same process.
    lanes: bool,
    /// Other groups of this sweep on the same device.
    neighbours: bool,
}

/// Memory that a group was expected to need and memory that there was.
#[derive(Debug, Clone, Copy)]
struct Room {
    kind: Kind,
    needed: u64,
    there: u64,
}

/// Adds to a want of memory how much was missing, where nothing else of this sweep was in the way.
fn with_room(failure: Failure, company: Company, room: Room) -> Failure {
    if failure.class != FailureClass::OutOfMemory || company.neighbours {
        return failure;
    }
    let Room { kind, needed, there } = room;
    let device = if kind == Kind::Core { "this host" } else { "its GPU" };
    let (forecast, free) = (show_bytes(needed), show_bytes(there));
    let missing = match needed.checked_sub(there) {
        Some(missing) if missing > 0 => format!("about {} are missing", show_bytes(missing)),
        _ => "it takes more than was forecast".to_owned(),
    };
    let reason = format!(
        "{}; it had {device} to itself: {free} were free, {forecast} forecast, {missing}",
        failure.reason
    );
    Failure { reason, ..failure }
}

/// What a verdict comes to.
enum End {
    Result(AttemptEnd),
    /// It goes on from where it is, as the same attempt.
    GoesOn,
    Failed(Failure),
    Elsewhere(Duration),
    Gone,
    Waits,
}

/// How far a stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Runs are started.
    Running,
    /// Nothing more is started; running attempts were asked to leave.
    Stopping,
    /// Running attempts were killed.
    Killing,
}

/// What one process trains, and what is known of it.
#[derive(Debug)]
struct Unit {
    /// Its runs that have no result yet, as places in the plan.
    runs: Vec<usize>,
    /// What it needs.
    demand: Demand,
    /// Which attempt the next one is, from 1.
    attempt: u32,
    /// Attempts that do not count as the run's own: it was not alone in them.
    shared: u32,
}

#[derive(Debug, Clone, Copy)]
struct Active {
    started: Duration,
    /// When it was asked to stop.
    asked: Option<Duration>,
    timed_out: bool,
    killed: bool,
}

/// The state of a sweep's execution.
#[derive(Debug)]
pub struct Machine {
    policy: RunPolicy,
    fail_fast: bool,
    units: Vec<Unit>,
    placement: Placement,
    delayed: BTreeSet<(Duration, usize)>,
    /// Delayed groups that another dispatcher has.
    elsewhere: BTreeSet<usize>,
    active: BTreeMap<usize, Active>,
    phase: Phase,
    shortage: Option<Shortage>,
    runs: usize,
    finished: usize,
    failed: usize,
}

impl Machine {
    /// Will execute `works` on `host`, of which nothing is leased yet.
    pub fn new(works: &[Work], host: &Host, policy: RunPolicy, fail_fast: bool) -> Self {
        let unit = |work: &Work| Unit {
            runs: work.group.runs.clone(),
            demand: work.demand(policy.threads),
            attempt: 1,
            shared: 0,
        };
        let units: Vec<Unit> = works.iter().map(unit).collect();
        let first = |unit: &Unit| unit.runs.first().copied().unwrap_or_default();
        let about: Vec<_> = units.iter().map(|unit| (unit.demand.expected, first(unit))).collect();
        let mut placement = Placement::new(host);
        for group in order(&about) {
            placement.append(group, units[group].demand);
        }
        Self {
            policy,
            fail_fast,
            runs: units.iter().map(|unit| unit.runs.len()).sum(),
            units,
            placement,
            delayed: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            active: BTreeMap::new(),
            phase: Phase::Running,
            shortage: None,
            finished: 0,
            failed: 0,
        }
    }

    /// Time has passed: starts what can start, stops what took too long.
    pub fn tick(&mut self, now: Duration) -> Vec<Act> {
        let mut acts = self.overdue(now);
        while let Some(&(due, group)) = self.delayed.first() {
            if due > now {
                break;
            }
            self.delayed.pop_first();
            let demand = self.units[group].demand;
            match self.elsewhere.remove(&group) {
                // What nobody has comes before what somebody has.
                true => self.placement.append(group, demand),
                false => self.placement.put_first(group, demand),
            }
        }
        while self.phase == Phase::Running && self.shortage.is_none() {
            let Some((group, place)) = self.placement.start_next(now) else { break };
            let active = Active { started: now, asked: None, timed_out: false, killed: false };
            self.active.insert(group, active);
            acts.push(Act::Start { group, attempt: self.units[group].attempt, place });
        }
        acts
    }

    /// Attempts that ran into the timeout are asked, and after the grace period killed.
    fn overdue(&mut self, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        for (&group, active) in &mut self.active {
            let timed_out = self.policy.timeout.is_some_and(|limit| now >= active.started + limit);
            if timed_out && active.asked.is_none() {
                active.asked = Some(now);
                active.timed_out = true;
                acts.push(Act::Stop { group, how: Stop::Gracefully });
            }
            let out_of_grace = active.asked.is_some_and(|asked| now >= asked + self.policy.grace);
            if out_of_grace && !active.killed {
                active.killed = true;
                acts.push(Act::Stop { group, how: Stop::AtOnce });
            }
        }
        acts
    }

    /// A process is gone; `verdicts` says what became of each of [`runs`](Self::runs).
    pub fn ended(&mut self, now: Duration, group: usize, verdicts: Vec<Verdict>) -> Vec<Act> {
        let Some(active) = self.active.remove(&group) else { return Vec::new() };
        let took = now.saturating_sub(active.started);
        let attempt = self.units[group].attempt;
        let runs = std::mem::take(&mut self.units[group].runs);
        let company =
            Company { lanes: runs.len() > 1, neighbours: !self.placement.was_alone(group) };
        let room = self.room_of(group);
        self.placement.leave(group);
        let mut acts = Vec::new();
        let mut waiting = Vec::new();
        for (run, verdict) in runs.into_iter().zip(verdicts) {
            let end = match self.end_of(verdict, &active) {
                End::Elsewhere(again) => {
                    let group = self.alone((group, run), company.lanes, |unit| unit);
                    self.elsewhere.insert(group);
                    self.delayed.insert((now + again, group));
                    continue;
                }
                End::Gone => {
                    self.runs -= 1;
                    continue;
                }
                End::Waits => {
                    waiting.push(run);
                    continue;
                }
                End::Result(end) => {
                    self.finished += 1;
                    end
                }
                End::GoesOn => {
                    waiting.push(run);
                    AttemptEnd::Interrupted
                }
                End::Failed(failure) => {
                    self.failed(now, (group, run), company, with_room(failure, company, room))
                }
            };
            acts.push(Act::Settle { run, attempt, took, end });
        }
        if !waiting.is_empty() {
            self.units[group].runs = waiting;
            self.placement.put_first(group, self.units[group].demand);
        }
        let failed = |act: &Act| matches!(act, Act::Settle { end: AttemptEnd::Failed(_), .. });
        if self.fail_fast && acts.iter().any(failed) {
            acts.extend(self.interrupt(now));
        }
        acts
    }

    /// What a verdict means in the light of what was asked of the process.
    fn end_of(&mut self, verdict: Verdict, active: &Active) -> End {
        match verdict {
            Verdict::Result => End::Result(AttemptEnd::Result),
            Verdict::Diverged { reason } => End::Result(AttemptEnd::Diverged { reason }),
            Verdict::Gone => End::Gone,
            Verdict::Elsewhere { again } => End::Elsewhere(again),
            Verdict::Waits => End::Waits,
            Verdict::NoProcess => {
                self.shortage.get_or_insert(Shortage::Processes);
                End::Waits
            }
            Verdict::NoRecord => {
                self.shortage = Some(Shortage::Record);
                End::Waits
            }
            _ if self.phase > Phase::Running => End::GoesOn,
            Verdict::DiskFull => {
                self.shortage = Some(Shortage::Disk);
                End::GoesOn
            }
            Verdict::Interrupted | Verdict::Failed(_) if active.timed_out => {
                let reason = format!(
                    "took longer than the timeout of {}",
                    crate::units::show_duration(self.policy.timeout.unwrap_or_default())
                );
                End::Failed(Failure { class: FailureClass::TimedOut, reason })
            }
            Verdict::Interrupted => {
                let reason = "a signal from outside asked it to stop".to_owned();
                End::Failed(Failure { class: FailureClass::Crashed, reason })
            }
            Verdict::Failed(failure) => End::Failed(failure),
        }
    }

    /// A run failed: it is tried again, alone, as often as the policy says. What a whole group came to
    /// says little of one run in it, so it is not counted as the run's own failure. Without memory the
    /// next attempt has the device to itself; one that had it gets no other.
    fn failed(
        &mut self,
        now: Duration,
        (group, run): (usize, usize),
        company: Company,
        failure: Failure,
    ) -> AttemptEnd {
        let Unit { demand, attempt, shared, .. } = self.units[group];
        let own = attempt - shared;
        let out_of_memory = failure.class == FailureClass::OutOfMemory;
        let hopeless = !failure.class.may_pass() || (out_of_memory && !company.neighbours);
        let again = own <= self.policy.retries.count && !hopeless;
        if !again && !company.lanes {
            self.failed += 1;
            return AttemptEnd::Failed(failure);
        }
        let delay = delay(&self.policy.retries, own);
        let shared = shared + u32::from(company.lanes);
        let demand = Demand { alone: demand.alone || out_of_memory, ..demand };
        let again = |unit| Unit { demand, attempt: attempt + 1, shared, ..unit };
        let group = self.alone((group, run), company.lanes, again);
        self.delayed.insert((now + delay, group));
        AttemptEnd::Retry { failure, delay_s: delay.as_secs() }
    }

    /// Makes a run of a group one of its own, and gives its number: the same where it had no company.
    fn alone(
        &mut self,
        (group, run): (usize, usize),
        company: bool,
        change: impl FnOnce(Unit) -> Unit,
    ) -> usize {
        let Unit { demand, attempt, shared, .. } = self.units[group];
        let unit = change(Unit { runs: vec![run], demand, attempt, shared });
        if company {
            self.units.push(unit);
            return self.units.len() - 1;
        }
        self.units[group] = unit;
        group
    }

    /// Devices that a group takes at once, a rank on each.
    pub fn ranks(&self, group: usize) -> u32 {
        self.units[group].demand.ranks
    }

    /// What a group was expected to need and what there was.
    fn room_of(&self, group: usize) -> Room {
        let place = self.placement.place_of(group);
        let slot = place.and_then(|place| place.shares.first());
        let Demand { kind, ranks, memory, .. } = self.units[group].demand;
        let ranks = if kind == Kind::Core { u64::from(ranks) } else { 1 };
        Room {
            kind,
            needed: memory.saturating_mul(ranks),
            there: slot.map_or(0, |(slot, _)| self.placement.occupancy().memory_at(*slot)),
        }
    }

    /// A slot is leased, with so much memory free on it.
    pub fn lease(&mut self, slot: usize, memory: u64) {
        self.placement.lease(slot, memory);
    }

    /// A slot is given back; it is idle.
    pub fn give_back(&mut self, slot: usize) {
        self.placement.give_back(slot);
    }

    /// The host has so much memory free, now that nothing runs.
    pub fn set_memory(&mut self, memory: u64) {
        self.placement.set_memory(memory);
    }

    /// The first group that waits.
    #[cfg(test)]
    pub fn first_waiting(&self) -> Option<usize> {
        self.placement.first_waiting()
    }

    /// Which slots are leased and taken.
    pub fn occupancy(&self) -> &Occupancy {
        self.placement.occupancy()
    }

    /// Slots of a kind that are of use now or when a delay is over; none once nothing more is started.
    pub fn wanted(&self, kind: Kind) -> usize {
        if self.phase > Phase::Running {
            return 0;
        }
        let delayed: Vec<Demand> =
            self.delayed.iter().map(|(_, group)| self.units[*group].demand).collect();
        self.placement.wanted(kind, &delayed)
    }

    /// Slots of a kind beyond those leased, without which a group that waits can never start.
    pub fn missing(&self, kind: Kind) -> usize {
        if self.phase > Phase::Running { 0 } else { self.placement.missing(kind) }
    }

    /// Does nothing run?
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// The runs of a group, as places in the plan.
    pub fn runs(&self, group: usize) -> &[usize] {
        &self.units[group].runs
    }

    /// Somebody wants the sweep to stop: the first time gracefully, the second time at once.
    pub fn interrupt(&mut self, now: Duration) -> Vec<Act> {
        let how = match self.phase {
            Phase::Running => {
                self.phase = Phase::Stopping;
                Stop::Gracefully
            }
            Phase::Stopping | Phase::Killing => {
                self.phase = Phase::Killing;
                Stop::AtOnce
            }
        };
        let mut acts = Vec::new();
        for (&group, active) in &mut self.active {
            active.asked.get_or_insert(now);
            active.killed |= how == Stop::AtOnce;
            acts.push(Act::Stop { group, how });
        }
        acts
    }

    /// What the sweep waits for before it starts anything more.
    pub fn shortage(&self) -> Option<Shortage> {
        self.shortage.filter(|_| self.phase == Phase::Running)
    }

    /// Starts nothing more until it is there.
    pub fn wait_for(&mut self, shortage: Shortage) {
        self.shortage = Some(shortage);
    }

    /// It is there again, or worth another try.
    pub fn resume(&mut self) {
        self.shortage = None;
    }

    /// Does somebody want the sweep to stop?
    pub fn is_stopping(&self) -> bool {
        self.phase > Phase::Running
    }

    /// Is there nothing left to wait for?
    pub fn is_over(&self) -> bool {
        let waiting = self.placement.waiting() > 0 || !self.delayed.is_empty();
        self.active.is_empty() && (self.phase > Phase::Running || !waiting)
    }

    /// Is all that is left with other dispatchers?
    pub fn is_left_to_others(&self) -> bool {
        let here = self.delayed.iter().any(|(_, group)| !self.elsewhere.contains(group));
        self.active.is_empty() && self.placement.waiting() == 0 && !here
    }

    /// When time alone changes something next, if ever.
    pub fn next_deadline(&self) -> Option<Duration> {
        let stops = self.active.values().flat_map(|active| {
            let timeout = self.policy.timeout.filter(|_| active.asked.is_none());
            let grace = active.asked.filter(|_| !active.killed).map(|at| at + self.policy.grace);
            [timeout.map(|limit| active.started + limit), grace]
        });
        let retry = self.delayed.first().map(|(due, ..)| *due);
        stops.chain([retry]).flatten().min()
    }

    /// Runs that came to a result, that failed for good, and that were not executed.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.finished, self.failed, self.runs - self.finished - self.failed)
    }
}

/// The delay before the attempt after `attempt`, at most an hour.
fn delay(retries: &Retries, attempt: u32) -> Duration {
    let factor = match retries.backoff {
        Backoff::Fixed => 1,
        Backoff::Exponential => 1_u32 << (attempt - 1).min(20),
    };
    retries.delay.saturating_mul(factor).min(Duration::from_secs(3600))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
