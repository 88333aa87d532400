//! Shows a sweep's progress from a thread of its own.
//!
//! In: [`SweepEvent`]s. Out: what [`Progress`] makes of them. A terminal that nobody reads (Ctrl-S, an ssh
//! whose other end is gone, a pager that was stopped) and a full pipe hold up whoever writes to them, for
//! as long as it pleases them. Whoever starts, watches and stops runs must not be held up: he leaves here
//! what is to be shown, and goes on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::{discriminant, take};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::forecast::Forecast;
use super::progress::{NameOf, Progress};
use crate::event::{RunEvent, SweepEvent};

/// Events under way to the screen beyond which the progress of runs waits. Starts, ends and notices are a
/// few lines for each run, and none is left out.
const MOST: usize = 64;

/// How long the end waits for a screen on which nothing moves.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be shown, and the name of the run that starts or ends.
type Shown = (SweepEvent, Option<String>);

/// Shows a sweep's progress, and holds nobody up.
pub struct Painter<'a> {
    name_of: NameOf<'a>,
    /// Where the screen takes from; none once the sweep is over.
    queue: Option<Sender<Shown>>,
    /// Hears that all is shown.
    done: Receiver<()>,
    sent: usize,
    shown: Arc<AtomicUsize>,
    /// What runs have said since the screen fell behind.
    held: BTreeMap<usize, Vec<RunEvent>>,
}

