//! How dispatchers that share a sweep see that the others live: each has a small file whose text changes.
//!
//! A text is written over in place, at a fixed length: a full disk and a used-up quota have room for what is
//! there already, so a dispatcher that waits for room is not taken for dead. No clock is read here: callers
//! say what time it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::error::RecordError;
use super::layout::SweepFolder;
use super::lock::open_to_write;

/// Longest standstill of one's own that says nothing, where a lease is very short.
const SHORTEST_STANDSTILL: Duration = Duration::from_secs(1);

/// The beat of a dispatcher.
#[derive(Debug)]
pub(super) struct Beat {
    path: PathBuf,
    count: u64,
}

impl Beat {
    /// In this file, which is made.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn start(path: PathBuf) -> Result<Self, RecordError> {
        let mut beat = Self { path, count: 0 };
        beat.strike()?;
        Ok(beat)
    }

    /// Changes the text, and waits until others can see it.
    ///
    /// # Errors
    /// What the system refuses: then nobody has seen it.
    pub(super) fn strike(&mut self) -> Result<(), RecordError> {
        self.count += 1;
        let text = format!("{:020}\n", self.count);
        // Opened anew each time: network file systems show to others what a file held when it was closed.
        let mut file = open_to_write(&self.path)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(RecordError::io("write", &self.path))
    }
}

/// What is known of another dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Its beat was seen to change within a lease.
    Alive,
    /// It has not been watched for long enough.
    Unknown,
    /// It has left, or its beat stood still for a lease.
    Gone,
}

#[derive(Debug)]
struct Watched {
    text: Vec<u8>,
    since: Duration,
    moved: bool,
}

/// The beats of dispatchers, as somebody sees them who lives elsewhere.
#[derive(Debug)]
pub struct Beats {
    folder: SweepFolder,
    lease: Duration,
    watched: BTreeMap<String, Watched>,
    awake: Option<Duration>,
}

impl Beats {
    /// Nothing has been seen yet.
    pub fn new(folder: &SweepFolder, lease: Duration) -> Self {
        Self { folder: folder.clone(), lease, watched: BTreeMap::new(), awake: None }
    }

    /// Notes that whoever watches is awake. One that stood still itself (a server that was away, a job that
    /// was suspended) cannot tell for how long others did, who perhaps stood still with it: they begin anew,
    /// or all would take over each other's runs in the moment in which they all go on.
    pub fn wake(&mut self, now: Duration) {
        let longest = (self.lease / 2).max(SHORTEST_STANDSTILL);
        let stood_still = self.awake.is_some_and(|awake| now.saturating_sub(awake) > longest);
        if stood_still {
            for watched in self.watched.values_mut() {
                (watched.since, watched.moved) = (now, false);
            }
        }
        self.awake = Some(now);
    }

    /// Looks at a dispatcher.
    ///
    /// # Errors
    /// Where its beat is there and cannot be read: that says nothing of whether it lives.
    pub fn look(&mut self, name: &str, now: Duration) -> Result<Life, RecordError> {
        self.wake(now);
        let pilot = self.folder.pilot(name);
        let text = match fs::read(pilot.beat()) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RecordError::io("read", &pilot.beat())(error)),
        };
        if pilot.left().exists() {
            return Ok(Life::Gone);
        }
        let watched = self.watched.entry(name.to_owned()).or_insert_with(|| Watched {
            text: text.clone(),
            since: now,
            moved: false,
        });
        if watched.text != text {
            *watched = Watched { text, since: now, moved: true };
        }
        Ok(match watched.moved {
            _ if now.saturating_sub(watched.since) >= self.lease => Life::Gone,
            true => Life::Alive,
            false => Life::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_needs_no_room_that_it_has_not_got() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("beat");
        let mut beat = Beat::start(path.clone()).unwrap();
        // Neither cut short, which gives the room away for which another may be waiting, nor replaced.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}and more")).unwrap();
        let mut seen = Vec::new();
        for _ in 0..20 {
            beat.strike().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.ends_with("\nand more") && !seen.contains(&text), "{text}");
            seen.push(text);
        }
    }
}
