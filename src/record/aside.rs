//! What stands where the record has something else: renamed to `NAME.damaged-N`, never deleted.
//!
//! A folder in a file's place, or a file in a folder's, comes of a copy gone wrong, a disk that was
//! repaired or a person. It holds nothing of the record, but perhaps something of somebody's.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::RecordError;

/// Makes way for a file at `path`. Only its one writer may call this.
///
/// # Errors
/// Whatever the system refuses.
pub fn make_way_for_file(path: &Path) -> Result<(), RecordError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => set_aside(path),
        // A link is replaced as a file is. What else is wrong, whoever writes the file will say.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Makes way for a folder at `path`; a link to a folder is one. Only its one writer may call this.
///
/// # Errors
/// Whatever the system refuses.
pub fn make_way_for_folder(path: &Path) -> Result<(), RecordError> {
    match fs::symlink_metadata(path) {
        Ok(_) if !path.is_dir() => set_aside(path),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Renames what is at `path` to a name that is free.
///
/// # Errors
/// Whatever the system refuses.
pub fn set_aside(path: &Path) -> Result<(), RecordError> {
    let mut number = 1_u32;
    while fs::symlink_metadata(numbered(path, number)).is_ok() {
        number += 1;
    }
    fs::rename(path, numbered(path, number)).map_err(RecordError::io("set aside", path))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".damaged-{number}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_stands_in_the_way_gets_another_name_and_nothing_else_does() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        make_way_for_file(&at("result.json")).unwrap();
        for number in 1..=2 {
            fs::create_dir(at("result.json")).unwrap();
            fs::write(at("result.json/notes"), number.to_string()).unwrap();
            make_way_for_file(&at("result.json")).unwrap();
            let notes = at(&format!("result.json.damaged-{number}/notes"));
            assert_eq!(fs::read_to_string(notes).unwrap(), number.to_string());
        }
        fs::write(at("result.json"), "{}").unwrap();
        make_way_for_file(&at("result.json")).unwrap();
        assert!(at("result.json").is_file());

        make_way_for_folder(&at("checkpoint")).unwrap();
        fs::write(at("checkpoint"), "x").unwrap();
        make_way_for_folder(&at("checkpoint")).unwrap();
        assert_eq!(fs::read_to_string(at("checkpoint.damaged-1")).unwrap(), "x");
        fs::create_dir(at("elsewhere")).unwrap();
        symlink(at("elsewhere"), at("checkpoint")).unwrap();
        make_way_for_folder(&at("checkpoint")).unwrap();
        assert!(at("checkpoint").is_symlink(), "a link to a folder is a folder");
    }
}
