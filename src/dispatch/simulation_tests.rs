//! The scheduler carried through in virtual time, with devices that are not there, on a thousand
//! random instances: `cargo test simulation -- --nocapture` prints the figures.
#![expect(clippy::print_stdout, reason = "the figures of the design note are printed here")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use super::machine::{Act, Machine, Verdict};
use super::occupancy::{Host, Kind, Place, Slot};
use super::work::Work;
use crate::event::{Failure, FailureClass};
use crate::plan::Group;
use crate::spec::run_policy::{Backoff, Retries, RunPolicy};

/// Numbers that are the same every time (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What goes wrong in an instance.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    /// Nothing: everything takes what is expected.
    None,
    /// Attempts fail, and slots that others hold become free by and by.
    FailuresAndArrivals,
}

/// One instance.
struct Instance {
    host: Host,
    works: Vec<Work>,
    /// When each slot can be leased.
    free_at: Vec<Duration>,
    trouble: Trouble,
}

/// A share of attempts that fail, in an instance with failures.
const FAILING: f64 = 0.15;
/// Bytes of a GPU.
const GPU: u64 = 80;

fn instance(seed: u64, trouble: Trouble) -> Instance {
    let mut draw = Draw(seed);
    let slots = 1 + draw.below(16) as usize;
    let kind = if draw.below(2) == 0 { Kind::Core } else { Kind::Gpu };
    // Every second machine with GPUs takes several runs on one.
    let seats = if kind == Kind::Gpu && draw.below(2) == 0 { 4 } else { 1 };
    let slot = Slot { kind, seats, memory: if kind == Kind::Gpu { GPU } else { 0 } };
    let jobs = usize::MAX;
    // On every second machine the host's memory decides.
    let memory = if draw.below(2) == 0 { u64::MAX } else { 64 * slots as u64 };
    let host = Host { slots: vec![slot; slots], memory, jobs };
    let groups = 1 + draw.below(200) as usize;
    let widest = [1, 2, 4, 8][draw.below(4) as usize].min(slots as u64);
    let work = |run: usize| {
        let devices = if draw.below(3) == 0 { 1 + draw.below(widest) } else { 1 };
        let seconds = 10.0_f64.powf(3.0 * draw.unit());
        let memory = 1 + draw.below(GPU);
        let expected = Some(Duration::from_secs_f64(seconds));
        let group =
            Group { runs: vec![run], devices: devices as u32, memory, exclusive: false, expected };
        Work { group, kind }
    };
    let works = (0..groups).map(work).collect();
    let mut free_at = |_| match trouble {
        Trouble::FailuresAndArrivals if draw.below(2) == 0 => Duration::from_secs(draw.below(2000)),
        _ => Duration::ZERO,
    };
    let free_at = (0..slots).map(&mut free_at).collect();
    Instance { host, works, free_at, trouble }
}

/// What the scheduler did with an instance.
#[derive(Default)]
struct Trace {
    makespan: Duration,
    /// When each group was started first.
    started: BTreeMap<usize, Duration>,
    /// The first reservation of each group that was first in the queue and had to wait.
    reserved: BTreeMap<usize, Duration>,
    settled: usize,
}

/// Who sits where; it fails when a seat or a byte is given away twice.
struct Seats {
    seats: Vec<u32>,
    memory: Vec<u64>,
    leased: BTreeSet<usize>,
    host_memory: u64,
}

impl Seats {
    fn take(&mut self, work: &Work, place: &Place) {
        let ranks = u64::from(work.group.devices);
        for (slot, seats) in &place.shares {
            assert!(self.leased.contains(slot), "slot {slot} is somebody else's");
            assert!(self.seats[*slot] >= *seats, "slot {slot} is taken twice");
            self.seats[*slot] -= seats;
            if work.kind == Kind::Gpu {
                let memory = self.memory[*slot].checked_sub(work.group.memory);
                self.memory[*slot] = memory.expect("a GPU's memory is taken twice");
            }
        }
        if work.kind == Kind::Gpu {
            assert_eq!(place.shares.len() as u64, ranks, "a gang is all there");
        } else if place.short_of.is_none() {
            let left = self.host_memory.checked_sub(work.group.memory * ranks);
            self.host_memory = left.expect("the host's memory is taken twice");
        }
    }

