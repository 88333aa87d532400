//! How long runs are expected to take, and from what that is concluded.
//!
//! In this order: finished runs of the same configuration; the arithmetic of the run at the pace of the
//! finished runs of this sweep; at the pace of other sweeps beside it; at a pace that is assumed, which
//! is said. What a run takes beyond its arithmetic and its start is in the pace. A pace is that of runs
//! of one kind: on the same kind of device, and with or without convolutions.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde::de::IgnoredAny;

use super::build::{Plan, Run};
use super::requirement::{Requirement, Requirements};
use super::status::{Read, RunState, read};
use crate::ids::RunId;
use crate::record::{RunFolder, RunRecord, RunStatus};
use crate::spec::RunConfig;

/// Multiply-adds a second of a core, where nothing was measured; a rough figure
/// (`docs/design/placement.md` says of what).
const PACE_OF_A_CORE: f64 = 2e10;
/// The same of a network that is mostly convolutions: some are done with fewer multiplications than they
/// are counted with.
const PACE_OF_A_CORE_CONVOLVING: f64 = 5e10;
/// The same of a GPU, whatever it does.
const PACE_OF_A_GPU: f64 = 2e12;
/// Seconds to start a worker and load its data; a rough figure.
const START_S: f64 = 0.05;
/// Runs of other sweeps that took less say more about starting than about training.
const TELLING_S: f64 = 4.0 * START_S;
/// Least part of a run that is taken for training.
const LEAST_PART: f64 = 0.2;
/// Other sweeps that are looked into, the newest first.
const SWEEPS: usize = 4;
/// Run folders of each.
const FOLDERS: usize = 16;

/// What an expectation is concluded from, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Finished runs of the same configuration.
    SameConfiguration,
    /// Other runs of this sweep, and the arithmetic.
    ThisSweep,
    /// Runs of other sweeps, and the arithmetic.
    OtherSweeps,
    /// Nothing but the arithmetic.
    Assumption,
}

impl Basis {
    /// As JSON spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameConfiguration => "same_configuration",
            Self::ThisSweep => "this_sweep",
            Self::OtherSweeps => "other_sweeps",
            Self::Assumption => "assumption",
        }
    }
}

/// How long a run is expected to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Seconds from the start of its worker to its result.
    pub seconds: f64,
    /// From what that is concluded.
    pub basis: Basis,
}

/// What runs must have in common for the pace of one to say something of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    on_gpu: bool,
    convolutional: bool,
}

impl Kind {
    fn of(requirement: &Requirement, on_gpu: &dyn Fn(&Requirement) -> bool) -> Self {
        Self { on_gpu: on_gpu(requirement), convolutional: requirement.convolutional }
    }

    fn number(self) -> usize {
        2 * usize::from(self.on_gpu) + usize::from(self.convolutional)
    }

    /// The pace that is taken where none is known.
    fn assumed(self) -> f64 {
        match (self.on_gpu, self.convolutional) {
            (true, _) => PACE_OF_A_GPU,
            (false, true) => PACE_OF_A_CORE_CONVOLVING,
            (false, false) => PACE_OF_A_CORE,
        }
    }
}

/// Multiply-adds a second, for each kind of run.
#[derive(Debug, Clone, Copy, Default)]
struct Paces([Pace; 4]);

#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    multiply_adds: f64,
    seconds: f64,
}

impl Paces {
    /// Takes note of a run that took `wall_s` for so many epochs.
    fn note(&mut self, kind: Kind, requirement: &Requirement, epochs: u32, wall_s: f64) {
        let pace = &mut self.0[kind.number()];
        // One that was stopped early had a part of its arithmetic; one that is timed has no epochs.
        let part = match epochs {
            0 => 1.0,
            _ => f64::from(epochs) / f64::from(requirement.epochs.max(epochs)),
        };
        pace.multiply_adds += requirement.multiply_adds * part;
        let training_s = (wall_s - START_S).max(LEAST_PART * wall_s);
        pace.seconds += training_s * f64::from(requirement.devices);
    }

    /// That of runs of `kind`, if any were noted.
    fn get(&self, kind: Kind) -> Option<f64> {
        let Pace { multiply_adds, seconds } = self.0[kind.number()];
        let pace = multiply_adds / seconds;
        (pace > 0.0 && pace.is_finite()).then_some(pace)
    }
}

/// What is expected of the runs of a plan.
pub struct Expectations<'a> {
    requirements: &'a Requirements,
    on_gpu: &'a dyn Fn(&Requirement) -> bool,
    /// Sum and count of the seconds of a configuration's finished runs.
    same: HashMap<usize, (f64, u32)>,
    this_sweep: Paces,
    other_sweeps: Paces,
}

