//! How a sweep stands, as terminal text.

use std::time::Duration;

use super::progress::RunLine;
use crate::plan::Counts;
use crate::units::{counted, show_count, show_duration};

/// How a sweep stands.
#[derive(Debug)]
pub struct SweepStatus {
    /// Its name.
    pub name: String,
    /// Its runs.
    pub runs: usize,
    /// How many of them are in which state, running ones among the partial ones or the new ones.
    pub counts: Counts,
    /// What is going on.
    pub activity: Activity,
    /// The runs under way, by name, and how far they are.
    pub running: Vec<(String, RunLine)>,
}

/// What is going on in a sweep.
#[derive(Debug)]
pub enum Activity {
    /// It is being executed.
    UnderWay {
        /// By whom.
        holder: String,
        /// For how long.
        since: Duration,
        /// How much longer, if enough has been done to say.
        left: Option<Duration>,
    },
    /// Jobs on a cluster have it.
    OnACluster,
    /// The last dispatcher ended.
    Ended {
        /// So long ago.
        ago: Duration,
    },
    /// The last dispatcher did not say that it ended.
    Lost {
        /// It was last heard of so long ago.
        ago: Duration,
    },
    /// There is no journal.
    Unknown,
}

/// `8 runs, 3 done, 1 failed, 2 running, 2 to do`.
pub fn counts(status: &SweepStatus) -> String {
    let Counts { done, failed, new, partial, skipped } = status.counts;
    let running = status.running.len();
    // A run that failed before may be under way again.
    let to_do = (new + partial).saturating_sub(running);
    let parts = [
        (done, "done"),
        (failed, "failed"),
        (running, "running"),
        (to_do, "to do"),
        (skipped, "skipped"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts = parts.map(|(count, what)| format!(", {} {what}", show_count(*count as u128)));
    format!("{}{}", counted(status.runs, "run"), parts.collect::<String>())
}

/// Renders `status` for a terminal of `columns` columns.
pub fn status_table(status: &SweepStatus, columns: usize) -> String {
    let mut text = format!("{}: {}\n", status.name, counts(status));
    let is_done = status.counts.done + status.counts.skipped == status.runs;
    let goes_on = if is_done { "" } else { "; the same `gridlane sweep` command goes on" };
    text += &match &status.activity {
        Activity::UnderWay { holder, since, left } => {
            let left = match left {
                Some(left) => format!("about {} left", show_duration(*left)),
                None => "too early to say how much longer".to_owned(),
            };
            format!("under way for {}, {left} (process {holder})\n", show_duration(*since))
        }
        Activity::OnACluster => format!(
            "on a Slurm cluster: `gridlane slurm status {}` says how its jobs stand\n",
            status.name
        ),
        Activity::Ended { ago } => {
            format!("not under way, ended {} ago{goes_on}\n", show_duration(*ago))
        }
        Activity::Lost { ago } => format!(
            "not under way: killed, or the machine went down; last heard of {} ago{goes_on}\n",
            show_duration(*ago)
        ),
        Activity::Unknown => format!("not under way{goes_on}\n"),
    };
    for (name, line) in &status.running {
        text += &format!("  {}\n", line.describe(name, columns.saturating_sub(2)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(activity: Activity, running: Vec<(String, RunLine)>) -> SweepStatus {
        let counts = Counts { done: 3, failed: 1, new: 2, partial: 2, skipped: 0 };
        SweepStatus { name: "lr".to_owned(), runs: 8, counts, activity, running }
    }

    #[test]
    fn a_sweep_under_way_says_how_far_it_is() {
        let (since, left) = (Duration::from_secs(751), Some(Duration::from_secs(3600)));
        let holder = "4711 on login1".to_owned();
        let running = vec![
            ("lr=0.1  seed 0".to_owned(), RunLine::default()),
            ("lr=0.3  seed 0".to_owned(), RunLine::default()),
        ];
        let text = status_table(&status(Activity::UnderWay { holder, since, left }, running), 80);
        insta::assert_snapshot!(text, @r"
        lr: 8 runs, 3 done, 1 failed, 2 running, 2 to do
        under way for 12m 31s, about 1h 00m left (process 4711 on login1)
            0 %  lr=0.1  seed 0  epoch 0
            0 %  lr=0.3  seed 0  epoch 0
        ");
    }

    #[test]
    fn a_sweep_that_nobody_executes_says_so() {
        let ago = Duration::from_secs(90);
        let shown = |activity| status_table(&status(activity, Vec::new()), 80);
        assert!(shown(Activity::Ended { ago }).contains("ended 1m 30s ago; the same"));
        assert!(shown(Activity::Lost { ago }).contains("killed"));
        assert!(shown(Activity::OnACluster).contains("gridlane slurm status lr"));
        assert!(shown(Activity::Unknown).contains("not under way; the same"));
    }
}
