//! Leases of cores and GPUs: two sweeps on one machine never use the same one.
//!
//! A lease is a kernel lock on a file that bears the slot's name, in a folder that all users share. It
//! dies with its holder, however that ends; the file stays. New slots of a kind are taken only by the
//! sweep that has the *turn* of that kind, another such lock, and a sweep that cannot start with what
//! it has keeps the turn until it can: two sweeps that each wait for a gang never hold half of the
//! machine each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::occupancy::Kind;

/// The variable that names another folder of locks.
pub const FOLDER_VARIABLE: &str = "GRIDLANE_SLOTS";

/// Where the locks are: as the variable says, or where every user of this machine looks.
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    // The same answer for every user: not whether *this* one may write, but whether all may.
    let shared = Path::new("/run/lock");
    let open = fs::metadata(shared).is_ok_and(|found| found.permissions().mode() & 0o002 != 0);
    if open { shared.join("gridlane-slots") } else { "/tmp/gridlane-slots".into() }
}

/// What an attempt to lease came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is this sweep's.
    Ours,
    /// Another process has it: its number, where it says so.
    Theirs(Option<u32>),
}

/// The leases of one sweep.
#[derive(Debug)]
pub struct Leases {
    /// `None` where locks cannot be kept: then there are leases within this process only.
    folder: Option<PathBuf>,
    held: BTreeMap<usize, Option<File>>,
    turns: BTreeMap<Kind, Option<File>>,
}

impl Leases {
    /// Leases by locks in `folder`, which is made where it is missing. Says why if that is not possible.
    pub fn open(folder: &Path) -> (Self, Option<String>) {
        let problem = prepare(folder).err().map(|error| {
            format!(
                "cannot keep leases in {}: {error}; other sweeps may use the same cores and GPUs",
                folder.display()
            )
        });
        let folder = problem.is_none().then(|| folder.to_owned());
        (Self { folder, held: BTreeMap::new(), turns: BTreeMap::new() }, problem)
    }

    /// Leases within this process only, where somebody else has seen to it that nobody else uses them.
    pub fn within_process() -> Self {
        Self { folder: None, held: BTreeMap::new(), turns: BTreeMap::new() }
    }

    /// Goes on with leases within this process only.
    pub fn give_up_locks(&mut self) {
        self.folder = None;
    }

    /// Takes the turn of a kind, if nobody else has it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn take_turn(&mut self, kind: Kind) -> io::Result<Taken> {
        if self.turns.contains_key(&kind) {
            return Ok(Taken::Ours);
        }
        let name = match kind {
            Kind::Core => "turn-cores",
            Kind::Gpu => "turn-gpus",
        };
        let (taken, file) = self.lock(name)?;
        if taken == Taken::Ours {
            self.turns.insert(kind, file);
        }
        Ok(taken)
    }

    /// Is it this sweep's turn?
    pub fn has_turn(&self, kind: Kind) -> bool {
        self.turns.contains_key(&kind)
    }

    /// Passes the turn on.
    pub fn pass_turn(&mut self, kind: Kind) {
        self.turns.remove(&kind);
    }

    /// Leases a slot of this name, if nobody else has it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn take(&mut self, slot: usize, name: &str) -> io::Result<Taken> {
        if self.held.contains_key(&slot) {
            return Ok(Taken::Ours);
        }
        let (taken, file) = self.lock(name)?;
        if taken == Taken::Ours {
            self.held.insert(slot, file);
        }
        Ok(taken)
    }

    /// Gives a slot back.
    pub fn give_back(&mut self, slot: usize) {
        self.held.remove(&slot);
    }

    /// The slots that are leased.
    pub fn held(&self) -> BTreeSet<usize> {
        self.held.keys().copied().collect()
    }

    fn lock(&self, name: &str) -> io::Result<(Taken, Option<File>)> {
        let Some(folder) = &self.folder else { return Ok((Taken::Ours, None)) };
        let mut file = open(&folder.join(file_name(name)))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // For a message only.
                let _ = file.set_len(0);
                let _ = file.seek(SeekFrom::Start(0));
                let _ = writeln!(file, "{}", std::process::id());
                Ok((Taken::Ours, Some(file)))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(32).read_to_string(&mut holder);
                Ok((Taken::Theirs(holder.trim().parse().ok()), None))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes the folder, open to all users, where nobody has made it before.
fn prepare(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o1777))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
    }
    open(&folder.join("turn-cores")).map(drop)
}

/// Opens a lock that every user of the machine may open. A link is not followed: in a folder that is
/// open to all, anybody can lay one.
fn open(path: &Path) -> io::Result<File> {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let existing = || OpenOptions::new().read(true).write(true).custom_flags(no_link).open(path);
    // Kernels refuse `O_CREAT` on somebody else's file in such a folder: opened first, made second.
    match existing() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.and_then(plain_file),
    }
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(path);
    match made {
        Ok(file) => {
            // The mask of the process may have taken rights of others away.
            file.set_permissions(Permissions::from_mode(0o666))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            existing().and_then(plain_file)
        }
        Err(error) => Err(error),
    }
}

fn plain_file(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "a lock must be a plain file"))
}

/// A name that is one file's, whatever a driver calls its devices.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(folder: &Path) -> Leases {
        let (leases, problem) = Leases::open(folder);
        assert_eq!(problem, None);
        leases
    }

    #[test]
    fn a_slot_is_leased_once_and_its_holder_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("slots");
        let (mut one, mut other) = (leases(&folder), leases(&folder));
        let us = Some(std::process::id());
        assert_eq!(one.take(0, "core-0").unwrap(), Taken::Ours);
        assert_eq!(other.take(0, "core-0").unwrap(), Taken::Theirs(us));
        assert_eq!(other.take(1, "core-1").unwrap(), Taken::Ours);
        one.give_back(0);
        assert_eq!(other.take(0, "core-0").unwrap(), Taken::Ours);
        assert_eq!(other.held(), BTreeSet::from([0, 1]));
        drop(other);
        assert_eq!(one.take(1, "core-1").unwrap(), Taken::Ours);
    }

    #[test]
    fn only_one_has_the_turn_of_a_kind() {
        let temporary = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (leases(temporary.path()), leases(temporary.path()));
        assert_eq!(one.take_turn(Kind::Gpu).unwrap(), Taken::Ours);
        assert!(matches!(other.take_turn(Kind::Gpu).unwrap(), Taken::Theirs(Some(_))));
        assert_eq!(other.take_turn(Kind::Core).unwrap(), Taken::Ours);
        one.pass_turn(Kind::Gpu);
        assert_eq!(other.take_turn(Kind::Gpu).unwrap(), Taken::Ours);
        assert!(other.has_turn(Kind::Gpu) && !one.has_turn(Kind::Gpu));
    }

    #[test]
    fn all_users_may_use_the_folder_and_its_files() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("slots");
        leases(&folder).take(0, "gpu-GPU-1/../x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&folder), 0o1777);
        assert_eq!(mode(&folder.join("gpu-GPU-1____x")), 0o666);
    }

    #[test]
    fn a_link_is_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let mut leases = leases(temporary.path());
        let target = temporary.path().join("target");
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, temporary.path().join("core-0")).unwrap();
        assert!(leases.take(0, "core-0").is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn without_a_folder_there_are_leases_within_the_process_and_a_notice() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let (mut leases, problem) = Leases::open(&file.join("slots"));
        assert!(problem.unwrap().contains("cannot keep leases in "));
        assert_eq!(leases.take(0, "core-0").unwrap(), Taken::Ours);
        assert_eq!(leases.held(), BTreeSet::from([0]));
    }
}
