//! What rank 0 has the others do: the calls of the trainer that all ranks make together.

use super::error::WorkerError;
use crate::train::parallel::Peers;

/// Words that are sent at once.
const WORDS: usize = 1 << 16;

/// Bytes of a word: an f64 holds 32 bits exactly.
const WORD: usize = 4;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Build the network of so many lanes. Their places in the assignment follow, and if they resume
    /// a checkpoint for each.
    Begin {
        /// How many.
        lanes: usize,
        /// Do they go on from checkpoints?
        resumes: bool,
    },
    /// Train to the end of the epoch, or until rank 0 stops.
    Epoch,
    /// Validate, and measure.
    Validate,
    /// Pass the test part.
    Test,
    /// Leave.
    End,
}

impl Order {
    /// Tells the others, as rank 0.
    pub(super) fn give(self, peers: &Peers) -> Result<(), WorkerError> {
        let mut words = match self {
            Self::Begin { lanes, resumes } => [1.0, lanes as f64, f64::from(u8::from(resumes))],
            Self::Epoch => [2.0, 0.0, 0.0],
            Self::Validate => [3.0, 0.0, 0.0],
            Self::Test => [4.0, 0.0, 0.0],
            Self::End => [5.0, 0.0, 0.0],
        };
        Ok(peers.follow(&mut words)?)
    }

    /// Hears what rank 0 tells.
    pub(super) fn hear(peers: &Peers) -> Result<Self, WorkerError> {
        let mut words = [0.0; 3];
        peers.follow(&mut words)?;
        let [kind, lanes, resumes] = words;
        Ok(match kind as u32 {
            1 => Self::Begin { lanes: lanes as usize, resumes: resumes != 0.0 },
            2 => Self::Epoch,
            3 => Self::Validate,
            4 => Self::Test,
            _ => Self::End,
        })
    }
}

/// Sends bytes to the others, as rank 0.
pub(super) fn send(peers: &Peers, bytes: &[u8]) -> Result<(), WorkerError> {
    peers.follow(&mut [bytes.len() as f64])?;
    let mut words = Vec::with_capacity(WORDS);
    for bytes in bytes.chunks(WORDS * WORD) {
        words.clear();
        words.extend(bytes.chunks(WORD).map(|bytes| {
            let mut word = [0; WORD];
            word[..bytes.len()].copy_from_slice(bytes);
            f64::from(u32::from_le_bytes(word))
        }));
        peers.follow(&mut words)?;
    }
    Ok(())
}

/// Receives what rank 0 sends.
pub(super) fn receive(peers: &Peers) -> Result<Vec<u8>, WorkerError> {
    let mut len = [0.0];
    peers.follow(&mut len)?;
    let len = len[0] as usize;
    let mut bytes = Vec::with_capacity(len.next_multiple_of(WORD));
    let mut words = Vec::with_capacity(WORDS);
    while bytes.len() < len {
        words.clear();
        words.resize((len - bytes.len()).div_ceil(WORD).min(WORDS), 0.0);
        peers.follow(&mut words)?;
        bytes.extend(words.iter().flat_map(|&word| (word as u32).to_le_bytes()));
    }
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::train::parallel::{Member, Segment};

    #[test]
    fn orders_and_bytes_arrive_as_they_were_sent() {
        let orders = [
            Order::Begin { lanes: 3, resumes: true },
            Order::Begin { lanes: 1, resumes: false },
            Order::Epoch,
            Order::Validate,
            Order::Test,
            Order::End,
        ];
        let texts = [0, 1, 4, 7, WORDS * WORD, WORDS * WORD + 5];
        let texts = texts.map(|len| (0..len).map(|i| (i * 31 % 251) as u8).collect::<Vec<u8>>());
        let first = Segment::create(2).unwrap();
        let file = first.descriptor().try_clone_to_owned().unwrap();
        let second = Segment::open(file, 2).unwrap();
        let join = |segment, rank| Member::join(segment, rank, Duration::from_secs(60)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let member = join(first, 0);
                orders.iter().for_each(|order| order.give(member.orders()).unwrap());
                texts.iter().for_each(|text| send(member.orders(), text).unwrap());
            });
            let member = join(second, 1);
            for order in orders {
                assert_eq!(Order::hear(member.orders()).unwrap(), order);
            }
            for text in &texts {
                assert!(receive(member.orders()).unwrap() == *text, "{}", text.len());
            }
        });
    }
}
