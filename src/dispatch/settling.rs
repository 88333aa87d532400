//! Writing down what the sweep does and what came of its runs; on a disk that is full it is kept until there
//! is room.
//!
//! The event loop never waits here: meanwhile workers end, deadlines pass, and somebody may want the sweep to
//! stop. Nothing new is started before all is written. Once the sweep stops, what still finds no room is
//! given up: the journal explains a sweep and decides nothing, and a run whose failure is not in its
//! folder is tried again by the same command, as one whose failure is.

use std::collections::VecDeque;
use std::fs;
use std::mem::take;
use std::time::{Duration, Instant};

use super::attempt::{failed_result, unprepared};
use super::machine::{Shortage, Verdict};
use super::ownership::Ownership;
use super::verdict::Log;
use super::{DISK_POLL, DISK_PROBE, DispatchError, Dispatcher, Lane, Outcome, PROCESS_POLL};
use crate::event::{AttemptEnd, SweepEvent};
use crate::ids::RunId;
use crate::record::journal::{JournalEntry, now};
use crate::record::{Durability, RecordError, RunFolder, atomic};
use crate::units::counted;

/// What came of an attempt at a run.
pub(super) struct Settlement {
    run: usize,
    run_id: RunId,
    /// As a person calls the run.
    name: String,
    folder: RunFolder,
    attempt: u32,
    /// How long it took.
    took: Duration,
    /// When it ended, in seconds since 1970.
    at: f64,
    end: AttemptEnd,
}

impl Settlement {
    pub(super) fn new(lane: &Lane, attempt: u32, (took, end): (Duration, AttemptEnd)) -> Self {
        Self {
            run: lane.run,
            run_id: lane.record.run_id,
            name: lane.record.configuration.clone(),
            folder: lane.folder.clone(),
            attempt,
            took,
            at: now(),
            end,
        }
    }
}

/// What a full disk has not taken.
#[derive(Default)]
pub(super) struct Backlog {
    /// Lines of the journal, in their order.
    lines: VecDeque<JournalEntry>,
    /// What came of attempts, with their logs.
    settlements: Vec<(Settlement, Log)>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.settlements.is_empty()
    }
}

