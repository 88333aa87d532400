//! `gridlane sweep --slurm`: plans, submits pilots, watches the shared disk, keeps the tables up to date
//! and replaces pilots that are gone. It may leave at any time: pilots need nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::args::SweepArgs;
use super::super::boards::Boards;
use super::super::error::CliError;
use super::super::exit_code::ExitCode;
use super::super::session::Session;
use super::super::sweep::{
    nothing_to_do, open_locked, print_outcome, progress, tell_idle, write_sources,
};
use super::super::terminal;
use super::opening::{open, options, recall};
use super::replenish::{FRUITLESS, Standing};
use super::time::MORE_TIME;
use super::version;
use super::watch::Watch;
use crate::dispatch::signals::{SignalWatch, TimeIsUp, end_the_process};
use crate::dispatch::{DispatchError, Message, Outcome};
use crate::display::Painter;
use crate::event::{AttemptEnd, SweepEvent};
use crate::executor::slurm::{Slurm, SlurmError, Submission, Task, TaskState};
use crate::plan::RunState;
use crate::record::{RecordError, SweepFolder, atomic, claims};

/// Pilots at a time where nobody says how many.
const PILOTS: u32 = 4;

/// How often the shared disk is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How much seldomer Slurm is asked when nothing changes.
const SLOWEST: u32 = 6;

/// Looks in a row that may fail.
const BLIND: u32 = 60;

/// Time that a batch has to show up in the queue.
const SHOWS_UP: Duration = Duration::from_secs(30);

/// What is told while jobs are looked for of which Slurm has not said that it has them.
pub(super) const NO_ANSWER: &str = "Slurm has not said whether it has the jobs: they are looked for by their name, for a few \
                                    minutes at most";

/// Executes what is missing of a sweep on a cluster.
///
/// # Errors
/// A bad sweep file, a record that cannot be written, Slurm's refusal.
pub fn sweep(args: &SweepArgs) -> Result<ExitCode, CliError> {
    if args.file.inventory.is_some() {
        return Err(CliError::Choice {
            message: "--inventory describes one machine, and --slurm uses others".to_owned(),
            help: "say what each job has with --gpus, --cpus and --mem".to_owned(),
        });
    }
    let machines = options(args)?.pilots.unwrap_or(PILOTS);
    let opened = open_locked(args, machines, &|| open(args), &|_| Ok(()))?;
    let Some((mut session, _lock)) = opened else { return Ok(ExitCode::Ok) };
    tell_idle(&session.plan);
    let folder = session.folder.clone();
    let slurm = Slurm::default();
    let (sender, messages) = mpsc::channel();
    let time = TimeIsUp::listen().map_err(DispatchError::Signals)?;
    let _signals = SignalWatch::start(sender, time).map_err(DispatchError::Signals)?;
    let mut desk = Desk { messages, stopped: false };
    let (submission, tasks) = recall(args, &session, &slurm, &mut desk)?;
    let live = tasks.iter().filter(|task| task.is_live()).count();
    if live > 0 {
        terminal::notice(&format!("attached to {} of {}", jobs(live), submission.base));
        if let Some(behind) = version::behind(&folder, &session.plan, &tasks)? {
            terminal::notice(&behind.told(&session.spec.name.to_string()));
        }
    } else {
        let left = session.plan.runs.iter().filter(|run| run.state != RunState::Done);
        claims::open_all(&folder, left.map(|run| run.id))?;
        atomic::remove(&folder.called_off())?;
        atomic::remove(&folder.given_up())?;
        atomic::remove_litter(folder.path());
        // What was moved is planned as what it is now.
        session = open(args)?;
    }
    write_sources(&session)?;
    session.weights.keep(&folder)?;
    let mut boards = Boards::open(&session.spec, &folder, &session.plan);
    boards.write()?;
    let works = session.works().list;
    if works.is_empty() {
        boards.write_report()?;
        return Ok(nothing_to_do(&session, &boards));
    }
    session.folders.decode()?;
    let groups = u32::try_from(works.len()).unwrap_or(u32::MAX);
    let runs = works.iter().flat_map(|work| work.group.runs.iter().copied());
    let unsettled: BTreeMap<_, _> = runs.map(|run| (session.plan.runs[run].id, run)).collect();
    let total = unsettled.len();
    let mut orchestra = Orchestra {
        args,
        session: &session,
        slurm,
        submission,
        desk,
        watch: Watch::new(&folder, unsettled, args.slurm.lease),
        progress: progress(&session.plan, &works, session.placing.at_once())?,
        told: BTreeSet::new(),
        waits: None,
        silent: false,
        fruitless: 0,
        submitted: None,
        wanted: machines.min(groups),
        cancelled: BTreeSet::new(),
        blind: 0,
    };
    orchestra.show(
        &mut boards,
        &SweepEvent::Started {
            runs: total,
            done_before: session.plan.counts.done,
            jobs: session.placing.at_once() * machines as usize,
        },
    );
    orchestra.conduct(live as u32, &mut boards)
}

