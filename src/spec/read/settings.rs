//! The sections that hold settings rather than keys: `[repeats]`, `[metric]`, `[run]`.
//!
//! [`SECTIONS`] says which settings there are, with their documentation, defaults and schemas; the
//! readers below, the reference, the editors' schema and the hints all go by it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::budget;
use super::mode::Modes;
use super::quantity;
use super::short::SIZES;
use super::slurm;
use crate::spec::config::Key;
use crate::spec::diagnostics::{Diagnostics, nearest, suggest};
use crate::spec::metric::{Goal, Metric, MetricName};
use crate::spec::node::{Name, Node, Raw, Span};
use crate::spec::run_policy::{Backoff, CheckpointPolicy, CurveDetail, Retries, RunPolicy};
use crate::spec::value::{Interval, Value};
use crate::units::parse_duration;

/// Most seeds of one sweep.
pub const MOST_SEEDS: u32 = 10_000;

const COUNT: Interval = Interval::closed(0.0, 100.0);
const POSITIVE: Interval = Interval::closed(1.0, 1_000_000.0);

/// A section with its settings.
pub struct Section {
    /// The name in `[name]`; empty for the top of the file.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its settings.
    pub fields: &'static [Field],
}

/// A setting.
pub struct Field {
    /// The name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// What holds where it is not written, as TOML; empty where there is none.
    pub default: &'static str,
    /// JSON Schema of the value.
    pub schema: fn() -> Json,
    /// The settings of a table.
    pub fields: &'static [Field],
}

/// All sections of settings; the first is the top of the file.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "",
        doc: "The first lines of the file, above the first `[section]`.",
        fields: &[
            field(
                "schema",
                "The version of this format, which is 1. Required, so that a later gridlane still knows what an old file means.",
                "",
                || json!({ "const": 1 }),
            ),
            field(
                "name",
                "The sweep's name, and the name of its folder under `runs/`: up to 100 letters, digits, `.`, `_`, `-`. Required.",
                "",
                || json!({ "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$" }),
            ),
            field(
                "description",
                "What the sweep asks; shown in the report.",
                "",
                || json!({ "type": "string" }),
            ),
        ],
    },
    Section {
        name: "repeats",
        doc: "Every configuration is run once per seed. Seeds are replicates, never an axis of the leaderboard. The same seed gives every configuration the same initial weights and data order, so configurations are compared pairwise.",
        fields: &[field(
            "seeds",
            "A number n for the seeds 0 to n - 1, or a list of distinct seeds. At most 10,000.",
            "1",
            || {
                let seed = <u64 as Value>::schema(&SEED);
                json!({ "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": MOST_SEEDS },
                { "type": "array", "items": seed, "minItems": 1, "maxItems": MOST_SEEDS, "uniqueItems": true },
            ] })
            },
        )],
    },
    Section {
        name: "metric",
        doc: "What configurations are ranked by.",
        fields: &[
            field(
                "name",
                "A result of every run. Rank on validation: a test metric as a criterion makes the test set a validation set. Where no run is trained, the default is `images_per_s`.",
                "\"val_accuracy\"",
                || json!({ "enum": names(METRICS) }),
            ),
            field(
                "goal",
                "Is more better, or less? By default the metric's own direction.",
                "",
                || json!({ "enum": names(GOALS) }),
            ),
            field(
                "target",
                "What is to be reached: a validation loss where `name` is `val_loss`, else, whatever `name` is, a validation accuracy. Gives the columns `epochs_to_target` and `seconds_to_target`. Accuracies are shares: 95 % is 0.95.",
                "",
                || json!({ "type": "number" }),
            ),
        ],
    },
    Section {
        name: "run",
        doc: "How a run is executed. None of it is part of a run's identity: changing it makes no run new.",
        fields: &[
            field(
                "timeout",
                "Longest wall time of one attempt. By default there is no limit.",
                "",
                duration_schema,
            ),
            field(
                "grace",
                "How long a worker that is asked to stop may take to write its checkpoint.",
                "\"10s\"",
                duration_schema,
            ),
            field(
                "threads",
                "Cores that one run may use. As many runs go on at a time as the machine's cores allow, unless `-j` says otherwise; one core a run has the most throughput. Results do not depend on it, to the bit.",
                "1",
                || <u32 as Value>::schema(&THREADS),
            ),
            Field {
                name: "retries",
                doc: "What is done after a failed attempt.",
                default: "{ count = 1, backoff = \"exponential\", delay = \"1s\" }",
                schema: || table_schema(RETRIES),
                fields: RETRIES,
            },
            Field {
                name: "checkpoint",
                doc: "When checkpoints are written.",
                default: "{ every_epochs = 1, keep = 1 }",
                schema: || table_schema(CHECKPOINT),
                fields: CHECKPOINT,
            },
            field(
                "curves",
                "How fine `curves.csv` is: a row for every epoch, or one for every optimizer step as well. With `step`, `steps.csv` is written too, and `layers.csv` has every measured step.",
                "\"epoch\"",
                || json!({ "enum": names(CURVES) }),
            ),
        ],
    },
    Section {
        name: "budget",
        doc: "What the sweep may cost. Its forecast is held against it before anything starts: what would take more is refused, with what it would take. None of it is part of a run's identity.",
        fields: budget::FIELDS,
    },
    Section {
        name: "slurm",
        doc: "What each job asks a Slurm cluster for, with `gridlane sweep FILE --slurm`; the same options on the command line come before these. None of it is part of a run's identity. See `docs/reference/slurm.md`.",
        fields: slurm::FIELDS,
    },
    Section {
        name: "claim",
        doc: "A hypothesis, stated before the sweep is run and tested when it has been: in `claims.csv`, and below the leaderboard. May stand several times. Groups are conditions; configurations of both that agree in all other keys are compared with each other, seed by seed. See `docs/reference/claims.md`.",
        fields: &[
            field("text", "The claim in words. Required.", "", || json!({ "type": "string" })),
            Field {
                name: "compare",
                doc: "What is compared. Required.",
                default: "",
                schema: compare_schema,
                fields: COMPARE,
            },
            field(
                "only",
                "The size of the sweep that it is made in: `full`, as the file stands, or `short`. In both where not said.",
                "",
                || json!({ "enum": names(SIZES) }),
            ),
        ],
    },
];

