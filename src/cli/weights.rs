//! The files of initial weights that a sweep names: read and fingerprinted when it is planned, kept
//! in its record when it is run.
//!
//! The record keeps a copy under the digest, since a worker may start days after the plan, on another
//! machine, and the file beside the sweep file may be another one by then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::record::{Durability, RecordError, SweepFolder, atomic};
use crate::spec::architecture::Architecture;
use crate::spec::diagnostics::Problem;
use crate::spec::init::Init;
use crate::spec::validate::Misfit;
use crate::spec::weights::weights_files;
use crate::spec::{Key, RunConfig, Sources, SweepSpec};
use crate::train::weights::{Listing, Weights};

/// Tensors that a message names before it counts the rest.
const MOST_NAMED: usize = 4;

/// The files of a sweep, by their digests.
#[derive(Default)]
pub struct WeightsFiles {
    files: BTreeMap<String, File>,
}

/// One file.
struct File {
    /// As the sweep file writes it.
    written: String,
    /// Where it is.
    path: PathBuf,
    listing: Listing,
}

impl WeightsFiles {
    /// Reads every file that `spec` names, relative to `folder`, and puts in its digest.
    ///
    /// # Errors
    /// Every file that cannot be read or is no safetensors file, with its place in the sweep file;
    /// two names for one file, which would make two points of one.
    pub fn read(spec: &mut SweepSpec, sources: &Sources, folder: &Path) -> Result<Self, CliError> {
        let mut found = Self::default();
        let mut digests: BTreeMap<String, String> = BTreeMap::new();
        let mut diagnostics = sources.diagnostics();
        weights_files(spec, &mut |file, span| {
            if let Some(digest) = digests.get(&file.path) {
                file.digest = Some(digest.clone());
                return;
            }
            let mut problem = |message, label: &str| {
                let (label, help) = (label.to_owned(), None);
                diagnostics.push(Problem { message, span, label, help });
            };
            let path = folder.join(&file.path);
            let read =
                Weights::open(&path).and_then(|weights| Ok((weights.digest(), weights.listing()?)));
            let (digest, listing) = match read {
                Ok(read) => read,
                Err(error) => return problem(error.to_string(), "needed here"),
            };
            if let Some(File { written, .. }) = found.files.get(&digest) {
                let message = format!("`{}` and `{written}` are the same weights", file.path);
                return problem(message, "the same as another");
            }
            digests.insert(file.path.clone(), digest.clone());
            let written = file.path.clone();
            file.digest = Some(digest.clone());
            found.files.insert(digest, File { written, path, listing });
        });
        Ok(diagnostics.finish(Some(found))?)
    }

    /// Puts in the digests that the record of a sweep has for the files that `spec` names.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn recall(spec: &mut SweepSpec, record: &SweepFolder) -> Result<(), RecordError> {
        let index: Option<BTreeMap<String, String>> =
            atomic::read_json(&record.weights_index(), 1)?;
        let Some(index) = index else { return Ok(()) };
        weights_files(spec, &mut |file, _| file.digest = index.get(&file.path).cloned());
        Ok(())
    }

    /// What is wrong with the weights that `config` starts from.
    pub fn misfit(&self, config: &RunConfig) -> Option<Misfit> {
        let Init::From { from } = &config.init else { return None };
        let file = self.files.get(from.digest.as_ref()?)?;
        let architecture = Architecture::of(config).ok()?;
        let mut faults = file.listing.faults_for(&architecture);
        if faults.is_empty() {
            return None;
        }
        if faults.len() > MOST_NAMED {
            let rest = faults.len() - MOST_NAMED;
            faults.truncate(MOST_NAMED);
            faults.push(format!("and {rest} more"));
        }
        let message = format!("the weights `{}` do not fit: {}", file.written, faults.join("; "));
        let help = "`gridlane model` lists the network; docs/reference/weights.md has the names";
        Some(Misfit { keys: vec![Key::Init, Key::Model], message, help: Some(help.to_owned()) })
    }

    /// Copies the files into the record of the sweep, those that are not there yet.
    ///
    /// # Errors
    /// When a file has changed since it was read, or the record cannot be written.
    pub fn keep(&self, record: &SweepFolder) -> Result<(), CliError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let folder = record.weights();
        std::fs::create_dir_all(&folder).map_err(RecordError::io("create", &folder))?;
        for (digest, file) in &self.files {
            let copy = record.weights_file(digest);
            if !copy.exists() {
                let weights = Weights::open(&file.path)?;
                weights.check_digest(digest)?;
                atomic::replace(&copy, weights.bytes(), Durability::Fact)?;
            }
        }
        let index: BTreeMap<&str, &str> =
            self.files.iter().map(|(digest, file)| (&*file.written, &**digest)).collect();
        Ok(atomic::replace_json(&record.weights_index(), &index, Durability::Derived)?)
    }
}
