//! What starts next, and where: longest expected first, gangs all at once, holes filled behind them.
//!
//! The first group of each kind that has to wait gets a *reservation*: the time at which, by what is
//! expected, enough will be free for it. Whatever comes after it in the queue starts now only if it
//! leaves that alone (EASY backfill; Lifka, 1995): it is over by then, or there is enough without what
//! it takes. Of what nothing is expected, nothing is promised: then the free slots are kept for the
//! waiting gang. A pure state; the clock is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::occupancy::{Demand, Host, Kind, Occupancy, Place};

/// Groups from the first one on that are looked at for a hole.
const BACKFILL_DEPTH: usize = 1000;
/// Groups whose expected durations are within this part of the longest of them count as equal: they
/// start in the order of the plan, every configuration before any gets its second seed.
const EQUAL: f64 = 0.8;

/// A demand for one seat and nothing else.
const NOTHING: Demand = Demand {
    kind: Kind::Core,
    ranks: 1,
    threads: 1,
    memory: 0,
    alone: false,
    exclusive: false,
    expected: None,
};

/// A group that waits.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    group: usize,
    demand: Demand,
}

/// A group that is somewhere.
#[derive(Debug, Clone)]
struct Holding {
    place: Place,
    demand: Demand,
    /// When it is expected to end.
    ends: Option<Duration>,
}

/// What is kept for a group that waits.
#[derive(Debug, Clone)]
struct Reservation {
    demand: Demand,
    /// When enough will be free, where that is known.
    at: Option<Duration>,
    /// What will be free then, if nothing more is started.
    then: Occupancy,
}

impl Reservation {
    /// May something start at `place` now that ends at `ends`?
    fn allows(&self, place: &Place, ends: Option<Duration>) -> bool {
        if ends.zip(self.at).is_some_and(|(ends, at)| ends <= at) {
            return true;
        }
        let mut then = self.then.clone();
        then.take(place);
        !then.options(&self.demand).is_empty()
    }
}

/// What waits and what is placed.
#[derive(Debug)]
pub struct Placement {
    occupancy: Occupancy,
    queue: VecDeque<Waiting>,
    /// Seats that the queue asks for, by kind.
    asked: BTreeMap<Kind, u64>,
    placed: BTreeMap<usize, Holding>,
    /// Has nothing changed since nothing more could start?
    settled: bool,
}

impl Placement {
    /// Nothing waits, and no slot is leased.
    pub fn new(host: &Host) -> Self {
        Self {
            occupancy: Occupancy::new(host),
            queue: VecDeque::new(),
            asked: BTreeMap::new(),
            placed: BTreeMap::new(),
            settled: false,
        }
    }

    /// A group waits behind all others.
    pub fn append(&mut self, group: usize, demand: Demand) {
        *self.asked.entry(demand.kind).or_default() += demand.seats();
        self.queue.push_back(Waiting { group, demand });
        self.settled = false;
    }

    /// A group waits before all others: it was started once already.
    pub fn put_first(&mut self, group: usize, demand: Demand) {
        *self.asked.entry(demand.kind).or_default() += demand.seats();
        self.queue.push_front(Waiting { group, demand });
        self.settled = false;
    }

    /// Starts the next group that can start: its number and its place.
    pub fn start_next(&mut self, now: Duration) -> Option<(usize, Place)> {
        if self.settled {
            return None;
        }
        let found = self.next(now);
        let Some((index, place)) = found else {
            self.settled = true;
            return None;
        };
        let Waiting { group, demand } = self.queue.remove(index)?;
        *self.asked.entry(demand.kind).or_default() -= demand.seats();
        self.occupancy.take(&place);
        let ends = demand.expected.map(|expected| now + expected);
        self.placed.insert(group, Holding { place: place.clone(), demand, ends });
        Some((group, place))
    }

