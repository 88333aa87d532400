//! Expansion: the rules of a sweep file in, its points out.
//!
//! The order is part of the sweep file's meaning: the product of `[grid]` (first axis slowest) and
//! of every `[[zip]]`; then each `[[when]]` multiplies the points that it picks and sees what
//! earlier ones set; then `[[exclude]]` drops points; then `[[include]]` adds points, which no rule
//! drops. Sizes are multiplied with overflow checks before anything is enumerated.

use std::collections::HashSet;

use super::error::PlanError;
use super::idle::{self, Idle};
use super::points::{Interner, Matrix, Points, UNSET};
use super::rule::Rule;
use crate::spec::sweep::{Axis, When, Zip};
use crate::spec::{Key, SweepSpec};

/// Most runs that one sweep may have, and most points that are enumerated before `[[exclude]]`.
pub const MAX_RUNS: usize = 2_000_000;

/// What an `[[exclude]]` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExcludedBy {
    /// Line of the rule, from 1; 0 on the command line.
    pub line: usize,
    /// Points that it dropped.
    pub dropped: usize,
    /// Points that it would have dropped, had no earlier rule done so.
    pub already_dropped: usize,
}

impl ExcludedBy {
    /// The rule's place, as texts name it.
    pub fn place(&self) -> String {
        match self.line {
            0 => "the `[[exclude]]` of the command line".to_owned(),
            line => format!("the `[[exclude]]` in line {line}"),
        }
    }
}

/// A sweep file, expanded.
#[derive(Debug, Clone, PartialEq)]
pub struct Expansion {
    /// The configurations.
    pub points: Points,
    /// What each `[[exclude]]` dropped, in the order of the file.
    pub excluded: Vec<ExcludedBy>,
    /// Points that `[[include]]` added; they are the last ones.
    pub included: usize,
    /// Lines of the `[[include]]`s whose point was there already.
    pub duplicates: Vec<usize>,
    /// `[[when]]`s and `[[claim]]`s that no point is there for.
    pub idle: Vec<Idle>,
}

/// Expands a sweep file.
///
/// # Errors
/// More than [`MAX_RUNS`], a key that is set twice, or no point left.
pub fn expand(spec: &SweepSpec) -> Result<Expansion, PlanError> {
    let mut interner = Interner::default();
    let dimensions = dimensions(spec, &mut interner)?;
    let whens: Vec<Vec<Dimension>> = spec
        .whens
        .iter()
        .map(|when| when.axes.iter().map(|axis| Dimension::of(axis, &mut interner)).collect())
        .collect();
    let includes: Vec<Vec<(usize, u32)>> = spec
        .includes
        .iter()
        .map(|include| include.settings.iter().map(|c| interner.intern(&c.setting)).collect())
        .collect();
    if interner.find(Key::Seed).is_some() {
        return Err(PlanError::SeedVaried);
    }

    // Rules may drop points, so that only without any the seeds count from the start.
    let repeats = if spec.excludes.is_empty() { spec.seeds.len() } else { 1 };
    limited(spec, size(&dimensions), &dimensions, repeats)?;
    let mut matrix = Matrix::new(interner.columns().len());
    let product = product(&dimensions);
    for row in product.rows() {
        matrix.push(row);
    }
    drop(product);
    for (number, (when, axes)) in spec.whens.iter().zip(&whens).enumerate() {
        let rule = Rule::new(&when.condition, interner.columns(), &spec.base);
        matrix = apply_when(&matrix, &rule, axes).map_err(|problem| match problem {
            WhenProblem::TooMany(size) => {
                let shape = format!("after `[[when]]` number {}", number + 1);
                PlanError::TooLarge { size, what: "points", shape }
            }
            WhenProblem::SetTwice { column, row } => {
                set_twice(number, when, interner.columns()[column].key, &interner.describe(&row))
            }
        })?;
    }
    let met = |matrix: &Matrix| idle::met(&spec.whens, interner.columns(), &spec.base, matrix);
    let before = met(&matrix);
    let excluded = exclude(spec, &interner, &mut matrix);
    let mut idle = idle::whens(&spec.whens, &before, &met(&matrix));
    let (included, duplicates) = include(spec, &mut interner, &mut matrix, &includes);
    if matrix.len() == 0 {
        return Err(PlanError::NothingLeft { excluded });
    }
    limited(spec, Some(matrix.len() as u128), &dimensions, spec.seeds.len())?;
    let points = Points::new(spec.base.clone(), interner.into_columns(), matrix);
    idle.extend(idle::claims(&spec.claims, &points));
    Ok(Expansion { points, excluded, included, duplicates, idle })
}

/// Columns that move together: one of a `[grid]` axis, several of a `[[zip]]`.
struct Dimension {
    columns: Vec<usize>,
    /// A row for each place on the axis, as wide as `columns`; distinct.
    places: Matrix,
    name: String,
}

