//! Which slots a sweep leases, keeps and gives back, as its machine has use for them.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::inventory::Inventory;
use super::leases::{Leases, Taken};
use super::machine::Machine;
use super::occupancy::Kind;

/// How often slots that others hold are asked for again.
const POLL: Duration = Duration::from_millis(250);

/// Leases slots of one machine for one sweep.
pub struct Leasing<'a> {
    inventory: &'a Inventory,
    leases: Leases,
    /// When the last slot was refused.
    refused: Option<Instant>,
    /// Processes that a person was told of, by the kind of slot that they hold.
    told: BTreeMap<Kind, Vec<u32>>,
}

impl<'a> Leasing<'a> {
    /// Of this machine's slots.
    pub fn new(inventory: &'a Inventory, leases: Leases) -> Self {
        Self { inventory, leases, refused: None, told: BTreeMap::new() }
    }

    /// What there is to lease.
    pub fn inventory(&self) -> &'a Inventory {
        self.inventory
    }

    /// Leases what is wanted and free. Says whom the sweep waits for where it cannot go on, and what is
    /// wrong with the locks.
    pub fn acquire(&mut self, machine: &mut Machine) -> Vec<String> {
        let mut notices = Vec::new();
        if self.refused.is_some_and(|at| at.elapsed() < POLL) {
            return notices;
        }
        self.refused = None;
        if machine.is_idle() {
            let wanted = machine.wanted(Kind::Core) > 0;
            if let Some(core) = machine.occupancy().unleased(Kind::Core).first().filter(|_| wanted)
            {
                machine.set_memory(self.inventory.free_memory(*core));
            }
        }
        for kind in Kind::ALL {
            let holders = match self.acquire_kind(machine, kind) {
                Ok(None) => continue,
                Ok(Some(holders)) => holders,
                Err(error) => {
                    self.leases.give_up_locks();
                    notices.push(format!(
                        "cannot lease cores and GPUs any more: {error}; other sweeps may use the same ones"
                    ));
                    return notices;
                }
            };
            self.refused = Some(Instant::now());
            let missing = machine.missing(kind);
            if missing > 0 && self.told.get(&kind) != Some(&holders) {
                let needed = machine.occupancy().leased(kind) + missing;
                notices.push(waiting(kind, needed, &holders));
                self.told.insert(kind, holders);
            }
        }
        notices
    }

    /// Leases slots of one kind. Gives the processes that hold what could not be had, if any.
    fn acquire_kind(&mut self, machine: &mut Machine, kind: Kind) -> io::Result<Option<Vec<u32>>> {
        let wanted = machine.wanted(kind);
        if machine.occupancy().leased(kind) >= wanted {
            return Ok(None);
        }
        let mut holders = Vec::new();
        if let Taken::Theirs(holder) = self.leases.take_turn(kind)? {
            holders.extend(holder);
            return Ok(Some(holders));
        }
        for slot in machine.occupancy().unleased(kind) {
            match self.leases.take(slot, &self.inventory.lease_name(slot))? {
                Taken::Ours => {
                    let memory = match kind {
                        Kind::Core => 0,
                        Kind::Gpu => self.inventory.free_memory(slot),
                    };
                    machine.lease(slot, memory);
                    if machine.occupancy().leased(kind) >= wanted {
                        return Ok(None);
                    }
                }
                Taken::Theirs(holder) => holders.extend(holder),
            }
        }
        holders.sort_unstable();
        holders.dedup();
        Ok(Some(holders))
    }

    /// Gives back what nothing has use for. A sweep whose next group needs more than it has keeps what
    /// is idle only while it is its turn to take more.
    pub fn trim(&mut self, machine: &mut Machine) {
        for kind in Kind::ALL {
            let useless = match machine.missing(kind) {
                0 => {
                    self.leases.pass_turn(kind);
                    machine.occupancy().leased(kind).saturating_sub(machine.wanted(kind))
                }
                _ if self.leases.has_turn(kind) => 0,
                _ => usize::MAX,
            };
            for slot in machine.occupancy().idle(kind).into_iter().take(useless) {
                machine.give_back(slot);
                self.leases.give_back(slot);
            }
        }
    }
}

