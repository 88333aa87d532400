//! The envelope of a checkpoint: which file, which checksum, and where the events stood.
//!
//! `checkpoint/step-N.safetensors` is written first, then `checkpoint/state.json` is replaced: that
//! rename is the instant at which the new checkpoint counts. Whatever a kill leaves before it is
//! ignored; older files are removed after it. What the tensors mean is the engine's business.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::aside::{make_way_for_file, make_way_for_folder};
use super::atomic::{self, Durability};
use super::error::RecordError;
use super::layout::RunFolder;
use crate::ids::RunId;

/// Version of `state.json`'s format.
pub const CHECKPOINT_FORMAT: u32 = 1;

/// `checkpoint/state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// [`CHECKPOINT_FORMAT`] of the writer.
    pub format: u32,
    /// The run.
    pub run_id: RunId,
    /// The newest checkpoint, then older ones that are kept.
    pub checkpoints: Vec<CheckpointEntry>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointEntry {
    /// Optimizer steps done.
    pub step: u64,
    /// BLAKE3 of the tensors' file.
    pub blake3: String,
    /// Bytes of `events.jsonl` that belong to it.
    pub events_length: u64,
    /// Seconds from the start so far, over all attempts.
    pub wall_s: f64,
    /// Seconds of training and validation so far, over all attempts.
    pub elapsed_s: f64,
    /// Seconds of training alone.
    pub train_s: f64,
    /// Largest resident memory so far.
    pub peak_memory_bytes: u64,
    /// Most memory allocated on a GPU so far, of a run on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_memory_bytes: Option<u64>,
}

/// A checkpoint as read back.
#[derive(Debug)]
pub struct Loaded {
    /// What the envelope says.
    pub entry: CheckpointEntry,
    /// The tensors' file.
    pub tensors: Vec<u8>,
}

/// What was found when looking for a checkpoint.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest one that is whole.
    pub loaded: Option<Loaded>,
    /// Why newer ones were passed over, if any were.
    pub refused: Option<String>,
}

/// What writes the tensors' file.
pub type Fill<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// Writes a checkpoint, whose tensors `fill` writes, and makes it the newest; keeps `keep` in all.
///
/// # Errors
/// Whatever the system or `fill` refuses; then the one before still counts.
pub fn save(
    folder: &RunFolder,
    run_id: RunId,
    mut entry: CheckpointEntry,
    fill: &mut Fill<'_>,
    keep: u32,
) -> Result<(), RecordError> {
    let checkpoints = folder.checkpoints();
    atomic::create_folder(&checkpoints)?;
    let path = folder.checkpoint_tensors(entry.step);
    let mut hasher = blake3::Hasher::new();
    atomic::replace_with(&path, Durability::Fact, &mut |file| {
        fill(&mut Hashed { file, hasher: &mut hasher })
    })?;
    entry.blake3 = hasher.finalize().to_hex().to_string();
    let mut entries = read_state(folder).ok().flatten().map_or_else(Vec::new, |s| s.checkpoints);
    entries.retain(|older| older.step < entry.step);
    entries.insert(0, entry);
    entries.truncate(keep.max(1) as usize);
    let kept: Vec<_> = entries.iter().map(|e| folder.checkpoint_tensors(e.step)).collect();
    let state = CheckpointState { format: CHECKPOINT_FORMAT, run_id, checkpoints: entries };
    atomic::replace_json(&folder.checkpoint_state(), &state, Durability::Fact)?;
    remove_all_but(folder, &kept);
    Ok(())
}

/// A file that is hashed while it is written: its bytes need not be held for that.
struct Hashed<'a> {
    file: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes what a kill has left beside the checkpoints that count: an older one that was to go, or
/// a newer one that never came to count; and sets aside what stands where checkpoints are to be
/// written. Only the run's one writer may call this.
///
/// # Errors
/// What stands in the way and cannot be renamed.
pub fn tidy(folder: &RunFolder) -> Result<(), RecordError> {
    make_way(folder)?;
    let entries = read_state(folder).ok().flatten().map_or_else(Vec::new, |s| s.checkpoints);
    let kept: Vec<_> = entries.iter().map(|e| folder.checkpoint_tensors(e.step)).collect();
    remove_all_but(folder, &kept);
    Ok(())
}

/// Sets aside what bears a checkpoint's name and is none.
fn make_way(folder: &RunFolder) -> Result<(), RecordError> {
    make_way_for_folder(&folder.checkpoints())?;
    let Ok(files) = fs::read_dir(folder.checkpoints()) else { return Ok(()) };
    let ours = |path: &PathBuf| {
        *path == folder.checkpoint_state() || path.extension().is_some_and(|e| e == "safetensors")
    };
    let mut names = files.flatten().map(|file| file.path()).filter(ours);
    names.try_for_each(|path| make_way_for_file(&path))
}

