//! Brings a data set into memory, from the program, the cache or the generator.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::spec::RunConfig;
use crate::spec::catalogue::{CanonicalFile, Content, Download, Part, Supply};
use crate::spec::dataset::Dataset;

use super::error::{Damage, DataError};
use super::folder::{ImageFolder, Wanted};
use super::splits::{DataSplits, Images};
use super::statistics::{self, Statistics};
use super::{cifar, embedded, idx, split, synthetic};

/// Loads a data set: pixels of shape (N, C, H, W) as bytes, labels below the number of classes.
///
/// `validation_fraction` of the published training images, rounded, become the validation part, the
/// same ones in every call; a data set with a validation part of its own ignores it. Fetched files
/// are looked for in `data_dir/cache/<name of the data set>/`. Checksums are not checked here, since
/// every worker process starts with this; sizes, headers and labels are. The images of a folder are
/// decoded into the cache if they are not there yet.
///
/// # Errors
/// If a file is missing, cannot be read or is not what the catalogue says, if a part of the split
/// would be empty, if generated images would not fit into memory, or if a folder is no data set.
pub fn load(
    dataset: &Dataset,
    validation_fraction: f64,
    data_dir: &Path,
) -> Result<DataSplits, DataError> {
    if let Dataset::Synthetic { train, val, test, classes, .. } = dataset {
        let counts = [train, val, test].map(|n| *n as usize);
        return synthetic::generate(counts, dataset.image_shape(), *classes as usize);
    }
    if let Dataset::ImageFolder { path, channels, test_fraction, .. } = dataset {
        let [_, side, _] = dataset.image_shape();
        let channels = *channels as usize;
        let test_fraction = *test_fraction;
        let wanted = Wanted { channels, side, test_fraction, validation_fraction };
        return ImageFolder::open(path, data_dir)?.load(&wanted);
    }
    let shelf = Shelf { dataset, data_dir };
    let mut train = shelf.part(Part::Train)?;
    let test = shelf.part(Part::Test)?;
    let val = split::set_aside(&mut train, validation_fraction)?;
    let Statistics { mean, std } = statistics::published(dataset)
        .unwrap_or_else(|| statistics::measure(&train.pixels, dataset.image_shape()));
    let (shape, classes) = (dataset.image_shape(), dataset.classes());
    Ok(DataSplits { shape, classes, mean, std, train, val, test })
}

/// Loads what a run of `config` trains on, validates on and tests on: as [`load`], with the part of
/// the training images that `train_fraction` leaves.
///
/// # Errors
/// As [`load`], and if no training image is left.
pub fn load_parts(config: &RunConfig, data_dir: &Path) -> Result<DataSplits, DataError> {
    let mut splits = load(&config.dataset, config.validation_fraction, data_dir)?;
    split::thin(&mut splits.train, config.train_fraction)?;
    Ok(splits)
}

/// Looks whether every file of a data set is where [`load`] would read it, without reading any.
///
/// # Errors
/// If a file is missing, or if the system does not say.
pub fn check_present(dataset: &Dataset, data_dir: &Path) -> Result<(), DataError> {
    let Supply::Cached(download) = dataset.supply() else { return Ok(()) };
    let shelf = Shelf { dataset, data_dir };
    dataset.files().iter().try_for_each(|file| shelf.find(download, file).map(drop))
}

/// Looks whether a data set is still what it was when `fingerprint` was taken. That can change for
/// folders of images only.
///
/// # Errors
/// If it has changed, or is no data set any more.
pub fn check_unchanged(
    dataset: &Dataset,
    data_dir: &Path,
    fingerprint: &str,
) -> Result<(), DataError> {
    let Dataset::ImageFolder { path, .. } = dataset else { return Ok(()) };
    let found = ImageFolder::open(path, data_dir)?.facts().fingerprint;
    if found == fingerprint {
        return Ok(());
    }
    let folder = data_dir.join(path.path());
    Err(DataError::Changed { folder, planned: fingerprint.to_owned(), found })
}

/// The files of one data set.
struct Shelf<'a> {
    dataset: &'a Dataset,
    data_dir: &'a Path,
}

