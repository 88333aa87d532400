//! `gridlane export`: the record in the files of other programs.

use std::collections::BTreeSet;
use std::fs;
use std::time::UNIX_EPOCH;

use super::args::{ExportCommand, TensorboardArgs};
use super::boards::Boards;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::recorded::Recorded;
use super::terminal;
use crate::aggregate::reader::read_events;
use crate::aggregate::row::RunRow;
use crate::record::{Durability, RecordError, SweepFolder, atomic};
use crate::report::tensorboard::run_events;

/// Name of every file of events: the folder says which run it is of, and TensorBoard wants `tfevents`.
const EVENTS: &str = "events.out.tfevents.0000000000.gridlane";

/// Bytes of a folder's name that are taken from the configuration's.
const LONGEST_NAME: usize = 160;

/// Exports a sweep.
///
/// # Errors
/// When there is no such sweep, when its record cannot be read or the files cannot be written.
pub fn export(command: &ExportCommand) -> Result<ExitCode, CliError> {
    match command {
        ExportCommand::Tensorboard(args) => tensorboard(args),
    }
}

fn tensorboard(args: &TensorboardArgs) -> Result<ExitCode, CliError> {
    let Recorded { spec, plan, folder } = Recorded::open(&args.sweep, &args.runs)?;
    let boards = Boards::open(&spec, &folder, &plan);
    let table = boards.table();
    let (mut names, mut count) = (BTreeSet::new(), 0);
    for (row, history) in read_events(&folder, table.rows()) {
        let run = args.output.join(folder_name(row, &mut names));
        fs::create_dir_all(&run).map_err(RecordError::io("make the folder", &run))?;
        let begun = begun(&folder, row);
        atomic::replace_with(&run.join(EVENTS), Durability::Derived, &mut |out| {
            run_events(out, table.axes(), row, &history, begun)
        })?;
        count += 1;
    }
    let pending = table.rows().len() - count;
    let rest = if pending > 0 { format!("; {pending} have no result yet") } else { String::new() };
    terminal::notice(&format!("{count} runs in {}{rest}", terminal::short_path(&args.output)));
    terminal::notice(&format!("tensorboard --logdir {}", terminal::short_path(&args.output)));
    Ok(ExitCode::Ok)
}

/// When a run began, as far as the time of its first file tells; seconds since 1970.
fn begun(folder: &SweepFolder, row: &RunRow) -> f64 {
    let time = fs::metadata(folder.run(row.run.run_id).run()).and_then(|file| file.modified());
    let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// A folder's name that tells the run: configuration and seed, without what file systems refuse. The
/// run's id is added where the name had to be changed or is taken.
fn folder_name(row: &RunRow, taken: &mut BTreeSet<String>) -> String {
    let legal = |c: char| c.is_alphanumeric() || " ._-=+,()[]".contains(c);
    let mut name: String =
        row.run.configuration.chars().map(|c| if legal(c) { c } else { '_' }).collect();
    while name.len() > LONGEST_NAME {
        name.pop();
    }
    let mut name = name.trim_matches(['.', ' ']).to_owned();
    let changed = name != row.run.configuration;
    name += &format!("{}seed={}", if name.is_empty() { "" } else { " " }, row.run.seed);
    if changed || taken.contains(&name.to_lowercase()) {
        name += &format!(" {}", row.run.run_id);
    }
    // Some file systems do not tell cases apart.
    taken.insert(name.to_lowercase());
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    #[test]
    fn names_of_folders_tell_runs_apart_on_every_file_system() {
        let names = [
            "lr=0.1 schedule=step(gamma=0.5)",
            "LR=0.1 schedule=step(gamma=0.5)",
            "../x",
            "",
            "形状",
        ];
        let runs: Vec<_> = names.iter().map(|name| (*name, 3, Some(0.5))).collect();
        let long = "x".repeat(400);
        let table = sample::table(&[runs, vec![(&long, 3, Some(0.5))]].concat());
        let mut taken = BTreeSet::new();
        let made: Vec<String> =
            table.rows().iter().map(|row| folder_name(row, &mut taken)).collect();
        let ids: Vec<String> = table.rows().iter().map(|row| row.run.run_id.to_string()).collect();
        assert_eq!(made[0], "lr=0.1 schedule=step(gamma=0.5) seed=3");
        assert_eq!(made[1], format!("LR=0.1 schedule=step(gamma=0.5) seed=3 {}", ids[1]));
        assert_eq!(made[2], format!("_x seed=3 {}", ids[2]));
        assert_eq!(made[3], "seed=3");
        assert_eq!(made[4], "形状 seed=3");
        assert!(made[5].len() < 255);
    }
}
