//! `gridlane plan`: what a sweep would do.

use std::io::Write;

use super::args::PlanArgs;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::session::Session;
use super::terminal;
use crate::display::plan_table::plan_table;
use crate::plan::PlanView;

/// Prints the plan of a sweep.
///
/// # Errors
/// A bad sweep file, a missing data set, an unreadable record.
pub fn plan(args: &PlanArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(&args.file)?;
    if args.json {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, &PlanView(&session.plan, Some(&session.forecast())))
            .map_err(std::io::Error::from)?;
        writeln!(out)?;
        out.flush()?;
    } else {
        print_plan(&session)?;
    }
    Ok(ExitCode::Ok)
}

/// Prints the plan as a table.
///
/// # Errors
/// When the standard output is gone.
pub fn print_plan(session: &Session) -> Result<(), CliError> {
    for notice in session.placing.notices(&session.plan) {
        terminal::notice(&notice);
    }
    let forecast = session.forecast();
    if let Some(excess) = forecast.excess(&session.spec.budget, 1) {
        terminal::notice(&format!("{excess}: `gridlane sweep` refuses it"));
    }
    Ok(write!(std::io::stdout().lock(), "{}", plan_table(&session.plan, &forecast))?)
}
