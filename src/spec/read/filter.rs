//! `--where`: conditions on the command line, as short as `lr<0.1` or `activation=relu,tanh`.
//!
//! In: arguments, each a test of one key. Out: one condition that is all of them together. The tests
//! are those of a sweep file (`activation=relu,tanh` is `activation = ["relu", "tanh"]`, `lr<0.1` is
//! `lr = { lt = 0.1 }`) and values are written as in overrides; a test that no configuration of the
//! sweep passes by itself is a mistake, as it is in an `[[exclude]]`.

use super::overrides::{self, Change};
use super::rules;
use crate::spec::condition::Condition;
use crate::spec::config::{Key, Setting};
use crate::spec::diagnostics::{Diagnostics, SpecError};
use crate::spec::node::{Name, Node, Raw, Span};

/// What stands between key and value, and the operator that it is in a sweep file. Longer ones first.
const SIGNS: [(&str, &str); 7] =
    [("<=", "le"), (">=", "ge"), ("!=", "ne"), ("==", "eq"), ("<", "lt"), (">", "gt"), ("=", "eq")];

/// Reads conditions that must all hold. `domain` gives the values that a key takes in the sweep.
///
/// # Errors
/// Everything that is wrong with any of them: grammar, unknown keys, values that the sweep does not
/// have.
pub fn parse(
    arguments: &[String],
    domain: impl Fn(Key) -> Vec<Setting>,
) -> Result<Condition, SpecError> {
    let mut diagnostics = Diagnostics::new();
    let mut tests = Vec::new();
    for text in arguments {
        let source = diagnostics.add_source("--where", text);
        let whole = Span { source, start: 0, end: text.len() };
        let Some(entries) = entries(text, source, &mut diagnostics) else { continue };
        if let Some(written) = rules::read(&entries, whole, "a condition", &mut diagnostics) {
            rules::refuse_idle(&written, |key| Some(domain(key)), &mut diagnostics);
            tests.extend(written.condition().tests);
        }
    }
    diagnostics.finish(Some(Condition { tests }))
}

/// The test as a sweep file has it: the key, with a value or a table of operators.
fn entries(text: &str, source: usize, diagnostics: &mut Diagnostics) -> Option<Vec<(Name, Node)>> {
    let Some((place, sign, operator)) = split(text) else {
        let whole = Span { source, start: 0, end: text.len() };
        let message = format!("expected a condition, found `{text}`");
        let help = "write `key=value`, `key=a,b`, `key!=value`, `key<number` or `key>=number`";
        diagnostics.error_with_help(whole, message, "no `=`, `<` or `>`", help);
        return None;
    };
    let name = text[..place].trim();
    let name = Name { text: name.to_owned(), span: Span { source, start: 0, end: name.len() } };
    if matches!(name.text.as_str(), "seed" | "seeds") {
        let help =
            "configurations are ranked over all their seeds; runs.csv has a row for each seed";
        diagnostics.error_with_help(name.span, "`seed` is not an axis", "not here", help);
        return None;
    }
    let values = overrides::values(text, place + sign.len(), source, diagnostics)?;
    let table = |operator: &str, node: Node| {
        let word = Name {
            text: operator.to_owned(),
            span: Span { source, start: place, end: place + sign.len() },
        };
        (name.clone(), Node { span: node.span, raw: Raw::Table(vec![(word, node)]) })
    };
    Some(match (operator, values) {
        // As in a sweep file: a value, a list, a table of operators.
        ("eq", Change::One(node)) => vec![(name.clone(), node)],
        ("eq", Change::Many(nodes)) => {
            let span = Span { source, start: place + sign.len(), end: text.len() };
            vec![table("in", Node { raw: Raw::List(nodes), span })]
        }
        // Neither of several values.
        (operator, Change::Many(nodes)) => {
            nodes.into_iter().map(|node| table(operator, node)).collect()
        }
        (operator, Change::One(node)) => vec![table(operator, node)],
        (_, Change::Remove) => Vec::new(),
    })
}

