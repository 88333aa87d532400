//! Conditions of `[[exclude]]` and `[[when]]`: reading them, and finding those that can never match.
//!
//! A condition is a conjunction of tests, each of one key. A key's *domain* is every value it takes
//! anywhere in the sweep. A test that no value of the domain passes is a mistake (a value that was
//! renamed, a bound on the wrong side), and so is one that tells no values apart.

use super::axis::{find_key, is_numeric};
use super::spelled;
use crate::spec::condition::{Condition, Named, Test};
use crate::spec::config::{Key, Setting};
use crate::spec::diagnostics::{Diagnostics, suggest};
use crate::spec::node::{Name, Node, Raw, Span};
use crate::spec::value::{Interval, Value};

/// The operators of a test written as a table.
const OPERATORS: &[&str] = &["eq", "ne", "lt", "le", "gt", "ge", "in"];

/// What other languages call an operator, and what it is here.
const SPELLINGS: &[(&[&str], &str)] = &[
    (&["==", "=", "equals", "is"], "eq"),
    (&["!=", "<>", "neq", "not", "not_eq", "isnt"], "ne"),
    (&["<", "less", "below", "less_than"], "lt"),
    (&["<=", "=<", "lte", "leq", "at_most", "max"], "le"),
    (&[">", "greater", "above", "greater_than"], "gt"),
    (&[">=", "=>", "gte", "geq", "at_least", "min"], "ge"),
    (&["one_of", "any", "isin", "among", "values"], "in"),
];

/// A condition with the places of its parts.
#[derive(Debug, Clone)]
pub struct Written {
    tests: Vec<WrittenTest>,
}

#[derive(Debug, Clone)]
struct WrittenTest {
    key: Key,
    test: Test,
    name: Span,
    /// The place of each value that the test names.
    values: Vec<Span>,
}

impl Written {
    /// The condition without places.
    pub fn condition(&self) -> Condition {
        Condition { tests: self.tests.iter().map(|test| (test.key, test.test.clone())).collect() }
    }

    /// The tested keys, each with the place of its name.
    pub fn keys(&self) -> impl Iterator<Item = (Key, Span)> {
        self.tests.iter().map(|test| (test.key, test.name))
    }
}

