//! Reading the `metric` of a `[[claim]]`: a word, or a table for a number from a run's course.

use serde_json::{Value as Json, json};

use super::settings::{METRICS, Settings};
use crate::spec::config::{Key, Setting};
use crate::spec::diagnostics::{Diagnostics, suggest};
use crate::spec::node::{Node, Raw};
use crate::spec::quantity::{
    CurveName, CurveQuantity, EpochPick, LayerNumber, LayerPick, LayerQuantity, Quantity, Take,
};
use crate::spec::value::{Interval, Value};

/// The word for whether a run diverged.
const DIVERGED: &str = "diverged";

/// The settings of a number that is measured in a layer.
const OF_A_LAYER: &[&str] = &["measurement", "layer", "over", "epoch"];

/// The settings of a curve that is summed up.
const OF_A_CURVE: &[&str] = &["curve", "take", "epoch", "since"];

/// Epochs that a run may have.
const EPOCHS: Interval = Interval::closed(1.0, 1_000_000.0);

/// JSON Schema of a quantity.
pub fn schema() -> Json {
    let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).chain([DIVERGED]).collect();
    let numbers: Vec<&str> = LayerNumber::ALL.iter().map(|number| number.name).collect();
    let words = |all: &mut dyn Iterator<Item = &'static str>| all.collect::<Vec<_>>();
    let curves = words(&mut CurveName::ALL.iter().map(|(name, _)| *name));
    let takes = words(&mut Take::ALL.iter().map(|(name, _)| *name));
    let epoch = json!({ "anyOf": [{ "enum": ["last", "mean"] }, <u32 as Value>::schema(&EPOCHS)] });
    let table = |properties: Json, required: &str| {
        json!({
            "type": "object",
            "properties": properties,
            "required": [required],
            "additionalProperties": false,
        })
    };
    let layer = json!({ "type": "string" });
    json!({ "anyOf": [
        { "enum": names },
        table(
            json!({ "measurement": { "enum": numbers }, "layer": layer, "over": layer, "epoch": epoch }),
            "measurement",
        ),
        table(
            json!({
                "curve": { "enum": curves },
                "take": { "enum": takes },
                "epoch": epoch,
                "since": <u32 as Value>::schema(&EPOCHS),
            }),
            "curve",
        ),
    ] })
}

/// Reads the `metric` of a claim, and gives where it stands. `domain` has every value that a key takes
/// in the sweep, where that is known.
pub(super) fn read<'n>(
    parts: &Settings<'n>,
    compare: &Node,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) -> Option<(&'n Node, Quantity)> {
    let Some(node) = parts.get("metric") else {
        let message = "`compare` needs `metric`, what is compared";
        let help = "write metric = \"val_accuracy\", or another column of runs.csv";
        diagnostics.error_with_help(compare.span, message, "no `metric` here", help);
        return None;
    };
    let Raw::Table(entries) = &node.raw else {
        return word(node, diagnostics).map(|quantity| (node, quantity));
    };
    let has = |name: &str| entries.iter().any(|(other, _)| other.text == name);
    let quantity = match (has("measurement"), has("curve")) {
        (true, _) => layer(node, domain, diagnostics).map(Quantity::Layer),
        (false, true) => curve(node, domain, diagnostics).map(Quantity::Curve),
        (false, false) => {
            let message = "a metric that is a table names a `measurement` or a `curve`";
            let help = "write { measurement = \"gradient_norm_mean\", layer = \"first\", epoch = 1 } \
                        or { curve = \"step_loss\", take = \"spikes\" }";
            diagnostics.error_with_help(node.span, message, "neither here", help);
            None
        }
    };
    quantity.map(|quantity| (node, quantity))
}

fn word(node: &Node, diagnostics: &mut Diagnostics) -> Option<Quantity> {
    let Raw::Text(text) = &node.raw else {
        let message = format!("`metric` is a word or a table, found {}", node.describe());
        let help = "write metric = \"val_accuracy\", or another column of runs.csv";
        diagnostics.error_with_help(node.span, message, "expected a metric", help);
        return None;
    };
    if text == DIVERGED {
        return Some(Quantity::Diverged);
    }
    let found = METRICS.iter().find(|(name, _)| name == text);
    if found.is_none() {
        let measured = LayerNumber::ALL.iter().any(|number| number.name == text);
        let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).chain([DIVERGED]).collect();
        let help = match measured {
            true => format!(
                "it is measured in layers: {{ measurement = \"{text}\", layer = \"first\" }}"
            ),
            false => suggest(text, &names),
        };
        diagnostics.error_with_help(
            node.span,
            format!("`metric` cannot be `{text}`"),
            "unknown",
            help,
        );
    }
    found.map(|(_, metric)| Quantity::Result(*metric))
}