/// What a claim compares.
const COMPARE: &[Field] = &[
    field(
        "metric",
        "A result of every run; `\"diverged\"`, 1 for a run that did and 0 for one that did not; or a number from the course of a run: `{ measurement = \"gradient_norm_mean\", layer = \"first\", over = \"last\", epoch = 1 }`, `{ curve = \"step_loss\", take = \"spikes\" }`, `{ curve = \"val_accuracy\", epoch = \"last\", since = 20 }`.",
        "",
        quantity::schema,
    ),
    field("smaller", "The group whose metric is said to be smaller, with `than`.", "", condition),
    field("larger", "The group whose metric is said to be larger, with `than`.", "", condition),
    field(
        "equal",
        "The group whose metric is said to be equal, with `to` and `within`.",
        "",
        condition,
    ),
    field("than", "The group it is compared with, or a number.", "", condition_or_number),
    field("to", "The group it is compared with, or a number.", "", condition_or_number),
    field(
        "by",
        "By which factor at least it is smaller or larger.",
        "",
        || json!({ "type": "number", "exclusiveMinimum": 1.0 }),
    ),
    field(
        "within",
        "How far apart equal groups may be, in the metric's unit.",
        "",
        || json!({ "type": "number", "exclusiveMinimum": 0.0 }),
    ),
];

fn condition() -> Json {
    json!({ "$ref": "#/$defs/condition" })
}

fn condition_or_number() -> Json {
    json!({ "anyOf": [condition(), { "type": "number" }] })
}

fn compare_schema() -> Json {
    let mut schema = table_schema(COMPARE);
    schema["required"] = json!(["metric"]);
    schema
}

const RETRIES: &[Field] = &[
    field("count", "Further attempts after the first.", "1", || <u32 as Value>::schema(&COUNT)),
    field(
        "backoff",
        "How the delay grows: not at all, or twice as long each time.",
        "\"exponential\"",
        || json!({ "enum": names(BACKOFFS) }),
    ),
    field("delay", "Delay before the first retry.", "\"1s\"", duration_schema),
];

const CHECKPOINT: &[Field] = &[
    field("every_epochs", "Epochs between two checkpoints.", "1", || {
        <u32 as Value>::schema(&POSITIVE)
    }),
    field("keep", "How many checkpoints of a run are kept.", "1", || {
        <u32 as Value>::schema(&POSITIVE)
    }),
];

