//! Rows of cells in columns, for a terminal.

use console::measure_text_width;

/// Columns two blanks apart; those that `is_number` says hold numbers are flush right, the others
/// flush left. Rows may have fewer cells than others.
pub fn columns(rows: &[impl AsRef<[String]>], is_number: impl Fn(usize) -> bool) -> String {
    let rows = || rows.iter().map(AsRef::as_ref);
    let count = rows().map(<[String]>::len).max().unwrap_or(0);
    let cells = |column: usize| rows().filter_map(move |row| row.get(column));
    let width =
        |column: usize| cells(column).map(|cell| measure_text_width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column].saturating_sub(measure_text_width(cell)));
            let (before, after) = if is_number(column) { (&*gap, "") } else { ("", &*gap) };
            line.extend([before, cell, after, "  "]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A text that neither breaks a table nor steers the terminal.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_text_stands_left() {
        let rows = [vec!["a", "1"], vec!["bcd", "23", "é"], vec!["", "456"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>());
        insta::assert_snapshot!(columns(&rows, |column| column == 1), @r"
        a      1
        bcd   23  é
             456
        ");
    }
}
