//! `gridlane man`: manual pages, made from what `--help` says.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::Cli;
use super::error::CliError;
use super::exit_code::ExitCode;
use crate::record::RecordError;

/// Prints the page of the program, or writes it and one for each subcommand into `folder`.
///
/// # Errors
/// When the folder cannot be written to, or the standard output is gone.
pub fn man(folder: Option<&Path>) -> Result<ExitCode, CliError> {
    let command = Cli::command();
    match folder {
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            std::io::stdout().lock().write_all(&page)?;
        }
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(RecordError::io("write manual pages into", folder))?,
    }
    Ok(ExitCode::Ok)
}
