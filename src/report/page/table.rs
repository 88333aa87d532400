//! A table of the document: the cells of a CSV, with labels and units for their columns.

use serde::Serialize;

use super::labels;
use crate::report::table::{Cell, Kind, Table};

/// A table of the document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableSaid<'a> {
    /// The columns.
    pub columns: Vec<ColumnSaid>,
    /// The rows, each with a cell for every column; what is unknown is `null`.
    pub rows: Vec<Vec<Cell<'a>>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnSaid {
    /// As the CSV spells it.
    pub key: String,
    /// In words, without the unit.
    pub label: String,
    /// Its unit.
    pub unit: &'static str,
    /// What its cells are.
    pub kind: Kind,
}

impl<'a> TableSaid<'a> {
    /// At most `most` rows of `table`; columns that are called like one of the varied keys `axes` keep
    /// that name.
    pub fn of(table: Table<'a>, axes: &[String], most: usize) -> Self {
        let column = |key: &str, kind| {
            let is_axis = axes.iter().any(|axis| axis == key);
            let (label, unit) = if is_axis { (key.to_owned(), "") } else { labels::of_column(key) };
            ColumnSaid { key: key.to_owned(), label, unit, kind }
        };
        let columns = table.columns.iter().map(|known| column(&known.key, known.kind)).collect();
        let mut rows = table.rows;
        rows.truncate(most);
        Self { columns, rows }
    }
}
