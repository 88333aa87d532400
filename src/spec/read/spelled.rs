//! Advice for who gives values to a parameter instead of its key: the whole values, spelled out.
//!
//! In: a key and a table such as `{ momentum = [0.1, 0.2] }`. Out: what to write for it,
//! `optimizer = [{ kind = "sgd", momentum = 0.1 }, { kind = "sgd", momentum = 0.2 }]`.

use serde_json::Value as Json;

use crate::spec::config::Key;
use crate::spec::node::{Name, Node, Raw};
use crate::spec::reference::{choices, tables, toml};

/// Values that are spelled out.
const SHOWN: usize = 3;

/// The values of `key` that a table means whose parameters have one or several values; none where it
/// has none of the key's parameters.
pub fn axis_of_wholes(key: Key, entries: &[(Name, Node)]) -> Option<String> {
    let kind = kind_meant(key, entries)?;
    let mut wholes = vec![named(&kind)];
    for (name, node) in entries.iter().filter(|(name, _)| name.text != "kind") {
        let schema = &kind["properties"][&name.text];
        // The name of something else: what it was meant to be is unknown.
        let _known = schema.as_object()?;
        let values: Vec<String> = match &node.raw {
            Raw::List(items) if takes_no_list(schema, items) => items.iter().map(text).collect(),
            _ => vec![text(node)],
        };
        let with = |whole: &Vec<String>, value: &String| {
            let mut whole = whole.clone();
            whole.push(format!("{} = {value}", name.text));
            whole
        };
        wholes = wholes
            .iter()
            .flat_map(|whole| values.iter().map(move |value| with(whole, value)))
            .take(SHOWN + 1)
            .collect();
    }
    let more = if wholes.len() > SHOWN { ", …" } else { "" };
    let shown = wholes.iter().take(SHOWN).map(|whole| format!("{{ {} }}", whole.join(", ")));
    Some(format!("{key} = [{}{more}]", shown.collect::<Vec<_>>().join(", ")))
}

/// Has a parameter of the table several values, where it takes one?
pub fn has_several(key: Key, entries: &[(Name, Node)], parameter: &Name) -> bool {
    let Some(kind) = kind_meant(key, entries) else { return false };
    let schema = &kind["properties"][&parameter.text];
    let node = entries.iter().find(|(name, _)| name == parameter).map(|(_, node)| &node.raw);
    matches!(node, Some(Raw::List(items)) if schema.is_object() && takes_no_list(schema, items))
}

/// The kind that a table is of: the one that it names, or the one that has its first parameter.
fn kind_meant(key: Key, entries: &[(Name, Node)]) -> Option<Json> {
    match entries.iter().find(|(name, _)| name.text == "kind") {
        Some((_, Node { raw: Raw::Text(kind), .. })) => kind_of(key, |name| name == kind),
        Some(_) => None,
        None => kind_with(key, &entries.first()?.0.text),
    }
}

/// A whole value of `key` with this parameter, where it has such a one.
pub fn whole(key: Key, parameter: &str, value: &Node) -> Option<String> {
    let mut whole = named(&kind_with(key, parameter)?);
    let value = match &value.raw {
        Raw::Table(_) | Raw::List(_) => "…".to_owned(),
        _ => text(value),
    };
    whole.push(format!("{parameter} = {value}"));
    Some(format!("{key} = {{ {} }}", whole.join(", ")))
}

/// The override of a parameter that amounts to the table, where it has but one.
pub fn override_of(key: Key, entries: &[(Name, Node)]) -> Option<String> {
    let [(name, node)] = entries else { return None };
    let schema = &kind_with(key, &name.text)?["properties"][&name.text];
    let Raw::List(items) = &node.raw else { return None };
    let plain = |item: &Node| !matches!(item.raw, Raw::List(_) | Raw::Table(_));
    let several = takes_no_list(schema, items) && items.len() <= SHOWN && items.iter().all(plain);
    let values = items.iter().map(text).map(|text| text.trim_matches('"').to_owned());
    several.then(|| format!("{key}.{}={}", name.text, values.collect::<Vec<_>>().join(",")))
}

/// Are `items` several values of a parameter, and not one value that is a list?
fn takes_no_list(schema: &Json, items: &[Node]) -> bool {
    !items.is_empty()
        && (schema["type"] != "array" || items.iter().all(|i| matches!(i.raw, Raw::List(_))))
}

fn text(node: &Node) -> String {
    toml(&node.to_json())
}

/// What a value of this kind begins with.
fn named(kind: &Json) -> Vec<String> {
    let kind = &kind["properties"]["kind"]["const"];
    if kind.is_null() { Vec::new() } else { vec![format!("kind = {}", toml(kind))] }
}

/// The kind of the key's values that has the parameter: that of the default, if it has.
fn kind_with(key: Key, parameter: &str) -> Option<Json> {
    let default = key.default_setting();
    let has = |kind: &Json| kind["properties"][parameter].is_object();
    let own = default.kind().and_then(|own| kind_of(key, |name| name == own));
    own.filter(has).or_else(|| kinds(key).into_iter().find(has))
}

fn kind_of(key: Key, is: impl Fn(&str) -> bool) -> Option<Json> {
    let named = |kind: &Json| kind["properties"]["kind"]["const"].as_str().is_some_and(&is);
    kinds(key).into_iter().find(named)
}

/// The kinds of a key that are written as tables.
fn kinds(key: Key) -> Vec<Json> {
    tables(choices(&key.schema()).into_iter().flatten()).cloned().collect()
}
