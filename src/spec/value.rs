//! How one value of the sweep file is read, limited, shown and described in the schema.
//!
//! [`Value`] is implemented for plain numbers, flags and lists here and for every *word* (a named
//! choice such as a schedule) by `words!`.

use serde_json::json;

use super::diagnostics::Diagnostics;
use super::node::{Node, Raw};

/// A type that a key of the sweep file can have.
pub trait Value: Sized + Clone + PartialEq {
    /// What narrows the type for one key, such as an interval.
    type Limits;

    /// Is the list `items` one value, where one or several may stand? Plain types are not lists.
    fn is_one(_items: &[Node]) -> bool {
        false
    }

    /// Reads the value, or notes what is wrong with it.
    fn read(node: &Node, limits: &Self::Limits, diagnostics: &mut Diagnostics) -> Option<Self>;

    /// As tables and names of configurations show it: `0.1`, `step(every_epochs=4)`.
    fn label(&self) -> String;

    /// The canonical JSON form, the same for every way of writing the same value.
    fn canonical(&self) -> serde_json::Value;

    /// JSON Schema of what may be written.
    fn schema(limits: &Self::Limits) -> serde_json::Value;

    /// The value as a number, where ordering it makes sense (`lr = { gt = 0.01 }`).
    fn number(&self) -> Option<f64> {
        None
    }

    /// The kind of a word, whatever its parameters.
    fn kind(&self) -> Option<&'static str> {
        None
    }
}

/// An interval of numbers that a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub min: f64,
    /// Is the lower end itself out?
    pub min_open: bool,
    /// Upper end.
    pub max: f64,
    /// Is the upper end itself out?
    pub max_open: bool,
}

impl Interval {
    /// `min <= x <= max`.
    pub const fn closed(min: f64, max: f64) -> Self {
        Self { min, min_open: false, max, max_open: false }
    }

    /// Every finite number.
    pub const FINITE: Self = Self::closed(f64::NEG_INFINITY, f64::INFINITY);

    /// `min <= x`.
    pub const fn at_least(min: f64) -> Self {
        Self::closed(min, f64::INFINITY)
    }

    /// `min < x`.
    pub const fn above(min: f64) -> Self {
        Self { min, min_open: true, max: f64::INFINITY, max_open: false }
    }

    /// `min <= x < max`.
    pub const fn half_open(min: f64, max: f64) -> Self {
        Self { min, min_open: false, max, max_open: true }
    }

    /// `min < x <= max`.
    pub const fn above_up_to(min: f64, max: f64) -> Self {
        Self { min, min_open: true, max, max_open: false }
    }

    fn contains(&self, x: f64) -> bool {
        let above = if self.min_open { x > self.min } else { x >= self.min };
        let below = if self.max_open { x < self.max } else { x <= self.max };
        x.is_finite() && above && below
    }

    fn describe(&self, what: &str) -> String {
        if self.min.is_infinite() {
            return what.replacen("a ", "a finite ", 1);
        }
        if !self.min_open && !self.max_open && self.max.is_finite() {
            return format!("{what} from {} to {}", self.min, self.max);
        }
        let low = if self.min_open { "greater than" } else { "of at least" };
        let high = if self.max_open { "below" } else { "at most" };
        if self.max.is_infinite() {
            format!("{what} {low} {}", self.min)
        } else {
            format!("{what} {low} {} and {high} {}", self.min, self.max)
        }
    }

    fn schema(&self, kind: &str) -> serde_json::Value {
        let mut schema = json!({ "type": kind });
        let number = |x: f64| match kind {
            "integer" => json!(x as u64),
            _ => json!(x),
        };
        if self.min.is_finite() {
            schema[if self.min_open { "exclusiveMinimum" } else { "minimum" }] = number(self.min);
        }
        if self.max.is_finite() {
            schema[if self.max_open { "exclusiveMaximum" } else { "maximum" }] = number(self.max);
        }
        schema
    }
}

/// What stands beside the caret under a value that is not of the type asked for.
fn no_number(node: &Node) -> &'static str {
    match &node.raw {
        Raw::Other(what) if what.contains("beyond 64 bits") => "out of range",
        _ => "not a number",
    }
}

fn refuse(node: &Node, expected: &str, label: &str, diagnostics: &mut Diagnostics) {
    let message = format!("expected {expected}, found {}", node.describe());
    diagnostics.error(node.span, message, label);
}

impl Value for f64 {
    type Limits = Interval;

