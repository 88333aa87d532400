//! `[short]`: the file's own overrides, for a size of the sweep that takes minutes instead of a night.
//!
//! In: the tree of a sweep file. Out: the tree with what stands in `[short]` laid over it as overrides
//! on the command line would be (see [`layer`]), or with `[short]` merely taken out. The short sweep
//! has a name of its own, since its record is another one.

use std::collections::BTreeSet;

use super::layer;
use super::overrides::{Change, Override};
use super::settings;
use crate::spec::config::Key;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Name, Node, Raw, Span};

/// Name of the section.
const SECTION: &str = "short";

/// What the name of a sweep ends with in its short size.
const SUFFIX: &str = "-short";

/// Takes `[short]` out of the tree, where it has one.
pub(super) fn take(tree: &mut Node) -> Option<(Name, Node)> {
    let Raw::Table(top) = &mut tree.raw else { return None };
    let at = top.iter().position(|(name, _)| name.text == SECTION)?;
    Some(top.remove(at))
}

/// The two sizes of a sweep, as `only` of a claim names them.
pub(super) const SIZES: &[(&str, Size)] = &[("full", Size::Full), ("short", Size::Short)];

/// A size of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// As the file stands.
    Full,
    /// With `[short]` laid over it.
    Short,
}

/// Takes the claims out of the tree that are made in the other size only.
pub(super) fn keep_claims(tree: &mut Node, size: Size) {
    let Raw::Table(top) = &mut tree.raw else { return };
    let claims = top.iter_mut().find(|(name, _)| name.text == "claim");
    let Some((_, Node { raw: Raw::List(claims), .. })) = claims else { return };
    let only = |claim: &Node| {
        let Raw::Table(entries) = &claim.raw else { return None };
        let (_, node) = entries.iter().find(|(name, _)| name.text == "only")?;
        SIZES.iter().find(|(name, _)| matches!(&node.raw, Raw::Text(text) if text == name))
    };
    claims.retain(|claim| only(claim).is_none_or(|(_, other)| *other == size));
}

/// Lays `[short]`, taken out before, over the tree; gives the keys that it touched.
pub(super) fn apply(
    tree: &mut Node,
    short: Option<(Name, Node)>,
    diagnostics: &mut Diagnostics,
) -> BTreeSet<Key> {
    let Some((_, node)) = short else {
        let message = "the sweep has no short size";
        let help =
            "add a section [short] with what is other in it: `epochs = 2`, `repeats.seeds = 1`";
        diagnostics.error_with_help(Span::default(), message, "no [short] here", help);
        return BTreeSet::new();
    };
    let Raw::Table(entries) = node.raw else {
        let message = format!("[short] is a table, found {}", node.describe());
        let help = "write [short] on a line of its own, and what is other in it below";
        diagnostics.error_with_help(node.span, message, "expected a table", help);
        return BTreeSet::new();
    };
    if !entries.iter().any(|(name, _)| name.text == "name") {
        lengthen_name(tree);
    }
    let mut changes = Vec::new();
    for (name, node) in entries {
        flatten(vec![name], node, &mut changes);
    }
    layer::apply(tree, changes, diagnostics)
}

/// `lr = 0.1` and `repeats.seeds = 2` as overrides. A table that is no section is a value.
fn flatten(path: Vec<Name>, node: Node, changes: &mut Vec<Override>) {
    let section = match path.as_slice() {
        [name] => settings::is_section(&name.text) || matches!(&*name.text, "base" | "grid"),
        _ => false,
    };
    let value_span = node.span;
    match node.raw {
        Raw::Table(entries) if section => {
            for (name, node) in entries {
                flatten([path.as_slice(), &[name]].concat(), node, changes);
            }
        }
        raw => {
            let change = Change::One(Node { raw, span: value_span });
            changes.push(Override { path, change, value_span });
        }
    }
}

