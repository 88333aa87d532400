//! Whole sweep files: what they are read as, what overrides make of them, and that no text panics.

use std::time::Duration;

use proptest::prelude::*;

use super::settings::{REPEATED, SECTIONS, Section};
use crate::spec::condition::Test;
use crate::spec::config::{Key, RunConfig};
use crate::spec::metric::{Goal, MetricName};
use crate::spec::optimizer::Optimizer;
use crate::spec::run_policy::{Backoff, CurveDetail, RunPolicy};
use crate::spec::sweep::{Axis, SweepSpec};

const GOOD: &str = include_str!("../../../tests/fixtures/good/everything.toml");

/// Reads `text`; the error's messages where it is bad.
fn read(text: &str, overrides: &[&str]) -> Result<SweepSpec, String> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    SweepSpec::parse("test.toml", text, &overrides)
        .map(|(spec, _)| spec)
        .map_err(|error| error.to_string())
}

/// A file of that body, with the head that every file has.
fn file(body: &str) -> String {
    format!("schema = 1\nname = \"t\"\n{body}")
}

fn labels(axis: &Axis) -> Vec<String> {
    axis.values.iter().map(|value| value.setting.label()).collect()
}

/// What a spec says, without the places it was written at.
fn meaning(spec: &SweepSpec) -> impl PartialEq + std::fmt::Debug + use<> {
    let axes = |axes: &[Axis]| -> Vec<(Key, Vec<String>)> {
        let value = |axis: &Axis| -> Vec<String> {
            axis.values.iter().map(|value| value.setting.canonical().to_string()).collect()
        };
        axes.iter().map(|axis| (axis.key, value(axis))).collect()
    };
    (
        spec.base.canonical(),
        axes(&spec.grid),
        spec.zips.iter().map(|zip| axes(&zip.axes)).collect::<Vec<_>>(),
        spec.whens
            .iter()
            .map(|when| (when.condition.clone(), axes(&when.axes)))
            .collect::<Vec<_>>(),
        spec.excludes.iter().map(|exclude| exclude.condition.clone()).collect::<Vec<_>>(),
        (spec.seeds.clone(), spec.metric.clone(), spec.run.clone()),
    )
}

#[test]
fn every_section_is_read() {
    let (spec, sources) = SweepSpec::parse("everything.toml", GOOD, &[]).unwrap();
    assert_eq!(spec.name.as_str(), "everything");
    assert_eq!(spec.base.optimizer, Optimizer::Sgd { momentum: 0.9, nesterov: false });
    assert_eq!(spec.base.epochs, 12);
    assert_eq!(spec.base_spans.len(), 6);
    let (key, span) = spec.base_spans[4];
    assert_eq!((key, sources.text(span), sources.line(span)), (Key::Lr, "0.05", 10));
    let grid: Vec<Key> = spec.grid.iter().map(|axis| axis.key).collect();
    assert_eq!(grid, [Key::Activation, Key::Schedule, Key::WeightDecay, Key::Dropout]);
    assert_eq!(labels(&spec.grid[1]), ["constant", "step(every_epochs=4,gamma=0.5)", "cosine"]);
    assert_eq!(labels(&spec.grid[2])[..3], ["0.0001", "0.000316227766017", "0.001"]);
    assert_eq!(spec.zips[0].axes.len(), 2);
    assert_eq!(spec.whens.len(), 2);
    assert_eq!(spec.excludes[0].condition.tests[1], (Key::Dropout, Test::Above(0.3)));
    assert_eq!(sources.text(spec.whens[0].span), "[[when]]");
    assert_eq!(spec.excludes[0].line, 31);
    assert_eq!(spec.includes[0].settings.len(), 2);
    assert_eq!(spec.seeds, [0, 1, 2]);
    assert_eq!((spec.metric.goal, spec.metric.target), (Goal::Maximize, Some(0.95)));
    assert_eq!(spec.run.timeout, Some(Duration::from_secs(7200)));
    assert_eq!((spec.run.retries.count, spec.run.retries.backoff), (2, Backoff::Fixed));
    assert_eq!(spec.run.curves, CurveDetail::Step);
}

