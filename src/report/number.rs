//! Numbers as people read them: a few significant digits, no zeros that say nothing.

/// `x` with at most so many significant digits; with an exponent where it would be long. Not finite:
/// as Rust writes it.
pub fn plain(x: f64, digits: usize) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let size = x.abs().log10().floor();
    if !(-4.0..6.0).contains(&size) {
        let text = format!("{x:.*e}", digits.saturating_sub(1));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", without_zeros(mantissa));
    }
    let decimals = usize::try_from(digits as i32 - 1 - size as i32).unwrap_or(0);
    without_zeros(&format!("{x:.decimals$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// `p = 0.046`, `p < 0.001`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// `x` rounded to six significant digits: what a chart can show, in a third of the bytes.
pub fn rounded(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    format!("{x:.5e}").parse().expect("invariant: a number that was just written is one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (x, text) in [
            (0.0, "0"),
            (0.95, "0.95"),
            (-4.3333, "-4.33"),
            (1234.5, "1234"),
            (99_999.0, "99999"),
            (1e6, "1e6"),
            (1.26e-7, "1.26e-7"),
            (0.001, "0.001"),
        ] {
            assert_eq!(plain(x, 3), text);
        }
        assert_eq!([p_value(0.0456), p_value(1e-9)], ["p = 0.046", "p < 0.001"]);
        assert_eq!(rounded(0.123_456_789), 0.123_457);
        assert_eq!(rounded(-1e300), -1e300);
        assert!(rounded(f64::NAN).is_nan());
    }
}
