//! A table in Markdown, as GitHub reads it: pipes, numbers flush right, aligned in the source too.

use std::fmt::Write as _;

use console::measure_text_width;

use super::plain::plain;
use super::table::Table;

/// Renders `table`. Numbers have six digits; texts are escaped, so that they stay one cell and are
/// neither emphasis nor HTML.
pub fn markdown(table: &Table<'_>) -> String {
    let header = table.columns.iter().map(|column| column.key.to_string()).collect();
    let rows = table.rows.iter().map(|row| row.iter().map(|cell| escaped(&plain(cell))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|place| {
            lines.iter().map(|line| measure_text_width(&line[place])).max().unwrap_or(0).max(3)
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (place, cell) in line.iter().enumerate() {
            let gap = " ".repeat(widths[place] - measure_text_width(cell));
            match table.is_number(place) {
                true => put(&mut text, format_args!("| {gap}{cell} ")),
                false => put(&mut text, format_args!("| {cell}{gap} ")),
            }
        }
        text.push_str("|\n");
        if number == 0 {
            for (place, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width - 1);
                match table.is_number(place) {
                    true => put(&mut text, format_args!("| {dashes}: ")),
                    false => put(&mut text, format_args!("| :{dashes} ")),
                }
            }
            text.push_str("|\n");
        }
    }
    text
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("invariant: writing to a string never fails");
}

/// Without what Markdown would take for more than text. Underscores inside words are none.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '|' | '*' | '`' | '<' | '>' | '[' | ']' | '&' | '~') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::{Cell, Column, Kind};
    use proptest::prelude::*;

    fn table(names: &[&'static str]) -> Table<'static> {
        let column = |key: &'static str, kind| Column { key: key.into(), kind };
        Table {
            columns: vec![
                column("configuration", Kind::Text),
                column("lr", Kind::Number),
                column("tied", Kind::Boolean),
            ],
            rows: names
                .iter()
                .map(|name| vec![Cell::text(*name), Cell::Number(0.1), Cell::Empty])
                .collect(),
        }
    }

    #[test]
    fn cells_are_aligned_and_escaped() {
        let table = table(&["relu", "a|b*", "<b>x</b>", "活性化", "warmup_cosine"]);
        insta::assert_snapshot!(markdown(&table));
        let none = Table { columns: Vec::new(), rows: Vec::new() };
        assert_eq!(markdown(&none), "|\n|\n");
    }

    proptest! {
        #[test]
        fn any_text_is_one_cell_of_one_line(name in any::<String>()) {
            let mut table = table(&["x"]);
            table.rows[0][0] = Cell::text(name);
            let text = markdown(&table);
            prop_assert_eq!(text.lines().count(), 3);
            let bars = text.lines().next_back().unwrap().replace("\\\\", "").replace("\\|", "");
            prop_assert_eq!(bars.matches('|').count(), 4);
        }
    }
}
