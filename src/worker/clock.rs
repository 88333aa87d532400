//! Times and memory of a run, which go on over its attempts.

use std::time::Instant;

use crate::record::checkpoint::CheckpointEntry;

/// Times and memory of a run so far.
pub(super) struct Clock {
    started: Instant,
    /// Wall seconds of the attempts that the checkpoint carries on.
    wall_before: f64,
    /// Seconds of training, all attempts.
    pub(super) train_s: f64,
    /// Training and validation, all attempts.
    pub(super) elapsed_s: f64,
    peak_before: u64,
}

impl Clock {
    /// Of a run that begins with an attempt started then.
    pub(super) fn new(started: Instant) -> Self {
        Self { started, wall_before: 0.0, train_s: 0.0, elapsed_s: 0.0, peak_before: 0 }
    }

    /// Of the same attempt, at the start of its run.
    pub(super) fn restarted(&self) -> Self {
        Self::new(self.started)
    }

    /// Goes on from a checkpoint.
    pub(super) fn carry_on(&mut self, entry: &CheckpointEntry) {
        self.wall_before = entry.wall_s;
        self.train_s = entry.train_s;
        self.elapsed_s = entry.elapsed_s;
        self.peak_before = entry.peak_memory_bytes;
    }

    /// Wall seconds, all attempts.
    pub(super) fn wall_s(&self) -> f64 {
        self.wall_before + self.started.elapsed().as_secs_f64()
    }

    /// Largest resident memory, all attempts.
    pub(super) fn peak_memory_bytes(&self) -> u64 {
        self.peak_before.max(peak_memory_bytes().unwrap_or(0))
    }
}

/// Largest resident memory of this process so far, in bytes, as the kernel counts it.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_peak_of_this_process() {
        let before = peak_memory_bytes().unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(peak_memory_bytes().unwrap() >= before.max(block.len() as u64));
    }
}
