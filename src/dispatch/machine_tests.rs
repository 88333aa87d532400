//! What the machine does, in virtual time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::plan::Group;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn crash() -> Verdict {
    Verdict::Failed(Failure { class: FailureClass::Crashed, reason: "boom".to_owned() })
}

fn machine(runs: usize, jobs: usize, policy: RunPolicy) -> Machine {
    on_cores(&singles(runs), jobs, policy, false)
}

/// A machine whose host has as many cores as may be busy, all of them leased.
fn on_cores(works: &[Work], cores: usize, policy: RunPolicy, fail_fast: bool) -> Machine {
    let mut machine = Machine::new(works, &Host::cores(cores), policy, fail_fast);
    (0..cores).for_each(|core| machine.lease(core, 0));
    machine
}

fn group(runs: &[usize]) -> Work {
    let group =
        Group { runs: runs.to_vec(), devices: 1, memory: 0, exclusive: false, expected: None };
    Work { group, kind: Kind::Core }
}

fn singles(runs: usize) -> Vec<Work> {
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
    assert!(machine.shortage() == Some(Shortage::Disk) && !machine.is_over());
    assert_eq!(machine.tick(seconds(2)), []);
    machine.resume();
    assert_eq!(started(&machine.tick(seconds(3))), [(0, 1)], "the same attempt, first");
}

#[test]
fn a_run_that_found_no_process_has_not_begun_also_where_the_sweep_is_stopped_meanwhile() {
    let mut machine = machine(2, 1, RunPolicy::default());
    machine.tick(seconds(0));
    machine.interrupt(seconds(1));
    let acts = machine.ended(seconds(1), 0, vec![Verdict::NoProcess]);
    assert!(!acts.iter().any(|act| matches!(act, Act::Settle { .. })), "{acts:?}");
    assert!(machine.is_over());
    assert_eq!(machine.counts(), (0, 0, 2));
}

#[test]
fn fail_fast_stops_the_sweep_at_the_first_failure() {
    let policy =
        RunPolicy { retries: Retries { count: 0, ..Retries::default() }, ..RunPolicy::default() };
    let mut machine = on_cores(&singles(3), 2, policy, true);
    machine.tick(seconds(0));
    let acts = machine.ended(seconds(1), 0, vec![crash()]);
    assert_eq!(acts[1], Act::Stop { group: 1, how: Stop::Gracefully });
    assert_eq!(machine.tick(seconds(1)), []);
}

#[test]
fn lanes_are_judged_one_by_one_and_those_without_a_result_go_on_alone() {
    let retries = Retries { count: 1, backoff: Backoff::Fixed, delay: seconds(1) };
    let policy = RunPolicy { retries, ..RunPolicy::default() };
    let mut machine = on_cores(&[group(&[4, 7, 9]), group(&[5])], 1, policy, false);
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
    let mut machine = on_cores(&[group(&[1, 2, 3])], 1, RunPolicy::default(), false);
    machine.tick(seconds(0));
    let verdicts = vec![Verdict::DiskFull, Verdict::Result, Verdict::DiskFull];
    machine.ended(seconds(1), 0, verdicts);
    machine.resume();
    assert_eq!(started(&machine.tick(seconds(2))), [(0, 1)]);
    assert_eq!(machine.runs(0), [1, 3]);
}

#[test]
fn without_memory_a_run_is_tried_once_more_with_the_device_to_itself() {
    let retries = Retries { count: 5, backoff: Backoff::Fixed, delay: seconds(1) };
    let policy = RunPolicy { retries, ..RunPolicy::default() };
    let mut machine = machine(3, 2, policy);
    machine.set_memory(3 << 30);
    let no_memory = || {
        let reason = "memory allocation of 9 bytes failed".to_owned();
        Verdict::Failed(Failure { class: FailureClass::OutOfMemory, reason })
    };
    assert_eq!(started(&machine.tick(seconds(0))), [(0, 1), (1, 1)]);
    let acts = machine.ended(seconds(1), 0, vec![no_memory()]);
    assert!(matches!(acts[0], Act::Settle { end: AttemptEnd::Retry { .. }, .. }), "{acts:?}");
    assert_eq!(started(&machine.tick(seconds(1))), [(2, 1)]);
    machine.ended(seconds(3), 2, vec![Verdict::Result]);
    assert_eq!(started(&machine.tick(seconds(3))), [], "the other one still runs");
    machine.ended(seconds(4), 1, vec![Verdict::Result]);
    assert_eq!(started(&machine.tick(seconds(4))), [(0, 2)]);
    let acts = machine.ended(seconds(5), 0, vec![no_memory()]);
    let Act::Settle { end: AttemptEnd::Failed(failure), .. } = &acts[0] else { panic!("{acts:?}") };
    assert_eq!(
        failure.reason,
        "memory allocation of 9 bytes failed; it had this host to itself: 3.0 GiB were free, 0 B \
         forecast, it takes more than was forecast"
    );
}

#[test]
fn what_another_dispatcher_has_waits_behind_what_nobody_has() {
    let mut machine = machine(3, 1, RunPolicy::default());
    let elsewhere = || vec![Verdict::Elsewhere { again: seconds(5) }];
    assert_eq!(started(&machine.tick(seconds(0))), [(0, 1)]);
    assert_eq!(
        machine.ended(seconds(0), 0, elsewhere()),
        [],
        "it was not tried: nothing is settled"
    );
    assert_eq!(started(&machine.tick(seconds(0))), [(1, 1)]);
    assert!(!machine.is_left_to_others());
    machine.ended(seconds(6), 1, vec![Verdict::Result]);
    assert_eq!(started(&machine.tick(seconds(6))), [(2, 1)], "then run 0 again, in its turn");
    machine.ended(seconds(7), 2, vec![Verdict::Result]);
    assert_eq!(started(&machine.tick(seconds(7))), [(0, 1)]);
    machine.ended(seconds(7), 0, elsewhere());
    assert!(machine.is_left_to_others() && !machine.is_over());
    assert_eq!(machine.next_deadline(), Some(seconds(12)));
    assert_eq!(started(&machine.tick(seconds(12))), [(0, 1)]);
    machine.ended(seconds(12), 0, vec![Verdict::Gone]);
    assert!(machine.is_over());
    assert_eq!(machine.counts(), (2, 0, 0), "what others settled is not counted here");
}

#[test]
fn lanes_go_on_without_the_one_that_is_elsewhere() {
    let mut machine = on_cores(&[group(&[0, 1, 2])], 1, RunPolicy::default(), false);
    machine.tick(seconds(0));
    let verdicts = vec![Verdict::Waits, Verdict::Elsewhere { again: seconds(5) }, Verdict::Gone];
    assert_eq!(machine.ended(seconds(0), 0, verdicts), []);
    assert_eq!(started(&machine.tick(seconds(0))), [(0, 1)]);
    assert_eq!(machine.runs(0), [0]);
    machine.ended(seconds(1), 0, vec![Verdict::Result]);
    assert_eq!(started(&machine.tick(seconds(5))), [(1, 1)]);
    assert_eq!(machine.runs(1), [1]);
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
