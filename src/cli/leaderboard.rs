//! `gridlane leaderboard`: the tables of a sweep, made anew from its run folders, printed or written
//! in the format asked for.

use std::collections::BTreeMap;

use super::args::{Format, LeaderboardArgs};
use super::boards::Boards;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::output::{Sheet, rendered};
use super::recorded::Recorded;
use super::terminal;
use crate::aggregate::effects::Effects;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::scaling::ScalingTable;
use crate::aggregate::timings::timings;
use crate::display::leaderboard_table;
use crate::plan::Plan;
use crate::record::{Lock, RecordError, SweepFolder};
use crate::report::claims::claims_table;
use crate::report::effects::effects_table;
use crate::report::leaderboard as entries;
use crate::report::runs::runs_table;
use crate::report::select;
use crate::report::table::Column;
use crate::report::throughput::{scaling_fit_table, scaling_table, throughput_table};
use crate::spec::{Key, RunConfig, Setting, read::filter};

/// Prints a sweep's leaderboard, or writes it to a file, and makes its CSVs anew.
///
/// # Errors
/// When there is no such sweep, when its record cannot be read or written, when there is no such
/// column, key or value.
pub fn leaderboard(args: &LeaderboardArgs) -> Result<ExitCode, CliError> {
    let format = args.output.chosen()?;
    let Recorded { spec, plan, folder } = Recorded::open(&args.sweep, &args.runs)?;
    let mut boards = Boards::open(&spec, &folder, &plan);
    let board = boards.leaderboard();
    let order = selection(args, &board, &plan)?;
    let picked = board.picked(&order);
    let table = entries::leaderboard_table(&picked);
    let table = match args.columns.is_empty() {
        true => table,
        false => select::with_columns(&table, &args.columns)?,
    };
    let written = make_anew(&mut boards, &folder);
    for problem in &boards.problems {
        terminal::notice(&format!("warning: {}", problem.reason(folder.path())));
    }
    if format == Format::Table && args.columns.is_empty() {
        let to_file = args.output.file().is_some();
        let mut text = leaderboard_table::leaderboard_table(&picked, &terminal::style(to_file));
        if args.sort.is_empty() && args.conditions.is_empty() && !to_file {
            text += &terminal::throughput(boards.table());
            text += &terminal::claims(&boards.claims());
            text += &format!("\n{}\n", terminal::short_path(&folder.leaderboard_csv()));
            text += &format!("{}\n", terminal::short_path(&folder.report_html()));
        }
        args.output.deliver(text.as_bytes())?;
        written?;
        return Ok(ExitCode::Ok);
    }
    let claims = boards.claims();
    let effects = Effects::of(boards.table());
    let timings = timings(boards.table());
    let scaling = ScalingTable::of(boards.table(), &timings);
    let axes = board.axes();
    let sheets = || {
        let further: [Sheet<'_>; 6] = [
            ("runs", runs_table(boards.table())),
            ("claims", claims_table(&claims)),
            ("effects", effects_table(axes, &effects)),
            ("throughput", throughput_table(axes, &timings)),
            ("scaling", scaling_table(axes, &scaling)),
            ("scaling_fit", scaling_fit_table(axes, &scaling)),
        ];
        further.into_iter().filter(|(_, table)| !table.rows.is_empty()).collect()
    };
    args.output.deliver(&rendered(format, ("leaderboard", table), sheets)?)?;
    written?;
    Ok(ExitCode::Ok)
}

/// Makes the CSVs and the report anew, unless a sweep is under way that keeps them up to date itself. What
/// one may only look at, somebody else's sweep say, is shown all the same.
///
/// # Errors
/// What else the system refuses. The table is to be shown before.
fn make_anew(boards: &mut Boards<'_>, folder: &SweepFolder) -> Result<(), RecordError> {
    if Lock::holder(&folder.lock()).is_some() {
        return Ok(());
    }
    match boards.write().and_then(|()| boards.write_report()) {
        Err(error) if error.is_refused() => {
            terminal::notice(&format!("warning: {error}; the CSVs stay as they are"));
            Ok(())
        }
        written => written,
    }
}

/// The numbers of the entries that pass the conditions, in the order asked for.
fn selection(
    args: &LeaderboardArgs,
    board: &Leaderboard,
    plan: &Plan,
) -> Result<Vec<usize>, CliError> {
    let table = entries::leaderboard_table(board);
    let direction = |column: &Column| entries::direction(column, board.metric());
    let mut order = select::order(&table, &args.sort, direction)?;
    if args.conditions.is_empty() {
        return Ok(order);
    }
    let configs: Vec<RunConfig> = (0..plan.points.len()).map(|n| plan.points.config(n)).collect();
    let domain = |key: Key| {
        let mut values: Vec<Setting> = Vec::new();
        for config in &configs {
            let value = config.setting(key);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    };
    let condition = filter::parse(&args.conditions, domain)?;
    let passes: BTreeMap<String, bool> = configs
        .iter()
        .enumerate()
        .map(|(n, config)| (plan.points.name(n), condition.holds(config)))
        .collect();
    let entries = board.entries();
    order.retain(|place| passes.get(&entries[*place].configuration).copied().unwrap_or(false));
    Ok(order)
}
