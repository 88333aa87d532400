//! A value with the place it was written at.
//!
//! In: TOML (a sweep file, a command-line override) or JSON (a recorded configuration). Out: one
//! tree of [`Node`]s that every word of the sweep file reads itself from. One tree for all sources
//! means one reader, one set of error texts and no lifetime of the parser in the rest of the code.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Byte range in one of the sources of a [`Diagnostics`](super::diagnostics::Diagnostics).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Which source: 0 is the sweep file, the others are command-line overrides.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    fn of(source: usize, offset: usize, range: Range<usize>) -> Self {
        Self { source, start: range.start + offset, end: range.end + offset }
    }
}

/// A key of a table and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// The key, unquoted.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// A string.
    Text(String),
    /// An integer; beyond 64 bits the text stands in [`Raw::Other`].
    Integer(i64),
    /// A floating-point number, finite or not.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// An array.
    List(Vec<Node>),
    /// A table, in the order written.
    Table(Vec<(Name, Node)>),
    /// Something no key takes: a date, `null`, a number beyond 64 bits. Holds what it is.
    Other(String),
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub raw: Raw,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// The tree of a parsed TOML table. `offset` moves the spans when the text was cut out of a
    /// longer source.
    pub fn from_table(table: &Spanned<DeTable<'_>>, source: usize, offset: usize) -> Self {
        Self {
            raw: Raw::Table(Self::entries(table.get_ref(), source, offset)),
            span: Span::of(source, offset, table.span()),
        }
    }

    /// The tree of one parsed TOML value.
    pub fn from_toml(value: &Spanned<DeValue<'_>>, source: usize, offset: usize) -> Self {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| Raw::Other("an integer beyond 64 bits".to_owned()), Raw::Integer),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .map_or_else(|_| Raw::Other("an unreadable number".to_owned()), Raw::Float),
            DeValue::Boolean(value) => Raw::Bool(*value),
            DeValue::Datetime(_) => Raw::Other("a date".to_owned()),
            DeValue::Array(items) => {
                Raw::List(items.iter().map(|item| Self::from_toml(item, source, offset)).collect())
            }
            DeValue::Table(table) => Raw::Table(Self::entries(table, source, offset)),
        };
        Self { raw, span: Span::of(source, offset, value.span()) }
    }

    /// The tree of a JSON value, without places.
    pub fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        let raw = match value {
            Value::Null => Raw::Other("null".to_owned()),
            Value::Bool(value) => Raw::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Raw::Integer(integer),
                (None, Some(float)) => Raw::Float(float),
                (None, None) => Raw::Other("a number beyond 64 bits".to_owned()),
            },
            Value::String(text) => Raw::Text(text.clone()),
            Value::Array(items) => Raw::List(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Raw::Table(
                fields
                    .iter()
                    .map(|(key, value)| {
                        let name = Name { text: key.clone(), span: Span::default() };
                        (name, Self::from_json(value))
                    })
                    .collect(),
            ),
        };
        Self { raw, span: Span::default() }
    }

    /// The value in JSON, without places; what JSON cannot say becomes `null`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.raw {
            Raw::Text(text) => text.as_str().into(),
            Raw::Integer(x) => (*x).into(),
            Raw::Float(x) => (*x).into(),
            Raw::Bool(x) => (*x).into(),
            Raw::List(items) => items.iter().map(Self::to_json).collect(),
            Raw::Table(entries) => {
                let fields = entries.iter().map(|(name, node)| (name.text.clone(), node.to_json()));
                serde_json::Value::Object(fields.collect())
            }
            Raw::Other(_) => serde_json::Value::Null,
        }
    }

    fn entries(table: &DeTable<'_>, source: usize, offset: usize) -> Vec<(Name, Self)> {
        table
            .iter()
            .map(|(key, value)| {
                let span = Span::of(source, offset, key.span());
                let name = Name { text: key.get_ref().to_string(), span };
                (name, Self::from_toml(value, source, offset))
            })
            .collect()
    }

    /// What the value is, as an error message says it: `the string "relu"`, `a list of 3`.
    pub fn describe(&self) -> String {
        match &self.raw {
            Raw::Text(text) => format!("the string {text:?}"),
            Raw::Integer(value) => format!("{value}"),
            // With its point: 1.0 is not the 1 that was asked for.
            Raw::Float(value) => format!("{value:?}"),
            Raw::Bool(value) => format!("{value}"),
            Raw::List(items) if items.is_empty() => "an empty list".to_owned(),
            Raw::List(items) => format!("a list of {}", items.len()),
            Raw::Table(_) => "a table".to_owned(),
            Raw::Other(what) => what.clone(),
        }
    }
}
