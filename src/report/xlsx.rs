//! Tables as a workbook that Excel, LibreOffice and pandas open: a sheet for each.
//!
//! Numbers are numbers and texts are texts whatever they begin with: nothing is ever a formula. The
//! header is bold, stays in sight and has filters. The same tables give the same bytes.

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use super::cell;
use super::plain::plain;
use super::table::{Cell, Table};

/// Rows that a sheet takes below its header.
pub const MOST_ROWS: usize = 1_048_575;

/// Columns that a sheet takes.
pub const MOST_COLUMNS: usize = 16_384;

/// UTF-16 units that a cell takes.
const MOST_TEXT: usize = 32_767;

/// Up to here every integer is a 64-bit number; larger ones are texts, to stay exact.
const MOST_EXACT: u64 = 1 << 53;

/// Rows that the width of a column is taken from.
const MEASURED_ROWS: usize = 1000;

/// Narrowest and widest column, in characters.
const WIDTHS: (usize, usize) = (8, 60);

/// Why there is no workbook.
#[derive(Debug, thiserror::Error)]
pub enum WorkbookError {
    /// A table is larger than a sheet can be.
    #[error(
        "{sheet} has {rows} rows and {columns} columns: a sheet takes {MOST_ROWS} and {MOST_COLUMNS}"
    )]
    TooLarge {
        /// Which.
        sheet: String,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// It cannot be written.
    #[error("the workbook cannot be made: {0}")]
    Xlsx(#[from] XlsxError),
}

/// The workbook of these tables, each with the name of its sheet: at most 31 characters, none of
/// `[]:*?/\`.
///
/// # Errors
/// When a table is larger than a sheet can be.
pub fn workbook(sheets: &[(&str, Table<'_>)]) -> Result<Vec<u8>, WorkbookError> {
    let mut workbook = Workbook::new();
    // Not the time of writing: the same tables are the same bytes.
    let created = ExcelDateTime::from_ymd(2000, 1, 1)?;
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&created));
    for (name, table) in sheets {
        let (rows, columns) = (table.rows.len(), table.columns.len());
        if rows > MOST_ROWS || columns > MOST_COLUMNS {
            return Err(WorkbookError::TooLarge { sheet: (*name).to_owned(), rows, columns });
        }
        fill(workbook.add_worksheet().set_name(*name)?, table)?;
    }
    Ok(workbook.save_to_buffer()?)
}

fn fill(sheet: &mut Worksheet, table: &Table<'_>) -> Result<(), XlsxError> {
    let bold = Format::new().set_bold();
    for (column, place) in table.columns.iter().zip(0_u16..) {
        sheet.write_string_with_format(0, place, column.key.as_ref(), &bold)?;
        sheet.set_column_width(place, width(table, place.into()) as f64)?;
    }
    for (row, place) in table.rows.iter().zip(1_u32..) {
        for (cell, column) in row.iter().zip(0_u16..) {
            write(sheet, (place, column), cell)?;
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    let last_row = u32::try_from(table.rows.len()).unwrap_or(u32::MAX);
    let last_column = u16::try_from(table.columns.len().saturating_sub(1)).unwrap_or(u16::MAX);
    if last_row > 0 {
        sheet.autofilter(0, 0, last_row, last_column)?;
    }
    Ok(())
}

fn write(
    sheet: &mut Worksheet,
    (row, column): (u32, u16),
    cell: &Cell<'_>,
) -> Result<(), XlsxError> {
    match cell {
        Cell::Empty => {}
        Cell::Number(number) => {
            sheet.write_number(row, column, *number)?;
        }
        Cell::Integer(integer) if *integer <= MOST_EXACT => {
            sheet.write_number(row, column, *integer as f64)?;
        }
        Cell::Integer(integer) => {
            sheet.write_string(row, column, integer.to_string())?;
        }
        // As the CSV spells it: one spelling for formulas over either.
        Cell::Boolean(yes) => {
            sheet.write_string(row, column, if *yes { "yes" } else { "no" })?;
        }
        Cell::Text(text) => {
            sheet.write_string(row, column, fitting(&cell::one_line(text)))?;
        }
    }
    Ok(())
}

/// As much of a text as a cell takes.
fn fitting(text: &str) -> String {
    if text.encode_utf16().count() <= MOST_TEXT {
        return text.to_owned();
    }
    let mut units = 1;
    let fits = |c: &char| {
        units += c.len_utf16();
        units <= MOST_TEXT
    };
    text.chars().take_while(fits).chain(std::iter::once('…')).collect()
}

/// Characters that a column is wide, with room for the filter's arrow.
fn width(table: &Table<'_>, column: usize) -> usize {
    let header = table.columns[column].key.chars().count() + 2;
    let rows = table.rows.iter().take(MEASURED_ROWS);
    let cells = rows.map(|row| console::measure_text_width(&plain(&row[column])));
    cells.max().unwrap_or(0).max(header).clamp(WIDTHS.0, WIDTHS.1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::{Column, Kind};
    use proptest::prelude::*;

    fn table(cells: Vec<Cell<'static>>) -> Table<'static> {
        let column = |place| Column { key: format!("c{place}").into(), kind: Kind::Text };
        Table { columns: (0..cells.len()).map(column).collect(), rows: vec![cells] }
    }

    #[test]
    fn a_workbook_is_a_zip_and_the_same_every_time() {
        let sheets = || {
            let cells = vec![Cell::text("=1+1"), Cell::Number(0.1), Cell::Integer(u64::MAX)];
            vec![("leaderboard", table(cells)), ("runs", table(vec![Cell::Empty]))]
        };
        let bytes = workbook(&sheets()).unwrap();
        assert!(bytes.starts_with(b"PK\x03\x04"));
        assert_eq!(bytes, workbook(&sheets()).unwrap());
    }

    #[test]
    fn what_is_too_large_is_refused_and_long_texts_are_cut() {
        let mut large = table(vec![Cell::Empty; MOST_COLUMNS + 1]);
        large.rows.clear();
        let error = workbook(&[("runs", large)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "runs has 0 rows and 16385 columns: a sheet takes 1048575 and 16384"
        );
        let long = fitting(&"𝄞x".repeat(20_000));
        assert_eq!(long.encode_utf16().count(), MOST_TEXT);
        assert!(long.ends_with('…'));
        workbook(&[("runs", table(vec![Cell::text("x".repeat(100_000))]))]).unwrap();
        workbook(&[("none", Table { columns: vec![], rows: vec![] })]).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_cell_can_be_written(text in any::<String>(), number in any::<f64>(), integer in any::<u64>()) {
            let cells = vec![Cell::text(text), Cell::number(Some(number)), Cell::Integer(integer)];
            prop_assert!(workbook(&[("any", table(cells))]).is_ok());
        }
    }
}
