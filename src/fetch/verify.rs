//! Are the files in the cache the ones that the catalogue names?

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::spec::catalogue::{CanonicalFile, Supply};
use crate::spec::dataset::Dataset;

use super::error::FetchError;
use super::staged::hex;

/// What was found for each file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The files, in the catalogue's order; none for data sets that need no files.
    pub files: Vec<FileReport>,
}

/// What was found for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Name of the file.
    pub name: &'static str,
    /// Where it is, or where it belongs.
    pub path: PathBuf,
    /// What it is like.
    pub state: FileState,
}

/// What a file in the cache is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// Byte for byte what was published.
    Good,
    /// Not there.
    Missing,
    /// Too short, too long, or not a file.
    WrongSize {
        /// Size in bytes.
        found: u64,
    },
    /// The right size, but other bytes.
    WrongChecksum {
        /// SHA-256 in hexadecimal digits.
        found: String,
    },
}

impl Report {
    /// Is every file good?
    pub fn is_good(&self) -> bool {
        self.files.iter().all(|file| file.state == FileState::Good)
    }
}

/// Reads every file of a data set in the cache and compares it with the catalogue. Data sets that
/// are part of the program or generated have no files to verify.
///
/// # Errors
/// If a file is there but cannot be read.
pub fn verify(dataset: &Dataset, data_dir: &Path) -> Result<Report, FetchError> {
    let Supply::Cached(download) = dataset.supply() else {
        return Ok(Report { files: Vec::new() });
    };
    let mut files = Vec::new();
    for file in dataset.files() {
        files.push(inspect(file, &download.places(data_dir, file))?);
    }
    Ok(Report { files })
}

/// Inspects the first of `places` where there is something.
pub(super) fn inspect(file: &CanonicalFile, places: &[PathBuf]) -> Result<FileReport, FetchError> {
    for path in places {
        let state = state(file, path).map_err(FetchError::disk("read", path))?;
        if state != FileState::Missing {
            return Ok(FileReport { name: file.name, path: path.clone(), state });
        }
    }
    let path = places.first().cloned().unwrap_or_default();
    Ok(FileReport { name: file.name, path, state: FileState::Missing })
}

fn state(file: &CanonicalFile, path: &Path) -> io::Result<FileState> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(FileState::Missing);
        }
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || metadata.len() != file.bytes {
        return Ok(FileState::WrongSize { found: metadata.len() });
    }
    let mut reader = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let found = hex(hasher);
    Ok(if found == file.sha256 { FileState::Good } else { FileState::WrongChecksum { found } })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_file_is_judged() {
        let data = tempfile::tempdir().unwrap();
        let mnist = data.path().join("cache/mnist");
        fs::create_dir_all(&mnist).unwrap();
        fs::write(mnist.join("train-labels-idx1-ubyte.gz"), vec![0; 28_881]).unwrap();
        fs::write(mnist.join("t10k-images-idx3-ubyte.gz"), "short").unwrap();
        let report = verify(&Dataset::Mnist, data.path()).unwrap();
        assert!(!report.is_good());
        let states: Vec<&FileState> = report.files.iter().map(|file| &file.state).collect();
        assert!(matches!(states[1], FileState::WrongChecksum { .. }));
        assert_eq!(states[0], &FileState::Missing);
        assert_eq!(states[2], &FileState::WrongSize { found: 5 });
        assert_eq!(report.files[3].path, mnist.join("t10k-labels-idx1-ubyte.gz"));
    }

    #[test]
    fn files_are_found_where_the_archive_unpacks_to() {
        let data = tempfile::tempdir().unwrap();
        let inner = data.path().join("cache/cifar10/cifar-10-batches-bin");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("test_batch.bin"), "x").unwrap();
        let report = verify(&Dataset::Cifar10, data.path()).unwrap();
        assert_eq!(report.files[5].state, FileState::WrongSize { found: 1 });
    }

    #[test]
    fn sets_without_files_are_good() {
        assert!(verify(&Dataset::Mnist10k, Path::new("/nowhere")).unwrap().is_good());
    }

    /// Run by hand where the full sets are in the cache:
    /// `GRIDLANE_TEST_DATA=data cargo test full_sets -- --ignored`.
    #[test]
    #[ignore = "needs the full data sets on the disk"]
    fn full_sets_are_the_published_ones() {
        let data_dir = std::env::var_os("GRIDLANE_TEST_DATA").unwrap_or_else(|| "data".into());
        for dataset in [Dataset::Mnist, Dataset::FashionMnist, Dataset::Cifar10] {
            let report = verify(&dataset, data_dir.as_ref()).unwrap();
            assert!(report.is_good(), "{report:?}");
        }
    }
}
