//! What is left of a sweep: the runs to execute, in groups, and what they will come to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::CliError;
use super::session::Session;
use crate::dispatch::occupancy::Kind;
use crate::dispatch::outlook::makespan;
use crate::dispatch::work::Work;
use crate::plan::lanes::fuse;
use crate::plan::{
    Basis, DiskRoom, Excesses, Expectations, Forecast, Group, MeasuredMemory, Requirement,
    disk_needed,
};
use crate::record::disk;

/// Runs without a result, in the order of the plan.
pub struct Works {
    /// Each with what it needs.
    pub list: Vec<Work>,
    bases: BTreeMap<Basis, usize>,
    expected_s: BTreeMap<usize, f64>,
}

/// What each run of `works` is expected to keep slots busy for, in seconds of one slot, where so many runs
/// go on at once: a run on two devices takes as much as two runs, one whose steps are timed takes them all.
/// Runs that are trained together share it.
pub fn slot_seconds(works: &[Work], at_once: usize) -> BTreeMap<usize, f64> {
    let of = |work: &Work| {
        let Group { runs, devices, exclusive, expected, .. } = &work.group;
        let seconds = expected.map(|expected| expected.as_secs_f64() / runs.len() as f64);
        let seconds = seconds.map(|seconds| seconds * slots(*devices, *exclusive, at_once));
        seconds.map(|seconds| runs.iter().map(move |run| (*run, seconds)).collect::<Vec<_>>())
    };
    works.iter().filter_map(of).flatten().collect()
}

/// Slots that a run keeps from others, of so many.
pub fn slots(devices: u32, exclusive: bool, at_once: usize) -> f64 {
    match exclusive {
        true => at_once.max(1) as f64,
        false => (devices.max(1) as usize).min(at_once.max(1)) as f64,
    }
}

impl Session {
    /// Runs without a result, each with what it needs.
    pub fn works(&self) -> Works {
        let Self { plan, placing, .. } = self;
        let on_gpu = |requirement: &Requirement| placing.kind(requirement) == Kind::Gpu;
        let expectations = Expectations::new(plan, &placing.requirements, &self.sweeps, &on_gpu);
        let measured = MeasuredMemory::of(plan);
        let mut works =
            Works { list: Vec::new(), bases: BTreeMap::new(), expected_s: BTreeMap::new() };
        let mut singles: BTreeMap<Kind, Vec<Group>> = BTreeMap::new();
        let missing = plan.runs.iter().enumerate().filter(|(_, run)| run.state.is_left());
        for (place, run) in missing {
            let expected = expectations.of(run);
            *works.bases.entry(expected.basis).or_default() += 1;
            works.expected_s.insert(place, expected.seconds);
            let requirement = placing.requirements.get(run.configuration);
            let kind = placing.kind(requirement);
            let (on_gpu, forecast) = match kind {
                Kind::Core => (false, requirement.memory),
                Kind::Gpu => (true, requirement.gpu_memory),
            };
            let known = measured.get(run.configuration, requirement, on_gpu);
            let group = Group {
                runs: vec![place],
                devices: requirement.devices,
                memory: known.unwrap_or(forecast),
                exclusive: requirement.exclusive,
                expected: Duration::try_from_secs_f64(expected.seconds).ok(),
            };
            if requirement.exclusive {
                works.list.push(Work { group, kind });
            } else {
                singles.entry(kind).or_default().push(group);
            }
        }
        for (kind, singles) in singles {
            let groups = fuse(plan, singles, self.lanes, placing.hardware(kind));
            works.list.extend(groups.into_iter().map(|group| Work { group, kind }));
        }
        works.list.sort_by_key(|work| work.group.runs[0]);
        works
    }

    /// What they will come to on a machine that is free.
    pub fn forecast(&self) -> Forecast {
        let Self { plan, placing, .. } = self;
        let Works { list, bases, expected_s } = self.works();
        let longest = list.iter().filter_map(|work| work.group.expected).max();
        let used = |kind: &Kind| list.iter().any(|work| work.kind == *kind);
        let used = [Kind::Gpu, Kind::Core].into_iter().filter(used);
        let slots: Vec<String> = used.map(|kind| placing.inventory.slots_in_words(kind)).collect();
        Forecast {
            slots: slots.join(", "),
            // Devices for which there is no run stay empty.
            at_once: placing.at_once().min(expected_s.len().max(1)),
            runs: expected_s.len(),
            groups: list.len(),
            total: makespan(&list, &placing.host, &self.spec.run),
            longest: longest.unwrap_or_default(),
            bases,
            finished: plan.finished.len(),
            expected_s,
            room: self.room(),
        }
    }

    /// What they will take on disk, and what is free there.
    fn room(&self) -> DiskRoom {
        let Self { plan, placing, spec, .. } = self;
        let at_once = placing.at_once();
        DiskRoom {
            needed: disk_needed(plan, &placing.requirements, spec.run.checkpoint, at_once),
            free: disk::free(self.folder.path()),
        }
    }

    /// Refuses what cannot start, or would cost more than it may; `machines` share the work.
    ///
    /// # Errors
    /// When runs would be sent to GPUs that are not there, or the forecast exceeds the budget or the
    /// disk.
    pub fn refuse_what_cannot_be_done(&self, machines: u32) -> Result<(), CliError> {
        self.placing.refuse_what_cannot_start()?;
        let budget = &self.spec.budget;
        // How long it will take is worked out for whoever wants to know.
        let excess = match budget.wall {
            Some(_) => self.forecast().excess(budget, machines),
            None => Excesses::of(self.room().excess(budget)),
        };
        excess.map_or(Ok(()), |excess| Err(excess.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_weighs_the_slots_that_it_keeps_from_others() {
        let work = |runs: &[usize], devices, exclusive, seconds| Work {
            group: Group {
                runs: runs.to_vec(),
                devices,
                memory: 0,
                exclusive,
                expected: Some(Duration::from_secs(seconds)),
            },
            kind: Kind::Core,
        };
        let works = [
            work(&[0], 1, false, 10),
            work(&[1], 2, false, 10),
            work(&[2], 8, false, 10),
            work(&[3], 1, true, 10),
            work(&[4, 5], 1, false, 10),
        ];
        let expected = [10.0, 20.0, 40.0, 40.0, 5.0, 5.0];
        assert_eq!(slot_seconds(&works, 4), expected.into_iter().enumerate().collect());
    }
}
