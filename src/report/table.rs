//! Tables of typed cells: the one thing that CSV, workbook, Markdown, JSON and page are made from.
//!
//! A `Definition` says of every column its name, its kind and how its cell follows from a row's
//! source, once; every format follows from that. Texts are as they came: each format defuses them
//! in its own way.

use std::borrow::Cow;

use serde::ser::{Serialize, Serializer};

use crate::aggregate::row::AxisValue;

/// Rows of cells under named columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<'a> {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with one cell for every column.
    pub rows: Vec<Vec<Cell<'a>>>,
}

impl<'a> Table<'a> {
    /// Tables with the same columns, one below the other.
    pub(super) fn stacked(tables: impl IntoIterator<Item = Self>) -> Self {
        let mut tables = tables.into_iter();
        let first = tables.next().unwrap_or(Self { columns: Vec::new(), rows: Vec::new() });
        tables.fold(first, |mut stacked, table| {
            for (column, other) in stacked.columns.iter_mut().zip(&table.columns) {
                if column.kind != other.kind {
                    column.kind = Kind::Text;
                }
            }
            stacked.rows.extend(table.rows);
            stacked
        })
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, as `docs/reference/csv.md` has it.
    pub key: Cow<'static, str>,
    /// What its cells are, where they are known.
    pub kind: Kind,
}

/// What the known cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Texts, or texts and numbers.
    Text,
    /// Finite 64-bit numbers.
    Number,
    /// Whole numbers from 0.
    Integer,
    /// Yes or no.
    Boolean,
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Nothing is known, or there is nothing to say.
    Empty,
    /// A text, raw: it may hold anything. Never empty.
    Text(Cow<'a, str>),
    /// A number, always finite, never minus zero.
    Number(f64),
    /// A whole number.
    Integer(u64),
    /// Yes or no.
    Boolean(bool),
}

impl<'a> Cell<'a> {
    /// A text; one without characters is nothing.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }

    /// A number; one that is unknown or not finite is nothing.
    pub fn number(value: Option<f64>) -> Self {
        // Adding zero turns minus zero into zero.
        value.filter(|x| x.is_finite()).map_or(Self::Empty, |x| Self::Number(x + 0.0))
    }

    /// A whole number.
    pub fn integer(value: Option<u64>) -> Self {
        value.map_or(Self::Empty, Self::Integer)
    }

    /// Yes, no or unknown.
    pub fn yes_no(value: Option<bool>) -> Self {
        value.map_or(Self::Empty, Self::Boolean)
    }

    /// The value of a varied key: a number where it is one.
    pub fn of_axis(value: &'a AxisValue) -> Self {
        match value.number {
            Some(number) => Self::number(Some(number)),
            None => Self::text(&value.label),
        }
    }

    /// The cell as a number, where it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Integer(integer) => Some(*integer as f64),
            Self::Empty | Self::Text(_) | Self::Boolean(_) => None,
        }
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// As JSON: null, a string, a number, true or false.
impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Integer(integer) => serializer.serialize_u64(*integer),
            Self::Boolean(yes) => serializer.serialize_bool(*yes),
        }
    }
}

impl Column {
    /// The unit, from the end of the name: `s`, `bytes`, `1/s`; empty where it is none of these.
    pub fn unit(&self) -> &'static str {
        const SUFFIXES: [&str; 6] = ["_mean", "_std", "_ci95_low", "_ci95_high", "_p10", "_p90"];
        let stem = SUFFIXES.iter().find_map(|suffix| self.key.strip_suffix(suffix));
        let stem = stem.unwrap_or(&self.key);
        const UNITS: [(&str, &str); 4] =
            [("_bytes_per_s", "bytes/s"), ("_per_s", "1/s"), ("_bytes", "bytes"), ("_s", "s")];
        let unit = UNITS.iter().find(|(suffix, _)| stem.ends_with(suffix));
        unit.map_or("", |(_, unit)| unit)
    }
}

type CellOf<'a, R> = Box<dyn Fn(&'a R) -> Cell<'a> + 'a>;

/// The columns of a table over sources of type `R`, each with what gives its cells.
pub(super) struct Definition<'a, R> {
    columns: Vec<(Column, Settled, CellOf<'a, R>)>,
}

/// Is the kind of a column known before its cells are?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Yes,
    No,
}

impl<'a, R> Definition<'a, R> {
    /// A table without columns.
    pub(super) fn new() -> Self {
        Self { columns: Vec::new() }
    }

