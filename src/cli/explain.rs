//! `gridlane explain`: what keys and sections of the sweep file take.

use std::io::Write;

use super::args::ExplainArgs;
use super::error::CliError;
use super::exit_code::ExitCode;
use crate::spec::explain::{explain as explained, overview};

/// Prints what a key or section takes, or which there are.
///
/// # Errors
/// When there is none of that name.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode, CliError> {
    let text = match &args.topic {
        None => overview(),
        Some(topic) => explained(topic).map_err(|help| CliError::Choice {
            message: format!("nothing in a sweep file is called `{topic}`"),
            help,
        })?,
    };
    write!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::Ok)
}