#[test]
fn a_file_of_two_lines_is_one_run_at_the_defaults() {
    let spec = read(&file(""), &[]).unwrap();
    assert_eq!(spec.base, RunConfig::default());
    assert_eq!((spec.grid.len(), spec.seeds.as_slice()), (0, &[0][..]));
    assert_eq!(spec.metric.name, MetricName::ValAccuracy);
    assert_eq!(spec.run, RunPolicy::default());
}

#[test]
fn documented_defaults_are_the_defaults() {
    let mut body = String::new();
    let single = |section: &&Section| !REPEATED.contains(&section.name);
    for section in SECTIONS[1..].iter().filter(single) {
        body += &format!("[{}]\n", section.name);
        for field in section.fields.iter().filter(|field| !field.default.is_empty()) {
            body += &format!("{} = {}\n", field.name, field.default);
        }
    }
    let (written, absent) = (read(&file(&body), &[]).unwrap(), read(&file(""), &[]).unwrap());
    assert_eq!(meaning(&written), meaning(&absent), "{body}");
}

#[test]
fn seeds_come_from_repeats_or_base() {
    let seeds =
        |body: &str, overrides: &[&str]| read(&file(body), overrides).map(|spec| spec.seeds);
    assert_eq!(seeds("[base]\nseed = 7", &[]), Ok(vec![7]));
    assert_eq!(seeds("[repeats]\nseeds = [7, 3]", &[]), Ok(vec![7, 3]));
    assert_eq!(seeds("[repeats]\nseeds = 5", &["seed=3"]), Ok(vec![3]));
    assert_eq!(seeds("[base]\nseed = 7", &["seeds=2"]), Ok(vec![0, 1]));
    assert_eq!(seeds("", &["seed=4,9"]), Ok(vec![4, 9]));
    assert_eq!(seeds("", &["repeats.seeds=4,9"]), Ok(vec![4, 9]));
    assert_eq!(seeds("[repeats]\nseeds = 5", &["~seeds"]), Ok(vec![0]));
    assert_eq!(read(&file("[repeats]\nseeds = [7, 3]"), &[]).unwrap().base.seed, 7);
}

#[test]
fn bytes_of_other_editors_are_read_the_same() {
    let bytes = format!("\u{FEFF}{}", GOOD.replace('\n', "\r\n"));
    let (spec, sources) = SweepSpec::parse_bytes("f.toml", bytes.as_bytes(), &[]).unwrap();
    assert_eq!(meaning(&spec), meaning(&read(GOOD, &[]).unwrap()));
    assert_eq!(sources.line(spec.base_spans[4].1), 10);
    assert!(SweepSpec::parse_bytes("f.toml", b"name = \"caf\xE9\"", &[]).is_err());
}

#[test]
fn equal_sweeps_written_differently_are_equal() {
    let pairs = [
        ("[base]\nlr = 3", "[base]\nlr = 3.0"),
        ("[base]\nepochs = 3", "[base]\nepochs = 3.0"),
        ("[base]\nlr = 0.01\nwidth = 1", ""),
        ("[base]\nepochs = 5\nlr = 0.5", "[base]\nlr = 0.5\nepochs = 5"),
        ("[base]\nschedule = \"step\"", "[base]\nschedule = { gamma = 0.1, kind = \"step\" }"),
        ("[base]\nschedule = \"step\"", "[base.schedule]\nkind = \"step\"\nevery_epochs = 10"),
        ("[base]\ndropout = -0.0", ""),
        ("[grid]\nlr = [1, 2]", "[grid]\nlr = { range = [1, 3] }"),
        ("[grid]\nepochs = [1, 3, 5]", "[grid]\nepochs = { linspace = [1, 5], num = 3 }"),
        (
            "[grid]\nmodel = [\"mlp\"]",
            "[grid]\nmodel = [{ kind = \"mlp\", hidden = [512, 256, 128] }]",
        ),
        ("[metric]\ngoal = \"max\"", "[metric]\ngoal = \"maximize\""),
        ("[run]\ntimeout = \"90m\"", "[run]\ntimeout = \"1h30m\""),
        (
            "[grid]\nlr = [1, 2]\n[[exclude]]\nlr = 2.0",
            "[grid]\nlr = [1.0, 2.0]\n[[exclude]]\nlr = { eq = 2 }",
        ),
    ];
    for (a, b) in pairs {
        let read = |body: &str| read(&file(body), &[]).unwrap();
        assert_eq!(meaning(&read(a)), meaning(&read(b)), "{a}\n{b}");
    }
}

