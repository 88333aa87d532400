//! Kernel locks: they die with their holder, so none is ever stale.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::error::RecordError;

/// How often a lock is tried for: one who only asks [who has it](Lock::holder) has it for an instant.
const TRIES: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// An exclusive lock on a file, until it is dropped or its process dies in whatever way.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
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
        Ok(Self::held(path, file))
    }

    /// Who has the lock at `path`, if anybody: what the holder wrote about itself.
    pub fn holder(path: &Path) -> Option<String> {
        let file = File::open(path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => {
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
                Ok(()) => return Ok(Self::held(path, file)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(RecordError::io("lock", path)(error.into())),
            }
        }
    }

    /// Says in the locked file who has it: on a disk that machines share, a process alone says little. Only for
    /// a message; a failure harms nobody.
    fn held(path: &Path, mut file: File) -> Self {
        let _ = file.set_len(0);
        let _ = file.seek(SeekFrom::Start(0));
        let _ = writeln!(file, "{}", holder());
        Self { path: path.to_owned(), file }
    }

    /// Is the locked file still the one at its path? Where its folder was moved or removed, another
    /// process can have "the same" lock. A disk that does not answer has moved nothing.
    pub fn is_in_place(&self) -> bool {
        let Ok(held) = self.file.metadata() else { return true };
        match fs::symlink_metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == (held.dev(), held.ino()),
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        }
    }
}

/// This process, as people find it: `4711 on login1`.
fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{} on {host}", std::process::id())
}

/// Opens a file for reading and writing, and makes it where there is none; what it holds stays. A link
/// is not followed: its target would be emptied for somebody else's file.
///
/// # Errors
/// [`RecordError::Link`], or what the system refuses.
pub(super) fn open_to_write(path: &Path) -> Result<File, RecordError> {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(no_link)
        .open(path)
        .and_then(plain_file);
    opened.map_err(|error| {
        // Links among the folders above are followed; in a circle of theirs, it is not this file.
        if Errno::from_io_error(&error) == Some(Errno::LOOP) && path.is_symlink() {
            return RecordError::Link { path: path.to_owned() };
        }
        RecordError::io("open", path)(error)
    })
}

fn plain_file(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it is not a plain file"))
}

/// Locks an open file for as long as it is open.
///
/// # Errors
/// [`RecordError::Locked`] when another process has it, or what the system refuses.
pub(super) fn lock_exclusively(file: &File, path: &Path) -> Result<(), RecordError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
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
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("lock"), folder.path().join("other"));
        fs::write(&other, "somebody's").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(matches!(Lock::take(&path), Err(RecordError::Link { .. })));
        assert!(matches!(Lock::wait(&path), Err(RecordError::Link { .. })));
        assert_eq!(fs::read_to_string(&other).unwrap(), "somebody's");
        assert!(Lock::take(Path::new("/dev/null")).unwrap_err().to_string().contains("plain file"));
    }

    #[test]
    fn a_lock_knows_that_it_was_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let [sweep, moved] = ["sweep", "moved"].map(|name| folder.path().join(name));
        fs::create_dir(&sweep).unwrap();
        let held = Lock::take(&sweep.join("lock")).unwrap();
        assert!(held.is_in_place());
        fs::rename(&sweep, &moved).unwrap();
        assert!(!held.is_in_place());
        fs::create_dir(&sweep).unwrap();
        let second = Lock::take(&sweep.join("lock")).unwrap();
        assert!(second.is_in_place() && !held.is_in_place());
        fs::remove_file(sweep.join("lock")).unwrap();
        assert!(!second.is_in_place());
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
