//! All that is known of one run, as terminal text.

use std::collections::BTreeMap;
use std::time::Duration;

use super::columns::columns;
use super::leaderboard_table::{printable, show};
use crate::event::EpochRecord;
use crate::ids::RunId;
use crate::spec::metric::MetricName;
use crate::units::show_duration;

/// Epochs that are shown, the last ones.
const EPOCHS: usize = 8;
/// Attempts that are shown, the last ones.
const ATTEMPTS: usize = 8;

/// One attempt at a run.
#[derive(Debug)]
pub struct Attempt {
    /// Seconds since it began.
    pub begun_ago_s: f64,
    /// Seconds that it took; None while it is under way, or where nobody saw its end.
    pub took_s: Option<f64>,
    /// How it ended, likewise.
    pub outcome: Option<String>,
}

/// What is known of one run.
#[derive(Debug)]
pub struct RunShown {
    /// Which.
    pub id: RunId,
    /// Its configuration and seed.
    pub name: String,
    /// How it stands, with the reason.
    pub stands: String,
    /// Keys that are not at their defaults, as the record has them.
    pub configuration: BTreeMap<String, serde_json::Value>,
    /// Its complete epochs.
    pub epochs: Vec<EpochRecord>,
    /// The attempts at it, the oldest first.
    pub attempts: Vec<Attempt>,
    /// The end of its error output.
    pub log: String,
    /// Its folder, as seen from here.
    pub folder: String,
}

/// Renders a run.
pub fn run_table(run: &RunShown) -> String {
    let mut text = format!("{}  {}\n{}\n", run.id, printable(&run.name), printable(&run.stands));
    text += &section("attempts", attempts(run));
    text += &section("epochs", epochs(run));
    let keys = run.configuration.iter();
    let keys = keys.map(|(key, value)| vec![key.clone(), printable(&value.to_string())]);
    text += &section(
        "configuration (all other keys have their defaults)",
        columns(&keys.collect::<Vec<_>>(), |_| false),
    );
    let log: String = run.log.lines().map(|line| format!("{}\n", printable(line))).collect();
    text += &section("the end of stderr.log", log);
    text += &format!(
        "\n{}  (to execute it again: remove this folder and give the same `gridlane sweep` command)\n",
        run.folder
    );
    text
}

fn attempts(run: &RunShown) -> String {
    let duration = |s: f64| show_duration(Duration::try_from_secs_f64(s).unwrap_or_default());
    let first = run.attempts.len().saturating_sub(ATTEMPTS);
    let rows: Vec<Vec<String>> = run.attempts[first..]
        .iter()
        .enumerate()
        .map(|(number, attempt)| {
            vec![
                (first + number + 1).to_string(),
                format!("{} ago", duration(attempt.begun_ago_s)),
                attempt.took_s.map_or_else(String::new, |s| format!("for {}", duration(s))),
                printable(attempt.outcome.as_deref().unwrap_or("no end recorded")),
            ]
        })
        .collect();
    columns(&rows, |column| column == 0)
}

fn epochs(run: &RunShown) -> String {
    if run.epochs.is_empty() {
        return String::new();
    }
    let header = ["epoch", "lr", "train_loss", "val_loss", "val_accuracy"].map(str::to_owned);
    let mut rows = vec![header.to_vec()];
    let first = run.epochs.len().saturating_sub(EPOCHS);
    rows.extend(run.epochs[first..].iter().map(|epoch| {
        vec![
            epoch.epoch.to_string(),
            if epoch.lr < 1e-4 { format!("{:.3e}", epoch.lr) } else { format!("{:.6}", epoch.lr) },
            show(epoch.train_loss, MetricName::TrainLoss),
            show(epoch.val_loss, MetricName::ValLoss),
            format!("{:.4}", epoch.val_accuracy),
        ]
    }));
    columns(&rows, |_| true)
}

/// A title over lines that are set in; nothing where there are none.
fn section(title: &str, lines: String) -> String {
    if lines.is_empty() {
        return lines;
    }
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("\n{title}\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::sample;

    #[test]
    fn a_failed_run_says_why() {
        let attempt = |begun_ago_s, outcome: &str| Attempt {
            begun_ago_s,
            took_s: Some(7200.0),
            outcome: Some(outcome.to_owned()),
        };
        let timeout = "timed_out: took longer than the timeout of 2h";
        let run = RunShown {
            id: RunId::of(b"a"),
            name: "lr=0.1 activation=relu  seed 0".to_owned(),
            stands: format!("failed: {timeout}"),
            configuration: [("lr".to_owned(), serde_json::json!(0.1))].into(),
            epochs: sample::result(&[0.5, 0.6]).epochs,
            attempts: vec![attempt(18_000.0, timeout), attempt(9_000.0, timeout)],
            log: "a line\nwith \u{1b}[31mcolour".to_owned(),
            folder: "runs/lr/r0".to_owned(),
        };
        insta::assert_snapshot!(run_table(&run));
    }

    #[test]
    fn a_run_that_has_not_begun_has_little_to_show() {
        let run = RunShown {
            id: RunId::of(b"a"),
            name: "lr=0.1  seed 0".to_owned(),
            stands: "not begun".to_owned(),
            configuration: BTreeMap::new(),
            epochs: Vec::new(),
            attempts: Vec::new(),
            log: String::new(),
            folder: "runs/lr/r0".to_owned(),
        };
        assert_eq!(run_table(&run).lines().count(), 4);
    }
}