impl Dimension {
    fn of(axis: &Axis, interner: &mut Interner) -> Self {
        let mut places = Matrix::with_capacity(1, axis.values.len());
        for choice in &axis.values {
            places.push(&[interner.intern(&choice.setting).1]);
        }
        let columns = vec![interner.column(axis.key)];
        Self { columns, places, name: axis.key.name().to_owned() }
    }

    fn of_zip(zip: &Zip, interner: &mut Interner) -> Self {
        let axes: Vec<Self> = zip.axes.iter().map(|axis| Self::of(axis, interner)).collect();
        let len = axes.iter().map(|axis| axis.places.len()).min().unwrap_or(0);
        let mut places = Matrix::with_capacity(axes.len(), len);
        let mut seen = HashSet::new();
        for place in 0..len {
            let row: Vec<u32> = axes.iter().map(|axis| axis.places.row(place)[0]).collect();
            // A value may come back within an axis of a zip, a whole row may not.
            if seen.insert(row.clone()) {
                places.push(&row);
            }
        }
        let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
        let name = names.join("+");
        Self { columns: axes.iter().flat_map(|axis| axis.columns.clone()).collect(), places, name }
    }
}

/// `[grid]` and every `[[zip]]`; their columns come first and in this order.
fn dimensions(spec: &SweepSpec, interner: &mut Interner) -> Result<Vec<Dimension>, PlanError> {
    let mut keys = HashSet::new();
    let axes = spec.grid.iter().chain(spec.zips.iter().flat_map(|zip| &zip.axes));
    for axis in axes {
        if !keys.insert(axis.key) {
            return Err(PlanError::VariedTwice { key: axis.key });
        }
    }
    let mut dimensions: Vec<Dimension> =
        spec.grid.iter().map(|axis| Dimension::of(axis, interner)).collect();
    dimensions.extend(spec.zips.iter().map(|zip| Dimension::of_zip(zip, interner)));
    Ok(dimensions)
}

/// Number of points of a product; `None` beyond 128 bits.
fn size(dimensions: &[Dimension]) -> Option<u128> {
    dimensions.iter().try_fold(1_u128, |size, axis| size.checked_mul(axis.places.len() as u128))
}

/// Refuses `points`, each `repeats` times, beyond the limit.
fn limited(
    spec: &SweepSpec,
    points: Option<u128>,
    dimensions: &[Dimension],
    repeats: usize,
) -> Result<(), PlanError> {
    let size = points.and_then(|points| points.checked_mul(repeats as u128));
    if size.is_some_and(|size| size <= MAX_RUNS as u128) {
        return Ok(());
    }
    let mut shape: Vec<String> =
        dimensions.iter().map(|axis| format!("{}: {}", axis.name, axis.places.len())).collect();
    let rules = spec.whens.len() + spec.excludes.len() + spec.includes.len();
    if rules > 0 && repeats == spec.seeds.len() {
        shape.push("rules applied".to_owned());
    }
    let what = if repeats == spec.seeds.len() {
        shape.push(format!("seeds: {repeats}"));
        "runs"
    } else {
        "points before `[[exclude]]`"
    };
    Err(PlanError::TooLarge { size, what, shape: shape.join(", ") })
}

/// Every combination of the dimensions' places, the first dimension slowest. A row has the columns
/// of the first dimension, then those of the second, and so on.
fn product(dimensions: &[Dimension]) -> Matrix {
    let width = dimensions.iter().map(|axis| axis.columns.len()).sum();
    let len = dimensions.iter().map(|axis| axis.places.len()).product();
    let mut matrix = Matrix::with_capacity(width, len);
    if len == 0 {
        return matrix;
    }
    let mut digits = vec![0; dimensions.len()];
    let mut row: Vec<u32> =
        dimensions.iter().flat_map(|axis| axis.places.row(0).to_vec()).collect();
    loop {
        matrix.push(&row);
        // Count up: the last dimension moves first, the ones that overflow start again.
        let mut end = width;
        let mut moved = false;
        for (axis, digit) in dimensions.iter().zip(&mut digits).rev() {
            let start = end - axis.columns.len();
            *digit = (*digit + 1) % axis.places.len();
            row[start..end].copy_from_slice(axis.places.row(*digit));
            end = start;
            if *digit > 0 {
                moved = true;
                break;
            }
        }
        if !moved {
            return matrix;
        }
    }
}

enum WhenProblem {
    /// So many points there would be.
    TooMany(Option<u128>),
    /// `column` is set at `row` already.
    SetTwice { column: usize, row: Vec<u32> },
}

