//! `time`: where an epoch's seconds go.
//!
//! The trainer says which phase begins; whoever has a clock says what time it is. Training itself
//! reads no clock, so that the same calls give the same bits.

use std::sync::Arc;

use super::{Label, Measured};

/// A part of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Images are gathered and augmented.
    Data,
    /// The outputs and the loss are computed.
    Forward,
    /// The gradients are computed.
    Backward,
    /// The parameters are changed.
    Update,
    /// The validation or test part is passed through.
    Evaluation,
    /// Anything else: reports, records, measurements.
    Other,
}

/// Names of the phases that are reported, in the order of [`Phase`].
const NAMES: [&str; 5] = ["data_s", "forward_s", "backward_s", "update_s", "evaluation_s"];

/// Seconds of one step, by what they went into; what is left of the step is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PhaseSeconds {
    /// [`Phase::Data`].
    pub data: f64,
    /// [`Phase::Forward`].
    pub forward: f64,
    /// [`Phase::Backward`].
    pub backward: f64,
    /// [`Phase::Update`].
    pub update: f64,
}

/// Adds up the seconds of the phases.
pub struct Clock {
    now: Option<Box<dyn Fn() -> f64 + Send>>,
    since: f64,
    phase: Phase,
    seconds: [f64; 6],
    /// The seconds when the last lap was taken.
    lap: [f64; 6],
    lanes: usize,
    network: Arc<[Label]>,
}

impl Clock {
    /// A clock that stands until it is wound.
    pub fn new(lanes: usize) -> Self {
        Self {
            now: None,
            since: 0.0,
            phase: Phase::Other,
            seconds: [0.0; 6],
            lap: [0.0; 6],
            lanes,
            network: Arc::new([Label::network()]),
        }
    }

    /// Reads the time, in seconds since anything, from `now` from here on.
    pub fn wind(&mut self, now: Box<dyn Fn() -> f64 + Send>) {
        self.since = now();
        self.now = Some(now);
    }

    /// Does it go?
    pub fn is_wound(&self) -> bool {
        self.now.is_some()
    }

    /// A phase begins, and the one before it ends.
    pub fn enter(&mut self, phase: Phase) {
        if let Some(now) = &self.now {
            let now = now();
            self.seconds[self.phase as usize] += now - self.since;
            self.since = now;
        }
        self.phase = phase;
    }

    /// The seconds of the phases that have ended since the last lap, or since [`take`](Self::take);
    /// `None` from a clock that stands.
    pub fn lap(&mut self) -> Option<PhaseSeconds> {
        self.now.as_ref()?;
        let before = std::mem::replace(&mut self.lap, self.seconds);
        let of = |phase: Phase| self.seconds[phase as usize] - before[phase as usize];
        Some(PhaseSeconds {
            data: of(Phase::Data),
            forward: of(Phase::Forward),
            backward: of(Phase::Backward),
            update: of(Phase::Update),
        })
    }

    /// The seconds since the last time, the same for all lanes, which share every pass; nothing from
    /// a clock that stands.
    pub fn take(&mut self) -> Vec<Measured> {
        let seconds = std::mem::take(&mut self.seconds);
        self.lap = [0.0; 6];
        if self.now.is_none() {
            return Vec::new();
        }
        let measured = NAMES.iter().zip(seconds).map(|(name, seconds)| {
            Measured::shared(name, &self.network, &vec![seconds; self.lanes])
        });
        measured.collect()
    }
}

/// Which way a pass goes through a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the input to the output.
    Forward,
    /// The gradients.
    Backward,
}

/// Adds up the seconds that every layer takes, each way.
pub struct LayerClock {
    now: Box<dyn Fn() -> f64 + Send>,
    seconds: Vec<[f64; 2]>,
}

impl LayerClock {
    /// A clock for so many layers that reads the time, in seconds since anything, from `now`.
    pub fn new(layers: usize, now: Box<dyn Fn() -> f64 + Send>) -> Self {
        Self { now, seconds: vec![[0.0; 2]; layers] }
    }

