//! A cell as a person reads it: six digits of a number, one line of text.

use super::cell;
use super::table::Cell;

/// Digits of a number that are shown.
const DIGITS: i32 = 6;

/// The cell as text; empty where nothing is known. Numbers are rounded, so what goes on computing
/// wants CSV or JSON instead.
pub fn plain(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => cell::one_line(text).replace('\t', " "),
        Cell::Number(number) => significant(*number),
        Cell::Integer(integer) => integer.to_string(),
        Cell::Boolean(true) => "yes".to_owned(),
        Cell::Boolean(false) => "no".to_owned(),
    }
}

fn significant(x: f64) -> String {
    let size = if x == 0.0 { 0 } else { x.abs().log10().floor() as i32 };
    if !(-9..15).contains(&size) {
        let text = format!("{x:.*e}", (DIGITS - 1) as usize);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'));
    }
    let decimals = usize::try_from(DIGITS - 1 - size).unwrap_or(0);
    let text = format!("{x:.decimals$}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    // Rounding may leave a zero with a sign.
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_six_digits_and_no_exponent_where_they_are_usual() {
        for (number, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (0.00001, "0.00001"),
            (0.123_456_789, "0.123457"),
            (-0.956_249_999_9, "-0.95625"),
            (1_234_567.8, "1234568"),
            (3.0, "3"),
            (100.0, "100"),
            (999_999.9, "1000000"),
            (1e-12, "1e-12"),
            (-2.5e30, "-2.5e30"),
        ] {
            assert_eq!(plain(&Cell::Number(number)), text, "{number}");
        }
        assert_eq!(plain(&Cell::text("a\n\tb\u{1b}")), "a b\u{fffd}");
        assert_eq!(plain(&Cell::Boolean(true)), "yes");
    }

    proptest! {
        #[test]
        fn a_number_is_right_to_six_digits(x in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let shown: f64 = plain(&Cell::Number(x)).parse().unwrap();
            prop_assert!((shown - x).abs() <= 1e-5 * x.abs());
        }
    }
}
