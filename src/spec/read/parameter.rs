//! Overrides of one parameter: `optimizer.momentum=0.9`, `model.hidden=[64,64]`, `schedule.gamma=0.5,0.1`.
//!
//! In: such an override and the tree of the sweep file. Out: the override of the whole key that it amounts
//! to: every value that the key has, with that parameter, or with each of several.

use super::layer::remove_everywhere;
use super::overrides::{Change, Override};
use crate::spec::config::Key;
use crate::spec::node::{Name, Node, Raw};

/// `optimizer.momentum`: a key and the name of a parameter of its values.
pub fn parameter(change: &Override) -> Option<(Key, &Name)> {
    let names = match change.path.as_slice() {
        [section, names @ ..] if matches!(section.text.as_str(), "base" | "grid") => names,
        names => names,
    };
    let [key, parameter] = names else { return None };
    Some((Key::from_name(&key.text)?, parameter))
}

/// The override of the whole key. None where there is none: the key moves together with others or hangs on
/// a condition, its values have no parameters, or the parameter is taken out.
pub fn whole_value(tree: &Node, change: &Override) -> Option<(Key, Override)> {
    let (key, name) = parameter(change)?;
    let given = match &change.change {
        Change::Remove => return None,
        Change::One(node) => std::slice::from_ref(node),
        Change::Many(nodes) => nodes,
    };
    let mut changed = Vec::new();
    for value in values_of(tree, key)? {
        let mut entries = match value.raw {
            Raw::Text(_) => {
                let kind = Name { text: "kind".to_owned(), span: value.span };
                vec![(kind, value)]
            }
            Raw::Table(entries) => entries,
            Raw::Bool(_) => Vec::new(),
            _ => return None,
        };
        entries.retain(|(other, _)| other.text != name.text);
        changed.extend(given.iter().map(|parameter| {
            let mut entries = entries.clone();
            entries.push((name.clone(), parameter.clone()));
            Node { raw: Raw::Table(entries), span: change.value_span }
        }));
    }
    let path = vec![Name { text: key.name().to_owned(), span: change.path_span() }];
    let whole = match changed.len() {
        1 => Change::One(changed.remove(0)),
        _ => Change::Many(changed),
    };
    Some((key, Override { path, change: whole, value_span: change.value_span }))
}

/// The values of a key: those of `[base]` or of `[grid]`, or its default. None where it stands elsewhere.
fn values_of(tree: &Node, key: Key) -> Option<Vec<Node>> {
    let stands_in = |section| entry(entry(tree, section)?, key.name());
    if let Some(value) = stands_in("base") {
        return Some(vec![value.clone()]);
    }
    if let Some(axis) = stands_in("grid") {
        return match &axis.raw {
            Raw::List(values) => Some(values.clone()),
            _ => None,
        };
    }
    let mut without = tree.clone();
    remove_everywhere(&mut without, key);
    let stands_nowhere = without == *tree;
    stands_nowhere.then(|| vec![Node::from_json(&key.default_setting().canonical())])
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Raw::Table(entries) = &node.raw else { return None };
    entries.iter().find(|(other, _)| other.text == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::diagnostics::Diagnostics;
    use crate::spec::read::layer;
    use crate::spec::read::overrides::parse;

    /// `[base]` and `[grid]` of `file` under `overrides`, or what is wrong.
    fn overridden(
        file: &serde_json::Value,
        overrides: &[&str],
    ) -> Result<serde_json::Value, String> {
        let mut diagnostics = Diagnostics::new();
        let mut tree = Node::from_json(file);
        let mut read = Vec::new();
        for text in overrides {
            let source = diagnostics.add_source("command line", text);
            read.extend(parse(text, source, &mut diagnostics));
        }
        layer::apply(&mut tree, read, &mut diagnostics);
        diagnostics.finish(Some(tree.to_json())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_parameter_changes_every_value_of_its_key_and_several_make_an_axis() {
        let file = serde_json::json!({
            "base": { "optimizer": { "kind": "sgd", "momentum": 0.9 } },
            "grid": { "schedule": [{ "kind": "step", "gamma": 0.5 }, "exponential"] },
        });
        let base = |overrides| overridden(&file, overrides).unwrap()["base"].clone();
        let grid = |overrides| overridden(&file, overrides).unwrap()["grid"].clone();
        assert_eq!(
            base(&["optimizer.momentum=0.5"])["optimizer"],
            serde_json::json!({ "kind": "sgd", "momentum": 0.5 })
        );
        assert_eq!(
            grid(&["optimizer.momentum=0.5,0"])["optimizer"],
            serde_json::json!([
                { "kind": "sgd", "momentum": 0.5 },
                { "kind": "sgd", "momentum": 0 },
            ])
        );
        assert_eq!(
            grid(&["grid.schedule.gamma=0.1"])["schedule"],
            serde_json::json!([
                { "kind": "step", "gamma": 0.1 },
                { "kind": "exponential", "gamma": 0.1 },
            ])
        );
        assert_eq!(
            base(&["model.hidden=[8,8]"])["model"],
            serde_json::json!({ "kind": "mlp", "hidden": [8, 8] }),
            "of the default"
        );
        assert_eq!(
            base(&["batch_norm.momentum=0.2"])["batch_norm"],
            serde_json::json!({ "momentum": 0.2 })
        );
    }

    #[test]
    fn the_order_of_overrides_does_not_matter() {
        let file = serde_json::json!({ "base": { "optimizer": "sgd" } });
        let expected =
            serde_json::json!({ "base": { "optimizer": { "kind": "adam", "beta1": 0.8 } } });
        for overrides in
            [["optimizer=adam", "optimizer.beta1=0.8"], ["optimizer.beta1=0.8", "optimizer=adam"]]
        {
            assert_eq!(overridden(&file, &overrides).unwrap(), expected);
        }
    }

    #[test]
    fn where_it_is_not_clear_what_is_meant_the_whole_value_is_asked_for() {
        let zipped = serde_json::json!({ "zip": [{ "optimizer": ["sgd"], "lr": [0.1] }] });
        for (file, text) in [
            (&zipped, "optimizer.momentum=0.5"),
            (&serde_json::json!({}), "lr.x=1"),
            (&serde_json::json!({}), "~optimizer.momentum"),
        ] {
            let error = overridden(file, &[text]).unwrap_err();
            assert!(error.contains("cannot be overridden"), "{text}: {error}");
        }
    }
}
