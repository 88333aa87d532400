//! Whether executing a plan stays within what it may cost.
//!
//! What a sweep leaves on disk is nearly all checkpoints, and the last one of every run stays: it holds
//! the weights that the run came to.

use std::fmt;
use std::time::Duration;

use super::build::Plan;
use super::forecast::Forecast;
use super::requirement::Requirements;
use crate::spec::budget::Budget;
use crate::spec::run_policy::CheckpointPolicy;
use crate::units::{show_bytes, show_duration};

/// Bytes of a run's record beside its checkpoints: a few small files, each of which takes a block or
/// two.
const RECORD: u64 = 32 << 10;

/// Room on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRoom {
    /// What the runs to execute will take.
    pub needed: u64,
    /// What is free there, where the file system tells.
    pub free: Option<u64>,
}

impl DiskRoom {
    /// What is too much of it, if anything.
    pub fn excess(self, budget: &Budget) -> Option<Excess> {
        let Self { needed, free } = self;
        if let Some(allowed) = budget.disk.filter(|allowed| *allowed < needed) {
            return Some(Excess::Disk { needed, allowed });
        }
        free.filter(|free| *free < needed).map(|free| Excess::Full { needed, free })
    }
}

/// Bytes that the runs to execute leave on disk, and at most have there meanwhile: `at_once` of them
/// write a checkpoint before they drop the one it takes the place of.
pub fn disk_needed(
    plan: &Plan,
    requirements: &Requirements,
    policy: CheckpointPolicy,
    at_once: usize,
) -> u64 {
    let left = plan.runs.iter().filter(|run| run.state.is_left());
    let (mut needed, mut largest, mut count) = (0_u64, 0, 0);
    for run in left {
        count += 1;
        let requirement = requirements.get(run.configuration);
        let written = requirement.epochs.div_ceil(policy.every_epochs.max(1));
        let kept = u64::from(policy.keep.min(written));
        let checkpoints = requirement.checkpoint.saturating_mul(kept);
        needed = needed.saturating_add(checkpoints).saturating_add(RECORD);
        largest = requirement.checkpoint.max(largest);
    }
    needed.saturating_add(largest.saturating_mul(at_once.min(count) as u64))
}

/// What a plan would take more of than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Time.
    #[error(
        "the sweep would take {} {}, and [budget] allows {}",
        if *.is_measured { "about" } else { "roughly" }, show_duration(*.forecast), show_duration(*.allowed)
    )]
    Wall {
        /// What it would take.
        forecast: Duration,
        /// What it may take.
        allowed: Duration,
        /// Is the forecast more than a guess?
        is_measured: bool,
    },
    /// Room.
    #[error(
        "the runs would take about {} on disk, and [budget] allows {}", show_bytes(*.needed), show_bytes(*.allowed)
    )]
    Disk {
        /// What they would take.
        needed: u64,
        /// What they may take.
        allowed: u64,
    },
    /// More room than there is.
    #[error("the runs would take about {} on disk, where {} are free", show_bytes(*.needed), show_bytes(*.free))]
    Full {
        /// What they would take.
        needed: u64,
        /// What there is.
        free: u64,
    },
}

impl Excess {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Wall { forecast, .. } => format!(
                "`gridlane plan` says what it is made of: take fewer values, seeds or epochs, or allow it with \
                 budget.wall={}h on the command line",
                forecast.as_nanos().div_ceil(Duration::from_secs(3600).as_nanos())
            ),
            Self::Disk { needed, .. } => format!(
                "nearly all that is on disk is the last checkpoint of every run, which holds its weights: take fewer \
                 runs, or allow it with budget.disk={}GiB on the command line",
                needed.div_ceil(1 << 30)
            ),
            Self::Full { .. } => {
                "nearly all that is on disk is the last checkpoint of every run, which holds its weights: \
                                  make room, or put the record where there is some with --runs DIR"
                    .to_owned()
            }
        }
    }
}

/// All that a plan would take more of than it may: something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excesses(Vec<Excess>);

impl Excesses {
    /// All of these, if there are any.
    pub fn of(found: impl IntoIterator<Item = Excess>) -> Option<Self> {
        let found: Vec<Excess> = found.into_iter().collect();
        (!found.is_empty()).then_some(Self(found))
    }

