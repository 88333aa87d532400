//! Claims on runs, where several dispatchers share one sweep on one disk.
//!
//! A dispatcher that wants a run makes the folder `attempts/<run_id>.<N>`, N one more than the newest:
//! making a folder either succeeds for one alone or fails, on network file systems too. N is the fencing
//! token: the highest counts. The run is trained in that folder, so two copies of it (a node that was
//! cut off comes back) never write into one file. What is settled is published by renaming the folder
//! to `<run_id>`, which again only one can do.
//!
//! A dispatcher that lives changes the text of its `beat`. One whose beat has not changed for the
//! length of a lease, by the *reader's* clock, has lost its claims to whoever takes the next number,
//! and that one goes on from its checkpoint. One that cannot change its beat gives its runs up before
//! that. No clock is read here: callers say what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::atomic::{self, Durability};
use super::beats::{Beat, Beats, Life};
use super::checkpoint;
use super::crash_point::crash_point;
use super::error::RecordError;
use super::layout::{PilotFolder, RunFolder, SweepFolder, claim_of};
use crate::ids::RunId;

/// Version of `claim.json`'s format.
pub const CLAIM_FORMAT: u32 = 1;

/// Version of the format of what a dispatcher leaves behind.
pub const LEFT_FORMAT: u32 = 1;

/// Beats in the length of a lease: as many may be late before a dispatcher counts as gone.
const BEATS: u32 = 12;

/// Beats that may fail in a row before a dispatcher gives up what it has. It stops before anybody else
/// begins, who waits for all of them.
const PATIENCE: u32 = 9;

/// `claim.json`: whose a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// [`CLAIM_FORMAT`] of the writer.
    pub format: u32,
    /// The dispatcher that has it; none once it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Dispatchers in a row that were lost while they had it, without getting it any further.
    #[serde(default)]
    pub lost: u32,
    /// Optimizer steps that it stood at when it was taken.
    #[serde(default)]
    pub step: u64,
}

impl Claim {
    /// Of nobody.
    fn free() -> Self {
        Self { format: CLAIM_FORMAT, owner: None, lost: 0, step: 0 }
    }
}

/// What an attempt to get a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is ours.
    Ours {
        /// Where it is trained.
        folder: RunFolder,
        /// Dispatchers in a row that were lost while they had it, without getting it any further.
        lost: u32,
    },
    /// Another dispatcher has it.
    Elsewhere,
    /// There is nothing left to do for it.
    Settled,
}

/// Why a run is this dispatcher's no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Another has it, or has settled it.
    TakenOver,
    /// The beat could not be changed for so long that others may soon take it.
    Unheard,
}

/// `left`: what a dispatcher that has left in an orderly way says of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// [`LEFT_FORMAT`] of the writer.
    pub format: u32,
    /// There was a run to be had, and none that it had got any further.
    pub fruitless: bool,
}

/// A run that a dispatcher has.
#[derive(Debug, Clone, Copy)]
struct Held {
    claim: u32,
    /// Optimizer steps that it stood at when it was taken.
    step: u64,
}

/// The claims of one dispatcher.
#[derive(Debug)]
pub struct Claims {
    folder: SweepFolder,
    name: String,
    lease: Duration,
    held: BTreeMap<RunId, Held>,
    elsewhere: BTreeMap<RunId, String>,
    beat: Beat,
    beats: Beats,
    /// When the beat was last tried to be changed, when it last was, and how often it was not since.
    tried: Duration,
    heard: Duration,
    missed: u32,
    /// Was any run taken?
    took: bool,
    /// Has any of them got further?
    advanced: bool,
}

