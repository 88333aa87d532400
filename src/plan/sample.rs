//! Sweep files for this folder's tests, put together without a reader.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::Plan;
use crate::ids::{RunId, SweepName};
use crate::record::{RunResult, RunStatus, SweepFolder};
use crate::spec::budget::Budget;
use crate::spec::condition::{Condition, Named, Test};
use crate::spec::dataset::Dataset;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::metric::{Goal, Metric, MetricName};
use crate::spec::node::{Node, Span};
use crate::spec::run_policy::RunPolicy;
use crate::spec::slurm::SlurmSection;
use crate::spec::sweep::{Axis, Choice, Exclude, Include, When, Zip};
use crate::spec::{Key, RunConfig, Setting, SweepSpec};

/// A setting from `key=json`.
pub(crate) fn setting(text: &str) -> Setting {
    let (key, value) = text.split_once('=').unwrap();
    let node = Node::from_json(&serde_json::from_str(value).unwrap());
    let key = Key::from_name(key).unwrap_or_else(|| panic!("no key {key}"));
    key.read(&node, &mut Diagnostics::new()).unwrap_or_else(|| panic!("bad value {text}"))
}

/// The configuration with another value of a key than the default.
pub(crate) fn changed(config: &RunConfig, key: Key) -> RunConfig {
    let others = json!({
        "dataset": "mnist", "validation_fraction": 0.2, "train_fraction": 0.5, "model": "alexnet32", "width": 0.5,
        "activation": "tanh", "batch_norm": true, "dropout": 0.5, "init": "kaiming_normal",
        "augmentation": "basic", "evaluation": { "kind": "ten_crop", "padding": 2 },
        "optimizer": "adam", "lr": 0.1, "schedule": "cosine",
        "warmup_epochs": 0.5, "weight_decay": 0.1, "weight_decay_on": "weights",
        "clip_norm": 1.0, "label_smoothing": 0.1, "batch_size": 64, "epochs": 5, "devices": 2,
        "sync_batch_norm": true, "lr_scaling": "linear", "device": "cpu", "precision": "bf16", "mode": "throughput", "early_stopping": "validation",
        "measure": ["drift"], "seed": 1,
    });
    let other = others.get(key.name()).unwrap_or_else(|| panic!("give {key} a value above"));
    let mut config = config.clone();
    config.set(&setting(&format!("{key}={other}")));
    config
}

/// Pairs of configurations that differ in one key, around the defaults and around configurations where
/// little is at its default.
pub(crate) fn neighbours() -> Vec<(Key, [RunConfig; 2])> {
    let base = RunConfig::default();
    let all = Key::ALL.iter().copied().fold(base.clone(), |config, key| changed(&config, key));
    let trained = RunConfig { mode: base.mode.clone(), ..all.clone() };
    let pairs = Key::ALL.iter().copied().flat_map(|key| {
        let back = |from: &RunConfig| {
            let mut config = from.clone();
            config.set(&base.setting(key));
            [from.clone(), config]
        };
        [[base.clone(), changed(&base, key)], back(&all), back(&trained)].map(|pair| (key, pair))
    });
    pairs.collect()
}

fn choice(setting: Setting) -> Choice {
    Choice { setting, span: Span::default() }
}

/// An axis from `key=json json json`.
pub(crate) fn axis(text: &str) -> Axis {
    let (key, values) = text.split_once('=').unwrap();
    let values: Vec<Choice> =
        values.split(' ').map(|value| choice(setting(&format!("{key}={value}")))).collect();
    Axis { key: values[0].setting.key(), values }
}

/// `key=json` for each test.
pub(crate) fn when_equal(tests: &[&str]) -> Condition {
    let tests = tests.iter().map(|text| {
        let setting = setting(text);
        (setting.key(), Test::Equals(setting.into()))
    });
    Condition { tests: tests.collect() }
}

