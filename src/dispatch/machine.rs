//! Which group of runs is started, stopped, tried again or given up, and when: a pure state machine.
//!
//! A group is what one process trains; of one run, ordinarily. Its runs are judged one by one: a run
//! with a result is settled whatever became of the process, and one without goes on alone.
//!
//! In: what happened and the time. Out: [`Act`]s for the driver. No clock, no process and no file
//! here, so tests and simulations run it in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::event::{AttemptEnd, Failure, FailureClass};
use crate::executor::Stop;
use crate::plan::Group;
use crate::spec::device::DeviceId;
use crate::spec::run_policy::{Backoff, Retries, RunPolicy};

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Start an attempt at the runs of a group.
    Start {
        /// Number of the group.
        group: usize,
        /// Which attempt, from 1.
        attempt: u32,
        /// A device for each rank.
        devices: Vec<DeviceId>,
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
    /// It checkpointed and left.
    Interrupted,
    /// The disk was full.
    DiskFull,
    /// It failed.
    Failed(Failure),
}

/// What a verdict comes to.
enum End {
    Result,
    /// It goes on from where it is, as the same attempt.
    GoesOn,
    Failed(Failure),
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
    /// Devices that it takes.
    devices: u32,
    /// Which attempt the next one is, from 1.
    attempt: u32,
    /// Attempts that do not count as the run's own: it was not alone in them.
    shared: u32,
}

#[derive(Debug)]
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
    jobs: usize,
    policy: RunPolicy,
    fail_fast: bool,
    units: Vec<Unit>,
    ready: VecDeque<usize>,
    delayed: BTreeSet<(Duration, usize)>,
    active: BTreeMap<usize, Active>,
    phase: Phase,
    paused: bool,
    runs: usize,
    finished: usize,
    failed: usize,
}

