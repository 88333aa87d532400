//! For how long another rank has not moved, as one sees it who waits.

use std::time::{Duration, Instant};

/// One who has not looked for so long was itself stopped, with the whole machine perhaps, and blames
/// nobody for that time.
const STOPPED: Duration = Duration::from_secs(1);

/// Looks at the pulse of another rank again and again.
#[derive(Debug)]
pub(super) struct Vigil {
    beat: u32,
    moved: Instant,
    looked: Instant,
}

impl Vigil {
    /// Begins at `now`, when the pulse is at `beat`.
    pub(super) fn begin(beat: u32, now: Instant) -> Self {
        Self { beat, moved: now, looked: now }
    }

    /// For how long the pulse, which at `now` is at `beat`, has stood still.
    pub(super) fn look(&mut self, beat: u32, now: Instant) -> Duration {
        if beat != self.beat || now - self.looked > STOPPED {
            (self.beat, self.moved) = (beat, now);
        }
        self.looked = now;
        now - self.moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_last_beat_and_not_while_the_watcher_was_stopped() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let mut vigil = Vigil::begin(7, begun);
        let mut look = |beat: u32, ms: u64| vigil.look(beat, at(ms)).as_millis();
        assert_eq!([look(7, 400), look(7, 900), look(8, 1000), look(8, 1700)], [400, 900, 0, 700]);
        assert_eq!([look(8, 2700), look(8, 3701), look(8, 4000)], [1700, 0, 299]);
    }
}