impl Dispatcher<'_> {
    /// Writes down and shows what came of an attempt at a run, now or when there is room.
    pub(super) fn settle(
        &mut self,
        settlement: Settlement,
        log: &Log,
    ) -> Result<(), DispatchError> {
        match self.try_to_settle(&settlement, log) {
            Err(DispatchError::Record(error)) if error.is_full_disk() => {
                self.wait_for_room(&error);
                self.backlog.settlements.push((settlement, log.clone()));
                Ok(())
            }
            done => done,
        }
    }

    fn try_to_settle(&mut self, settlement: &Settlement, log: &Log) -> Result<(), DispatchError> {
        let Settlement { run_id, folder, name, end, .. } = settlement;
        let run_id = *run_id;
        let (mut outcome, reason) = match end {
            AttemptEnd::Result => ("result", None),
            AttemptEnd::Diverged { reason } => ("result", Some(reason.clone())),
            AttemptEnd::Interrupted => ("interrupted", None),
            AttemptEnd::Retry { failure, .. } | AttemptEnd::Failed(failure) => {
                (failure.class.as_str(), Some(failure.reason.clone()))
            }
        };
        if let AttemptEnd::Failed(failure) = end
            && self.ownership.holds(run_id)
        {
            let result = failed_result((folder, run_id), log, failure);
            let written = atomic::replace_json(&folder.result(), &result, Durability::Fact);
            match (written, &self.ownership) {
                // The run has failed either way, and the journal says why: the others go on. Where it
                // is to be published, others would take it for one that has its result.
                (Err(error), Ownership::Sole(_)) if !error.is_full_disk() => {
                    self.notice(&format!("{name}: {error}"));
                }
                (written, _) => written?,
            }
        }
        if end.is_final() && !self.ownership.publish(run_id)? {
            outcome = "taken_over";
            self.notice(&format!(
                "{name}: the run was taken over by another dispatcher, what came of it here does not count"
            ));
        }
        self.write(JournalEntry::AttemptEnded {
            run_id,
            attempt: settlement.attempt,
            outcome: outcome.to_owned(),
            reason,
            at: settlement.at,
        })?;
        self.show_settled(settlement);
        Ok(())
    }

    fn show_settled(&mut self, settlement: &Settlement) {
        (self.observe)(&SweepEvent::RunEnded {
            run: settlement.run,
            seconds: settlement.took.as_secs_f64(),
            end: settlement.end.clone(),
        });
    }

    /// Writes a line of the journal, now or when there is room.
    pub(super) fn write(&mut self, entry: JournalEntry) -> Result<(), DispatchError> {
        self.backlog.lines.push_back(entry);
        self.write_lines()
    }

    fn write_lines(&mut self) -> Result<(), DispatchError> {
        while let Some(entry) = self.backlog.lines.front() {
            match self.journal.append(entry) {
                Ok(()) => {
                    self.backlog.lines.pop_front();
                }
                Err(error) if error.is_full_disk() => {
                    self.wait_for_room(&error);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Starts nothing more until there is room on the disk, and says so once.
    fn wait_for_room(&mut self, error: &RecordError) {
        if self.machine.is_stopping() || self.machine.shortage() == Some(Shortage::Disk) {
            return;
        }
        self.notice(&format!("{error}; waiting for room on the disk"));
        self.machine.wait_for(Shortage::Disk);
    }

    /// Looks whether what the sweep waits for is there again.
    pub(super) fn probe(&mut self) -> Result<(), DispatchError> {
        match self.machine.shortage() {
            Some(shortage @ (Shortage::Disk | Shortage::Record))
                if self.probed.elapsed() >= DISK_POLL =>
            {
                self.probe_disk(shortage)
            }
            Some(Shortage::Processes) if self.probed.elapsed() >= PROCESS_POLL => {
                self.probed = Instant::now();
                self.machine.resume();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What it means that the folder of an attempt could not be prepared.
    pub(super) fn not_prepared(&mut self, error: &RecordError) -> Verdict {
        if !error.may_be_the_disk() || self.can_write() {
            return unprepared(error);
        }
        if !self.machine.is_stopping() && self.machine.shortage() != Some(Shortage::Record) {
            self.notice(&format!(
                "{error}, nor anything else in the sweep's folder: waiting until that is possible, \
                 then the sweep goes on by itself"
            ));
        }
        Verdict::NoRecord
    }

    /// Does the sweep's folder take anything, more than a run needs to start?
    fn can_write(&self) -> bool {
        let probe = self.orders.folder.path().join("probe");
        let written = atomic::replace(&probe, &vec![1; DISK_PROBE], Durability::Fact).is_ok();
        let _ = fs::remove_file(&probe);
        written
    }

    fn probe_disk(&mut self, shortage: Shortage) -> Result<(), DispatchError> {
        self.probed = Instant::now();
        if !self.can_write() {
            return Ok(());
        }
        self.write_lines()?;
        for (settlement, log) in take(&mut self.backlog.settlements) {
            self.settle(settlement, &log)?;
        }
        if self.backlog.is_empty() {
            self.notice(match shortage {
                Shortage::Record => "the sweep's folder can be written again: going on",
                _ => "there is room on the disk again: going on",
            });
            self.machine.resume();
        }
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<Outcome, DispatchError> {
        for (settlement, log) in take(&mut self.backlog.settlements) {
            let done = self.try_to_settle(&settlement, &log);
            if self.is_given_up(done, &settlement.name)? {
                self.show_settled(&settlement);
            }
        }
        let (finished, failed, left) = self.machine.counts();
        self.write(JournalEntry::SweepEnded {
            at: now(),
            finished: finished as u64,
            failed: failed as u64,
            interrupted: left > 0,
        })?;
        match self.backlog.lines.len() {
            0 => {
                let done = self.journal.sync().map_err(DispatchError::from);
                self.is_given_up(done, "the journal")?;
            }
            lines => self.notice(&format!(
                "the disk is full: the journal lacks its last {}, which explain and decide nothing",
                counted(lines, "line")
            )),
        }
        let done = self.ownership.leave().map_err(DispatchError::from);
        self.is_given_up(done, "what this dispatcher had")?;
        (self.observe)(&SweepEvent::Ended { finished, failed, left });
        Ok(Outcome { finished, failed, left })
    }

    /// Was something not done since the disk is full? Then it is said.
    fn is_given_up(
        &mut self,
        done: Result<(), DispatchError>,
        what: &str,
    ) -> Result<bool, DispatchError> {
        match done {
            Err(DispatchError::Record(error)) if error.is_full_disk() => {
                self.notice(&format!("{what}: {error}"));
                Ok(true)
            }
            done => done.map(|()| false),
        }
    }
}
