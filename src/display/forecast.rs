//! When a sweep will be over, from what it has done so far.

use std::collections::BTreeMap;
use std::time::Duration;

/// Work below which no forecast is given: a twentieth of a run says nothing.
const TOO_LITTLE: f64 = 0.05;

/// Counts work in runs: a run that ended is 1, a running one the part it has done.
#[derive(Debug, Default)]
pub struct Forecast {
    ended: f64,
    running: BTreeMap<usize, Part>,
}

/// How far a run was when first seen, since a checkpoint may have spared a part, and how far it is.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: f64,
    now: f64,
}

impl Forecast {
    /// `run` has done `fraction` of its steps.
    pub fn progress(&mut self, run: usize, fraction: f64) {
        self.running.entry(run).or_insert(Part { first: fraction, now: fraction }).now = fraction;
    }

    /// `run` came to its end.
    pub fn ended(&mut self, run: usize) {
        let spared = self.running.remove(&run).map_or(0.0, |part| part.first);
        self.ended += 1.0 - spared;
    }

    /// `run` stopped before its end.
    pub fn stopped(&mut self, run: usize) {
        self.running.remove(&run);
    }

    /// The time left of `total` runs, if enough has been done to say.
    pub fn left(&self, elapsed: Duration, total: usize) -> Option<Duration> {
        let running: f64 = self.running.values().map(|part| part.now - part.first).sum();
        let done = self.ended + running;
        if done < TOO_LITTLE {
            return None;
        }
        let left = (total as f64 - done).max(0.0);
        Duration::try_from_secs_f64(elapsed.as_secs_f64() / done * left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_and_a_half_of_ten_in_a_minute_leave_three() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.left(Duration::from_secs(60), 10), None);
        for run in [0, 1] {
            forecast.progress(run, 0.3);
            forecast.stopped(run);
            forecast.progress(run, 0.0);
            forecast.ended(run);
        }
        forecast.progress(2, 0.0);
        forecast.progress(2, 0.5);
        let left = forecast.left(Duration::from_secs(60), 10);
        assert_eq!(left, Some(Duration::from_secs(180)));
    }

    #[test]
    fn what_a_checkpoint_spared_does_not_count_as_speed() {
        let mut forecast = Forecast::default();
        forecast.progress(0, 0.9);
        assert_eq!(forecast.left(Duration::from_secs(1), 2), None);
        forecast.progress(0, 1.0);
        forecast.ended(0);
        let left = forecast.left(Duration::from_secs(10), 2).unwrap();
        assert!((left.as_secs_f64() - 190.0).abs() < 0.1, "{left:?}");
    }
}