fn lengthen_name(tree: &mut Node) {
    let Raw::Table(top) = &mut tree.raw else { return };
    let name = top.iter_mut().find(|(name, _)| name.text == "name");
    if let Some((_, Node { raw: Raw::Text(name), .. })) = name {
        name.push_str(SUFFIX);
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Key, Setting, SweepSpec};

    const FILE: &str = r#"
schema = 1
name = "lr"
[base]
epochs = 50
lr = 0.1
[grid]
activation = ["relu", "tanh", "sigmoid"]
[repeats]
seeds = 10
[metric]
target = 0.95
[short]
epochs = 2
activation = ["relu", "tanh"]
repeats.seeds = 2
metric.target = 0.5
"#;

    fn parse(text: &str, changes: &[&str]) -> Result<SweepSpec, String> {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        let read = SweepSpec::parse("a.toml", text, &changes);
        read.map(|(spec, _)| spec).map_err(|error| error.to_string())
    }

    #[test]
    fn what_stands_there_holds_when_asked_for_and_only_then() {
        let long = parse(FILE, &[]).unwrap();
        assert_eq!((long.name.as_str(), long.base.epochs, long.seeds.len()), ("lr", 50, 10));
        assert_eq!((long.grid[0].values.len(), long.metric.target), (3, Some(0.95)));
        let short = parse(FILE, &["--short"]).unwrap();
        assert_eq!((short.name.as_str(), short.base.epochs, short.seeds.len()), ("lr-short", 2, 2));
        assert_eq!((short.grid[0].values.len(), short.metric.target), (2, Some(0.5)));
        assert_eq!(short.base.lr, 0.1, "what it does not name stays");
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let spec = parse(FILE, &["epochs=3", "--short", "name=mine", "activation=elu"]).unwrap();
        assert_eq!((spec.name.as_str(), spec.base.epochs, spec.seeds.len()), ("mine", 3, 2));
        assert_eq!(spec.base.setting(Key::Activation).label(), "elu");
        assert!(!spec.grid.iter().any(|axis| axis.key == Key::Activation));
    }

    #[test]
    fn a_table_is_a_value_unless_it_is_a_section() {
        let text = FILE.replace("epochs = 2", "schedule = { kind = \"step\", every_epochs = 1 }");
        let short = parse(&text, &["--short"]).unwrap();
        assert_eq!(short.base.setting(Key::Schedule).label(), "step(every_epochs=1)");
        assert!(matches!(short.base.setting(Key::Epochs), Setting::Epochs(50)));
    }

    #[test]
    fn a_slip_in_it_is_found_in_either_size() {
        let text = FILE.replace("epochs = 2", "epocs = 2");
        for changes in [&[][..], &["--short"]] {
            let error = parse(&text, changes).unwrap_err();
            assert!(error.contains("nothing in a sweep is called `epocs`"), "{error}");
        }
        let text = FILE.replace("repeats.seeds = 2", "repeats.seeds = 0");
        assert!(parse(&text, &[]).unwrap_err().contains("seeds"));
    }

    #[test]
    fn a_claim_may_be_made_in_one_size_only() {
        let claim = |only: &str, epoch: u32| {
            format!(
                "[[claim]]\ntext = \"{only}\"\nonly = \"{only}\"\ncompare = {{ metric = {{ curve = \
                 \"val_loss\", epoch = {epoch} }}, smaller = {{ activation = \"relu\" }}, than = 1 }}\n"
            )
        };
        let text = format!("{FILE}{}{}", claim("full", 20), claim("short", 2));
        for (changes, only) in [(&[][..], "full"), (&["--short"], "short")] {
            let claims = parse(&text, changes).unwrap().claims;
            assert_eq!(claims.iter().map(|claim| &claim.text[..]).collect::<Vec<_>>(), [only]);
        }
        let late = format!("{FILE}{}", claim("full", 60));
        assert!(parse(&late, &[]).unwrap_err().contains("no run has an epoch 60"));
        assert!(parse(&late, &["--short"]).is_ok());
        let slip = format!("{FILE}{}", claim("shrot", 1));
        assert!(parse(&slip, &[]).unwrap_err().contains("`only` cannot be `shrot`"));
    }

    #[test]
    fn a_sweep_without_one_says_so() {
        let text = FILE.split("[short]").next().unwrap();
        assert!(parse(text, &["--short"]).unwrap_err().contains("no short size"));
        let text = format!("{text}\n[[short]]\nepochs = 2\n");
        assert!(parse(&text, &[]).unwrap_err().contains("[short] is a table"));
    }
}
