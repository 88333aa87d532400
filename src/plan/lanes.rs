//! Which runs are trained together as lanes of one network.
//!
//! In: groups of one run each, in the order in which they are to be executed. Out: groups of several,
//! each standing where the first of its runs stood.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use super::group::Group;
use super::points::Points;
use super::status::RunState;
use super::{Plan, Run};
use crate::spec::RunConfig;
use crate::spec::architecture::{Architecture, Memory};
use crate::spec::lanes::{DECIDING, difference};

/// The most runs that one group may have: a network of more gains nothing anywhere.
pub const MOST_LANES: u32 = 64;

/// Multiply-adds of one training step that keep a GPU busy. Below it the device waits for launches,
/// and more lanes cost next to nothing. Not measured here but derived from published figures
/// (`docs/design/lanes.md`).
const BUSY: f64 = 5e10;

/// How many runs are trained together as lanes of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lanes {
    /// As many as pay on the device: several small networks on a GPU, one everywhere else.
    #[default]
    Auto,
    /// Every run alone.
    Off,
    /// Up to so many, wherever they run.
    UpTo(u32),
}

impl FromStr for Lanes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => match text.parse() {
                Ok(count @ 1..=MOST_LANES) => Ok(Self::UpTo(count)),
                _ => Err(format!("expected `auto`, `off` or a number from 1 to {MOST_LANES}")),
            },
        }
    }
}

/// As the command line has it.
impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Off => f.pad("off"),
            Self::UpTo(count) => count.fmt(f),
        }
    }
}

/// What groups are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// Memory that a group may fill on each of its GPUs, in bytes; `None` where runs train on cores.
    pub gpu_memory: Option<u64>,
    /// How many groups of one device can go on at once.
    pub slots: usize,
}

/// Puts runs together that may be lanes of one network, up to as many as `lanes` allows. `singles`
/// are groups of one run; those that go on from a checkpoint are put with others that have come as
/// far.
pub fn fuse(plan: &Plan, singles: Vec<Group>, lanes: Lanes, hardware: Hardware) -> Vec<Group> {
    if lanes == Lanes::Off || (lanes == Lanes::Auto && hardware.gpu_memory.is_none()) {
        return singles;
    }
    let classes = Classes::of(&plan.points);
    let mut members: BTreeMap<(u32, u32), Vec<(usize, Group)>> = BTreeMap::new();
    for (place, single) in singles.into_iter().enumerate() {
        let run = &plan.runs[single.runs[0]];
        let kind = (classes.of_point[run.configuration], epochs_done(run));
        members.entry(kind).or_default().push((place, single));
    }
    let mut groups = Vec::new();
    for (_, members) in members {
        let first = plan.config(&plan.runs[members[0].1.runs[0]]);
        let most = most_lanes(&first, lanes, members.len().div_ceil(hardware.slots.max(1)));
        groups.extend(packed(plan, members, most, hardware.gpu_memory));
    }
    groups.sort_by_key(|(place, _)| *place);
    groups.into_iter().map(|(_, group)| group).collect()
}

fn epochs_done(run: &Run) -> u32 {
    match run.state {
        RunState::Partial { epochs_done } => epochs_done,
        RunState::New | RunState::Done | RunState::Failed { .. } | RunState::Skipped { .. } => 0,
    }
}

/// How many lanes a network like that of `config` is given, where `fair` would keep every slot busy.
fn most_lanes(config: &RunConfig, lanes: Lanes, fair: usize) -> usize {
    match lanes {
        Lanes::Off => 1,
        Lanes::UpTo(count) => count as usize,
        Lanes::Auto => {
            let step = Architecture::of(config).map_or(f64::INFINITY, |architecture| {
                architecture.training_multiply_adds() as f64 * f64::from(config.batch_size)
            });
            let busy = (BUSY / step).round().clamp(1.0, f64::from(MOST_LANES)) as usize;
            busy.min(fair.max(1))
        }
    }
}

/// Fills groups of up to `most` runs in order, as far as they fit in `memory`.
fn packed(
    plan: &Plan,
    members: Vec<(usize, Group)>,
    most: usize,
    memory: Option<u64>,
) -> Vec<(usize, Group)> {
    let mut groups: Vec<(usize, Group)> = Vec::new();
    // What the lanes of the last group need, each alone.
    let mut needs: Vec<Memory> = Vec::new();
    let mut known: HashMap<usize, Memory> = HashMap::new();
    for (place, single) in members {
        let configuration = plan.runs[single.runs[0]].configuration;
        let need = *known
            .entry(configuration)
            .or_insert_with(|| need_of(&plan.points.config(configuration), memory.is_some()));
        needs.push(need);
        let together = Memory::of_group(needs.iter().copied());
        let fits = memory.is_none_or(|memory| together <= memory);
        match groups.last_mut() {
            Some((_, group)) if group.runs.len() < most && fits => {
                group.runs.extend(single.runs);
                group.memory = together.max(group.memory);
                group.expected = group.expected.zip(single.expected).map(|(a, b)| a + b);
            }
            _ => {
                needs = vec![need];
                groups.push((place, single));
            }
        }
    }
    groups
}

/// What a run needs; nothing is known of a network that does not fit together, which a plan rules
/// out.
fn need_of(config: &RunConfig, on_gpu: bool) -> Memory {
    let need = |network: Architecture| match on_gpu {
        true => network.memory_on_gpu(config),
        false => network.memory(config),
    };
    Architecture::of(config).map(need).unwrap_or_default()
}

