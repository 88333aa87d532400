//! What is wrong with a folder of images: all of it, of which the first few are shown.

use std::fmt;

/// So many are shown; whoever has more has one cause for all of them.
const SHOWN: usize = 10;

/// Problems with files of a folder, in the order in which they were met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    shown: Vec<(String, String)>,
    count: usize,
}

impl Problems {
    /// Notes what is wrong with the file `name`.
    pub(crate) fn add(&mut self, name: &str, what: impl Into<String>) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push((name.to_owned(), what.into()));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.shown.iter().map(|(name, what)| format!("{name:?}: {what}")).collect();
        f.write_str(&lines.join("; "))?;
        match self.count - self.shown.len() {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