/// Cores of a run.
const THREADS: Interval = Interval::closed(1.0, 1024.0);

const SEED: Interval = Interval::closed(0.0, 9_007_199_254_740_992.0);

/// `goal`, with the short forms last.
const GOALS: &[(&str, Goal)] = &[
    ("maximize", Goal::Maximize),
    ("minimize", Goal::Minimize),
    ("max", Goal::Maximize),
    ("min", Goal::Minimize),
];
const BACKOFFS: &[(&str, Backoff)] =
    &[("fixed", Backoff::Fixed), ("exponential", Backoff::Exponential)];
const CURVES: &[(&str, CurveDetail)] =
    &[("epoch", CurveDetail::Epoch), ("step", CurveDetail::Step)];
pub(super) const METRICS: &[(&str, MetricName)] = &{
    let mut all = [("", MetricName::ValAccuracy); MetricName::ALL.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = (MetricName::ALL[at].as_str(), MetricName::ALL[at]);
        at += 1;
    }
    all
};

pub(super) const fn field(
    name: &'static str,
    doc: &'static str,
    default: &'static str,
    schema: fn() -> Json,
) -> Field {
    Field { name, doc, default, schema, fields: &[] }
}

fn names<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(name, _)| *name).collect()
}

pub(super) fn duration_schema() -> Json {
    json!({ "title": "duration", "type": "string", "pattern": "^\\s*([0-9]*\\.?[0-9]+\\s*(ms|s|m|h|d)\\s*)+$", "examples": ["90s", "2h", "1h30m"] })
}

/// The schema of a table of settings.
pub fn table_schema(fields: &[Field]) -> Json {
    let properties: serde_json::Map<String, Json> = fields
        .iter()
        .map(|field| {
            let mut schema = (field.schema)();
            schema["description"] = field.doc.into();
            (field.name.to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Sections of keys, which are no settings.
pub const KEY_SECTIONS: &[&str] = &["base", "grid", "zip", "when", "exclude", "include", "short"];

/// Sections of settings that may stand several times.
pub const REPEATED: &[&str] = &["claim"];

/// Is `name` a section of settings?
pub fn is_section(name: &str) -> bool {
    !name.is_empty()
        && !REPEATED.contains(&name)
        && SECTIONS.iter().any(|section| section.name == name)
}

/// The names of a section's settings.
pub fn field_names(section: &str) -> Vec<&'static str> {
    let section = SECTIONS.iter().find(|other| other.name == section);
    section.map_or(Vec::new(), |section| section.fields.iter().map(|field| field.name).collect())
}

/// The sections that have a setting of that name.
pub fn sections_with(name: &str) -> Vec<&'static str> {
    let has = |section: &&Section| section.fields.iter().any(|field| field.name == name);
    SECTIONS[1..].iter().filter(has).map(|section| section.name).collect()
}

/// What may stand at the top of a file.
pub fn top_level_names() -> Vec<&'static str> {
    let settings = SECTIONS[1..].iter().map(|section| section.name);
    field_names("").into_iter().chain(KEY_SECTIONS.iter().copied()).chain(settings).collect()
}

/// May `name` stand at the top of a file?
pub fn is_top_level(name: &str) -> bool {
    top_level_names().contains(&name)
}

/// A table of settings while it is read.
pub struct Settings<'a> {
    entries: &'a [(Name, Node)],
}

impl<'a> Settings<'a> {
    /// Opens a table of the settings `fields`, and notes what is in it besides.
    pub fn open(
        node: &'a Node,
        what: &str,
        fields: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let Raw::Table(entries) = &node.raw else {
            let message = format!("`{what}` is a table, found {}", node.describe());
            let help = format!("its settings: {}", fields.join(", "));
            diagnostics.error_with_help(node.span, message, "expected a table", help);
            return None;
        };
        for (name, _) in entries.iter().filter(|(name, _)| !fields.contains(&name.text.as_str())) {
            let message = format!("`{what}` has no setting `{}`", name.text);
            let help = match Key::from_name(&name.text) {
                Some(key) if fields.contains(&"grid") => format!("write `grid.{key} = [...]`"),
                Some(key) if nearest(key.name(), fields).is_none() => {
                    format!("`{key}` belongs in [base], or with a list of values in [grid]")
                }
                _ => suggest(&name.text, fields),
            };
            diagnostics.error_with_help(name.span, message, "unknown setting", help);
        }
        Some(Self { entries })
    }

