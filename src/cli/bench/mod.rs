//! `gridlane bench`: times the engine on this machine.

mod augment;
mod step;
mod subject;

use super::args::BenchCommand;
use super::error::CliError;
use super::exit_code::ExitCode;

/// Times what was asked for.
///
/// # Errors
/// A bad configuration, or one that cannot be trained.
pub fn bench(command: &BenchCommand) -> Result<ExitCode, CliError> {
    match command {
        BenchCommand::Step(args) => step::step(args),
        BenchCommand::Augment(args) => augment::augment(args),
    }
}
