//! Bytes of a sweep file to text: UTF-8, with or without a byte-order mark, with any line ends.
//!
//! In: bytes as an editor left them. Out: text with `\n` line ends, which spans count in, or the
//! place of the first byte that is not text.

use std::borrow::Cow;

/// Why bytes are no text.
#[derive(Debug, PartialEq, Eq)]
pub struct NotText {
    /// What can be shown of them.
    pub shown: String,
    /// Where in `shown` the first bad character stands.
    pub at: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

/// The text that `bytes` hold.
///
/// # Errors
/// When they are not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<String, NotText> {
    let big_endian = bytes.starts_with(&[0xFE, 0xFF]);
    if big_endian || bytes.starts_with(&[0xFF, 0xFE]) {
        let unit = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
        let units: Vec<u16> =
            bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        return Err(NotText {
            shown: normalise(&String::from_utf16_lossy(&units)).into_owned(),
            at: 0,
            message: "the file is UTF-16, expected UTF-8".to_owned(),
            help: "save it as UTF-8; in PowerShell: `Get-Content f.toml | Set-Content -Encoding utf8 g.toml`",
        });
    }
    // A program or an image given by mistake: to show a line of it would mess up the terminal.
    if bytes.contains(&0) {
        return Err(NotText {
            shown: String::new(),
            at: 0,
            message: "the file has zero bytes in it: it is no text".to_owned(),
            help: "a sweep file is TOML, as UTF-8 text",
        });
    }
    match str::from_utf8(bytes) {
        Ok(text) => Ok(normalise(text).into_owned()),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            Err(NotText {
                at: normalise(&good).len(),
                shown: normalise(&String::from_utf8_lossy(bytes)).into_owned(),
                message: format!("byte 0x{byte:02X} is not UTF-8"),
                help: "save the file as UTF-8",
            })
        }
    }
}

/// `text` without a byte-order mark and with `\n` line ends.
pub fn normalise(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if text.contains("\r\n") { text.replace("\r\n", "\n").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_of_other_systems_are_taken_off() {
        assert_eq!(decode(b"\xEF\xBB\xBFa = 1\r\nb = 2\r\n").unwrap(), "a = 1\nb = 2\n");
    }

    #[test]
    fn a_program_is_not_shown() {
        let bad = decode(b"\x7fELF\x02\x01\x00\xE9").unwrap_err();
        assert_eq!((bad.shown.as_str(), bad.at), ("", 0));
    }

    #[test]
    fn the_first_byte_that_is_not_text_is_pointed_at() {
        let bad = decode(b"a = 1\r\n# caf\xE9\n").unwrap_err();
        assert_eq!(bad.message, "byte 0xE9 is not UTF-8");
        assert!(bad.shown[bad.at..].starts_with('\u{FFFD}'));
    }

    #[test]
    fn utf_16_of_either_order_is_named() {
        for bytes in [&b"\xFF\xFEa\0=\x001\0"[..], b"\xFE\xFF\0a\0=\x001"] {
            let bad = decode(bytes).unwrap_err();
            assert_eq!((bad.shown.as_str(), bad.at), ("a=1", 0));
            assert!(bad.message.contains("UTF-16"));
        }
        assert!(decode(b"\xFF\xFE").unwrap_err().shown.is_empty());
    }
}
