//! Which columns of a table are shown, and in which order its rows stand.
//!
//! In: a table and names of its columns as a person types them. Out: the same cells, fewer columns, in
//! another order. A metric's name alone means its mean: `val_accuracy` is `val_accuracy_mean`.

use std::cmp::Ordering;

use super::table::{Cell, Column, Kind, Table};
use crate::spec::diagnostics::nearest;

/// There is no such column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no column `{given}`")]
pub struct NoColumn {
    /// As given.
    pub given: String,
    /// The nearest one, and all of them.
    pub help: String,
}

/// Smallest or largest first?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first; texts by the alphabet.
    Ascending,
    /// Largest first.
    Descending,
}

/// The place of the column called `given`.
///
/// # Errors
/// When there is none.
pub fn find(columns: &[Column], given: &str) -> Result<usize, NoColumn> {
    let place = |name: &str| columns.iter().position(|column| column.key == name);
    place(given).or_else(|| place(&format!("{given}_mean"))).ok_or_else(|| {
        let keys: Vec<&str> = columns.iter().map(|column| column.key.as_ref()).collect();
        let mean = || nearest(&format!("{given}_mean"), &keys).filter(|_| !given.is_empty());
        let meant = nearest(given, &keys).or_else(mean);
        let meant = meant.map_or_else(String::new, |word| format!("did you mean `{word}`? "));
        NoColumn { given: given.to_owned(), help: format!("{meant}legal: {}", keys.join(", ")) }
    })
}

/// The table with the columns `names`, in that order.
///
/// # Errors
/// When one of them is not there.
pub fn with_columns<'a>(table: &Table<'a>, names: &[String]) -> Result<Table<'a>, NoColumn> {
    let places: Vec<usize> =
        names.iter().map(|name| find(&table.columns, name)).collect::<Result<_, _>>()?;
    let row = |row: &Vec<Cell<'a>>| places.iter().map(|place| row[*place].clone()).collect();
    Ok(Table {
        columns: places.iter().map(|place| table.columns[*place].clone()).collect(),
        rows: table.rows.iter().map(row).collect(),
    })
}

/// The numbers of the rows of `table` when sorted by `keys`: `lr`, `-lr` or `lr:desc` for largest
/// first, `lr:asc` for smallest first. Where neither is said, `natural` decides. Rows that are equal
/// stay in their order; those without a value come last, whichever the direction.
///
/// # Errors
/// When one of the columns is not there.
pub fn order(
    table: &Table<'_>,
    keys: &[String],
    natural: impl Fn(&Column) -> Direction,
) -> Result<Vec<usize>, NoColumn> {
    let keys: Vec<(usize, Direction)> = keys
        .iter()
        .map(|given| {
            let (name, direction) = split(given);
            let place = find(&table.columns, name)?;
            Ok((place, direction.unwrap_or_else(|| natural(&table.columns[place]))))
        })
        .collect::<Result<_, NoColumn>>()?;
    let mut order: Vec<usize> = (0..table.rows.len()).collect();
    order.sort_by(|a, b| {
        let by = |(place, direction): &(usize, Direction)| {
            compare(&table.rows[*a][*place], &table.rows[*b][*place], *direction)
        };
        keys.iter().map(by).fold(Ordering::Equal, Ordering::then)
    });
    Ok(order)
}

/// The name of a column and the direction that was said with it.
fn split(given: &str) -> (&str, Option<Direction>) {
    if let Some(name) = given.strip_prefix('-') {
        return (name, Some(Direction::Descending));
    }
    match given.rsplit_once(':') {
        Some((name, "desc")) => (name, Some(Direction::Descending)),
        Some((name, "asc")) => (name, Some(Direction::Ascending)),
        _ => (given, None),
    }
}

fn compare(a: &Cell<'_>, b: &Cell<'_>, direction: Direction) -> Ordering {
    // What is unknown is last both ways.
    let known = a.is_empty().cmp(&b.is_empty());
    let values = compare_values(a, b);
    known.then(match direction {
        Direction::Ascending => values,
        Direction::Descending => values.reverse(),
    })
}