    fn leave(&mut self, work: &Work, place: &Place) {
        for (slot, seats) in &place.shares {
            self.seats[*slot] += seats;
            if work.kind == Kind::Gpu {
                self.memory[*slot] += work.group.memory;
            }
        }
        if work.kind == Kind::Core && place.short_of.is_none() {
            self.host_memory += work.group.memory * u64::from(work.group.devices);
        }
    }
}

/// What happens next: a group ends, or a slot becomes free.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Free(usize),
    Ends(usize),
    Tick,
}

fn carry_through(instance: &Instance, seed: u64) -> Trace {
    let Instance { host, works, free_at, trouble } = instance;
    let mut draw = Draw(seed ^ 0xFA11);
    let retries =
        Retries { count: 2, backoff: Backoff::Exponential, delay: Duration::from_secs(5) };
    let policy = RunPolicy { retries, ..RunPolicy::default() };
    let mut machine = Machine::new(works, host, policy, false);
    let mut seats = Seats {
        seats: host.slots.iter().map(|slot| slot.seats).collect(),
        memory: host.slots.iter().map(|slot| slot.memory).collect(),
        leased: BTreeSet::new(),
        host_memory: host.memory,
    };
    let mut trace = Trace::default();
    let mut places: BTreeMap<usize, (Place, Duration, bool)> = BTreeMap::new();
    let mut next: BinaryHeap<Reverse<(Duration, Next)>> = BinaryHeap::new();
    for (slot, at) in free_at.iter().enumerate() {
        next.push(Reverse((*at, Next::Free(slot))));
    }
    while let Some(Reverse((now, what))) = next.pop() {
        match what {
            Next::Free(slot) => {
                machine.lease(slot, host.slots[slot].memory);
                seats.leased.insert(slot);
            }
            Next::Ends(group) => {
                let run = machine.runs(group)[0];
                let (place, _, fails) = places.remove(&group).unwrap();
                seats.leave(&works[run], &place);
                let failure = Failure { class: FailureClass::Crashed, reason: String::new() };
                let verdict = if fails { Verdict::Failed(failure) } else { Verdict::Result };
                for act in machine.ended(now, group, vec![verdict]) {
                    let Act::Settle { end, .. } = act else { panic!("{act:?}") };
                    trace.settled += usize::from(end.is_final());
                }
                trace.makespan = now;
            }
            Next::Tick => {}
        }
        // All that happens at one instant is known before anything is decided.
        if next.peek().is_some_and(|Reverse((at, _))| *at == now) {
            continue;
        }
        for act in machine.tick(now) {
            let Act::Start { group, place, .. } = act else { panic!("{act:?}") };
            let run = machine.runs(group)[0];
            seats.take(&works[run], &place);
            trace.started.entry(run).or_insert(now);
            let fails = *trouble == Trouble::FailuresAndArrivals && draw.unit() < FAILING;
            let part = if fails { draw.unit() } else { 1.0 };
            let ends = now + works[run].group.expected.unwrap().mul_f64(part);
            next.push(Reverse((ends, Next::Ends(group))));
            places.insert(group, (place, ends, fails));
        }
        if let Some(group) = machine.first_waiting().filter(|_| *trouble == Trouble::None) {
            let at = earliest(instance, &places, now, group);
            trace.reserved.entry(group).or_insert(at);
        }
        if let Some(at) = machine.next_deadline() {
            next.push(Reverse((at.max(now), Next::Tick)));
        }
    }
    assert!(machine.is_over());
    trace
}

