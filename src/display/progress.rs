//! The progress of a sweep while it runs: live lines on a terminal, plain lines elsewhere.
//!
//! In: [`SweepEvent`]s. Out: text on the error output, so that the standard output stays data. A
//! terminal that goes away costs nothing: writes that fail are dropped.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::forecast::Forecast;
use crate::event::{AttemptEnd, EpochRecord, RunEvent, SweepEvent};
use crate::units::show_duration;

/// How a run is called on the screen: its configuration and seed.
pub type NameOf<'a> = Box<dyn Fn(usize) -> String + 'a>;

/// Shows a sweep's progress.
pub struct Progress<'a> {
    name_of: NameOf<'a>,
    screen: Screen,
    lines: BTreeMap<usize, Line>,
    forecast: Forecast,
    begun: Instant,
    total: usize,
    ended: usize,
    failed: usize,
}

enum Screen {
    /// A line for every running run and one for the sweep, redrawn.
    Live { all: MultiProgress, overall: ProgressBar },
    /// A line for every start and end.
    Plain,
    /// Nobody watches.
    Dark,
}

/// What is known of a running run.
#[derive(Default)]
struct Line {
    bar: Option<ProgressBar>,
    total_steps: u64,
    steps: u64,
    epoch: u32,
    loss: Option<f64>,
    val_accuracy: Option<f64>,
}

impl<'a> Progress<'a> {
    /// Live if `live` (the error output is a terminal), plain otherwise.
    pub fn new(live: bool, name_of: NameOf<'a>) -> Self {
        let screen = if live {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let overall = all.add(ProgressBar::new(0));
            let style = ProgressStyle::with_template("[{bar:30}] {msg}")
                .unwrap_or_else(|_| unreachable!("invariant: the template is valid"));
            overall.set_style(style.progress_chars("=> "));
            Screen::Live { all, overall }
        } else {
            Screen::Plain
        };
        Self {
            name_of,
            screen,
            lines: BTreeMap::new(),
            forecast: Forecast::default(),
            begun: Instant::now(),
            total: 0,
            ended: 0,
            failed: 0,
        }
    }

    /// Shows what happened.
    pub fn show(&mut self, event: &SweepEvent) {
        match event {
            SweepEvent::Started { runs, done_before, jobs } => {
                self.total = *runs;
                self.begun = Instant::now();
                if let Screen::Live { overall, .. } = &self.screen {
                    overall.set_length(*runs as u64);
                }
                let before = match done_before {
                    0 => String::new(),
                    n => format!(", {n} done before"),
                };
                self.say(&format!("{runs} runs to do{before}, {jobs} at a time"));
            }
            SweepEvent::RunStarted { run, attempt } => self.run_started(*run, *attempt),
            SweepEvent::RunProgress { run, events } => self.run_progress(*run, events),
            SweepEvent::RunEnded { run, seconds, end } => self.run_ended(*run, *seconds, end),
            SweepEvent::Notice(text) => self.say(text),
            SweepEvent::TerminalGone => self.go_dark(),
            SweepEvent::Ended { .. } => self.finish(),
        }
        self.show_overall();
    }

    fn run_started(&mut self, run: usize, attempt: u32) {
        let name = (self.name_of)(run);
        let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
        let mut line = Line::default();
        match &self.screen {
            Screen::Live { all, overall } => {
                let bar = all.insert_before(overall, ProgressBar::no_length());
                bar.set_style(
                    ProgressStyle::with_template("  {wide_msg}")
                        .unwrap_or_else(|_| unreachable!("invariant: the template is valid")),
                );
                bar.set_message(format!("{name}{again}"));
                line.bar = Some(bar);
            }
            Screen::Plain => self.say(&format!("start   {name}{again}")),
            Screen::Dark => {}
        }
        self.lines.insert(run, line);
    }

    fn run_progress(&mut self, run: usize, events: &[RunEvent]) {
        let Some(line) = self.lines.get_mut(&run) else { return };
        for event in events {
            line.take(event);
        }
        let fraction = line.fraction();
        if let Some(bar) = &line.bar {
            bar.set_message(line.describe(&(self.name_of)(run)));
        }
        self.forecast.progress(run, fraction);
    }