fn compare_values(a: &Cell<'_>, b: &Cell<'_>) -> Ordering {
    match (a, b) {
        (Cell::Integer(a), Cell::Integer(b)) => a.cmp(b),
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        (Cell::Boolean(a), Cell::Boolean(b)) => a.cmp(b),
        (Cell::Text(_), _) => Ordering::Greater,
        (_, Cell::Text(_)) => Ordering::Less,
        _ => match (a.as_number(), b.as_number()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => Ordering::Equal,
        },
    }
}

impl<'a> Table<'a> {
    /// The table with the rows numbered `order`, in that order.
    pub fn with_rows(mut self, order: &[usize]) -> Self {
        let mut rows: Vec<Option<Vec<Cell<'a>>>> = self.rows.into_iter().map(Some).collect();
        let row = |place: &usize| rows.get_mut(*place).and_then(Option::take);
        self.rows = order.iter().filter_map(row).collect();
        self
    }

    /// Is the column flush right, as numbers are?
    pub fn is_number(&self, column: usize) -> bool {
        self.columns
            .get(column)
            .is_some_and(|column| matches!(column.kind, Kind::Number | Kind::Integer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<'static> {
        let column = |key: &'static str, kind| Column { key: key.into(), kind };
        let row = |name: &'static str, lr: Option<f64>, n| {
            vec![Cell::text(name), Cell::number(lr), Cell::Integer(n)]
        };
        Table {
            columns: vec![
                column("configuration", Kind::Text),
                column("val_accuracy_mean", Kind::Number),
                column("n", Kind::Integer),
            ],
            rows: vec![
                row("b", Some(0.5), 3),
                row("a", None, 2),
                row("c", Some(0.25), 3),
                row("d", Some(0.5), 1),
            ],
        }
    }

    fn sorted(keys: &[&str]) -> String {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let natural = |column: &Column| match column.key.as_ref() {
            "val_accuracy_mean" => Direction::Descending,
            _ => Direction::Ascending,
        };
        match order(&table(), &keys, natural) {
            Ok(order) => order.iter().map(|place| ["b", "a", "c", "d"][*place]).collect(),
            Err(error) => format!("{error}: {}", error.help),
        }
    }

    #[test]
    fn rows_are_sorted_by_any_column_and_what_is_unknown_is_last() {
        assert_eq!(sorted(&[]), "bacd");
        assert_eq!(sorted(&["configuration"]), "abcd");
        assert_eq!(sorted(&["-configuration"]), "dcba");
        assert_eq!(sorted(&["val_accuracy"]), "bdca");
        assert_eq!(sorted(&["val_accuracy_mean:asc"]), "cbda");
        assert_eq!(sorted(&["val_accuracy:asc"]), "cbda");
        assert_eq!(sorted(&["-val_accuracy", "n"]), "dbca");
        assert_eq!(sorted(&["n:desc", "configuration:desc"]), "cbad");
        assert_eq!(
            sorted(&["val_acuracy"]),
            "there is no column `val_acuracy`: did you mean `val_accuracy_mean`? \
             legal: configuration, val_accuracy_mean, n"
        );
    }

    #[test]
    fn columns_are_chosen_by_name_in_any_order() {
        let names = ["n", "val_accuracy", "n"].map(str::to_owned);
        let table = with_columns(&table(), &names).unwrap();
        let keys: Vec<_> = table.columns.iter().map(|column| column.key.as_ref()).collect();
        assert_eq!(keys, ["n", "val_accuracy_mean", "n"]);
        assert_eq!(table.rows[0], [Cell::Integer(3), Cell::Number(0.5), Cell::Integer(3)]);
        assert!(table.is_number(1));
        let error = with_columns(&table, &["lr".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "there is no column `lr`");
    }

    #[test]
    fn rows_are_picked_by_number() {
        let table = table().with_rows(&[3, 0, 9]);
        let names: Vec<_> = table.rows.iter().map(|row| row[0].clone()).collect();
        assert_eq!(names, [Cell::text("d"), Cell::text("b")]);
    }
}
