//! Folders of images, as torchvision's `ImageFolder` takes them.
//!
//! A folder's path comes in; its facts for the planner ([`ImageFolder::facts`]), its decoded images
//! in the cache ([`ImageFolder::prepare`]) and its three parts in memory ([`ImageFolder::load`]) come
//! out. Everything between a file and its bytes is decided here and explained in
//! `docs/design/data.md`.

mod decode;
mod index;
mod jpeg;
mod pixels;
mod place;
mod problem;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use decode::Form;
use pixels::Moments;
use place::Place;
pub use problem::Problems;
pub use scan::IGNORED;
use scan::Listing;

use super::error::DataError;
use super::split::{self, Cut};
use super::splits::{DataSplits, Images};
use super::statistics::Statistics;
use crate::record::{Lock, RecordError, atomic};
use crate::spec::folder::{Folder, FolderFacts};

/// A folder of images, looked into: what is there and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    listing: Listing,
    place: Place,
    fingerprint: String,
}

impl ImageFolder {
    /// Looks into `folder`, whose path counts from `data_dir`. Files that are not known yet are read
    /// and hashed; no image is decoded.
    ///
    /// # Errors
    /// Everything about the folder that keeps it from being a data set.
    pub fn open(folder: &Folder, data_dir: &Path) -> Result<Self, DataError> {
        let listing = scan::list(&data_dir.join(folder.path()))?;
        let place = Place::new(data_dir, &listing.root);
        let fingerprint = index::fingerprint(&listing, &place)?;
        Ok(Self { listing, place, fingerprint })
    }

    /// What the planner needs to know.
    pub fn facts(&self) -> FolderFacts {
        let [train, val, test] = self.listing.parts.each_ref().map(Vec::len);
        FolderFacts {
            fingerprint: self.fingerprint.clone(),
            classes: self.listing.classes.len(),
            train,
            val,
            test,
        }
    }

