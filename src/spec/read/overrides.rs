//! The grammar of command-line overrides, which is Hydra's: `lr=0.1`, `lr=0.1,0.01`,
//! `schedule={kind=step,gamma=0.5},cosine`, `epochs=range(1,10,3)`, `run.timeout=1h`, `~dropout`.
//!
//! In: one argument. Out: the dotted path and the values as nodes whose spans point into the
//! argument. Values are TOML's, except that a bare word is a string, since a shell takes quotes away.
//! Commas inside brackets, braces and quotes do not split.

use std::ops::Range;

use toml::de::DeValue;

use crate::spec::diagnostics::Diagnostics;
use crate::spec::node::{Name, Node, Raw, Span};

/// How deep lists and tables may nest.
const DEEPEST: usize = 16;

/// One override, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The dotted path; at least one name.
    pub path: Vec<Name>,
    /// What to do there.
    pub change: Change,
    /// Where the text behind `=` stands.
    pub value_span: Span,
}

/// What an override does.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// `~key`: as if the file did not have it.
    Remove,
    /// `key=value`.
    One(Node),
    /// `key=a,b`.
    Many(Vec<Node>),
}

impl Override {
    /// The path as written.
    pub fn path_text(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|name| name.text.as_str()).collect();
        names.join(".")
    }

    /// Where the path stands.
    pub fn path_span(&self) -> Span {
        let end = self.path.last().map_or(self.value_span.end, |name| name.span.end);
        Span { end, ..self.path.first().map_or(self.value_span, |name| name.span) }
    }
}

/// Reads the argument `text`, which is text number `source` of `diagnostics`.
pub fn parse(text: &str, source: usize, diagnostics: &mut Diagnostics) -> Option<Override> {
    let whole = Span { source, start: 0, end: text.len() };
    if let Some(rest) = text.strip_prefix('~') {
        let path = path(rest, 1, source, diagnostics)?;
        return Some(Override { path, change: Change::Remove, value_span: whole });
    }
    let Some((left, right)) = text.split_once('=') else {
        let help = if text.ends_with(".toml") {
            "one sweep file at a time; what follows it are overrides such as `lr=0.1,0.01`"
        } else {
            "write `key=value`, `key=a,b,c` for an axis, or `~key` to leave a key out"
        };
        let message = format!("expected `key=value`, found `{text}`");
        diagnostics.error_with_help(whole, message, "no `=`", help);
        return None;
    };
    if left.starts_with('+') {
        let plain = text.trim_start_matches('+');
        let message = "keys take no `+`: every key already exists";
        diagnostics.error_with_help(whole, message, "begins with `+`", format!("write `{plain}`"));
        return None;
    }
    let path = path(left, 0, source, diagnostics)?;
    let value_span = Span { start: left.len() + 1, ..whole };
    let change = values(text, value_span.start, source, diagnostics)?;
    debug_assert!(right.len() == value_span.end - value_span.start);
    Some(Override { path, change, value_span })
}

/// Reads the values that stand in `text` from byte `start` to the end: one, or several.
pub fn values(
    text: &str,
    start: usize,
    source: usize,
    diagnostics: &mut Diagnostics,
) -> Option<Change> {
    let mut values = Reader { text, at: start, source, diagnostics }.values()?;
    Some(match values.len() {
        1 => Change::One(values.remove(0)),
        _ => Change::Many(values),
    })
}