#[test]
fn an_override_wins_wherever_the_key_stands() {
    let spec = read(GOOD, &["lr=0.5", "activation=relu,sigmoid", "width=2", "epochs=3"]).unwrap();
    assert_eq!((spec.base.lr, spec.base.width, spec.base.epochs), (0.5, 2.0, 3));
    assert_eq!(spec.whens.len(), 0, "the rules gave only `lr` values");
    assert_eq!(labels(&spec.grid[0]), ["relu", "sigmoid"], "the axis keeps its place");
    assert_eq!(spec.zips[0].axes.len(), 1, "what is left of the zip still moves");
    assert_eq!(spec.includes[0].settings.len(), 1);
    assert_eq!(spec.excludes.len(), 2);
    assert_eq!(spec.excludes[0].line, 31);

    let spec = read(GOOD, &["width=1,2,4", "~weight_decay", "batch_size=[32]"]).unwrap();
    let grid: Vec<Key> = spec.grid.iter().map(|axis| axis.key).collect();
    let expected = [Key::Activation, Key::Schedule, Key::Dropout, Key::Width, Key::BatchSize];
    assert_eq!((grid.as_slice(), spec.zips.len()), (&expected[..], 0));
    assert_eq!(spec.base.weight_decay, 0.0);
}

#[test]
fn overrides_set_sections_too() {
    let overrides = [
        "name=2024",
        "description=a, b",
        "metric.name=val_loss",
        "metric.goal=min",
        "metric.target=0.2",
        "run.timeout=1h",
        "run.retries.count=0",
        "lr={logspace=[1e-3,1e-1],num=3}",
        "schedule={kind=step,gamma=0.5},cosine",
    ];
    let spec = read(&file(""), &overrides).unwrap();
    assert_eq!((spec.name.as_str(), spec.description.as_deref()), ("2024", Some("a, b")));
    assert_eq!((spec.metric.name, spec.metric.target), (MetricName::ValLoss, Some(0.2)));
    assert_eq!(spec.run.timeout, Some(Duration::from_secs(3600)));
    assert_eq!(spec.run.retries.count, 0);
    assert_eq!(labels(&spec.grid[0]), ["0.001", "0.01", "0.1"]);
    assert_eq!(labels(&spec.grid[1]), ["step(gamma=0.5)", "cosine"]);
}

#[test]
fn an_override_may_empty_a_rule_but_not_break_it() {
    let body = "[grid]\nactivation = [\"relu\", \"tanh\"]\n[[exclude]]\nactivation = \"tanh\"";
    assert!(read(&file(body), &["activation=relu"]).is_ok());
    assert!(read(&file(body), &["activation=relu", "activation=tanh"]).is_err());
}

#[test]
fn rules_that_exclude_each_other_may_set_one_key() {
    let body = "[grid]\noptimizer = [\"sgd\", \"adam\"]\n\
                [[when]]\nif = { optimizer = \"sgd\" }\ngrid.lr = [0.1, 0.3]\n\
                [[when]]\nif = { optimizer = \"adam\" }\ngrid.lr = [0.001]";
    assert_eq!(read(&file(body), &[]).unwrap().whens.len(), 2);
    let overlapping = body.replace("{ optimizer = \"adam\" }", "{ optimizer = { ne = \"adam\" } }");
    assert!(read(&file(&overlapping), &[]).unwrap_err().contains("two [[when]] rules"));
}