    /// The classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.listing.classes
    }

    /// Images of a class in `train/` (or in all), `val/` and `test/`.
    pub fn counts(&self, class: usize) -> [usize; 3] {
        let of_class = |part: &Vec<scan::File>| {
            part.iter().filter(|file| usize::from(file.label) == class).count()
        };
        self.listing.parts.each_ref().map(of_class)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.listing.parts.iter().flatten().map(|file| file.stamp.size).sum()
    }

    /// Where the decoded images are, of `channels` and with sides of `side` px.
    pub fn cache(&self, channels: usize, side: usize) -> PathBuf {
        self.place.pixels(&self.fingerprint, Form { channels, side })
    }

    /// Decodes the images, unless they are in the cache. Of several processes that want the same,
    /// one decodes and the others wait. `progress` is told how many are done.
    ///
    /// # Errors
    /// The images that cannot be decoded, or what the system refuses.
    pub fn prepare(
        &self,
        channels: usize,
        side: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), DataError> {
        let form = Form { channels, side };
        let path = self.cache(channels, side);
        if pixels::is_there(&path, form, self.images()) {
            return Ok(());
        }
        let _lock = self.lock()?;
        if pixels::is_there(&path, form, self.images()) {
            return Ok(());
        }
        self.decode(form, progress)
    }

    fn images(&self) -> usize {
        self.listing.parts.iter().map(Vec::len).sum()
    }

    fn lock(&self) -> Result<Lock, DataError> {
        let folder = self.place.decoded();
        std::fs::create_dir_all(&folder).map_err(RecordError::io("create", &folder))?;
        Ok(Lock::wait(&self.place.lock())?)
    }

    /// Makes the cache anew; the lock is held.
    fn decode(&self, form: Form, progress: &mut dyn FnMut(usize)) -> Result<(), DataError> {
        let folder = self.place.decoded();
        atomic::remove_litter(&folder);
        self.remove_outdated();
        pixels::write(&self.cache(form.channels, form.side), &self.listing, form, progress)
    }

    /// Decoded images of what the folder held before are of no more use, and they are large.
    fn remove_outdated(&self) {
        let Ok(files) = std::fs::read_dir(self.place.decoded()) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".pixels") && !name.starts_with(&self.fingerprint) {
                // One that will not go harms nothing.
                let _ = std::fs::remove_file(file.path());
            }
        }
    }

    /// The three parts: those of the folder, or cut from `train/` where it has none.
    ///
    /// # Errors
    /// Images that cannot be decoded, a part that would be empty, or what the system refuses.
    pub fn load(&self, wanted: &Wanted) -> Result<DataSplits, DataError> {
        let Wanted { channels, side, .. } = *wanted;
        let form = Form { channels, side };
        self.prepare(channels, side, &mut |_| {})?;
        let owners = self.owners(wanted)?;
        if let Some(splits) = self.read(form, &owners)? {
            return Ok(splits);
        }
        // The cache is damaged: whoever comes first makes it again.
        let _lock = self.lock()?;
        if let Some(splits) = self.read(form, &owners)? {
            return Ok(splits);
        }
        self.decode(form, &mut |_| {})?;
        self.read(form, &owners)?
            .ok_or_else(|| DataError::Unstable { path: self.cache(channels, side) })
    }

    /// Which part every image goes to: 0 training, 1 validation, 2 test.
    fn owners(&self, wanted: &Wanted) -> Result<Vec<u8>, DataError> {
        let [train, val, test] = self.listing.parts.each_ref().map(Vec::len);
        let mut owners = vec![0_u8; train];
        if test == 0 {
            let aside = split::aside(train, wanted.test_fraction, Cut::Test)?;
            owners.iter_mut().zip(aside).for_each(|(owner, aside)| *owner = 2 * u8::from(aside));
        }
        if val == 0 {
            let left: Vec<usize> = (0..train).filter(|&image| owners[image] == 0).collect();
            let aside = split::aside(left.len(), wanted.validation_fraction, Cut::Validation)?;
            left.iter().zip(aside).for_each(|(&image, aside)| owners[image] = u8::from(aside));
        }
        owners.extend(std::iter::repeat_n(1, val));
        owners.extend(std::iter::repeat_n(2, test));
        Ok(owners)
    }

    /// Every image goes from the file straight into its part: nothing is held twice.
    fn read(&self, form: Form, owners: &[u8]) -> Result<Option<DataSplits>, DataError> {
        let mut parts = [0_u8, 1, 2].map(|part| {
            let images = owners.iter().filter(|owner| **owner == part).count();
            (Vec::with_capacity(images * form.bytes()), Vec::with_capacity(images))
        });
        for (file, &owner) in self.listing.parts.iter().flatten().zip(owners) {
            parts[usize::from(owner)].1.push(file.label);
        }
        let path = self.cache(form.channels, form.side);
        let moments = pixels::read(&path, form, owners.len(), &mut |image, bytes| {
            parts[usize::from(owners[image])].0.extend_from_slice(bytes);
        })?;
        let Some(moments) = moments else { return Ok(None) };
        // As for published sets: over the training images before a validation part is set aside.
        let trained = |image: &usize| *image < self.listing.parts[0].len() && owners[*image] != 2;
        let trained: Vec<usize> = (0..owners.len()).filter(trained).collect();
        let Statistics { mean, std } = statistics(&moments, &trained, form);
        let shape = [form.channels, form.side, form.side];
        let [train, val, test] =
            parts.map(|(pixels, labels)| Images { pixels: Cow::Owned(pixels), labels });
        let classes = self.listing.classes.len();
        Ok(Some(DataSplits { shape, classes, mean, std, train, val, test }))
    }
}

/// What of a folder is wanted in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// 1 or 3.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
    /// Part of `train/` that is tested on where there is no `test/`.
    pub test_fraction: f64,
    /// Part of what is left that is validated on where there is no `val/`.
    pub validation_fraction: f64,
}

/// Mean and deviation of every channel over some images.
fn statistics(moments: &[Moments], images: &[usize], form: Form) -> Statistics {
    let pixels = (images.len() * form.side * form.side) as u64;
    let totals = (0..form.channels).map(|channel| {
        images
            .iter()
            .map(|image| moments[image * form.channels + channel])
            .fold((0, 0), |(sum, squares), m| (sum + m.sum, squares + m.squares))
    });
    Statistics::of_sums(totals, pixels)
}
