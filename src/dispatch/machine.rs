//! Which run is started, stopped, tried again or given up, and when: a pure state machine.
//!
//! In: what happened and the time. Out: [`Act`]s for the driver. No clock, no process and no file
//! here, so tests and simulations run it in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::event::{AttemptEnd, Failure, FailureClass};
use crate::executor::Stop;
use crate::spec::run_policy::{Backoff, Retries, RunPolicy};

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Start an attempt.
    Start {
        /// Index of the run in the plan.
        run: usize,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Stop an attempt.
    Stop {
        /// Index of the run in the plan.
        run: usize,
        /// How.
        how: Stop,
    },
    /// An attempt is over: write down how, and show it.
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

#[derive(Debug)]
struct Active {
    attempt: u32,
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
    ready: VecDeque<(usize, u32)>,
    delayed: BTreeSet<(Duration, usize, u32)>,
    active: BTreeMap<usize, Active>,
    phase: Phase,
    paused: bool,
    finished: usize,
    failed: usize,
}

impl Machine {
    /// Will execute `runs` in this order, `jobs` at a time.
    pub fn new(
        runs: impl IntoIterator<Item = usize>,
        jobs: usize,
        policy: RunPolicy,
        fail_fast: bool,
    ) -> Self {
        Self {
            jobs: jobs.max(1),
            policy,
            fail_fast,
            ready: runs.into_iter().map(|run| (run, 1)).collect(),
            delayed: BTreeSet::new(),
            active: BTreeMap::new(),
            phase: Phase::Running,
            paused: false,
            finished: 0,
            failed: 0,
        }
    }

    /// Time has passed: starts what can start, stops what took too long.
    pub fn tick(&mut self, now: Duration) -> Vec<Act> {
        let mut acts = self.overdue(now);
        while let Some(&(due, run, attempt)) = self.delayed.first() {
            if due > now {
                break;
            }
            self.delayed.pop_first();
            self.ready.push_front((run, attempt));
        }
        while self.phase == Phase::Running && !self.paused && self.active.len() < self.jobs {
            let Some((run, attempt)) = self.ready.pop_front() else { break };
            let active =
                Active { attempt, started: now, asked: None, timed_out: false, killed: false };
            self.active.insert(run, active);
            acts.push(Act::Start { run, attempt });
        }
        acts
    }

    /// Attempts that ran into the timeout are asked, and after the grace period killed.
    fn overdue(&mut self, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        for (&run, active) in &mut self.active {
            let timed_out = self.policy.timeout.is_some_and(|limit| now >= active.started + limit);
            if timed_out && active.asked.is_none() {
                active.asked = Some(now);
                active.timed_out = true;
                acts.push(Act::Stop { run, how: Stop::Gracefully });
            }
            let out_of_grace = active.asked.is_some_and(|asked| now >= asked + self.policy.grace);
            if out_of_grace && !active.killed {
                active.killed = true;
                acts.push(Act::Stop { run, how: Stop::AtOnce });
            }
        }
        acts
    }

    /// An attempt is over.
    pub fn ended(&mut self, now: Duration, run: usize, verdict: Verdict) -> Vec<Act> {
        let Some(active) = self.active.remove(&run) else { return Vec::new() };
        let attempt = active.attempt;
        let took = now.saturating_sub(active.started);
        let end = match verdict {
            Verdict::Result => {
                self.finished += 1;
                AttemptEnd::Result
            }
            _ if self.phase > Phase::Running => {
                self.ready.push_front((run, attempt));
                AttemptEnd::Interrupted
            }
            Verdict::DiskFull => {
                self.paused = true;
                self.ready.push_front((run, attempt));
                AttemptEnd::Interrupted
            }
            Verdict::Interrupted | Verdict::Failed(_) if active.timed_out => {
                let reason = format!(
                    "took longer than the timeout of {}",
                    crate::units::show_duration(self.policy.timeout.unwrap_or_default())
                );
                self.failed(now, run, attempt, Failure { class: FailureClass::TimedOut, reason })
            }
            Verdict::Interrupted => {
                let reason = "a signal from outside asked it to stop".to_owned();
                self.failed(now, run, attempt, Failure { class: FailureClass::Crashed, reason })
            }
            Verdict::Failed(failure) => self.failed(now, run, attempt, failure),
        };
        let mut acts = vec![Act::Settle { run, attempt, took, end: end.clone() }];
        if self.fail_fast && matches!(end, AttemptEnd::Failed(_)) {
            acts.extend(self.interrupt(now));
        }
        acts
    }

    fn failed(&mut self, now: Duration, run: usize, attempt: u32, failure: Failure) -> AttemptEnd {
        if attempt > self.policy.retries.count || !failure.class.may_pass() {
            self.failed += 1;
            return AttemptEnd::Failed(failure);
        }
        let delay = delay(&self.policy.retries, attempt);
        self.delayed.insert((now + delay, run, attempt + 1));
        AttemptEnd::Retry { failure, delay_s: delay.as_secs() }
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
        for (&run, active) in &mut self.active {
            active.asked.get_or_insert(now);
            active.killed |= how == Stop::AtOnce;
            acts.push(Act::Stop { run, how });
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
        let left = self.ready.len() + self.delayed.len() + self.active.len();
        (self.finished, self.failed, left)
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
        Machine::new(0..runs, jobs, policy, false)
    }

    fn started(acts: &[Act]) -> Vec<(usize, u32)> {
        let start = |act: &Act| match act {
            Act::Start { run, attempt } => Some((*run, *attempt)),
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
            let acts = machine.ended(seconds(at), 0, crash());
            let Act::Settle { end: AttemptEnd::Retry { delay_s: found, .. }, .. } = &acts[0] else {
                panic!("{acts:?}")
            };
            assert_eq!(*found, delay_s);
            assert_eq!(started(&machine.tick(seconds(at + delay_s - 1))), []);
            assert_eq!(machine.next_deadline(), Some(seconds(at + delay_s)));
            assert_eq!(started(&machine.tick(seconds(at + delay_s))), [(0, attempt)]);
        }
        let acts = machine.ended(seconds(40), 0, crash());
        assert!(matches!(acts[0], Act::Settle { end: AttemptEnd::Failed(_), .. }));
        assert!(machine.is_over());
        assert_eq!(machine.counts(), (0, 1, 0));
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        let mut machine = machine(1, 1, RunPolicy::default());
        machine.tick(seconds(0));
        let refused = Failure { class: FailureClass::Refused, reason: "no data".to_owned() };
        machine.ended(seconds(1), 0, Verdict::Failed(refused));
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
        assert_eq!(asked, [Act::Stop { run: 0, how: Stop::Gracefully }]);
        assert_eq!(machine.tick(seconds(65)), []);
        let killed = machine.tick(seconds(70));
        assert_eq!(killed, [Act::Stop { run: 0, how: Stop::AtOnce }]);
        assert_eq!(machine.tick(seconds(80)), [], "killed once");
        let acts = machine.ended(seconds(81), 0, crash());
        let Act::Settle { end: AttemptEnd::Failed(failure), .. } = &acts[0] else { panic!() };
        assert_eq!(failure.class, FailureClass::TimedOut);
        assert_eq!(failure.reason, "took longer than the timeout of 1m 00s");
    }

    #[test]
    fn the_first_interrupt_starts_nothing_more_and_the_second_kills() {
        let mut machine = machine(3, 2, RunPolicy::default());
        assert_eq!(started(&machine.tick(seconds(0))), [(0, 1), (1, 1)]);
        let asked = machine.interrupt(seconds(1));
        assert_eq!(asked, [0, 1].map(|run| Act::Stop { run, how: Stop::Gracefully }));
        let acts = machine.ended(seconds(2), 0, Verdict::Interrupted);
        assert!(matches!(acts[0], Act::Settle { end: AttemptEnd::Interrupted, .. }));
        assert_eq!(machine.tick(seconds(2)), []);
        assert_eq!(machine.interrupt(seconds(3)), [Act::Stop { run: 1, how: Stop::AtOnce }]);
        machine.ended(seconds(3), 1, crash());
        assert!(machine.is_over());
        assert_eq!(machine.counts(), (0, 0, 3));
    }

    #[test]
    fn a_full_disk_pauses_and_the_run_goes_on_when_there_is_room() {
        let mut machine = machine(2, 1, RunPolicy::default());
        machine.tick(seconds(0));
        machine.ended(seconds(1), 0, Verdict::DiskFull);
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
        let mut machine = Machine::new(0..3, 2, policy, true);
        machine.tick(seconds(0));
        let acts = machine.ended(seconds(1), 0, crash());
        assert_eq!(acts[1], Act::Stop { run: 1, how: Stop::Gracefully });
        assert_eq!(machine.tick(seconds(1)), []);
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
                for act in machine.ended(now, run, verdict) {
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
