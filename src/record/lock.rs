//! Kernel locks: they die with their holder, so none is ever stale.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::error::RecordError;

/// How often a lock is tried for: one who only asks [who has it](Lock::holder) has it for an instant.
const TRIES: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

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
        let mut locked = lock_exclusively(&file, path);
        for _ in 1..TRIES {
            if !matches!(locked, Err(RecordError::Locked { .. })) {
                break;
            }
            thread::sleep(PAUSE);
            locked = lock_exclusively(&file, path);
        }
        if let Err(error) = locked {
            let RecordError::Locked { path, .. } = error else { return Err(error) };
            let mut holder = String::new();
            let _ = file.take(128).read_to_string(&mut holder);
            return Err(RecordError::Locked { path, holder: holder.trim().to_owned() });
        }
        Ok(Self::held(file))
    }

    /// Who has the lock at `path`, if anybody: what the holder wrote about itself.
    pub fn holder(path: &Path) -> Option<String> {
        let file = File::open(path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(128).read_to_string(&mut holder);
                Some(holder.trim().to_owned())
            }
            Ok(()) | Err(_) => None,
        }
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
        let holder = Lock::holder(&path).unwrap();
        assert!(holder.starts_with(&format!("{} on ", std::process::id())), "{holder}");
        drop(held);
        assert_eq!(Lock::holder(&path), None);
        assert_eq!(Lock::holder(&folder.path().join("none")), None);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn one_who_waits_gets_it_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let (sender, order) = std::sync::mpsc::channel();
        thread::scope(|scope| {
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
