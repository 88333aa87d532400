//! Generators of numbers: `{ linspace = [a, b], num = n }`, `{ logspace = [a, b], num = n }` and
//! `{ range = [start, stop, step] }`.
//!
//! In: the table of a generator. Out: its numbers. The ends of linspace and logspace are the values
//! written, bit for bit; all between is rounded to twelve significant digits, because ids and labels
//! are made from these numbers and `0.30000000000000004` would be a poor one.

use crate::spec::diagnostics::{Diagnostics, suggest};
use crate::spec::node::{Name, Node, Raw, Span};
use crate::spec::value::{Interval, Value};

/// The generators' names.
pub const GENERATORS: &[&str] = &["linspace", "logspace", "range"];

/// Most values that one generator may give.
pub const MOST: u32 = 100_000;

/// Is this the table of a generator?
pub fn is_generator(node: &Node) -> bool {
    matches!(&node.raw, Raw::Table(entries)
        if entries.iter().any(|(name, _)| GENERATORS.contains(&name.text.as_str())))
}

/// The numbers that a generator's table gives, or the problems noted.
pub fn numbers(node: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<Raw>> {
    let Raw::Table(entries) = &node.raw else { return None };
    let (name, bounds) =
        entries.iter().find(|(name, _)| GENERATORS.contains(&name.text.as_str()))?;
    let legal: &[&str] = if name.text == "range" { &["range"] } else { &[&name.text, "num"] };
    let before = diagnostics.count();
    for (other, _) in entries.iter().filter(|(other, _)| !legal.contains(&other.text.as_str())) {
        let message = format!("`{}` has no parameter `{}`", name.text, other.text);
        diagnostics.error_with_help(
            other.span,
            message,
            "unknown parameter",
            suggest(&other.text, legal),
        );
    }
    let raws = match name.text.as_str() {
        "range" => range(bounds, diagnostics),
        _ => space(name, bounds, entries, node.span, diagnostics),
    };
    raws.filter(|_| diagnostics.count() == before)
}

/// `linspace` or `logspace`.
fn space(
    name: &Name,
    bounds: &Node,
    entries: &[(Name, Node)],
    span: Span,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Raw>> {
    let kind = name.text.as_str();
    let num = entries.iter().find(|(name, _)| name.text == "num");
    let before = diagnostics.count();
    let num = match num {
        Some((_, node)) => u32::read(node, &Interval::closed(2.0, f64::from(MOST)), diagnostics),
        None => {
            let message = format!("`{kind}` needs `num`, how many values it gives");
            let help = format!("write {{ {kind} = [first, last], num = 5 }}");
            diagnostics.error_with_help(span, message, "no `num` here", help);
            None
        }
    };
    diagnostics.attribute(before, "num");
    let example = if kind == "linspace" { "[0.1, 0.5]" } else { "[1e-4, 1e-1]" };
    let ends = floats(bounds, 2..=2, &format!("{kind} = {example}"), diagnostics)?;
    let (a, b) = (ends[0], ends[1]);
    if kind == "logspace" && (a <= 0.0 || b <= 0.0) {
        let message = format!("the ends of `logspace` are greater than 0, found {a} and {b}");
        let help = "the ends are the values themselves, not exponents: [1e-4, 1e-1]";
        diagnostics.error_with_help(bounds.span, message, "not both positive", help);
        return None;
    }
    if a == b {
        let message = format!("the ends of `{kind}` are equal: every value would be {a}");
        diagnostics.error_with_help(
            bounds.span,
            message,
            "equal ends",
            "write one value in a list",
        );
        return None;
    }
    let values = if kind == "linspace" { linspace(a, b, num?) } else { logspace(a, b, num?) };
    Some(values.into_iter().map(Raw::Float).collect())
}

/// `num` values from `a` to `b` at equal distances; both ends exact.
pub fn linspace(a: f64, b: f64, num: u32) -> Vec<f64> {
    let last = f64::from(num - 1);
    let scale = a.abs().max(b.abs());
    between(a, b, num, |i| {
        let t = f64::from(i) / last;
        rounded(a * (1.0 - t) + b * t, scale)
    })
}

/// `num` values from `a` to `b` in equal ratios; both ends exact. Both ends are positive.
pub fn logspace(a: f64, b: f64, num: u32) -> Vec<f64> {
    let last = f64::from(num - 1);
    between(a, b, num, |i| {
        let t = f64::from(i) / last;
        let x = (a.ln() * (1.0 - t) + b.ln() * t).exp();
        rounded(x, x)
    })
}

fn between(a: f64, b: f64, num: u32, value: impl Fn(u32) -> f64) -> Vec<f64> {
    (0..num)
        .map(|i| match i {
            0 => a,
            i if i + 1 == num => b,
            i => value(i),
        })
        .collect()
}

/// `range = [start, stop, step]`: start, start + step, … below stop, as Python's `range`.
fn range(bounds: &Node, diagnostics: &mut Diagnostics) -> Option<Vec<Raw>> {
    let ends = floats(bounds, 2..=3, "range = [start, stop, step]", diagnostics)?;
    let (start, stop, step) = (ends[0], ends[1], ends.get(2).copied().unwrap_or(1.0));
    let steps = (stop - start) / step;
    if step == 0.0 || steps <= 0.0 {
        let message = format!("`range` from {start} to {stop} in steps of {step} is empty");
        let help = "the values run from start to below stop; the step's sign is the direction";
        diagnostics.error_with_help(bounds.span, message, "no value", help);
        return None;
    }
    // The quotient is off by a few units in its last place: a value that close to `stop` is `stop`,
    // which is not in the range.
    let count = (steps - 1e-9 * steps.max(1.0)).ceil().max(1.0);
    if count > f64::from(MOST) {
        let message = format!("`range` gives {count} values, at most {MOST} are allowed");
        diagnostics.error(bounds.span, message, "too many values");
        return None;
    }
    let whole = matches!(&bounds.raw, Raw::List(items)
        if items.iter().all(|item| matches!(item.raw, Raw::Integer(_))));
    let scale = start.abs().max(stop.abs());
    let values = (0..count as u32).map(|i| {
        let x = start + f64::from(i) * step;
        if whole { Raw::Integer(x as i64) } else { Raw::Float(rounded(x, scale)) }
    });
    Some(values.collect())
}

/// The finite numbers of a list whose length is in `length`, and within 2^53 so that whole ones are
/// exact.
fn floats(
    node: &Node,
    length: std::ops::RangeInclusive<usize>,
    example: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<f64>> {
    let items = match &node.raw {
        Raw::List(items) if length.contains(&items.len()) => items,
        _ => {
            let message =
                format!("expected a list of {} numbers, found {}", length.end(), node.describe());
            let help = format!("write {{ {example} }}");
            diagnostics.error_with_help(node.span, message, "not such a list", help);
            return None;
        }
    };
    let largest = 9_007_199_254_740_992.0;
    let limits = Interval::closed(-largest, largest);
    let before = diagnostics.count();
    let values: Vec<Option<f64>> =
        items.iter().map(|item| f64::read(item, &limits, diagnostics)).collect();
    diagnostics.attribute(before, example.split(' ').next().unwrap_or_default());
    values.into_iter().collect()
}

/// `x` to twelve significant digits; 0 where it is what cancellation left over beside `scale`.
fn rounded(x: f64, scale: f64) -> f64 {
    if x.abs() < scale * 1e-12 {
        return 0.0;
    }
    format!("{x:.11e}").parse().expect("invariant: a number that Rust wrote is one it reads")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(toml: &str) -> Result<Vec<f64>, String> {
        let mut diagnostics = Diagnostics::new();
        let source = diagnostics.add_source("test", toml);
        let value = toml::de::DeValue::parse(toml).unwrap();
        let raws = numbers(&Node::from_toml(&value, source, 0), &mut diagnostics);
        diagnostics.finish(raws).map_err(|error| error.to_string()).map(|raws| {
            raws.iter()
                .map(|raw| match raw {
                    Raw::Integer(x) => *x as f64,
                    Raw::Float(x) => *x,
                    other => panic!("{other:?}"),
                })
                .collect()
        })
    }

    #[test]
    fn values_are_those_one_would_write() {
        for (toml, expected) in [
            (
                "{ logspace = [1e-4, 1e-1], num = 7 }",
                &[1e-4, 0.000316227766017, 0.001, 0.00316227766017, 0.01, 0.0316227766017, 0.1][..],
            ),
            ("{ linspace = [0.1, 0.5], num = 5 }", &[0.1, 0.2, 0.3, 0.4, 0.5]),
            ("{ linspace = [0.3, -0.3], num = 7 }", &[0.3, 0.2, 0.1, 0.0, -0.1, -0.2, -0.3]),
            ("{ range = [0, 6, 2] }", &[0.0, 2.0, 4.0]),
            ("{ range = [0, 3] }", &[0.0, 1.0, 2.0]),
            ("{ range = [5, 0, -2] }", &[5.0, 3.0, 1.0]),
            ("{ range = [0.0, 0.3, 0.1] }", &[0.0, 0.1, 0.2]),
            ("{ range = [0.1, 0.4, 0.1] }", &[0.1, 0.2, 0.3]),
            ("{ range = [0.0, 0.7, 0.1] }", &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
            ("{ range = [-0.2, 0.2, 0.1] }", &[-0.2, -0.1, 0.0, 0.1]),
        ] {
            assert_eq!(read(toml).unwrap(), expected, "{toml}");
        }
    }

    #[test]
    fn generators_that_give_nothing_sensible_are_refused() {
        for (toml, part) in [
            ("{ linspace = [0, 1] }", "needs `num`"),
            ("{ linspace = [0, 1], num = 1 }", "`num`: expected a whole number from 2"),
            ("{ linspace = [1, 1], num = 3 }", "equal"),
            ("{ linspace = [0, 1, 2], num = 3 }", "a list of 2"),
            ("{ linspace = [0, nan], num = 3 }", "`linspace`: expected a finite number"),
            ("{ logspace = [-4, -1], num = 3 }", "greater than 0"),
            ("{ logspace = [1, 10], count = 3 }", "no parameter `count`"),
            ("{ range = [0, 5, 0] }", "empty"),
            ("{ range = [5, 0, 1] }", "empty"),
            ("{ range = [0, 1, 1e-9] }", "at most 100000"),
            ("{ range = 5 }", "expected a list"),
        ] {
            let error = read(toml).unwrap_err();
            assert!(error.contains(part), "{toml}: {error}");
        }
    }

    proptest! {
        #[test]
        fn ends_are_exact_and_values_ordered(
            a in 1e-12_f64..1e12, factor in 1.001_f64..1e6, num in 2_u32..40,
        ) {
            let b = a * factor;
            for values in [linspace(a, b, num), logspace(a, b, num)] {
                prop_assert_eq!(values[0].to_bits(), a.to_bits());
                prop_assert_eq!(values[values.len() - 1].to_bits(), b.to_bits());
                prop_assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", values);
            }
        }

        #[test]
        fn a_range_has_as_many_values_as_steps(start in -50_i32..50, count in 1_u32..200, step in 1_u32..30) {
            let (start, step) = (f64::from(start) / 10.0, f64::from(step) / 10.0);
            let stop = start + f64::from(count) * step;
            let toml = format!("{{ range = [{start:?}, {stop:?}, {step:?}] }}");
            prop_assert_eq!(read(&toml).unwrap().len(), count as usize);
        }
    }
}