/// When a group could start at the latest if nothing more were started, worked out anew: slots that
/// are empty then, one after the other as what runs ends.
fn earliest(
    instance: &Instance,
    places: &BTreeMap<usize, (Place, Duration, bool)>,
    now: Duration,
    group: usize,
) -> Duration {
    let Instance { host, works, .. } = instance;
    let work = &works[group];
    let fits = |at: Duration| {
        let mut taken: Vec<(u32, u64)> = vec![(0, 0); host.slots.len()];
        let mut host_memory: u64 = 0;
        for (other, (place, ..)) in places.iter().filter(|(_, (_, ends, _))| *ends > at) {
            for (slot, seats) in &place.shares {
                taken[*slot].0 += seats;
                taken[*slot].1 += works[*other].group.memory;
            }
            host_memory = host_memory.saturating_add(match place.short_of {
                Some(_) => host.memory,
                None => works[*other].group.memory * u64::from(works[*other].group.devices),
            });
        }
        let need = work.group.memory * u64::from(work.group.devices);
        if work.kind == Kind::Core {
            let empty = taken.iter().all(|(seats, _)| *seats == 0);
            let free: u32 = taken.iter().zip(&host.slots).map(|(t, slot)| slot.seats - t.0).sum();
            return empty
                || (free >= work.group.devices && host_memory.saturating_add(need) <= host.memory);
        }
        let empty = taken.iter().filter(|(seats, _)| *seats == 0).count();
        let shared = taken.iter().zip(&host.slots).any(|((seats, memory), slot)| {
            *seats < slot.seats && memory + work.group.memory <= slot.memory
        });
        empty >= work.group.devices as usize || (work.group.devices == 1 && shared)
    };
    let ends = places.values().map(|(_, ends, _)| *ends);
    let at = std::iter::once(now).chain(ends).filter(|at| fits(*at)).min();
    at.expect("all has ended once")
}

/// No schedule is shorter, of groups that have their slots to themselves: all work shared by all
/// slots; the longest; for every width, those that wide, of which only so many go on at once; and
/// where more than the slots are single, that two of the first M + 1 share a slot.
fn lower_bound(instance: &Instance) -> f64 {
    let slots = instance.host.slots.len() as f64;
    let jobs: Vec<(f64, f64)> = instance
        .works
        .iter()
        .map(|w| (f64::from(w.group.devices), w.group.expected.unwrap().as_secs_f64()))
        .collect();
    let work = jobs.iter().map(|(width, seconds)| width * seconds).sum::<f64>() / slots;
    let longest = jobs.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let wide = (1..=instance.host.slots.len()).map(|width| {
        let at_once = (slots / width as f64).floor();
        let wide = jobs.iter().filter(|(own, _)| *own >= width as f64);
        wide.map(|(_, seconds)| seconds).sum::<f64>() / at_once
    });
    let mut seconds: Vec<f64> = jobs.iter().map(|(_, seconds)| *seconds).collect();
    seconds.sort_by(|one, other| other.total_cmp(one));
    let m = instance.host.slots.len();
    let two = if seconds.len() > m { seconds[m - 1] + seconds[m] } else { 0.0 };
    wide.fold(work.max(longest).max(two), f64::max)
}

/// Do groups have their slots to themselves, and does memory never decide?
fn is_plain(instance: &Instance) -> bool {
    let slot = instance.host.slots[0];
    slot.seats == 1 && (slot.kind == Kind::Gpu || instance.host.memory == u64::MAX)
}

#[test]
fn simulation_of_a_thousand_instances_leases_nothing_twice_and_starves_nobody() {
    for seed in 0..1000 {
        for trouble in [Trouble::None, Trouble::FailuresAndArrivals] {
            let instance = instance(seed, trouble);
            let trace = carry_through(&instance, seed);
            assert_eq!(trace.started.len(), instance.works.len(), "instance {seed}");
            assert_eq!(trace.settled, instance.works.len(), "instance {seed}");
        }
    }
}

#[test]
fn simulation_starts_no_group_later_than_its_reservation() {
    let mut reservations = 0;
    for seed in 0..1000 {
        let instance = instance(seed, Trouble::None);
        let trace = carry_through(&instance, seed);
        for (group, reserved) in &trace.reserved {
            let started = trace.started[group];
            assert!(
                started <= *reserved,
                "instance {seed}: {group} at {started:?}, not {reserved:?}"
            );
        }
        reservations += trace.reserved.len();
    }
    assert!(reservations > 10_000, "only {reservations}: the test does not test");
    println!("{reservations} reservations were kept");
}

