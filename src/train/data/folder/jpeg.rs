//! Is a JPEG file whole?
//!
//! The decoder fills what is missing of a truncated file with grey and says nothing, and a network
//! would be trained on the grey. So the file's markers are walked first (ITU-T T.81, annex B): it is
//! whole if an end-of-image marker follows its scans. An end marker in an embedded preview does not
//! count, since segments with a length are jumped over.

const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// Walks the markers from the start of the image to its end; whatever follows the end is ignored.
///
/// # Errors
/// What is missing, when the bytes end before the image does.
pub fn check_whole(bytes: &[u8]) -> Result<(), &'static str> {
    const TRUNCATED: &str = "the file is truncated: it has no end-of-image marker";
    let mut rest = bytes.strip_prefix(&[0xFF, START]).ok_or("it does not begin as a JPEG file")?;
    let mut scans = 0;
    loop {
        let (marker, after) = next_marker(rest).ok_or(TRUNCATED)?;
        rest = after;
        match marker {
            END if scans > 0 => return Ok(()),
            END => return Err("it has no image data"),
            _ => {}
        }
        scans += usize::from(marker == SCAN);
        let [high, low, ..] = rest else { return Err(TRUNCATED) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(length..).ok_or(TRUNCATED)?;
    }
}

/// The next marker and what follows it. Within a scan, 0xFF 0x00 is a byte of data and 0xD0 to 0xD7
/// restart the decoder; 0xFF may be repeated before a marker, and 0x01 stands alone.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)? + 1;
        match *bytes.get(at)? {
            0x00 | 0x01 | 0xD0..=0xD7 => at += 1,
            0xFF => {}
            marker => return Some((marker, &bytes[at + 1..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A preview with its own end inside a segment, a scan with a stuffed byte and a restart.
    const WHOLE: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9, 0xFF, 0xFF, 0xDA, 0, 3, 7, 1, 0xFF,
        0, 2, 0xFF, 0xD3, 9, 0xFF, 0xD9,
    ];

    #[test]
    fn only_the_end_of_the_image_itself_counts() {
        assert_eq!(check_whole(WHOLE), Ok(()));
        assert_eq!(check_whole(&[WHOLE, b"trailing"].concat()), Ok(()));
        for length in 0..WHOLE.len() {
            assert!(check_whole(&WHOLE[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_file_without_a_scan_is_no_image() {
        assert_eq!(check_whole(&[0xFF, 0xD8, 0xFF, 0xD9]), Err("it has no image data"));
    }
}