impl<'a> Expectations<'a> {
    /// Of `plan`, whose record is in the folder `sweeps` of all sweeps. `on_gpu` says where a run
    /// trains.
    pub fn new(
        plan: &Plan,
        requirements: &'a Requirements,
        sweeps: &Path,
        on_gpu: &'a dyn Fn(&Requirement) -> bool,
    ) -> Self {
        let mut same: HashMap<usize, (f64, u32)> = HashMap::new();
        let mut this_sweep = Paces::default();
        for finished in &plan.finished {
            let configuration = plan.runs[finished.run].configuration;
            let (sum, count) = same.entry(configuration).or_default();
            *sum += finished.wall_s;
            *count += 1;
            let requirement = requirements.get(configuration);
            let kind = Kind::of(requirement, on_gpu);
            this_sweep.note(kind, requirement, finished.epochs, finished.wall_s);
        }
        let known = |(_, requirement): (usize, &Requirement)| {
            this_sweep.get(Kind::of(requirement, on_gpu)).is_some()
        };
        let other_sweeps = match requirements.distinct().all(known) {
            true => Paces::default(),
            false => paces_of_others(sweeps, plan.name.as_str(), on_gpu),
        };
        Self { requirements, on_gpu, same, this_sweep, other_sweeps }
    }

    /// Of one run; of one that was begun, what is left of it.
    pub fn of(&self, run: &Run) -> Expected {
        let whole = self.whole(run.configuration);
        let left = match run.state {
            RunState::Partial { epochs_done } => {
                let epochs = self.requirements.get(run.configuration).epochs.max(1);
                1.0 - f64::from(epochs_done.min(epochs)) / f64::from(epochs)
            }
            _ => 1.0,
        };
        Expected { seconds: whole.seconds * left, ..whole }
    }

    /// Of any run of a configuration, from its start.
    pub fn whole(&self, configuration: usize) -> Expected {
        if let Some((sum, count)) = self.same.get(&configuration) {
            let seconds = sum / f64::from(*count);
            return Expected { seconds, basis: Basis::SameConfiguration };
        }
        let requirement = self.requirements.get(configuration);
        let kind = Kind::of(requirement, self.on_gpu);
        let (pace, basis) = match (self.this_sweep.get(kind), self.other_sweeps.get(kind)) {
            (Some(pace), _) => (pace, Basis::ThisSweep),
            (None, Some(pace)) => (pace, Basis::OtherSweeps),
            (None, None) => (kind.assumed(), Basis::Assumption),
        };
        let seconds = START_S + requirement.multiply_adds / pace / f64::from(requirement.devices);
        Expected { seconds, basis }
    }
}

/// The paces of a few finished runs of other sweeps. What cannot be read is passed over: it is a guess
/// that is improved, no more.
fn paces_of_others(sweeps: &Path, own: &str, on_gpu: &dyn Fn(&Requirement) -> bool) -> Paces {
    let mut paces = Paces::default();
    let entries = fs::read_dir(sweeps).into_iter().flatten().flatten();
    let mut folders: Vec<(SystemTime, std::path::PathBuf)> = entries
        .filter(|entry| entry.file_name() != own)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    folders.sort();
    for (_, sweep) in folders.into_iter().rev().take(SWEEPS) {
        let runs = fs::read_dir(sweep).into_iter().flatten().flatten();
        let runs = runs.filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.parse::<RunId>().is_ok())
        });
        for run in runs.take(FOLDERS) {
            let Some((requirement, epochs, wall_s)) = finished(&RunFolder::at(&run.path())) else {
                continue;
            };
            if wall_s >= TELLING_S {
                paces.note(Kind::of(&requirement, on_gpu), &requirement, epochs, wall_s);
            }
        }
    }
    paces
}

/// The time of a finished run.
#[derive(serde::Deserialize)]
struct Timing {
    status: RunStatus,
    #[serde(default)]
    wall_s: Option<f64>,
    /// Counted and not read.
    #[serde(default)]
    epochs: Vec<IgnoredAny>,
}