impl Machine {
    /// Will execute `groups` in this order, `jobs` at a time.
    pub fn new(groups: &[Group], jobs: usize, policy: RunPolicy, fail_fast: bool) -> Self {
        let unit = |group: &Group| Unit {
            runs: group.runs.clone(),
            devices: group.devices,
            attempt: 1,
            shared: 0,
        };
        Self {
            jobs: jobs.max(1),
            policy,
            fail_fast,
            units: groups.iter().map(unit).collect(),
            ready: (0..groups.len()).collect(),
            delayed: BTreeSet::new(),
            active: BTreeMap::new(),
            phase: Phase::Running,
            paused: false,
            runs: groups.iter().map(|group| group.runs.len()).sum(),
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
            self.ready.push_front(group);
        }
        while self.phase == Phase::Running && !self.paused && self.active.len() < self.jobs {
            let Some(group) = self.ready.pop_front() else { break };
            let active = Active { started: now, asked: None, timed_out: false, killed: false };
            self.active.insert(group, active);
            let Unit { attempt, devices, .. } = self.units[group];
            let devices = vec![DeviceId::Cpu; devices as usize];
            acts.push(Act::Start { group, attempt, devices });
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
        let in_company = runs.len() > 1;
        let mut acts = Vec::new();
        let mut waiting = Vec::new();
        for (run, verdict) in runs.into_iter().zip(verdicts) {
            let end = match self.end_of(verdict, &active) {
                End::Result => {
                    self.finished += 1;
                    AttemptEnd::Result
                }
                End::GoesOn => {
                    waiting.push(run);
                    AttemptEnd::Interrupted
                }
                End::Failed(failure) => self.failed(now, group, run, in_company, failure),
            };
            acts.push(Act::Settle { run, attempt, took, end });
        }
        if !waiting.is_empty() {
            self.units[group].runs = waiting;
            self.ready.push_front(group);
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
            Verdict::Result => End::Result,
            _ if self.phase > Phase::Running => End::GoesOn,
            Verdict::DiskFull => {
                self.paused = true;
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
    /// says little of one run in it, so it is not counted as the run's own failure.
    fn failed(
        &mut self,
        now: Duration,
        group: usize,
        run: usize,
        in_company: bool,
        failure: Failure,
    ) -> AttemptEnd {
        let Unit { devices, attempt, shared, .. } = self.units[group];
        let own = attempt - shared;
        let again = own <= self.policy.retries.count && failure.class.may_pass();
        if !again && !in_company {
            self.failed += 1;
            return AttemptEnd::Failed(failure);
        }
        let delay = delay(&self.policy.retries, own);
        let shared = shared + u32::from(in_company);
        let alone = Unit { runs: vec![run], devices, attempt: attempt + 1, shared };
        let group = if in_company {
            self.units.push(alone);
            self.units.len() - 1
        } else {
            self.units[group] = alone;
            group
        };
        self.delayed.insert((now + delay, group));
        AttemptEnd::Retry { failure, delay_s: delay.as_secs() }
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

    /// Is the sweep waiting for room on the disk?
    pub fn is_paused(&self) -> bool {
        self.paused && self.phase == Phase::Running
    }

    /// There is room on the disk again.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Is there nothing left to wait for?
    pub fn is_over(&self) -> bool {
        let waiting = !self.ready.is_empty() || !self.delayed.is_empty();
        self.active.is_empty() && (self.phase > Phase::Running || !waiting)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn crash() -> Verdict {
        Verdict::Failed(Failure { class: FailureClass::Crashed, reason: "boom".to_owned() })
    }

    fn machine(runs: usize, jobs: usize, policy: RunPolicy) -> Machine {
        Machine::new(&singles(runs), jobs, policy, false)
    }

    fn group(runs: &[usize]) -> Group {
        Group { runs: runs.to_vec(), devices: 1, memory: 0, expected: None }
    }

    fn singles(runs: usize) -> Vec<Group> {
        (0..runs).map(|run| group(&[run])).collect()
    }

    fn started(acts: &[Act]) -> Vec<(usize, u32)> {
        let start = |act: &Act| match act {
            Act::Start { group, attempt, .. } => Some((*group, *attempt)),
            _ => None,
        };
        acts.iter().filter_map(start).collect()
    }

    #[test]
    fn a_failed_run_is_tried_again_with_a_growing_delay_and_then_given_up() {
        let retries = Retries { count: 2, backoff: Backoff::Exponential, delay: seconds(10) };
        let mut machine = machine(1, 1, RunPolicy { retries, ..RunPolicy::default() });
        assert_eq!(started(&machine.tick(seconds(0))), [(0, 1)]);
        for (at, delay_s, attempt) in [(1, 10, 2), (12, 20, 3)] {
            let acts = machine.ended(seconds(at), 0, vec![crash()]);
            let Act::Settle { end: AttemptEnd::Retry { delay_s: found, .. }, .. } = &acts[0] else {
                panic!("{acts:?}")
            };
            assert_eq!(*found, delay_s);
            assert_eq!(started(&machine.tick(seconds(at + delay_s - 1))), []);
            assert_eq!(machine.next_deadline(), Some(seconds(at + delay_s)));
            assert_eq!(started(&machine.tick(seconds(at + delay_s))), [(0, attempt)]);
        }
        let acts = machine.ended(seconds(40), 0, vec![crash()]);
        assert!(matches!(acts[0], Act::Settle { end: AttemptEnd::Failed(_), .. }));
        assert!(machine.is_over());
        assert_eq!(machine.counts(), (0, 1, 0));
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        let mut machine = machine(1, 1, RunPolicy::default());
        machine.tick(seconds(0));
        let refused = Failure { class: FailureClass::Refused, reason: "no data".to_owned() };
        machine.ended(seconds(1), 0, vec![Verdict::Failed(refused)]);
        assert!(machine.is_over());
    }

    #[test]
    fn a_timeout_asks_first_and_kills_after_the_grace_period() {
        let policy = RunPolicy {
            timeout: Some(seconds(60)),
            retries: Retries { count: 0, ..Retries::default() },
            ..RunPolicy::default()
        };
        let mut machine = machine(1, 1, policy);
        machine.tick(seconds(0));
        assert_eq!(machine.tick(seconds(59)), []);
        let asked = machine.tick(seconds(60));
        assert_eq!(asked, [Act::Stop { group: 0, how: Stop::Gracefully }]);
        assert_eq!(machine.tick(seconds(65)), []);
        let killed = machine.tick(seconds(70));
        assert_eq!(killed, [Act::Stop { group: 0, how: Stop::AtOnce }]);
        assert_eq!(machine.tick(seconds(80)), [], "killed once");
        let acts = machine.ended(seconds(81), 0, vec![crash()]);
        let Act::Settle { end: AttemptEnd::Failed(failure), .. } = &acts[0] else { panic!() };
        assert_eq!(failure.class, FailureClass::TimedOut);
        assert_eq!(failure.reason, "took longer than the timeout of 1m 00s");
    }

    #[test]
    fn the_first_interrupt_starts_nothing_more_and_the_second_kills() {
        let mut machine = machine(3, 2, RunPolicy::default());
        assert_eq!(started(&machine.tick(seconds(0))), [(0, 1), (1, 1)]);
        let asked = machine.interrupt(seconds(1));
        assert_eq!(asked, [0, 1].map(|group| Act::Stop { group, how: Stop::Gracefully }));
        let acts = machine.ended(seconds(2), 0, vec![Verdict::Interrupted]);
        assert!(matches!(acts[0], Act::Settle { end: AttemptEnd::Interrupted, .. }));
        assert_eq!(machine.tick(seconds(2)), []);
        assert_eq!(machine.interrupt(seconds(3)), [Act::Stop { group: 1, how: Stop::AtOnce }]);
        machine.ended(seconds(3), 1, vec![crash()]);
        assert!(machine.is_over());
        assert_eq!(machine.counts(), (0, 0, 3));
    }

    #[test]
    fn a_full_disk_pauses_and_the_run_goes_on_when_there_is_room() {
        let mut machine = machine(2, 1, RunPolicy::default());
        machine.tick(seconds(0));
        machine.ended(seconds(1), 0, vec![Verdict::DiskFull]);
        assert!(machine.is_paused() && !machine.is_over());
        assert_eq!(machine.tick(seconds(2)), []);
        machine.resume();
        assert_eq!(started(&machine.tick(seconds(3))), [(0, 1)], "the same attempt, first");
    }

    #[test]
    fn fail_fast_stops_the_sweep_at_the_first_failure() {
        let policy = RunPolicy {
            retries: Retries { count: 0, ..Retries::default() },
            ..RunPolicy::default()
        };
        let mut machine = Machine::new(&singles(3), 2, policy, true);
        machine.tick(seconds(0));
        let acts = machine.ended(seconds(1), 0, vec![crash()]);
        assert_eq!(acts[1], Act::Stop { group: 1, how: Stop::Gracefully });
        assert_eq!(machine.tick(seconds(1)), []);
    }

    #[test]
    fn lanes_are_judged_one_by_one_and_those_without_a_result_go_on_alone() {
        let retries = Retries { count: 1, backoff: Backoff::Fixed, delay: seconds(1) };
        let policy = RunPolicy { retries, ..RunPolicy::default() };
        let mut machine = Machine::new(&[group(&[4, 7, 9]), group(&[5])], 1, policy, false);
        assert_eq!(started(&machine.tick(seconds(0))), [(0, 1)]);
        assert_eq!(machine.runs(0), [4, 7, 9]);
        let acts = machine.ended(seconds(5), 0, vec![crash(), Verdict::Result, crash()]);
        let ends: Vec<(usize, bool)> = acts
            .iter()
            .map(|act| match act {
                Act::Settle { run, end, .. } => (*run, *end == AttemptEnd::Result),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ends, [(4, false), (7, true), (9, false)]);
        assert_eq!(machine.counts(), (1, 0, 3));
        assert_eq!(started(&machine.tick(seconds(5))), [(1, 1)]);
        machine.ended(seconds(6), 1, vec![Verdict::Result]);
        // The failure in company counts for neither: each has its attempt and a retry to itself.
        let mut attempts = Vec::new();
        for now in (7..).step_by(2).take_while(|now| *now < 40) {
            for (group, attempt) in started(&machine.tick(seconds(now))) {
                attempts.push((machine.runs(group).to_vec(), attempt));
                machine.ended(seconds(now), group, vec![crash()]);
            }
        }
        attempts.sort();
        assert_eq!(attempts, [(vec![4], 2), (vec![4], 3), (vec![9], 2), (vec![9], 3)]);
        assert_eq!(machine.counts(), (2, 2, 0));
        assert!(machine.is_over());
    }

    #[test]
    fn lanes_that_the_full_disk_stopped_go_on_together() {
        let mut machine = Machine::new(&[group(&[1, 2, 3])], 1, RunPolicy::default(), false);
        machine.tick(seconds(0));
        let verdicts = vec![Verdict::DiskFull, Verdict::Result, Verdict::DiskFull];
        machine.ended(seconds(1), 0, verdicts);
        machine.resume();
        assert_eq!(started(&machine.tick(seconds(2))), [(0, 1)]);
        assert_eq!(machine.runs(0), [1, 3]);
    }

    proptest! {
        /// Whatever the attempts come to, every run is settled for good exactly once, never more
        /// than `jobs` are active, and the machine comes to an end.
        #[test]
        fn every_run_is_settled_once(
            runs in 0_usize..20,
            jobs in 1_usize..5,
            outcomes in prop::collection::vec(0_u8..4, 200),
        ) {
            let mut machine = machine(runs, jobs, RunPolicy::default());
            let mut settled = vec![0; runs];
            let mut active: VecDeque<usize> = VecDeque::new();
            let mut outcomes = outcomes.into_iter().cycle();
            let mut now = Duration::ZERO;
            for _ in 0..1000 {
                active.extend(started(&machine.tick(now)).iter().map(|(run, _)| *run));
                prop_assert!(active.len() <= jobs);
                if machine.is_over() {
                    break;
                }
                let Some(run) = active.pop_front() else {
                    machine.resume();
                    now = machine.next_deadline().unwrap_or(now).max(now);
                    continue;
                };
                now += seconds(1);
                let verdict = match outcomes.next() {
                    Some(0) => Verdict::DiskFull,
                    Some(1) => crash(),
                    Some(2) => Verdict::Interrupted,
                    _ => Verdict::Result,
                };
                for act in machine.ended(now, run, vec![verdict]) {
                    if let Act::Settle { end: AttemptEnd::Result | AttemptEnd::Failed(_), .. } = act {
                        settled[run] += 1;
                    }
                }
            }
            prop_assert!(machine.is_over());
            prop_assert_eq!(settled, vec![1; runs]);
        }
    }
}