    fn add(
        mut self,
        key: impl Into<Cow<'static, str>>,
        (kind, settled): (Kind, Settled),
        cell: impl Fn(&'a R) -> Cell<'a> + 'a,
    ) -> Self {
        self.columns.push((Column { key: key.into(), kind }, settled, Box::new(cell)));
        self
    }

    /// A column of texts.
    pub(super) fn text<T: Into<Cow<'a, str>>>(
        self,
        key: &'static str,
        text: impl Fn(&'a R) -> T + 'a,
    ) -> Self {
        self.add(key, (Kind::Text, Settled::Yes), move |row| Cell::text(text(row)))
    }

    /// A column of numbers.
    pub(super) fn number(
        self,
        key: impl Into<Cow<'static, str>>,
        number: impl Fn(&'a R) -> Option<f64> + 'a,
    ) -> Self {
        self.add(key, (Kind::Number, Settled::Yes), move |row| Cell::number(number(row)))
    }

    /// A column of whole numbers.
    pub(super) fn integer(
        self,
        key: &'static str,
        integer: impl Fn(&'a R) -> Option<u64> + 'a,
    ) -> Self {
        self.add(key, (Kind::Integer, Settled::Yes), move |row| Cell::integer(integer(row)))
    }

    /// A column of counts, all known.
    pub(super) fn count(self, key: &'static str, count: impl Fn(&'a R) -> usize + 'a) -> Self {
        self.integer(key, move |row| Some(count(row) as u64))
    }

    /// A column of yes and no.
    pub(super) fn yes_no(
        self,
        key: &'static str,
        yes: impl Fn(&'a R) -> Option<bool> + 'a,
    ) -> Self {
        self.add(key, (Kind::Boolean, Settled::Yes), move |row| Cell::yes_no(yes(row)))
    }

    /// A column of values of keys: numbers if all are, else texts.
    pub(super) fn mixed(
        self,
        key: impl Into<Cow<'static, str>>,
        cell: impl Fn(&'a R) -> Cell<'a> + 'a,
    ) -> Self {
        self.add(key, (Kind::Text, Settled::No), cell)
    }

    /// A column for every varied key.
    pub(super) fn axes(
        self,
        names: &[String],
        values: impl Fn(&'a R) -> &'a [AxisValue] + Copy + 'a,
    ) -> Self {
        names.iter().enumerate().fold(self, |definition, (place, name)| {
            let cell = move |row| values(row).get(place).map_or(Cell::Empty, Cell::of_axis);
            definition.mixed(name.clone(), cell)
        })
    }

    /// The names of the columns.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(column, ..)| column.key.as_ref())
    }

    /// The cells of one row.
    pub(super) fn cells(&self, row: &'a R) -> impl Iterator<Item = Cell<'a>> {
        self.columns.iter().map(move |(_, _, cell)| cell(row))
    }

    /// The table of `rows`.
    pub(super) fn table(self, rows: impl IntoIterator<Item = &'a R>) -> Table<'a>
    where
        R: 'a,
    {
        let rows: Vec<Vec<Cell<'a>>> =
            rows.into_iter().map(|row| self.cells(row).collect()).collect();
        let columns = self.columns.into_iter().enumerate().map(|(place, (column, settled, _))| {
            let cells = || rows.iter().map(|row| &row[place]).filter(|cell| !cell.is_empty());
            let numbers =
                cells().next().is_some() && cells().all(|cell| cell.as_number().is_some());
            match settled {
                Settled::No if numbers => Column { kind: Kind::Number, ..column },
                Settled::Yes | Settled::No => column,
            }
        });
        Table { columns: columns.collect(), rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_at_the_end_of_names() {
        for (key, unit) in [
            ("wall_s", "s"),
            ("wall_s_mean", "s"),
            ("step_s_p90", "s"),
            ("images_per_s_ci95_low", "1/s"),
            ("bandwidth_bytes_per_s", "bytes/s"),
            ("peak_memory_bytes_std", "bytes"),
            ("val_accuracy_mean", ""),
            ("epochs", ""),
        ] {
            let column = Column { key: key.into(), kind: Kind::Number };
            assert_eq!(column.unit(), unit, "{key}");
        }
    }

    #[test]
    fn values_of_a_key_are_numbers_if_all_are() {
        let rows = [[Some(1.0), None, None], [None, None, None], [Some(2.5), Some(0.5), None]];
        let label = |value: &Option<f64>| match value {
            Some(number) => AxisValue { label: number.to_string(), number: *value },
            None => AxisValue { label: "auto".into(), number: None },
        };
        let rows: Vec<Vec<AxisValue>> =
            rows.iter().map(|row| row.iter().map(label).collect()).collect();
        let axes = ["lr", "width", "init", "absent"].map(str::to_owned);
        let kinds = |rows: &[Vec<AxisValue>]| {
            let definition = Definition::new().axes(&axes, |row: &Vec<AxisValue>| row);
            let table = definition.table(rows.iter());
            table.columns.iter().map(|column| column.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&rows), [Kind::Text; 4]);
        assert_eq!(kinds(&rows[2..]), [Kind::Number, Kind::Number, Kind::Text, Kind::Text]);
    }

    #[test]
    fn what_is_not_finite_is_empty() {
        assert_eq!(Cell::number(Some(f64::NAN)), Cell::Empty);
        assert_eq!(Cell::number(Some(-0.0)), Cell::Number(0.0));
        assert_eq!(Cell::text(""), Cell::Empty);
        assert_eq!(serde_json::to_string(&Cell::number(Some(f64::INFINITY))).unwrap(), "null");
    }
}