/// What comes in from a person.
pub(super) struct Desk {
    messages: Receiver<Message>,
    stopped: bool,
}

impl Desk {
    /// Waits for so long; says no as soon as somebody wants to stop. A closed terminal is a wish to stop
    /// watching, too: whoever comes back attaches again.
    pub(super) fn wait(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.stopped {
            match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Message::Interrupt | Message::TerminalGone) => self.stopped = true,
                Ok(Message::Ended(_)) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => self.stopped = true,
            }
        }
        false
    }
}

/// A sweep under way on a cluster.
pub(super) struct Orchestra<'a> {
    args: &'a SweepArgs,
    pub(super) session: &'a Session,
    slurm: Slurm,
    submission: Submission,
    desk: Desk,
    watch: Watch<'a>,
    progress: Painter<'a>,
    /// What a person was told of jobs.
    pub(super) told: BTreeSet<String>,
    /// Why jobs wait, as last told.
    pub(super) waits: Option<String>,
    /// Was a person told that Slurm does not answer?
    silent: bool,
    /// Submissions in a row that came to nothing.
    fruitless: u32,
    /// When the last batch was submitted.
    submitted: Option<Instant>,
    /// Pilots at a time.
    wanted: u32,
    /// Jobs that somebody has cancelled.
    cancelled: BTreeSet<String>,
    /// Looks at the disk in a row that have failed.
    blind: u32,
}

