//! What the terminal can show, asked once here.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use console::Term;

use crate::aggregate::SweepTable;
use crate::aggregate::claims::ClaimResult;
use crate::aggregate::leaderboard::Leaderboard;
use crate::aggregate::scaling::ScalingTable;
use crate::aggregate::timings::timings;
use crate::display::claims_table::claims_table;
use crate::display::failures_table::failures_table;
use crate::display::leaderboard_table::{Colour, Symbols, TableStyle, leaderboard_table};
use crate::display::throughput_table::{scaling_table, throughput_table};

/// Width of a table where there is no terminal to fit it into.
const UNBOUNDED: usize = 160;

/// The style of tables on the standard output.
pub fn table_style() -> TableStyle {
    let terminal = std::io::stdout().is_terminal();
    let colour = terminal && console::colors_enabled() && std::env::var_os("NO_COLOR").is_none();
    let width = terminal.then(|| Term::stdout().size_checked()).flatten();
    TableStyle {
        width: width.map_or(UNBOUNDED, |(_, columns)| usize::from(columns)),
        symbols: if speaks_unicode() { Symbols::Unicode } else { Symbols::Ascii },
        colour: if colour { Colour::On } else { Colour::Off },
    }
}

/// How many columns the standard output has.
pub fn columns() -> usize {
    table_style().width
}

/// Does the locale name UTF-8?
fn speaks_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// The style of tables where they go: into a file, or onto the standard output.
pub fn style(to_file: bool) -> TableStyle {
    match to_file {
        true => TableStyle { width: UNBOUNDED, symbols: Symbols::Unicode, colour: Colour::Off },
        false => table_style(),
    }
}

/// The head of a leaderboard, as this terminal shows it.
pub fn leaderboard(board: &Leaderboard) -> String {
    leaderboard_table(board, &table_style())
}

/// What steps took and how that scales; nothing where none are timed.
pub fn throughput(table: &SweepTable) -> String {
    let timings = timings(table);
    throughput_table(&timings) + &scaling_table(&ScalingTable::of(table, &timings))
}

/// Why runs failed or diverged; nothing where none did.
pub fn failures(table: &SweepTable) -> String {
    failures_table(table, &table_style())
}

/// What claims came to, as this terminal shows it; nothing without claims.
pub fn claims(results: &[ClaimResult]) -> String {
    claims_table(results, &table_style())
}

/// Says something on the error output; a terminal that is gone does not matter.
pub fn notice(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints the last that there is to say on the standard output, and waits until it is read: for `patience` at
/// most, where there is a limit. A terminal that is gone does not matter.
pub fn print_last(text: Vec<u8>, patience: Option<Duration>) {
    let print = |text: &[u8]| {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text).and_then(|()| out.flush());
    };
    let Some(patience) = patience else { return print(&text) };
    let text: Arc<[u8]> = text.into();
    let theirs = Arc::clone(&text);
    let (over, done) = mpsc::channel::<()>();
    let printer = move || {
        print(&theirs);
        drop(over);
    };
    match thread::Builder::new().name("printer".to_owned()).spawn(printer) {
        Ok(_) => {
            let _ = done.recv_timeout(patience);
        }
        Err(_) => print(&text),
    }
}

/// A path as seen from the current folder, where it is below it.
pub fn short_path(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    short.unwrap_or(path).display().to_string()
}
