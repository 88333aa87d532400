//! Lays overrides over the tree of a sweep file.
//!
//! An override of a key takes the key out of every place it stands in (`[base]`, `[grid]`, `[[zip]]`,
//! `grid` of `[[when]]`, `[[include]]`), so that the command line always wins, and then
//! * `key=value` puts it into `[base]`;
//! * `key=a,b`, `key=[a,b]` and `key={linspace=…}` put it into `[grid]`, at its old place there or at
//!   the end;
//! * `~key` leaves it out: its default holds;
//! * `key.parameter=value` gives every value that the key has that parameter (see `parameter.rs`).
//!
//! What remains of a `[[zip]]` moves together as before; a table that becomes empty goes. Rules of
//! `[[exclude]]` and `[[when]]` stay: a rule that now matches nothing does nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::generator::is_generator;
use super::hints;
use super::overrides::{Change, Override};
use super::parameter::{parameter, whole_value};
use super::settings;
use crate::spec::config::Key;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Name, Node, Raw, Span};

type Entries = Vec<(Name, Node)>;

/// Changes `tree` as the overrides say; gives the keys that they touched.
pub fn apply(
    tree: &mut Node,
    overrides: Vec<Override>,
    diagnostics: &mut Diagnostics,
) -> BTreeSet<Key> {
    let mut touched = BTreeSet::new();
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    // A parameter is one of the value that a key has in the end, wherever that is said.
    let (parameters, others): (Vec<Override>, Vec<Override>) =
        overrides.into_iter().partition(|change| parameter(change).is_some());
    for change in others.into_iter().chain(parameters) {
        let path = canonical_path(&change);
        if seen.insert(path.clone(), change.path_span()).is_some() {
            let (message, help) = match path.as_str() {
                "repeats.seeds" => (
                    "the seeds are overridden twice".to_owned(),
                    "keep one: `seeds=3` are the seeds 0, 1 and 2, `seed=7,8` are the seeds 7 and 8",
                ),
                path if settings::is_section(path.split('.').next().unwrap_or_default()) => {
                    (format!("`{path}` is overridden twice"), "keep one of the two")
                }
                path => (
                    format!("`{path}` is overridden twice"),
                    "an axis is one override: `lr=0.1,0.01`",
                ),
            };
            diagnostics.error_with_help(change.path_span(), message, "a second time", help);
            continue;
        }
        apply_one(tree, change, &mut touched, diagnostics);
    }
    touched
}

/// The path under which an override and its shorthands are the same.
fn canonical_path(change: &Override) -> String {
    let path = change.path_text();
    let path = path.strip_prefix("base.").or_else(|| path.strip_prefix("grid.")).unwrap_or(&path);
    if path == "seed" || path == "seeds" { "repeats.seeds".to_owned() } else { path.to_owned() }
}

fn apply_one(
    tree: &mut Node,
    change: Override,
    touched: &mut BTreeSet<Key>,
    diagnostics: &mut Diagnostics,
) {
    let names: Vec<&str> = change.path.iter().map(|name| name.text.as_str()).collect();
    match names.as_slice() {
        ["name" | "description"] => set_text(tree, change, diagnostics),
        ["seed" | "seeds"] | ["base", "seed"] | ["repeats", "seeds"] => set_seeds(tree, change),
        [name] | ["base" | "grid", name] if Key::from_name(name).is_some() => {
            if let Some(key) = Key::from_name(name) {
                touched.insert(key);
                set_key(tree, key, change);
            }
        }
        _ if parameter(&change).is_some() => match whole_value(tree, &change) {
            Some((key, change)) => {
                touched.insert(key);
                set_key(tree, key, change);
            }
            None => refuse(&change, &names, diagnostics),
        },
        [section, field @ ..] if !field.is_empty() && settings::is_section(section) => {
            set_field(tree, change);
        }
        _ => refuse(&change, &names, diagnostics),
    }
}

