//! A table in JSON: a list of objects, one a row, with the names of the columns.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::table::{Cell, Column, Table};

/// Renders `table`, a row a line. Numbers are exact; what is unknown is `null`.
pub fn json(table: &Table<'_>) -> String {
    let row = |cells: &Vec<Cell<'_>>| {
        let row = Row { columns: &table.columns, cells };
        serde_json::to_string(&row).expect("invariant: texts and finite numbers are JSON")
    };
    let rows: Vec<String> = table.rows.iter().map(row).collect();
    match rows.is_empty() {
        true => "[]\n".to_owned(),
        false => format!("[\n{}\n]\n", rows.join(",\n")),
    }
}

struct Row<'a> {
    columns: &'a [Column],
    cells: &'a [Cell<'a>],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.cells.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            map.serialize_entry(&column.key, cell)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Kind;
    use proptest::prelude::*;

    #[test]
    fn rows_are_objects_in_the_order_of_the_columns() {
        let column = |key: &'static str, kind| Column { key: key.into(), kind };
        let table = Table {
            columns: vec![
                column("name", Kind::Text),
                column("lr", Kind::Number),
                column("seed", Kind::Integer),
                column("tied", Kind::Boolean),
            ],
            rows: vec![
                vec![
                    Cell::text("=1+1 \"q\"\n"),
                    Cell::Number(1e-5),
                    Cell::Integer(u64::MAX),
                    Cell::Boolean(true),
                ],
                vec![Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty],
            ],
        };
        insta::assert_snapshot!(json(&table), @r#"
        [
        {"name":"=1+1 \"q\"\n","lr":0.00001,"seed":18446744073709551615,"tied":true},
        {"name":null,"lr":null,"seed":null,"tied":null}
        ]
        "#);
        assert_eq!(json(&Table { columns: table.columns, rows: vec![] }), "[]\n");
    }

    proptest! {
        #[test]
        fn any_cell_is_valid_json(text in any::<String>(), number in any::<f64>()) {
            let column = |key: &'static str| Column { key: key.into(), kind: Kind::Text };
            let table = Table {
                columns: vec![column("a"), column("b")],
                rows: vec![vec![Cell::text(&text), Cell::number(Some(number))]],
            };
            let read: serde_json::Value = serde_json::from_str(&json(&table)).unwrap();
            prop_assert_eq!(read[0]["a"].as_str().unwrap_or_default(), text.as_str());
            prop_assert_eq!(read[0]["b"].as_f64().is_some(), number.is_finite());
        }
    }
}