fn waiting(kind: Kind, needed: usize, holders: &[u32]) -> String {
    let noun = match kind {
        Kind::Core => "core",
        Kind::Gpu => "GPU",
    };
    let plural = if needed == 1 { "" } else { "s" };
    let who = match holders {
        [] => "another gridlane has".to_owned(),
        [one] => format!("another gridlane (process {one}) has"),
        several => {
            let several: Vec<String> = several.iter().map(u32::to_string).collect();
            format!("other gridlanes (processes {}) have", several.join(", "))
        }
    };
    format!("waiting for {needed} {noun}{plural}: {who} them; this sweep goes on as soon as it can")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dispatch::inventory::described;
    use crate::dispatch::machine::{Act, Verdict};
    use crate::dispatch::work::Work;
    use crate::plan::Group;
    use crate::spec::run_policy::RunPolicy;

    const NOW: Duration = Duration::ZERO;

    fn machine(inventory: &Inventory, gangs: &[u32]) -> Machine {
        let gangs: Vec<(Kind, u32)> = gangs.iter().map(|devices| (Kind::Core, *devices)).collect();
        machine_of(inventory, &gangs)
    }

    fn machine_of(inventory: &Inventory, gangs: &[(Kind, u32)]) -> Machine {
        let work = |(run, (kind, devices)): (usize, &(Kind, u32))| Work {
            group: Group {
                runs: vec![run],
                devices: *devices,
                memory: 0,
                exclusive: false,
                expected: None,
            },
            kind: *kind,
        };
        let works: Vec<Work> = gangs.iter().enumerate().map(work).collect();
        Machine::new(&works, &inventory.host(None, 1), RunPolicy::default(), false)
    }

    fn leasing<'a>(inventory: &'a Inventory, folder: &Path) -> Leasing<'a> {
        let (leases, problem) = Leases::open(folder);
        assert_eq!(problem, None);
        Leasing::new(inventory, leases)
    }

    /// One turn of the event loop: which groups start, and what a person is told.
    fn turn(leasing: &mut Leasing<'_>, machine: &mut Machine) -> (Vec<usize>, Vec<String>) {
        leasing.refused = None;
        let notices = leasing.acquire(machine);
        let acts = machine.tick(NOW);
        leasing.trim(machine);
        let group = |act: &Act| match act {
            Act::Start { group, .. } => Some(*group),
            _ => None,
        };
        (acts.iter().filter_map(group).collect(), notices)
    }

    #[test]
    fn a_second_sweep_waits_says_for_whom_and_goes_on_with_what_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let machine_file = described("cores = 2\nmemory_gib = 8");
        let (mut one, mut other) =
            (machine(&machine_file, &[1; 3]), machine(&machine_file, &[1; 2]));
        let mut leasing_one = leasing(&machine_file, folder.path());
        let mut leasing_other = leasing(&machine_file, folder.path());
        assert_eq!(turn(&mut leasing_one, &mut one), (vec![0, 1], vec![]));
        let (started, notices) = turn(&mut leasing_other, &mut other);
        let pid = std::process::id();
        let text = format!(
            "waiting for 1 core: another gridlane (process {pid}) has them; this sweep goes on as soon \
             as it can"
        );
        assert_eq!((started, notices), (vec![], vec![text]));
        assert_eq!(turn(&mut leasing_other, &mut other), (vec![], vec![]), "said once");
        // It has use for what becomes free.
        one.ended(NOW, 0, vec![Verdict::Result]);
        assert_eq!(turn(&mut leasing_one, &mut one), (vec![2], vec![]));
        assert_eq!(turn(&mut leasing_other, &mut other).0, [0_usize; 0]);
        // And none for this.
        one.ended(NOW, 1, vec![Verdict::Result]);
        assert_eq!(turn(&mut leasing_one, &mut one), (vec![], vec![]));
        assert_eq!(turn(&mut leasing_other, &mut other).0, [0]);
        assert_eq!(turn(&mut leasing_other, &mut other).0, [0_usize; 0]);
        one.ended(NOW, 2, vec![Verdict::Result]);
        turn(&mut leasing_one, &mut one);
        assert_eq!(turn(&mut leasing_other, &mut other).0, [1]);
    }

    #[test]
    fn one_who_waits_for_cores_of_one_and_gpus_of_another_is_told_of_both_once() {
        let folder = tempfile::tempdir().unwrap();
        let machine_file =
            described("cores = 1\nmemory_gib = 8\n[[gpu]]\nname = \"X\"\nmemory_gib = 1");
        let (mut others, _) = Leases::open(folder.path());
        for (slot, (name, holder)) in [("core-0", 7), ("gpu-described-0", 8)].iter().enumerate() {
            assert_eq!(others.take(slot, name).unwrap(), Taken::Ours);
            std::fs::write(folder.path().join(name), format!("{holder}\n")).unwrap();
        }
        let mut machine = machine_of(&machine_file, &[(Kind::Core, 1), (Kind::Gpu, 1)]);
        let mut leasing = leasing(&machine_file, folder.path());
        let (_, notices) = turn(&mut leasing, &mut machine);
        let told: Vec<&str> = notices.iter().filter_map(|told| told.split(" has").next()).collect();
        let expected =
            ["1 core: another gridlane (process 7)", "1 GPU: another gridlane (process 8)"];
        assert_eq!(told, expected.map(|who| format!("waiting for {who}")));
        assert_eq!(turn(&mut leasing, &mut machine), (vec![], vec![]), "said once");
    }

    #[test]
    fn a_lock_that_cannot_be_had_costs_a_notice_and_no_sweep() {
        let folder = tempfile::tempdir().unwrap();
        let machine_file = described("cores = 2\nmemory_gib = 8");
        let mut machine = machine(&machine_file, &[1; 2]);
        let mut leasing = leasing(&machine_file, folder.path());
        std::fs::create_dir(folder.path().join("core-1")).unwrap();
        let (started, notices) = turn(&mut leasing, &mut machine);
        assert_eq!(started, [0]);
        assert!(notices[0].starts_with("cannot lease cores and GPUs any more: "), "{notices:?}");
        assert_eq!(turn(&mut leasing, &mut machine), (vec![1], vec![]));
    }

    #[test]
    fn two_sweeps_that_wait_for_gangs_do_not_hold_half_of_the_machine_each() {
        let folder = tempfile::tempdir().unwrap();
        let machine_file = described("cores = 4\nmemory_gib = 8");
        let mut third = machine(&machine_file, &[1, 1]);
        let mut leasing_third = leasing(&machine_file, folder.path());
        assert_eq!(turn(&mut leasing_third, &mut third).0, [0, 1]);
        let (mut one, mut other) = (machine(&machine_file, &[4]), machine(&machine_file, &[3]));
        let mut leasing_one = leasing(&machine_file, folder.path());
        let mut leasing_other = leasing(&machine_file, folder.path());
        for _ in 0..3 {
            assert_eq!(turn(&mut leasing_one, &mut one).0, [0_usize; 0]);
            assert_eq!(turn(&mut leasing_other, &mut other).0, [0_usize; 0]);
        }
        assert_eq!(one.occupancy().leased(Kind::Core), 2, "it has the turn");
        assert_eq!(other.occupancy().leased(Kind::Core), 0);
        third.ended(NOW, 0, vec![Verdict::Result]);
        third.ended(NOW, 1, vec![Verdict::Result]);
        turn(&mut leasing_third, &mut third);
        assert_eq!(turn(&mut leasing_other, &mut other).0, [0_usize; 0], "it is not its turn");
        assert_eq!(turn(&mut leasing_one, &mut one).0, [0]);
        one.ended(NOW, 0, vec![Verdict::Result]);
        turn(&mut leasing_one, &mut one);
        assert_eq!(turn(&mut leasing_other, &mut other).0, [0]);
    }
}
