//! What a machine has to give, what of it is taken, and where a group would fit.
//!
//! A *slot* is a core or a GPU. It has *seats*, one for each thread or rank that may use it at a time,
//! and a GPU has memory. Only slots that this sweep has leased can be taken. Pure: no clock, no file.

use std::time::Duration;

/// What a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A core of the host.
    Core,
    /// A GPU.
    Gpu,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Core, Self::Gpu];
}

/// A core or a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Which of them.
    pub kind: Kind,
    /// Threads or ranks that may use it at a time.
    pub seats: u32,
    /// Memory of its own in bytes, free before anything of this sweep is on it; 0 for a core.
    pub memory: u64,
}

/// A machine as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its slots.
    pub slots: Vec<Slot>,
    /// Memory of the host in bytes that runs on cores share.
    pub memory: u64,
    /// Groups at a time.
    pub jobs: usize,
}

impl Host {
    /// `count` cores with a seat each, and nothing else to run short of.
    pub fn cores(count: usize) -> Self {
        let core = Slot { kind: Kind::Core, seats: 1, memory: 0 };
        Self { slots: vec![core; count], memory: u64::MAX, jobs: usize::MAX }
    }

    /// Slots of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.slots.iter().filter(|slot| slot.kind == kind).count()
    }
}

/// What a group needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Where it trains.
    pub kind: Kind,
    /// Devices that it takes at once, a rank on each.
    pub ranks: u32,
    /// Cores of a rank, where it trains on cores.
    pub threads: u32,
    /// What a rank needs in memory, in bytes.
    pub memory: u64,
    /// Must nothing else be beside it on its device?
    pub alone: bool,
    /// Must nothing else run at all? On cores it takes all of them, so that no other sweep of the
    /// machine has one.
    pub exclusive: bool,
    /// How long it is expected to take, where anything is known.
    pub expected: Option<Duration>,
}

impl Demand {
    /// Seats that it would like to have.
    pub fn seats(&self) -> u64 {
        match self.kind {
            Kind::Core => u64::from(self.ranks) * u64::from(self.threads),
            Kind::Gpu => u64::from(self.ranks),
        }
    }
}

/// Where a group is, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of which kind its slots are.
    pub kind: Kind,
    /// Slots by their numbers, with the seats that it takes on each.
    pub shares: Vec<(usize, u32)>,
    /// Bytes that it takes of each slot's memory.
    slot_memory: u64,
    /// Bytes that it takes of the host's.
    host_memory: u64,
    /// Bytes that are there, where it needs more: it was let in because nothing else was there.
    pub short_of: Option<u64>,
    /// Is nothing else to start meanwhile?
    exclusive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    slot: Slot,
    ours: bool,
    seats: u32,
    memory: u64,
}

impl State {
    fn is_empty(&self) -> bool {
        self.seats == self.slot.seats
    }
}

/// A machine with what is taken of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupancy {
    slots: Vec<State>,
    memory: u64,
    free_memory: u64,
    jobs: usize,
    active: usize,
    /// Is what runs not to be disturbed?
    exclusive: bool,
}

impl Occupancy {
    /// Nothing is taken, and nothing leased.
    pub fn new(host: &Host) -> Self {
        let state = |slot: &Slot| State {
            slot: *slot,
            ours: false,
            seats: slot.seats,
            memory: slot.memory,
        };
        Self {
            slots: host.slots.iter().map(state).collect(),
            memory: host.memory,
            free_memory: host.memory,
            jobs: host.jobs.max(1),
            active: 0,
            exclusive: false,
        }
    }

    /// A slot is leased, with so much memory free on it.
    pub fn lease(&mut self, slot: usize, memory: u64) {
        let state = &mut self.slots[slot];
        debug_assert!(!state.ours && state.is_empty(), "invariant: a slot is leased once");
        *state = State { slot: Slot { memory, ..state.slot }, ours: true, memory, ..*state };
    }

    /// A slot is given back.
    pub fn give_back(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        debug_assert!(state.ours && state.is_empty(), "invariant: a busy slot is kept");
        state.ours = false;
    }

