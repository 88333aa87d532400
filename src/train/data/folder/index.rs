//! What a folder's bytes are: a hash of every file, and of all of them the fingerprint that enters
//! the ids of runs.
//!
//! Hashing means reading everything, so the hashes are kept in a file beside the decoded images, by
//! name, size and times: a folder that has not changed costs a look at each file's times. A file
//! that changed less than two seconds before it was hashed is hashed again the next time, since it
//! may have changed once more within one tick of the file system's clock.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::problem::Problems;
use super::scan::{File, Listing, Stamp};
use crate::record::{Durability, atomic};
use crate::train::data::DataError;

const FORMAT: u32 = 1;

/// A change is settled when it is so much older than the look at it.
const SETTLED_NS: i64 = 2_000_000_000;

/// The index file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    /// Name -> what is known of the file.
    files: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    stamp: Stamp,
    hash: String,
}

/// The fingerprint of all that `listing` names.
///
/// # Errors
/// The files that cannot be read.
pub fn fingerprint(listing: &Listing, place: &Place) -> Result<String, DataError> {
    let began_ns = now_ns();
    let mut known = stored(place);
    let files: Vec<&File> = listing.parts.iter().flatten().collect();
    let hashes: Vec<Result<Known, String>> = files
        .par_iter()
        .map(|file| match known.get(&file.name) {
            Some(known) if known.stamp == file.stamp => Ok(known.clone()),
            _ => Ok(Known { stamp: file.stamp, hash: hash(&listing.root.join(&file.name))? }),
        })
        .collect();
    let mut problems = Problems::default();
    let mut total = Fingerprint::new();
    let mut fresh = BTreeMap::new();
    for (file, found) in files.iter().zip(hashes) {
        match found {
            Ok(found) => {
                total.add(&file.name, &found.hash);
                if found.stamp.changed_ns.max(found.stamp.modified_ns) < began_ns - SETTLED_NS {
                    fresh.insert(file.name.clone(), found);
                }
            }
            Err(why) => problems.add(&file.name, why),
        }
    }
    if !problems.is_empty() {
        return Err(DataError::Folder { folder: listing.root.clone(), problems });
    }
    known.retain(|name, _| fresh.contains_key(name));
    let same = known.len() == fresh.len()
        && known.iter().zip(&fresh).all(|(a, b)| a.0 == b.0 && a.1.stamp == b.1.stamp);
    if !same {
        let index = Index { format: FORMAT, files: fresh };
        // Without it everything is right, only slower; a data folder may be read-only.
        let _ = fs::create_dir_all(place.folder())
            .map(|()| atomic::replace_json(&place.index(), &index, Durability::Derived));
    }
    Ok(total.finish())
}

/// What the index file says; nothing where there is none or it is not to be trusted.
fn stored(place: &Place) -> BTreeMap<String, Known> {
    let index: Option<Index> = atomic::read_json(&place.index(), FORMAT).ok().flatten();
    index.map(|index| index.files).unwrap_or_default()
}

fn hash(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&buffer[..read]),
        };
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Puts the fingerprint together: names say parts and classes, hashes the bytes.
struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    fn new() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"image folder 1\n");
        Self(hasher)
    }

    fn add(&mut self, name: &str, hash: &str) {
        // The length keeps apart what would read the same when written without a gap.
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(hash.as_bytes());
    }

    fn finish(&self) -> String {
        format!("image-folder-{}", &self.0.finalize().to_hex()[..16])
    }
}
