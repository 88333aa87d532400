//! A file on its way into the cache: it has a temporary name until its bytes are known to be right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A file under a temporary name in its final folder; dropping it removes it.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    hasher: Sha256,
    written: u64,
}

impl StagedFile {
    /// Creates `.NAME.part` in `folder`, over what an interrupted download has left there. The
    /// caller holds the folder's lock.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!(".{name}.part"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // `create_new` follows no link that somebody may have put there.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, target: folder.join(name), hasher: Sha256::new(), written: 0 })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// SHA-256 of the bytes written so far, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        hex(self.hasher.clone())
    }

    /// Where the file is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Goes back to the start, for reading.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn rewind(&mut self) -> io::Result<&File> {
        self.file.rewind()?;
        Ok(&self.file)
    }

    /// Gives the file its name; it is on the disk, whole, when this returns.
    ///
    /// # Errors
    /// If the disk does not take it; nothing has the final name then that had it not before.
    pub fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        let folder = self.target.parent().expect("invariant: a file has a folder");
        File::open(folder)?.sync_all()
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // After `keep` there is nothing under this name; if removing fails, the next fetch does it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A finished SHA-256 in lower-case hexadecimal digits.
pub fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