    /// Does `work`, and takes its time where there is a clock.
    pub fn time<R>(
        clock: &mut Option<Self>,
        (layer, way): (usize, Way),
        work: impl FnOnce() -> R,
    ) -> R {
        let Some(clock) = clock else { return work() };
        let begun = (clock.now)();
        let result = work();
        clock.seconds[layer][way as usize] += (clock.now)() - begun;
        result
    }

    /// Seconds forward and backward of every layer since the last time.
    pub fn take(&mut self) -> Vec<[f64; 2]> {
        let layers = self.seconds.len();
        std::mem::replace(&mut self.seconds, vec![[0.0; 2]; layers])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_layer_has_its_own_seconds() {
        let ticks = AtomicU32::new(0);
        let now = move || f64::from(ticks.fetch_add(1, Ordering::Relaxed)).powi(2);
        let mut clock = Some(LayerClock::new(2, Box::new(now)));
        for (layer, way) in [(0, Way::Forward), (1, Way::Forward), (1, Way::Backward)] {
            assert_eq!(LayerClock::time(&mut clock, (layer, way), || 7), 7);
        }
        let mut clock = clock.unwrap();
        assert_eq!(clock.take(), [[1.0, 0.0], [5.0, 9.0]]);
        assert_eq!(clock.take(), [[0.0; 2]; 2]);
        assert_eq!(LayerClock::time(&mut None, (5, Way::Forward), || 3), 3);
    }

    #[test]
    fn a_lap_has_the_seconds_since_the_one_before() {
        let mut clock = Clock::new(1);
        assert_eq!(clock.lap(), None, "a clock that stands knows nothing");
        let ticks = AtomicU32::new(0);
        clock.wind(Box::new(move || f64::from(ticks.fetch_add(1, Ordering::Relaxed)).powi(2)));
        let mut step = || {
            for phase in [Phase::Data, Phase::Forward, Phase::Backward, Phase::Update, Phase::Other]
            {
                clock.enter(phase);
            }
            clock.lap().unwrap()
        };
        let first = PhaseSeconds { data: 3.0, forward: 5.0, backward: 7.0, update: 9.0 };
        assert_eq!(step(), first);
        let second = PhaseSeconds { data: 13.0, forward: 15.0, backward: 17.0, update: 19.0 };
        assert_eq!(step(), second, "the tick between two laps is no part of a phase");
        let whole: Vec<f64> =
            clock.take().iter().map(|m| m.lanes[0].as_ref().unwrap().values[0]).collect();
        assert_eq!(whole, [16.0, 20.0, 24.0, 28.0, 0.0], "laps take nothing from the epoch");
        assert_eq!(clock.lap(), Some(PhaseSeconds::default()));
    }

    #[test]
    fn every_second_goes_to_the_phase_it_was_spent_in() {
        let mut clock = Clock::new(2);
        clock.enter(Phase::Data);
        assert!(clock.take().is_empty(), "a clock that stands knows nothing");
        let ticks = AtomicU32::new(0);
        // The n-th reading is n^2.
        clock.wind(Box::new(move || f64::from(ticks.fetch_add(1, Ordering::Relaxed)).powi(2)));
        for phase in [Phase::Data, Phase::Forward, Phase::Data, Phase::Evaluation, Phase::Other] {
            clock.enter(phase);
        }
        let values = |m: &Measured| (m.measurement, m.lanes[1].as_ref().unwrap().values[0]);
        let found: Vec<_> = clock.take().iter().map(values).collect();
        let expected =
            [("data_s", 3.0 + 7.0), ("forward_s", 5.0), ("backward_s", 0.0), ("update_s", 0.0)];
        // The first phase ends what was before the clock was wound: data of one tick.
        assert_eq!(found[0], (expected[0].0, expected[0].1 + 1.0));
        assert_eq!(found[1..4], expected[1..]);
        assert_eq!(found[4], ("evaluation_s", 9.0));
    }
}
