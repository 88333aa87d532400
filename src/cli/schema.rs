//! `gridlane schema`: the JSON Schema of the sweep file.

use std::io::Write;

use super::error::CliError;
use super::exit_code::ExitCode;
use crate::spec::schema::json_schema;

/// Prints the schema.
///
/// # Errors
/// When the standard output is gone.
pub fn schema() -> Result<ExitCode, CliError> {
    writeln!(std::io::stdout().lock(), "{:#}", json_schema())?;
    Ok(ExitCode::Ok)
}
