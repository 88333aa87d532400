//! What a trainer knows of its gang.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AllReduce, Exchange, Peers, Pulse, part_of};
use crate::train::error::TrainError;
use crate::train::kernel::Real;
use crate::train::layer::Parameter;

/// A rank among those that train a run; alone, where a run has one device.
pub struct Ranks<T> {
    gang: Option<Gang<T>>,
}

struct Gang<T> {
    peers: Peers,
    gradients: Gradients<T>,
    pulse: Option<Arc<Pulse>>,
    step: Option<Instant>,
    times: Times,
    /// The same when the step before was done.
    before: Times,
    /// Each of the steps that are kept, while there is room.
    kept: Vec<StepTimes>,
}

/// The way that gradients go; a thread needs to know them before it can sum them.
enum Gradients<T> {
    Link(Option<Box<dyn AllReduce<T>>>),
    Exchange(Exchange<T>),
}

/// Sums over the steps of an epoch.
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

    /// The mean over the steps since `before`.
    fn since(&self, before: &Self) -> StepTimes {
        let steps = Self {
            steps: self.steps - before.steps,
            whole: self.whole - before.whole,
            communication: self.communication - before.communication,
            waited: self.waited - before.waited,
        };
        steps.mean()
    }
}

/// Where the time of a step goes, the mean over some of them, in seconds of this rank.
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

impl<T: Real> Ranks<T> {
    /// The only one.
    pub fn alone() -> Self {
        Self { gang: None }
    }

    /// One that sums gradients over one link and agrees on everything else over another.
    pub fn new(gradients: Box<dyn AllReduce<T>>, agreement: Box<dyn AllReduce<f64>>) -> Self {
        Self {
            gang: Some(Gang {
                peers: Peers::new(agreement),
                gradients: Gradients::Link(Some(gradients)),
                pulse: None,
                step: None,
                times: Times::default(),
                before: Times::default(),
                kept: Vec::new(),
            }),
        }
    }

    /// The same, with a pulse that is told when this rank computes.
    pub(super) fn with_pulse(mut self, pulse: Arc<Pulse>) -> Self {
        if let Some(gang) = &mut self.gang {
            gang.pulse = Some(pulse);
        }
        self
    }

    /// The other ranks, if there are any.
    pub fn peers(&self) -> Option<&Peers> {
        self.gang.as_ref().map(|gang| &gang.peers)
    }

    /// How many ranks there are, this one included.
    pub fn world(&self) -> usize {
        self.peers().map_or(1, Peers::world)
    }

    /// This rank's part of `places`.
    pub fn part(&self, places: &Range<usize>) -> Range<usize> {
        self.peers().map_or(places.clone(), |peers| part_of(places, peers.rank(), peers.world()))
    }

    /// Prepares for the gradients of `parameters`.
    ///
    /// # Errors
    /// When a thread or memory cannot be had.
    pub fn prepare<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        if let Some(gang) = &mut self.gang
            && let Gradients::Link(link) = &mut gang.gradients
        {
            let link = link.take().expect("invariant: a link is taken once");
            gang.gradients = Gradients::Exchange(Exchange::new(link, parameters)?);
        }
        Ok(())
    }

    /// Takes a complete gradient to be summed over the ranks.
    ///
    /// # Errors
    /// When a sum before it has failed.
    pub fn ready(&mut self, parameter: &mut Parameter<T>) -> Result<(), TrainError> {
        match &mut self.gang {
            Some(Gang { gradients: Gradients::Exchange(exchange), .. }) => {
                exchange.ready(parameter)
            }
            _ => Ok(()),
        }
    }

    /// Returns when all gradients are summed.
    ///
    /// # Errors
    /// When one could not be.
    pub fn finish<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a mut Parameter<T>>,
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        if let Some(Gang { gradients: Gradients::Exchange(exchange), times, .. }) = &mut self.gang {
            let [waited, communication] = exchange.finish(parameters)?;
            times.waited += waited;
            times.communication += communication;
        }
        Ok(())
    }

    /// Says whether this rank computes from here on, or does what the disk may hold up.
    pub fn computing(&self, computing: bool) {
        if let Some(pulse) = self.gang.as_ref().and_then(|gang| gang.pulse.as_ref()) {
            pulse.computing(computing);
        }
    }

    /// A step begins.
    pub fn begin_step(&mut self) {
        if let Some(gang) = &mut self.gang {
            gang.peers.take_waited();
            gang.step = Some(Instant::now());
        }
    }

    /// The step is done.
    pub fn end_step(&mut self) {
        let Some(gang) = &mut self.gang else { return };
        let Some(begun) = gang.step.take() else { return };
        gang.times.steps += 1;
        gang.times.whole += begun.elapsed();
        gang.times.waited += gang.peers.take_waited();
        let step = gang.times.since(&gang.before);
        gang.before = gang.times;
        if gang.kept.len() < gang.kept.capacity() {
            gang.kept.push(step);
        }
    }

    /// Keeps the times of each of the next `steps` steps.
    pub fn keep_times(&mut self, steps: usize) {
        if let Some(gang) = &mut self.gang {
            gang.kept = Vec::with_capacity(steps);
        }
    }

    /// What was kept, step by step; nothing of one rank.
    pub fn kept_times(&mut self) -> Vec<StepTimes> {
        self.gang.as_mut().map(|gang| std::mem::take(&mut gang.kept)).unwrap_or_default()
    }

    /// Where the time of the steps since the last call went; `None` of one rank, or of no step.
    pub fn take_times(&mut self) -> Option<StepTimes> {
        let gang = self.gang.as_mut()?;
        gang.before = Times::default();
        let times = std::mem::take(&mut gang.times);
        (times.steps > 0).then(|| times.mean())
    }
}