/// Multiplies the rows that `rule` picks by the product of `axes`.
fn apply_when(matrix: &Matrix, rule: &Rule, axes: &[Dimension]) -> Result<Matrix, WhenProblem> {
    let columns: Vec<usize> = axes.iter().flat_map(|axis| axis.columns.clone()).collect();
    let mut picked = 0_u128;
    for row in matrix.rows().filter(|row| rule.holds(row)) {
        picked += 1;
        let repeated =
            columns.iter().enumerate().find(|(n, column)| columns[..*n].contains(column));
        let set = columns.iter().find(|column| row[**column] != UNSET);
        if let Some(column) = set.or(repeated.map(|(_, column)| column)) {
            return Err(WhenProblem::SetTwice { column: *column, row: row.to_vec() });
        }
    }
    let untouched = matrix.len() as u128 - picked;
    let total = size(axes).and_then(|size| size.checked_mul(picked)?.checked_add(untouched));
    let len = total
        .filter(|total| picked == 0 || *total <= MAX_RUNS as u128)
        .ok_or(WhenProblem::TooMany(total))? as usize;
    let mut expanded = Matrix::with_capacity(matrix.width(), len);
    if picked == 0 {
        return Ok(matrix.clone());
    }
    let extra = product(axes);
    let mut changed = Vec::new();
    for row in matrix.rows() {
        if !rule.holds(row) {
            expanded.push(row);
            continue;
        }
        for values in extra.rows() {
            changed.clear();
            changed.extend_from_slice(row);
            for (column, value) in columns.iter().zip(values) {
                changed[*column] = *value;
            }
            expanded.push(&changed);
        }
    }
    Ok(expanded)
}

fn set_twice(number: usize, when: &When, key: Key, example: &str) -> PlanError {
    PlanError::SetTwice { number: number + 1, key, example: example.to_owned(), span: when.span }
}

/// Drops what the `[[exclude]]`s pick.
fn exclude(spec: &SweepSpec, interner: &Interner, matrix: &mut Matrix) -> Vec<ExcludedBy> {
    let rules: Vec<Rule> = spec
        .excludes
        .iter()
        .map(|exclude| Rule::new(&exclude.condition, interner.columns(), &spec.base))
        .collect();
    let mut excluded: Vec<ExcludedBy> = spec
        .excludes
        .iter()
        .map(|exclude| ExcludedBy { line: exclude.line, dropped: 0, already_dropped: 0 })
        .collect();
    if rules.is_empty() {
        return excluded;
    }
    matrix.retain(|row| {
        let mut keep = true;
        for (rule, excluded) in rules.iter().zip(&mut excluded) {
            if rule.holds(row) {
                if keep {
                    excluded.dropped += 1;
                } else {
                    excluded.already_dropped += 1;
                }
                keep = false;
            }
        }
        keep
    });
    excluded
}

/// Adds the `[[include]]`s that are not there yet, and puts base values where nothing was set.
/// Gives how many were added, and the lines of those that were not.
fn include(
    spec: &SweepSpec,
    interner: &mut Interner,
    matrix: &mut Matrix,
    includes: &[Vec<(usize, u32)>],
) -> (usize, Vec<usize>) {
    let before = matrix.len();
    for settings in includes {
        let mut row = vec![UNSET; matrix.width()];
        for (column, value) in settings {
            row[*column] = *value;
        }
        matrix.push(&row);
    }
    for column in 0..matrix.width() {
        if matrix.rows().any(|row| row[column] == UNSET) {
            let key = interner.columns()[column].key;
            let (_, value) = interner.intern(&spec.base.setting(key));
            matrix.fill_unset(column, value);
        }
    }
    // Only the included rows are hashed: the points of the grid are distinct by construction.
    let wanted: HashSet<Vec<u32>> =
        (before..matrix.len()).map(|index| matrix.row(index).to_vec()).collect();
    let mut seen = HashSet::new();
    if !wanted.is_empty() {
        seen.extend((0..before).map(|index| matrix.row(index)).filter(|row| wanted.contains(*row)));
    }
    let mut seen: HashSet<Vec<u32>> = seen.into_iter().map(<[u32]>::to_vec).collect();
    let mut index = 0;
    let mut duplicates = Vec::new();
    matrix.retain(|row| {
        index += 1;
        let keep = index <= before || seen.insert(row.to_vec());
        if !keep {
            duplicates.push(spec.includes[index - 1 - before].line);
        }
        keep
    });
    (matrix.len() - before, duplicates)
}

impl Interner {
    /// A row as messages show it: what is set, in the order of the file.
    fn describe(&self, row: &[u32]) -> String {
        let set: Vec<String> = self
            .columns()
            .iter()
            .zip(row)
            .filter(|(_, value)| **value != UNSET)
            .map(|(column, value)| {
                format!("{}={}", column.key, column.values[*value as usize].label())
            })
            .collect();
        if set.is_empty() { "every point".to_owned() } else { format!("`{}`", set.join(" ")) }
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
