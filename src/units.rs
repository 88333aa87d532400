//! Durations and sizes as people write and read them.

use std::time::Duration;

/// Reads `10s`, `1.5h`, `2h30m`, `250ms`: numbers with the units `ms s m h d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = rest[letters..].trim_start();
    }
    if text.trim().is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

/// Shows a duration in at most two units: `2h 05m`, `3m 10s`, `12.3s`, `45ms`.
pub fn show_duration(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 1.0 {
        return format!("{:.0}ms", s * 1e3);
    }
    if s < 60.0 {
        return format!("{s:.1}s");
    }
    let whole = duration.as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    if days > 0 {
        format!("{days}d {hours:02}h")
    } else if hours > 0 {
        format!("{hours}h {minutes:02}m")
    } else {
        format!("{minutes}m {:02}s", whole % 60)
    }
}

/// Reads `500MB`, `20 GiB`, `1.5tb`: a number with a unit of bytes, decimal or binary.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let letters = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..letters].trim_end().parse().ok()?;
    let unit = match text[letters..].to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => f64::from(1 << 10),
        "mib" => f64::from(1 << 20),
        "gib" => f64::from(1 << 30),
        "tib" => f64::from(1 << 30) * 1024.0,
        _ => return None,
    };
    let bytes = number * unit;
    (0.0..u64::MAX as f64).contains(&bytes).then_some(bytes as u64)
}

/// Shows a size in binary units: `1.5 GiB`.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// Shows a count with its thousands apart: `2,000,000`.
pub fn show_count(count: u128) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A count with what is counted: `1 run`, `2,000 runs`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", show_count(count as u128), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in [
            ("10s", 10.0),
            ("2h", 7200.0),
            ("1h30m", 5400.0),
            ("250ms", 0.25),
            ("1.5h", 5400.0),
            ("1d 2h", 93_600.0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1x", "1e3s", "1..2s", "99999999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("12B", 12),
            ("1.5 KiB", 1536),
            ("500MB", 500_000_000),
            (" 20 gib ", 20 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "20", "GiB", "-1GB", "1e3GB", "20 G", "1 2GB", "99999999999TiB", "NaN B"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn shown_durations_and_sizes_are_short() {
        let shown = [0.045, 12.34, 190.0, 7500.0, 180_000.0]
            .map(|s| show_duration(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["45ms", "12.3s", "3m 10s", "2h 05m", "2d 02h"]);
        assert_eq!(
            [0, 1023, 1536, 3 << 30].map(show_bytes),
            ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
        );
        assert_eq!([0, 999, 1000, 2_000_000].map(show_count), ["0", "999", "1,000", "2,000,000"]);
    }
}
