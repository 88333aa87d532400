//! The command line: settings, exit codes, one file for each subcommand; wiring only.

mod args;
mod bench;
mod boards;
mod compare;
mod completions;
mod data;
mod doctor;
mod error;
mod exit_code;
mod export;
mod folders;
mod leaderboard;
mod model;
mod output;
mod placing;
mod plan;
mod recorded;
mod report;
mod schema;
mod session;
mod slurm;
mod sweep;
mod terminal;
mod weights;
mod worker;
mod works;

use std::io::IsTerminal;

use clap::Parser;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use args::{Cli, Command};
use error::CliError;

use crate::plan::PlanError;

/// Does what the command line says.
pub fn run() -> std::process::ExitCode {
    let done = match Cli::parse().command {
        // The one command whose exit codes are not for people.
        Command::Worker(args) => return worker::worker(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Model(args) => model::model(&args),
        Command::Leaderboard(args) => leaderboard::leaderboard(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Export { command } => export::export(&command),
        Command::Data { command } => data::data(&command),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Bench { command } => bench::bench(&command),
        Command::Slurm { command } => slurm::manage(&command),
        Command::Pilot { sweep } => slurm::pilot(&sweep),
        Command::Schema => schema::schema(),
        Command::Completions { shell } => completions::completions(shell),
    };
    let code = done.unwrap_or_else(|error| {
        report(&error);
        error.exit_code()
    });
    code.into()
}

/// Prints an error, the only place that does. A reader that has left early (`| head`) is none.
fn report(error: &CliError) {
    match error {
        CliError::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        // A list of problems that stand for themselves: the list adds nothing but its length.
        CliError::Spec(problems) => {
            for problem in problems.reports() {
                terminal::notice(render(problem).trim_end());
            }
            let count = problems.reports().len();
            if count > 1 {
                terminal::notice(&format!("{count} problems; nothing was started"));
            }
        }
        CliError::Plan(PlanError::Misfits { groups, .. }) => {
            for group in groups {
                terminal::notice(render(group).trim_end());
            }
            terminal::notice(&format!("{error}; nothing was started"));
        }
        _ => terminal::notice(render(error).trim_end()),
    }
}

fn render(error: &dyn Diagnostic) -> String {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
    match handler.render_report(&mut text, error) {
        Ok(()) => text,
        Err(_) => error.to_string(),
    }
}
