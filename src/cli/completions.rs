//! `gridlane completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::shells;

use super::args::{Cli, Shell};
use super::error::CliError;
use super::exit_code::ExitCode;

/// Prints the script.
///
/// # Errors
/// When the standard output is gone.
pub fn completions(shell: Shell) -> Result<ExitCode, CliError> {
    let mut command = Cli::command();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(shells::Bash, &mut command, NAME, &mut script),
        Shell::Elvish => clap_complete::generate(shells::Elvish, &mut command, NAME, &mut script),
        Shell::Fish => clap_complete::generate(shells::Fish, &mut command, NAME, &mut script),
        Shell::Powershell => {
            clap_complete::generate(shells::PowerShell, &mut command, NAME, &mut script);
        }
        Shell::Zsh => clap_complete::generate(shells::Zsh, &mut command, NAME, &mut script),
    }
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(ExitCode::Ok)
}

const NAME: &str = "gridlane";