fn refuse(change: &Override, names: &[&str], diagnostics: &mut Diagnostics) {
    let path = change.path_text();
    let within = match names {
        ["base" | "grid", names @ ..] => names,
        names => names,
    };
    if let [first, _, ..] = within
        && Key::from_name(first).is_none()
        && !settings::is_top_level(first)
    {
        // The first name is what is wrong, not that it has something below it.
        let name = change.path.iter().find(|name| name.text == *first);
        let span = name.map_or(change.path_span(), |name| name.span);
        let message = format!("nothing in a sweep is called `{first}`");
        let help = hints::override_help_below(first, &within[1..].join("."));
        diagnostics.error_with_help(span, message, "not a key or section", help);
        return;
    }
    let help = match names {
        ["schema"] => "the schema's number belongs to the file's text".to_owned(),
        ["grid" | "base" | "zip" | "when" | "exclude" | "include" | "short"] => {
            "override one key at a time, such as `lr=0.1,0.01`".to_owned()
        }
        ["zip" | "when" | "exclude" | "include" | "short", ..] => {
            "override one key at a time, such as `lr=0.1,0.01`".to_owned()
        }
        ["claim", ..] => "claims belong to the file's text".to_owned(),
        [section] if settings::is_section(section) => {
            let fields = settings::field_names(section);
            let example = fields.first().copied().unwrap_or_default();
            format!("override one setting at a time, such as `{section}.{example}=...`")
        }
        [key, ..] if Key::from_name(key).is_some_and(is_number) => {
            format!("`{key}` has no parameters: write `{key}=...`")
        }
        [key, field, ..] if Key::from_name(key).is_some() => {
            format!("write the whole value: `{key}={{kind=...,{field}=...}}`")
        }
        ["base" | "grid", name] | [name] => hints::override_help(name),
        _ => hints::override_help(&path),
    };
    let message = format!("nothing in a sweep is called `{path}`");
    let message = match names {
        [name] if Key::from_name(name).is_none() && !settings::is_top_level(name) => message,
        ["base" | "grid", _] => message,
        _ => format!("`{path}` cannot be overridden"),
    };
    diagnostics.error_with_help(change.path_span(), message, "not a key or setting", help);
}

/// Is every value of the key a number, as its default is?
fn is_number(key: Key) -> bool {
    key.default_setting().canonical().is_number()
}

/// `name=…`, `description=…`: all that stands behind `=` is the text, quotes aside.
fn set_text(tree: &mut Node, change: Override, diagnostics: &mut Diagnostics) {
    let name = change.path[0].clone();
    let node = match change.change {
        Change::Remove => None,
        Change::One(node) if matches!(node.raw, Raw::Text(_)) => Some(node),
        Change::One(_) | Change::Many(_) => {
            let text = diagnostics.sources().text(change.value_span).to_owned();
            Some(Node { raw: Raw::Text(text), span: change.value_span })
        }
    };
    put(entries(tree), name, node);
}

/// `seed=7`, `seed=7,8`, `seeds=3`, `seeds=[7,8]`.
fn set_seeds(tree: &mut Node, change: Override) {
    let span = change.value_span;
    let one = change.path.last().is_some_and(|name| name.text == "seed");
    let node = match change.change {
        Change::Remove => None,
        Change::One(node) if one && !matches!(node.raw, Raw::List(_)) => {
            Some(Node { raw: Raw::List(vec![node]), span })
        }
        Change::One(node) => Some(node),
        Change::Many(nodes) => Some(Node { raw: Raw::List(nodes), span }),
    };
    remove_everywhere(tree, Key::Seed);
    let place = change.path[0].span;
    let repeats = section(tree, "repeats", place);
    put(repeats, Name { text: "seeds".to_owned(), span: place }, node);
    drop_if_empty(tree, "repeats");
}

fn set_key(tree: &mut Node, key: Key, change: Override) {
    let span = change.value_span;
    let name = change.path.last().cloned().unwrap_or(Name { text: key.name().to_owned(), span });
    let (place, node) = match change.change {
        Change::Remove => {
            remove_everywhere(tree, key);
            return;
        }
        Change::Many(nodes) => ("grid", Node { raw: Raw::List(nodes), span }),
        Change::One(node) if is_generator(&node) => ("grid", node),
        Change::One(node) if matches!(node.raw, Raw::List(_)) && !key.is_one_list(&node) => {
            ("grid", node)
        }
        Change::One(node) => ("base", node),
    };
    let at = position(section(tree, place, name.span), key.name());
    remove_everywhere(tree, key);
    let entries = section(tree, place, name.span);
    entries.insert(at.unwrap_or(entries.len()).min(entries.len()), (name, node));
}