fn path(
    text: &str,
    offset: usize,
    source: usize,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Name>> {
    let mut start = offset;
    let mut names = Vec::new();
    for part in text.split('.') {
        let name = part.trim();
        let lead = part.len() - part.trim_start().len();
        let span = Span { source, start: start + lead, end: start + lead + name.len() };
        if name.is_empty() {
            let message = match text.trim() {
                "" => "a key is missing".to_owned(),
                text => format!("a key is missing in `{text}`"),
            };
            diagnostics.error_with_help(span, message, "here", "write `key=value`");
            return None;
        }
        names.push(Name { text: name.to_owned(), span });
        start += part.len() + 1;
    }
    Some(names)
}

/// Reads values from left to right. Every method gives `None` after noting what is wrong.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    source: usize,
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// All values up to the end of the argument.
    fn values(&mut self) -> Option<Vec<Node>> {
        let mut values = Vec::new();
        loop {
            self.peek();
            match self.text[self.at..].strip_prefix("choice(") {
                Some(_) => values.extend(self.arguments("choice(", 0)?),
                None => values.push(self.value("", 0)?),
            }
            match self.peek() {
                None => return Some(values),
                Some(',') => self.at += 1,
                Some(_) => {
                    return self.fail(
                        "expected a comma or the end",
                        "quote text that has brackets or quotes in it",
                    );
                }
            }
        }
    }

    /// One value; a bare word ends before a comma or one of `closing`.
    fn value(&mut self, closing: &str, depth: usize) -> Option<Node> {
        if depth > DEEPEST {
            return self.fail("lists and tables nest too deeply", "16 levels are allowed");
        }
        match self.peek() {
            Some('[') => self.list(depth),
            Some('{') => self.table(depth),
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => self.bare(closing, depth),
        }
    }

    /// What a function of Hydra's is given, `function` being its name with the bracket.
    fn arguments(&mut self, function: &str, depth: usize) -> Option<Vec<Node>> {
        self.at += function.len();
        let mut arguments = Vec::new();
        while self.peek() != Some(')') {
            arguments.push(self.value(")", depth + 1)?);
            self.separator(')')?;
        }
        if arguments.is_empty() {
            return self.fail("a value is missing", "write `key=a,b`");
        }
        self.at += 1;
        Some(arguments)
    }

    /// `range(1,10)`, `range(1,10,3)`: what the file writes `{ range = [1, 10, 3] }`.
    fn range(&mut self, start: usize, depth: usize) -> Option<Node> {
        self.at = start;
        let arguments = self.arguments("range(", depth)?;
        let list = self.node(Raw::List(arguments), start);
        let name = Span { source: self.source, start, end: start + "range".len() };
        let name = Name { text: "range".to_owned(), span: name };
        Some(self.node(Raw::Table(vec![(name, list)]), start))
    }

    fn list(&mut self, depth: usize) -> Option<Node> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        while self.peek() != Some(']') {
            items.push(self.value("]", depth + 1)?);
            self.separator(']')?;
        }
        self.at += 1;
        Some(self.node(Raw::List(items), start))
    }

    fn table(&mut self, depth: usize) -> Option<Node> {
        let start = self.at;
        self.at += 1;
        let mut entries: Vec<(Name, Node)> = Vec::new();
        while self.peek() != Some('}') {
            let name = self.key()?;
            let value = self.value("}", depth + 1)?;
            if entries.iter().any(|(other, _)| other.text == name.text) {
                let message = format!("`{}` is written twice", name.text);
                self.diagnostics.error_with_help(
                    name.span,
                    message,
                    "again here",
                    "keep one of the two",
                );
                return None;
            }
            entries.push((name, value));
            self.separator('}')?;
        }
        self.at += 1;
        Some(self.node(Raw::Table(entries), start))
    }

    /// A table's key with its `=` or, as Hydra writes it, `:`.
    fn key(&mut self) -> Option<Name> {
        self.peek();
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest.find(['=', ':', ',', '{', '}', '[', ']']).unwrap_or(rest.len());
        let name = rest[..length].trim_end();
        let span = Span { source: self.source, start, end: start + name.len() };
        let name = Name { text: name.to_owned(), span };
        self.at += length;
        if name.text.is_empty() || !matches!(self.peek(), Some('=' | ':')) {
            return self.fail("expected `key=value` inside `{}`", "write {kind=step,gamma=0.5}");
        }
        self.at += 1;
        Some(name)
    }

    /// A comma, or the closing bracket, which stays.
    fn separator(&mut self, closing: char) -> Option<()> {
        match self.peek() {
            Some(',') => self.at += 1,
            Some(c) if c == closing => {}
            _ => {
                let message = format!("expected a comma or `{closing}`");
                return self.fail(&message, "in a shell, put the whole override in quotes");
            }
        }
        Some(())
    }

    fn quoted(&mut self, quote: char) -> Option<Node> {
        let start = self.at;
        let mut escaped = false;
        let length = self.text[start + 1..].find(|c: char| {
            let ends = c == quote && !escaped;
            escaped = quote == '"' && c == '\\' && !escaped;
            ends
        });
        let Some(length) = length else {
            return self.fail(
                &format!("a closing {quote} is missing"),
                "a shell takes unescaped quotes away",
            );
        };
        self.at = start + length + 2;
        match DeValue::parse(&self.text[start..self.at]) {
            Ok(value) => Some(Node::from_toml(&value, self.source, start)),
            Err(error) => {
                let range = error.span().unwrap_or(0..0);
                let span = Span {
                    source: self.source,
                    start: start + range.start,
                    end: start + range.end,
                };
                self.diagnostics.error(span, error.message(), "here");
                None
            }
        }
    }

    /// A number, `true`, `false` or a bare word.
    fn bare(&mut self, closing: &str, depth: usize) -> Option<Node> {
        let start = self.at;
        let rest = &self.text[start..];
        let ends = |c: char| matches!(c, ',' | '[' | '{' | '(' | '"' | '\'') || closing.contains(c);
        let length = rest.find(ends).unwrap_or(rest.len());
        let word = rest[..length].trim_end();
        self.at = start + word.len();
        if rest[length..].starts_with('(') {
            if word == "range" {
                return self.range(start, depth);
            }
            let help = "there are `choice(a,b)` and `range(a,b,step)`; numbers also as \
                        `{linspace=[0,1],num=5}`";
            let message = match word {
                "choice" => "`choice(` begins a value, and stands in no other".to_owned(),
                _ => format!("there is no function `{word}`"),
            };
            return self.fail_at(start..start + word.len().max(1), &message, help);
        }
        if word.is_empty() {
            return self
                .fail("a value is missing", "write `key=value`, or `key=''` for empty text");
        }
        Some(self.node(scalar(word), start))
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn node(&self, raw: Raw, start: usize) -> Node {
        Node { raw, span: Span { source: self.source, start, end: self.at } }
    }

    fn fail<T>(&mut self, message: &str, help: &str) -> Option<T> {
        let length = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        self.fail_at(self.at..self.at + length, message, help)
    }

    fn fail_at<T>(&mut self, place: Range<usize>, message: &str, help: &str) -> Option<T> {
        let span = Span { source: self.source, start: place.start, end: place.end };
        self.diagnostics.error_with_help(span, message, "here", help);
        None
    }
}