impl Claims {
    /// Of the dispatcher `name`, a name that no other has or will have. Its folder is made.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn open(folder: &SweepFolder, name: &str, lease: Duration) -> Result<Self, RecordError> {
        for path in [folder.attempts().as_path(), folder.pilot(name).path()] {
            fs::create_dir_all(path).map_err(RecordError::io("create", path))?;
        }
        Ok(Self {
            folder: folder.clone(),
            name: name.to_owned(),
            lease,
            held: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            beat: Beat::start(folder.pilot(name).beat())?,
            beats: Beats::new(folder, lease),
            tried: Duration::ZERO,
            heard: Duration::ZERO,
            missed: 0,
            took: false,
            advanced: false,
        })
    }

    /// The dispatcher's folder.
    pub fn pilot(&self) -> PilotFolder {
        self.folder.pilot(&self.name)
    }

    /// How long a run that another has is left alone before it is asked for again.
    pub fn patience(&self) -> Duration {
        (self.lease / 4).clamp(Duration::from_millis(100), Duration::from_secs(15))
    }

    /// Gets a run, if nobody who lives has it. What its last owner came to is taken over.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn take(&mut self, id: RunId, now: Duration) -> Result<Taken, RecordError> {
        if let Some(held) = self.held.get(&id) {
            let folder = self.folder.attempt(id, held.claim);
            return Ok(Taken::Ours { folder, lost: 0 });
        }
        // Until it is known whose it is, it is nobody's who lives.
        self.elsewhere.insert(id, id.to_string());
        // Whoever is not heard of cannot keep a run.
        if self.is_unheard(now) {
            return Ok(Taken::Elsewhere);
        }
        let taken = self.try_to_take(id, now)?;
        if taken != Taken::Elsewhere {
            self.elsewhere.remove(&id);
        }
        Ok(taken)
    }

    fn try_to_take(&mut self, id: RunId, now: Duration) -> Result<Taken, RecordError> {
        if is_there(self.folder.run(id).path()) {
            return Ok(Taken::Settled);
        }
        let newest = newest(&self.folder)?.get(&id).copied().unwrap_or(0);
        let before = match self.availability(id, newest, now)? {
            Ok(before) => before,
            Err(owner) => {
                self.elsewhere.insert(id, owner);
                return Ok(Taken::Elsewhere);
            }
        };
        let claim = newest + 1;
        let folder = self.folder.attempt(id, claim);
        crash_point();
        match fs::create_dir(folder.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Taken::Elsewhere),
            Err(error) => return Err(RecordError::io("create", folder.path())(error)),
        }
        crash_point();
        // Published in the meantime: then the folders of its attempts are gone, and this one is the first.
        if is_there(self.folder.run(id).path()) {
            let _ = fs::remove_dir(folder.path());
            return Ok(Taken::Settled);
        }
        let owner = Some(self.name.clone());
        let mut ours = Claim { format: CLAIM_FORMAT, owner, lost: 0, step: 0 };
        if let Err(error) = write_claim(&folder, &ours) {
            // Without a name in it others would take it for that of one who was lost.
            let _ = fs::remove_dir(folder.path());
            return Err(error);
        }
        for older in (1..=newest).rev() {
            if let Some(step) = checkpoint::adopt(&self.folder.attempt(id, older), &folder)? {
                ours.step = step;
                break;
            }
        }
        if let Some(before) = before {
            ours.lost = if ours.step > before.step { 1 } else { before.lost + 1 };
        }
        write_claim(&folder, &ours)?;
        let lost = ours.lost;
        self.held.insert(id, Held { claim, step: ours.step });
        self.took = true;
        Ok(Taken::Ours { folder, lost })
    }

    /// Is a run to be had whose newest claim has this number? The claim of an owner that was lost,
    /// none where nobody was; or else the owner that has it.
    fn availability(
        &mut self,
        id: RunId,
        newest: u32,
        now: Duration,
    ) -> Result<Result<Option<Claim>, String>, RecordError> {
        if newest == 0 {
            return Ok(Ok(None));
        }
        let claim = read_claim(&self.folder.attempt(id, newest))?;
        // Whoever made the folder has not said who it is: it counts from now on as one who is gone.
        let unknown = || Claim { owner: Some(format!("{id}.{newest}")), ..Claim::free() };
        let claim = claim.unwrap_or_else(unknown);
        let Some(owner) = &claim.owner else { return Ok(Ok(None)) };
        // An attempt to take it that came no further than this, such as on a full disk. This dispatcher lives,
        // so nobody else would ever take it.
        if *owner == self.name {
            return Ok(Ok(None));
        }
        Ok(match self.beats.look(owner, now)? {
            Life::Gone => Ok(Some(claim)),
            Life::Alive | Life::Unknown => Err(owner.clone()),
        })
    }

    /// Shows that this dispatcher lives, when it is time to. Gives the runs that are its own no more: what
    /// was made of them does not count.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(&mut self, now: Duration) -> Result<Vec<(RunId, Loss)>, RecordError> {
        self.beats.wake(now);
        if now < self.tried + self.lease / BEATS {
            return Ok(Vec::new());
        }
        self.tried = now;
        if let Err(error) = self.beat.strike() {
            self.missed += 1;
            if self.held.is_empty() || !self.is_unheard(now) {
                return Err(error);
            }
            return Ok(self.lose(self.held.keys().copied().collect(), Loss::Unheard));
        }
        (self.heard, self.missed) = (now, 0);
        if self.held.is_empty() {
            return Ok(Vec::new());
        }
        let newest = newest(&self.folder)?;
        let is_lost = |(id, held): &(&RunId, &Held)| {
            newest.get(id) != Some(&held.claim)
                || self.folder.run(**id).path().exists()
                || self.is_anothers(&self.folder.attempt(**id, held.claim))
        };
        let lost = self.held.iter().filter(is_lost).map(|(id, _)| *id).collect();
        Ok(self.lose(lost, Loss::TakenOver))
    }

    fn lose(&mut self, lost: Vec<RunId>, why: Loss) -> Vec<(RunId, Loss)> {
        let lose = |id: RunId| {
            self.held.remove(&id);
            self.elsewhere.insert(id, id.to_string());
            (id, why)
        };
        lost.into_iter().map(lose).collect()
    }

    /// Beats in a row that could not be shown.
    pub fn missed(&self) -> u32 {
        self.missed
    }

    /// May others soon think that this dispatcher is gone?
    fn is_unheard(&self, now: Duration) -> bool {
        self.missed > 0 && now >= self.heard + self.lease * PATIENCE / BEATS
    }

    /// May this dispatcher leave, where all that is left is elsewhere? Yes, if all who have it live.
    pub fn others_live(&mut self, now: Duration) -> bool {
        let owners: BTreeSet<&String> = self.elsewhere.values().collect();
        let mut lives = owners.into_iter().map(|owner| self.beats.look(owner, now));
        lives.all(|life| matches!(life, Ok(Life::Alive)))
    }

    /// Makes what became of a run the sweep's, if it is still ours. Says whether it was. After an error it
    /// is ours as before, and may be tried again.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn publish(&mut self, id: RunId) -> Result<bool, RecordError> {
        let Some(held) = self.held.get(&id).copied() else { return Ok(false) };
        let published = self.try_to_publish(id, held.claim)?;
        self.held.remove(&id);
        self.advanced |= published;
        Ok(published)
    }

    fn try_to_publish(&self, id: RunId, claim: u32) -> Result<bool, RecordError> {
        let (from, to) = (self.folder.attempt(id, claim), self.folder.run(id));
        // Where there is none any more, what it was moved to says whose it was.
        if let Some(newest) = newest(&self.folder)?.get(&id)
            && (*newest != claim || self.is_anothers(&from))
        {
            return Ok(false);
        }
        crash_point();
        match fs::rename(from.path(), to.path()) {
            Ok(()) => {}
            Err(error) if is_taken(&error) => return Ok(false),
            // The first answer of a server may be lost, and the second says that there is nothing to move. Or
            // whoever has published it has taken our folder away, and a list of names that is a minute old
            // still had it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !self.is_mine(&to)? {
                    return Ok(false);
                }
            }
            Err(error) => return Err(RecordError::io("publish", from.path())(error)),
        }
        crash_point();
        atomic::sync_folder(to.path())?;
        for before in 1..claim {
            remove(&self.folder.attempt(id, before));
        }
        Ok(true)
    }

    fn is_mine(&self, folder: &RunFolder) -> Result<bool, RecordError> {
        Ok(read_claim(folder)?.and_then(|claim| claim.owner).as_ref() == Some(&self.name))
    }

    /// Does a claim of ours name another by now, or nobody? Numbers begin anew when a sweep was one machine's
    /// for a while, and whoever was cut off all that time finds its own taken away, or given to somebody else.
    fn is_anothers(&self, attempt: &RunFolder) -> bool {
        match read_claim(attempt) {
            Ok(claim) => claim.and_then(|claim| claim.owner).as_ref() != Some(&self.name),
            // What cannot be read now says nothing.
            Err(_) => false,
        }
    }

    /// Is the run still this dispatcher's, as far as it knows?
    pub fn holds(&self, id: RunId) -> bool {
        self.held.contains_key(&id)
    }

    /// Gives all runs back, with what was made of them, and says that this dispatcher has left.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn leave(&mut self) -> Result<(), RecordError> {
        let mut done = Ok(());
        for (id, held) in std::mem::take(&mut self.held) {
            // One that was published by another in the meantime has no folder: the rest is given back all the same.
            let attempt = self.folder.attempt(id, held.claim);
            if attempt.path().exists() && !self.is_anothers(&attempt) {
                self.advanced |= checkpoint::step_of(&attempt).is_some_and(|step| step > held.step);
                done = done.and(give_back(&attempt));
            }
        }
        // One that only stood by while others had all that is left has not tried.
        let fruitless = !self.advanced && (self.took || self.elsewhere.is_empty());
        let left = Left { format: LEFT_FORMAT, fruitless };
        // Said even if a claim could not be given back: it is to be had then, too.
        atomic::replace_json(&self.pilot().left(), &left, Durability::Derived).and(done)
    }
}

