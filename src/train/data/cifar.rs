//! The binary format of CIFAR-10: records of a label byte and 3072 pixel bytes, the red, the green
//! and the blue plane of 32 x 32 each (<https://www.cs.toronto.edu/~kriz/cifar.html>).

use super::error::Damage;
use super::idx::check_labels;
use super::splits::Images;

const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;

/// Appends `count` records with labels below `classes` to `images`, shape (N, 3, 32, 32).
///
/// # Errors
/// If the length or a label is not what is expected; `images` is then partly extended.
pub fn append(
    bytes: &[u8],
    count: usize,
    classes: usize,
    images: &mut Images,
) -> Result<(), Damage> {
    if bytes.len() != count * RECORD {
        let expected = format!("{count} records of {RECORD} bytes");
        return Err(Damage::new(expected, format!("{} bytes", bytes.len())));
    }
    let first = images.labels.len();
    let pixels = images.pixels.to_mut();
    pixels.reserve(count * PIXELS);
    for record in bytes.chunks_exact(RECORD) {
        images.labels.push(u16::from(record[0]));
        pixels.extend_from_slice(&record[1..]);
    }
    check_labels(&images.labels[first..], classes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(labels: &[u8]) -> Vec<u8> {
        labels
            .iter()
            .flat_map(|&label| {
                std::iter::once(label).chain((0..PIXELS).map(move |i| (i % 251) as u8 ^ label))
            })
            .collect()
    }

    #[test]
    fn records_are_taken_apart() {
        let mut images = Images::default();
        append(&records(&[3, 8]), 2, 10, &mut images).unwrap();
        append(&records(&[1]), 1, 10, &mut images).unwrap();
        assert_eq!(images.labels, [3, 8, 1]);
        assert_eq!(images.pixels.len(), 3 * PIXELS);
        assert_eq!(images.pixels[PIXELS..PIXELS + 3], [8, 9, 10]);
    }

    #[test]
    fn wrong_lengths_and_labels_are_named() {
        let cases =
            [(records(&[3, 8]), 3), (records(&[3])[1..].to_vec(), 1), (records(&[4, 10]), 2)];
        let report = cases
            .map(|(bytes, count)| {
                append(&bytes, count, 10, &mut Images::default()).unwrap_err().to_string()
            })
            .join("\n");
        insta::assert_snapshot!(report);
    }

    proptest! {
        #[test]
        fn no_damage_causes_a_panic(cut in 0..2 * RECORD, at in 0..2 * RECORD, bits in 1_u8..) {
            let mut bytes = records(&[3, 8]);
            bytes[at] ^= bits;
            let _ = append(&bytes, 2, 10, &mut Images::default());
            prop_assert!(append(&bytes[..cut], 2, 10, &mut Images::default()).is_err());
        }
    }
}