    fn run_ended(&mut self, run: usize, seconds: f64, end: &AttemptEnd) {
        let line = self.lines.remove(&run).unwrap_or_default();
        if let Some(bar) = &line.bar {
            bar.finish_and_clear();
        }
        let name = (self.name_of)(run);
        let took = show_duration(Duration::from_secs_f64(seconds));
        let text = match end {
            AttemptEnd::Result => {
                self.ended += 1;
                self.forecast.ended(run);
                let accuracy = line
                    .val_accuracy
                    .map_or_else(String::new, |accuracy| format!("  val_accuracy {accuracy:.4}"));
                format!("done    {name}{accuracy}  {took}")
            }
            AttemptEnd::Interrupted => {
                self.forecast.stopped(run);
                format!("stopped {name}  epoch {}  {took}", line.epoch)
            }
            AttemptEnd::Retry { failure, delay_s } => {
                self.forecast.stopped(run);
                let class = failure.class.as_str();
                format!("retry   {name}  in {delay_s} s  {class}: {}", failure.reason)
            }
            AttemptEnd::Failed(failure) => {
                self.ended += 1;
                self.failed += 1;
                self.forecast.ended(run);
                let class = failure.class.as_str();
                format!("failed  {name}  {took}  {class}: {}", failure.reason)
            }
        };
        let counted = format!("[{}/{}] {text}", self.ended, self.total);
        self.say(&counted);
    }

    fn show_overall(&self) {
        let Screen::Live { overall, .. } = &self.screen else { return };
        overall.set_position(self.ended as u64);
        let elapsed = show_duration(self.begun.elapsed());
        let left = self.forecast.left(self.begun.elapsed(), self.total).map_or_else(
            || "estimating".to_owned(),
            |left| format!("about {} left", show_duration(left)),
        );
        let failed = match self.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        overall.set_message(format!(
            "{}/{} runs{failed}, {elapsed} elapsed, {left}",
            self.ended, self.total
        ));
    }

    fn say(&self, text: &str) {
        match &self.screen {
            Screen::Live { all, .. } => {
                let _ = all.println(text);
            }
            Screen::Plain => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            Screen::Dark => {}
        }
    }

    fn go_dark(&mut self) {
        if let Screen::Live { all, .. } = &self.screen {
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
        self.screen = Screen::Dark;
    }

    fn finish(&mut self) {
        if let Screen::Live { overall, .. } = &self.screen {
            overall.finish_and_clear();
        }
        let elapsed = show_duration(self.begun.elapsed());
        self.say(&format!("{} of {} runs ended in {elapsed}", self.ended, self.total));
        self.screen = Screen::Dark;
    }
}

impl Line {
    fn take(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { total_steps, resumed_at_step, .. } => {
                self.total_steps = *total_steps;
                self.steps = *resumed_at_step;
            }
            RunEvent::Steps { first_step, epoch, loss, .. } => {
                self.steps = first_step + loss.len() as u64;
                self.epoch = *epoch;
                self.loss = loss.last().copied();
            }
            RunEvent::Layers(_) => {}
            RunEvent::Epoch(EpochRecord { epoch, step, val_accuracy, .. }) => {
                self.epoch = *epoch;
                self.steps = *step;
                self.val_accuracy = Some(*val_accuracy);
            }
        }
    }

    fn fraction(&self) -> f64 {
        if self.total_steps == 0 { 0.0 } else { self.steps as f64 / self.total_steps as f64 }
    }

    fn describe(&self, name: &str) -> String {
        let mut text = format!("{:>3.0} %  {name}  epoch {}", 100.0 * self.fraction(), self.epoch);
        if let Some(loss) = self.loss {
            text += &format!("  loss {loss:.4}");
        }
        if let Some(accuracy) = self.val_accuracy {
            text += &format!("  val_accuracy {accuracy:.4}");
        }
        text
    }
}
