//! What a person who watches a sweep on a cluster is told of its jobs.

use std::collections::BTreeSet;

use super::super::error::CliError;
use super::super::terminal;
use super::orchestrate::{Orchestra, jobs};
use super::replenish::FRUITLESS;
use crate::executor::slurm::submission::{end_of, last_words};
use crate::executor::slurm::{Submission, Task, TaskState};

/// Lines of a log that are shown where a sweep is given up.
const LINES: usize = 6;

impl Orchestra<'_> {
    /// Tells how jobs have ended, once each.
    pub(super) fn tell(&mut self, tasks: &[Task]) -> bool {
        let mut changed = false;
        for task in tasks {
            let key = format!("{} {:?}", task.name(), task.state);
            if !self.told.insert(key) {
                continue;
            }
            changed = true;
            if let Some(why) = task.why_it_failed() {
                let said = self.words_of(task);
                self.notice(&format!("{why}{said}"));
            }
        }
        changed
    }

    /// What a job has left in its log, or why there is none.
    fn words_of(&self, task: &Task) -> String {
        match last_words(&Submission::log(&self.session.folder, task)) {
            Some(words) if !words.is_empty() => format!(": {words}"),
            Some(_) => String::new(),
            None if task.state == TaskState::Ended("FAILED".to_owned()) => format!(
                ": it left no log. Is {} on a disk that the node has?",
                self.session.folder.path().display()
            ),
            None => String::new(),
        }
    }

    /// Tells why jobs wait, when that has changed.
    pub(super) fn tell_why_they_wait(&mut self, tasks: &[Task]) {
        let reasons: BTreeSet<String> = tasks.iter().filter_map(Task::why_it_waits).collect();
        if reasons.is_empty() {
            return;
        }
        let pending = tasks.iter().filter(|task| task.state == TaskState::Pending).count();
        let text = reasons.into_iter().collect::<Vec<_>>().join("; ");
        let waits = format!("{} waiting: {text}", jobs(pending));
        if self.waits.as_ref() != Some(&waits) {
            self.notice(&waits);
            self.waits = Some(waits);
        }
    }

    /// Why no further jobs are submitted, after the last ones came to nothing.
    pub(super) fn give_up(&self, tasks: &[Task]) -> CliError {
        let folder = &self.session.folder;
        let mut message =
            format!("{FRUITLESS} submissions in a row came to nothing: no run got any further");
        let last = tasks.iter().rev().find(|task| !task.is_live());
        let logs = terminal::short_path(&folder.pilots());
        match last {
            None => message += "; their jobs left no trace in the queue",
            Some(task) => {
                let why =
                    task.why_it_failed().unwrap_or_else(|| format!("pilot {} ended", task.name()));
                let log = Submission::log(folder, task);
                let path = terminal::short_path(&log);
                message += &match end_of(&log, LINES) {
                    Some(lines) if !lines.is_empty() => {
                        format!(". {why}. The end of {path}:\n{}", lines.join("\n"))
                    }
                    Some(_) => format!(". {why}. Its log {path} is empty"),
                    None => format!(". {why}{}", self.words_of(task)),
                };
            }
        }
        let live = tasks.iter().filter(|task| task.is_live()).count();
        let others = match live {
            0 => String::new(),
            _ => format!(
                "; {} are still there, `gridlane slurm cancel {}` ends them",
                jobs(live),
                self.session.spec.name
            ),
        };
        CliError::Cluster {
            message,
            help: format!(
                "the logs of all jobs are in {logs}; what is done is kept, and when the cause is gone the same command \
                 goes on{others}"
            ),
        }
    }
}