/// Reads a condition, a table of tests.
pub fn read(
    entries: &[(Name, Node)],
    span: Span,
    what: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Written> {
    if entries.is_empty() {
        let message = format!("{what} names no key");
        let help = "name at least one key: activation = \"tanh\", lr = { gt = 0.01 }";
        diagnostics.error_with_help(span, message, "empty", help);
        return None;
    }
    let before = diagnostics.count();
    let mut tests = Vec::new();
    for (name, node) in entries {
        if let Some(key) = find_key(name, diagnostics) {
            read_tests(key, name.span, node, &mut tests, diagnostics);
        }
    }
    (diagnostics.count() == before).then_some(Written { tests })
}

fn read_tests(
    key: Key,
    name: Span,
    node: &Node,
    tests: &mut Vec<WrittenTest>,
    diagnostics: &mut Diagnostics,
) {
    let mut push = |test: Option<(Test, Vec<Span>)>| {
        tests.extend(test.map(|(test, values)| WrittenTest { key, test, name, values }));
    };
    match &node.raw {
        Raw::List(items) if !key.is_one_list(node) => push(one_of(key, node, items, diagnostics)),
        Raw::Table(operators) if is_operators(key, operators) => {
            for (operator, value) in operators {
                push(operator_test(key, operator, value, diagnostics));
            }
        }
        _ => {
            push(named(key, node, diagnostics).map(|value| (Test::Equals(value), vec![node.span])));
        }
    }
}

/// Is the table one of operators, and not a word's `{ kind = … }` or a batch normalisation?
fn is_operators(key: Key, entries: &[(Name, Node)]) -> bool {
    let has = |names: &[&str]| entries.iter().any(|(name, _)| names.contains(&name.text.as_str()));
    !has(&["kind"]) && (key != Key::BatchNorm || has(OPERATORS))
}

fn one_of(
    key: Key,
    node: &Node,
    items: &[Node],
    diagnostics: &mut Diagnostics,
) -> Option<(Test, Vec<Span>)> {
    if items.is_empty() {
        let message = format!("no value of `{key}` is in an empty list");
        diagnostics.error(node.span, message, "empty");
        return None;
    }
    let values: Vec<Option<Named>> =
        items.iter().map(|item| named(key, item, diagnostics)).collect();
    let values: Option<Vec<Named>> = values.into_iter().collect();
    Some((Test::OneOf(values?), items.iter().map(|item| item.span).collect()))
}

/// What a test names: a word alone is a kind, whatever the parameters.
fn named(key: Key, node: &Node, diagnostics: &mut Diagnostics) -> Option<Named> {
    let value = key.read(node, diagnostics)?;
    let kind = value.kind().filter(|kind| matches!(&node.raw, Raw::Text(text) if text == kind));
    Some(kind.map_or(Named::Value(value), Named::Kind))
}

fn operator_test(
    key: Key,
    operator: &Name,
    value: &Node,
    diagnostics: &mut Diagnostics,
) -> Option<(Test, Vec<Span>)> {
    let test = match operator.text.as_str() {
        "eq" => Test::Equals(named(key, value, diagnostics)?),
        "ne" => Test::Differs(named(key, value, diagnostics)?),
        "in" => match &value.raw {
            Raw::List(items) => return one_of(key, value, items, diagnostics),
            _ => {
                let message = format!("`in` takes a list, found {}", value.describe());
                let help = "for one value write `eq`, or the value alone";
                diagnostics.error_with_help(value.span, message, "not a list", help);
                return None;
            }
        },
        order @ ("lt" | "le" | "gt" | "ge") => {
            if !is_numeric(key) {
                let message = format!("`{order}` compares numbers, and `{key}` is none");
                let help = format!("write `{key} = [...]`, or use eq, ne, in");
                diagnostics.error_with_help(operator.span, message, "no order", help);
                return None;
            }
            let before = diagnostics.count();
            let bound = f64::read(value, &Interval::FINITE, diagnostics);
            diagnostics.attribute(before, order);
            let bound = bound?;
            match order {
                "lt" => Test::Below(bound),
                "le" => Test::AtMost(bound),
                "gt" => Test::Above(bound),
                _ => Test::AtLeast(bound),
            }
        }
        other => {
            let message = format!("there is no operator `{other}`");
            let help = operator_help(key, other, value);
            diagnostics.error_with_help(operator.span, message, "unknown operator", help);
            return None;
        }
    };
    Some((test, vec![value.span]))
}

/// What to write instead of an operator that there is not.
fn operator_help(key: Key, given: &str, value: &Node) -> String {
    let spelt = given.to_lowercase();
    if let Some((_, meant)) = SPELLINGS.iter().find(|(names, _)| names.contains(&spelt.as_str())) {
        return format!("did you mean `{meant}`? legal: {}", OPERATORS.join(", "));
    }
    match spelled::whole(key, given, value) {
        Some(whole) => format!("a test names a whole value: `{whole}`"),
        None => suggest(given, OPERATORS),
    }
}

/// Notes every part of a condition that no value of the key's domain can meet.
pub fn refuse_idle(
    written: &Written,
    domain: impl Fn(Key) -> Option<Vec<Setting>>,
    diagnostics: &mut Diagnostics,
) {
    let before = diagnostics.count();
    for test in &written.tests {
        if let Some(domain) = domain(test.key) {
            refuse_idle_test(test, &domain, diagnostics);
        }
    }
    if diagnostics.count() > before {
        return;
    }
    // Each test passes for some value; several tests of one key may still contradict each other.
    for (index, test) in written.tests.iter().enumerate() {
        let of_key = |other: &&WrittenTest| other.key == test.key;
        if written.tests[..index].iter().any(|other| of_key(&other)) {
            continue;
        }
        let Some(domain) = domain(test.key) else { continue };
        let together = |value: &Setting| {
            written.tests.iter().filter(of_key).all(|other| other.test.passes(value))
        };
        if !domain.iter().any(together) {
            let message = format!("no value of `{}` passes all of these tests", test.key);
            let help = takes(test.key, &domain);
            diagnostics.error_with_help(test.name, message, "this rule can never match", help);
        }
    }
}

fn refuse_idle_test(test: &WrittenTest, domain: &[Setting], diagnostics: &mut Diagnostics) {
    let key = test.key;
    let named: &[Named] = match &test.test {
        Test::Equals(value) | Test::Differs(value) => std::slice::from_ref(value),
        Test::OneOf(values) => values,
        Test::Below(_) | Test::AtMost(_) | Test::Above(_) | Test::AtLeast(_) => {
            if !domain.iter().any(|value| test.test.passes(value)) {
                let span = test.values.first().copied().unwrap_or(test.name);
                let message = format!("no value of `{key}` lies there");
                let label = "this rule can never match";
                diagnostics.error_with_help(span, message, label, takes(key, domain));
            }
            return;
        }
    };
    let label = match &test.test {
        Test::Differs(_) => "this test always holds",
        Test::OneOf(values) if values.len() > 1 => "this value can never match",
        _ => "this rule can never match",
    };
    for (value, span) in named.iter().zip(&test.values) {
        if !domain.iter().any(|other| value.is(other)) {
            let message = format!("`{key}` is never {}", value.label());
            diagnostics.error_with_help(*span, message, label, takes(key, domain));
        }
    }
}

/// The values of a domain, as help.
fn takes(key: Key, domain: &[Setting]) -> String {
    const SHOWN: usize = 12;
    let mut values: Vec<String> = domain.iter().take(SHOWN).map(Setting::label).collect();
    if domain.len() > SHOWN {
        values.push(format!("and {} more", domain.len() - SHOWN));
    }
    format!("`{key}` takes: {}", values.join(", "))
}

/// Can no point pass both conditions? True only where one key tells them apart by itself.
pub fn disjoint(
    a: &Condition,
    b: &Condition,
    domain: impl Fn(Key) -> Option<Vec<Setting>>,
) -> bool {
    a.tests.iter().any(|(key, _)| {
        let tests = || a.tests.iter().chain(&b.tests).filter(|(other, _)| other == key);
        let both = b.tests.iter().any(|(other, _)| other == key);
        let values = if both { domain(*key) } else { None };
        values.is_some_and(|values| {
            !values.iter().any(|value| tests().all(|(_, test)| test.passes(value)))
        })
    })
}