impl Shelf<'_> {
    fn part(&self, part: Part) -> Result<Images, DataError> {
        let [_, rows, columns] = self.dataset.image_shape();
        let classes = self.dataset.classes();
        let mut images = Images::default();
        let files = || self.dataset.files().iter().filter(|file| file.part == part);
        let records = files().filter(|file| file.content == Content::CifarRecords);
        let total: usize = records.map(|file| file.images).sum();
        images
            .pixels
            .to_mut()
            .reserve_exact(total * self.dataset.image_shape().iter().product::<usize>());
        let mut buffer = Vec::new();
        for file in files() {
            let bytes = self.bytes(file, buffer)?;
            match file.content {
                Content::IdxImages => idx::images(&bytes, file.images, [rows, columns])
                    .map(|p| images.pixels = p.into()),
                Content::IdxLabels => {
                    idx::labels(&bytes, file.images, classes).map(|l| images.labels = l)
                }
                Content::CifarRecords => cifar::append(&bytes, file.images, classes, &mut images),
            }
            .map_err(|damage| self.damaged(file, damage))?;
            // The next file goes into the same memory.
            buffer = match bytes {
                Cow::Owned(bytes) => bytes,
                Cow::Borrowed(_) => Vec::new(),
            };
        }
        Ok(images)
    }

    /// The bytes of a file; `buffer` is used where memory is needed.
    fn bytes(
        &self,
        file: &CanonicalFile,
        mut buffer: Vec<u8>,
    ) -> Result<Cow<'static, [u8]>, DataError> {
        let Supply::Cached(download) = self.dataset.supply() else {
            return Ok(Cow::Borrowed(embedded::bytes(file.name)));
        };
        let path = self.find(download, file)?;
        let read = |source| DataError::Read { path: path.clone(), source };
        let opened = File::open(&path).map_err(read)?;
        buffer.clear();
        buffer.reserve_exact(file.bytes as usize + 1);
        // One byte more than there should be tells a longer file, however long it is.
        opened.take(file.bytes + 1).read_to_end(&mut buffer).map_err(read)?;
        if buffer.len() as u64 != file.bytes {
            let found = match std::fs::metadata(&path) {
                Ok(metadata) => format!("{} bytes", metadata.len()),
                Err(_) => "another size".to_owned(),
            };
            let damage = Damage::new(format!("{} bytes", file.bytes), found);
            return Err(self.damaged(file, damage));
        }
        Ok(Cow::Owned(buffer))
    }

    /// Where a file is.
    fn find(&self, download: &Download, file: &CanonicalFile) -> Result<PathBuf, DataError> {
        for path in download.places(self.data_dir, file) {
            if exists(&path)? {
                return Ok(path);
            }
        }
        let folder = download.folder(self.data_dir);
        Err(DataError::Missing { dataset: self.dataset.kind(), folder, file: file.name })
    }

    fn damaged(&self, file: &CanonicalFile, damage: Damage) -> DataError {
        let path = match self.dataset.supply() {
            Supply::Cached(download) => self.find(download, file).ok(),
            _ => None,
        };
        let file = path.map_or_else(|| file.name.to_owned(), |path| path.display().to_string());
        DataError::Damaged { dataset: self.dataset.kind(), file, damage }
    }
}

