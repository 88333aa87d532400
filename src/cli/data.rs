//! `gridlane data`: get data sets, check them, list them.

use std::io::{IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::DataCommand;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::terminal;
use crate::fetch::{FileReport, FileState, Progress, fetch, verify};
use crate::spec::catalogue::Supply;
use crate::spec::dataset::Dataset;
use crate::spec::diagnostics::{Diagnostics, suggest};
use crate::spec::node::{Node, Raw, Span};
use crate::spec::value::Value;
use crate::units::show_bytes;

/// Gets, checks or lists data sets.
///
/// # Errors
/// An unknown name, a download that fails, files that are not what was published.
pub fn data(command: &DataCommand) -> Result<ExitCode, CliError> {
    match command {
        DataCommand::Fetch(args) => fetch_one(&dataset(&args.name)?, &args.data),
        DataCommand::Verify(args) => verify_one(&dataset(&args.name)?, &args.data),
        DataCommand::Index(args) => super::folders::index(args),
        DataCommand::List { data } => list(data),
    }
}

/// The data set of that name.
fn dataset(name: &str) -> Result<Dataset, CliError> {
    read(name).ok_or_else(|| CliError::NoDataset {
        message: format!("there is no data set `{name}`"),
        help: suggest(name, Dataset::KINDS),
    })
}

/// The data set of a kind with its defaults, where it has any.
pub(super) fn read(kind: &str) -> Option<Dataset> {
    let node = Node { raw: Raw::Text(kind.to_owned()), span: Span::default() };
    Dataset::read(&node, &(), &mut Diagnostics::new())
}

/// Says that nothing needs to be done for a data set that is not made of fetched files.
fn needs_no_files(dataset: &Dataset) -> Option<String> {
    let why = match dataset.supply() {
        Supply::Embedded => "is inside the program",
        Supply::Generated => "is generated",
        Supply::Folder => {
            return Some(
                "image folders are your own: `gridlane data index PATH` checks and decodes one"
                    .to_owned(),
            );
        }
        Supply::Cached(_) => return None,
    };
    Some(format!("`{}` {why}: there is nothing to fetch", dataset.kind()))
}

fn fetch_one(dataset: &Dataset, data: &Path) -> Result<ExitCode, CliError> {
    if let Some(text) = needs_no_files(dataset) {
        terminal::notice(&text);
        return Ok(ExitCode::NothingToDo);
    }
    let mut meter = Meter::new();
    let fetched = fetch(dataset, data, &mut |progress| meter.show(&progress))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} files fetched, {} were there; all checksums are right",
        dataset.kind(),
        fetched.stored.len(),
        fetched.kept.len()
    )?;
    writeln!(out, "{}", dataset.licence())?;
    Ok(ExitCode::Ok)
}

fn verify_one(dataset: &Dataset, data: &Path) -> Result<ExitCode, CliError> {
    if let Some(text) = needs_no_files(dataset) {
        terminal::notice(&text);
        return Ok(ExitCode::Ok);
    }
    let report = verify(dataset, data)?;
    let mut out = std::io::stdout().lock();
    for file in &report.files {
        writeln!(out, "{:<12} {}", state(file), terminal::short_path(&file.path))?;
    }
    if report.is_good() {
        return Ok(ExitCode::Ok);
    }
    terminal::notice(&format!("`gridlane data fetch {0}` gets what is not good", dataset.kind()));
    Ok(ExitCode::Error)
}

fn state(file: &FileReport) -> String {
    match &file.state {
        FileState::Good => "good".to_owned(),
        FileState::Missing => "missing".to_owned(),
        FileState::WrongSize { found } => format!("wrong size ({found} bytes)"),
        FileState::WrongChecksum { found } => format!("wrong sha256 ({found})"),
    }
}

fn list(data: &Path) -> Result<ExitCode, CliError> {
    let mut out = std::io::stdout().lock();
    for dataset in Dataset::KINDS.iter().filter_map(|kind| read(kind)) {
        let there = match dataset.supply() {
            Supply::Embedded => "in the program",
            Supply::Generated => "generated",
            Supply::Folder => "a folder",
            Supply::Cached(_) => match crate::train::data::check_present(&dataset, data) {
                Ok(()) => "fetched",
                Err(_) => "not fetched",
            },
        };
        writeln!(out, "{:<17} {there:<15} {}", dataset.kind(), dataset.licence())?;
    }
    Ok(ExitCode::Ok)
}

/// The progress of a download: a bar on a terminal, a line a file elsewhere.
struct Meter {
    bar: Option<ProgressBar>,
}

impl Meter {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bytes:>10} of {total_bytes} {bar:30} {bytes_per_sec} {eta}";
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| unreachable!("invariant: the template is valid"));
            ProgressBar::new(0).with_style(style)
        });
        Self { bar }
    }

    fn show(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Kept { file } => self.say(&format!("{file}: there already, and good")),
            Progress::Started { url, bytes } => {
                self.say(&format!("{url} ({})", show_bytes(*bytes)));
                if let Some(bar) = &self.bar {
                    bar.set_length(*bytes);
                    bar.set_position(0);
                }
            }
            Progress::Received { received, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_position(*received);
                }
            }
            Progress::MirrorFailed { url, error } => self.say(&format!("{url} failed: {error}")),
            Progress::Stored { file } => self.say(&format!("{file}: stored, checksum right")),
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| terminal::notice(text)),
            None => terminal::notice(text),
        }
    }
}