/// Configurations that may be lanes of one network have the same class.
struct Classes {
    of_point: Vec<u32>,
}

impl Classes {
    /// Compares one configuration of every combination of the deciding keys' values with one of every
    /// class: a grid of a million points has few of either.
    fn of(points: &Points) -> Self {
        let deciding = |column: &usize| DECIDING.contains(&points.columns[*column].key);
        let columns: Vec<usize> = (0..points.columns.len()).filter(deciding).collect();
        let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut firsts: Vec<RunConfig> = Vec::new();
        let mut of_point = Vec::with_capacity(points.len());
        for (point, row) in points.matrix.rows().enumerate() {
            let values: Vec<u32> = columns.iter().map(|column| row[*column]).collect();
            let number = *numbers.entry(values).or_insert_with(|| {
                let config = points.config(point);
                let known = firsts.iter().position(|first| difference(first, &config).is_none());
                known.unwrap_or_else(|| {
                    firsts.push(config);
                    firsts.len() - 1
                }) as u32
            });
            of_point.push(number);
        }
        Self { of_point }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample::{grid, planned};
    use std::time::Duration;

    const CORES: Hardware = Hardware { gpu_memory: None, slots: 2 };

    fn singles(plan: &Plan) -> Vec<Group> {
        let single = |run: usize| Group {
            runs: vec![run],
            devices: 1,
            memory: need_of(&plan.config(&plan.runs[run]), false).total(),
            exclusive: false,
            expected: Some(Duration::from_secs(1)),
        };
        (0..plan.runs.len()).map(single).collect()
    }

    fn fused(plan: &Plan, lanes: Lanes, hardware: Hardware) -> Vec<Vec<usize>> {
        let groups = fuse(plan, singles(plan), lanes, hardware);
        groups.into_iter().map(|group| group.runs).collect()
    }

    #[test]
    fn runs_that_share_their_shapes_are_put_together_in_the_order_of_the_plan() {
        let mut spec = grid(&["lr=0.1 0.01 0.001", "width=1 0.5"]);
        spec.seeds = vec![0, 1];
        let plan = planned(&spec, None);
        let expected = [vec![0, 2, 4, 6], vec![1, 3, 5, 7], vec![8, 10], vec![9, 11]];
        assert_eq!(fused(&plan, Lanes::UpTo(4), CORES), expected);
        let alone: Vec<Vec<usize>> = (0..12).map(|run| vec![run]).collect();
        assert_eq!(fused(&plan, Lanes::Off, CORES), alone);
        assert_eq!(fused(&plan, Lanes::UpTo(1), CORES), alone);
        assert_eq!(fused(&plan, Lanes::Auto, CORES), alone, "on cores lanes gain nothing");
        let groups = fuse(&plan, singles(&plan), Lanes::UpTo(4), CORES);
        assert_eq!(groups[0].expected, Some(Duration::from_secs(4)));
        let alone = need_of(&plan.config(&plan.runs[0]), false);
        assert_eq!(groups[0].memory, alone.shared + 4 * (alone.total() - alone.shared));
    }

    #[test]
    fn a_gpu_is_given_as_many_lanes_as_fill_it_but_no_device_is_left_idle() {
        let lrs = (1..=40).map(|n| format!("0.{n:03}")).collect::<Vec<_>>().join(" ");
        let plan = planned(&grid(&[&format!("lr={lrs}")]), None);
        let sizes = |memory: u64, slots: usize| -> Vec<usize> {
            let hardware = Hardware { gpu_memory: Some(memory), slots };
            fused(&plan, Lanes::Auto, hardware).iter().map(Vec::len).collect()
        };
        let plenty = 80 << 30;
        assert_eq!(sizes(plenty, 1), [40]);
        assert_eq!(sizes(plenty, 4), [10; 4]);
        let need = need_of(&plan.config(&plan.runs[0]), true);
        let own = need.total() - need.shared;
        assert_eq!(sizes(need.shared + 15 * own + own / 2, 1), [15, 15, 10], "what memory holds");
        // A network that fills the device by itself.
        let spec = grid(&["model=\"alexnet\"", "dataset=\"cifar10\"", "lr=0.1 0.01 0.001 0.0001"]);
        let plan = planned(&spec, None);
        let hardware = Hardware { gpu_memory: Some(plenty), slots: 1 };
        assert_eq!(fused(&plan, Lanes::Auto, hardware), [[0], [1], [2], [3]]);
    }

    #[test]
    fn runs_that_have_come_as_far_go_on_together() {
        let mut plan = planned(&grid(&["lr=0.1 0.01 0.001 0.0001 0.00001"]), None);
        for (run, epochs_done) in [(0, 2), (1, 0), (3, 2)] {
            plan.runs[run].state = RunState::Partial { epochs_done };
        }
        assert_eq!(fused(&plan, Lanes::UpTo(8), CORES), [vec![0, 3], vec![1, 2, 4]]);
    }

    #[test]
    fn only_what_means_something_is_read() {
        let read = |text: &str| text.parse::<Lanes>();
        assert_eq!(read("auto"), Ok(Lanes::Auto));
        assert_eq!(read("off"), Ok(Lanes::Off));
        assert_eq!(read("8"), Ok(Lanes::UpTo(8)));
        for bad in ["0", "65", "-1", "on", ""] {
            assert_eq!(read(bad).unwrap_err(), "expected `auto`, `off` or a number from 1 to 64");
        }
    }
}
