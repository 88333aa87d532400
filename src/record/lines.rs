//! Append-only JSON Lines with a checksum in every line.
//!
//! A line is `<16 hex digits of BLAKE3 over the JSON> <JSON>\n`. Whatever a kill or a power cut
//! leaves at the end (half a line, zeros) does not match its checksum and is cut off when the file
//! is next opened for writing: a new line is never glued to a torn one. Readers stop at the first
//! line that does not match. A file that does not even begin as ours is somebody else's: it is set
//! aside, and not cut.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aside::set_aside;
use super::crash_point::crash_point;
use super::error::RecordError;
use super::lock::{lock_exclusively, open_to_write};

const CHECK: usize = 16;

/// Writes one file of lines. One writer per file, which a kernel lock on the file holds to.
#[derive(Debug)]
pub struct LineWriter<T> {
    path: PathBuf,
    file: File,
    length: u64,
    buffer: Vec<u8>,
    of: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned> LineWriter<T> {
    /// Opens `path`, cuts off a torn tail (sets the file aside where it is none of ours), and gives the lines that are whole.
    ///
    /// # Errors
    /// Whatever the system refuses, or a whole line that is not a `T`.
    pub fn open(path: &Path) -> Result<(Self, Vec<T>), RecordError> {
        Self::open_until(path, u64::MAX)
    }

    /// As [`open`](Self::open), but keeps only the first `keep` bytes, a length that
    /// [`length`](Self::length) gave earlier: what was written after a checkpoint is written anew.
    ///
    /// # Errors
    /// Whatever the system refuses, or a whole line that is not a `T`.
    pub fn open_until(path: &Path, keep: u64) -> Result<(Self, Vec<T>), RecordError> {
        let mut bytes = Vec::new();
        let mut file = open_and_read(path, &mut bytes)?;
        if !begins_as_ours(&bytes) {
            set_aside(path)?;
            file = open_and_read(path, &mut bytes)?;
        }
        bytes.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        let (lines, whole) = parse(path, &bytes)?;
        file.set_len(whole as u64).map_err(RecordError::io("repair", path))?;
        file.seek(SeekFrom::End(0)).map_err(RecordError::io("open", path))?;
        let writer = Self {
            path: path.to_owned(),
            file,
            length: whole as u64,
            buffer: Vec::new(),
            of: PhantomData,
        };
        Ok((writer, lines))
    }

    /// Appends a line and hands it to the system: it survives a kill of this process, and with
    /// [`sync`](Self::sync) a power cut.
    ///
    /// # Errors
    /// Whatever the system refuses. Then the file is as before: a half-written line is taken back.
    pub fn append(&mut self, line: &T) -> Result<(), RecordError> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[b' '; CHECK + 1]);
        serde_json::to_writer(&mut self.buffer, line).expect("invariant: a record is JSON");
        let check = check(&self.buffer[CHECK + 1..]);
        self.buffer[..CHECK].copy_from_slice(&check);
        self.buffer.push(b'\n');
        crash_point();
        if let Err(source) = self.file.write_all(&self.buffer) {
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(RecordError::io("append to", &self.path)(source));
        }
        self.length += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes all lines survive a power cut.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.file.sync_data().map_err(RecordError::io("sync", &self.path))
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// Reads the whole lines of a file; none where there is no file.
///
/// # Errors
/// Whatever the system refuses, or a whole line that is not a `T`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(parse(path, &bytes)?.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(RecordError::io("read", path)(error)),
    }
}

/// Follows a file of lines while another process writes it.
#[derive(Debug)]
pub struct LineFollower<T> {
    path: PathBuf,
    position: u64,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> LineFollower<T> {
    /// Will give lines from the first on.
    pub fn new(path: PathBuf) -> Self {
        Self { path, position: 0, of: PhantomData }
    }

    /// The lines that have come since the last call. A file that is not there yet has none; one
    /// that got shorter (an attempt began anew) is read from its start.
    ///
    /// # Errors
    /// Whatever the system refuses, or a whole line that is not a `T`.
    pub fn poll(&mut self) -> Result<Vec<T>, RecordError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RecordError::io("read", &self.path)(error)),
        };
        let failed = || RecordError::io("read", &self.path);
        let length = file.metadata().map_err(failed())?.len();
        if length < self.position {
            self.position = 0;
        }
        if length == self.position {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.position)).map_err(failed())?;
        file.read_to_end(&mut bytes).map_err(failed())?;
        let (lines, whole) = parse(&self.path, &bytes)?;
        self.position += whole as u64;
        Ok(lines)
    }
}

/// Opens and locks a file, and reads all of it.
fn open_and_read(path: &Path, bytes: &mut Vec<u8>) -> Result<File, RecordError> {
    let mut file = open_to_write(path)?;
    lock_exclusively(&file, path)?;
    bytes.clear();
    file.read_to_end(bytes).map_err(RecordError::io("read", path))?;
    Ok(file)
}