#[test]
fn later_problems_can_point_into_the_same_texts() {
    let (spec, sources) =
        SweepSpec::parse("f.toml", GOOD, &["batch_size=64,100".to_owned()]).unwrap();
    let axis = spec.grid.iter().find(|axis| axis.key == Key::BatchSize).unwrap();
    assert_eq!(sources.text(axis.values[1].span), "100");
    assert_eq!(sources.line(axis.values[1].span), 0);
    let mut diagnostics = sources.diagnostics();
    diagnostics.error(axis.values[1].span, "too odd", "here");
    assert_eq!(diagnostics.finish(Some(())).unwrap_err().problems().count(), 1);
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!("x = {}", "[".repeat(50_000));
    assert!(read(&file(&deep), &[]).is_err());
}

/// Keys, each written in three ways that mean the same.
const SPELLINGS: [[&str; 3]; 7] = [
    ["lr = 3.0", "lr = 3", "lr = 0.3e1"],
    ["epochs = 5", "epochs = 5.0", "epochs = 0x5"],
    ["dropout = 0.0", "", "dropout = -0.0"],
    [
        "schedule = \"step\"",
        "schedule = { kind = \"step\" }",
        "schedule = { gamma = 0.1, every_epochs = 10.0, kind = 'step' }",
    ],
    [
        "optimizer = { kind = \"sgd\", momentum = 0.5 }",
        "optimizer = { momentum = 5e-1, kind = \"sgd\", nesterov = false }",
        "optimizer.momentum = 0.5\noptimizer.kind = \"sgd\"",
    ],
    ["model = \"mlp\"", "", "model = { kind = \"mlp\", hidden = [512, 256, 128] }"],
    ["batch_norm = true", "batch_norm=true # on", "\"batch_norm\" = true"],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_prefix_of_a_file_panics(end in 0..GOOD.len()) {
        let _ = SweepSpec::parse_bytes("f.toml", &GOOD.as_bytes()[..end], &[]);
    }

    #[test]
    fn no_change_of_a_byte_panics(at in 0..GOOD.len(), byte in any::<u8>()) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = byte;
        render(SweepSpec::parse_bytes("f.toml", &bytes, &[]));
    }

    #[test]
    fn order_and_spelling_of_base_change_nothing(
        order in Just((0..SPELLINGS.len()).collect::<Vec<_>>()).prop_shuffle(),
        spelling in prop::collection::vec(0..3_usize, SPELLINGS.len()),
    ) {
        let lines: Vec<&str> = order.iter().map(|at| SPELLINGS[*at][spelling[*at]]).collect();
        let plain: Vec<&str> = SPELLINGS.iter().map(|spellings| spellings[0]).collect();
        let read = |lines: &[&str]| read(&file(&format!("[base]\n{}", lines.join("\n"))), &[]).unwrap();
        let (a, b) = (read(&lines), read(&plain));
        prop_assert_eq!(meaning(&a), meaning(&b));
        prop_assert_eq!(a.base, b.base);
    }

    #[test]
    fn no_change_of_a_line_panics(from in 0..60_usize, to in 0..60_usize) {
        let mut lines: Vec<&str> = GOOD.lines().collect();
        let (from, to) = (from % lines.len(), to % lines.len());
        let line = lines.remove(from);
        lines.insert(to, line);
        render(SweepSpec::parse("f.toml", &lines.join("\n"), &["lr=1,2".to_owned()]).map(drop));
    }

    #[test]
    fn no_override_panics(text in "(lr|grid|run\\.timeout|seed|name|zip|a\\.b)=?[a-z0-9,.{}=\\[\\]' -]{0,12}") {
        render(SweepSpec::parse("f.toml", GOOD, &[text]).map(drop));
    }
}

/// Prints an error as a terminal would, which must not panic either.
fn render<T>(result: Result<T, crate::spec::SpecError>) {
    if let Err(error) = result {
        let mut out = String::new();
        let _ = miette::GraphicalReportHandler::new().render_report(&mut out, &error);
    }
}