    /// The place in the queue of what can start, and where.
    fn next(&self, now: Duration) -> Option<(usize, Place)> {
        let mut reservations: BTreeMap<Kind, Option<Reservation>> = BTreeMap::new();
        let mut hopeless: Vec<Demand> = Vec::new();
        for (index, waiting) in self.queue.iter().enumerate().take(BACKFILL_DEPTH) {
            let demand = &waiting.demand;
            if hopeless.iter().any(|other| asks_no_less(demand, other)) {
                continue;
            }
            let ends = demand.expected.map(|expected| now + expected);
            let allowed = |place: &Place| {
                let mut kept = reservations.values().flatten();
                kept.all(|reservation| reservation.allows(place, ends))
            };
            if let Some(place) = self.occupancy.options(demand).into_iter().find(allowed) {
                return Some((index, place));
            }
            reservations.entry(demand.kind).or_insert_with(|| self.reserve(demand, now));
            hopeless.push(*demand);
            if Kind::ALL.iter().all(|kind| self.occupancy.is_full(*kind)) {
                return None;
            }
        }
        None
    }

    /// When a group that must wait could start, if what runs takes as long as expected. `None` where
    /// the slots that this sweep has leased will never do.
    fn reserve(&self, demand: &Demand, now: Duration) -> Option<Reservation> {
        let mut running: Vec<&Holding> = self.placed.values().collect();
        // What runs longer than expected may end at any time, but nobody knows: after what is known.
        let overrun = |holding: &Holding| holding.ends.is_none_or(|ends| ends <= now);
        running.sort_by_key(|holding| (overrun(holding), holding.ends));
        let mut then = self.occupancy.clone();
        let mut at;
        for (index, holding) in running.iter().enumerate() {
            then.leave(&holding.place);
            at = if overrun(holding) { None } else { holding.ends };
            let more_at_once =
                at.is_some() && running.get(index + 1).is_some_and(|next| next.ends == at);
            if !more_at_once && !then.options(demand).is_empty() {
                return Some(Reservation { demand: *demand, at, then });
            }
        }
        None
    }

    /// A group is over.
    pub fn leave(&mut self, group: usize) {
        if let Some(holding) = self.placed.remove(&group) {
            self.occupancy.leave(&holding.place);
            self.settled = false;
        }
    }

    /// A slot is leased, with so much memory free on it.
    pub fn lease(&mut self, slot: usize, memory: u64) {
        self.occupancy.lease(slot, memory);
        self.settled = false;
    }

    /// A slot is given back.
    pub fn give_back(&mut self, slot: usize) {
        self.occupancy.give_back(slot);
    }

    /// What is taken.
    pub fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    /// The host's memory was looked at again.
    pub fn set_memory(&mut self, memory: u64) {
        self.occupancy.set_memory(memory);
        self.settled = false;
    }

    /// Was the group without company on its slots?
    pub fn was_alone(&self, group: usize) -> bool {
        let Some(own) = self.placed.get(&group) else { return false };
        let near = |other: &Holding| {
            let shared = |slot: &usize| own.place.shares.iter().any(|(own, _)| own == slot);
            match own.place.kind {
                // All that runs on cores shares the host's memory.
                Kind::Core => other.place.kind == Kind::Core,
                Kind::Gpu => other.place.shares.iter().any(|(slot, _)| shared(slot)),
            }
        };
        !self.placed.iter().any(|(number, other)| *number != group && near(other))
    }

    /// Where a group is.
    pub fn place_of(&self, group: usize) -> Option<&Place> {
        self.placed.get(&group).map(|holding| &holding.place)
    }

    /// The first group that waits.
    #[cfg(test)]
    pub fn first_waiting(&self) -> Option<usize> {
        self.queue.front().map(|waiting| waiting.group)
    }