/// What a bare word means.
fn scalar(word: &str) -> Raw {
    let numeric = word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))
        && word.contains(|c: char| c.is_ascii_digit());
    match word {
        // As Python and Hydra write them too.
        "true" | "True" | "TRUE" => Raw::Bool(true),
        "false" | "False" | "FALSE" => Raw::Bool(false),
        _ if numeric => {
            let digits = word.replace('_', "");
            let integer = digits.parse().map(Raw::Integer);
            let number = integer.or_else(|_| digits.parse().map(Raw::Float));
            number.unwrap_or_else(|_| Raw::Text(word.to_owned()))
        }
        _ => Raw::Text(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Override, String> {
        let mut diagnostics = Diagnostics::new();
        let source = diagnostics.add_source("command line", text);
        let read = parse(text, source, &mut diagnostics);
        diagnostics.finish(read).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_nests_too_deeply() {
        for begins in ["range(", "[", "[range(", "choice([", "{a="] {
            let error = read(&format!("lr={}", begins.repeat(20_000))).unwrap_err();
            let expected =
                if begins.starts_with("choice") { "`choice(` begins" } else { "nest too deeply" };
            assert!(error.contains(expected), "{begins}: {error}");
        }
    }

    #[test]
    fn values_are_read_as_one_means_them() {
        for (text, expected) in [
            ("lr=0.1", serde_json::json!([0.1])),
            ("lr=.5,1e-3,1_000", serde_json::json!([0.5, 0.001, 1000])),
            ("lr=0.1, 0.01", serde_json::json!([0.1, 0.01])),
            ("bn=true,false", serde_json::json!([true, false])),
            ("bn=True,FALSE", serde_json::json!([true, false])),
            ("lr=choice(0.1, 0.2)", serde_json::json!([0.1, 0.2])),
            ("epochs=range(1,10,3)", serde_json::json!([{ "range": [1, 10, 3] }])),
            (
                "a=choice({kind=elu,alpha=2},relu)",
                serde_json::json!([{"kind": "elu", "alpha": 2}, "relu"]),
            ),
            ("a=relu,tanh", serde_json::json!(["relu", "tanh"])),
            ("a='x, y',\"q\\\"z\"", serde_json::json!(["x, y", "q\"z"])),
            ("a=[1,2]", serde_json::json!([[1, 2]])),
            ("a=[]", serde_json::json!([[]])),
            ("run.timeout=1h", serde_json::json!(["1h"])),
            (
                "s={kind=step,gamma=0.5},cosine",
                serde_json::json!([{"kind": "step", "gamma": 0.5}, "cosine"]),
            ),
            ("s={kind: step, gamma: 0.5}", serde_json::json!([{"kind": "step", "gamma": 0.5}])),
            (
                "m={kind=mlp,hidden=[64,32]}",
                serde_json::json!([{"kind": "mlp", "hidden": [64, 32]}]),
            ),
            ("d=mnist-10k", serde_json::json!(["mnist-10k"])),
        ] {
            let values = match read(text).unwrap().change {
                Change::One(node) => vec![node.to_json()],
                Change::Many(nodes) => nodes.iter().map(Node::to_json).collect(),
                Change::Remove => panic!("{text}"),
            };
            assert_eq!(serde_json::Value::from(values), expected, "{text}");
        }
        assert_eq!(read("~dropout").unwrap().change, Change::Remove);
    }

    #[test]
    fn slips_are_named() {
        for (text, part) in [
            ("lr", "expected `key=value`"),
            ("=1", "a key is missing"),
            ("run.=1", "a key is missing"),
            ("lr=", "a value is missing"),
            ("lr=0.1,", "a value is missing"),
            ("lr=,0.1", "a value is missing"),
            ("lr=[0.1", "expected a comma or `]`"),
            ("s={kind=step", "expected a comma or `}`"),
            ("s={kind}", "expected `key=value`"),
            ("s={kind=a,kind=b}", "written twice"),
            ("a='x", "closing '"),
            ("a='x'y", "expected a comma or the end"),
            ("lr=choice(0.1,0.2", "expected a comma or `)`"),
            ("lr=choice()", "a value is missing"),
            ("lr=range(1", "expected a comma or `)`"),
            ("lr=interval(0.1,0.2)", "there is no function `interval`"),
            ("lr=[choice(0.1,0.2)]", "`choice(` begins a value, and stands in no other"),
            ("+lr=1", "no `+`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read(&format!("a={}", "[".repeat(100_000))).unwrap_err().contains("too deeply"));
    }

    proptest! {
        #[test]
        fn no_argument_panics(text in "(a=)?(choice\\(|range\\()?[a-c.=,{}\\[\\]\"'~+() \\\\é0-9]{0,24}") {
            let _ = read(&text);
        }
    }
}
