//! Expansion against the plainest possible reading of the rules.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::plan::sample::{any_spec, axis, exclude, grid, include, plain, when};
use crate::spec::condition::Condition;
use crate::spec::{RunConfig, Setting};

type Set = BTreeMap<Key, Setting>;

fn config(base: &RunConfig, set: &Set) -> RunConfig {
    let mut config = base.clone();
    set.values().for_each(|setting| config.set(setting));
    config
}

fn holds(condition: &Condition, config: &RunConfig) -> bool {
    condition.tests.iter().all(|(key, test)| test.passes(&config.setting(*key)))
}

fn times(sets: Vec<Set>, axis: &Axis) -> Vec<Set> {
    let with = |set: &Set, choice: &crate::spec::sweep::Choice| {
        let mut set = set.clone();
        set.insert(axis.key, choice.setting.clone());
        set
    };
    sets.iter().flat_map(|set| axis.values.iter().map(move |choice| with(set, choice))).collect()
}

/// Nested loops over whole configurations; `None` where expansion must refuse.
fn oracle(spec: &SweepSpec) -> Option<Vec<RunConfig>> {
    let mut sets = vec![Set::new()];
    for axis in &spec.grid {
        sets = times(sets, axis);
    }
    for zip in &spec.zips {
        let mut zipped: Vec<Set> = Vec::new();
        for set in &sets {
            for place in 0..zip.axes[0].values.len() {
                let mut set = set.clone();
                for axis in &zip.axes {
                    set.insert(axis.key, axis.values[place].setting.clone());
                }
                if !zipped.contains(&set) {
                    zipped.push(set);
                }
            }
        }
        sets = zipped;
    }
    for when in &spec.whens {
        let mut next = Vec::new();
        for set in sets {
            if !holds(&when.condition, &config(&spec.base, &set)) {
                next.push(set);
                continue;
            }
            if when.axes.iter().any(|axis| set.contains_key(&axis.key)) {
                return None;
            }
            next.extend(when.axes.iter().fold(vec![set], times));
        }
        sets = next;
    }
    let mut configs: Vec<RunConfig> = sets.iter().map(|set| config(&spec.base, set)).collect();
    configs.retain(|config| !spec.excludes.iter().any(|rule| holds(&rule.condition, config)));
    for include in &spec.includes {
        let mut config = spec.base.clone();
        include.settings.iter().for_each(|choice| config.set(&choice.setting));
        if !configs.contains(&config) {
            configs.push(config);
        }
    }
    (!configs.is_empty()).then_some(configs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn expansion_is_what_nested_loops_give(spec in any_spec()) {
        let expanded = expand(&spec);
        let expected = oracle(&spec);
        prop_assert_eq!(expanded.is_ok(), expected.is_some(), "{:?}", expanded);
        let (Ok(expansion), Some(expected)) = (expanded, expected) else { return Ok(()) };
        let points = &expansion.points;
        let configs: Vec<RunConfig> = (0..points.len()).map(|index| points.config(index)).collect();
        prop_assert_eq!(&configs, &expected);
        prop_assert_eq!(expansion.included + expansion.duplicates.len(), spec.includes.len());

        // Names tell configurations apart and speak only of keys that vary.
        let names: std::collections::BTreeSet<String> =
            (0..points.len()).map(|index| points.name(index)).collect();
        prop_assert_eq!(names.len(), points.len());
        for column in points.varied() {
            let key = points.columns[*column].key;
            prop_assert!(configs.iter().any(|c| c.setting(key) != configs[0].setting(key)));
        }
    }

    #[test]
    fn the_order_of_axes_changes_no_configuration(spec in any_spec()) {
        let mut turned = spec.clone();
        turned.grid.reverse();
        turned.grid.iter_mut().for_each(|axis| axis.values.reverse());
        let configs = |spec: &SweepSpec| expand(spec).ok().map(|expansion| {
            let points = expansion.points;
            let mut all: Vec<String> =
                (0..points.len()).map(|n| format!("{:?}", points.config(n).canonical())).collect();
            all.sort();
            all
        });
        prop_assert_eq!(configs(&spec), configs(&turned));
    }
}

fn names(spec: &SweepSpec) -> Vec<String> {
    let points = expand(spec).unwrap().points;
    (0..points.len()).map(|index| points.name(index)).collect()
}

#[test]
fn first_axis_is_slowest_and_one_valued_axes_name_nothing() {
    let spec = grid(&["schedule=\"cosine\" \"constant\"", "devices=1", "lr=0.1 0.01"]);
    assert_eq!(
        names(&spec),
        [
            "schedule=cosine lr=0.1",
            "schedule=cosine lr=0.01",
            "schedule=constant lr=0.1",
            "schedule=constant lr=0.01"
        ]
    );
    assert_eq!(names(&plain()), ["base"]);
}

#[test]
fn unset_conditional_keys_are_named_by_their_base_value() {
    let mut spec = grid(&["batch_norm=true false"]);
    spec.whens.push(when(&["batch_norm=true"], &["lr=0.1 0.3"]));
    assert_eq!(
        names(&spec),
        ["batch_norm=true lr=0.1", "batch_norm=true lr=0.3", "batch_norm=false lr=0.01"]
    );
}

#[test]
fn rules_count_what_they_drop() {
    let mut spec = grid(&["activation=\"relu\" \"tanh\"", "lr=0.1 0.3", "epochs=1 2"]);
    spec.excludes = vec![
        exclude(7, &["activation=\"tanh\"", "lr=0.3"]),
        exclude(9, &["lr=0.3"]),
        exclude(11, &["width=0.5"]),
    ];
    spec.includes = vec![include(13, &["lr=0.1", "epochs=1"]), include(15, &["lr=0.3"])];
    let expansion = expand(&spec).unwrap();
    let counts: Vec<_> =
        expansion.excluded.iter().map(|e| (e.line, e.dropped, e.already_dropped)).collect();
    assert_eq!(counts, [(7, 2, 0), (9, 2, 2), (11, 0, 0)]);
    assert_eq!((expansion.included, expansion.duplicates), (1, vec![13]));
}

#[test]
fn an_empty_plan_names_the_rules() {
    let mut spec = grid(&["lr=0.1 0.3"]);
    spec.excludes = vec![exclude(7, &["lr=0.1"]), exclude(9, &["activation=\"relu\""])];
    insta::assert_snapshot!(
        expand(&spec).unwrap_err(),
        @"no configuration is left: the `[[exclude]]` in line 7 dropped 1, the `[[exclude]]` in line 9 dropped 1"
    );
}

#[test]
fn a_key_that_two_tables_set_is_refused() {
    let mut spec = grid(&["batch_norm=true false"]);
    spec.whens =
        vec![when(&["batch_norm=true"], &["lr=0.1"]), when(&["activation=\"relu\""], &["lr=0.3"])];
    insta::assert_snapshot!(
        expand(&spec).unwrap_err(),
        @"`[[when]]` number 2 sets `lr` where an earlier table has set it already, at `batch_norm=true lr=0.1`"
    );
    let mut spec = grid(&["lr=0.1 0.3"]);
    spec.zips = vec![Zip { axes: vec![axis("lr=0.1 0.3"), axis("epochs=1 2")] }];
    insta::assert_snapshot!(
        expand(&spec).unwrap_err(),
        @"`lr` is varied twice: a key may stand in `[grid]` or in one `[[zip]]`"
    );
    assert!(matches!(expand(&grid(&["seed=0 1"])), Err(PlanError::SeedVaried)));
}

fn numbers(key: &str, count: u32) -> String {
    let values: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    format!("{key}={}", values.join(" "))
}

#[test]
fn a_grid_beyond_the_limit_is_refused_before_it_is_enumerated() {
    let axes = ["epochs", "batch_size", "lr"].map(|key| numbers(key, 1000));
    let mut spec = grid(&axes.each_ref().map(String::as_str));
    spec.seeds = (0..5).collect();
    insta::assert_snapshot!(
        expand(&spec).unwrap_err(),
        @"the sweep has 5,000,000,000 runs (epochs: 1000, batch_size: 1000, lr: 1000, seeds: 5), more than the 2,000,000 that one sweep may have"
    );
    spec.excludes = vec![exclude(3, &["lr=1"])];
    insta::assert_snapshot!(
        expand(&spec).unwrap_err(),
        @"the sweep has 1,000,000,000 points before `[[exclude]]` (epochs: 1000, batch_size: 1000, lr: 1000), more than the 2,000,000 that one sweep may have"
    );
    let mut spec = grid(&[axes[0].as_str()]);
    spec.whens = vec![when(&["epochs=1"], &[axes[1].as_str(), &numbers("lr", 3000)])];
    insta::assert_snapshot!(
        expand(&spec).unwrap_err(),
        @"the sweep has 3,000,999 points (after `[[when]]` number 1), more than the 2,000,000 that one sweep may have"
    );
}