    /// Groups that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Slots of a kind that are of use: to what runs, to what waits, and to `returning` groups that will
    /// wait later.
    pub fn wanted(&self, kind: Kind, returning: &[Demand]) -> usize {
        let of_kind = |demand: &&Demand| demand.kind == kind;
        let placed = self.placed.values().map(|holding| &holding.demand);
        let near = self.queue.iter().take(BACKFILL_DEPTH).map(|waiting| &waiting.demand);
        let exclusive = |demand: &Demand| demand.exclusive && demand.kind == Kind::Core;
        let mut every = placed.clone().chain(returning).chain(near.clone());
        if kind == Kind::Core && every.any(exclusive) {
            return self.occupancy.slots_of(&Demand { exclusive: true, ..NOTHING });
        }
        let active = placed.clone().chain(returning).filter(of_kind).map(Demand::seats);
        let all = active.sum::<u64>() + self.asked.get(&kind).copied().unwrap_or(0);
        let largest = placed.chain(returning).chain(near).filter(of_kind).map(Demand::seats).max();
        let most = largest.unwrap_or(0).saturating_mul(self.occupancy.jobs() as u64);
        let ranks = u32::try_from(all.min(most)).unwrap_or(u32::MAX);
        let demand = Demand { kind, ranks, ..NOTHING };
        self.occupancy.slots_of(&demand)
    }

    /// Slots of a kind beyond the leased ones without which the first group that waits for that kind
    /// can never start.
    pub fn missing(&self, kind: Kind) -> usize {
        let first = self.queue.iter().take(BACKFILL_DEPTH).find(|w| w.demand.kind == kind);
        let needed = first.map_or(0, |waiting| self.occupancy.slots_of(&waiting.demand));
        needed.saturating_sub(self.occupancy.leased(kind))
    }
}

/// Does `demand` ask for at least as much as `other`, so that it cannot start where the other could
/// not?
fn asks_no_less(demand: &Demand, other: &Demand) -> bool {
    let longer = match (demand.expected, other.expected) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(other)) => own >= other,
    };
    (demand.kind, demand.ranks, demand.threads) == (other.kind, other.ranks, other.threads)
        && demand.memory >= other.memory
        && demand.alone >= other.alone
        && demand.exclusive >= other.exclusive
        && longer
}

