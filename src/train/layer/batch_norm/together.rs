//! Statistics of a batch that several ranks hold parts of: SyncBatchNorm, as PyTorch calls it.

use super::sums::{GradientSums, Moments};
use crate::train::error::TrainError;
use crate::train::parallel::Peers;

/// The lanes whose statistics are those of the whole batch, and the other ranks, who have the rest
/// of it.
pub struct Together {
    peers: Peers,
    lanes: Vec<usize>,
    channels: usize,
    /// What this rank gives; kept for its memory.
    own: Vec<f64>,
}

impl Together {
    /// `None` where no lane looks at the whole batch.
    pub fn new(peers: &Peers, lanes: Vec<usize>, channels: usize) -> Option<Self> {
        let peers = peers.clone();
        (!lanes.is_empty()).then(|| Self { peers, lanes, channels, own: Vec::new() })
    }

    /// Replaces rows (L) and moments (L, C) of this rank's part by those of the whole batch. The
    /// parts are joined in the order of the ranks (Chan, Golub and LeVeque, 1979): every rank comes
    /// to the same bits.
    ///
    /// # Errors
    /// When another rank is gone, stands still, failed or does something else.
    pub fn moments(
        &mut self,
        rows: &mut [usize],
        moments: &mut [Moments],
    ) -> Result<(), TrainError> {
        let (lanes, channels) = (&self.lanes, self.channels);
        let places = || lanes.iter().flat_map(|lane| lane * channels..(lane + 1) * channels);
        self.own.clear();
        self.own.push(rows[lanes[0]] as f64);
        self.own.extend(places().flat_map(|at| [moments[at].mean, moments[at].squares]));
        // What is left of an earlier batch says nothing where there are no rows.
        if self.own[0] == 0.0 {
            self.own.fill(0.0);
        }
        let whole = self.peers.gather(&self.own, |ranks| {
            let mut before = 0.0;
            places().for_each(|place| moments[place] = Moments::default());
            for rank in ranks {
                let (rows, rest) = rank.split_at(1);
                let rows = rows[0];
                if rows == 0.0 {
                    continue;
                }
                let share = rows / (before + rows);
                for (place, part) in places().zip(rest.chunks_exact(2)) {
                    let whole = &mut moments[place];
                    let step = part[0] - whole.mean;
                    whole.squares += part[1] + step * step * before * share;
                    whole.mean += step * share;
                }
                before += rows;
            }
            before
        })?;
        lanes.iter().for_each(|&lane| rows[lane] = whole as usize);
        Ok(())
    }

    /// Replaces sums (L, C) over this rank's part by those over the whole batch.
    ///
    /// # Errors
    /// As [`moments`](Self::moments).
    pub fn gradient_sums(&mut self, sums: &mut [GradientSums]) -> Result<(), TrainError> {
        let (lanes, channels) = (&self.lanes, self.channels);
        let places = || lanes.iter().flat_map(|lane| lane * channels..(lane + 1) * channels);
        self.own.clear();
        self.own.extend(places().flat_map(|place| [sums[place].plain, sums[place].weighted]));
        self.peers.sum(&mut self.own)?;
        for (place, whole) in places().zip(self.own.chunks_exact(2)) {
            sums[place] = GradientSums { plain: whole[0], weighted: whole[1] };
        }
        Ok(())
    }
}
