//! What the command line changed of a sweep's file, kept beside it.

use serde::{Deserialize, Serialize};

use super::atomic::{Durability, read_json, replace_json};
use super::error::RecordError;
use super::layout::SweepFolder;

/// The newest format of the file.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    overrides: &'a [String],
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Versioned {
        overrides: Vec<String>,
    },
    /// As it was before it had a format.
    List(Vec<String>),
}

/// Replaces what is kept in `folder`.
///
/// # Errors
/// Whatever the system refuses; then the file is as it was.
pub fn write(folder: &SweepFolder, overrides: &[String]) -> Result<(), RecordError> {
    let written = Written { format: FORMAT, overrides };
    replace_json(&folder.overrides(), &written, Durability::Derived)
}

/// Reads what is kept in `folder`; nothing where there is no file.
///
/// # Errors
/// A file that cannot be read, is damaged, or was written by a newer program.
pub fn read(folder: &SweepFolder) -> Result<Vec<String>, RecordError> {
    let path = folder.overrides();
    Ok(match read_json(&path, FORMAT)? {
        Some(Found::Versioned { overrides } | Found::List(overrides)) => overrides,
        None => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ids::SweepName;

    #[test]
    fn it_has_a_format_and_files_from_before_are_read() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SweepFolder::new(temporary.path(), &SweepName::new("lr").unwrap());
        fs::create_dir(folder.path()).unwrap();
        assert!(read(&folder).unwrap().is_empty(), "there is none yet");
        let overrides = ["epochs=3".to_owned(), "lr=0.1,0.01".to_owned()];
        write(&folder, &overrides).unwrap();
        let text = fs::read_to_string(folder.overrides()).unwrap();
        assert_eq!(text, "{\"format\":1,\"overrides\":[\"epochs=3\",\"lr=0.1,0.01\"]}\n");
        assert_eq!(read(&folder).unwrap(), overrides);
        fs::write(folder.overrides(), r#"["epochs=3", "lr=0.1,0.01"]"#).unwrap();
        assert_eq!(read(&folder).unwrap(), overrides);
        fs::write(folder.overrides(), r#"{"format": 2, "changes": []}"#).unwrap();
        let error = read(&folder).unwrap_err();
        assert!(matches!(error, RecordError::NewerFormat { found: 2, known: 1, .. }), "{error}");
        fs::write(folder.overrides(), r#"{"format": 1}"#).unwrap();
        let error = read(&folder).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}
