//! The progress of a sweep while it runs: live lines on a terminal, plain lines elsewhere.
//!
//! In: [`SweepEvent`]s. Out: text on the error output, so that the standard output stays data. A
//! terminal that goes away costs nothing: writes that fail are dropped. One that is not read blocks, see
//! [`Painter`](super::Painter).

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use console::{Term, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::forecast::Forecast;
use super::leaderboard_table::show;
use crate::event::{AttemptEnd, EpochRecord, RunEvent, SweepEvent};
use crate::spec::metric::MetricName;
use crate::units::{counted, show_duration};

/// Time left below which a plain log does not say it.
const WORTH_SAYING: Duration = Duration::from_secs(30);
/// Columns of a terminal where it does not say how many it has.
const COLUMNS: usize = 80;
/// What a name is not cut below on the line of a running run.
const SHORTEST_NAME: usize = 16;

/// How a run is called on the screen: its configuration and seed.
pub type NameOf<'a> = Box<dyn Fn(usize) -> String + 'a>;

/// Shows a sweep's progress.
pub struct Progress<'a> {
    name_of: NameOf<'a>,
    screen: Screen,
    lines: BTreeMap<usize, RunLine>,
    forecast: Forecast,
    begun: Instant,
    total: usize,
    ended: usize,
    failed: usize,
    diverged: usize,
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
#[derive(Debug, Default)]
pub struct RunLine {
    bar: Option<ProgressBar>,
    total_steps: u64,
    resumed_at: u64,
    steps: u64,
    epoch: u32,
    loss: Option<f64>,
    val_accuracy: Option<f64>,
}

impl<'a> Progress<'a> {
    /// Live if `live` (the error output is a terminal), plain otherwise. `forecast` is of the runs to do.
    pub fn new(live: bool, name_of: NameOf<'a>, forecast: Forecast) -> Self {
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
            forecast,
            begun: Instant::now(),
            total: 0,
            ended: 0,
            failed: 0,
            diverged: 0,
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
                let to_do = counted(*runs, "run");
                let jobs = jobs.min(runs);
                self.say(&format!("{to_do} to do{before}, {jobs} at a time"));
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
        self.forecast.started(run, self.begun.elapsed());
        let name = (self.name_of)(run);
        let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
        let mut line = RunLine::default();
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
        let (resumed, fraction) = (line.resumed(), line.fraction());
        if let Some(bar) = &line.bar {
            let columns = Term::stderr().size_checked().map_or(COLUMNS, |(_, n)| n.into());
            // The bar's template indents it by two.
            bar.set_message(line.describe(&(self.name_of)(run), columns.saturating_sub(2)));
        }
        self.forecast.progress(run, resumed, fraction);
    }

    fn run_ended(&mut self, run: usize, seconds: f64, end: &AttemptEnd) {
        let line = self.lines.remove(&run).unwrap_or_default();
        if let Some(bar) = &line.bar {
            bar.finish_and_clear();
        }
        let name = (self.name_of)(run);
        let took = show_duration(Duration::from_secs_f64(seconds));
        if end.is_final() {
            self.ended += 1;
            self.forecast.ended(run, self.begun.elapsed());
        } else {
            self.forecast.stopped(run, self.begun.elapsed());
        }
        let text = match end {
            AttemptEnd::Result => {
                let accuracy = line
                    .val_accuracy
                    .map_or_else(String::new, |accuracy| format!("  val_accuracy {accuracy:.4}"));
                format!("done    {name}{accuracy}  {took}")
            }
            AttemptEnd::Diverged { reason } => {
                self.diverged += 1;
                format!("diverged {name}  {took}  {reason}")
            }
            AttemptEnd::Interrupted => {
                format!("stopped {name}  epoch {}  {took}", line.epoch)
            }
            AttemptEnd::Retry { failure, delay_s } => {
                let class = failure.class.as_str();
                format!("retry   {name}  in {delay_s} s  {class}: {}", failure.reason)
            }
            AttemptEnd::Failed(failure) => {
                self.failed += 1;
                let class = failure.class.as_str();
                format!("failed  {name}  {took}  {class}: {}", failure.reason)
            }
        };
        // A log that nobody redraws says by itself how long it will take; for seconds it need not.
        let left = match (&self.screen, self.left()) {
            (Screen::Plain, Some(left)) if left >= WORTH_SAYING && self.ended < self.total => {
                format!("  (about {} left)", show_duration(left))
            }
            _ => String::new(),
        };
        self.say(&format!("[{}/{}] {text}{left}", self.ended, self.total));
    }

    fn left(&self) -> Option<Duration> {
        self.forecast.left(self.begun.elapsed(), self.total)
    }

    fn show_overall(&self) {
        let Screen::Live { overall, .. } = &self.screen else { return };
        overall.set_position(self.ended as u64);
        let elapsed = show_duration(self.begun.elapsed());
        let left = self.left().map_or_else(
            || "estimating".to_owned(),
            |left| format!("about {} left", show_duration(left)),
        );
        let bad = |count: usize, what| match count {
            0 => String::new(),
            n => format!(", {n} {what}"),
        };
        let (failed, diverged) = (bad(self.failed, "failed"), bad(self.diverged, "diverged"));
        overall.set_message(format!(
            "{}/{} runs{failed}{diverged}, {elapsed} elapsed, {left}",
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
        let total = counted(self.total, "run");
        self.say(&format!("{} of {total} ended in {elapsed}", self.ended));
        self.screen = Screen::Dark;
    }
}

impl RunLine {
    /// Takes note of what the run says.
    pub fn take(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Started { total_steps, resumed_at_step, .. } => {
                self.total_steps = *total_steps;
                self.resumed_at = *resumed_at_step;
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

    /// The part of its steps that it has done, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.part(self.steps)
    }

    /// The part of its steps that a checkpoint had done before its last attempt began.
    pub fn resumed(&self) -> f64 {
        self.part(self.resumed_at)
    }

    fn part(&self, steps: u64) -> f64 {
        if self.total_steps == 0 { 0.0 } else { steps as f64 / self.total_steps as f64 }
    }

    /// How the run stands, in `columns` columns: where that is too long the name is cut, since it is
    /// what does not change.
    pub fn describe(&self, name: &str, columns: usize) -> String {
        let mut stands = format!("epoch {}", self.epoch);
        if let Some(loss) = self.loss {
            stands += &format!("  loss {}", show(loss, MetricName::TrainLoss));
        }
        if let Some(accuracy) = self.val_accuracy {
            stands += &format!("  val_accuracy {accuracy:.4}");
        }
        let part = format!("{:>3.0} %", 100.0 * self.fraction());
        let room = columns.saturating_sub(part.len() + stands.len() + 4).max(SHORTEST_NAME);
        format!("{part}  {}  {stands}", truncate_str(name, room, "…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::measure_text_width;

    #[test]
    fn a_long_name_does_not_push_the_numbers_off_the_line() {
        let line = RunLine {
            total_steps: 200,
            steps: 50,
            epoch: 3,
            loss: Some(0.25),
            val_accuracy: Some(0.5),
            ..RunLine::default()
        };
        let name = "activation=relu schedule=warmup_cosine(warmup_epochs=2)  seed 0";
        let text = line.describe(name, 78);
        insta::assert_snapshot!(text, @" 25 %  activation=relu schedule=wa…  epoch 3  loss 0.2500  val_accuracy 0.5000");
        assert!(measure_text_width(&text) <= 78);
        let text = line.describe(name, 200);
        assert!(text.contains(name), "{text}");
        assert!(line.describe(name, 20).contains("activation=relu"), "a name says something");
        let enormous = RunLine { loss: Some(1.5e30), ..line };
        assert!(
            enormous.describe(name, 78).contains("loss 1.500e30  val"),
            "just before it diverges"
        );
    }
}
