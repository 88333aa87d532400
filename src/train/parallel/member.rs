//! A rank's membership of its gang, for as long as the gang lives; trainers come and go.

use std::sync::Arc;
use std::time::Duration;

use super::device_exchange::Kept;
use super::{Lost, ParallelError, Peers, Pulse, Ranks, Segment, Shared};
use crate::train::kernel::Real;

/// One of the ranks that share a segment of memory.
pub struct Member {
    segment: Arc<Segment>,
    rank: usize,
    patience: Duration,
    pulse: Arc<Pulse>,
    orders: Peers,
    /// The accelerators of all ranks, once they have met.
    gathered: Kept,
}

impl Member {
    /// The rank `rank` of those that share `segment`. It is seen to live from now on, and takes one
    /// that does not move for `patience` for hung.
    ///
    /// # Errors
    /// When the system has no thread for its pulse.
    pub fn join(segment: Segment, rank: usize, patience: Duration) -> Result<Self, ParallelError> {
        let segment = Arc::new(segment);
        let pulse = Arc::new(Pulse::start(Arc::clone(&segment), rank, patience)?);
        let [_, _, orders] = Shared::channels(&segment, rank, patience);
        let orders = Peers::new(Box::new(orders));
        Ok(Self { segment, rank, patience, pulse, orders, gathered: Kept::default() })
    }

    /// The same, that does this when another rank stands still and the thread that trains cannot be
    /// told, since it waits for an accelerator.
    pub fn when_lost(self, lost: Lost) -> Self {
        self.pulse.when_lost(lost);
        self
    }

    /// The other ranks, on the channel for what they are to do next.
    pub fn orders(&self) -> &Peers {
        &self.orders
    }

    /// The ranks for a trainer. Only one trainer at a time may train.
    pub fn ranks<T: Real>(&self) -> Ranks<T> {
        let [gradients, agreement, _] = Shared::channels(&self.segment, self.rank, self.patience);
        let ranks = Ranks::new(Box::new(gradients), Box::new(agreement));
        ranks.of_member(Arc::clone(&self.pulse), Arc::clone(&self.gathered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_later_trainer_go_on_where_those_of_an_earlier_one_ended() {
        let segment = Segment::create(2).unwrap();
        let file = segment.descriptor().try_clone_to_owned().unwrap();
        let other = Segment::open(file, 2).unwrap();
        let work = |segment: Segment, rank: usize| {
            let member = Member::join(segment, rank, Duration::from_secs(60)).unwrap();
            let mut heard = Vec::new();
            for round in 0..3 {
                let ranks = member.ranks::<f32>();
                let mut numbers = [rank as f64 + f64::from(round); 2];
                ranks.peers().unwrap().sum(&mut numbers).unwrap();
                heard.extend(numbers);
                let mut order = [if rank == 0 { f64::from(round) } else { 99.0 }];
                member.orders().follow(&mut order).unwrap();
                heard.extend(order);
            }
            heard
        };
        let heard = std::thread::scope(|scope| {
            let second = scope.spawn(|| work(other, 1));
            [work(segment, 0), second.join().unwrap()]
        });
        assert_eq!(heard, [[1.0, 1.0, 0.0, 3.0, 3.0, 1.0, 5.0, 5.0, 2.0]; 2]);
    }
}
