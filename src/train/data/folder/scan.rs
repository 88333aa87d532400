//! Which images are in a folder, and of which class: the layout of torchvision's `ImageFolder`.
//!
//! In: a folder. Out: its classes and its files in a fixed order, or everything that is wrong with
//! it at once. Names and sizes only are looked at here; no image is opened. Nothing that lies in the
//! folder is passed over in silence, but for hidden files and the kinds of [`IGNORED`].

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::problem::Problems;
use crate::train::data::DataError;

/// Files of these kinds may lie beside images.
pub const IGNORED: &[&str] = &[
    "cfg", "csv", "db", "htm", "html", "ini", "json", "log", "md", "npy", "pdf", "pickle", "pkl",
    "py", "rst", "sha256", "toml", "tsv", "txt", "xml", "yaml", "yml",
];

/// Extensions of images.
const IMAGES: &[&str] = &["jpeg", "jpg", "png"];

/// Labels are sixteen bits.
const MOST_CLASSES: usize = 1 << 16;

/// Folders within a class are looked into so deep.
const DEEPEST: usize = 16;

/// An image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from the folder, with slashes.
    pub name: String,
    /// Number of its class.
    pub label: u16,
    /// What tells an edited file from an unchanged one.
    pub stamp: Stamp,
}

/// Size and times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// When its content changed, in ns since 1970.
    pub modified_ns: i64,
    /// When anything about it changed, likewise: a copy that keeps the time of its content still
    /// has a new one of these.
    pub changed_ns: i64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            size: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The folder, absolute and without links.
    pub root: PathBuf,
    /// The classes, sorted by name.
    pub classes: Vec<String>,
    /// The images of `train/` (of everything, where there are no parts), `val/` and `test/`, each
    /// sorted by name.
    pub parts: [Vec<File>; 3],
}

/// Lists `folder`.
///
/// # Errors
/// Everything about the folder that keeps it from being a data set.
pub fn list(folder: &Path) -> Result<Listing, DataError> {
    let root = fs::canonicalize(folder)
        .and_then(|root| {
            if root.is_dir() { Ok(root) } else { Err(std::io::ErrorKind::NotADirectory.into()) }
        })
        .map_err(|cause| DataError::NoFolder { folder: folder.to_owned(), cause })?;
    let mut scan = Scan { root, problems: Problems::default() };
    let (classes, parts) = scan.parts();
    if !scan.problems.is_empty() {
        return Err(DataError::Folder { folder: scan.root, problems: scan.problems });
    }
    Ok(Listing { root: scan.root, classes, parts })
}

/// A file or folder.
struct Entry {
    /// Its path from the root, with slashes.
    name: String,
    path: PathBuf,
    is_folder: bool,
}