    /// What to do about them.
    pub fn help(&self) -> String {
        self.0.iter().map(Excess::help).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Excesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(Excess::to_string).collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for Excesses {}

impl Forecast {
    /// What executing it would take too much of, if anything, on so many machines at once.
    pub fn excess(&self, budget: &Budget, machines: u32) -> Option<Excesses> {
        let forecast = self.total / machines.max(1);
        let wall = budget.wall.filter(|allowed| *allowed < forecast).map(|allowed| Excess::Wall {
            forecast,
            allowed,
            is_measured: self.is_measured(),
        });
        Excesses::of(wall.into_iter().chain(self.room.excess(budget)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::expected::Basis;
    use crate::plan::sample::{finish, grid, planned, result, start_all};
    use crate::record::{RunStatus, SweepFolder};
    use crate::spec::architecture::Architecture;

    fn needed(spec: &crate::spec::SweepSpec, policy: (u32, u32), at_once: usize) -> u64 {
        let plan = planned(spec, None);
        let requirements = Requirements::of(&plan.points).unwrap();
        let policy = CheckpointPolicy { every_epochs: policy.0, keep: policy.1 };
        disk_needed(&plan, &requirements, policy, at_once)
    }

    #[test]
    fn the_last_checkpoints_of_all_runs_stay_and_those_under_way_have_one_more() {
        let spec = grid(&["optimizer=\"sgd\" \"adam\"", "lr=0.1 0.01", "epochs=3"]);
        let plan = planned(&spec, None);
        let weights = Architecture::of(&plan.points.config(0)).unwrap().parameter_count() * 4;
        let (sgd, adam) = (weights, 3 * weights);
        let runs = 2 * sgd + 2 * adam + 4 * RECORD;
        assert_eq!(needed(&spec, (1, 1), 0), runs);
        assert_eq!(needed(&spec, (1, 1), 2), runs + 2 * adam);
        assert_eq!(needed(&spec, (1, 1), 100_000), runs + 4 * adam, "four runs, four at once");
        assert_eq!(needed(&spec, (1, 9), 0), 3 * (2 * sgd + 2 * adam) + 4 * RECORD, "3 epochs");
        assert_eq!(needed(&spec, (2, 9), 0), 2 * (2 * sgd + 2 * adam) + 4 * RECORD);
        let timed = grid(&["mode=\"throughput\"", "lr=0.1 0.01"]);
        assert_eq!(needed(&timed, (1, 1), 2), 2 * RECORD, "such runs write no checkpoint");
    }

    #[test]
    fn what_is_done_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let spec = grid(&["lr=0.1 0.01"]);
        let folder = SweepFolder::new(folder.path(), &spec.name);
        start_all(&spec, &folder);
        let one = planned(&spec, Some(&folder)).runs[0].id;
        finish(&folder, &result(one, RunStatus::Finished, 1.0));
        let plan = planned(&spec, Some(&folder));
        let requirements = Requirements::of(&plan.points).unwrap();
        let left = disk_needed(&plan, &requirements, CheckpointPolicy::default(), 0);
        assert_eq!(left * 2, needed(&spec, (1, 1), 0));
    }

    #[test]
    fn a_forecast_is_held_against_the_budget_and_the_disk() {
        let forecast = Forecast {
            slots: String::new(),
            at_once: 2,
            runs: 4,
            groups: 4,
            total: Duration::from_secs(36_000),
            longest: Duration::ZERO,
            bases: BTreeMap::from([(Basis::Assumption, 4)]),
            finished: 0,
            expected_s: BTreeMap::new(),
            room: DiskRoom { needed: 3 << 30, free: Some(2 << 30) },
        };
        let told = |budget: Budget, machines| {
            let excess = forecast.excess(&budget, machines);
            excess.map_or("within".to_owned(), |excess| format!("{excess}; {}", excess.help()))
        };
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let told = [
            told(Budget { wall: hours(8), disk: None }, 1),
            told(Budget { wall: hours(8), disk: Some(1 << 30) }, 2),
            told(Budget { wall: hours(10), disk: Some(4 << 30) }, 1),
            told(Budget { wall: hours(8), disk: Some(1 << 30) }, 1),
        ];
        insta::assert_snapshot!(told.join("\n"));
        let second = Forecast { total: Duration::from_millis(3_600_400), ..forecast.clone() };
        let help = second.excess(&Budget { wall: hours(1), disk: None }, 1).unwrap().help();
        assert!(help.contains("budget.wall=2h"), "what it advises is enough: {help}");
        let roomy = Forecast { room: DiskRoom { free: None, ..forecast.room }, ..forecast };
        assert_eq!(roomy.excess(&Budget::default(), 1), None);
    }
}
