//! Where a table goes and in which format: the standard output or a file.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::Path;

use super::args::{Format, OutputArgs};
use super::error::CliError;
use super::terminal;
use crate::display::columns::columns;
use crate::record::{Durability, atomic};
use crate::report::csv::table_csv;
use crate::report::json::json;
use crate::report::markdown::markdown;
use crate::report::plain::plain;
use crate::report::table::Table;
use crate::report::xlsx::workbook;

/// What the standard output is called where a file may be named.
const STDOUT: &str = "-";

/// A table with the name of its sheet.
pub type Sheet<'a> = (&'static str, Table<'a>);

impl OutputArgs {
    /// The format: as said, or as the file's name ends.
    ///
    /// # Errors
    /// When the file's name says nothing, or a workbook has no file to go to.
    pub fn chosen(&self) -> Result<Format, CliError> {
        let format = match (self.format, self.file()) {
            (Some(format), _) => format,
            (None, None) => Format::Table,
            (None, Some(file)) => of_extension(file)?,
        };
        let is_asked_for = self.output.is_some() && !std::io::stdout().is_terminal();
        if format == Format::Xlsx && self.file().is_none() && !is_asked_for {
            return Err(CliError::Choice {
                message: "a workbook is written to a file, not printed".to_owned(),
                help: "say where: `--format xlsx -o FILE.xlsx`, or `-o -` into a pipe".to_owned(),
            });
        }
        Ok(format)
    }

    /// The file that it goes to, if it goes to one: `-` is the standard output, as for other programs.
    pub fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|file| *file != Path::new(STDOUT))
    }

    /// Writes `bytes` to the file, or prints them. The file is replaced as a whole.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn deliver(&self, bytes: &[u8]) -> Result<(), CliError> {
        match self.file() {
            Some(file) => {
                atomic::replace(file, bytes, Durability::Derived)?;
                terminal::notice(&format!("wrote {}", terminal::short_path(file)));
            }
            None => std::io::stdout().lock().write_all(bytes)?,
        }
        Ok(())
    }
}

fn of_extension(file: &Path) -> Result<Format, CliError> {
    match file.extension().and_then(OsStr::to_str) {
        Some("csv") => Ok(Format::Csv),
        Some("md") => Ok(Format::Markdown),
        Some("json") => Ok(Format::Json),
        Some("xlsx") => Ok(Format::Xlsx),
        Some("txt") => Ok(Format::Table),
        _ => Err(CliError::Choice {
            message: format!("in which format is {} to be?", file.display()),
            help: "end its name with .csv, .md, .json, .xlsx or .txt, or say --format".to_owned(),
        }),
    }
}

/// The bytes of a table in any format; `sheets` are further tables, for which only a workbook has
/// room.
///
/// # Errors
/// When a table is too large for a workbook.
pub fn rendered<'a>(
    format: Format,
    table: Sheet<'a>,
    sheets: impl FnOnce() -> Vec<Sheet<'a>>,
) -> Result<Vec<u8>, CliError> {
    Ok(match format {
        Format::Table => text(&table.1).into_bytes(),
        Format::Csv => table_csv(&table.1),
        Format::Markdown => markdown(&table.1).into_bytes(),
        Format::Json => json(&table.1).into_bytes(),
        Format::Xlsx => {
            let sheets: Vec<Sheet<'_>> = std::iter::once(table).chain(sheets()).collect();
            workbook(&sheets)?
        }
    })
}

/// A table for a terminal, whatever its columns.
fn text(table: &Table<'_>) -> String {
    let header = table.columns.iter().map(|column| column.key.to_string()).collect();
    let rows = table.rows.iter().map(|row| row.iter().map(plain).collect());
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    columns(&rows, |column| table.is_number(column))
}
