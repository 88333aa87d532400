//! Kernel locks: they die with their holder, so none is ever stale.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::RecordError;

/// An exclusive lock on a file, until it is dropped or its process dies in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path` or says who has it.
    ///
    /// The file descriptor is not inherited by children: a worker does not keep its sweep locked.
    ///
    /// # Errors
    /// [`RecordError::Locked`] when another process has it, or what the system refuses.
    pub fn take(path: &Path) -> Result<Self, RecordError> {
        let file = open_to_write(path)?;
        if let Err(error) = lock_exclusively(&file, path) {
            let RecordError::Locked { path, .. } = error else { return Err(error) };
            let mut holder = String::new();
            let _ = file.take(128).read_to_string(&mut holder);
            return Err(RecordError::Locked { path, holder: holder.trim().to_owned() });
        }
        Ok(Self::held(file))
    }

    /// Takes the lock at `path`, and waits for it as long as another process has it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn wait(path: &Path) -> Result<Self, RecordError> {
        let file = open_to_write(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self::held(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(RecordError::io("lock", path)(error.into())),
            }
        }
    }

    /// Says in the locked file who has it: on a disk that machines share, a process alone says little. Only for
    /// a message; a failure harms nobody.
    fn held(mut file: File) -> Self {
        let _ = file.set_len(0);
        let _ = file.seek(SeekFrom::Start(0));
        let _ = writeln!(file, "{}", holder());
        Self { _file: file }
    }
}

/// This process, as people find it: `4711 on login1`.
fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{} on {host}", std::process::id())
}

/// Opens a file for reading and writing, and makes it where there is none; what it holds stays.
///
/// # Errors
/// What the system refuses.
pub(super) fn open_to_write(path: &Path) -> Result<File, RecordError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(RecordError::io("open", path))
}

/// Locks an open file for as long as it is open.
///
/// # Errors
/// [`RecordError::Locked`] when another process has it, or what the system refuses.
pub(super) fn lock_exclusively(file: &File, path: &Path) -> Result<(), RecordError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(RecordError::Locked { path: path.to_owned(), holder: "unknown".to_owned() })
        }
        Err(error) => Err(RecordError::io("lock", path)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        let expected = format!("(process {} on ", std::process::id());
        assert!(error.to_string().contains(&expected), "{error}");
        drop(held);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn one_who_waits_gets_it_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let (sender, order) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (waits, path) = (sender.clone(), &path);
            scope.spawn(move || {
                let lock = Lock::wait(path).unwrap();
                waits.send("waiter").unwrap();
                lock
            });
            sender.send("holder").unwrap();
            drop(held);
        });
        assert_eq!([order.recv().unwrap(), order.recv().unwrap()], ["holder", "waiter"]);
    }
}
