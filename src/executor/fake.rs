//! Attempts that happen in no process: a script says what becomes of each.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};

use super::{Ended, Executor, Exit, Job, Stop};
use crate::record::result::RECORD_FORMAT;
use crate::record::{RunRecord, RunResult, RunStatus, atomic};

/// What becomes of an attempt.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Every lane has its result.
    Finishes,
    /// Only these lanes have one; the process ends so, with that in its error output.
    Ends(Vec<usize>, Exit, &'static str),
    /// It runs until it is stopped.
    Hangs,
    /// The system gives no process, and this number of an error.
    CannotStart(i32),
}

/// Attempts that happen in no process.
pub struct Fake<'a> {
    script: Box<dyn FnMut(&Job) -> Outcome + 'a>,
    notify: Box<dyn Fn(Ended) + 'a>,
    hanging: BTreeMap<usize, u32>,
    /// Every attempt that was started.
    pub started: Vec<Job>,
    /// Are attempts not noted?
    pub forget: bool,
    /// Every process that was reaped.
    pub settled: usize,
}

impl<'a> Fake<'a> {
    /// `script` is asked about every job that is started; `notify` hears of their ends.
    pub fn new(notify: impl Fn(Ended) + 'a, script: impl FnMut(&Job) -> Outcome + 'a) -> Self {
        let notify = Box::new(notify);
        let hanging = BTreeMap::new();
        let (started, script) = (Vec::new(), Box::new(script));
        Self { script, notify, hanging, started, forget: false, settled: 0 }
    }

    fn end(&self, group: usize, exit: Exit) {
        (self.notify)(Ended { group, exit });
    }
}

fn write_result(job: &Job, lane: usize) {
    let folder = &job.folders[lane];
    let record: RunRecord = atomic::read_json(&folder.run(), RECORD_FORMAT).unwrap().unwrap();
    let result = RunResult::new(record.run_id, RunStatus::Finished);
    std::fs::write(folder.result(), serde_json::to_vec(&result).unwrap()).unwrap();
}

impl Executor for Fake<'_> {
    fn start(&mut self, job: &Job) -> io::Result<u32> {
        match (self.script)(job) {
            Outcome::Finishes => {
                (0..job.folders.len()).for_each(|lane| write_result(job, lane));
                self.end(job.group, Exit::Code(0));
            }
            Outcome::Ends(lanes, exit, log) => {
                lanes.into_iter().for_each(|lane| write_result(job, lane));
                let path = job.folders[0].stderr();
                let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
                file.write_all(log.as_bytes()).unwrap();
                self.end(job.group, exit);
            }
            Outcome::CannotStart(errno) => return Err(io::Error::from_raw_os_error(errno)),
            Outcome::Hangs => {
                self.hanging.insert(job.group, job.attempt);
            }
        }
        if !self.forget {
            self.started.push(job.clone());
        }
        Ok(1000 + job.group as u32)
    }

    fn stop(&mut self, group: usize, how: Stop) {
        if self.hanging.remove(&group).is_some() {
            let interrupted = Exit::Code(crate::event::WorkerExit::Interrupted as i32);
            self.end(group, if how == Stop::AtOnce { Exit::Signal(9) } else { interrupted });
        }
    }

    fn settle(&mut self, _: Ended) {
        self.settled += 1;
    }
}