impl Orchestra<'_> {
    fn show(&mut self, boards: &mut Boards<'_>, event: &SweepEvent) {
        self.progress.show(event);
        if let Some(problem) = boards.observe(event) {
            self.notice(&format!("a CSV could not be written, it is tried again later: {problem}"));
        }
    }

    pub(super) fn notice(&mut self, text: &str) {
        self.progress.show(&SweepEvent::Notice(text.to_owned()));
    }

    /// Sees the sweep through, or leaves it alone when somebody wants that.
    fn conduct(mut self, live: u32, boards: &mut Boards<'_>) -> Result<ExitCode, CliError> {
        let mut failed = 0;
        let total = self.watch.left();
        if live == 0 {
            let Self { submission, slurm, session, .. } = &self;
            if let Some(warning) = submission.check(slurm, &session.folder)? {
                self.notice(&warning);
            }
            self.submit(self.wanted)?;
        }
        let poll = self.args.slurm.poll;
        let (mut asked, mut pause) = (Instant::now(), poll);
        loop {
            for event in self.look()? {
                let is_failure =
                    matches!(&event, SweepEvent::RunEnded { end: AttemptEnd::Failed(_), .. });
                failed += usize::from(is_failure);
                self.show(boards, &event);
            }
            let stop_early = failed > 0 && self.args.fail_fast;
            if self.watch.left() == 0 || stop_early {
                self.dismiss(stop_early)?;
                break;
            }
            if asked.elapsed() >= pause {
                asked = Instant::now();
                if self.session.folder.called_off().exists() {
                    self.notice("called off: running runs checkpoint, the same command goes on");
                    break;
                }
                let changed = self.ask()?;
                pause = if changed { poll } else { (pause * 3 / 2).min(poll * SLOWEST) };
                if self.wanted == 0 {
                    self.notice("all jobs were cancelled: the same command submits others");
                    break;
                }
            }
            if !self.desk.wait(LOOK.min(poll)) {
                return self.detach(boards);
            }
        }
        let left = self.watch.left();
        let finished = total - left - failed;
        self.progress.show(&SweepEvent::Ended { finished, failed, left });
        boards.write()?;
        boards.write_report()?;
        let Self { session, progress, .. } = self;
        drop(progress);
        print_outcome(session, boards, Outcome { finished, failed, left })
    }

    /// What has happened on the shared disk. One that cannot be read now may be back in a moment.
    fn look(&mut self) -> Result<Vec<SweepEvent>, CliError> {
        match self.watch.look() {
            Ok(events) => {
                self.blind = 0;
                Ok(events)
            }
            Err(error) if self.blind >= BLIND => Err(error.into()),
            Err(error) => {
                self.blind += 1;
                if self.blind == 1 {
                    self.notice(&format!("{error}; the jobs go on, and it is tried again"));
                }
                Ok(Vec::new())
            }
        }
    }

    /// Submits pilots, as many arrays of jobs as the cluster wants it to be.
    fn submit(&mut self, pilots: u32) -> Result<(), CliError> {
        let most = self.slurm.most_of_an_array();
        let mut left = pilots;
        while left > 0 {
            let now = left.min(most);
            let Self { submission, slurm, desk, session, progress, .. } = self;
            let mut told = false;
            let done = submission.submit(slurm, &session.folder, now, &mut |time| {
                if !std::mem::replace(&mut told, true) {
                    progress.show(&SweepEvent::Notice(NO_ANSWER.to_owned()));
                }
                desk.wait(time)
            });
            let name = submission.names().pop().unwrap_or_default();
            match done {
                Ok(()) => {
                    self.submitted = Some(Instant::now());
                    self.notice(&format!("submitted {} as {name}", jobs(now as usize)));
                }
                // The next look at the queue shows whether it was heard.
                Err(SlurmError::Stopped) => return Ok(()),
                // What was taken goes on.
                Err(error) if left < pilots => {
                    self.notice(&format!(
                        "no more than {} were added: {error}",
                        jobs((pilots - left) as usize)
                    ));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            left -= now;
        }
        Ok(())
    }

    /// Asks Slurm how the jobs stand, tells what is new, and replaces those that are gone. Says whether
    /// anything has changed.
    fn ask(&mut self) -> Result<bool, CliError> {
        let tasks = match self.submission.queue(&self.slurm) {
            Ok(tasks) => tasks,
            Err(error @ SlurmError::Missing { .. }) => return Err(error.into()),
            Err(error) => {
                self.is_silent(&error);
                return Ok(false);
            }
        };
        if std::mem::take(&mut self.silent) {
            self.notice("Slurm answers again");
        }
        let mut changed = self.tell(&tasks);
        self.tell_why_they_wait(&tasks);
        let live = tasks.iter().filter(|task| task.is_live()).map(Task::name);
        // Slurm takes minutes to see that a node is gone.
        let live: Vec<String> = live.filter(|job| !self.watch.is_silent(job)).collect();
        let cancelled = |task: &&Task| task.state == TaskState::Ended("CANCELLED".to_owned());
        self.cancelled.extend(tasks.iter().filter(cancelled).map(Task::name));
        let gone = u32::try_from(self.cancelled.len()).unwrap_or(u32::MAX);
        let shows_up = SHOWS_UP.min(self.args.slurm.poll * 3);
        if self.submitted.is_some_and(|at| at.elapsed() < shows_up) {
            return Ok(true);
        }
        if live.is_empty() && gone > 0 {
            self.wanted = 0;
            return Ok(true);
        }
        let holders = self.watch.holders();
        let held = live.iter().filter_map(|job| holders.get(job.as_str())).sum::<usize>();
        let idle = live.iter().filter(|job| !holders.contains_key(job.as_str())).count();
        let standing = Standing {
            // Who cancels a job wants one less.
            wanted: self.wanted.saturating_sub(gone),
            live: live.len() as u32,
            idle: idle as u32,
            left: self.watch.left() as u32,
            held: held as u32,
        };
        let missing = standing.missing();
        if missing > 0 {
            changed = true;
            let before = self.fruitless;
            self.fruitless = if self.watch.take_moved() { 0 } else { before + 1 };
            if self.fruitless >= FRUITLESS {
                return Err(self.give_up(&tasks));
            }
            if self.fruitless > 0
                && let Ok(why) = fs::read_to_string(self.session.folder.given_up())
            {
                return Err(CliError::Cluster { message: why, help: MORE_TIME.to_owned() });
            }
            self.notice("pilots are gone and runs are left: submitting others");
            match self.submit(missing) {
                // It was there a moment ago: its controller is away, and no job was offered to it.
                Err(CliError::Slurm(error @ SlurmError::NoCluster { .. })) => {
                    self.fruitless = before.min(self.fruitless);
                    self.is_silent(&error);
                }
                // A limit of the account, perhaps, which the others are within.
                Err(error) if !live.is_empty() => self.notice(&format!(
                    "no job was added: {error}; the others go on, and it is tried again"
                )),
                done => done?,
            }
        }
        Ok(changed)
    }

    /// Tells, once, that Slurm does not answer.
    fn is_silent(&mut self, error: &SlurmError) {
        if !std::mem::replace(&mut self.silent, true) {
            self.notice(&format!("{error}; runs go on, and Slurm is asked again"));
        }
    }

    /// Sends home the pilots that still wait for their turn, or all of them. They would find nothing to do.
    fn dismiss(&mut self, all: bool) -> Result<(), RecordError> {
        let names = self.submission.names();
        let done = if all { self.slurm.cancel(&names) } else { self.slurm.cancel_pending(&names) };
        if let Err(error) = done {
            self.notice(&format!("jobs may be left, which find nothing to do: {error}"));
        }
        if !all {
            // Nothing that a job might still do is of the sweep.
            self.submission.batches.clear();
            self.submission.write(&self.session.folder)?;
        }
        Ok(())
    }

    fn detach(self, boards: &mut Boards<'_>) -> Result<ExitCode, CliError> {
        let Self { session, submission, mut progress, .. } = self;
        progress.show(&SweepEvent::TerminalGone);
        drop(progress);
        // The jobs need nobody, and a terminal that is not read may never take what follows.
        end_the_process(ExitCode::Stopped as i32);
        // They can be made anew at any time.
        if let Err(error) = boards.write() {
            terminal::notice(&format!("the tables could not be written: {error}"));
        }
        let name = &session.spec.name;
        let told = if submission.is_accepted() {
            format!(
                "detached: the jobs go on by themselves. The same command comes back to them, `gridlane slurm \
                 status {name}` says how they stand, `gridlane slurm cancel {name}` ends them"
            )
        } else if submission.batches.is_empty() {
            "stopped: nothing was submitted, the same command does it".to_owned()
        } else {
            "stopped before Slurm said whether it has the jobs: the same command looks for them, and submits \
             others only if there are none"
                .to_owned()
        };
        terminal::notice(&told);
        Ok(ExitCode::Stopped)
    }
}

/// `1 job`, `3 jobs`.
pub(super) fn jobs(count: usize) -> String {
    format!("{count} job{}", if count == 1 { "" } else { "s" })
}

/// The folder of a sweep that was submitted.
pub(super) fn submitted(folder: &SweepFolder) -> Result<Submission, CliError> {
    Submission::read(folder)?.ok_or_else(|| CliError::Cluster {
        message: format!("{} was not submitted to a cluster", folder.path().display()),
        help: "`gridlane sweep FILE --slurm` submits it".to_owned(),
    })
}