    /// The value of a setting, where it is written.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(other, _)| other.text == name).map(|(_, node)| node)
    }

    fn number(
        &self,
        name: &str,
        limits: &Interval,
        default: u32,
        diagnostics: &mut Diagnostics,
    ) -> u32 {
        let before = diagnostics.count();
        let read = self.get(name).and_then(|node| u32::read(node, limits, diagnostics));
        diagnostics.attribute(before, name);
        read.unwrap_or(default)
    }

    pub(super) fn duration(&self, name: &str, diagnostics: &mut Diagnostics) -> Option<Duration> {
        let node = self.get(name)?;
        let read = match &node.raw {
            Raw::Text(text) => parse_duration(text),
            _ => None,
        };
        if read.is_none() {
            let message =
                format!("`{name}`: expected a duration with its unit, found {}", node.describe());
            let help = "write \"90s\", \"30m\", \"2h\" or \"1h30m\"; units: ms, s, m, h, d";
            diagnostics.error_with_help(node.span, message, "expected a duration", help);
        }
        read
    }

    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&'static str, T)],
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let node = self.get(name)?;
        let names = names(words);
        let Raw::Text(text) = &node.raw else {
            let message = format!("`{name}` is a string, found {}", node.describe());
            let help = format!("legal: {}", names.join(", "));
            diagnostics.error_with_help(node.span, message, "expected a string", help);
            return None;
        };
        let found = words.iter().find(|(name, _)| name == text).map(|(_, word)| *word);
        if found.is_none() {
            let message = format!("`{name}` cannot be `{text}`");
            diagnostics.error_with_help(node.span, message, "unknown", suggest(text, &names));
        }
        found
    }
}

