//! Steps that are trained but not yet written: several go into one line of the events.

use std::time::{Duration, Instant};

use crate::event::RunEvent;
use crate::train::StepReport;

/// Lines of steps are at most this far apart: often enough for a live display, seldom enough to
/// cost nothing.
const FLUSH: Duration = Duration::from_millis(250);

/// Steps that are trained but not yet written.
#[derive(Default)]
pub(super) struct PendingSteps {
    first_step: u64,
    epoch: u32,
    loss: Vec<f64>,
    lr: Vec<f64>,
    written: Option<Instant>,
}

impl PendingSteps {
    /// Takes note of one lane's part of a step, unless it has diverged.
    pub(super) fn push(&mut self, lane: usize, report: &StepReport<'_>) {
        let Some(lane) = &report.lanes[lane] else { return };
        if self.loss.is_empty() {
            self.first_step = report.step;
            self.epoch = report.epoch;
        }
        self.loss.push(lane.loss);
        self.lr.push(lane.lr);
    }

    /// The steps as an event, if it is time to write them: at the first step, then every `FLUSH`.
    pub(super) fn take_if_due(&mut self) -> Option<RunEvent> {
        let due = self.written.is_none_or(|written| written.elapsed() >= FLUSH);
        if due { self.take() } else { None }
    }

    /// The steps as an event; none where there are none.
    pub(super) fn take(&mut self) -> Option<RunEvent> {
        if self.loss.is_empty() {
            return None;
        }
        self.written = Some(Instant::now());
        Some(RunEvent::Steps {
            first_step: self.first_step,
            epoch: self.epoch,
            loss: std::mem::take(&mut self.loss),
            lr: std::mem::take(&mut self.lr),
        })
    }
}
