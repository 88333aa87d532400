//! Where the time of steps goes, as one rank sees it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::train::device::SumTimes;

/// Where the time of a step goes, or the mean over some of them, in seconds of this rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTimes {
    /// All of the step but the waiting.
    pub compute_s: f64,
    /// Of all sums of gradients, from the moment a bucket begins to that at which it is summed.
    pub communication_s: f64,
    /// For which the step stood still: what backward did not hide of the communication, and
    /// everything else that ranks agree on.
    pub wait_s: f64,
}

/// Sums over steps.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    steps: u32,
    whole: Duration,
    communication: Duration,
    waited: Duration,
}

impl Times {
    /// The mean over the steps, of which there is one at least.
    fn mean(&self) -> StepTimes {
        let mean = |time: Duration| time.as_secs_f64() / f64::from(self.steps);
        StepTimes {
            compute_s: mean(self.whole.saturating_sub(self.waited)),
            communication_s: mean(self.communication),
            wait_s: mean(self.waited),
        }
    }
}

/// A step whose sums are made by an accelerator, before it is known what they took.
#[derive(Debug, Clone, Copy, Default)]
struct Queued {
    whole: Duration,
    /// For agreement before the sums were queued: the accelerator had nothing to do meanwhile.
    before: Duration,
    /// For agreement after that: the accelerator may have been busy.
    after: Duration,
}

/// Measures steps.
#[derive(Debug, Default)]
pub(super) struct StepClock {
    begun: Option<Instant>,
    /// Of the step under way.
    communication: Duration,
    waited: Duration,
    /// Steps on an accelerator, oldest first; `None` of one that did not come to its end.
    queued: VecDeque<Option<Queued>>,
    times: Times,
    /// Each of the steps that are kept, while there is room.
    kept: Vec<StepTimes>,
}

impl StepClock {
    /// A step begins.
    pub(super) fn begin(&mut self) {
        self.begun = Some(Instant::now());
        (self.communication, self.waited) = Default::default();
    }

    /// The step's gradients are summed.
    pub(super) fn summed(&mut self, [waited, communication]: [Duration; 2]) {
        self.waited += waited;
        self.communication += communication;
    }

    /// The step's sums are queued on an accelerator; until then the step has waited for so long.
    pub(super) fn queued(&mut self, agreed: Duration) {
        self.waited = agreed;
        self.queued.push_back(None);
    }

    /// The step is done; for what ranks agree on it waited for so long since gradients were summed,
    /// or in all of it if that was not in between.
    pub(super) fn end(&mut self, agreed: Duration) {
        let Some(begun) = self.begun.take() else { return };
        let whole = begun.elapsed();
        match self.queued.back_mut() {
            Some(queued) => *queued = Some(Queued { whole, before: self.waited, after: agreed }),
            None => self.add(whole, self.communication, self.waited + agreed),
        }
    }

    /// What the sums of the oldest step on an accelerator took. A rank that is late is waited for
    /// twice, here by the thread that agrees and there by the accelerator, at the same time: the
    /// longer of both is what the step lost.
    pub(super) fn told(&mut self, times: SumTimes) {
        if let Some(Some(Queued { whole, before, after })) = self.queued.pop_front() {
            self.add(whole, times.under_way, before + after.max(times.stood_still));
        }
    }

    fn add(&mut self, whole: Duration, communication: Duration, waited: Duration) {
        let step = Times { steps: 1, whole, communication, waited };
        let all = &mut self.times;
        *all = Times {
            steps: all.steps + 1,
            whole: all.whole + whole,
            communication: all.communication + communication,
            waited: all.waited + waited,
        };
        if self.kept.len() < self.kept.capacity() {
            self.kept.push(step.mean());
        }
    }

    /// Keeps the times of each of the next `steps` steps.
    pub(super) fn keep(&mut self, steps: usize) {
        self.kept = Vec::with_capacity(steps);
    }

    /// What was kept, step by step.
    pub(super) fn kept(&mut self) -> Vec<StepTimes> {
        std::mem::take(&mut self.kept)
    }

    /// The mean over the steps since the last call; `None` of no step.
    pub(super) fn take(&mut self) -> Option<StepTimes> {
        let times = std::mem::take(&mut self.times);
        (times.steps > 0).then(|| times.mean())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn steps_on_an_accelerator_are_added_when_their_sums_are_told_and_broken_ones_never() {
        let mut clock = StepClock::default();
        clock.keep(3);
        for (ends, after) in [(true, 2 * MS), (false, MS), (true, 20 * MS)] {
            clock.begin();
            clock.queued(MS);
            if ends {
                clock.end(after);
            }
        }
        assert_eq!(clock.take(), None);
        for under_way in [7 * MS, 8 * MS, 9 * MS] {
            clock.told(SumTimes { under_way, stood_still: 5 * MS });
        }
        let kept = clock.kept();
        let told: Vec<[f64; 2]> = kept.iter().map(|t| [t.communication_s, t.wait_s]).collect();
        assert_eq!(told, [[0.007, 0.006], [0.009, 0.021]]);
        assert_eq!(clock.take().unwrap().communication_s, 0.008);
    }
}
