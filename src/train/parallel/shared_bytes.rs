//! Bytes that one rank writes once and all of them read, in memory once: an anonymous file that is
//! sealed as soon as it is whole, so nobody can change it or cut it short while it is mapped.
#![expect(unsafe_code, reason = "memory shared between processes has no safe form")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::ParallelError;

/// What keeps the bytes as they are.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK);

/// Bytes that are being written, or wait to be read.
#[derive(Debug)]
pub struct SharedBytes {
    file: File,
}

impl SharedBytes {
    /// None yet; the first of the ranks makes it.
    ///
    /// # Errors
    /// When the system does not give it.
    pub fn create() -> Result<Self, ParallelError> {
        // Inherited by the other ranks, so not closed when they are started.
        let file = memfd_create("gridlane-data", MemfdFlags::ALLOW_SEALING)
            .map_err(|error| ParallelError::Memory { bytes: 0, source: error.into() })?;
        Ok(Self { file: file.into() })
    }

    /// Those behind a descriptor that another rank made.
    pub fn open(file: OwnedFd) -> Self {
        Self { file: file.into() }
    }

    /// The descriptor that other ranks open.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Adds bytes behind those that are there.
    ///
    /// # Errors
    /// When there is no memory left.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ParallelError> {
        let memory = |source| ParallelError::Memory { bytes: bytes.len(), source };
        self.file.write_all(bytes).map_err(memory)
    }

    /// Nothing is added from here on, by nobody.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn seal(&self) -> Result<(), ParallelError> {
        fcntl_add_seals(&self.file, SEALS)
            .map_err(|error| ParallelError::Memory { bytes: 0, source: error.into() })
    }

    /// All of them, for as long as the process lives.
    ///
    /// # Errors
    /// When they are not sealed, or the system does not give the mapping.
    pub fn map(self) -> Result<&'static [u8], ParallelError> {
        let memory = |bytes| move |source| ParallelError::Memory { bytes, source };
        let seals = fcntl_get_seals(&self.file).map_err(|error| memory(0)(error.into()))?;
        if !seals.contains(SEALS) {
            let expected = "bytes that are sealed".to_owned();
            return Err(ParallelError::Mismatch { expected, found: format!("{seals:?}") });
        }
        let len = self.file.metadata().map_err(memory(0))?.len() as usize;
        if len == 0 {
            return Ok(&[]);
        }
        // Private, since kernels before 6.7 refuse every shared mapping of what is sealed against
        // writing; as long as nobody writes, and nobody can, the pages are the file's all the same.
        let kind = MapFlags::PRIVATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let mapped =
            unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, kind, &self.file, 0) };
        let start = mapped.map_err(|error| memory(len)(error.into()))?;
        // SAFETY: the mapping has `len` bytes and is never given back; its seals keep everybody from
        // writing to them and from making the file shorter.
        Ok(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_by_others_once_they_are_sealed_and_not_before() {
        let mut own = SharedBytes::create().unwrap();
        let other = || SharedBytes::open(own.descriptor().try_clone_to_owned().unwrap());
        let early = other();
        let error = early.map().unwrap_err().to_string();
        assert!(error.contains("expected bytes that are sealed"), "{error}");
        let (late, mut meddler) = (other(), other());
        own.append(b"once ").unwrap();
        own.append(b"written").unwrap();
        own.seal().unwrap();
        let read = late.map().unwrap();
        assert!(meddler.append(b"!").is_err() && own.append(b"!").is_err());
        assert!(meddler.file.set_len(3).is_err());
        assert_eq!((read, own.map().unwrap()), (&b"once written"[..], &b"once written"[..]));
        let empty = SharedBytes::create().unwrap();
        empty.seal().unwrap();
        assert!(empty.map().unwrap().is_empty());
    }
}
