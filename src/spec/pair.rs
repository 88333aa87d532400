//! Two numbers written as a list: a range `[low, high]`, or one number for each direction.

use serde_json::json;

use super::diagnostics::Diagnostics;
use super::node::{Node, Raw};
use super::value::{Interval, Value};

/// What narrows a pair of numbers.
#[derive(Debug, Clone, Copy)]
pub struct PairLimits {
    /// What each of the two must be.
    pub item: Interval,
    /// Is it a range, whose first number must not be above its second?
    pub range: bool,
}

impl PairLimits {
    /// A range within an interval.
    pub const fn range(item: Interval) -> Self {
        Self { item, range: true }
    }

    /// Two numbers that have nothing to do with each other.
    pub const fn each(item: Interval) -> Self {
        Self { item, range: false }
    }
}

impl Value for [f64; 2] {
    type Limits = PairLimits;

    fn is_one(_items: &[Node]) -> bool {
        true
    }

    fn read(node: &Node, limits: &PairLimits, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Raw::List(items) = &node.raw else {
            let message = format!("expected a list of 2 numbers, found {}", node.describe());
            let help = if limits.range { "write [low, high]" } else { "write [x, y]" };
            diagnostics.error_with_help(node.span, message, "not a list", help);
            return None;
        };
        let [first, second] = items.as_slice() else {
            let message = format!("expected a list of 2 numbers, found {}", items.len());
            diagnostics.error(node.span, message, "wrong length");
            return None;
        };
        let first = f64::read(first, &limits.item, diagnostics);
        let second = f64::read(second, &limits.item, diagnostics);
        let pair = [first?, second?];
        if limits.range && pair[0] > pair[1] {
            let message = format!("the range begins at {}, above its end {}", pair[0], pair[1]);
            diagnostics.error_with_help(node.span, message, "empty", "write [low, high]");
            return None;
        }
        Some(pair)
    }

    fn label(&self) -> String {
        format!("[{},{}]", self[0], self[1])
    }

    fn canonical(&self) -> serde_json::Value {
        json!(self)
    }

    fn schema(limits: &PairLimits) -> serde_json::Value {
        json!({
            "type": "array",
            "items": f64::schema(&limits.item),
            "minItems": 2,
            "maxItems": 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &serde_json::Value, limits: PairLimits) -> Result<[f64; 2], String> {
        let mut diagnostics = Diagnostics::new();
        let value = Value::read(&Node::from_json(json), &limits, &mut diagnostics);
        let found = diagnostics.finish(value);
        found.map_err(|error| {
            error.problems().map(|p| p.message.clone()).collect::<Vec<_>>().join("; ")
        })
    }

    #[test]
    fn a_pair_is_read_whole_or_refused_in_words() {
        let range = PairLimits::range(Interval::closed(0.0, 2.0));
        assert_eq!(read(&json!([0, 1.5]), range), Ok([0.0, 1.5]));
        assert_eq!(read(&json!([1, 1]), range), Ok([1.0, 1.0]));
        assert_eq!(read(&json!([2, 1]), PairLimits::each(Interval::FINITE)), Ok([2.0, 1.0]));
        let refused = [json!([2, 1]), json!([1]), json!(1), json!([3, "a"])];
        let refused: Vec<String> =
            refused.iter().map(|json| read(json, range).unwrap_err()).collect();
        insta::assert_snapshot!(refused.join("\n"), @r#"
        the range begins at 2, above its end 1
        expected a list of 2 numbers, found 1
        expected a list of 2 numbers, found 1
        expected a number from 0 to 2, found 3; expected a number from 0 to 2, found the string "a"
        "#);
    }
}