/// The order in which groups are looked at: the longest expected first, those of which nothing is
/// expected before all others; about equal ones by `first`, the place in the plan of their first run.
pub fn order(groups: &[(Option<Duration>, usize)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    let longest_first = |index: &usize| {
        let (expected, first) = groups[*index];
        (expected.is_some(), std::cmp::Reverse(expected), first)
    };
    order.sort_by_key(longest_first);
    let mut from = 0;
    while from < order.len() {
        let longest = groups[order[from]].0;
        let equal = |index: &&usize| match (groups[**index].0, longest) {
            (Some(own), Some(longest)) => own.as_secs_f64() >= EQUAL * longest.as_secs_f64(),
            (own, longest) => own == longest,
        };
        let to = from + order[from..].iter().take_while(equal).count();
        order[from..to].sort_by_key(|index| groups[*index].1);
        from = to;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn demand(ranks: u32, expected: Option<u64>) -> Demand {
        let expected = expected.map(seconds);
        Demand { ranks, expected, ..NOTHING }
    }

    fn placement(cores: usize, demands: &[Demand]) -> Placement {
        let host = Host::cores(cores);
        let mut placement = Placement::new(&host);
        (0..cores).for_each(|core| placement.lease(core, 0));
        for (group, demand) in demands.iter().enumerate() {
            placement.append(group, *demand);
        }
        placement
    }

    fn started(placement: &mut Placement, now: u64) -> Vec<usize> {
        std::iter::from_fn(|| placement.start_next(seconds(now)).map(|(group, _)| group)).collect()
    }

    #[test]
    fn the_longest_comes_first_and_equals_keep_the_order_of_the_plan() {
        let groups = [(Some(10), 0), (Some(99), 1), (Some(11), 2), (None, 3), (Some(100), 4)];
        let groups = groups.map(|(expected, first)| (expected.map(seconds), first));
        assert_eq!(order(&groups), [3, 1, 4, 0, 2]);
    }

    #[test]
    fn a_hole_is_filled_by_what_is_over_before_the_gang_can_start() {
        let demands =
            [demand(1, Some(10)), demand(4, Some(10)), demand(1, Some(11)), demand(1, Some(9))];
        let mut placement = placement(4, &demands);
        assert_eq!(started(&mut placement, 0), [0, 3]);
        placement.leave(3);
        assert_eq!(started(&mut placement, 9), [0_usize; 0], "eleven seconds are too many");
        placement.leave(0);
        assert_eq!(started(&mut placement, 10), [1]);
    }

    #[test]
    fn a_hole_is_filled_by_what_leaves_enough_for_the_gang() {
        let demands =
            [demand(2, Some(10)), demand(3, Some(10)), demand(1, Some(100)), demand(1, Some(100))];
        let mut placement = placement(4, &demands);
        assert_eq!(started(&mut placement, 0), [0, 2], "one core is left over, not two");
        placement.leave(0);
        assert_eq!(started(&mut placement, 10), [1]);
    }

    #[test]
    fn without_any_expectation_free_slots_are_kept_for_the_gang() {
        let demands = [demand(1, None), demand(1, None), demand(4, None), demand(1, None)];
        let mut placement = placement(4, &demands);
        assert_eq!(started(&mut placement, 0), [0, 1]);
        placement.leave(0);
        assert_eq!(started(&mut placement, 1), [0_usize; 0]);
        placement.leave(1);
        assert_eq!(started(&mut placement, 2), [2]);
    }

    #[test]
    fn what_overruns_frees_nothing_for_others() {
        let demands = [demand(1, Some(5)), demand(2, Some(5)), demand(1, Some(1))];
        let mut placement = placement(2, &demands);
        assert_eq!(started(&mut placement, 0), [0, 2]);
        placement.leave(2);
        placement.put_first(9, demand(2, Some(5)));
        placement.append(7, demand(1, Some(1)));
        assert_eq!(
            started(&mut placement, 6),
            [0_usize; 0],
            "group 0 should have ended a second ago"
        );
    }

    #[test]
    fn a_gang_that_the_leased_slots_can_never_hold_keeps_nobody_waiting() {
        let host = Host::cores(4);
        let mut placement = Placement::new(&host);
        placement.lease(2, 0);
        placement.append(0, demand(4, Some(5)));
        placement.append(1, demand(1, Some(5)));
        assert_eq!(placement.missing(Kind::Core), 3);
        assert_eq!(placement.wanted(Kind::Core, &[]), 4);
        assert_eq!(started(&mut placement, 0), [1]);
    }

    #[test]
    fn what_is_exclusive_is_started_alone_whatever_else_waits() {
        let exclusive = |expected| Demand { exclusive: true, ..demand(1, expected) };
        let demands =
            [demand(1, Some(10)), exclusive(Some(5)), exclusive(Some(5)), demand(1, Some(10))];
        let mut placement = placement(4, &demands);
        assert_eq!(placement.wanted(Kind::Core, &[]), 4);
        assert_eq!(started(&mut placement, 0), [0, 3], "those that are over when it starts");
        placement.leave(0);
        assert_eq!(started(&mut placement, 9), [0_usize; 0]);
        placement.leave(3);
        assert_eq!(started(&mut placement, 10), [1], "one of the two");
        placement.append(4, demand(1, Some(1)));
        assert_eq!(started(&mut placement, 11), [0_usize; 0]);
        placement.leave(1);
        assert_eq!(started(&mut placement, 15), [2]);
        placement.leave(2);
        assert_eq!(started(&mut placement, 20), [4]);
    }

    #[test]
    fn a_gang_on_gpus_does_not_hold_up_work_on_cores() {
        let mut host = Host::cores(1);
        host.slots.push(super::super::occupancy::Slot { kind: Kind::Gpu, seats: 1, memory: 1 });
        let mut placement = Placement::new(&host);
        placement.lease(0, 0);
        placement.append(0, Demand { kind: Kind::Gpu, ..demand(1, Some(5)) });
        placement.append(1, demand(1, Some(5)));
        assert_eq!(started(&mut placement, 0), [1]);
    }
}