/// What a finished run took: by its configuration, in epochs and in seconds.
fn finished(folder: &RunFolder) -> Option<(Requirement, u32, f64)> {
    let Ok(Read::Good(Timing { status: RunStatus::Finished, wall_s: Some(wall_s), epochs })) =
        read(&folder.result())
    else {
        return None;
    };
    let Ok(Read::Good(record)) = read::<RunRecord>(&folder.run()) else { return None };
    let config = serde_json::Value::Object(record.config.into_iter().collect());
    let config = RunConfig::from_canonical(&config).ok()?;
    let epochs = u32::try_from(epochs.len()).unwrap_or(u32::MAX);
    Some((Requirement::of(&config).ok()?, epochs, wall_s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample::{finish, grid, planned, result, start_all};
    use crate::record::SweepFolder;
    use crate::spec::SweepSpec;

    fn expected(spec: &SweepSpec, sweeps: &Path) -> Vec<(f64, Basis)> {
        let plan = planned(spec, Some(&SweepFolder::new(sweeps, &spec.name)));
        let requirements = Requirements::of(&plan.points).unwrap();
        let expectations = Expectations::new(&plan, &requirements, sweeps, &|_| false);
        let of = |run: &Run| {
            let Expected { seconds, basis } = expectations.of(run);
            ((seconds * 1e3).round() / 1e3, basis)
        };
        plan.runs.iter().map(of).collect()
    }

    fn named(name: &str, mut spec: SweepSpec) -> SweepSpec {
        spec.name = crate::ids::SweepName::new(name).unwrap();
        spec
    }

    #[test]
    fn the_surest_of_what_is_known_is_taken() {
        let temporary = tempfile::tempdir().unwrap();
        let sweeps = temporary.path();
        let spec = named("own", grid(&["epochs=100 200", "lr=0.1 0.01"]));
        let before = expected(&spec, sweeps);
        assert!(before.iter().all(|(_, basis)| *basis == Basis::Assumption), "{before:?}");

        let other = named("other", grid(&["epochs=50"]));
        let folder = SweepFolder::new(sweeps, &other.name);
        start_all(&other, &folder);
        finish(&folder, &result(planned(&other, None).runs[0].id, RunStatus::Finished, 0.1));
        assert_eq!(expected(&spec, sweeps), before, "that was little more than a start");
        finish(&folder, &result(planned(&other, None).runs[0].id, RunStatus::Finished, 5.0));
        let found = expected(&spec, sweeps);
        assert!(found.iter().all(|(_, basis)| *basis == Basis::OtherSweeps), "{found:?}");
        assert!((found[0].0 - 10.0).abs() < 0.1 && (found[2].0 - 20.0).abs() < 0.2, "{found:?}");

        let folder = SweepFolder::new(sweeps, &spec.name);
        let mut seeds = spec.clone();
        seeds.seeds = vec![0, 1];
        finish(&folder, &result(planned(&spec, None).runs[1].id, RunStatus::Finished, 30.0));
        let found = expected(&seeds, sweeps);
        let bases: Vec<Basis> = found.iter().map(|(_, basis)| *basis).collect();
        use Basis::{SameConfiguration as Same, ThisSweep as This};
        assert_eq!(bases, [This, Same, This, This, This, Same, This, This]);
        assert_eq!((found[0].0, found[5].0), (30.0, 30.0));
        assert!((found[2].0 - 60.0).abs() < 0.3, "{found:?}");
    }

    #[test]
    fn the_pace_of_linear_layers_says_nothing_of_convolutions() {
        let temporary = tempfile::tempdir().unwrap();
        let sweeps = temporary.path();
        let spec = named("own", grid(&["model=\"alexnet32\" \"mlp\""]));
        let before = expected(&spec, sweeps);
        let other = named("other", grid(&["epochs=50"]));
        let folder = SweepFolder::new(sweeps, &other.name);
        start_all(&other, &folder);
        finish(&folder, &result(planned(&other, None).runs[0].id, RunStatus::Finished, 500.0));
        let [network, perceptron] = expected(&spec, sweeps)[..] else { panic!("two runs") };
        assert_eq!(network, before[0], "and is called an assumption still");
        assert_eq!(network.1, Basis::Assumption);
        assert_eq!(perceptron.1, Basis::OtherSweeps);

        let folder = SweepFolder::new(sweeps, &spec.name);
        finish(&folder, &result(planned(&spec, None).runs[0].id, RunStatus::Finished, 80.0));
        let bases: Vec<Basis> = expected(&spec, sweeps).iter().map(|(_, basis)| *basis).collect();
        assert_eq!(bases, [Basis::SameConfiguration, Basis::OtherSweeps]);
    }

    #[test]
    fn a_run_that_was_stopped_early_says_what_its_epochs_took() {
        let temporary = tempfile::tempdir().unwrap();
        let spec = grid(&["epochs=8", "lr=0.1 0.01"]);
        let folder = SweepFolder::new(temporary.path(), &spec.name);
        let early = result(planned(&spec, None).runs[0].id, RunStatus::Finished, 30.0);
        finish(&folder, &early);
        let mut with_epochs = serde_json::to_value(&early).unwrap();
        let epoch = |epoch: u32| {
            serde_json::json!({
                "epoch": epoch, "step": epoch, "lr": 0.1, "train_loss": 1.0, "train_accuracy": 0.5,
                "val_loss": 1.0, "val_accuracy": 0.5, "train_s": 14.0, "eval_s": 1.0,
                "elapsed_s": 15.0 * f64::from(epoch),
            })
        };
        with_epochs["epochs"] = serde_json::json!([epoch(1), epoch(2)]);
        fs::write(folder.run(early.run_id).result(), with_epochs.to_string()).unwrap();
        let found = expected(&spec, temporary.path());
        assert_eq!(found[0], (30.0, Basis::SameConfiguration));
        assert!((found[1].0 - 120.0).abs() < 1.0, "two of eight epochs: {found:?}");
    }

    #[test]
    fn of_a_run_that_was_begun_the_rest_is_expected() {
        let temporary = tempfile::tempdir().unwrap();
        let spec = grid(&["epochs=100"]);
        let plan = planned(&spec, None);
        let requirements = Requirements::of(&plan.points).unwrap();
        let expectations = Expectations::new(&plan, &requirements, temporary.path(), &|_| false);
        let mut run = plan.runs[0].clone();
        let whole = expectations.of(&run).seconds;
        run.state = RunState::Partial { epochs_done: 75 };
        assert!((expectations.of(&run).seconds - whole / 4.0).abs() < 1e-9);
    }
}