/// A sweep file that varies nothing, with one seed.
pub(crate) fn plain() -> SweepSpec {
    SweepSpec {
        name: SweepName::new("sample").unwrap(),
        description: None,
        base: RunConfig::default(),
        base_spans: Vec::new(),
        grid: Vec::new(),
        zips: Vec::new(),
        whens: Vec::new(),
        excludes: Vec::new(),
        includes: Vec::new(),
        seeds: vec![0],
        metric: Metric { name: MetricName::ValAccuracy, goal: Goal::Maximize, target: None },
        run: RunPolicy::default(),
        budget: Budget::default(),
        slurm: SlurmSection::default(),
        claims: Vec::new(),
    }
}

/// [`plain`] with a `[grid]`.
pub(crate) fn grid(axes: &[&str]) -> SweepSpec {
    SweepSpec { grid: axes.iter().map(|text| axis(text)).collect(), ..plain() }
}

pub(crate) fn when(tests: &[&str], axes: &[&str]) -> When {
    When {
        condition: when_equal(tests),
        axes: axes.iter().map(|text| axis(text)).collect(),
        span: Span::default(),
        line: 0,
    }
}

pub(crate) fn exclude(line: usize, tests: &[&str]) -> Exclude {
    Exclude { condition: when_equal(tests), line }
}

pub(crate) fn include(line: usize, settings: &[&str]) -> Include {
    Include { settings: settings.iter().map(|text| choice(setting(text))).collect(), line }
}

/// A fingerprint that tells data sets apart.
pub(crate) fn print_of(dataset: &Dataset) -> String {
    format!("print of {dataset:?}")
}

/// Keys with values that generated sweep files take; the first value is the default.
static POOL: LazyLock<Vec<Vec<Setting>>> = LazyLock::new(|| {
    let pool = [
        "activation=\"relu\" \"tanh\" \"sigmoid\"",
        "batch_norm=false true",
        "lr=0.01 0.1 0.3",
        "schedule=\"constant\" \"cosine\" {\"kind\":\"step\",\"gamma\":0.5}",
        "dataset=\"mnist-10k\" \"mnist\"",
        "epochs=10 2",
        "width=1 0.5 0.25",
    ];
    pool.iter().map(|text| axis(text).values.into_iter().map(|c| c.setting).collect()).collect()
});

fn any_axis(key: usize) -> impl Strategy<Value = Axis> {
    let values = POOL[key].clone();
    let count = values.len();
    (proptest::sample::subsequence(values, 1..=count).prop_shuffle()).prop_map(|values| Axis {
        key: values[0].key(),
        values: values.into_iter().map(choice).collect(),
    })
}

fn any_setting() -> impl Strategy<Value = Setting> {
    (0..POOL.len()).prop_flat_map(|key| proptest::sample::select(POOL[key].clone()))
}

fn any_test() -> impl Strategy<Value = (Key, Test)> {
    let plain = (any_setting(), any::<bool>()).prop_map(|(setting, equal)| {
        let test = if equal {
            Test::Equals(setting.clone().into())
        } else {
            Test::Differs(setting.clone().into())
        };
        (setting.key(), test)
    });
    let number = (0.0..0.2_f64, 0..4).prop_map(|(bound, kind)| {
        let test = match kind {
            0 => Test::Below(bound),
            1 => Test::AtMost(bound),
            2 => Test::Above(bound),
            _ => Test::AtLeast(bound),
        };
        (Key::Lr, test)
    });
    let list = (0..POOL.len()).prop_flat_map(|key| {
        let values = POOL[key].clone();
        let count = values.len();
        proptest::sample::subsequence(values, 1..=count).prop_map(|values| {
            (values[0].key(), Test::OneOf(values.into_iter().map(Named::Value).collect()))
        })
    });
    prop_oneof![4 => plain, 1 => number, 1 => list]
}

fn any_condition() -> impl Strategy<Value = Condition> {
    proptest::collection::vec(any_test(), 1..3).prop_map(|tests| Condition { tests })
}

