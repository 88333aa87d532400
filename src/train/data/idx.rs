//! IDX, the format of MNIST and its relatives, gzipped: a big-endian header with a magic number and
//! the dimensions, then one byte per element (<http://yann.lecun.com/exdb/mnist/>).
//!
//! The number of images is known beforehand, so memory is never sized by what a header claims. Only
//! the gzipped form is read: it is the published one, and its CRC catches damaged bytes.

use std::io::Read;

use flate2::bufread::GzDecoder;

use super::error::Damage;

/// Unsigned bytes (0x08) in three dimensions.
const IMAGES_MAGIC: u32 = 0x0803;
/// Unsigned bytes (0x08) in one dimension.
const LABELS_MAGIC: u32 = 0x0801;

/// Reads `count` grey images of `size` (rows, columns) from a gzipped file, shape (N, 1, H, W).
///
/// # Errors
/// If a header, the length or the gzip stream is not what is expected.
pub fn images(gz: &[u8], count: usize, size: [usize; 2]) -> Result<Vec<u8>, Damage> {
    unpack(gz, IMAGES_MAGIC, &[("images", count), ("rows", size[0]), ("columns", size[1])])
}

/// Reads `count` labels below `classes` from a gzipped file, shape (N).
///
/// # Errors
/// If a header, the length, the gzip stream or a label is not what is expected.
pub fn labels(gz: &[u8], count: usize, classes: usize) -> Result<Vec<u16>, Damage> {
    let labels: Vec<u16> =
        unpack(gz, LABELS_MAGIC, &[("labels", count)])?.into_iter().map(u16::from).collect();
    check_labels(&labels, classes)?;
    Ok(labels)
}

/// Checks that every label is below `classes`.
///
/// # Errors
/// For the first label that is not.
pub fn check_labels(labels: &[u16], classes: usize) -> Result<(), Damage> {
    match labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes) {
        None => Ok(()),
        Some((at, label)) => Err(Damage::new(
            format!("labels below {classes}"),
            format!("label {label} of image {at}"),
        )),
    }
}

fn unpack(gz: &[u8], magic: u32, dimensions: &[(&str, usize)]) -> Result<Vec<u8>, Damage> {
    let mut decoder = GzDecoder::new(gz);
    let found = number(&mut decoder)?;
    if found != magic {
        let expected = format!("the IDX magic number {magic:#06x}");
        return Err(Damage::new(expected, format!("{found:#06x}")));
    }
    for &(name, expected) in dimensions {
        let found = number(&mut decoder)?;
        if usize::try_from(found) != Ok(expected) {
            return Err(Damage::new(format!("{expected} {name}"), format!("{found}")));
        }
    }
    let mut body = vec![0; dimensions.iter().map(|(_, n)| n).product()];
    fill(&mut decoder, &mut body)?;
    // Reading to the end makes the decoder check its CRC.
    let mut beyond = [0];
    if decoder.read(&mut beyond).map_err(broken_stream)? != 0 {
        return Err(Damage::new(format!("{} bytes after the header", body.len()), "more"));
    }
    let rest = decoder.into_inner();
    if !rest.is_empty() {
        let found = format!("{} bytes behind it", rest.len());
        return Err(Damage::new("the end of the file after the gzip stream", found));
    }
    Ok(body)
}

/// The next number of the header.
fn number(decoder: &mut impl Read) -> Result<u32, Damage> {
    let mut bytes = [0; 4];
    fill(decoder, &mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Like `read_exact`, but can tell a short stream from a broken one.
fn fill(decoder: &mut impl Read, out: &mut [u8]) -> Result<(), Damage> {
    let mut have = 0;
    while have < out.len() {
        match decoder.read(&mut out[have..]).map_err(broken_stream)? {
            0 => {
                let expected = format!("{} bytes", out.len());
                return Err(Damage::new(expected, format!("the end after {have}")));
            }
            n => have += n,
        }
    }
    Ok(())
}

fn broken_stream(error: std::io::Error) -> Damage {
    Damage::new("a whole gzip stream", error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn file(magic: u32, dimensions: &[u32], body: &[u8]) -> Vec<u8> {
        let mut bytes = magic.to_be_bytes().to_vec();
        dimensions.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
        bytes.extend(body);
        gz(&bytes)
    }

    /// Three images of 2 x 3 pixels.
    fn small_images() -> Vec<u8> {
        file(IMAGES_MAGIC, &[3, 2, 3], &(0..18).collect::<Vec<u8>>())
    }

    #[test]
    fn whole_files_are_read() {
        let pixels: Vec<u8> = (0..18).collect();
        assert_eq!(images(&small_images(), 3, [2, 3]), Ok(pixels));
        assert_eq!(labels(&file(LABELS_MAGIC, &[4], &[0, 9, 3, 1]), 4, 10), Ok(vec![0, 9, 3, 1]));
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        let mut garbage = small_images();
        garbage.extend(b"xyz");
        let mut wrong_crc = small_images();
        let crc = wrong_crc.len() - 8;
        wrong_crc[crc] ^= 1;
        let cut = small_images();
        let report = [
            images(&file(LABELS_MAGIC, &[3, 2, 3], &[0; 18]), 3, [2, 3]),
            images(&file(IMAGES_MAGIC, &[u32::MAX, 2, 3], &[0; 18]), 3, [2, 3]),
            images(&file(IMAGES_MAGIC, &[3, 2, 4], &[0; 24]), 3, [2, 3]),
            images(&file(IMAGES_MAGIC, &[3, 2, 3], &[0; 17]), 3, [2, 3]),
            images(&file(IMAGES_MAGIC, &[3, 2, 3], &[0; 19]), 3, [2, 3]),
            images(&garbage, 3, [2, 3]),
            images(&wrong_crc, 3, [2, 3]),
            images(&cut[..cut.len() - 9], 3, [2, 3]),
            images(b"not gzip at all", 3, [2, 3]),
            images(b"", 3, [2, 3]),
        ]
        .map(|result| result.unwrap_err().to_string())
        .into_iter()
        .chain([labels(&file(LABELS_MAGIC, &[2], &[1, 10]), 2, 10).unwrap_err().to_string()])
        .collect::<Vec<_>>()
        .join("\n");
        insta::assert_snapshot!(report);
    }

    proptest! {
        #[test]
        fn no_damage_causes_a_panic(cut in 0_usize..200, at in 0_usize..200, bits in 1_u8..) {
            let whole = small_images();
            let _ = images(&whole[..cut.min(whole.len())], 3, [2, 3]);
            let mut flipped = whole.clone();
            let at = at % whole.len();
            flipped[at] ^= bits;
            // The CRC covers the pixels: what is read without an error is what was written.
            if let Ok(pixels) = images(&flipped, 3, [2, 3]) {
                prop_assert_eq!(pixels, (0..18).collect::<Vec<u8>>());
            }
        }
    }
}