fn exists(path: &Path) -> Result<bool, DataError> {
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(false)
        }
        Err(source) => Err(DataError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn embedded_sets_load_from_any_folder() {
        let nowhere = Path::new("/there/is/no/such/folder");
        for (dataset, train, val, test) in
            [(Dataset::Mnist10k, 9000, 1000, 2000), (Dataset::FashionMnist5k, 4500, 500, 1000)]
        {
            let splits = load(&dataset, 0.1, nowhere).unwrap();
            for (part, n) in [(&splits.train, train), (&splits.val, val), (&splits.test, test)] {
                assert_eq!((part.len(), part.pixels.len()), (n, n * 28 * 28));
            }
            assert_eq!((splits.shape, splits.classes), ([1, 28, 28], 10));
            // The first N images of each class, in the published order.
            let mut counts = [0; 10];
            splits.test.labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
            assert_eq!(counts, [test / 10; 10]);
        }
    }

    #[test]
    fn images_carry_their_published_labels() {
        // The first test labels of both sets, as every copy of them begins.
        let first =
            |dataset| load(&dataset, 0.5, Path::new("")).unwrap().test.labels[..10].to_vec();
        assert_eq!(first(Dataset::Mnist10k), [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
        assert_eq!(first(Dataset::FashionMnist5k), [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]);
    }

    #[test]
    fn a_set_that_is_not_there_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        for dataset in [Dataset::Mnist, Dataset::Cifar10] {
            let error = load(&dataset, 0.1, folder.path()).unwrap_err();
            let name = dataset.kind();
            assert_eq!(
                error.to_string(),
                format!(
                    "data set `{name}` is not in {}: `{}` is missing; get it with \
                     `gridlane data fetch {name}` or `just data {name}`",
                    folder.path().join("cache").join(name).display(),
                    dataset.files()[0].name,
                )
            );
        }
    }

    #[test]
    fn damaged_files_are_named_with_what_was_expected_and_found() {
        let folder = tempfile::tempdir().unwrap();
        let mnist = folder.path().join("cache/mnist");
        fs::create_dir_all(&mnist).unwrap();
        let images = mnist.join("train-images-idx3-ubyte.gz");
        let mut report = Vec::new();
        let mut note = || {
            let text = load(&Dataset::Mnist, 0.1, folder.path()).unwrap_err().to_string();
            report.push(text.replace(&folder.path().display().to_string(), "DATA"));
        };
        fs::write(&images, "short").unwrap();
        note();
        fs::write(&images, vec![0; 9_912_423]).unwrap();
        note();
        fs::write(&images, vec![0; 9_912_422]).unwrap();
        note();
        fs::remove_file(&images).unwrap();
        fs::create_dir(&images).unwrap();
        note();
        insta::assert_snapshot!(report.join("\n"));
    }

    #[test]
    fn cifar_is_found_in_both_places_and_split() {
        let folder = tempfile::tempdir().unwrap();
        let outer = folder.path().join("cache/cifar10");
        let inner = outer.join("cifar-10-batches-bin");
        fs::create_dir_all(&inner).unwrap();
        // Files with holes: all zero but for the first label, at no cost of disk.
        let write = |path: &Path, at: u64, label: u8| {
            let mut file =
                fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            file.set_len(30_730_000)?;
            file.seek(io::SeekFrom::Start(at))?;
            file.write_all(&[label])
        };
        for (n, file) in Dataset::Cifar10.files().iter().enumerate() {
            let folder = if n % 2 == 0 { &inner } else { &outer };
            write(&folder.join(file.name), 0, n as u8).unwrap();
        }
        let splits = load(&Dataset::Cifar10, 0.2, folder.path()).unwrap();
        let lengths = [splits.train.len(), splits.val.len(), splits.test.len()];
        assert_eq!(lengths, [40_000, 10_000, 10_000]);
        assert_eq!(splits.test.labels[..2], [5, 0]);
        let labels = splits.train.labels.iter().chain(&splits.val.labels);
        assert_eq!(labels.map(|label| u32::from(*label)).sum::<u32>(), 1 + 2 + 3 + 4);

        write(&outer.join("test_batch.bin"), 3073 * 7, 10).unwrap();
        let text = load(&Dataset::Cifar10, 0.2, folder.path()).unwrap_err().to_string();
        assert!(text.contains("expected labels below 10, found label 10 of image 7"), "{text}");
    }

    /// Run by hand where the full sets are in the cache:
    /// `GRIDLANE_TEST_DATA=data cargo test full_sets -- --ignored`.
    #[test]
    #[ignore = "needs the full data sets on the disk"]
    fn full_sets_load_and_have_their_constants() {
        let data_dir = std::env::var_os("GRIDLANE_TEST_DATA").unwrap_or_else(|| "data".into());
        for dataset in [Dataset::Mnist, Dataset::FashionMnist, Dataset::Cifar10] {
            let splits = load(&dataset, 0.1, data_dir.as_ref()).unwrap();
            let found = statistics::measure(&splits.train.pixels, splits.shape);
            for channel in 0..splits.shape[0] {
                assert!((found.mean[channel] - splits.mean[channel]).abs() < 0.002, "{found:?}");
                assert!((found.std[channel] - splits.std[channel]).abs() < 0.002, "{found:?}");
            }
            assert_eq!(splits.train.len() + splits.val.len(), dataset.training_images());
            assert_eq!(splits.test.len(), 10_000);
        }
    }
}
