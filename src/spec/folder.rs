//! The path of a folder of images, and what was found there.
//!
//! A sweep file names a path. How many classes and images are there only the disk can say, and
//! nothing here reads it: whoever plans looks into the folder and hands the facts in by
//! [`Folder::found`]. They are no part of what the folder *is* to a configuration: two folders are
//! equal if their paths are, and the content enters identity as the data's fingerprint.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::diagnostics::Diagnostics;
use super::node::{Node, Raw};
use super::value::Value;

/// What is known of a folder of images that was looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderFacts {
    /// Names the bytes of all images, their names and their classes.
    pub fingerprint: String,
    /// Number of classes.
    pub classes: usize,
    /// Images in `train/`, or in all where there are no parts.
    pub train: usize,
    /// Images in `val/`; 0 without one.
    pub val: usize,
    /// Images in `test/`; 0 without one.
    pub test: usize,
}

/// The path of a folder of images.
#[derive(Debug, Clone)]
pub struct Folder {
    path: Arc<str>,
    found: Option<Arc<FolderFacts>>,
}

impl Folder {
    /// The folder at `path`, not looked into.
    pub fn new(path: &str) -> Self {
        Self { path: path.into(), found: None }
    }

    /// The path as the sweep file writes it; relative ones count from the folder of the data sets.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was found there; `None` as long as nobody has looked.
    pub fn facts(&self) -> Option<&FolderFacts> {
        self.found.as_deref()
    }

    /// Takes note of what was found.
    pub fn found(&mut self, facts: Arc<FolderFacts>) {
        self.found = Some(facts);
    }
}

impl PartialEq for Folder {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Value for Folder {
    type Limits = ();

    fn read(node: &Node, (): &(), diagnostics: &mut Diagnostics) -> Option<Self> {
        let Raw::Text(path) = &node.raw else {
            let message = format!("expected the path of a folder, found {}", node.describe());
            diagnostics.error(node.span, message, "not a path");
            return None;
        };
        if path.is_empty() || path.contains('\0') {
            let message = "expected the path of a folder, found one that no folder can have";
            diagnostics.error(node.span, message, "not a path");
            return None;
        }
        // `photos/` and `./photos` are `photos`: how a path is written must not change an id.
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let root = if path.starts_with('/') { "/" } else { "" };
        let path = format!("{root}{}", parts.join("/"));
        Some(Self::new(if path.is_empty() { "." } else { &path }))
    }

    fn label(&self) -> String {
        self.path.to_string()
    }

    fn canonical(&self) -> serde_json::Value {
        json!(&*self.path)
    }

    fn schema((): &()) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<Folder> {
        Folder::read(&Node::from_json(&json!(path)), &(), &mut Diagnostics::new())
    }

    #[test]
    fn ways_of_writing_a_path_are_one_path() {
        for (written, path) in [
            ("photos", "photos"),
            ("photos/", "photos"),
            ("./photos//cats/.", "photos/cats"),
            ("/data/photos/", "/data/photos"),
            ("../photos", "../photos"),
            ("./", "."),
            ("/", "/"),
        ] {
            assert_eq!(read(written).unwrap().path(), path, "{written}");
        }
        assert!(read("").is_none() && read("a\0b").is_none());
    }

    #[test]
    fn what_was_found_does_not_change_what_a_configuration_is() {
        let (bare, mut known) = (Folder::new("photos"), Folder::new("photos"));
        let fingerprint = "image-folder-0".to_owned();
        let facts = FolderFacts { fingerprint, classes: 2, train: 4, val: 0, test: 0 };
        known.found(Arc::new(facts.clone()));
        assert_eq!(bare, known);
        assert_eq!((bare.facts(), known.facts()), (None, Some(&facts)));
        assert_eq!(bare.canonical(), known.canonical());
    }
}
