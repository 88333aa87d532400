//! Replacing a file so that a reader, at any instant and after any kill, sees the old or the new.
//!
//! Temporary name in the same folder, write, (fsync), rename, (fsync the folder). What must survive
//! a power cut is a *fact* and pays for the fsyncs; a *derived* file, which can be rebuilt from
//! facts, does not. `docs/design/record.md` lists which file is which.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::crash_point::crash_point;
use super::error::RecordError;

/// What a file is, which decides what it costs to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Must survive a power cut once written.
    Fact,
    /// Can be rebuilt; must only never be seen half-written.
    Derived,
}

/// Replaces `path` with `bytes`.
///
/// # Errors
/// Whatever the system refuses, a full disk among it; then `path` is as it was.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), RecordError> {
    replace_with(path, durability, &mut |file| file.write_all(bytes))
}

/// Replaces `path` with what `fill` writes.
///
/// # Errors
/// Whatever the system or `fill` refuses; then `path` is as it was.
pub fn replace_with(
    path: &Path,
    durability: Durability,
    fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<(), RecordError> {
    let temporary = temporary_name(path);
    crash_point();
    let written =
        write_temporary(&temporary, durability, fill).and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = written {
        // What is left of it is worth nothing, and on a full disk it is in the way.
        let _ = fs::remove_file(&temporary);
        return Err(RecordError::io("write", path)(source));
    }
    crash_point();
    if durability == Durability::Fact {
        sync_folder(path)?;
    }
    Ok(())
}

/// Host and process are part of the name, so that two never write into one file, not even on a
/// disk that several machines share.
fn temporary_name(path: &Path) -> PathBuf {
    static HOST: OnceLock<String> = OnceLock::new();
    let host = HOST.get_or_init(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()
    });
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{host}-{}{LITTER}", std::process::id()));
    path.with_file_name(name)
}

const LITTER: &str = ".tmp";

/// Removes a derived file that nobody asks for any more, if it is there.
///
/// # Errors
/// Whatever the system refuses.
pub fn remove(path: &Path) -> Result<(), RecordError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RecordError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a folder in one that is there. Where that is gone, removed under a process that still writes
/// for instance, it is not made again.
///
/// # Errors
/// Whatever the system refuses.
pub fn create_folder(path: &Path) -> Result<(), RecordError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(RecordError::io("create", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes the temporary files that kills have left in `folder`. Only its one writer may call this.
pub fn remove_litter(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for path in files.flatten().map(|file| file.path()) {
        if path.extension().is_some_and(|extension| extension == &LITTER[1..]) {
            // One that will not go harms nothing.
            let _ = fs::remove_file(path);
        }
    }
}

fn write_temporary(
    temporary: &Path,
    durability: Durability,
    fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = io::BufWriter::with_capacity(1 << 16, File::create(temporary)?);
    fill(&mut file)?;
    crash_point();
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    if durability == Durability::Fact {
        file.sync_data()?;
    }
    Ok(())
}

/// Makes the names in the folder of `path` survive a power cut.
///
/// # Errors
/// Whatever the system refuses.
pub fn sync_folder(path: &Path) -> Result<(), RecordError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(RecordError::io("sync", folder))
}

/// Replaces `path` with `value` as JSON, a line.
///
/// # Errors
/// Whatever the system refuses; then `path` is as it was.
pub fn replace_json<T: Serialize>(
    path: &Path,
    value: &T,
    durability: Durability,
) -> Result<(), RecordError> {
    let mut bytes = serde_json::to_vec(value).expect("invariant: a record is JSON");
    bytes.push(b'\n');
    replace(path, &bytes, durability)
}

/// Reads a JSON file that says its `format`; `None` where there is no file.
///
/// # Errors
/// A file that cannot be read, is newer than `known`, or is not what `T` promises.
pub fn read_json<T: DeserializeOwned>(path: &Path, known: u32) -> Result<Option<T>, RecordError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecordError::io("read", path)(error)),
    };
    // The format is looked for on its own and first: a newer one may have other fields, or the same
    // with another meaning.
    let found = serde_json::from_slice(&bytes).map_or(0, |head: FormatHead| head.format);
    if found > known {
        return Err(RecordError::NewerFormat { path: path.to_owned(), found, known });
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| RecordError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

/// What every versioned file has; one without counts as older than any version.
#[derive(Deserialize)]
struct FormatHead {
    format: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        replace(&path, b"old", Durability::Fact).unwrap();
        let failed = replace_with(&path, Durability::Fact, &mut |file| {
            file.write_all(b"half of the n")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.unwrap_err().is_full_disk());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Old {
            #[expect(dead_code, reason = "only read by serde")]
            format: u32,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        fs::write(&path, r#"{"format": 7, "new": true}"#).unwrap();
        let error = read_json::<Old>(&path, 1).unwrap_err();
        assert!(matches!(error, RecordError::NewerFormat { found: 7, known: 1, .. }), "{error}");
        fs::write(&path, r#"{"format": 7}"#).unwrap();
        let error = read_json::<Old>(&path, 1).unwrap_err();
        assert!(matches!(error, RecordError::NewerFormat { found: 7, known: 1, .. }), "{error}");
        fs::write(&path, r#"{"format": 1"#).unwrap();
        assert!(matches!(read_json::<Old>(&path, 1), Err(RecordError::Damaged { .. })));
        assert!(read_json::<Old>(&folder.path().join("none"), 1).unwrap().is_none());
    }
}