impl<'a> Painter<'a> {
    /// Live if `live` (the error output is a terminal), plain lines otherwise; `forecast` tells the time left.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(live: bool, name_of: NameOf<'a>, forecast: Forecast) -> std::io::Result<Self> {
        Self::with(name_of, move |queue, shown| {
            let names = RefCell::new(BTreeMap::new());
            let name_of = |run: usize| names.borrow().get(&run).cloned().unwrap_or_default();
            let mut progress = Progress::new(live, Box::new(name_of), forecast);
            for (event, name) in queue {
                if let (Some(run), Some(name)) = (named(&event), name) {
                    names.borrow_mut().insert(run, name);
                }
                progress.show(&event);
                if let SweepEvent::RunEnded { run, .. } = &event {
                    names.borrow_mut().remove(run);
                }
                shown.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// `paint` shows what comes and counts it.
    fn with(
        name_of: NameOf<'a>,
        paint: impl FnOnce(Receiver<Shown>, &AtomicUsize) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, from) = channel();
        let (over, done) = channel();
        let shown = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&shown);
        thread::Builder::new().name("painter".to_owned()).spawn(move || {
            paint(from, &counter);
            // Whoever waits hears of it by this, and also of a panic.
            drop(over);
        })?;
        let held = BTreeMap::new();
        Ok(Self { name_of, queue: Some(queue), done, sent: 0, shown, held })
    }

    /// Shows what happened, now or when the screen takes it.
    pub fn show(&mut self, event: &SweepEvent) {
        match event {
            SweepEvent::RunProgress { run, events } => {
                add(self.held.entry(*run).or_default(), events);
                if self.sent - self.shown.load(Ordering::Relaxed) < MOST {
                    let held = take(&mut self.held);
                    held.into_iter().for_each(|(run, events)| self.progressed(run, events));
                }
            }
            SweepEvent::RunEnded { run, .. } => {
                let last = self.held.remove(run).unwrap_or_default();
                self.progressed(*run, last);
                self.send(event.clone());
            }
            _ => self.send(event.clone()),
        }
    }

    fn progressed(&mut self, run: usize, events: Vec<RunEvent>) {
        if !events.is_empty() {
            self.send(SweepEvent::RunProgress { run, events });
        }
    }

    fn send(&mut self, event: SweepEvent) {
        let name = named(&event).map(|run| (self.name_of)(run));
        // A screen that is gone takes nothing.
        if let Some(queue) = &self.queue
            && queue.send((event, name)).is_ok()
        {
            self.sent += 1;
        }
    }
}

impl Drop for Painter<'_> {
    /// Waits until all is shown, or the screen stands still: what is left is then not shown.
    fn drop(&mut self) {
        self.queue = None;
        let mut before = self.shown.load(Ordering::Relaxed);
        while self.done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let now = self.shown.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

/// The run that starts or ends.
fn named(event: &SweepEvent) -> Option<usize> {
    match event {
        SweepEvent::RunStarted { run, .. } | SweepEvent::RunEnded { run, .. } => Some(*run),
        _ => None,
    }
}

/// Adds what a run says to what it said before: of each kind the screen shows the last.
fn add(held: &mut Vec<RunEvent>, events: &[RunEvent]) {
    for event in events {
        let event = match event {
            RunEvent::Layers(_) => continue,
            RunEvent::Steps { first_step, epoch, loss, lr } => {
                let before = loss.len().saturating_sub(1);
                RunEvent::Steps {
                    first_step: first_step + before as u64,
                    epoch: *epoch,
                    loss: loss[before..].to_vec(),
                    lr: lr.last().copied().into_iter().collect(),
                }
            }
            other => other.clone(),
        };
        held.retain(|earlier| discriminant(earlier) != discriminant(&event));
        held.push(event);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::event::AttemptEnd;

    fn steps(first_step: u64, loss: &[f64]) -> RunEvent {
        RunEvent::Steps { first_step, epoch: 1, loss: loss.to_vec(), lr: vec![0.1; loss.len()] }
    }

    #[test]
    fn a_screen_that_stands_still_holds_nobody_up_and_misses_no_line() {
        let (gate, opens) = channel::<()>();
        let (sender, seen) = channel();
        let name_of = Box::new(|run: usize| format!("run {run}"));
        let mut painter = Painter::with(name_of, move |queue, shown| {
            let _ = opens.recv();
            for event in queue {
                sender.send(event).unwrap();
                shown.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        painter.show(&SweepEvent::RunStarted { run: 3, attempt: 1 });
        for step in 0..10_000 {
            let events = vec![steps(2 * step, &[9.0, step as f64])];
            painter.show(&SweepEvent::RunProgress { run: 3, events });
            if step % 1000 == 0 {
                painter.show(&SweepEvent::Notice(format!("{step}")));
            }
        }
        let end = SweepEvent::RunEnded { run: 3, seconds: 1.0, end: AttemptEnd::Result };
        painter.show(&end);
        drop(gate);
        drop(painter);
        let seen: Vec<Shown> = seen.into_iter().collect();
        assert!(seen.len() < 2 * MOST, "{}", seen.len());
        let notice = |shown: &&Shown| matches!(shown.0, SweepEvent::Notice(_));
        assert_eq!(seen.iter().filter(notice).count(), 10);
        assert_eq!(seen[0].1.as_deref(), Some("run 3"));
        let events = vec![steps(19_999, &[9999.0])];
        let last = SweepEvent::RunProgress { run: 3, events };
        assert_eq!(seen[seen.len() - 2], (last, None), "where it stood at its end is known");
        assert_eq!(seen[seen.len() - 1], (end, Some("run 3".to_owned())));
    }

    #[test]
    fn the_end_waits_for_a_slow_screen_and_not_for_one_that_stands_still() {
        let (gate, opens) = channel::<()>();
        let name_of = Box::new(|_: usize| String::new());
        let mut painter = Painter::with(name_of, move |_queue, _| {
            let _ = opens.recv();
        })
        .unwrap();
        painter.show(&SweepEvent::Notice("x".to_owned()));
        let begun = Instant::now();
        drop(painter);
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < 10 * PATIENCE);
        drop(gate);

        let name_of = Box::new(|_: usize| String::new());
        let counted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&counted);
        let mut painter = Painter::with(name_of, move |queue, shown| {
            for _ in queue {
                thread::sleep(PATIENCE / 2);
                counter.fetch_add(1, Ordering::Relaxed);
                shown.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        (0..3).for_each(|_| painter.show(&SweepEvent::Notice("x".to_owned())));
        drop(painter);
        assert_eq!(counted.load(Ordering::Relaxed), 3);
    }
}