/// Reads `[repeats]`.
pub fn repeats(node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<u64>> {
    let settings = Settings::open(node, "repeats", &field_names("repeats"), diagnostics)?;
    let Some(seeds) = settings.get("seeds") else {
        let help = "write `seeds = 3`, or leave [repeats] out for one seed";
        diagnostics.error_with_help(node.span, "`repeats` needs `seeds`", "no `seeds` here", help);
        return None;
    };
    let Raw::List(items) = &seeds.raw else {
        let limits = Interval::closed(1.0, f64::from(MOST_SEEDS));
        let before = diagnostics.count();
        let count = u32::read(seeds, &limits, diagnostics);
        diagnostics.attribute(before, "seeds");
        return count.map(|n| (0..u64::from(n)).collect());
    };
    if items.is_empty() || items.len() > MOST_SEEDS as usize {
        let message = format!("expected 1 to {MOST_SEEDS} seeds, found {}", seeds.describe());
        diagnostics.error(seeds.span, message, "not such a list");
        return None;
    }
    distinct_seeds(items, diagnostics)
}

fn distinct_seeds(items: &[Node], diagnostics: &mut Diagnostics) -> Option<Vec<u64>> {
    let mut seen: std::collections::BTreeMap<u64, Span> = std::collections::BTreeMap::new();
    let mut seeds = Vec::with_capacity(items.len());
    let mut good = true;
    for item in items {
        let Some(seed) = u64::read(item, &SEED, diagnostics) else {
            good = false;
            continue;
        };
        if let Some(first) = seen.insert(seed, item.span) {
            let message = format!("seed {seed} is written twice");
            let help = "the same seed gives the same run: replicates need distinct seeds";
            diagnostics.clash((item.span, "again here"), (first, "first here"), message, help);
            good = false;
        }
        seeds.push(seed);
    }
    good.then_some(seeds)
}

/// Reads `[metric]` of a sweep whose runs are executed in these `modes`.
pub(super) fn metric(
    node: Option<&Node>,
    modes: Modes,
    diagnostics: &mut Diagnostics,
) -> Option<Metric> {
    let default = modes.default_metric();
    let Some(node) = node else {
        return Some(Metric { name: default, goal: default.natural_goal(), target: None });
    };
    let before = diagnostics.count();
    let settings = Settings::open(node, "metric", &field_names("metric"), diagnostics)?;
    let named = settings.get("name").is_some();
    let read = settings.word("name", METRICS, diagnostics);
    let name = read.unwrap_or(default);
    let goal = settings.word("goal", GOALS, diagnostics).unwrap_or(name.natural_goal());
    let target = settings.get("target").and_then(|node| {
        f64::read(node, &Interval::FINITE, diagnostics).map(|target| (target, node.span))
    });
    let timed = matches!(name, MetricName::EpochsToTarget | MetricName::SecondsToTarget);
    // Only validation is measured as a run goes on, so that of a test or of seconds there is no target.
    let share = name != MetricName::ValLoss;
    if named && read.is_none() {
        return None;
    }
    let span = settings.get("name").map_or(node.span, |node| node.span);
    modes.refuse_unmeasured(name, span, diagnostics);
    match target {
        Some((target, span)) if share && !(target > 0.0 && target <= 1.0) => {
            let bounds = format!("greater than 0 and at most 1, found {target}");
            let (message, help) = match name {
                MetricName::ValAccuracy => (
                    format!("a target accuracy is {bounds}"),
                    "accuracies are shares: 95 % is 0.95",
                ),
                _ => (
                    format!(
                        "with `{}` the target is a validation accuracy, {bounds}",
                        name.as_str()
                    ),
                    "accuracies are shares: 95 % is 0.95; for a loss to reach, rank by `val_loss`",
                ),
            };
            diagnostics.error_with_help(span, message, "not a share", help);
        }
        None if timed && diagnostics.count() == before => {
            let message = format!("`{}` needs a `target`", name.as_str());
            let help = "add the validation accuracy to reach, such as `target = 0.95`";
            diagnostics.error_with_help(node.span, message, "no `target` here", help);
        }
        _ => {}
    }
    let target = target.map(|(target, _)| target);
    (diagnostics.count() == before).then_some(Metric { name, goal, target })
}

/// Reads `[run]`.
pub fn run(node: Option<&Node>, diagnostics: &mut Diagnostics) -> RunPolicy {
    let mut policy = RunPolicy::default();
    let Some(node) = node else { return policy };
    let Some(settings) = Settings::open(node, "run", &field_names("run"), diagnostics) else {
        return policy;
    };
    policy.timeout = settings.duration("timeout", diagnostics);
    if let (Some(Duration::ZERO), Some(node)) = (policy.timeout, settings.get("timeout")) {
        let help = "leave `timeout` out for no limit";
        diagnostics.error_with_help(node.span, "a timeout of 0 lets no run end", "zero", help);
    }
    policy.grace = settings.duration("grace", diagnostics).unwrap_or(policy.grace);
    policy.threads = settings.number("threads", &THREADS, policy.threads, diagnostics);
    policy.curves = settings.word("curves", CURVES, diagnostics).unwrap_or(policy.curves);
    if let Some(node) = settings.get("retries") {
        policy.retries = retries(node, diagnostics);
    }
    if let Some(node) = settings.get("checkpoint") {
        policy.checkpoint = checkpoint(node, diagnostics);
    }
    policy
}

fn retries(node: &Node, diagnostics: &mut Diagnostics) -> Retries {
    let default = Retries::default();
    if let Raw::Integer(count) = node.raw {
        let message = format!("`retries` is a table, found {count}");
        let help = format!("write retries = {{ count = {count} }}");
        diagnostics.error_with_help(node.span, message, "expected a table", help);
        return default;
    }
    let fields: Vec<&str> = RETRIES.iter().map(|field| field.name).collect();
    let Some(settings) = Settings::open(node, "retries", &fields, diagnostics) else {
        return default;
    };
    Retries {
        count: settings.number("count", &COUNT, default.count, diagnostics),
        backoff: settings.word("backoff", BACKOFFS, diagnostics).unwrap_or(default.backoff),
        delay: settings.duration("delay", diagnostics).unwrap_or(default.delay),
    }
}

fn checkpoint(node: &Node, diagnostics: &mut Diagnostics) -> CheckpointPolicy {
    let default = CheckpointPolicy::default();
    let fields: Vec<&str> = CHECKPOINT.iter().map(|field| field.name).collect();
    let Some(settings) = Settings::open(node, "checkpoint", &fields, diagnostics) else {
        return default;
    };
    CheckpointPolicy {
        every_epochs: settings.number("every_epochs", &POSITIVE, default.every_epochs, diagnostics),
        keep: settings.number("keep", &POSITIVE, default.keep, diagnostics),
    }
}
