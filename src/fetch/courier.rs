//! Fetches the files of a data set: what is there and good stays, the rest comes from the first
//! mirror that gives the right bytes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ureq::Agent;

use crate::spec::catalogue::{CanonicalFile, Origin, Supply};
use crate::spec::dataset::Dataset;

use super::archive::Unpacking;
use super::download::{self, Expected, Failure, download};
use super::error::{FetchError, MirrorError};
use super::staged::StagedFile;
use super::verify::{FileState, inspect};

/// What a fetch is doing.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A file is there already and good.
    Kept {
        /// Name of the file.
        file: &'a str,
    },
    /// A download begins.
    Started {
        /// The address.
        url: &'a str,
        /// Size in bytes.
        bytes: u64,
    },
    /// Bytes have arrived.
    Received {
        /// Bytes of the current download so far.
        received: u64,
        /// Size in bytes.
        bytes: u64,
    },
    /// A mirror failed; the next one is tried, if there is one.
    MirrorFailed {
        /// The address.
        url: &'a str,
        /// Why.
        error: &'a MirrorError,
    },
    /// A file is on the disk and good.
    Stored {
        /// Name of the file.
        file: &'a str,
    },
}

/// What a fetch has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files that were there already and good.
    pub kept: Vec<&'static str>,
    /// Files that are new or replace damaged ones.
    pub stored: Vec<&'static str>,
}

/// Fetches a data set into `data_dir/cache/<name of the data set>/` from its official mirrors. Data
/// sets that are part of the program or generated need nothing.
///
/// A second fetch into the same folder waits for the first one. It can be interrupted at any moment:
/// no file ever has its name before all its bytes are on the disk and right.
///
/// # Errors
/// If no mirror gives a file, or if the disk does not take it.
pub fn fetch(
    dataset: &Dataset,
    data_dir: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Fetched, FetchError> {
    let Supply::Cached(download) = dataset.supply() else { return Ok(Fetched::default()) };
    let mirrors: Vec<String> = download.mirrors.iter().map(|&mirror| mirror.to_owned()).collect();
    fetch_from(dataset, data_dir, &mirrors, progress)
}

/// Like [`fetch`], from other mirrors: addresses of a folder with the files (with a slash at its
/// end) or of the archive, tried in turn. The checksums stay those of the catalogue.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_from(
    dataset: &Dataset,
    data_dir: &Path,
    mirrors: &[String],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Fetched, FetchError> {
    let Supply::Cached(download) = dataset.supply() else { return Ok(Fetched::default()) };
    let order = Order {
        folder: download.folder(data_dir),
        files: dataset.files(),
        places: &|file| download.places(data_dir, file),
        origin: download.origin,
        mirrors,
    };
    Courier { agent: download::agent(), order, progress }.run()
}

/// What to bring, from where, to where.
struct Order<'a> {
    folder: PathBuf,
    files: &'a [CanonicalFile],
    /// Where a file may be already.
    places: &'a dyn Fn(&CanonicalFile) -> Vec<PathBuf>,
    origin: Origin,
    mirrors: &'a [String],
}