fn layer(
    node: &Node,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) -> Option<LayerQuantity> {
    let settings = Settings::open(node, "metric", OF_A_LAYER, diagnostics)?;
    let numbers: Vec<(&'static str, LayerNumber)> =
        LayerNumber::ALL.iter().map(|number| (number.name, *number)).collect();
    let measurement = settings.word("measurement", &numbers, diagnostics);
    if let Some(measurement) = measurement {
        refuse_unmeasured(measurement, settings.get("measurement")?, domain, diagnostics);
    }
    let mut pick = |name: &str| match settings.get(name).map(|node| (node, &node.raw)) {
        None => Some(None),
        Some((_, Raw::Text(text))) => Some(Some(LayerPick::of(text))),
        Some((node, _)) => {
            let message = format!("`{name}` is the name of a layer, found {}", node.describe());
            let help = "\"first\", \"last\", \"mean\", \"network\", or a name of layers.csv such as \"conv1\"";
            diagnostics.error_with_help(node.span, message, "expected a layer", help);
            None
        }
    };
    let (layer, over) = (pick("layer"), pick("over"));
    let epoch = epoch(&settings, domain, diagnostics);
    let whole = || LayerPick::Named("network".to_owned());
    Some(LayerQuantity {
        measurement: measurement?,
        layer: layer?.unwrap_or_else(whole),
        over: over?,
        epoch: epoch?.unwrap_or(EpochPick::Last),
    })
}

/// Notes a number that no run of the sweep measures.
fn refuse_unmeasured(
    number: LayerNumber,
    node: &Node,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) {
    let Some(measured) = domain(Key::Measure) else { return };
    let measures = |setting: &Setting| match setting {
        Setting::Measure(list) => list.iter().any(|measurement| measurement.kind() == number.kind),
        _ => false,
    };
    if !measured.iter().any(measures) {
        let message = format!("no run measures `{}`", number.name);
        let help = format!("add \"{}\" to the list `measure` in [base]", number.kind);
        diagnostics.error_with_help(node.span, message, "not measured", help);
    }
}

fn curve(
    node: &Node,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) -> Option<CurveQuantity> {
    let settings = Settings::open(node, "metric", OF_A_CURVE, diagnostics)?;
    let curve = settings.word("curve", CurveName::ALL, diagnostics);
    let take = settings.get("take").map(|_| settings.word("take", Take::ALL, diagnostics));
    let epoch = epoch(&settings, domain, diagnostics)?;
    let since = match settings.get("since") {
        Some(node) => Some(since(node, epoch, domain, diagnostics)?),
        None => None,
    };
    let take = match (take, epoch) {
        (Some(take), None) => take?,
        (None, Some(epoch)) => Take::Epoch(epoch),
        (given, _) => {
            let message = "of a curve one says either `take` or `epoch`";
            let help = "write take = \"max\" (mean, min, max, spikes), or epoch = 20 or \"last\"";
            let label = if given.is_some() { "both here" } else { "neither here" };
            diagnostics.error_with_help(node.span, message, label, help);
            return None;
        }
    };
    Some(CurveQuantity { curve: curve?, take, since })
}

/// The epoch since which a curve's gain is taken; `epoch` is that until which.
fn since(
    node: &Node,
    epoch: Option<EpochPick>,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) -> Option<u32> {
    let number = epoch_number(node, "since", domain, diagnostics)?;
    let later = match epoch {
        Some(EpochPick::Last) => true,
        Some(EpochPick::Number(epoch)) => epoch > number,
        Some(EpochPick::Mean) | None => false,
    };
    if !later {
        let message = "`since` goes with a later `epoch`: the gain from the one to the other";
        let help = format!("write epoch = \"last\", since = {number}");
        diagnostics.error_with_help(node.span, message, "since then until when?", help);
    }
    later.then_some(number)
}

/// `epoch`, if it is written: the outer `None` is a noted problem.
fn epoch(
    settings: &Settings<'_>,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) -> Option<Option<EpochPick>> {
    let Some(node) = settings.get("epoch") else { return Some(None) };
    match &node.raw {
        Raw::Text(text) if text == "last" => return Some(Some(EpochPick::Last)),
        Raw::Text(text) if text == "mean" => return Some(Some(EpochPick::Mean)),
        Raw::Text(text) => {
            let message = format!("`epoch` cannot be `{text}`");
            let help = "write the number of the epoch, from 1, or \"last\" or \"mean\"";
            diagnostics.error_with_help(node.span, message, "unknown", help);
            return None;
        }
        _ => {}
    }
    epoch_number(node, "epoch", domain, diagnostics).map(|number| Some(EpochPick::Number(number)))
}

/// The number of an epoch that runs have.
fn epoch_number(
    node: &Node,
    name: &str,
    domain: &dyn Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) -> Option<u32> {
    let before = diagnostics.count();
    let number = u32::read(node, &EPOCHS, diagnostics);
    diagnostics.attribute(before, name);
    let number = number?;
    let longest =
        domain(Key::Epochs).and_then(|all| all.iter().filter_map(Setting::number).reduce(f64::max));
    if longest.is_some_and(|longest| f64::from(number) > longest) {
        let longest = longest.unwrap_or_default();
        let message = format!("no run has an epoch {number}: they have {longest}");
        let help = "count from 1, or write \"last\"";
        diagnostics.error_with_help(node.span, message, "too late", help);
        return None;
    }
    Some(number)
}
