//! When a sweep will be over, from what it has done so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Work below which no forecast is given, in average runs: a twentieth of one says nothing.
const TOO_LITTLE: f64 = 0.05;

/// Weighs what is left against what was done in the time in which runs were under way. Runs weigh what
/// they are expected to take: the longest start first, and would each count like the short ones after
/// them.
#[derive(Debug)]
pub struct Forecast {
    /// The work of each run to do, in any one unit: what is left of one that was begun.
    work: BTreeMap<usize, f64>,
    /// What a run counts whose work is not known.
    average: f64,
    ended: f64,
    begun: BTreeMap<usize, Part>,
    busy: Busy,
}

/// The time in which at least one run was under way. A sweep that waits for devices that others hold
/// does nothing, which says nothing about its pace.
#[derive(Debug, Clone, PartialEq)]
pub struct Busy<Run = usize> {
    under_way: BTreeSet<Run>,
    since: Duration,
    before: Duration,
}

/// How far a run was when its first attempt began, since a checkpoint may have spared a part, and how
/// far it is.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: f64,
    now: f64,
}

impl Forecast {
    /// Of runs to do, each with its work.
    pub fn new(work: BTreeMap<usize, f64>) -> Self {
        let mut work = work;
        work.retain(|_, work| work.is_finite() && *work > 0.0);
        let average = match work.len() {
            0 => 1.0,
            runs => work.values().sum::<f64>() / runs as f64,
        };
        Self { work, average, ended: 0.0, begun: BTreeMap::new(), busy: Busy::default() }
    }

    /// An attempt at `run` began; `now` is counted from any one time.
    pub fn started(&mut self, run: usize, now: Duration) {
        self.busy.started(run, now);
    }

    /// `run` has done `fraction` of its steps, `resumed` of which a checkpoint had done when this
    /// attempt began.
    pub fn progress(&mut self, run: usize, resumed: f64, fraction: f64) {
        let part = self.begun.entry(run).or_insert(Part { first: resumed, now: fraction });
        part.first = part.first.min(resumed);
        part.now = fraction;
    }

    /// `run` came to its end.
    pub fn ended(&mut self, run: usize, now: Duration) {
        self.busy.over(run, now);
        self.begun.remove(&run);
        self.ended += self.work(run);
    }

    /// `run` stopped before its end. Its checkpoint has what it did, nearly.
    pub fn stopped(&mut self, run: usize, now: Duration) {
        self.busy.over(run, now);
    }

    /// The time left of `total` runs, if enough has been done to say.
    pub fn left(&self, now: Duration, total: usize) -> Option<Duration> {
        self.left_after(self.busy.until(now), total)
    }

    /// The same where the time in which runs were under way is known from elsewhere.
    pub fn left_after(&self, busy: Duration, total: usize) -> Option<Duration> {
        let begun: f64 = self.begun.iter().map(|(run, part)| part.done() * self.work(*run)).sum();
        let done = self.ended + begun;
        if done < TOO_LITTLE * self.average {
            return None;
        }
        let left = (self.average * total as f64 - done).max(0.0);
        Duration::try_from_secs_f64(busy.as_secs_f64() / done * left).ok()
    }

    fn work(&self, run: usize) -> f64 {
        self.work.get(&run).copied().unwrap_or(self.average)
    }
}

impl Part {
    /// The part of the work that was done, of what was left when the first attempt began.
    fn done(self) -> f64 {
        let to_do = 1.0 - self.first;
        if to_do > 0.0 { ((self.now - self.first) / to_do).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl<Run> Default for Busy<Run> {
    fn default() -> Self {
        Self { under_way: BTreeSet::new(), since: Duration::ZERO, before: Duration::ZERO }
    }
}

impl<Run: Ord> Busy<Run> {
    /// An attempt at `run` began.
    pub fn started(&mut self, run: Run, now: Duration) {
        if self.under_way.is_empty() {
            self.since = now;
        }
        self.under_way.insert(run);
    }

    /// The attempt at `run` is over.
    pub fn over(&mut self, run: Run, now: Duration) {
        let before = self.until(now);
        if self.under_way.remove(&run) && self.under_way.is_empty() {
            self.before = before;
        }
    }

    /// How long it was until `now`.
    pub fn until(&self, now: Duration) -> Duration {
        match self.under_way.is_empty() {
            true => self.before,
            false => self.before + now.saturating_sub(self.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn alike(runs: usize) -> Forecast {
        Forecast::new((0..runs).map(|run| (run, 7.0)).collect())
    }

    #[test]
    fn two_runs_and_a_half_of_ten_in_a_minute_leave_three() {
        let mut forecast = alike(10);
        assert_eq!(forecast.left(at(60), 10), None);
        for run in [0, 1] {
            forecast.started(run, at(0));
            forecast.progress(run, 0.0, 0.3);
            forecast.stopped(run, at(10));
            forecast.started(run, at(10));
            forecast.progress(run, 0.2, 0.2);
        }
        forecast.started(2, at(10));
        for run in [0, 1] {
            forecast.ended(run, at(50));
        }
        forecast.progress(2, 0.0, 0.5);
        assert_eq!(forecast.left(at(60), 10), Some(at(180)));
    }

    #[test]
    fn what_a_checkpoint_spared_does_not_count_as_speed() {
        // What is left of the first is a tenth of the second.
        let mut forecast = Forecast::new(BTreeMap::from([(0, 1.0), (1, 10.0)]));
        forecast.started(0, at(0));
        forecast.progress(0, 0.9, 0.91);
        assert_eq!(forecast.left(at(1), 2), None);
        forecast.ended(0, at(10));
        forecast.started(1, at(10));
        assert_eq!(forecast.left(at(10), 2), Some(at(100)));
    }

    #[test]
    fn waiting_for_devices_does_not_count_as_work() {
        let mut forecast = alike(16);
        for run in 0..8 {
            let began = if run < 4 { 480 } else { 3000 } + run as u64;
            forecast.started(run, at(began));
            forecast.ended(run, at(began + 1));
        }
        assert_eq!(forecast.left(at(5000), 16), Some(at(8)), "eight runs of a second");
    }

    #[test]
    fn a_run_that_is_over_before_it_is_seen_counts_as_a_whole_one() {
        let mut forecast = alike(4);
        forecast.started(0, at(0));
        forecast.started(1, at(0));
        for run in 0..2 {
            forecast.progress(run, 0.0, 0.97);
            forecast.ended(run, at(5));
        }
        assert_eq!(forecast.left(at(5), 4), Some(at(5)));
    }

    #[test]
    fn runs_weigh_what_they_are_expected_to_take() {
        let mut forecast = Forecast::new(BTreeMap::from([(0, 60.0), (1, 20.0), (2, 10.0)]));
        forecast.started(0, at(0));
        forecast.progress(0, 0.0, 0.5);
        assert_eq!(forecast.left(at(20), 3), Some(at(40)), "thirty of ninety");
        forecast.ended(0, at(40));
        assert_eq!(forecast.left(at(40), 3), Some(at(20)));
    }
}