/// The first sign of the text: its place, itself, its operator.
fn split(text: &str) -> Option<(usize, &'static str, &'static str)> {
    let place = text.find(['<', '>', '=', '!'])?;
    let (sign, operator) = SIGNS.iter().find(|(sign, _)| text[place..].starts_with(sign))?;
    Some((place, sign, operator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunConfig;
    use crate::spec::activation::Activation;
    use crate::spec::batch_norm::BatchNorm;
    use proptest::prelude::*;

    /// A sweep over three activations, three rates and batch normalisation.
    fn domain(key: Key) -> Vec<Setting> {
        match key {
            Key::Activation => [Activation::Relu, Activation::Tanh, Activation::Silu]
                .map(Setting::Activation)
                .to_vec(),
            Key::Lr => [0.01, 0.1, 1.0].map(Setting::Lr).to_vec(),
            Key::BatchNorm => [BatchNorm::Off, BatchNorm::ON].map(Setting::BatchNorm).to_vec(),
            key => vec![key.default_setting()],
        }
    }

    fn read(arguments: &[&str]) -> Result<Condition, String> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        parse(&arguments, domain).map_err(|error| {
            let problems = error.problems().map(|problem| {
                format!("{} | {}", problem.message, problem.help.as_deref().unwrap_or_default())
            });
            problems.collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn conditions_are_those_of_a_sweep_file() {
        for (argument, label) in [
            ("activation=relu", "activation=relu"),
            ("activation==relu", "activation=relu"),
            ("activation=relu,tanh", "activation=relu|tanh"),
            ("activation = [relu, tanh]", "activation=relu|tanh"),
            ("activation!=relu", "activation!=relu"),
            ("activation!=relu,tanh", "activation!=relu activation!=tanh"),
            ("lr<0.1", "lr<0.1"),
            ("lr <= 1e-1", "lr<=0.1"),
            ("lr>.05", "lr>0.05"),
            ("lr>=1", "lr>=1"),
            ("lr={ge=0.1,lt=1}", "lr>=0.1 lr<1"),
            ("batch_norm=true", "batch_norm=true"),
        ] {
            assert_eq!(read(&[argument]).unwrap().label(), label, "{argument}");
        }
        let both = read(&["lr<1", "activation=relu"]).unwrap();
        let config = |lr, activation| RunConfig { lr, activation, ..RunConfig::default() };
        assert!(both.holds(&config(0.1, Activation::Relu)));
        assert!(!both.holds(&config(1.0, Activation::Relu)));
        assert!(!both.holds(&config(0.1, Activation::Tanh)));
        assert!(read(&[]).unwrap().holds(&config(0.1, Activation::Tanh)));
    }

    #[test]
    fn slips_are_named() {
        for (argument, part) in [
            ("activaton=relu", "did you mean `activation`?"),
            ("lr", "expected a condition"),
            ("lr!0.1", "expected a condition"),
            ("lr<", "a value is missing"),
            ("activation<relu", "`lt` compares numbers"),
            ("activation=elu", "`activation` takes: relu, tanh, silu"),
            ("lr=0.2", "`lr` takes: 0.01, 0.1, 1"),
            ("lr>5", "no value of `lr` lies there"),
            ("activation=reluu", "did you mean `relu`?"),
            ("seed=1", "`seed` is not an axis"),
            ("dropout=0.5", "`dropout` is never 0.5"),
            ("=1", "there is no key ``"),
        ] {
            let error = read(&[argument]).unwrap_err();
            assert!(error.contains(part), "{argument}: {error}");
        }
        let both = read(&["activaton=relu", "lr>5"]).unwrap_err();
        assert_eq!(both.lines().count(), 2, "{both}");
    }

    proptest! {
        #[test]
        fn no_argument_panics(text in "[a-c.=<>!,{}\\[\\]\"' é0-9]{0,24}") {
            let _ = read(&[&text]);
        }
    }
}
