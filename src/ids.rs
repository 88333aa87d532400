//! Names that are safe on disk and in a spreadsheet: of a run and of a sweep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Identity of a run: `r` and 16 characters of base 32, the first 80 bits of a BLAKE3 hash.
///
/// The letter in front keeps spreadsheets from reading an id as a number (`12e34567` is one).
/// With 80 bits, a million runs collide with a probability of 4e-13.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId([u8; 10]);

/// Base 32 without the letters that are mistaken for digits (i, l, o) and without u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl RunId {
    /// Characters of an id.
    pub const LENGTH: usize = 17;

    /// The id of what `identity` spells out.
    pub fn of(identity: &[u8]) -> Self {
        let hash = blake3::hash(identity);
        let mut id = [0; 10];
        id.copy_from_slice(&hash.as_bytes()[..10]);
        Self(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'r'; Self::LENGTH];
        for (chunk, out) in self.0.chunks(5).zip(text[1..].chunks_mut(8)) {
            let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for (place, out) in out.iter_mut().enumerate() {
                *out = ALPHABET[(bits >> (35 - 5 * place) & 31) as usize];
            }
        }
        f.pad(std::str::from_utf8(&text).expect("invariant: the alphabet is ASCII"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a run id.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a run id: expected `r` and 16 of {}", str::from_utf8(ALPHABET).unwrap_or_default())]
pub struct BadRunId {
    text: String,
}

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        let bad = || BadRunId { text: text.to_owned() };
        let digits =
            text.strip_prefix('r').filter(|_| text.len() == Self::LENGTH).ok_or_else(bad)?;
        let mut id = [0; 10];
        for (chunk, out) in digits.as_bytes().chunks(8).zip(id.chunks_mut(5)) {
            let mut bits = 0_u64;
            for byte in chunk {
                let digit = ALPHABET.iter().position(|c| c == byte).ok_or_else(bad)?;
                bits = bits << 5 | digit as u64;
            }
            out.copy_from_slice(&bits.to_be_bytes()[3..]);
        }
        Ok(Self(id))
    }
}

impl TryFrom<String> for RunId {
    type Error = BadRunId;

    fn try_from(text: String) -> Result<Self, BadRunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

/// Name of a sweep, which is also the name of its folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SweepName(String);

/// Why a text cannot name a sweep.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a sweep's name is 1 to 100 letters, digits, `.`, `_` or `-`, begins with a letter or a digit and does not end with `.`; found {0:?}"
)]
pub struct BadSweepName(String);

impl SweepName {
    /// Checks that `text` is safe as a folder's name on every file system.
    ///
    /// # Errors
    /// When it is empty, too long or has a character out of place.
    pub fn new(text: &str) -> Result<Self, BadSweepName> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good = text.len() <= 100
            && text.chars().all(legal)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !text.ends_with('.');
        if good { Ok(Self(text.to_owned())) } else { Err(BadSweepName(text.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SweepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn id_survives_its_text(identity in any::<Vec<u8>>()) {
            let id = RunId::of(&identity);
            prop_assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
            prop_assert_eq!(id.to_string().len(), RunId::LENGTH);
        }

        #[test]
        fn any_text_is_an_id_or_an_error(text in ".{0,20}") {
            if let Ok(id) = text.parse::<RunId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "-x", "a b", "x.", "é", "/etc", "a\\b", &"x".repeat(101)]
        {
            assert!(SweepName::new(bad).is_err(), "{bad}");
        }
        for good in ["lr", "act-by-lr", "2024.run_1"] {
            assert!(SweepName::new(good).is_ok(), "{good}");
        }
    }
}
