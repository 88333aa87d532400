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
    device_peak_before: Option<u64>,
}

impl Clock {
    /// Of a run that begins with an attempt started then.
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            wall_before: 0.0,
            train_s: 0.0,
            elapsed_s: 0.0,
            peak_before: 0,
            device_peak_before: None,
        }
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
        self.device_peak_before = entry.device_memory_bytes;
    }

    /// Wall seconds, all attempts.
    pub(super) fn wall_s(&self) -> f64 {
        self.wall_before + self.started.elapsed().as_secs_f64()
    }

    /// Largest resident memory, all attempts.
    pub(super) fn peak_memory_bytes(&self) -> u64 {
        self.peak_before.max(peak_memory_bytes().unwrap_or(0))
    }

    /// Most memory allocated on a GPU, all attempts, where `now` is that of this one. Of a run that went from
    /// a GPU to cores nothing: what it took there says nothing of where it is.
    pub(super) fn device_memory_bytes(&self, now: Option<u64>) -> Option<u64> {
        now.map(|now| now.max(self.device_peak_before.unwrap_or(0)))
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

    #[test]
    fn memory_of_a_gpu_is_the_most_of_all_attempts_on_one() {
        let mut clock = Clock::new(Instant::now());
        assert_eq!(clock.device_memory_bytes(Some(7)), Some(7));
        clock.carry_on(&CheckpointEntry {
            step: 1,
            blake3: String::new(),
            events_length: 0,
            wall_s: 1.0,
            elapsed_s: 1.0,
            train_s: 1.0,
            peak_memory_bytes: 0,
            device_memory_bytes: Some(9),
        });
        let [less, more, none] =
            [Some(8), Some(10), None].map(|now| clock.device_memory_bytes(now));
        assert_eq!((less, more, none), (Some(9), Some(10), None));
    }
}
