//! The data set of several ranks: rank 0 loads it, and all of them have its bytes in memory once.

use std::borrow::Cow;

use super::error::WorkerError;
use super::pages::give_back_freed_pages;
use crate::train::data::{DataSplits, Images};
use crate::train::parallel::{ParallelError, Peers, SharedBytes};

/// Bytes of a label.
const LABEL: usize = 2;

/// What has to be known of a data set to make something of its bytes: pixels of the three parts, then
/// their labels.
#[derive(Debug, Clone, PartialEq)]
struct Outline {
    shape: [usize; 3],
    classes: usize,
    /// Images of each part.
    parts: [usize; 3],
    /// Mean of every channel, then the deviations.
    moments: Vec<f64>,
}

impl Outline {
    fn of(data: &DataSplits) -> Self {
        let moments = data.mean.iter().chain(&data.std).map(|&number| f64::from(number));
        Self {
            shape: data.shape,
            classes: data.classes,
            parts: [&data.train, &data.val, &data.test].map(Images::len),
            moments: moments.collect(),
        }
    }

    /// Says or hears it: rank 0 has it, the others are told.
    fn agree(mut self, peers: &Peers) -> Result<Self, ParallelError> {
        let Self { shape: [c, h, w], classes, parts: [train, val, test], .. } = self;
        let mut numbers = [c, h, w, classes, train, val, test].map(|number| number as f64);
        peers.follow(&mut numbers)?;
        let [c, h, w, classes, train, val, test] = numbers.map(|number| number as usize);
        self.moments.resize(2 * c, 0.0);
        peers.follow(&mut self.moments)?;
        Ok(Self { shape: [c, h, w], classes, parts: [train, val, test], ..self })
    }

    /// The data set in `bytes`.
    fn fill(self, bytes: &'static [u8]) -> Result<DataSplits, ParallelError> {
        let Self { shape, classes, parts, moments } = self;
        let unit: usize = shape.iter().product();
        let images: usize = parts.iter().sum();
        if bytes.len() != images * (unit + LABEL) {
            return Err(ParallelError::Mismatch {
                expected: format!("{} bytes of a data set", images * (unit + LABEL)),
                found: format!("{} bytes", bytes.len()),
            });
        }
        let (mut pixels, labels) = bytes.split_at(images * unit);
        let mut labels = labels.chunks_exact(LABEL).map(|two| u16::from_le_bytes([two[0], two[1]]));
        let [train, val, test] = parts.map(|len| {
            let (own, rest) = pixels.split_at(len * unit);
            pixels = rest;
            Images { pixels: Cow::Borrowed(own), labels: labels.by_ref().take(len).collect() }
        });
        let narrow = |moments: &[f64]| moments.iter().map(|&number| number as f32).collect();
        let (mean, std) = moments.split_at(shape[0]);
        let (mean, std) = (narrow(mean), narrow(std));
        Ok(DataSplits { shape, classes, mean, std, train, val, test })
    }
}

/// Gives a data set to the other ranks, as rank 0; gives what all of them have.
///
/// # Errors
/// When there is no memory left, or another rank is lost.
pub(super) fn give(
    peers: &Peers,
    mut memory: SharedBytes,
    data: DataSplits,
) -> Result<DataSplits, WorkerError> {
    let outline = Outline::of(&data);
    let mut labels = Vec::new();
    for part in [data.train, data.val, data.test] {
        // It goes before the next is there twice.
        memory.append(&part.pixels)?;
        labels.extend(part.labels.iter().flat_map(|label| label.to_le_bytes()));
    }
    memory.append(&labels)?;
    memory.seal()?;
    drop(labels);
    give_back_freed_pages();
    Ok(outline.agree(peers)?.fill(memory.map()?)?)
}

/// Receives the data set that rank 0 has loaded.
///
/// # Errors
/// As [`give`], or when it is not what rank 0 says.
pub(super) fn receive(peers: &Peers, memory: SharedBytes) -> Result<DataSplits, WorkerError> {
    let unknown = Outline { shape: [0; 3], classes: 0, parts: [0; 3], moments: Vec::new() };
    Ok(unknown.agree(peers)?.fill(memory.map()?)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::train::parallel::{Member, Segment};

    fn images(len: usize, seed: usize) -> Images {
        let pixels: Vec<u8> = (0..len * 12).map(|i| (i * 7 + seed) as u8).collect();
        let labels = (0..len).map(|i| (i * 300 + seed) as u16).collect();
        Images { pixels: pixels.into(), labels }
    }

    #[test]
    fn all_ranks_have_what_rank_0_has_loaded() {
        let mean = vec![0.1, 0.2, 1.0 / 3.0];
        let data = DataSplits {
            shape: [3, 2, 2],
            classes: 1000,
            std: mean.clone(),
            mean,
            train: images(9, 1),
            val: Images::default(),
            test: images(4, 3),
        };
        let own = SharedBytes::create().unwrap();
        let others = SharedBytes::open(own.descriptor().try_clone_to_owned().unwrap());
        let first = Segment::create(2).unwrap();
        let second = Segment::open(first.descriptor().try_clone_to_owned().unwrap(), 2).unwrap();
        let join = |segment, rank| Member::join(segment, rank, Duration::from_secs(60)).unwrap();
        let found = std::thread::scope(|scope| {
            let data = data.clone();
            let given = scope.spawn(|| give(join(first, 0).orders(), own, data).unwrap());
            let received = receive(join(second, 1).orders(), others).unwrap();
            [given.join().unwrap(), received]
        });
        for found in found {
            assert_eq!(found, data);
            assert!(matches!(found.train.pixels, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        let outline = Outline::of(&DataSplits {
            shape: [3, 2, 2],
            classes: 2,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            train: images(2, 0),
            val: images(1, 0),
            test: images(1, 0),
        });
        let error = outline.fill(b"short").unwrap_err().to_string();
        assert!(error.ends_with("expected 56 bytes of a data set, found 5 bytes"), "{error}");
    }
}
