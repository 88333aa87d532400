//! The points of a plan as one matrix of small numbers.
//!
//! In: settings, interned key by key. Out: for every point a row of `u32`, one for each key that
//! some rule of the sweep file sets. A row of a million-point grid costs four bytes a key and no
//! allocation; a whole [`RunConfig`] is only put together when somebody asks for it.

use std::collections::HashMap;

use crate::spec::{Key, RunConfig, Setting};

/// Stands in a row for "no rule set this key here: it is at its base value". Only while a plan is
/// expanded; in the end the base value gets a number like any other.
pub(crate) const UNSET: u32 = u32::MAX;

/// A key that some rule sets, with every value it is set to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// The key.
    pub(crate) key: Key,
    /// Distinct values, in the order written; a base value that no rule writes comes last.
    pub(crate) values: Vec<Setting>,
}

/// Gives every distinct value of a key its number.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    columns: Vec<Column>,
    /// For each column, canonical text -> number. Equality of canonical texts is what ids know.
    numbers: Vec<HashMap<String, u32>>,
}

impl Interner {
    /// The column of `key`, made if it is new.
    pub(crate) fn column(&mut self, key: Key) -> usize {
        self.find(key).unwrap_or_else(|| {
            self.columns.push(Column { key, values: Vec::new() });
            self.numbers.push(HashMap::new());
            self.columns.len() - 1
        })
    }

    /// The column of `key`, if there is one.
    pub(crate) fn find(&self, key: Key) -> Option<usize> {
        self.columns.iter().position(|column| column.key == key)
    }

    /// Column and number of `setting`, both made if they are new.
    pub(crate) fn intern(&mut self, setting: &Setting) -> (usize, u32) {
        let column = self.column(setting.key());
        let values = &mut self.columns[column].values;
        let number =
            *self.numbers[column].entry(setting.canonical().to_string()).or_insert_with(|| {
                values.push(setting.clone());
                u32::try_from(values.len() - 1).expect("invariant: a sweep file has < 2^32 values")
            });
        (column, number)
    }

    /// The columns so far.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns, without what was only needed to number values.
    pub(crate) fn into_columns(self) -> Vec<Column> {
        self.columns
    }
}

/// A matrix of value numbers: a row for every point, a column for every key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matrix {
    width: usize,
    cells: Vec<u32>,
    /// Kept beside `cells`, since a matrix without columns still has rows.
    len: usize,
}

impl Matrix {
    /// No row yet.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, cells: Vec::new(), len: 0 }
    }

    /// No row yet, but room for `len`.
    pub(crate) fn with_capacity(width: usize, len: usize) -> Self {
        Self { width, cells: Vec::with_capacity(width * len), len: 0 }
    }

    /// How many columns there are.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Row `index`.
    pub(crate) fn row(&self, index: usize) -> &[u32] {
        &self.cells[index * self.width..(index + 1) * self.width]
    }

    /// All rows, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len).map(|index| self.row(index))
    }

    /// Adds a row; one that is too short is filled up with [`UNSET`].
    pub(crate) fn push(&mut self, row: &[u32]) {
        self.cells.extend_from_slice(row);
        self.len += 1;
        self.cells.resize(self.width * self.len, UNSET);
    }

    /// Keeps the rows that `keep` approves of, in order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u32]) -> bool) {
        let mut kept = 0;
        for index in 0..self.len {
            let row = index * self.width..(index + 1) * self.width;
            if keep(&self.cells[row.clone()]) {
                self.cells.copy_within(row, kept * self.width);
                kept += 1;
            }
        }
        self.cells.truncate(kept * self.width);
        self.len = kept;
    }

    /// Writes `value` wherever `column` is [`UNSET`].
    pub(crate) fn fill_unset(&mut self, column: usize, value: u32) {
        for cell in self.cells.iter_mut().skip(column).step_by(self.width.max(1)) {
            if *cell == UNSET {
                *cell = value;
            }
        }
    }
}

/// Every configuration of a plan: the base and where each point departs from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Points {
    pub(crate) base: RunConfig,
    pub(crate) columns: Vec<Column>,
    pub(crate) matrix: Matrix,
    /// Columns with at least two values among the points: those that name a point.
    varied: Vec<usize>,
}

impl Points {
    pub(crate) fn new(base: RunConfig, columns: Vec<Column>, matrix: Matrix) -> Self {
        let mut points = Self { base, columns, matrix, varied: Vec::new() };
        let used = |column: usize| points.counts(column).iter().filter(|count| **count > 0).count();
        points.varied = (0..points.columns.len()).filter(|column| used(*column) > 1).collect();
        points
    }

    /// How many configurations there are.
    pub fn len(&self) -> usize {
        self.matrix.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.matrix.len() == 0
    }

    /// Columns that really vary, in the order of the sweep file.
    pub(crate) fn varied(&self) -> &[usize] {
        &self.varied
    }

    /// For each value of `column`, how many points have it.
    pub(crate) fn counts(&self, column: usize) -> Vec<usize> {
        let mut counts = vec![0; self.columns[column].values.len()];
        for row in self.matrix.rows() {
            counts[row[column] as usize] += 1;
        }
        counts
    }

    /// The keys that vary with their values at point `index`.
    pub fn settings(&self, index: usize) -> impl Iterator<Item = &Setting> {
        let row = self.matrix.row(index);
        self.varied.iter().map(move |column| &self.columns[*column].values[row[*column] as usize])
    }

    /// Name of point `index`: the keys that vary, as `schedule=cosine lr=0.1`; `base` if none does.
    pub fn name(&self, index: usize) -> String {
        let mut name = String::new();
        for setting in self.settings(index) {
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(setting.key().name());
            name.push('=');
            name.push_str(&setting.label());
        }
        if name.is_empty() { "base".to_owned() } else { name }
    }

    /// The whole configuration of point `index`, with the base's seed.
    pub fn config(&self, index: usize) -> RunConfig {
        let mut config = self.base.clone();
        self.write(index, &mut config);
        config
    }

    /// As [`config`](Self::config), into a configuration of the same plan that is used again.
    pub(crate) fn write(&self, index: usize, config: &mut RunConfig) {
        for (column, number) in self.columns.iter().zip(self.matrix.row(index)) {
            config.set(&column.values[*number as usize]);
        }
    }
}