    fn read(node: &Node, limits: &Interval, diagnostics: &mut Diagnostics) -> Option<Self> {
        let expected = limits.describe("a number");
        let x = match node.raw {
            Raw::Float(x) => x,
            Raw::Integer(x) => x as Self,
            _ => {
                refuse(node, &expected, no_number(node), diagnostics);
                return None;
            }
        };
        if !x.is_finite() {
            let finite =
                limits.describe("a finite number").replacen("a finite finite", "a finite", 1);
            refuse(node, &finite, "not finite", diagnostics);
            return None;
        }
        if !limits.contains(x) {
            refuse(node, &expected, "out of range", diagnostics);
            return None;
        }
        // Minus zero is zero: both must give one id.
        Some(x + 0.0)
    }

    fn label(&self) -> String {
        self.to_string()
    }

    fn canonical(&self) -> serde_json::Value {
        json!(self)
    }

    fn schema(limits: &Interval) -> serde_json::Value {
        limits.schema("number")
    }

    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

macro_rules! integer_value {
    ($Int:ty) => {
        impl Value for $Int {
            type Limits = Interval;

            fn read(node: &Node, limits: &Interval, diagnostics: &mut Diagnostics) -> Option<Self> {
                let expected = limits.describe("a whole number");
                let x = match node.raw {
                    Raw::Integer(x) => Self::try_from(x).ok(),
                    // `3.0` is 3: a generator such as `linspace` makes floats.
                    Raw::Float(x) if x.fract() == 0.0 && (0.0..9.0e15).contains(&x) => {
                        Self::try_from(x as u64).ok()
                    }
                    _ => None,
                };
                match x.filter(|x| limits.contains(*x as f64)) {
                    Some(x) => Some(x),
                    None => {
                        let label = match node.raw {
                            Raw::Float(x) if x.fract() != 0.0 => "not a whole number",
                            Raw::Integer(_) | Raw::Float(_) => "out of range",
                            _ => no_number(node),
                        };
                        refuse(node, &expected, label, diagnostics);
                        None
                    }
                }
            }

            fn label(&self) -> String {
                self.to_string()
            }

            fn canonical(&self) -> serde_json::Value {
                json!(self)
            }

            fn schema(limits: &Interval) -> serde_json::Value {
                limits.schema("integer")
            }

            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }
        }
    };
}
integer_value!(u32);
integer_value!(u64);

impl Value for bool {
    type Limits = ();

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Raw::Bool(value) = node.raw {
            return Some(value);
        }
        refuse(node, "true or false", "neither of the two", diagnostics);
        None
    }

    fn label(&self) -> String {
        self.to_string()
    }

    fn canonical(&self) -> serde_json::Value {
        json!(self)
    }

    fn schema((): &()) -> serde_json::Value {
        json!({ "type": "boolean" })
    }
}

/// What narrows a list of whole numbers.
#[derive(Debug, Clone, Copy)]
pub struct ListLimits {
    /// What each item must be.
    pub item: Interval,
    /// How many items there may be.
    pub length: (usize, usize),
}

impl Value for Vec<u32> {
    type Limits = ListLimits;

    fn is_one(_items: &[Node]) -> bool {
        true
    }

    fn read(node: &Node, limits: &ListLimits, diagnostics: &mut Diagnostics) -> Option<Self> {
        let (shortest, longest) = limits.length;
        let expected = if shortest == longest {
            format!("a list of {shortest} whole numbers")
        } else {
            format!("a list of {shortest} to {longest} whole numbers")
        };
        let Raw::List(items) = &node.raw else {
            refuse(node, &expected, "not a list", diagnostics);
            return None;
        };
        if !(shortest..=longest).contains(&items.len()) {
            refuse(node, &expected, "wrong length", diagnostics);
            return None;
        }
        let read: Vec<Option<u32>> =
            items.iter().map(|item| u32::read(item, &limits.item, diagnostics)).collect();
        read.into_iter().collect()
    }

    fn label(&self) -> String {
        let items: Vec<String> = self.iter().map(u32::to_string).collect();
        format!("[{}]", items.join(","))
    }

    fn canonical(&self) -> serde_json::Value {
        json!(self)
    }

    fn schema(limits: &ListLimits) -> serde_json::Value {
        json!({
            "type": "array",
            "items": limits.item.schema("integer"),
            "minItems": limits.length.0,
            "maxItems": limits.length.1,
        })
    }
}