/// A list cannot be expected to come near the bound where one long group decides when everything ends:
/// started a little late it is the makespan. So a group may take this part of the bound at most.
const REACHABLE: f64 = 0.25;

/// As near as that makespans come to the bound.
const NEAR: f64 = 1.15;

#[test]
fn simulation_comes_near_the_lower_bound() {
    let mut found: Vec<(f64, f64)> = Vec::new();
    for seed in 0..3000 {
        let instance = instance(seed, Trouble::None);
        if !is_plain(&instance) {
            continue;
        }
        let bound = lower_bound(&instance);
        let seconds = |w: &Work| w.group.expected.unwrap().as_secs_f64();
        let longest = instance.works.iter().map(seconds).fold(0.0, f64::max);
        let ratio = carry_through(&instance, seed).makespan.as_secs_f64() / bound;
        assert!(ratio > 1.0 - 1e-9, "instance {seed}: {ratio} is below the lower bound");
        found.push((longest / bound, ratio));
    }
    for longest in [1.0, 0.5, REACHABLE, 0.1] {
        let of_those = found.iter().filter(|(own, _)| *own <= longest + 1e-9);
        let mut ratios: Vec<f64> = of_those.map(|(_, ratio)| *ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let part = |part: f64| ratios[((ratios.len() - 1) as f64 * part).round() as usize];
        println!(
            "longest <= {longest} of the bound: {} instances, makespan over bound: median {:.3}, 90 % \
             {:.3}, 99 % {:.3}, max {:.3}",
            ratios.len(),
            part(0.5),
            part(0.9),
            part(0.99),
            part(1.0),
        );
    }
    let over = found.iter().filter(|(_, ratio)| *ratio > NEAR).count();
    println!("{over} of {} instances come to more than {NEAR} of the bound", found.len());
    assert!(over * 100 <= found.len(), "more than one in a hundred: {over}");
    let reachable = found.iter().filter(|(longest, _)| *longest <= REACHABLE);
    let ratios: Vec<f64> = reachable.map(|(_, ratio)| *ratio).collect();
    assert!(ratios.len() > 200, "{}: the test does not test", ratios.len());
    assert!(ratios.iter().all(|ratio| *ratio <= NEAR));
}

#[test]
fn simulation_of_ten_thousand_runs_costs_little_and_keeps_nothing() {
    let cpu = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let works: Vec<Work> = instance_of_many(10_000);
    let host = Host { memory: u64::MAX, ..Host::cores(8) };
    let begun = cpu();
    let mut machine = Machine::new(&works, &host, RunPolicy::default(), false);
    (0..8).for_each(|core| machine.lease(core, 0));
    let mut ends: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
    let mut now = Duration::ZERO;
    loop {
        for act in machine.tick(now) {
            let Act::Start { group, .. } = act else { panic!("{act:?}") };
            ends.push(Reverse((now + works[group].group.expected.unwrap(), group)));
        }
        let Some(Reverse((at, group))) = ends.pop() else { break };
        now = at;
        machine.ended(now, group, vec![Verdict::Result]);
    }
    let ended = cpu();
    let nanoseconds = (ended.tv_sec - begun.tv_sec) * 1_000_000_000 + ended.tv_nsec - begun.tv_nsec;
    let each = nanoseconds as f64 / 1e3 / works.len() as f64;
    println!("the machine takes {each:.1} us of a core for each of {} runs", works.len());
    assert_eq!(machine.counts(), (10_000, 0, 0));
    assert!(each < 2000.0, "{each} us");
}

/// Gangs among singles, so that every start looks for holes.
fn instance_of_many(count: usize) -> Vec<Work> {
    let mut draw = Draw(7);
    let work = |run| {
        let expected = Some(Duration::from_secs_f64(10.0_f64.powf(3.0 * draw.unit())));
        let devices = if draw.below(4) == 0 { 1 + draw.below(8) as u32 } else { 1 };
        Work {
            group: Group { runs: vec![run], devices, memory: 1, exclusive: false, expected },
            kind: Kind::Core,
        }
    };
    (0..count).map(work).collect()
}
