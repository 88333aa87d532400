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
mod explain;
mod export;
mod folders;
mod leaderboard;
mod man;
mod model;
mod output;
mod placing;
mod plan;
mod process;
mod recorded;
mod report;
mod schema;
mod session;
mod show;
mod slurm;
mod status;
mod sweep;
mod sweep_file;
mod terminal;
mod usage;
mod weights;
mod worker;
mod works;

use std::io::IsTerminal;

use clap::Parser;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use args::{Cli, Command};
use error::CliError;
use exit_code::ExitCode;

use crate::dispatch::signals::end_the_process;
use crate::plan::PlanError;

/// Does what the command line says.
pub fn run() -> std::process::ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let arguments = std::env::args_os().map(|text| text.to_string_lossy().into_owned());
            let Some(meant) = usage::key_as_option(&error, &arguments.collect::<Vec<_>>()) else {
                error.exit()
            };
            report(&meant);
            return meant.exit_code().into();
        }
    };
    process::outlive_size_limits();
    // The one command whose exit codes are not for people.
    if let Command::Worker(args) = command {
        return worker::worker(&args);
    }
    let code = done(command).unwrap_or_else(|error| {
        // Nothing is under way any more, and a terminal may never take what went wrong.
        end_the_process(ExitCode::Stopped as i32);
        report(&error);
        error.exit_code()
    });
    code.into()
}

fn done(command: Command) -> Result<ExitCode, CliError> {
    process::share_work()?;
    match command {
        Command::Worker(_) => unreachable!("invariant: a worker does not come here"),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Model(args) => model::model(&args),
        Command::Status(args) => status::status(&args),
        Command::Show(args) => show::show(&args),
        Command::Leaderboard(args) => leaderboard::leaderboard(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Export { command } => export::export(&command),
        Command::Data { command } => data::data(&command),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Bench { command } => bench::bench(&command),
        Command::Slurm { command } => slurm::manage(&command),
        Command::Pilot { sweep } => slurm::pilot(&sweep),
        Command::Explain(args) => explain::explain(&args),
        Command::Schema => schema::schema(),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { output } => man::man(output.as_deref()),
    }
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
