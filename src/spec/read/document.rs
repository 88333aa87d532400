//! TOML text to a tree of values, with every syntax error and not only the first.
//!
//! In: the text. Out: its tree, if the text is TOML. A key written twice is a problem but no reason
//! to stop: the rest of the tree is still what was meant. After any other syntax error the tree is
//! guesswork, and what one would find wrong with it would mislead.

use std::collections::BTreeSet;

use toml::de::DeTable;

use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Node, Raw, Span};

/// The tree of `text`, which is text number `source` of `diagnostics`.
pub fn parse(text: &str, source: usize, diagnostics: &mut Diagnostics) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let tree = Node::from_table(&table, source, 0);
    // One slip makes the parser stumble several times over the same line: its first word counts.
    let mut bad_lines = BTreeSet::new();
    for error in &errors {
        let range = error.span().unwrap_or(text.len()..text.len());
        let span = Span { source, start: range.start, end: range.end };
        if error.message().starts_with("duplicate key") {
            note_duplicate(text, &tree, span, diagnostics);
        } else if bad_lines.insert(line_start(text, span.start)) {
            note_syntax(text, span, error.message(), diagnostics);
        }
    }
    bad_lines.is_empty().then_some(tree)
}

fn note_duplicate(text: &str, tree: &Node, span: Span, diagnostics: &mut Diagnostics) {
    let name = diagnostics.sources().text(span).to_owned();
    let message = format!("`{name}` is written twice");
    let help = "keep one of the two";
    let bare = name.trim_matches(['"', '\'']);
    // Of a section that is written twice the parser keeps the second.
    let header = || {
        let start = text[..floor(text, span.start)].find(&format!("[{bare}]"))? + 1;
        Some(Span { start, end: start + bare.len(), ..span })
    };
    match nearest_before(tree, bare, span.start).or_else(header) {
        Some(first) => {
            diagnostics.clash((span, "again here"), (first, "first here"), message, help);
        }
        None => diagnostics.error_with_help(span, message, "a second time", help),
    }
}

/// The last key `name` that stands before `end`.
fn nearest_before(node: &Node, name: &str, end: usize) -> Option<Span> {
    match &node.raw {
        Raw::Table(entries) => entries
            .iter()
            .filter_map(|(key, value)| {
                let here = (key.text == name && key.span.end <= end).then_some(key.span);
                here.max_by_start(nearest_before(value, name, end))
            })
            .max_by_key(|span| span.start),
        Raw::List(items) => items
            .iter()
            .filter_map(|item| nearest_before(item, name, end))
            .max_by_key(|span| span.start),
        _ => None,
    }
}

/// The later of two places, of which either may be missing.
trait Later {
    fn max_by_start(self, other: Self) -> Self;
}

impl Later for Option<Span> {
    fn max_by_start(self, other: Self) -> Self {
        self.into_iter().chain(other).max_by_key(|span| span.start)
    }
}

fn note_syntax(text: &str, span: Span, found: &str, diagnostics: &mut Diagnostics) {
    let found = found.trim_end_matches(", expected literal string");
    let line = text[line_start(text, span.start)..].lines().next().unwrap_or_default();
    let bad = text.get(span.start..span.end).unwrap_or_default();
    if let Some((message, help)) = slip(bad, found) {
        diagnostics.error_with_help(span, format!("not TOML: {message}"), "here", help);
        return;
    }
    let message = format!("not TOML: {found}");
    let begins_line = line_start(text, span.start) == span.start;
    match advice(line, bad, begins_line, found) {
        Some(help) => diagnostics.error_with_help(span, message, "here", help),
        None => diagnostics.error(span, message, "here"),
    }
}

/// Where the line begins that byte `at` is in.
fn line_start(text: &str, at: usize) -> usize {
    text[..floor(text, at)].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The last character's start at or before byte `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// Slips that the parser's own words would mislead about: what is wrong, what to do.
fn slip(bad: &str, found: &str) -> Option<(String, &'static str)> {
    let bad = bad.trim();
    let unquoted = found.contains("must be quoted");
    let nothing = ["null", "none", "nil", "undefined"].contains(&bad.to_lowercase().as_str());
    if nothing && (unquoted || found.contains("invalid")) {
        let help = "a key that is left out stands at its default; what is off is often 0 or false";
        return Some((format!("it has no `{bad}`"), help));
    }
    let missing = unquoted && bad.is_empty();
    let help = "write `key = value`, or leave the line out: the default holds then";
    missing.then(|| ("a value is missing".to_owned(), help))
}

/// What to do about the commonest slips.
fn advice(line: &str, bad: &str, begins_line: bool, found: &str) -> Option<&'static str> {
    const LIST: &str = "a list is `[a, b, c]`, a table `{ key = value, key = value }`";
    let has = |part: &str| found.contains(part);
    if line.contains(':')
        && !line.contains('=')
        && (has("key with no value") || has("unquoted key"))
    {
        Some("TOML writes `key = value`, not `key: value`")
    } else if has("must be quoted") && bad.split_whitespace().count() > 1 {
        Some("a comma or quotes are missing: [0.1, 0.01], \"some text\"")
    } else if has("must be quoted") {
        Some("text stands in quotes: `activation = \"relu\"`; numbers, true and false do not")
    } else if has("missing comma between array elements") && begins_line {
        Some("does the list above lack its `]`?")
    } else if has("unclosed array") || has("missing comma") || has("unclosed inline table") {
        Some(LIST)
    } else if has("unclosed table") || has("unclosed array table") {
        Some("a section begins with `[grid]`, a repeatable one with `[[zip]]`")
    } else if has("invalid boolean") {
        Some("true and false are written in lower case")
    } else if has("mantissa") || has("leading zero") {
        Some("a number begins with one digit before the point: 0.1")
    } else if has("invalid basic string") || has("invalid literal string") {
        Some("a string ends on its own line with the quote it began with")
    } else if has("key with no value") {
        Some("write `key = value`")
    } else {
        None
    }
}
