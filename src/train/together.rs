//! What the ranks of a run agree on, besides gradients: losses, whether to stop, what broke, and that
//! they hold the same numbers. On one device every question is answered already.

use super::divergence::Origin;
use super::error::TrainError;
use super::kernel::{Buffer, Real};
use super::loss::BatchLoss;
use super::parallel::Peers;
use super::trainer::Trainer;

/// Numbers that a digest is sent as: 32 bits each, which an f64 holds exactly.
const DIGEST: usize = 8;

/// Bytes of a text that ranks show each other; longer ones are not shown.
const TEXT: usize = 512;

/// Numbers that are turned into bytes at once.
const CHUNK: usize = 1 << 10;

impl<T: Real> Trainer<T> {
    /// Replaces the losses of this rank's part of the batch by those of all.
    pub(super) fn agree_on_losses(&mut self) -> Result<(), TrainError> {
        let mut losses = std::mem::take(&mut self.losses);
        let agreed = self.sum_over_ranks(&mut losses);
        self.losses = losses;
        agreed
    }

    /// Replaces sums over this rank's images by those over all.
    pub(super) fn sum_over_ranks(&mut self, sums: &mut [BatchLoss]) -> Result<(), TrainError> {
        let Some(peers) = self.ranks.peers() else { return Ok(()) };
        self.agreed.clear();
        // Counts are exact up to 2^53.
        self.agreed.extend(sums.iter().flat_map(|sum| [sum.sum, sum.right as f64]));
        peers.sum(&mut self.agreed)?;
        for (sum, whole) in sums.iter_mut().zip(self.agreed.chunks_exact(2)) {
            *sum = BatchLoss { sum: whole[0], right: whole[1] as u64 };
        }
        Ok(())
    }

    /// Is it so on any rank?
    pub(super) fn any_rank(&self, so: bool) -> Result<bool, TrainError> {
        let Some(peers) = self.ranks.peers() else { return Ok(so) };
        let mut count = [f64::from(u8::from(so))];
        peers.sum(&mut count)?;
        Ok(count[0] > 0.0)
    }

    /// What the first rank that found anything found.
    pub(super) fn first_origin(
        &self,
        origin: Option<Origin>,
    ) -> Result<Option<Origin>, TrainError> {
        let Some(peers) = self.ranks.peers() else { return Ok(origin) };
        let text = origin.as_ref().and_then(|origin| serde_json::to_vec(origin).ok());
        let mut own = [0.0; TEXT];
        for (number, byte) in own.iter_mut().zip(text.filter(|t| t.len() <= TEXT).iter().flatten())
        {
            *number = f64::from(*byte);
        }
        let first = peers.gather(&own, |mut ranks| {
            ranks.find(|text| text[0] != 0.0).map(|text| {
                let bytes = text.iter().map(|&x| x as u8).take_while(|&byte| byte != 0);
                bytes.collect::<Vec<u8>>()
            })
        })?;
        Ok(first.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Makes sure, before the first step, that all ranks start from the same numbers.
    pub(super) fn check_start(&mut self) -> Result<(), TrainError> {
        if self.is_checked {
            return Ok(());
        }
        self.is_checked = true;
        self.check_equal()
    }

    /// After an epoch: running statistics of rank 0 for all, so that every rank evaluates the same
    /// network; then makes sure that they hold the same numbers.
    pub(super) fn end_epoch_together(&mut self) -> Result<(), TrainError> {
        let Some(peers) = self.ranks.peers() else { return Ok(()) };
        for state in self.network.states_mut() {
            self.agreed.clear();
            self.agreed.extend(state.value.read()?.iter().map(|x| x.wide()));
            peers.follow(&mut self.agreed)?;
            let agreed = &self.agreed;
            state.value.write(|value| {
                value.iter_mut().zip(agreed).for_each(|(to, &x)| *to = T::of(x));
            })?;
        }
        self.check_equal()
    }

    /// Do all ranks hold the same parameters, memories of the optimizer and running statistics?
    fn check_equal(&self) -> Result<(), TrainError> {
        let Some(peers) = self.ranks.peers() else { return Ok(()) };
        let differ = differing(peers, &self.digest()?)?;
        if differ.is_empty() {
            return Ok(());
        }
        let (epoch, world) = (self.progress.epochs_done, peers.world());
        Err(TrainError::RanksDiffer { epoch, world, differ })
    }

    /// BLAKE3 of all that a rank must have in common with the others, in a fixed order.
    fn digest(&self) -> Result<[f64; DIGEST], TrainError> {
        let mut hasher = blake3::Hasher::new();
        let values = self.network.parameters().map(|parameter| &parameter.value);
        let states = self.network.states().map(|state| &state.value);
        for buffer in values.chain(self.optimizer.memories()).chain(states) {
            update(&mut hasher, buffer)?;
        }
        let digest = hasher.finalize();
        let mut words = digest.as_bytes().chunks_exact(4);
        Ok(std::array::from_fn(|_| {
            let word = words.next().and_then(|word| word.try_into().ok()).unwrap_or_default();
            f64::from(u32::from_le_bytes(word))
        }))
    }
}

/// The ranks whose digest is not that of rank 0.
fn differing(peers: &Peers, own: &[f64; DIGEST]) -> Result<Vec<usize>, TrainError> {
    Ok(peers.gather(own, |mut ranks| {
        let first = ranks.next().unwrap_or_default();
        ranks.zip(1..).filter(|(digest, _)| *digest != first).map(|(_, rank)| rank).collect()
    })?)
}

fn update<T: Real>(hasher: &mut blake3::Hasher, buffer: &Buffer<T>) -> Result<(), TrainError> {
    let mut bytes = [0; CHUNK * size_of::<f64>()];
    for numbers in buffer.read()?.chunks(CHUNK) {
        for (to, x) in bytes.chunks_exact_mut(size_of::<f64>()).zip(numbers) {
            to.copy_from_slice(&x.wide().to_le_bytes());
        }
        hasher.update(&bytes[..numbers.len() * size_of::<f64>()]);
    }
    Ok(())
}