/// Readies a sweep for dispatchers that share it, while there are none: what earlier ones had can be had
/// at once, and the runs of `unsettled` that a folder says something of go on from there.
///
/// # Errors
/// What the system refuses.
pub fn open_all(
    folder: &SweepFolder,
    unsettled: impl IntoIterator<Item = RunId>,
) -> Result<(), RecordError> {
    let attempts = folder.attempts();
    fs::create_dir_all(&attempts).map_err(RecordError::io("create", &attempts))?;
    let newest = newest(folder)?;
    for (id, claim) in &newest {
        if folder.run(*id).path().exists() {
            // Published, and whoever did it came no further.
            (1..=*claim).for_each(|claim| remove(&folder.attempt(*id, claim)));
        } else {
            give_back(&folder.attempt(*id, *claim))?;
        }
    }
    for id in unsettled {
        let run = folder.run(id);
        if !run.path().exists() {
            continue;
        }
        let attempt = folder.attempt(id, newest.get(&id).copied().unwrap_or(0) + 1);
        atomic::remove(&run.result())?;
        fs::rename(run.path(), attempt.path()).map_err(RecordError::io("move", run.path()))?;
        give_back(&attempt)?;
    }
    Ok(())
}

/// Puts runs under way back to where a dispatcher that is alone looks for them, while there are none that
/// share the sweep, as far as one knows. One that was cut off may still be at work in a folder of its own:
/// what it has come to is taken over, as by another dispatcher, and its folder is not.
///
/// # Errors
/// What the system refuses.
pub fn close_all(folder: &SweepFolder) -> Result<(), RecordError> {
    for (id, claim) in newest(folder)? {
        let run = folder.run(id);
        if !run.path().exists() {
            close(folder, id, claim)?;
        }
        (1..=claim).for_each(|claim| remove(&folder.attempt(id, claim)));
    }
    let _ = fs::remove_dir(folder.attempts());
    Ok(())
}

