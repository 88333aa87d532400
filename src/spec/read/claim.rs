//! Reading `[[claim]]`.

use super::quantity;
use super::rules::{self, Written};
use super::settings::{Settings, field_names};
use super::short::SIZES;
use crate::spec::claim::{Claim, Reference, Relation};
use crate::spec::config::{Key, Setting};
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Node, Raw};
use crate::spec::quantity::Quantity;
use crate::spec::value::{Interval, Value};

/// The settings of `compare`.
pub(super) const COMPARE: &[&str] =
    &["metric", "smaller", "larger", "equal", "than", "to", "by", "within"];

/// What a claim says of its subject, and what its reference is called.
const VERBS: [(&str, &str); 3] = [("smaller", "than"), ("larger", "than"), ("equal", "to")];

/// Reads a claim. `domain` has every value that a key takes in the sweep, where that is known;
/// `target` says whether the sweep has one to reach.
pub(super) fn read(
    node: &Node,
    domain: impl Fn(Key) -> Option<Vec<Setting>>,
    target: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Claim> {
    let settings = Settings::open(node, "[[claim]]", &field_names("claim"), diagnostics)?;
    let text = text(&settings, node, diagnostics);
    // Those of the other size are taken out before; what is left here is a slip, if anything.
    settings.word("only", SIZES, diagnostics);
    let Some(compare) = settings.get("compare") else {
        let message = "a claim needs `compare`";
        let help = "write compare = { metric = \"val_accuracy\", larger = { batch_norm = true }, \
                    than = { batch_norm = false } }";
        diagnostics.error_with_help(node.span, message, "no `compare` here", help);
        return None;
    };
    let parts = Settings::open(compare, "compare", COMPARE, diagnostics)?;
    let metric = quantity::read(&parts, compare, &domain, diagnostics)
        .filter(|(node, metric)| target || !targetless(node, metric, diagnostics))
        .map(|(_, metric)| metric);
    let (verb, subject, against) = groups(&parts, compare, diagnostics)?;
    let relation = relation(verb, &parts, compare, diagnostics);
    let before = diagnostics.count();
    rules::refuse_idle(&subject, &domain, diagnostics);
    if let Against::Group(reference) = &against {
        rules::refuse_idle(reference, &domain, diagnostics);
        if diagnostics.count() == before {
            refuse_overlap([&subject, reference], compare, &domain, diagnostics);
        }
    }
    let subject = subject.condition();
    let reference = match against {
        Against::Group(written) => Reference::Group(written.condition()),
        Against::Value(value) => Reference::Value(value),
    };
    let line = diagnostics.sources().line(node.span);
    Some(Claim { text: text?, metric: metric?, subject, reference, relation: relation?, line })
}

/// Notes two groups that no key tells apart.
fn refuse_overlap(
    groups: [&Written; 2],
    compare: &Node,
    domain: &impl Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) {
    let known = |written: &Written| written.keys().all(|(key, _)| domain(key).is_some());
    let [subject, reference] = groups.map(Written::condition);
    let apart = || rules::disjoint(&subject, &reference, domain);
    if groups.into_iter().all(known) && !apart() {
        let message = "a claim compares two groups that have no configuration in common";
        let help = "let both test one key, for values that exclude each other";
        diagnostics.error_with_help(compare.span, message, "these may overlap", help);
    }
}

/// Notes a metric that needs the target that the sweep has not.
fn targetless(node: &Node, metric: &Quantity, diagnostics: &mut Diagnostics) -> bool {
    let needed = metric.needs_target();
    if needed {
        let message = format!("`{}` needs a target to reach", metric.label());
        let help = "add `target = 0.95` to [metric]";
        diagnostics.error_with_help(node.span, message, "no target", help);
    }
    needed
}

fn text(settings: &Settings<'_>, node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    let help = "write text = \"batch normalisation reaches a higher accuracy\"";
    match settings.get("text").map(|node| (node, &node.raw)) {
        Some((_, Raw::Text(text))) if !text.trim().is_empty() => Some(text.clone()),
        Some((node, _)) => {
            let message = format!("a claim is said in words, found {}", node.describe());
            diagnostics.error_with_help(node.span, message, "expected a text", help);
            None
        }
        None => {
            let message = "a claim needs `text`, which says it in words";
            diagnostics.error_with_help(node.span, message, "no `text` here", help);
            None
        }
    }
}

/// What the subject is compared with, as written.
enum Against {
    Group(Written),
    Value(f64),
}

/// The verb of a claim, its subject and what that is compared with.
fn groups(
    parts: &Settings<'_>,
    compare: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<(&'static str, Written, Against)> {
    let said: Vec<_> = VERBS.iter().filter(|(verb, _)| parts.get(verb).is_some()).collect();
    let [(verb, preposition)] = said[..] else {
        let message = "`compare` says one of `smaller`, `larger` and `equal`";
        let help =
            "write smaller = { … }, than = { … } or equal = { … }, to = { … }, within = 0.01";
        let label = if said.is_empty() { "none of them here" } else { "more than one here" };
        diagnostics.error_with_help(compare.span, message, label, help);
        return None;
    };
    let subject = parts.get(verb).and_then(|node| group(verb, node, "", diagnostics));
    let against = match parts.get(preposition) {
        None => {
            let message = format!("`{verb}` is compared `{preposition}` something");
            let help = format!("write {preposition} = {{ KEY = value }}, or {preposition} = 0.95");
            let label = format!("no `{preposition}` here");
            diagnostics.error_with_help(compare.span, message, label, help);
            None
        }
        Some(node) => against(preposition, node, diagnostics),
    };
    let other = if *preposition == "than" { "to" } else { "than" };
    if let Some(node) = parts.get(other) {
        let message = format!("`{verb}` goes with `{preposition}`, not with `{other}`");
        diagnostics.error(node.span, message, "does not belong here");
        return None;
    }
    Some((verb, subject?, against?))
}

fn against(name: &str, node: &Node, diagnostics: &mut Diagnostics) -> Option<Against> {
    match &node.raw {
        Raw::Integer(_) | Raw::Float(_) => {
            let before = diagnostics.count();
            let value = f64::read(node, &Interval::FINITE, diagnostics);
            diagnostics.attribute(before, name);
            value.map(Against::Value)
        }
        _ => group(name, node, " or a number", diagnostics).map(Against::Group),
    }
}

fn group(name: &str, node: &Node, or_else: &str, diagnostics: &mut Diagnostics) -> Option<Written> {
    let Raw::Table(tests) = &node.raw else {
        let message = format!("`{name}` is a condition{or_else}, found {}", node.describe());
        let help = "write a table of keys: { activation = \"relu\" }";
        diagnostics.error_with_help(node.span, message, "expected a table", help);
        return None;
    };
    rules::read(tests, node.span, &format!("`{name}`"), diagnostics)
}

fn relation(
    verb: &str,
    parts: &Settings<'_>,
    compare: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<Relation> {
    let misplaced = if verb == "equal" { "by" } else { "within" };
    if let Some(node) = parts.get(misplaced) {
        let message = format!("`{verb}` takes no `{misplaced}`");
        let help = match misplaced {
            "by" => "say how close the two are with `within`",
            _ => "say by which factor at least with `by`",
        };
        diagnostics.error_with_help(node.span, message, "does not belong here", help);
        return None;
    }
    let mut number = |name: &str, limits: Interval| {
        let node = parts.get(name)?;
        let before = diagnostics.count();
        let read = f64::read(node, &limits, diagnostics);
        diagnostics.attribute(before, name);
        Some(read)
    };
    match verb {
        "equal" => match number("within", Interval::above(0.0)) {
            Some(within) => within.map(Relation::Within),
            None => {
                let message = "`equal` needs `within`: no two means are the same to the last digit";
                let help = "write within = 0.01, the difference that does not matter";
                diagnostics.error_with_help(compare.span, message, "no `within` here", help);
                None
            }
        },
        _ => match (number("by", Interval::above(1.0)), verb) {
            (Some(factor), "smaller") => factor.map(Relation::SmallerBy),
            (Some(factor), _) => factor.map(Relation::LargerBy),
            (None, "smaller") => Some(Relation::Smaller),
            (None, _) => Some(Relation::Larger),
        },
    }
}
