//! `effects.csv`: what each varied key is worth, by the contract of [`csv`](super::csv).

use std::io;

use super::csv::{CsvRows, in_memory};
use crate::aggregate::effects::{Change, Effect, Effects};
use crate::aggregate::row::AxisValue;

/// The columns; `docs/reference/csv.md` says what each means.
const COLUMNS: [&str; 14] = [
    "kind",
    "axis",
    "value",
    "instead_of",
    "with_axis",
    "with_value",
    "with_instead_of",
    "seeds",
    "pairs",
    "effect_mean",
    "effect_ci95_low",
    "effect_ci95_high",
    "p_value",
    "p_value_holm",
];

/// `effects.csv` of a sweep that varies `axes`: main effects, then interactions.
pub fn effects_csv(axes: &[String], effects: &Effects) -> Vec<u8> {
    in_memory(|csv| {
        csv.texts(COLUMNS)?;
        csv.end_row()?;
        let all = effects.main.iter().chain(&effects.interactions);
        all.into_iter().try_for_each(|effect| row(csv, axes, effect))
    })
}

fn row(csv: &mut CsvRows<Vec<u8>>, axes: &[String], effect: &Effect) -> io::Result<()> {
    csv.text(if effect.with.is_some() { "interaction" } else { "main" })?;
    change(csv, axes, Some(&effect.change))?;
    change(csv, axes, effect.with.as_ref())?;
    let test = effect.over_seeds.as_ref();
    csv.integer(Some(test.map_or(0, |test| test.pairs as u64)))?;
    csv.integer(Some(effect.pairs as u64))?;
    csv.number(test.map(|test| test.mean))?;
    let ci95 = test.and_then(|test| test.ci95);
    csv.number(ci95.map(|ci95| ci95.low))?;
    csv.number(ci95.map(|ci95| ci95.high))?;
    csv.number(test.and_then(|test| test.p_value))?;
    csv.number(effect.p_value_holm)?;
    csv.end_row()
}

/// Axis, value and what it stands instead of; three empty cells of no change.
fn change(csv: &mut CsvRows<Vec<u8>>, axes: &[String], change: Option<&Change>) -> io::Result<()> {
    let Some(Change { axis, value, reference, .. }) = change else { return csv.texts([""; 3]) };
    csv.text(axes.get(*axis).map_or("", String::as_str))?;
    [value, reference].into_iter().try_for_each(|AxisValue { label, number }| match number {
        Some(number) => csv.number(Some(*number)),
        None => csv.text(label),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    #[test]
    fn effects() {
        let table = sample::table(&[
            ("relu", 0, Some(0.90)),
            ("tanh", 0, Some(0.80)),
            ("=gelu", 0, Some(0.90)),
            ("relu", 1, Some(0.92)),
            ("tanh", 1, Some(0.81)),
            ("=gelu", 1, None),
        ]);
        let csv = effects_csv(table.axes(), &Effects::of(&table));
        insta::assert_snapshot!("effects", String::from_utf8(csv).unwrap());
    }

    #[test]
    fn every_column_is_documented() {
        let reference = include_str!("../../docs/reference/csv.md");
        let section = reference.split("\n## ").find(|s| s.starts_with("effects.csv")).unwrap();
        for column in COLUMNS {
            assert!(section.contains(&format!("| `{column}` |")), "{column}");
        }
    }
}
