//! What ranks agree on: a few numbers, at once, before any of them goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AllReduce, ParallelError};

/// The other ranks, for whoever has to agree with them: the trainer, and layers that need the whole
/// batch. Clones speak on the same channel, one at a time.
#[derive(Clone)]
pub struct Peers {
    rank: usize,
    world: usize,
    channel: Arc<Mutex<Channel>>,
}

struct Channel {
    link: Box<dyn AllReduce<f64>>,
    /// What every rank gives, for [`Peers::gather`]; kept for its memory.
    gathered: Vec<f64>,
    /// Since the last [`Peers::take_waited`].
    waited: Duration,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.world)
    }
}

impl Peers {
    /// The ranks at the other ends of `link`.
    pub fn new(link: Box<dyn AllReduce<f64>>) -> Self {
        let (rank, world) = (link.rank(), link.world_size());
        let channel = Channel { link, gathered: Vec::new(), waited: Duration::ZERO };
        Self { rank, world, channel: Arc::new(Mutex::new(channel)) }
    }

    /// Which rank this is, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are, this one included.
    pub fn world(&self) -> usize {
        self.world
    }

    /// Replaces `numbers` by their sums over all ranks, added in the order of the ranks.
    ///
    /// # Errors
    /// When another rank is gone, stands still, failed or does something else.
    pub fn sum(&self, numbers: &mut [f64]) -> Result<(), ParallelError> {
        self.speak(|channel| channel.link.all_reduce(numbers))
    }

    /// Replaces `numbers` by those of rank 0. Minus zero becomes zero.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub fn follow(&self, numbers: &mut [f64]) -> Result<(), ParallelError> {
        self.speak(|channel| channel.link.broadcast(numbers))
    }

    /// Shows `look` what every rank gives, rank after rank, each as many as `own`; finite numbers.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub fn gather<R>(
        &self,
        own: &[f64],
        look: impl FnOnce(std::slice::ChunksExact<'_, f64>) -> R,
    ) -> Result<R, ParallelError> {
        self.speak(|Channel { link, gathered, .. }| {
            gathered.clear();
            gathered.resize(own.len() * self.world, 0.0);
            // Sums with zeros: each is one rank's number.
            gathered[self.rank * own.len()..][..own.len()].copy_from_slice(own);
            link.all_reduce(gathered)?;
            Ok(look(gathered.chunks_exact(own.len().max(1))))
        })
    }

    /// Time spent on agreeing since the last call.
    pub fn take_waited(&self) -> Duration {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut channel.waited)
    }

    fn speak<R>(
        &self,
        say: impl FnOnce(&mut Channel) -> Result<R, ParallelError>,
    ) -> Result<R, ParallelError> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let heard = say(&mut channel);
        channel.waited += begun.elapsed();
        heard
    }
}
