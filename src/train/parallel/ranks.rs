//! What a trainer knows of its gang.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use super::device_exchange::{DeviceExchange, Kept};
use super::step_clock::{StepClock, StepTimes};
use super::{AllReduce, Exchange, Peers, Pulse, part_of};
use crate::train::device::{Accelerator, Gathered, MEETING};
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
    /// The accelerators of all ranks while no trainer sums over them.
    gathered: Kept,
    clock: StepClock,
}

/// The way that gradients go; who sums them needs to know them before.
enum Gradients<T> {
    Link(Option<Box<dyn AllReduce<T>>>),
    Exchange(Exchange<T>),
    OnDevice(DeviceExchange<T>),
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
                gathered: Kept::default(),
                clock: StepClock::default(),
            }),
        }
    }

    /// The same, with a pulse that is told when this rank computes, and accelerators that have met
    /// already or will be left there.
    pub(super) fn of_member(mut self, pulse: Arc<Pulse>, gathered: Kept) -> Self {
        if let Some(gang) = &mut self.gang {
            (gang.pulse, gang.gathered) = (Some(pulse), gathered);
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

    /// Sums the gradients of `parameters` on `accelerator` from here on, which meets those of the
    /// other ranks. Every rank calls it.
    ///
    /// # Errors
    /// When a library is missing, the accelerators do not meet, or another rank is lost.
    pub fn move_to<'a>(
        &mut self,
        accelerator: &Accelerator,
        parameters: impl Iterator<Item = &'a Parameter<T>>,
    ) -> Result<(), TrainError>
    where
        T: 'a,
    {
        let Some(gang) = &mut self.gang else { return Ok(()) };
        let kept = gang.gathered.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gathered = match kept {
            Some(gathered) => gathered,
            None => gang.meet(accelerator)?,
        };
        let kept = Arc::clone(&gang.gathered);
        let exchange = DeviceExchange::new(gathered, kept, parameters)?;
        gang.gradients = Gradients::OnDevice(exchange);
        Ok(())
    }

    /// Takes a complete gradient to be summed over the ranks.
    ///
    /// # Errors
    /// When a sum before it has failed.
    pub fn ready(&mut self, parameter: &mut Parameter<T>) -> Result<(), TrainError> {
        match self.gang.as_mut().map(|gang| &mut gang.gradients) {
            Some(Gradients::Exchange(exchange)) => exchange.ready(parameter),
            Some(Gradients::OnDevice(exchange)) => exchange.ready(parameter),
            Some(Gradients::Link(_)) | None => Ok(()),
        }
    }

    /// All gradients are summed for whatever is done with them from here on.
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
        let Some(gang) = &mut self.gang else { return Ok(()) };
        // Of steps before this one, which have come to their end or never will.
        gang.listen(false);
        match &mut gang.gradients {
            Gradients::Link(_) => {}
            Gradients::Exchange(exchange) => gang.clock.summed(exchange.finish(parameters)?),
            Gradients::OnDevice(exchange) => {
                exchange.finish(&gang.peers, parameters)?;
                gang.clock.queued(gang.peers.take_waited());
            }
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
            gang.clock.begin();
        }
    }

    /// The step is done.
    pub fn end_step(&mut self) {
        if let Some(gang) = &mut self.gang {
            gang.clock.end(gang.peers.take_waited());
        }
    }

    /// Keeps the times of each of the next `steps` steps.
    pub fn keep_times(&mut self, steps: usize) {
        if let Some(gang) = &mut self.gang {
            gang.listen(true);
            gang.clock.keep(steps);
        }
    }

    /// What was kept, step by step; nothing of one rank.
    pub fn kept_times(&mut self) -> Vec<StepTimes> {
        let Some(gang) = &mut self.gang else { return Vec::new() };
        gang.listen(true);
        gang.clock.kept()
    }

    /// Where the time of the steps since the last call went; `None` of one rank, or of no step.
    pub fn take_times(&mut self) -> Option<StepTimes> {
        let gang = self.gang.as_mut()?;
        gang.listen(true);
        gang.clock.take()
    }
}

impl<T: Real> Gang<T> {
    /// Lets the accelerators of all ranks meet.
    fn meet(&self, accelerator: &Accelerator) -> Result<Gathered, TrainError> {
        let (rank, world) = (self.peers.rank(), self.peers.world());
        let mut numbers = [0.0; MEETING];
        if rank == 0 {
            numbers = accelerator.meeting()?.map(f64::from);
        }
        self.peers.follow(&mut numbers)?;
        // All ranks are there, and live: from here on one that stands still is missed.
        if let Some(pulse) = &self.pulse {
            pulse.follow_calls(accelerator.calls());
        }
        Ok(accelerator.meet(&numbers.map(|byte| byte as u8), [rank, world])?)
    }

    /// Hears of an accelerator what sums took, as far as they are made, or of all.
    fn listen(&mut self, wait: bool) {
        let Gradients::OnDevice(exchange) = &mut self.gradients else { return };
        // An error is one of the device, which the next operation on it tells.
        while let Ok(Some(times)) = exchange.times(wait) {
            self.clock.told(times);
        }
    }
}
