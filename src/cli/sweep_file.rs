//! The file that a person names, and what could be meant where there is none.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::spec::diagnostics::nearest;

/// A sweep file is no longer than that; what is has been named by mistake.
const LONGEST: u64 = 16 << 20;
/// Files that are listed where none was found.
const LISTED: usize = 8;

/// The bytes of a sweep file.
///
/// # Errors
/// When it cannot be read, or is far too long to be one.
pub fn read_sweep_file(path: &Path) -> Result<Vec<u8>, CliError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "it is longer than 16 MiB"));
        }
        Ok(bytes)
    };
    read().map_err(|source| {
        let help = help(path, source.kind());
        CliError::NoSweepFile { path: path.to_owned(), help, source }
    })
}

/// What to do about a file that could not be read.
fn help(path: &Path, kind: ErrorKind) -> String {
    let general = || "a sweep file is a TOML file such as sweeps/lr.toml".to_owned();
    if path == Path::new("-") {
        return "for the standard input write /dev/stdin".to_owned();
    }
    match kind {
        ErrorKind::IsADirectory => match listed(&tomls(path)) {
            Some(there) => format!("give a file; in the folder: {there}"),
            None => general(),
        },
        ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            let mut there = tomls(folder);
            there.extend(tomls(Path::new("sweeps")));
            let names: Vec<String> = there.iter().map(|path| stem(path)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let meant = nearest(&stem(path), &names);
            let meant = meant.and_then(|name| there.iter().find(|path| stem(path) == name));
            match (meant, listed(&there)) {
                (Some(meant), _) => format!("did you mean {}?", meant.display()),
                (None, Some(there)) => format!("there are: {there}"),
                (None, None) => general(),
            }
        }
        _ => general(),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The TOML files in a folder, sorted, as they are called from here.
fn tomls(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.strip_prefix(".").map_or_else(|_| path.clone(), Path::to_owned))
        .collect();
    paths.sort();
    paths
}

fn listed(paths: &[PathBuf]) -> Option<String> {
    let shown: Vec<String> =
        paths.iter().take(LISTED).map(|path| path.display().to_string()).collect();
    let more = if paths.len() > LISTED { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

/// A path that stays what it is whatever the current folder.
///
/// # Errors
/// When there is no current folder any more.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::NoFolder { path: path.to_owned(), source })
}

/// An absolute path that is a folder, or can become one; `option` is where it was said.
///
/// # Errors
/// When a file has its name, or that of a folder above it; see [`absolute`].
pub fn absolute_folder(path: &Path, option: &str) -> Result<PathBuf, CliError> {
    let folder = absolute(path)?;
    match in_the_way(&folder) {
        None => Ok(folder),
        Some(file) => Err(CliError::Choice {
            message: format!("{option} {}: {} is no folder", path.display(), file.display()),
            help: format!("let {option} name a folder, or one that can be made"),
        }),
    }
}

/// What is no folder, and keeps the absolute `path` from being one.
pub fn in_the_way(path: &Path) -> Option<&Path> {
    // Also a link to nowhere is there.
    let there = path.ancestors().find(|part| part.symlink_metadata().is_ok())?;
    (!there.is_dir()).then_some(there)
}