/// Is it empty, or does it begin as a line does, as far as it goes? The zeros that a power cut leaves at
/// the end are nobody's.
fn begins_as_ours(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut head = bytes[..end].iter().take(CHECK + 1).enumerate();
    head.all(|(place, byte)| match place {
        CHECK => *byte == b' ',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    })
}

fn check(json: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(json).to_hex().as_bytes()[..CHECK]);
    check
}

/// The lines up to the first torn one, and how many bytes they take.
fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<(Vec<T>, usize), RecordError> {
    let mut lines = Vec::new();
    let mut whole = 0;
    while let Some(end) = bytes[whole..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[whole..whole + end];
        let torn = line.len() < CHECK + 1
            || line[CHECK] != b' '
            || line[..CHECK] != check(&line[CHECK + 1..]);
        if torn {
            break;
        }
        let value = serde_json::from_slice(&line[CHECK + 1..]).map_err(|error| {
            let reason = format!("line {}: {error}", lines.len() + 1);
            RecordError::Damaged { path: path.to_owned(), reason }
        })?;
        lines.push(value);
        whole += end + 1;
    }
    Ok((lines, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write_all(path: &Path, lines: &[String]) -> LineWriter<String> {
        let (mut writer, _) = LineWriter::open(path).unwrap();
        for line in lines {
            writer.append(line).unwrap();
        }
        writer
    }

    proptest! {
        /// Whatever is cut off or overwritten at the end, what is whole before it stays and what is
        /// appended after it is read back.
        #[test]
        fn a_torn_tail_costs_only_itself(
            lines in prop::collection::vec(".{0,20}", 1..6),
            cut in 0_usize..400,
            garbage in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal.jsonl");
            let length = usize::try_from(write_all(&path, &lines).length()).unwrap();
            let cut = cut % (length + 1);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(cut);
            bytes.extend(garbage);
            std::fs::write(&path, &bytes).unwrap();
            let kept = read::<String>(&path).unwrap();
            prop_assert!(lines.starts_with(&kept));
            let (mut writer, found) = LineWriter::<String>::open(&path).unwrap();
            prop_assert_eq!(&found, &kept);
            writer.append(&"after".to_owned()).unwrap();
            let mut expected = kept;
            expected.push("after".to_owned());
            prop_assert_eq!(read::<String>(&path).unwrap(), expected);
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_set_aside_and_a_first_line_that_is_torn_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let aside = folder.path().join("events.jsonl.damaged-1");
        let length = usize::try_from(write_all(&path, &["one".to_owned()]).length()).unwrap();
        let line = std::fs::read(&path).unwrap();
        for cut in 0..length {
            for zeros in [0, 9] {
                std::fs::write(&path, [&line[..cut], &[0; 9][..zeros]].concat()).unwrap();
                let (_, lines) = LineWriter::<String>::open(&path).unwrap();
                assert!(lines.is_empty() && !aside.exists(), "{cut} {zeros}");
            }
        }
        let theirs = "a diary\nof somebody\n";
        std::fs::write(&path, theirs).unwrap();
        let (mut writer, _) = LineWriter::open_until(&path, 0).unwrap();
        writer.append(&"ours".to_owned()).unwrap();
        assert_eq!(read::<String>(&path).unwrap(), ["ours"]);
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), theirs);

        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert!(matches!(LineWriter::<String>::open(&path), Err(RecordError::Link { .. })));
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), theirs);
    }

    #[test]
    fn a_follower_sees_each_line_once_and_a_restart_from_the_top() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut follower = LineFollower::<String>::new(path.clone());
        assert!(follower.poll().unwrap().is_empty());
        let mut writer = write_all(&path, &["one".to_owned(), "two".to_owned()]);
        assert_eq!(follower.poll().unwrap(), ["one", "two"]);
        assert!(follower.poll().unwrap().is_empty());
        writer.append(&"three".to_owned()).unwrap();
        drop(writer);
        assert_eq!(follower.poll().unwrap(), ["three"]);
        LineWriter::<String>::open_until(&path, 0).unwrap();
        write_all(&path, &["again".to_owned()]);
        assert_eq!(follower.poll().unwrap(), ["again"]);
    }

    #[test]
    fn lines_after_a_checkpoint_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let keep = write_all(&path, &["one".to_owned()]).length();
        write_all(&path, &["two".to_owned()]);
        let (_, lines) = LineWriter::<String>::open_until(&path, keep).unwrap();
        assert_eq!(lines, ["one"]);
        assert_eq!(read::<String>(&path).unwrap(), ["one"]);
    }
}
