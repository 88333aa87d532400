//! Where what is known and decoded of a folder is kept.

use std::path::{Path, PathBuf};

use super::decode::Form;

/// The cache of one folder: `DATA/cache/image-folder/<hash of its path>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// The cache of the folder `root` (absolute, without links).
    pub fn new(data_dir: &Path, root: &Path) -> Self {
        let hash = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
        Self { folder: data_dir.join("cache").join("image-folder").join(&hash[..16]) }
    }

    /// The cache's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Hashes of the files.
    pub fn index(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    /// The folder of decoded images.
    pub fn decoded(&self) -> PathBuf {
        self.folder.join("decoded")
    }

    /// Held while images are decoded.
    pub fn lock(&self) -> PathBuf {
        self.decoded().join("lock")
    }

    /// The decoded images of a folder with a fingerprint, in a form.
    pub fn pixels(&self, fingerprint: &str, form: Form) -> PathBuf {
        let Form { channels, side } = form;
        self.decoded().join(format!("{fingerprint}-{channels}x{side}.pixels"))
    }
}