    /// The host has so much memory free, now that nothing of this sweep runs.
    pub fn set_memory(&mut self, memory: u64) {
        if self.active == 0 {
            (self.memory, self.free_memory) = (memory, memory);
        }
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = (usize, &State)> + Clone {
        self.slots.iter().enumerate().filter(move |(_, state)| state.slot.kind == kind)
    }

    /// Slots of a kind that are leased.
    pub fn leased(&self, kind: Kind) -> usize {
        self.of(kind).filter(|(_, state)| state.ours).count()
    }

    /// Leased slots of a kind with nothing on them, the last first.
    pub fn idle(&self, kind: Kind) -> Vec<usize> {
        let idle = self.of(kind).filter(|(_, state)| state.ours && state.is_empty());
        let mut idle: Vec<usize> = idle.map(|(number, _)| number).collect();
        idle.reverse();
        idle
    }

    /// Slots of a kind that are not leased.
    pub fn unleased(&self, kind: Kind) -> Vec<usize> {
        self.of(kind).filter(|(_, state)| !state.ours).map(|(number, _)| number).collect()
    }

    /// Groups at a time.
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    /// Is there no seat left on any leased slot of a kind, or no room for one more group?
    pub fn is_full(&self, kind: Kind) -> bool {
        self.exclusive
            || self.active >= self.jobs
            || self.of(kind).all(|(_, state)| !state.ours || state.seats == 0)
    }

    /// Leased slots of a kind that a demand needs before it can start at all.
    pub fn slots_of(&self, demand: &Demand) -> usize {
        let total = self.of(demand.kind).count();
        if demand.exclusive && demand.kind == Kind::Core {
            return total;
        }
        let seats = match demand.kind {
            Kind::Core => self.of(Kind::Core).map(|(_, state)| state.slot.seats).max(),
            Kind::Gpu => Some(1),
        };
        let slots = demand.seats().div_ceil(u64::from(seats.unwrap_or(1).max(1)));
        usize::try_from(slots).unwrap_or(usize::MAX).min(total)
    }

    /// Every place that a demand could take now, the best first; none while it must wait.
    pub fn options(&self, demand: &Demand) -> Vec<Place> {
        if self.active >= self.jobs || self.exclusive || (demand.exclusive && self.active > 0) {
            return Vec::new();
        }
        match demand.kind {
            Kind::Core => self.cores(demand).into_iter().collect(),
            Kind::Gpu if demand.ranks == 1 && !demand.alone && !demand.exclusive => {
                self.shared_gpus(demand)
            }
            Kind::Gpu => self.whole_gpus(demand).into_iter().collect(),
        }
    }

    /// Seats on the cores with the most of them free. More ranks than the machine has cores share
    /// them all.
    fn cores(&self, demand: &Demand) -> Option<Place> {
        let all: u64 = self.of(Kind::Core).map(|(_, state)| u64::from(state.slot.seats)).sum();
        let nothing_runs = self.of(Kind::Core).all(|(_, state)| state.is_empty());
        let mut wanted = if demand.exclusive { all } else { demand.seats().min(all) };
        let need = demand.memory.saturating_mul(u64::from(demand.ranks));
        let short = need > self.free_memory;
        if (short || demand.alone) && !nothing_runs {
            return None;
        }
        let mut free: Vec<(usize, u32)> =
            self.of(Kind::Core).filter(|(_, s)| s.ours).map(|(n, s)| (n, s.seats)).collect();
        if free.iter().map(|(_, seats)| u64::from(*seats)).sum::<u64>() < wanted {
            return None;
        }
        if short || demand.alone {
            wanted = free.iter().map(|(_, seats)| u64::from(*seats)).sum();
        }
        let mut taken = vec![0; self.slots.len()];
        while wanted > 0 {
            // The most free first, the lower number where equal.
            free.sort_by_key(|(number, seats)| (std::cmp::Reverse(*seats), *number));
            for (number, seats) in &mut free {
                if wanted > 0 && *seats > 0 {
                    taken[*number] += 1;
                    *seats -= 1;
                    wanted -= 1;
                }
            }
        }
        let shares = taken.into_iter().enumerate().filter(|(_, seats)| *seats > 0).collect();
        let host_memory = need.min(self.free_memory);
        let short_of = short.then_some(self.free_memory);
        Some(Place {
            kind: Kind::Core,
            shares,
            slot_memory: 0,
            host_memory,
            short_of,
            exclusive: demand.exclusive,
        })
    }

    /// GPUs that have a seat and the memory, the emptiest first; an empty one also without the memory,
    /// where it has as much as any.
    fn shared_gpus(&self, demand: &Demand) -> Vec<Place> {
        let largest = self.largest_gpu();
        let fits = |state: &State| {
            let enough = state.memory >= demand.memory;
            let best = state.is_empty() && demand.memory > largest && state.slot.memory == largest;
            state.ours && state.seats > 0 && (enough || best)
        };
        let mut fitting: Vec<(usize, &State)> =
            self.of(Kind::Gpu).filter(|(_, state)| fits(state)).collect();
        fitting.sort_by_key(|(number, state)| (state.slot.seats - state.seats, *number));
        let place = |(number, state): (usize, &State)| {
            let short = demand.memory > state.memory;
            let seats = if short { state.seats } else { 1 };
            Place {
                kind: Kind::Gpu,
                shares: vec![(number, seats)],
                slot_memory: demand.memory.min(state.memory),
                host_memory: 0,
                short_of: short.then_some(state.memory),
                exclusive: false,
            }
        };
        fitting.into_iter().map(place).collect()
    }

    /// As many empty GPUs as there are ranks, each as a whole: ranks wait for the slowest. What is too
    /// large for so many gets the largest ones.
    fn whole_gpus(&self, demand: &Demand) -> Option<Place> {
        let ranks = demand.ranks as usize;
        let leased = self.of(Kind::Gpu).filter(|(_, state)| state.ours);
        let mut memories: Vec<u64> = leased.clone().map(|(_, state)| state.slot.memory).collect();
        memories.sort_unstable_by_key(|memory| std::cmp::Reverse(*memory));
        let most = *memories.get(ranks.checked_sub(1)?)?;
        let need = demand.memory.min(most);
        let fits = |state: &State| state.is_empty() && state.memory >= need;
        let gpus: Vec<(usize, u32)> = leased
            .filter(|(_, state)| fits(state))
            .map(|(number, state)| (number, state.slot.seats))
            .take(ranks)
            .collect();
        (gpus.len() == ranks).then_some(Place {
            kind: Kind::Gpu,
            shares: gpus,
            slot_memory: need,
            host_memory: 0,
            short_of: (demand.memory > most).then_some(most),
            exclusive: demand.exclusive,
        })
    }

    /// Memory of the largest GPU that is leased.
    fn largest_gpu(&self) -> u64 {
        let leased = self.of(Kind::Gpu).filter(|(_, state)| state.ours);
        leased.map(|(_, state)| state.slot.memory).max().unwrap_or(0)
    }

    /// Takes a place.
    pub fn take(&mut self, place: &Place) {
        for (number, seats) in &place.shares {
            let state = &mut self.slots[*number];
            assert!(state.ours && state.seats >= *seats, "invariant: a seat is taken once");
            state.seats -= seats;
            state.memory -= place.slot_memory;
        }
        self.free_memory -= place.host_memory;
        self.active += 1;
        self.exclusive |= place.exclusive;
    }

    /// Gives a place free.
    pub fn leave(&mut self, place: &Place) {
        for (number, seats) in &place.shares {
            let state = &mut self.slots[*number];
            state.seats += seats;
            state.memory += place.slot_memory;
        }
        self.free_memory += place.host_memory;
        self.active -= 1;
        self.exclusive &= !place.exclusive;
    }

    /// Memory of a slot of its own, free before anything of this sweep is on it; the host's for a core.
    pub fn memory_at(&self, slot: usize) -> u64 {
        let state = &self.slots[slot];
        if state.slot.kind == Kind::Core { self.memory } else { state.slot.memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn on_gpus(ranks: u32, memory: u64) -> Demand {
        Demand {
            kind: Kind::Gpu,
            ranks,
            threads: 1,
            memory,
            alone: false,
            exclusive: false,
            expected: None,
        }
    }

    fn on_cores(ranks: u32, threads: u32, memory: u64) -> Demand {
        Demand {
            kind: Kind::Core,
            ranks,
            threads,
            memory,
            alone: false,
            exclusive: false,
            expected: None,
        }
    }

    fn leased(host: &Host) -> Occupancy {
        let mut occupancy = Occupancy::new(host);
        for (number, slot) in host.slots.iter().enumerate() {
            occupancy.lease(number, slot.memory);
        }
        occupancy
    }

    /// Takes the best option and says which slots these are.
    fn take(occupancy: &mut Occupancy, demand: &Demand) -> Option<Vec<usize>> {
        let place = occupancy.options(demand).into_iter().next()?;
        occupancy.take(&place);
        Some(place.shares.iter().map(|(slot, _)| *slot).collect())
    }

    fn gpus(memory: &[u64]) -> Host {
        let gpu = |memory: &u64| Slot { kind: Kind::Gpu, seats: 4, memory: memory * GIB };
        Host { slots: memory.iter().map(gpu).collect(), memory: 0, jobs: usize::MAX }
    }

    #[test]
    fn single_runs_share_a_gpu_as_far_as_its_memory_goes_and_spread_first() {
        let mut occupancy = leased(&gpus(&[10, 10]));
        let run = on_gpus(1, 4 * GIB);
        let taken: Vec<_> = (0..5).map(|_| take(&mut occupancy, &run)).collect();
        assert_eq!(taken, [Some(vec![0]), Some(vec![1]), Some(vec![0]), Some(vec![1]), None]);
        assert_eq!(take(&mut occupancy, &on_gpus(1, GIB)), Some(vec![0]));
    }

    #[test]
    fn a_gang_takes_whole_gpus() {
        let mut occupancy = leased(&gpus(&[10, 10, 10]));
        let single = occupancy.options(&on_gpus(1, GIB)).remove(0);
        occupancy.take(&single);
        assert!(occupancy.options(&on_gpus(3, GIB)).is_empty());
        assert_eq!(take(&mut occupancy, &on_gpus(2, GIB)), Some(vec![1, 2]));
        assert_eq!(take(&mut occupancy, &on_gpus(1, GIB)), Some(vec![0]));
        occupancy.leave(&single);
        assert!(occupancy.options(&Demand { alone: true, ..on_gpus(1, GIB) }).is_empty());
    }

    #[test]
    fn a_gang_that_is_too_large_for_the_small_gpus_gets_the_largest_there_are() {
        let occupancy = leased(&gpus(&[10, 40, 80, 20]));
        let slots = |ranks, memory| {
            let place = occupancy.options(&on_gpus(ranks, memory)).remove(0);
            let slots: Vec<usize> = place.shares.iter().map(|(slot, _)| *slot).collect();
            (slots, place.short_of)
        };
        assert_eq!(slots(2, 30 * GIB), (vec![1, 2], None));
        assert_eq!(slots(2, 60 * GIB), (vec![1, 2], Some(40 * GIB)));
        assert_eq!(slots(4, 60 * GIB), (vec![0, 1, 2, 3], Some(10 * GIB)));
    }

    #[test]
    fn what_fits_nowhere_gets_the_largest_gpu_to_itself_and_says_so() {
        let mut occupancy = leased(&gpus(&[10, 20]));
        let place = occupancy.options(&on_gpus(1, 30 * GIB)).remove(0);
        assert_eq!((place.shares.clone(), place.short_of), (vec![(1, 4)], Some(20 * GIB)));
        occupancy.take(&place);
        assert_eq!(take(&mut occupancy, &on_gpus(1, GIB)), Some(vec![0]));
        assert!(occupancy.options(&on_gpus(1, 15 * GIB)).is_empty());
    }

    #[test]
    fn runs_on_cores_share_the_hosts_memory() {
        let mut occupancy = leased(&Host { memory: 10 * GIB, ..Host::cores(4) });
        assert_eq!(take(&mut occupancy, &on_cores(1, 1, 6 * GIB)), Some(vec![0]));
        assert_eq!(take(&mut occupancy, &on_cores(1, 1, 6 * GIB)), None);
        assert_eq!(take(&mut occupancy, &on_cores(2, 1, 2 * GIB)), Some(vec![1, 2]));
        let occupancy = leased(&Host { memory: GIB, ..Host::cores(2) });
        let place = occupancy.options(&on_cores(1, 1, 2 * GIB)).remove(0);
        assert_eq!((place.shares.len(), place.short_of), (2, Some(GIB)));
    }

    #[test]
    fn more_ranks_than_cores_share_all_of_them_but_wait_until_all_are_free() {
        let mut occupancy = leased(&Host::cores(2));
        assert_eq!(take(&mut occupancy, &on_cores(4, 1, 0)), Some(vec![0, 1]));
        assert_eq!(take(&mut occupancy, &on_cores(1, 1, 0)), None);
        let mut occupancy = leased(&Host::cores(2));
        take(&mut occupancy, &on_cores(1, 1, 0));
        assert_eq!(take(&mut occupancy, &on_cores(4, 1, 0)), None);
    }

    #[test]
    fn seats_beyond_the_cores_are_spread_over_them() {
        let core = Slot { kind: Kind::Core, seats: 2, memory: 0 };
        let host = Host { slots: vec![core; 2], memory: u64::MAX, jobs: 4 };
        let mut occupancy = leased(&host);
        let taken: Vec<_> = (0..5).map(|_| take(&mut occupancy, &on_cores(1, 1, 0))).collect();
        assert_eq!(taken, [Some(vec![0]), Some(vec![1]), Some(vec![0]), Some(vec![1]), None]);
    }

    #[test]
    fn what_is_exclusive_runs_when_nothing_does_and_nothing_beside_it() {
        let mut host = Host { jobs: 8, ..Host::cores(4) };
        host.slots.push(Slot { kind: Kind::Gpu, seats: 4, memory: 10 * GIB });
        let exclusive = Demand { exclusive: true, ..on_cores(1, 1, 0) };
        let mut occupancy = Occupancy::new(&host);
        (0..3).for_each(|core| occupancy.lease(core, 0));
        occupancy.lease(4, 10 * GIB);
        assert_eq!(occupancy.slots_of(&exclusive), 4);
        assert!(occupancy.options(&exclusive).is_empty(), "another sweep may use the fourth");
        occupancy.lease(3, 0);
        let place = occupancy.options(&exclusive).remove(0);
        occupancy.take(&place);
        assert_eq!(place.shares.len(), 4);
        assert!(occupancy.options(&on_gpus(1, GIB)).is_empty() && occupancy.is_full(Kind::Gpu));
        occupancy.leave(&place);
        let on_gpu = Demand { exclusive: true, ..on_gpus(1, GIB) };
        let beside = occupancy.options(&on_cores(1, 1, 0)).remove(0);
        occupancy.take(&beside);
        assert!(occupancy.options(&exclusive).is_empty() && occupancy.options(&on_gpu).is_empty());
        occupancy.leave(&beside);
        let place = occupancy.options(&on_gpu).remove(0);
        occupancy.take(&place);
        assert_eq!(place.shares, [(4, 4)], "no other run shares the GPU");
        assert!(occupancy.options(&on_cores(1, 1, 0)).is_empty());
    }

    #[test]
    fn what_others_hold_is_not_taken() {
        let mut occupancy = Occupancy::new(&Host::cores(3));
        assert!(occupancy.options(&on_cores(1, 1, 0)).is_empty());
        occupancy.lease(1, 0);
        assert_eq!(take(&mut occupancy, &on_cores(1, 1, 0)), Some(vec![1]));
        assert_eq!((occupancy.leased(Kind::Core), occupancy.unleased(Kind::Core)), (1, vec![0, 2]));
        assert!(occupancy.is_full(Kind::Core));
    }
}
