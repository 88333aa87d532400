//! `gridlane model`: the networks of a sweep, layer by layer. Needs no record, and no data but folders of images.

use std::io::Write;

use super::args::{ModelArgs, changes};
use super::error::CliError;
use super::exit_code::ExitCode;
use super::folders::Folders;
use super::session::{Source, build, parsed};
use super::sweep_file::{absolute, read_sweep_file};
use super::weights::WeightsFiles;
use crate::display::network_table::network_tables;
use crate::plan::networks::networks;

/// Prints the distinct networks of a sweep.
///
/// # Errors
/// A bad sweep file, or one that gives no plan.
pub fn model(args: &ModelArgs) -> Result<ExitCode, CliError> {
    let text = read_sweep_file(&args.file)?;
    let changes = changes(args.short, &args.overrides);
    let source = Source { path: &args.file, text: &text, overrides: &changes };
    let mut folders = Folders::on_disk(&absolute(&args.data)?);
    let (spec, _) = parsed(&source, &mut folders)?;
    let plan = build(&spec, None, &WeightsFiles::default())?;
    let networks = networks(&plan.points)?;
    write!(std::io::stdout().lock(), "{}", network_tables(&plan, &networks))?;
    Ok(ExitCode::Ok)
}
