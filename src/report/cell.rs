//! One cell of a CSV: text that a spreadsheet shows as it stands, numbers that it reads as numbers.
//!
//! Numbers are the shortest decimals that give the same 64-bit number back, never with an
//! exponent: spreadsheets read `1e-5` by default, but some can be told not to, and `sort -n` never
//! does; 0.00001 is a number to all of them.
//!
//! Text that begins like a formula (CWE-1236) gets an apostrophe in front: it stays visible, and
//! the cell stays a text. Line breaks become spaces, so that one row is one line for `grep` and `tail`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A text cell, before the quotes that RFC 4180 may want around it.
pub fn text(text: &str) -> Cow<'_, str> {
    let flat = one_line(text);
    if flat.starts_with(['=', '+', '-', '@', '\t', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
    {
        return Cow::Owned(format!("'{flat}"));
    }
    flat
}

/// Appends a number cell to `out`; nothing for a number that is unknown or not finite.
pub fn number(value: Option<f64>, out: &mut String) {
    if let Some(value) = value.filter(|value| value.is_finite()) {
        // Adding zero turns minus zero into zero.
        write!(out, "{}", value + 0.0).expect("invariant: writing to a string never fails");
    }
}

/// Appends an integer cell to `out`, exact whatever its size; nothing for an unknown one.
pub fn integer(value: Option<u64>, out: &mut String) {
    if let Some(value) = value {
        write!(out, "{value}").expect("invariant: writing to a string never fails");
    }
}

/// Line breaks, with the white space around them, become one space; other control characters,
/// which XML-based spreadsheets cannot hold and terminals obey, become U+FFFD. Tabs stay.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(is_break);
    if !text.chars().any(|c| is_break(c) || is_control(c)) {
        return Cow::Borrowed(text);
    }
    let lines = text.split(is_break).map(str::trim).filter(|line| !line.is_empty());
    let flat = lines.collect::<Vec<_>>().join(" ");
    Cow::Owned(flat.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect())
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t' && !is_break(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number_cell(value: f64) -> String {
        let mut out = String::new();
        number(Some(value), &mut out);
        out
    }

    #[test]
    fn numbers_are_short_exact_and_without_exponent() {
        for (value, cell) in [
            (0.1, "0.1"),
            (1e-5, "0.00001"),
            (1e21, "1000000000000000000000"),
            (3.0, "3"),
            (-0.0, "0"),
            (-0.25, "-0.25"),
            (f64::NAN, ""),
            (f64::NEG_INFINITY, ""),
        ] {
            assert_eq!(number_cell(value), cell);
        }
        let mut out = String::new();
        integer(Some(u64::MAX), &mut out);
        integer(None, &mut out);
        assert_eq!(out, "18446744073709551615");
    }

    #[test]
    fn what_begins_like_a_formula_is_defused() {
        for (raw, cell) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'=1"),
            ("\n\n=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("lr=0.1", "lr=0.1"),
            ("'quoted'", "'quoted'"),
            ("", ""),
        ] {
            assert_eq!(text(raw), cell, "{raw:?}");
        }
    }

    #[test]
    fn reasons_of_many_lines_are_one_line() {
        assert_eq!(
            text("worker panicked:\r\n  index out of bounds\n\n  at \u{1b}[31mlayer\u{0}\n"),
            "worker panicked: index out of bounds at \u{fffd}[31mlayer\u{fffd}"
        );
    }

    proptest! {
        #[test]
        fn a_finite_number_survives_its_cell(value in any::<f64>()) {
            let cell = number_cell(value);
            if value.is_finite() {
                prop_assert_eq!(cell.parse::<f64>().unwrap(), value);
                prop_assert!(cell.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-'));
            } else {
                prop_assert_eq!(cell, "");
            }
        }

        #[test]
        fn any_text_is_one_harmless_line(raw in any::<String>()) {
            let cell = text(&raw);
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
            prop_assert!(!cell.chars().any(is_break));
            prop_assert_eq!(text(&cell), cell.clone(), "done twice is done once");
        }

        #[test]
        fn ordinary_text_is_left_alone(raw in "[\\p{L}\\p{N}(\"][\\p{L}\\p{N}\\p{P}\\p{S} ]{0,20}") {
            prop_assert_eq!(text(&raw), raw.as_str());
        }
    }
}
