//! The known files out of a gzipped tar archive.
//!
//! An entry counts only if it is a regular file with exactly the expected path, size and checksum;
//! all others are passed over unread. No path from the archive is ever used as a path on the disk,
//! and extensions of the format (long names, other sizes) are not interpreted.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

use crate::spec::catalogue::CanonicalFile;

use super::error::FetchError;
use super::staged::StagedFile;

/// What to take out of which archive.
#[derive(Debug, Clone, Copy)]
pub struct Unpacking<'a> {
    /// Name of the archive, for errors.
    pub archive: &'a str,
    /// The folder inside the archive that the files are in.
    pub inner: &'a str,
    /// The files to take.
    pub wanted: &'a [CanonicalFile],
    /// Where they go.
    pub folder: &'a Path,
}

impl Unpacking<'_> {
    /// Unpacks from the bytes of the archive; calls `stored` with the name of each finished file.
    ///
    /// # Errors
    /// If the archive is broken, if a wanted file is missing or is not what the catalogue says, or
    /// if the disk does not take it.
    pub fn run(&self, gz: impl Read, stored: &mut dyn FnMut(&str)) -> Result<(), FetchError> {
        // Room for the wanted files, their headers and a few others; a bomb ends here.
        let limit = 2 * self.wanted.iter().map(|file| file.bytes).sum::<u64>() + (1 << 20);
        let mut archive = Archive::new(GzDecoder::new(gz).take(limit));
        let mut missing: Vec<&CanonicalFile> = self.wanted.iter().collect();
        let entries = archive.entries().map_err(|error| self.broken(&error))?;
        for entry in entries.raw(true) {
            let mut entry = entry.map_err(|error| self.broken(&error))?;
            let path = entry.path_bytes().into_owned();
            let named =
                |file: &&CanonicalFile| format!("{}/{}", self.inner, file.name).as_bytes() == path;
            let Some(at) = missing.iter().position(named) else { continue };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            self.take(missing.remove(at), entry.size(), &mut entry, stored)?;
            // What follows is of no interest, and need not be unpacked to be passed over.
            if missing.is_empty() {
                return Ok(());
            }
        }
        match missing.first() {
            None => Ok(()),
            Some(file) => Err(self.refuse(format!("{}/{}", self.inner, file.name), "no such file")),
        }
    }

    fn take(
        &self,
        file: &CanonicalFile,
        declared: u64,
        bytes: &mut impl Read,
        stored: &mut dyn FnMut(&str),
    ) -> Result<(), FetchError> {
        if declared != file.bytes {
            let expected = format!("{} bytes of {}", file.bytes, file.name);
            return Err(self.refuse(expected, declared.to_string()));
        }
        let target = self.folder.join(file.name);
        let mut staged = StagedFile::create(self.folder, file.name)
            .map_err(FetchError::disk("create", &target))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = bytes.read(&mut buffer).map_err(|error| self.broken(&error))?;
            if n == 0 {
                break;
            }
            staged.write(&buffer[..n]).map_err(FetchError::disk("write", &target))?;
        }
        if staged.written() != file.bytes {
            let expected = format!("{} bytes of {}", file.bytes, file.name);
            return Err(self.refuse(expected, staged.written().to_string()));
        }
        let found = staged.sha256();
        if found != file.sha256 {
            let expected = format!("sha256 {} of {}", file.sha256, file.name);
            return Err(self.refuse(expected, found));
        }
        staged.keep().map_err(FetchError::disk("write", &target))?;
        stored(file.name);
        Ok(())
    }

    fn broken(&self, error: &io::Error) -> FetchError {
        self.refuse("a whole archive", error.to_string())
    }

    fn refuse(&self, expected: impl Into<String>, found: impl Into<String>) -> FetchError {
        let archive = self.archive.to_owned();
        FetchError::Archive { archive, expected: expected.into(), found: found.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};
    use tar::{Builder, EntryType, Header};

    use super::super::staged::hex;
    use super::*;
    use crate::spec::catalogue::{Content, Part};

    const CONTENT: &[u8] = b"the right bytes";

    fn wanted() -> [CanonicalFile; 1] {
        let sha256 = Box::leak(hex(Sha256::new_with_prefix(CONTENT)).into_boxed_str());
        let (part, content) = (Part::Test, Content::CifarRecords);
        [CanonicalFile { name: "a.bin", bytes: 15, sha256, part, content, images: 1 }]
    }

    /// An entry as hostile as its arguments: the path is written into the header unchecked.
    fn entry(path: &str, kind: EntryType, declared: u64, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(declared);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        for entry in entries {
            io::Write::write_all(&mut gz, entry).unwrap();
        }
        io::Write::write_all(&mut gz, &[0; 1024]).unwrap();
        gz.finish().unwrap()
    }

    /// Unpacks into `cache` in a new folder; gives the outcome and every path in that folder.
    fn unpacked(gz: &[u8]) -> (Result<(), FetchError>, Vec<String>) {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("cache");
        fs::create_dir(&folder).unwrap();
        let unpacking =
            Unpacking { archive: "x.tar.gz", inner: "in", wanted: &wanted(), folder: &folder };
        let result = unpacking.run(gz, &mut |_| {});
        let mut paths = Vec::new();
        for place in [outside.path(), &folder] {
            for found in fs::read_dir(place).unwrap() {
                let path = found.unwrap().path();
                paths.push(path.strip_prefix(outside.path()).unwrap().display().to_string());
            }
        }
        paths.sort_unstable();
        (result, paths)
    }

    fn good() -> Vec<u8> {
        entry("in/a.bin", EntryType::Regular, 15, CONTENT)
    }

    #[test]
    fn the_wanted_file_is_taken_and_everything_else_passed_over() {
        let mut ordinary = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = Header::new_gnu();
        header.set_size(15);
        header.set_mode(0o777);
        ordinary.append_data(&mut header, "in/a.bin", CONTENT).unwrap();
        let ordinary = ordinary.into_inner().unwrap().finish().unwrap();
        let absolute = std::env::temp_dir().join("gridlane-evil");
        let hostile = archive(&[
            entry("../evil", EntryType::Regular, 4, b"evil"),
            entry(absolute.to_str().unwrap(), EntryType::Regular, 4, b"evil"),
            entry("in/../../evil", EntryType::Regular, 4, b"evil"),
            entry("in/a.bin", EntryType::Symlink, 0, b""),
            entry("in/a.bin", EntryType::Link, 0, b""),
            entry("in/a.bin", EntryType::Char, 0, b""),
            entry("in/a.bin", EntryType::Directory, 0, b""),
            entry("././@LongLink", EntryType::GNULongName, 8, b"../evil\0"),
            entry("x", EntryType::XHeader, 18, b"18 path=../../evil"),
            good(),
        ]);
        for gz in [ordinary, hostile] {
            let (result, paths) = unpacked(&gz);
            result.unwrap();
            assert_eq!(paths, ["cache", "cache/a.bin"]);
        }
        assert!(!absolute.exists());
    }

    #[test]
    fn archives_without_the_right_file_are_refused_and_leave_nothing() {
        let mut bomb = entry("bomb", EntryType::Regular, 4 << 20, &vec![0; 4 << 20]);
        bomb.extend(good());
        let whole = archive(&[good()]);
        let cases = [
            archive(&[]),
            archive(&[entry("in/b.bin", EntryType::Regular, 15, CONTENT)]),
            archive(&[entry("a.bin", EntryType::Regular, 15, CONTENT)]),
            archive(&[entry("in/a.bin", EntryType::Symlink, 0, b"")]),
            archive(&[entry("in/a.bin", EntryType::Regular, 14, &CONTENT[1..])]),
            archive(&[entry("in/a.bin", EntryType::Regular, 1 << 62, CONTENT)]),
            archive(&[entry("huge", EntryType::Regular, u64::MAX, b""), good()]),
            archive(&[entry("in/a.bin", EntryType::Regular, 15, b"the wrong bytes")]),
            archive(&[bomb]),
            whole[..whole.len() / 2].to_vec(),
            b"not an archive".to_vec(),
        ];
        let report: Vec<String> = cases
            .iter()
            .map(|gz| {
                let (result, paths) = unpacked(gz);
                assert_eq!(paths, ["cache"]);
                result.unwrap_err().to_string()
            })
            .collect();
        insta::assert_snapshot!(report.join("\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_damage_causes_a_panic_or_a_wrong_file(at in 0_usize..1024, bits in 1_u8..) {
            let mut tar = good();
            tar[at] ^= bits;
            let (result, paths) = unpacked(&archive(&[tar]));
            let stored = paths.contains(&"cache/a.bin".to_owned());
            prop_assert_eq!(result.is_ok(), stored);
            prop_assert!(paths.len() <= 2);
        }
    }
}
