//! `effects.csv`: what each varied key is worth, by the contract of [`csv`](super::csv).

use super::table::{Cell, Definition, Table};
use crate::aggregate::effects::{Change, Effect, Effects};
use crate::aggregate::statistics::{Ci95, PairedTest};

/// The columns; `docs/reference/csv.md` says what each means.
fn definition(axes: &[String]) -> Definition<'_, Effect> {
    let name = |change: &Change| axes.get(change.axis).map_or("", String::as_str);
    Definition::new()
        .text("kind", |effect: &Effect| if effect.with.is_some() { "interaction" } else { "main" })
        .text("axis", move |effect| name(&effect.change))
        .mixed("value", |effect| Cell::of_axis(&effect.change.value))
        .mixed("instead_of", |effect| Cell::of_axis(&effect.change.reference))
        .text("with_axis", move |effect| effect.with.as_ref().map_or("", name))
        .mixed("with_value", |effect| with(effect, |with| Cell::of_axis(&with.value)))
        .mixed("with_instead_of", |effect| with(effect, |with| Cell::of_axis(&with.reference)))
        .count("seeds", |effect| effect.over_seeds.as_ref().map_or(0, |test| test.pairs))
        .count("pairs", |effect| effect.pairs)
        .number("effect_mean", |effect| effect.over_seeds.as_ref().map(|test| test.mean))
        .number("effect_ci95_low", |effect| interval(effect).map(|ci95| ci95.low))
        .number("effect_ci95_high", |effect| interval(effect).map(|ci95| ci95.high))
        .number("p_value", |effect| effect.over_seeds.as_ref().and_then(|test| test.p_value))
        .number("p_value_holm", |effect| effect.p_value_holm)
}

/// A cell of the second change of an interaction.
fn with<'a>(effect: &'a Effect, cell: fn(&'a Change) -> Cell<'a>) -> Cell<'a> {
    effect.with.as_ref().map_or(Cell::Empty, cell)
}

fn interval(effect: &Effect) -> Option<Ci95> {
    effect.over_seeds.as_ref().and_then(|PairedTest { ci95, .. }| *ci95)
}

/// The effects in a sweep that varies `axes`: main effects, then interactions.
pub fn effects_table<'a>(axes: &'a [String], effects: &'a Effects) -> Table<'a> {
    definition(axes).table(effects.main.iter().chain(&effects.interactions))
}

/// `effects.csv` of a sweep that varies `axes`: main effects, then interactions.
pub fn effects_csv(axes: &[String], effects: &Effects) -> Vec<u8> {
    definition(axes).csv(effects.main.iter().chain(&effects.interactions))
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
        for column in definition(&[]).keys() {
            assert!(section.contains(&format!("| `{column}` |")), "{column}");
        }
    }
}
