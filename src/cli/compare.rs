//! `gridlane compare`: sweeps beside the first one, configuration by configuration.

use super::args::{CompareArgs, Format};
use super::error::CliError;
use super::exit_code::ExitCode;
use super::output::rendered;
use super::recorded::Recorded;
use super::terminal;
use crate::aggregate::compare::{Comparison, Incomparable, Side};
use crate::aggregate::reader::read_recorded;
use crate::display::compare_table::compare_table;
use crate::ids::RunId;
use crate::report::compare::comparison_table;
use crate::spec::diagnostics::suggest;
use crate::spec::metric::{Metric, MetricName};

/// Prints the comparisons, or writes them to a file.
///
/// # Errors
/// When one of the sweeps is not there or cannot be read, or when nothing of what they have in common
/// can be compared.
pub fn compare(args: &CompareArgs) -> Result<ExitCode, CliError> {
    let format = args.output.chosen()?;
    let sweeps: Vec<Recorded> = args
        .sweeps
        .iter()
        .map(|sweep| Recorded::open(sweep, &args.runs))
        .collect::<Result<_, _>>()?;
    let names = names(&args.sweeps, &sweeps);
    // The first sweep says what is compared, by which goal and target.
    let metric = &sweeps[0].spec.metric;
    let name = match &args.metric {
        Some(given) => metric_of(given)?,
        None => metric.name,
    };
    let sides: Vec<Side> = sweeps
        .iter()
        .zip(names)
        .map(|(sweep, name)| side(sweep, name, metric))
        .collect::<Result<_, _>>()?;
    let force = if args.force { Incomparable::Mark } else { Incomparable::Refuse };
    let (first, others) = sides.split_first().expect("invariant: clap takes two sweeps or more");
    let comparisons: Vec<Comparison> =
        others.iter().map(|other| Comparison::of(first, other, metric, name, force)).collect();
    refuse(&comparisons)?;
    let bytes = match format {
        Format::Table => {
            let style = terminal::style(args.output.file().is_some());
            let texts: Vec<String> =
                comparisons.iter().map(|found| compare_table(found, &style)).collect();
            texts.join("\n").into_bytes()
        }
        _ => rendered(format, ("comparison", comparison_table(&comparisons)), Vec::new)?,
    };
    args.output.deliver(&bytes)?;
    Ok(ExitCode::Ok)
}

/// What tables call the sweeps: their folders' names, or all that was given where these are the same.
fn names(given: &[String], sweeps: &[Recorded]) -> Vec<String> {
    let name = |sweep: &Recorded| {
        sweep.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let short: Vec<String> = sweeps.iter().map(name).collect();
    let of = |(place, name): (usize, &String)| {
        let unique = short.iter().filter(|other| *other == name).count() == 1;
        if unique { name.clone() } else { given[place].trim_end_matches('/').to_owned() }
    };
    short.iter().enumerate().map(of).collect()
}

fn metric_of(given: &str) -> Result<MetricName, CliError> {
    MetricName::ALL.iter().copied().find(|name| name.as_str() == given).ok_or_else(|| {
        let legal: Vec<&str> = MetricName::ALL.iter().map(|name| name.as_str()).collect();
        CliError::Choice {
            message: format!("there is no metric `{given}`"),
            help: suggest(given, &legal),
        }
    })
}

fn side(sweep: &Recorded, name: String, metric: &Metric) -> Result<Side, CliError> {
    let ids: Vec<RunId> = sweep.plan.runs.iter().map(|run| run.id).collect();
    let reading = read_recorded(&sweep.folder, metric, &ids)?;
    for problem in &reading.problems {
        terminal::notice(&format!("warning: {name}: {}", problem.reason(sweep.folder.path())));
    }
    let axes = sweep.plan.axes.iter().map(|axis| axis.key).collect();
    Ok(Side { name, axes, runs: reading.runs })
}

/// Nothing that sweeps have in common can be compared: that is an error, not a table without numbers.
fn refuse(comparisons: &[Comparison]) -> Result<(), CliError> {
    for comparison in comparisons {
        let mut common =
            comparison.rows.iter().filter(|row| row.groups.iter().all(Option::is_some));
        let all = common.clone().all(|row| row.incomparable.is_some() && row.test.is_none());
        if let Some(reason) = common.next().and_then(|row| row.incomparable.clone()).filter(|_| all)
        {
            let [a, b] = &comparison.names;
            return Err(CliError::Choice {
                message: format!("the numbers of {a} and {b} do not mean the same: {reason}"),
                help: "--force compares them all the same, and marks the rows".to_owned(),
            });
        }
    }
    Ok(())
}