impl Entry {
    /// The last part of its name.
    fn own(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

struct Scan {
    root: PathBuf,
    problems: Problems,
}

impl Scan {
    fn parts(&mut self) -> (Vec<String>, [Vec<File>; 3]) {
        let top = self.entries("");
        let folder = |name: &str| top.iter().any(|entry| entry.is_folder && entry.own() == name);
        if !folder("train") || self.folders("train").is_empty() {
            for part in ["train", "val", "test"].into_iter().filter(|part| folder(part)) {
                self.problems.add(
                    part,
                    "expected folders of classes in train/ and, where they exist, val/ and test/, \
                     or folders of classes alone",
                );
            }
            let classes = self.classes("", None);
            let all = self.files(&classes, "");
            return (classes, [all, Vec::new(), Vec::new()]);
        }
        for entry in top.iter().filter(|entry| !["train", "val", "test"].contains(&entry.own())) {
            match entry.is_folder {
                true => self.problems.add(&entry.name, "expected train, val and test only"),
                false => self.refuse_stray(entry),
            }
        }
        let classes = self.classes("train", None);
        let train = self.files(&classes, "train");
        let [val, test] = ["val", "test"].map(|part| {
            if !folder(part) {
                return Vec::new();
            }
            let own = self.classes(part, Some(&classes));
            let found = self.files(&own, part);
            // Its labels are the numbers of the training part's classes.
            let number = |file: File| {
                let label = classes.binary_search(&own[usize::from(file.label)]).ok()?;
                Some(File { label: label as u16, ..file })
            };
            found.into_iter().filter_map(number).collect()
        });
        (classes, [train, val, test])
    }

    /// The sorted names of the class folders in a part; `known` are those that there may be.
    fn classes(&mut self, part: &str, known: Option<&[String]>) -> Vec<String> {
        let mut classes = Vec::new();
        for entry in self.entries(part) {
            if !entry.is_folder {
                self.refuse_stray(&entry);
            } else if known.is_some_and(|known| !known.iter().any(|class| class == entry.own())) {
                self.problems.add(&entry.name, "a class that train/ does not have");
            } else {
                classes.push(entry.own().to_owned());
            }
        }
        let place = if part.is_empty() { "." } else { part };
        match classes.len() {
            0 => self.problems.add(place, "expected a folder for each class, found none"),
            1 if known.is_none() => {
                self.problems.add(place, "expected at least 2 classes, found 1");
            }
            found if found > MOST_CLASSES => {
                let text = format!("expected at most {MOST_CLASSES} classes, found {found}");
                self.problems.add(place, text);
                classes.truncate(MOST_CLASSES);
            }
            _ => {}
        }
        classes
    }

    /// The images of a part's classes.
    fn files(&mut self, classes: &[String], part: &str) -> Vec<File> {
        let mut files = Vec::new();
        for (label, class) in classes.iter().enumerate() {
            let folder = if part.is_empty() { class.clone() } else { format!("{part}/{class}") };
            let before = (files.len(), self.problems.len());
            self.collect(&folder, label as u16, DEEPEST, &mut files);
            if before == (files.len(), self.problems.len()) {
                self.problems.add(&folder, "a class without an image");
            }
            files[before.0..].sort_by(|a, b| a.name.cmp(&b.name));
        }
        files
    }

    fn collect(&mut self, folder: &str, label: u16, depth: usize, files: &mut Vec<File>) {
        if depth == 0 {
            return self.problems.add(folder, "folders lie too deep in each other");
        }
        for entry in self.entries(folder) {
            if entry.is_folder {
                self.collect(&entry.name, label, depth - 1, files);
                continue;
            }
            match kind(&entry.name) {
                Kind::Image => match fs::metadata(&entry.path) {
                    Ok(metadata) => {
                        let stamp = Stamp::of(&metadata);
                        files.push(File { name: entry.name, label, stamp });
                    }
                    Err(error) => {
                        self.problems.add(&entry.name, format!("cannot be read: {error}"));
                    }
                },
                Kind::Ignored => {}
                Kind::Other => self.refuse_kind(&entry.name),
            }
        }
    }

    /// A file outside of all classes: an image there was meant to be in one.
    fn refuse_stray(&mut self, entry: &Entry) {
        match kind(&entry.name) {
            Kind::Image => self.problems.add(&entry.name, "an image outside of the class folders"),
            Kind::Ignored => {}
            Kind::Other => self.refuse_kind(&entry.name),
        }
    }

    fn refuse_kind(&mut self, name: &str) {
        self.problems.add(name, "neither a JPEG nor a PNG file, nor of a kind that is passed over");
    }

    fn folders(&mut self, folder: &str) -> Vec<Entry> {
        let mut entries = self.entries(folder);
        entries.retain(|entry| entry.is_folder);
        entries
    }

    /// What a folder (its path from the root) holds, sorted; hidden files are left out.
    fn entries(&mut self, folder: &str) -> Vec<Entry> {
        let path = self.root.join(folder);
        let read = fs::read_dir(&path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = match read {
            Ok(entries) => entries,
            Err(error) => {
                self.problems.add(folder, format!("cannot be read: {error}"));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for entry in entries {
            let own = entry.file_name();
            if own.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let shown = own.to_string_lossy();
            let name =
                if folder.is_empty() { shown.to_string() } else { format!("{folder}/{shown}") };
            if own.to_str().is_none() {
                self.problems.add(&name, "its name is not UTF-8");
                continue;
            }
            match self.is_folder(&entry) {
                Ok(is_folder) => found.push(Entry { name, path: entry.path(), is_folder }),
                Err(why) => self.problems.add(&name, why),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Is it a folder or else a file? Links lead to files inside the folder, or are refused: a link
    /// to a folder can lead in a circle.
    fn is_folder(&self, entry: &fs::DirEntry) -> Result<bool, String> {
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            return Ok(true);
        }
        if kind.is_file() {
            return Ok(false);
        }
        if !kind.is_symlink() {
            return Err("neither a file nor a folder".to_owned());
        }
        let to =
            fs::canonicalize(entry.path()).map_err(|error| format!("a broken link: {error}"))?;
        if !to.starts_with(&self.root) {
            return Err(format!("a link out of the folder, to {}", to.display()));
        }
        match to.is_file() {
            true => Ok(false),
            false => Err("a link to something that is not a file".to_owned()),
        }
    }
}

enum Kind {
    Image,
    Ignored,
    Other,
}

fn kind(name: &str) -> Kind {
    let Some(extension) = Path::new(name).extension() else { return Kind::Other };
    let extension = extension.to_string_lossy().to_ascii_lowercase();
    if IMAGES.contains(&extension.as_str()) {
        Kind::Image
    } else if IGNORED.contains(&extension.as_str()) {
        Kind::Ignored
    } else {
        Kind::Other
    }
}
