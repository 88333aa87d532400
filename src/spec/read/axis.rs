//! The values of a key: one for `[base]`, a list or a generator for `[grid]`, `[[zip]]` and `[[when]]`.

use std::collections::BTreeMap;

use super::generator::{GENERATORS, is_generator, numbers};
use super::hints::key_help;
use super::spelled;
use crate::spec::config::{Key, Setting};
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Name, Node, Raw, Span};
use crate::spec::sweep::{Axis, Choice};

/// The key called `name`, which may not be `seed`, or a noted problem.
pub fn find_key(name: &Name, diagnostics: &mut Diagnostics) -> Option<Key> {
    match Key::from_name(&name.text) {
        Some(Key::Seed) => {
            let help = "seeds are replicates, not an axis: write `seeds = 3` or `seeds = [7, 8]` in [repeats]";
            diagnostics.error_with_help(name.span, "`seed` is not an axis", "not here", help);
            None
        }
        Some(key) => Some(key),
        None => {
            let message = format!("there is no key `{}`", name.text);
            diagnostics.error_with_help(name.span, message, "unknown key", key_help(&name.text));
            None
        }
    }
}

/// Can values of `key` be generated and compared as numbers?
pub fn is_numeric(key: Key) -> bool {
    key.default_setting().number().is_some()
}

/// Reads the one value of `key` where `place` takes no lists.
pub fn single(
    key: Key,
    node: &Node,
    place: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Setting> {
    let many = matches!(node.raw, Raw::List(_)) && !key.is_one_list(node) || is_generator(node);
    if many {
        let found = if is_generator(node) { "a generator".to_owned() } else { node.describe() };
        let message = format!("`{key}` in {place} takes one value, found {found}");
        let help = "did you mean [grid]? There every key takes a list of values";
        diagnostics.error_with_help(node.span, message, "several values", help);
        return None;
    }
    whole(key, node, "several values make an axis, in [grid]", diagnostics)
}

/// Reads a value of `key`; where a parameter of it has several values, says how to write them.
fn whole(key: Key, node: &Node, lead: &str, diagnostics: &mut Diagnostics) -> Option<Setting> {
    let before = diagnostics.count();
    let setting = key.read(node, diagnostics);
    if let (None, Raw::Table(entries)) = (&setting, &node.raw) {
        let several = |(name, _): &&(Name, Node)| spelled::has_several(key, entries, name);
        for (_, value) in entries.iter().filter(several) {
            if let Some(wholes) = spelled::axis_of_wholes(key, entries) {
                diagnostics.advise(before, value.span, &format!("{lead}: `{wholes}`"));
            }
        }
    }
    setting
}

/// Reads the values of `key` where `place` takes lists and generators.
pub fn axis(key: Key, node: &Node, place: &str, diagnostics: &mut Diagnostics) -> Option<Axis> {
    let values = match &node.raw {
        Raw::List(items) => listed(key, items, diagnostics)?,
        Raw::Table(_) if is_generator(node) => generated(key, node, diagnostics)?,
        _ => {
            not_several(key, node, place, diagnostics);
            return None;
        }
    };
    if values.is_empty() {
        let message = format!("`{key}` has no value to take");
        let help = "write at least one value, or leave the key out for its default";
        diagnostics.error_with_help(node.span, message, "empty", help);
        return None;
    }
    refuse_repeats(&values, diagnostics)?;
    Some(Axis { key, values })
}

fn listed(key: Key, items: &[Node], diagnostics: &mut Diagnostics) -> Option<Vec<Choice>> {
    let read: Vec<Option<Choice>> = items
        .iter()
        .map(|item| {
            if is_generator(item) {
                let help = format!("write `{key} = {{ ... }}`, without the brackets around it");
                let message = "a generator stands in place of the list, not in it";
                diagnostics.error_with_help(item.span, message, "a generator", help);
                return None;
            }
            if matches!(item.raw, Raw::List(_)) && !key.is_one_list(item) {
                let message = format!("a value of `{key}` is no list, found {}", item.describe());
                diagnostics.error_with_help(item.span, message, "a list", "write one flat list");
                return None;
            }
            let lead = "a list stands around whole values";
            let setting = whole(key, item, lead, diagnostics)?;
            Some(Choice { setting, span: item.span })
        })
        .collect();
    read.into_iter().collect()
}

fn generated(key: Key, node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<Choice>> {
    if !is_numeric(key) {
        let message = format!("`{key}` is no number, so its values cannot be generated");
        let help = "write a list of values";
        diagnostics.error_with_help(node.span, message, "a generator of numbers", help);
        return None;
    }
    let mut values = Vec::new();
    // The first bad number says it all: the others stand at the same place.
    for raw in numbers(node, diagnostics)? {
        let setting = key.read(&Node { raw, span: node.span }, diagnostics)?;
        values.push(Choice { setting, span: node.span });
    }
    Some(values)
}

fn not_several(key: Key, node: &Node, place: &str, diagnostics: &mut Diagnostics) {
    let message = format!("`{key}` in {place} takes a list of values, found {}", node.describe());
    let written = diagnostics.sources().text(node.span);
    // Of a table that was written as `[grid.KEY]` or `KEY.parameter = …` the text is but a name.
    let in_braces = !matches!(node.raw, Raw::Table(_)) || written.starts_with('{');
    let short = written.len() <= 40 && !written.contains('\n') && in_braces;
    let foreign = |name: &str| match &node.raw {
        Raw::Table(entries) => entries.iter().any(|(other, _)| other.text == name),
        _ => false,
    };
    let parts = match &node.raw {
        Raw::Table(entries) if !in_braces || !foreign("kind") => {
            spelled::axis_of_wholes(key, entries).map(|wholes| (wholes, entries))
        }
        _ => None,
    };
    let help = if let Some((wholes, entries)) = parts {
        match spelled::override_of(key, entries) {
            Some(change) => format!("write `{wholes}`, or on the command line `{change}`"),
            None => format!("write `{wholes}`"),
        }
    } else if foreign("values") || foreign("choice") {
        format!("the list stands alone: {key} = [a, b, c]")
    } else if foreign("min") || foreign("max") || foreign("distribution") {
        format!("write {key} = {{ logspace = [1e-4, 1e-1], num = 7 }}, or linspace, or range")
    } else if is_numeric(key) && matches!(node.raw, Raw::Table(_)) {
        format!("a list [a, b, c], or a generator: {}", GENERATORS.join(", "))
    } else if short {
        format!("did you mean [base]? An axis of one value is `{key} = [{written}]`")
    } else {
        "did you mean [base]? An axis of one value is a list too".to_owned()
    };
    diagnostics.error_with_help(node.span, message, "not a list", help);
}

/// Notes every value that stands twice, once typed: 3 and 3.0, a default left out and written out.
fn refuse_repeats(values: &[Choice], diagnostics: &mut Diagnostics) -> Option<()> {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let before = diagnostics.count();
    for value in values {
        let Some(first) = seen.insert(value.setting.canonical().to_string(), value.span) else {
            continue;
        };
        let message =
            format!("`{}` takes the value {} twice", value.setting.key(), value.setting.label());
        if first == value.span {
            let help = "take fewer values: these are too close to tell apart";
            diagnostics.error_with_help(value.span, message, "gives it twice", help);
            break;
        }
        let help = "equal values give equal runs; for replicates see [repeats]";
        diagnostics.clash((value.span, "again here"), (first, "first here"), message, help);
    }
    (diagnostics.count() == before).then_some(())
}