/// Makes the folder of a run out of the newest of its attempts that came to something.
fn close(folder: &SweepFolder, id: RunId, newest: u32) -> Result<(), RecordError> {
    // Of a number of its own: a kill on the way leaves one attempt more.
    let fresh = folder.attempt(id, newest + 1);
    fs::create_dir(fresh.path()).map_err(RecordError::io("create", fresh.path()))?;
    for attempt in (1..=newest).rev().map(|claim| folder.attempt(id, claim)) {
        // A worker writes its result last: nobody is at work in that folder.
        let settled = attempt.result().exists().then_some(&attempt);
        let adopted = match settled {
            None => checkpoint::adopt(&attempt, &fresh)?.map(|_| &fresh),
            some => some,
        };
        crash_point();
        if let Some(from) = adopted {
            let run = folder.run(id);
            fs::rename(from.path(), run.path()).map_err(RecordError::io("move", from.path()))?;
            break;
        }
    }
    remove(&fresh);
    Ok(())
}

/// Those who have runs and have not said that they left, by what is on disk.
///
/// # Errors
/// What the system refuses.
pub fn owners(folder: &SweepFolder) -> Result<BTreeSet<String>, RecordError> {
    let mut owners = BTreeSet::new();
    for (id, claim) in newest(folder)? {
        let claim = read_claim(&folder.attempt(id, claim))?;
        owners.extend(claim.and_then(|claim| claim.owner));
    }
    owners.retain(|owner| !folder.pilot(owner).left().exists());
    Ok(owners)
}

/// The newest claim on every run under way.
///
/// # Errors
/// What the system refuses.
pub fn newest(folder: &SweepFolder) -> Result<BTreeMap<RunId, u32>, RecordError> {
    let attempts = folder.attempts();
    let mut newest = BTreeMap::new();
    let entries = match fs::read_dir(&attempts) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(newest),
        Err(error) => return Err(RecordError::io("read", &attempts)(error)),
    };
    for entry in entries {
        let name = entry.map_err(RecordError::io("read", &attempts))?.file_name();
        if let Some((id, claim)) = name.to_str().and_then(claim_of) {
            let known = newest.entry(id).or_insert(claim);
            *known = claim.max(*known);
        }
    }
    Ok(newest)
}

/// Whose a run under way is; `None` where nobody has said so yet, or so that it cannot be read.
///
/// # Errors
/// What the system refuses, or a claim of a newer program.
pub fn read_claim(folder: &RunFolder) -> Result<Option<Claim>, RecordError> {
    match atomic::read_json(&folder.claim(), CLAIM_FORMAT) {
        Err(RecordError::Damaged { .. }) => Ok(None),
        other => other,
    }
}

fn write_claim(folder: &RunFolder, claim: &Claim) -> Result<(), RecordError> {
    atomic::replace_json(&folder.claim(), claim, Durability::Derived)
}

/// Whoever wants it may have it.
fn give_back(folder: &RunFolder) -> Result<(), RecordError> {
    write_claim(folder, &Claim::free())
}

/// A folder that will not go harms nothing.
fn remove(folder: &RunFolder) {
    let _ = fs::remove_dir_all(folder.path());
}

/// Is there a folder with files already?
fn is_taken(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists)
}

/// Does `path` exist? Network file systems remember for a while that a name did not; opening the folder
/// makes them ask again.
fn is_there(path: &Path) -> bool {
    path.exists() || {
        let _ = path.parent().map(File::open);
        path.exists()
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