/// Axes over some of the keys, at most `most`.
fn any_axes(keys: Vec<usize>, most: usize) -> impl Strategy<Value = Vec<Axis>> {
    let most = most.min(keys.len());
    proptest::sample::subsequence(keys, 0..=most)
        .prop_shuffle()
        .prop_flat_map(|keys| keys.into_iter().map(any_axis).collect::<Vec<_>>())
}

/// Axes of one length, values coming back where one has fewer; with `extra` whole rows come back.
fn as_zip((axes, extra): (Vec<Axis>, usize)) -> Vec<Zip> {
    let len = axes.iter().map(|axis| axis.values.len()).max().unwrap_or(0) + extra;
    let stretch = |axis: Axis| {
        let values = axis.values.iter().cycle().take(len).cloned().collect();
        Axis { key: axis.key, values }
    };
    if axes.is_empty() {
        return Vec::new();
    }
    vec![Zip { axes: axes.into_iter().map(stretch).collect() }]
}

/// Any small sweep file: grids, zips, conditional axes, exclusions, inclusions.
pub(crate) fn any_spec() -> impl Strategy<Value = SweepSpec> {
    let split = Just((0..POOL.len()).collect::<Vec<usize>>()).prop_shuffle();
    split.prop_flat_map(|keys| {
        let (grid, rest) = keys.split_at(3);
        let (zip, whens) = rest.split_at(2);
        let any_when = (any_condition(), any_axes(whens.to_vec(), 2))
            .prop_map(|(condition, axes)| When { condition, axes, span: Span::default(), line: 0 });
        let settings = proptest::collection::btree_map(0..POOL.len(), 0..3_usize, 0..4);
        let any_include = settings.prop_map(|settings| {
            let settings =
                settings.into_iter().map(|(key, value)| &POOL[key][value % POOL[key].len()]);
            settings.cloned().map(choice).collect::<Vec<_>>()
        });
        (
            any_axes(grid.to_vec(), 3),
            (any_axes(zip.to_vec(), 2), 0..3_usize).prop_map(as_zip),
            proptest::collection::vec(any_when, 0..3),
            proptest::collection::vec(any_condition(), 0..3),
            proptest::collection::vec(any_include, 0..4),
            proptest::collection::vec(any_setting(), 0..2),
        )
            .prop_map(|(grid, zips, whens, excludes, includes, base)| {
                let number = |(n, condition)| Exclude { condition, line: n + 1 };
                let mut spec = SweepSpec {
                    grid,
                    zips,
                    whens,
                    excludes: excludes.into_iter().enumerate().map(number).collect(),
                    includes: Vec::new(),
                    ..plain()
                };
                for (n, settings) in includes.into_iter().enumerate() {
                    spec.includes.push(Include { settings, line: 100 + n });
                }
                for setting in &base {
                    spec.base.set(setting);
                }
                spec
            })
    })
}

/// A plan of `spec` in which every configuration fits.
pub(crate) fn planned(spec: &SweepSpec, record: Option<&SweepFolder>) -> Plan {
    Plan::build(spec, record, &print_of, &|_| Vec::new()).unwrap()
}

/// Writes `run.json` of every run of `spec` into `folder`, as if it had been started.
pub(crate) fn start_all(spec: &SweepSpec, folder: &SweepFolder) {
    let plan = planned(spec, None);
    for run in &plan.runs {
        let record = plan.run_record(run, spec.run.checkpoint);
        std::fs::create_dir_all(folder.run(run.id).path()).unwrap();
        std::fs::write(folder.run(run.id).run(), serde_json::to_vec(&record).unwrap()).unwrap();
    }
}

/// A result of a run.
pub(crate) fn result(run_id: RunId, status: RunStatus, wall_s: f64) -> RunResult {
    RunResult {
        reason: (status != RunStatus::Finished).then(|| "exit status 1".to_owned()),
        wall_s: Some(wall_s),
        ..RunResult::new(run_id, status)
    }
}

/// Writes a result into its run's folder.
pub(crate) fn finish(folder: &SweepFolder, result: &RunResult) {
    let folder = folder.run(result.run_id);
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(folder.result(), serde_json::to_vec(result).unwrap()).unwrap();
}
