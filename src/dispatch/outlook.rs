//! How long a plan will take: the real machine and placement, carried through in virtual time with
//! every run taking what is expected of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::machine::{Act, Machine, Verdict};
use super::occupancy::Host;
use super::work::Work;
use crate::spec::run_policy::RunPolicy;

/// Groups beyond which placement is not carried through.
const MOST: usize = 20_000;

/// Time from the start of the first of `works` to the end of the last, on a machine that is free. Of
/// very many, the work shared by the slots, which is then as good.
pub fn makespan(works: &[Work], host: &Host, policy: &RunPolicy) -> Duration {
    if works.len() > MOST {
        return shared(works, host, policy);
    }
    let mut machine = Machine::new(works, host, policy.clone(), false);
    for (number, slot) in host.slots.iter().enumerate() {
        machine.lease(number, slot.memory);
    }
    let mut ends: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
    let mut now = Duration::ZERO;
    loop {
        for act in machine.tick(now) {
            if let Act::Start { group, .. } = act {
                let takes = works[group].group.expected.unwrap_or_default();
                ends.push(Reverse((now + takes, group)));
            }
        }
        let Some(Reverse((at, group))) = ends.pop() else { return now };
        now = at;
        let results = vec![Verdict::Result; machine.runs(group).len()];
        machine.ended(now, group, results);
    }
}

/// Work over slots, or the longest where that is more.
fn shared(works: &[Work], host: &Host, policy: &RunPolicy) -> Duration {
    let mut longest: f64 = 0.0;
    let mut seconds: f64 = 0.0;
    for work in works {
        let takes = work.group.expected.unwrap_or_default().as_secs_f64();
        let demand = work.demand(policy.threads);
        let of_kind = host.slots.iter().filter(|slot| slot.kind == demand.kind);
        let seats: u64 = of_kind.map(|slot| u64::from(slot.seats)).sum();
        let seats = seats.max(1);
        let share = demand.seats().min(seats) as f64 / seats as f64;
        seconds += takes * share.max(1.0 / host.jobs as f64);
        longest = longest.max(takes);
    }
    Duration::try_from_secs_f64(seconds.max(longest)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::occupancy::Kind;
    use crate::plan::Group;

    fn work(run: usize, devices: u32, seconds: u64) -> Work {
        let expected = Some(Duration::from_secs(seconds));
        Work {
            group: Group { runs: vec![run], devices, memory: 0, exclusive: false, expected },
            kind: Kind::Core,
        }
    }

    fn total(works: &[Work], host: &Host) -> u64 {
        makespan(works, host, &RunPolicy::default()).as_secs()
    }

    #[test]
    fn gangs_and_jobs_count() {
        let singles: Vec<Work> = (0..5).map(|run| work(run, 1, 60)).collect();
        assert_eq!(total(&singles, &Host::cores(2)), 180);
        assert_eq!(total(&singles, &Host { jobs: 1, ..Host::cores(2) }), 300);
        let gangs = [work(0, 2, 60), work(1, 1, 60), work(2, 4, 60)];
        assert_eq!(total(&gangs, &Host::cores(4)), 120);
        assert_eq!(total(&gangs, &Host::cores(2)), 180, "four ranks share two cores");
        assert_eq!(total(&[], &Host::cores(2)), 0);
    }

    #[test]
    fn very_many_are_shared_out() {
        let works: Vec<Work> = (0..MOST + 1).map(|run| work(run, 1, 2)).collect();
        assert_eq!(total(&works, &Host::cores(2)), MOST as u64 + 1);
        let carried = total(&works[..1000], &Host::cores(2));
        assert_eq!(carried, 1000);
    }
}
