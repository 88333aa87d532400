//! Folders of images on the command line: looked into before a sweep is planned, decoded before its
//! first run starts, written down for whoever reads the record where the images are not.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::args::IndexArgs;
use super::error::CliError;
use super::exit_code::ExitCode;
use super::sweep_file::absolute;
use super::terminal;
use crate::record::{Durability, RecordError, SweepFolder, atomic};
use crate::spec::SweepSpec;
use crate::spec::dataset::Dataset;
use crate::spec::diagnostics::Diagnostics;
use crate::spec::folder::{Folder, FolderFacts};
use crate::spec::node::Node;
use crate::spec::value::Value;
use crate::train::data::{DataError, ImageFolder};
use crate::units::show_bytes;

const FORMAT: u32 = 1;

/// What is known of the folders that a sweep names.
#[derive(Debug, Default)]
pub struct Folders {
    /// Where data sets are; `None` where the record says what was in the folders.
    data: Option<PathBuf>,
    /// Path as in the sweep file -> what is there.
    facts: BTreeMap<String, Arc<FolderFacts>>,
    opened: BTreeMap<String, ImageFolder>,
    /// What runs want decoded: path, channels, side.
    wanted: Vec<(String, usize, usize)>,
}

/// `folders.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FoldersFile {
    format: u32,
    folders: BTreeMap<String, FolderFacts>,
}

impl Folders {
    /// Folders that are looked into; relative paths count from `data`.
    pub fn on_disk(data: &Path) -> Self {
        Self { data: Some(data.to_owned()), ..Self::default() }
    }

    /// Folders as they were when the sweep was last executed.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn recorded(folder: &SweepFolder) -> Result<Self, RecordError> {
        let file: Option<FoldersFile> = atomic::read_json(&folder.folders(), FORMAT)?;
        let folders = file.map(|file| file.folders).unwrap_or_default();
        let facts = folders.into_iter().map(|(path, facts)| (path, Arc::new(facts))).collect();
        Ok(Self { facts, ..Self::default() })
    }

    /// Hands in what is known of every folder that `spec` names, and looks where nothing is.
    ///
    /// # Errors
    /// Everything about a folder that keeps it from being a data set.
    pub fn look_into(&mut self, spec: &mut SweepSpec) -> Result<(), DataError> {
        for dataset in spec.datasets_mut() {
            let [channels, side, _] = dataset.image_shape();
            let Dataset::ImageFolder { path: folder, .. } = dataset else { continue };
            let path = folder.path().to_owned();
            if let (None, Some(data)) = (self.facts.get(&path), &self.data) {
                let opened = ImageFolder::open(folder, data)?;
                self.facts.insert(path.clone(), Arc::new(opened.facts()));
                self.opened.insert(path.clone(), opened);
            }
            if let Some(facts) = self.facts.get(&path) {
                folder.found(Arc::clone(facts));
            }
            let wanted = (path, channels, side);
            if !self.wanted.contains(&wanted) {
                self.wanted.push(wanted);
            }
        }
        Ok(())
    }

    /// Decodes what runs will want, so that a broken image shows before the first of them starts and
    /// none of them waits for another.
    ///
    /// # Errors
    /// The images that cannot be decoded, or what the system refuses.
    pub fn decode(&self) -> Result<(), DataError> {
        for (path, channels, side) in &self.wanted {
            if let Some(folder) = self.opened.get(path) {
                decode(folder, *channels, *side)?;
            }
        }
        Ok(())
    }

    /// Writes down what was found, where there is anything.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn write(&self, folder: &SweepFolder) -> Result<(), RecordError> {
        if self.facts.is_empty() {
            return Ok(());
        }
        let facts = self.facts.iter().map(|(path, facts)| (path.clone(), (**facts).clone()));
        let file = FoldersFile { format: FORMAT, folders: facts.collect() };
        atomic::replace_json(&folder.folders(), &file, Durability::Derived)
    }
}

/// Decodes a folder into the cache, with a bar on a terminal.
fn decode(folder: &ImageFolder, channels: usize, side: usize) -> Result<(), DataError> {
    let facts = folder.facts();
    let images = (facts.train + facts.val + facts.test) as u64;
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{pos:>10} of {len} images {bar:30} {eta}")
            .unwrap_or_else(|_| unreachable!("invariant: the template is valid"));
        ProgressBar::new(images).with_style(style)
    });
    let done = folder.prepare(channels, side, &mut |done| {
        if let Some(bar) = &bar {
            bar.set_position(done as u64);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    done
}

/// `gridlane data index`: what is in a folder of images.
///
/// # Errors
/// Everything about the folder that keeps it from being a data set.
pub fn index(args: &IndexArgs) -> Result<ExitCode, CliError> {
    let node = Node::from_json(&serde_json::json!(args.path));
    let path =
        Folder::read(&node, &(), &mut Diagnostics::new()).ok_or_else(|| CliError::NoDataset {
            message: "the path of an image folder is empty".to_owned(),
            help: "gridlane data index PATH".to_owned(),
        })?;
    let folder = ImageFolder::open(&path, &absolute(&args.data)?)?;
    let (channels, side) = (if args.grey { 1 } else { 3 }, args.resize as usize);
    decode(&folder, channels, side)?;
    print(&folder, channels, side)?;
    Ok(ExitCode::Ok)
}

/// Prints classes, counts and sizes.
fn print(folder: &ImageFolder, channels: usize, side: usize) -> std::io::Result<()> {
    let facts = folder.facts();
    let has_parts = facts.val + facts.test > 0;
    let mut out = std::io::stdout().lock();
    let counts = |[train, val, test]: [usize; 3]| match has_parts {
        true => format!("{train:>9} {val:>9} {test:>9}"),
        false => format!("{train:>9}"),
    };
    let heads = if has_parts { "    train       val      test" } else { "   images" };
    writeln!(out, "{heads}  class")?;
    for (number, class) in folder.classes().iter().enumerate() {
        writeln!(out, "{}  {}", counts(folder.counts(number)), class.escape_debug())?;
    }
    writeln!(
        out,
        "{}  in {} classes\n",
        counts([facts.train, facts.val, facts.test]),
        facts.classes
    )?;
    let cache = folder.cache(channels, side);
    let decoded = std::fs::metadata(&cache)?.len();
    writeln!(out, "{:>10} in {}", show_bytes(folder.bytes()), facts.fingerprint)?;
    writeln!(out, "{:>10} in {}", show_bytes(decoded), terminal::short_path(&cache))
}