/// `run.timeout=1h`, `run.retries.count=0`: a setting of a section.
fn set_field(tree: &mut Node, change: Override) {
    let mut node = tree;
    let Some((last, sections)) = change.path.split_last() else { return };
    for name in sections {
        let at = entries(node).iter().position(|(other, _)| other.text == name.text);
        let at = at.unwrap_or_else(|| {
            let empty = Node { raw: Raw::Table(Vec::new()), span: name.span };
            entries(node).push((name.clone(), empty));
            entries(node).len() - 1
        });
        node = &mut entries(node)[at].1;
    }
    let value = match change.change {
        Change::Remove => None,
        Change::One(value) => Some(value),
        Change::Many(values) => Some(Node { raw: Raw::List(values), span: change.value_span }),
    };
    put(entries(node), last.clone(), value);
}

/// The entries of a table; anything else becomes an empty table first.
fn entries(node: &mut Node) -> &mut Entries {
    if !matches!(node.raw, Raw::Table(_)) {
        node.raw = Raw::Table(Vec::new());
    }
    match &mut node.raw {
        Raw::Table(entries) => entries,
        _ => unreachable!("invariant: the node was made a table above"),
    }
}

/// The entries of a top-level section, which is made where there is none.
fn section<'a>(tree: &'a mut Node, name: &str, span: Span) -> &'a mut Entries {
    let top = entries(tree);
    let at = position(top, name).unwrap_or_else(|| {
        let empty = Node { raw: Raw::Table(Vec::new()), span };
        top.push((Name { text: name.to_owned(), span }, empty));
        top.len() - 1
    });
    entries(&mut top[at].1)
}

fn position(entries: &Entries, name: &str) -> Option<usize> {
    entries.iter().position(|(other, _)| other.text == name)
}

/// Replaces, adds or, without a node, removes an entry.
fn put(entries: &mut Entries, name: Name, node: Option<Node>) {
    match (position(entries, &name.text), node) {
        (Some(at), Some(node)) => entries[at] = (name, node),
        (None, Some(node)) => entries.push((name, node)),
        (Some(at), None) => {
            entries.remove(at);
        }
        (None, None) => {}
    }
}

fn drop_if_empty(tree: &mut Node, name: &str) {
    entries(tree).retain(|(other, node)| other.text != name || !is_empty(node));
}

fn is_empty(node: &Node) -> bool {
    match &node.raw {
        Raw::Table(entries) => entries.is_empty(),
        Raw::List(items) => items.is_empty(),
        _ => false,
    }
}

/// Takes `key` out of every place that gives it values. Does not create or judge anything: what has
/// the wrong shape is left for the reader to report.
pub(super) fn remove_everywhere(tree: &mut Node, key: Key) {
    let Raw::Table(top) = &mut tree.raw else { return };
    top.retain_mut(|(name, node)| match name.text.as_str() {
        "base" | "grid" => !removed_and_empty(node, key),
        "zip" | "include" => {
            let Raw::List(items) = &mut node.raw else { return true };
            items.retain_mut(|item| !removed_and_empty(item, key));
            !items.is_empty()
        }
        "when" => {
            let Raw::List(items) = &mut node.raw else { return true };
            items.retain_mut(|item| !grid_removed_and_empty(item, key));
            !items.is_empty()
        }
        _ => true,
    });
}

/// Removes the key; true when it was the table's only one.
fn removed_and_empty(node: &mut Node, key: Key) -> bool {
    let Raw::Table(entries) = &mut node.raw else { return false };
    let before = entries.len();
    entries.retain(|(name, _)| name.text != key.name());
    before > 0 && entries.len() < before && entries.is_empty()
}

fn grid_removed_and_empty(rule: &mut Node, key: Key) -> bool {
    let Raw::Table(entries) = &mut rule.raw else { return false };
    let grid = entries.iter_mut().find(|(name, _)| name.text == "grid");
    grid.is_some_and(|(_, grid)| removed_and_empty(grid, key))
}