/// A file that will not go harms nothing.
fn remove_all_but(folder: &RunFolder, kept: &[PathBuf]) {
    let Ok(files) = fs::read_dir(folder.checkpoints()) else { return };
    for path in files.flatten().map(|file| file.path()) {
        if !kept.contains(&path) && path != folder.checkpoint_state() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Takes the newest checkpoint that `from` has over into `to`, a folder of the same run that has none,
/// with the events that belong to it. Whoever still writes in `from` is not disturbed, and what they
/// take away meanwhile is done without. Gives the steps that it stands at; `None` where there was none.
///
/// # Errors
/// What the system refuses in `to`.
pub fn adopt(from: &RunFolder, to: &RunFolder) -> Result<Option<u64>, RecordError> {
    let Ok(Some(state)) = read_state(from) else { return Ok(None) };
    let folder = to.checkpoints();
    fs::create_dir_all(&folder).map_err(RecordError::io("create", &folder))?;
    for entry in state.checkpoints {
        let Ok(mut events) = fs::read(from.events()) else { continue };
        let length = usize::try_from(entry.events_length).unwrap_or(usize::MAX);
        if events.len() < length {
            continue;
        }
        events.truncate(length);
        let (old, new) = (from.checkpoint_tensors(entry.step), to.checkpoint_tensors(entry.step));
        // Tensors are never changed once written: a second name for them is as good as a copy.
        if fs::hard_link(&old, &new).is_err() && fs::copy(&old, &new).is_err() {
            let _ = fs::remove_file(&new);
            continue;
        }
        fs::write(to.events(), events).map_err(RecordError::io("write", &to.events()))?;
        let step = entry.step;
        let state = CheckpointState { checkpoints: vec![entry], ..state };
        atomic::replace_json(&to.checkpoint_state(), &state, Durability::Fact)?;
        return Ok(Some(step));
    }
    Ok(None)
}

/// Optimizer steps that the newest checkpoint of a run stands at; `None` where there is none.
pub fn step_of(folder: &RunFolder) -> Option<u64> {
    let state = read_state(folder).ok().flatten()?;
    state.checkpoints.first().map(|newest| newest.step)
}

fn read_state(folder: &RunFolder) -> Result<Option<CheckpointState>, RecordError> {
    atomic::read_json(&folder.checkpoint_state(), CHECKPOINT_FORMAT)
}

/// The newest checkpoint that is whole and belongs to `run_id`. Damaged ones are passed over with
/// the reason, down to none at all: the run then starts anew and comes to the same result.
///
/// # Errors
/// Only what the system refuses for a reason that lies outside of the files.
pub fn load(folder: &RunFolder, run_id: RunId) -> Result<Found, RecordError> {
    let mut found = Found::default();
    let state = match read_state(folder) {
        Ok(None) => return Ok(found),
        Ok(Some(state)) => state,
        Err(RecordError::Io { action, path, cause }) if lies_outside(&cause) => {
            return Err(RecordError::Io { action, path, cause });
        }
        Err(error) => {
            found.refused = Some(error.to_string());
            return Ok(found);
        }
    };
    if state.run_id != run_id {
        found.refused = Some(format!("the checkpoint is of run {}, not {run_id}", state.run_id));
        return Ok(found);
    }
    for entry in state.checkpoints {
        let path = folder.checkpoint_tensors(entry.step);
        let why = match fs::read(&path) {
            Ok(tensors) if blake3::hash(&tensors).to_hex().as_str() == entry.blake3 => {
                found.loaded = Some(Loaded { entry, tensors });
                return Ok(found);
            }
            Ok(_) => "its checksum does not match".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
            Err(error) if lies_outside(&error) => {
                return Err(RecordError::io("read", &path)(error));
            }
            Err(error) => format!("it cannot be read: {error}"),
        };
        found.refused.get_or_insert_with(|| format!("checkpoint of step {}: {why}", entry.step));
    }
    Ok(found)
}

/// Does it say nothing of the file that it cannot be read? Then it may be whole, and is not given up
/// for that: rights can be set, and limits and servers come back. All else, a folder in its place or a
/// bad sector, stays as it is and would fail the run for good.
fn lies_outside(error: &io::Error) -> bool {
    let outside = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| outside.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn entry(step: u64) -> CheckpointEntry {
        CheckpointEntry {
            step,
            blake3: String::new(),
            events_length: step * 10,
            wall_s: 0.75,
            elapsed_s: 0.5,
            train_s: 0.25,
            peak_memory_bytes: 1,
            device_memory_bytes: None,
        }
    }

    fn id() -> RunId {
        RunId::of(b"a run")
    }

    fn save_bytes(folder: &RunFolder, entry: CheckpointEntry, tensors: &[u8], keep: u32) {
        save(folder, id(), entry, &mut |file| file.write_all(tensors), keep).unwrap();
    }

    #[test]
    fn only_the_kept_ones_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        for step in [1, 2, 3] {
            save_bytes(&folder, entry(step), &[step as u8; 9], 2);
        }
        let files = fs::read_dir(folder.checkpoints()).unwrap().count();
        assert_eq!(files, 3, "two checkpoints and the state");
        let loaded = load(&folder, id()).unwrap().loaded.unwrap();
        assert_eq!((loaded.entry.step, loaded.tensors), (3, vec![3; 9]));
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over_for_an_older_one() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        save_bytes(&folder, entry(1), b"one", 2);
        save_bytes(&folder, entry(2), b"two", 2);
        fs::write(folder.checkpoint_tensors(2), b"tw0").unwrap();
        let found = load(&folder, id()).unwrap();
        assert_eq!(found.loaded.unwrap().entry.step, 1);
        assert_eq!(found.refused.unwrap(), "checkpoint of step 2: its checksum does not match");
        fs::remove_file(folder.checkpoint_tensors(1)).unwrap();
        assert!(load(&folder, id()).unwrap().loaded.is_none());
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_passed_over_and_makes_way() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        let tensors = folder.checkpoint_tensors(2);
        save_bytes(&folder, entry(1), b"one", 2);
        save_bytes(&folder, entry(2), b"two", 2);
        fs::remove_file(&tensors).unwrap();
        symlink(&tensors, &tensors).unwrap();
        assert_eq!(load(&folder, id()).unwrap().loaded.unwrap().entry.step, 1, "a link to itself");
        fs::remove_file(&tensors).unwrap();
        fs::create_dir(&tensors).unwrap();
        fs::write(tensors.join("x"), "kept").unwrap();
        let found = load(&folder, id()).unwrap();
        assert_eq!(found.loaded.unwrap().entry.step, 1);
        let refused = found.refused.unwrap();
        assert!(refused.starts_with("checkpoint of step 2: it cannot be read: "), "{refused}");
        tidy(&folder).unwrap();
        save_bytes(&folder, entry(2), b"two", 2);
        assert_eq!(load(&folder, id()).unwrap().loaded.unwrap().entry.step, 2);
        let aside = folder.checkpoints().join("step-000000002.safetensors.damaged-1");
        assert_eq!(fs::read_to_string(aside.join("x")).unwrap(), "kept");

        let state = folder.checkpoint_state();
        fs::remove_file(&state).unwrap();
        fs::create_dir(&state).unwrap();
        let found = load(&folder, id()).unwrap();
        assert!(found.loaded.is_none() && found.refused.unwrap().contains("state.json"));
        tidy(&folder).unwrap();
        save_bytes(&folder, entry(3), b"three", 2);
        assert_eq!(load(&folder, id()).unwrap().loaded.unwrap().entry.step, 3);

        fs::remove_dir_all(folder.checkpoints()).unwrap();
        fs::write(folder.checkpoints(), "a file").unwrap();
        let found = load(&folder, id()).unwrap();
        assert!(found.loaded.is_none() && found.refused.is_some());
        tidy(&folder).unwrap();
        save_bytes(&folder, entry(1), b"one", 2);
        assert_eq!(load(&folder, id()).unwrap().loaded.unwrap().entry.step, 1);
    }

    #[test]
    fn an_adopted_checkpoint_is_whole_and_its_own() {
        let temporary = tempfile::tempdir().unwrap();
        let [from, to, third] =
            ["from", "to", "third"].map(|name| RunFolder::at(&temporary.path().join(name)));
        for folder in [&from, &to, &third] {
            fs::create_dir(folder.path()).unwrap();
        }
        assert_eq!(adopt(&from, &to).unwrap(), None);
        fs::write(from.events(), [b'e'; 25]).unwrap();
        save_bytes(&from, entry(1), b"one", 2);
        save_bytes(&from, entry(2), b"two", 2);
        assert_eq!(adopt(&from, &to).unwrap(), Some(2));
        assert_eq!(fs::read(to.events()).unwrap().len(), 20);
        // The one before goes on for a while.
        fs::write(from.events(), b"").unwrap();
        save_bytes(&from, entry(3), b"three", 1);
        let loaded = load(&to, id()).unwrap().loaded.unwrap();
        assert_eq!((loaded.entry.step, loaded.tensors), (2, b"two".to_vec()));
        assert_eq!(adopt(&from, &third).unwrap(), None, "its events are shorter than it says");
    }

    #[test]
    fn a_torn_state_or_another_runs_checkpoint_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        assert!(load(&folder, id()).unwrap().refused.is_none());
        save_bytes(&folder, entry(1), b"one", 1);
        let other = load(&folder, RunId::of(b"another")).unwrap();
        assert!(other.loaded.is_none() && other.refused.is_some());
        fs::write(folder.checkpoint_state(), b"{\"format\":1").unwrap();
        let torn = load(&folder, id()).unwrap();
        assert!(torn.loaded.is_none() && torn.refused.unwrap().contains("damaged"));
    }
}