struct Courier<'a> {
    agent: Agent,
    order: Order<'a>,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Courier<'_> {
    fn run(mut self) -> Result<Fetched, FetchError> {
        let folder = self.order.folder.clone();
        fs::create_dir_all(&folder).map_err(FetchError::disk("create", &folder))?;
        let lock = folder.join(".lock");
        // The lock goes with the file handle, also if this process is killed.
        let held = File::create(&lock).map_err(FetchError::disk("create", &lock))?;
        held.lock().map_err(FetchError::disk("lock", &lock))?;

        let mut fetched = Fetched::default();
        let mut wanted = Vec::new();
        for file in self.order.files {
            if inspect(file, &(self.order.places)(file))?.state == FileState::Good {
                (self.progress)(Progress::Kept { file: file.name });
                fetched.kept.push(file.name);
            } else {
                wanted.push(*file);
            }
        }
        if wanted.is_empty() {
            return Ok(fetched);
        }
        match self.order.origin {
            Origin::Files => self.bring_files(&wanted)?,
            Origin::Archive { bytes, sha256, folder } => {
                self.bring_archive(Expected { bytes, sha256 }, folder, &wanted)?;
            }
        }
        fetched.stored = wanted.iter().map(|file| file.name).collect();
        Ok(fetched)
    }

    fn bring_files(&mut self, wanted: &[CanonicalFile]) -> Result<(), FetchError> {
        for file in wanted {
            let expected = Expected { bytes: file.bytes, sha256: file.sha256 };
            let mirrors = self.order.mirrors.iter();
            let urls: Vec<String> = mirrors.map(|base| format!("{base}{}", file.name)).collect();
            let staged = self.bring(file.name, &urls, expected)?;
            let target = self.order.folder.join(file.name);
            staged.keep().map_err(FetchError::disk("write", &target))?;
            (self.progress)(Progress::Stored { file: file.name });
        }
        Ok(())
    }

    fn bring_archive(
        &mut self,
        expected: Expected,
        inner: &str,
        wanted: &[CanonicalFile],
    ) -> Result<(), FetchError> {
        let name = format!("{inner}.tar.gz");
        let mut staged = self.bring(&name, self.order.mirrors, expected)?;
        let path = staged.path().to_owned();
        let bytes = staged.rewind().map_err(FetchError::disk("read", &path))?;
        let progress = &mut *self.progress;
        Unpacking { archive: &name, inner, wanted, folder: &self.order.folder }
            .run(bytes, &mut |file| progress(Progress::Stored { file }))
    }

    /// Downloads from the first of `urls` that gives the right bytes.
    fn bring(
        &mut self,
        name: &str,
        urls: &[String],
        expected: Expected,
    ) -> Result<StagedFile, FetchError> {
        let folder = &self.order.folder;
        let mut attempts = Vec::new();
        for url in urls {
            let mut staged = StagedFile::create(folder, name)
                .map_err(FetchError::disk("create", &folder.join(name)))?;
            let bytes = expected.bytes;
            (self.progress)(Progress::Started { url, bytes });
            let progress = &mut *self.progress;
            let mut received = |received| progress(Progress::Received { received, bytes });
            match download(&self.agent, url, expected, &mut staged, &mut received) {
                Ok(()) => return Ok(staged),
                Err(Failure::Here(error)) => return Err(error),
                Err(Failure::Mirror(error)) => {
                    (self.progress)(Progress::MirrorFailed { url, error: &error });
                    attempts.push((url.clone(), error));
                }
            }
        }
        Err(FetchError::NoMirror { file: name.to_owned(), attempts, folder: folder.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flate2::{Compression, write::GzEncoder};
    use sha2::{Digest, Sha256};

    use super::super::staged::hex;
    use super::super::test_server::{Answer, serve};
    use super::*;
    use crate::spec::catalogue::{Content, Part};

    fn sha256(bytes: &[u8]) -> &'static str {
        Box::leak(hex(Sha256::new_with_prefix(bytes)).into_boxed_str())
    }

    fn file(name: &'static str, bytes: &[u8]) -> CanonicalFile {
        let (part, content) = (Part::Train, Content::IdxLabels);
        let (length, sha256) = (bytes.len() as u64, sha256(bytes));
        CanonicalFile { name, bytes: length, sha256, part, content, images: 1 }
    }

    /// Fetches `files` into `folder`; gives the outcome and the steps on the way.
    fn fetched(
        folder: &Path,
        files: &[CanonicalFile],
        origin: Origin,
        mirrors: &[String],
    ) -> (Result<Fetched, FetchError>, Vec<String>) {
        let mut steps = Vec::new();
        let mut progress = |step: Progress<'_>| match step {
            Progress::Kept { file } => steps.push(format!("kept {file}")),
            Progress::Started { .. } => steps.push("started".to_owned()),
            Progress::Received { .. } => {}
            Progress::MirrorFailed { error, .. } => steps.push(error.to_string()),
            Progress::Stored { file } => steps.push(format!("stored {file}")),
        };
        let order = Order {
            folder: folder.to_owned(),
            files,
            places: &|file| vec![folder.join(file.name)],
            origin,
            mirrors,
        };
        let courier = Courier { agent: download::direct_agent(), order, progress: &mut progress };
        (courier.run(), steps)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn files_come_from_the_mirror_once() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (vec![1; 200_000], vec![2; 10]);
        let server = serve(BTreeMap::from([
            ("/a.gz", Answer::Whole(a.clone())),
            ("/b.gz", Answer::Whole(b.clone())),
        ]));
        let files = [file("a.gz", &a), file("b.gz", &b)];
        let mirrors = [format!("{server}/")];
        fs::write(folder.path().join("b.gz"), "damaged").unwrap();

        let (result, steps) = fetched(folder.path(), &files, Origin::Files, &mirrors);
        assert_eq!(result.unwrap().stored, ["a.gz", "b.gz"]);
        assert_eq!(steps, ["started", "stored a.gz", "started", "stored b.gz"]);
        assert_eq!(fs::read(folder.path().join("a.gz")).unwrap(), a);
        assert_eq!(fs::read(folder.path().join("b.gz")).unwrap(), b);
        assert_eq!(names(folder.path()), ["a.gz", "b.gz"]);

        let (result, steps) = fetched(folder.path(), &files, Origin::Files, &[]);
        assert_eq!(result.unwrap().kept, ["a.gz", "b.gz"]);
        assert_eq!(steps, ["kept a.gz", "kept b.gz"]);
    }

    #[test]
    fn every_bad_mirror_is_passed_over_and_named() {
        let right = vec![7; 5000];
        let mut wrong = right.clone();
        wrong[2500] = 8;
        let server = serve(BTreeMap::from([
            ("/wrong/a.gz", Answer::Whole(wrong)),
            ("/short/a.gz", Answer::Whole(vec![7; 4999])),
            ("/cut/a.gz", Answer::Cut(right.clone())),
            ("/endless/a.gz", Answer::Endless(vec![7; 1000])),
            ("/good/a.gz", Answer::Whole(right.clone())),
            ("/moved/a.gz", Answer::Redirect("/good/a.gz".to_owned())),
            ("/circle/a.gz", Answer::Redirect("/circle/a.gz".to_owned())),
        ]));
        let bad = ["gone", "wrong", "short", "cut", "endless", "circle"];
        let at = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("{server}/{name}/")).collect()
        };
        let files = [file("a.gz", &right)];

        let folder = tempfile::tempdir().unwrap();
        let (result, steps) = fetched(folder.path(), &files, Origin::Files, &at(&bad));
        let text = result.unwrap_err().to_string();
        let text = text.replace(&server, "SERVER");
        insta::assert_snapshot!(text.replace(&folder.path().display().to_string(), "FOLDER"));
        assert_eq!(steps.iter().filter(|step| *step == "started").count(), bad.len());
        assert!(names(folder.path()).is_empty());

        for name in bad {
            let folder = tempfile::tempdir().unwrap();
            let mirrors = at(&[name, "moved"]);
            let (result, _) = fetched(folder.path(), &files, Origin::Files, &mirrors);
            assert_eq!(result.unwrap().stored, ["a.gz"]);
            assert_eq!(fs::read(folder.path().join("a.gz")).unwrap(), right);
        }
    }

    #[test]
    fn an_archive_is_unpacked_and_removed() {
        let (a, b) = (vec![1; 3000], vec![2; 10]);
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, bytes) in [("in/b.bin", &b), ("in/readme", &vec![0; 99]), ("in/a.bin", &a)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
        let gz = tar.into_inner().unwrap().finish().unwrap();
        let origin = Origin::Archive { bytes: gz.len() as u64, sha256: sha256(&gz), folder: "in" };
        let server = serve(BTreeMap::from([("/x.tar.gz", Answer::Whole(gz))]));
        let mirrors = [format!("{server}/gone.tar.gz"), format!("{server}/x.tar.gz")];
        let files = [file("a.bin", &a), file("b.bin", &b)];
        let folder = tempfile::tempdir().unwrap();

        let (result, _) = fetched(folder.path(), &files, origin, &mirrors);
        assert_eq!(result.unwrap().stored, ["a.bin", "b.bin"]);
        assert_eq!(names(folder.path()), ["a.bin", "b.bin"]);
        fs::remove_file(folder.path().join("a.bin")).unwrap();
        let (result, _) = fetched(folder.path(), &files, origin, &mirrors);
        let result = result.unwrap();
        assert_eq!((result.kept, result.stored), (vec!["b.bin"], vec!["a.bin"]));
        assert_eq!(fs::read(folder.path().join("a.bin")).unwrap(), a);
    }

    #[test]
    fn what_an_interrupted_download_left_does_not_disturb() {
        let bytes = vec![3; 100];
        let server = serve(BTreeMap::from([("/a.gz", Answer::Whole(bytes.clone()))]));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".a.gz.part"), vec![0; 1000]).unwrap();
        let mirrors = [format!("{server}/")];
        let (result, _) = fetched(folder.path(), &[file("a.gz", &bytes)], Origin::Files, &mirrors);
        result.unwrap();
        assert_eq!(names(folder.path()), ["a.gz"]);
    }

    #[test]
    fn a_disk_that_refuses_ends_the_fetch() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        let (result, _) = fetched(&in_the_way, &[file("a.gz", b"x")], Origin::Files, &[]);
        assert!(matches!(result.unwrap_err(), FetchError::Disk { action: "create", .. }));
    }

    #[test]
    fn sets_inside_the_program_need_nothing() {
        let nowhere = Path::new("/nowhere");
        let fetched = fetch(&Dataset::Mnist10k, nowhere, &mut |_| panic!("nothing to do"));
        assert_eq!(fetched.unwrap(), Fetched::default());
    }
}
