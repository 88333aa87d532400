//! The ranks of a run on several devices: processes that rank 0, the worker that the dispatcher knows,
//! starts and watches.
//!
//! Only rank 0 writes: events, checkpoints, results. The others ([`follow`](super::follow())) are told
//! by [`Order`]s which calls of the trainer to make. They inherit the descriptor of the memory that they share; they
//! die with rank 0, as it dies with the dispatcher. One that ends before its time ends rank 0, and
//! with it all; one that stands still is missed by those who wait for it, and where that is rank 0
//! itself, they kill it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::WorkerError;
use super::order::{self, Order};
use super::run::Assignment;
use super::shared_data;
use crate::event::{RANK_LOST, WorkerExit};
use crate::record::error::with_causes;
use crate::spec::device::DeviceId;
use crate::train::TrainError;
use crate::train::data::DataSplits;
use crate::train::device::shares_gpus;
use crate::train::parallel::{Member, ParallelError, Ranks, Segment, SharedBytes};

/// A rank that neither computes nor waits for so long is taken for hung.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long rank 0 waits for the others to leave once the work is done.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long one who knows that something is wrong leaves those the word who know what.
const WORD: Duration = Duration::from_secs(1);

/// One of the ranks above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Which, from 1.
    pub rank: usize,
    /// The inherited descriptor of the memory that the ranks share.
    pub memory: u32,
    /// That of the memory in which rank 0 puts the data set.
    pub data: u32,
}

impl Seat {
    /// The place of this rank among `devices`.
    pub(super) fn take(&self, devices: u32) -> Result<Member, WorkerError> {
        let segment = Segment::open(inherited(self.memory)?, devices as usize)?;
        let member = Member::join(segment, self.rank, PATIENCE)?;
        let parent = std::os::unix::process::parent_id();
        Ok(member.when_lost(Box::new(move |error| leave_gang(error, Some(parent)))))
    }

    /// The data set that rank 0 has loaded, as `member` of the gang.
    pub(super) fn data(&self, member: &Member) -> Result<DataSplits, WorkerError> {
        let memory = SharedBytes::open(inherited(self.data)?);
        shared_data::receive(member.orders(), memory)
    }
}

/// A file that this process was started with.
fn inherited(descriptor: u32) -> Result<OwnedFd, WorkerError> {
    let path = format!("/proc/self/fd/{descriptor}");
    let file = File::options().read(true).write(true).open(path).map_err(WorkerError::Gang)?;
    Ok(file.into())
}

/// The other ranks, as rank 0 knows them; none for runs on one device.
#[derive(Default)]
pub(super) struct Gang {
    member: Option<Member>,
    /// Where the data set goes.
    data: Option<SharedBytes>,
    followers: usize,
    /// Hears of those that have left well.
    left: Option<Receiver<()>>,
}

impl Gang {
    /// Starts the ranks above 0 of runs on `devices`.
    pub(super) fn start(devices: u32, assignment: &Assignment) -> Result<Self, WorkerError> {
        if devices == 1 {
            return Ok(Self::default());
        }
        let (segment, data) = (Segment::create(devices as usize)?, SharedBytes::create()?);
        let number = |file: BorrowedFd<'_>| file.as_raw_fd().cast_unsigned();
        let [memory, of_data] = [segment.descriptor(), data.descriptor()].map(number);
        let (leave, left) = channel();
        for rank in 1..devices as usize {
            let child = command(assignment, Seat { rank, memory, data: of_data }).spawn();
            watch(child.map_err(WorkerError::Gang)?, rank, leave.clone())?;
        }
        let member = Member::join(segment, 0, PATIENCE)?;
        let member = Some(member.when_lost(Box::new(|error| leave_gang(error, None))));
        let data = Some(data);
        Ok(Self { member, data, followers: devices as usize - 1, left: Some(left) })
    }

    /// Gives the others the data set of the group, and gives it back as all have it.
    pub(super) fn share(&mut self, data: DataSplits) -> Result<DataSplits, WorkerError> {
        match (&self.member, self.data.take()) {
            (Some(member), Some(memory)) => shared_data::give(member.orders(), memory, data),
            _ => Ok(data),
        }
    }

    /// The ranks for a trainer.
    pub(super) fn ranks(&self) -> Ranks<f32> {
        self.member.as_ref().map_or_else(Ranks::alone, Member::ranks)
    }

    /// Has the others do what rank 0 is about to do.
    pub(super) fn order(&self, order: Order) -> Result<(), WorkerError> {
        let Some(member) = &self.member else { return Ok(()) };
        order.give(member.orders())
    }

    /// Has the others begin with these lanes, by the places of their folders in the assignment, from
    /// these checkpoints if there are any: one for each, as rank 0 has found it.
    pub(super) fn begin(&self, lanes: &[usize], checkpoints: &[&[u8]]) -> Result<(), WorkerError> {
        let Some(member) = &self.member else { return Ok(()) };
        let orders = member.orders();
        Order::Begin { lanes: lanes.len(), resumes: !checkpoints.is_empty() }.give(orders)?;
        let mut places: Vec<f64> = lanes.iter().map(|&place| place as f64).collect();
        orders.follow(&mut places)?;
        checkpoints.iter().try_for_each(|bytes| order::send(orders, bytes))
    }

    /// Sees the others off, once rank 0 has come to `end`.
    pub(super) fn part(&self, end: &Result<WorkerExit, WorkerError>) {
        match end {
            // Should they be gone already, nothing is lost.
            Ok(_) => drop(self.order(Order::End).map(|()| self.wait())),
            // Another has noticed what is wrong, and is about to say so.
            Err(WorkerError::RankLost(ParallelError::Ended { .. })) => thread::sleep(WORD),
            Err(_) => {}
        }
    }

    fn wait(&self) {
        let Some(left) = &self.left else { return };
        let begun = Instant::now();
        for _ in 0..self.followers {
            if left.recv_timeout(FAREWELL.saturating_sub(begun.elapsed())).is_err() {
                return;
            }
        }
    }
}

/// Kills rank 0, whose process is `parent`, if what this rank has found keeps the gang from going on
/// and nobody else has found it: rank 0 may be the one that stands still.
pub fn end_gang(error: &WorkerError, parent: u32) {
    let WorkerError::RankLost(error) = error else { return };
    let is_told = matches!(error, ParallelError::Ended { .. });
    let parent = Pid::from_raw(parent.cast_signed()).filter(|_| !is_told);
    if let Some(parent) = parent
        && rustix::process::getppid() == Some(parent)
    {
        let _ = kill_process(parent, Signal::KILL);
    }
}

/// Ends this process from a thread beside the one that trains, which waits for an accelerator and
/// cannot be told: another rank stands still. A rank above 0 says it and ends rank 0, its `parent`.
fn leave_gang(error: ParallelError, parent: Option<u32>) {
    let error = WorkerError::RankLost(error);
    let _ = writeln!(io::stderr(), "{}", with_causes(&error));
    if let Some(parent) = parent {
        end_gang(&error, parent);
    }
    exit_at_once(error.exit());
}

/// Ends the process as it stands: what libraries do at an ordinary end may wait for the thread that
/// trains, and that for a rank that is gone.
fn exit_at_once(exit: WorkerExit) -> ! {
    signal_hook::low_level::exit(i32::from(exit as u8))
}

fn command(assignment: &Assignment, seat: Seat) -> Command {
    // The program that runs, even if another has been put in its place meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let devices: Vec<String> = assignment.devices.iter().map(DeviceId::to_string).collect();
    if shares_gpus() {
        // NCCL takes two ranks on one GPU for a mistake, unless they say that they are on two hosts.
        command.env("NCCL_HOSTID", format!("rank-{}", seat.rank));
    }
    command
        .arg0("gridlane")
        .arg("worker")
        .args(&assignment.folders)
        .arg("--data")
        .arg(&assignment.data)
        .args(["--devices", &devices.join(",")])
        .args(["--attempt", &assignment.attempt.to_string()])
        .args(["--parent", &std::process::id().to_string()])
        .args(["--rank", &seat.rank.to_string()])
        .args(["--memory", &seat.memory.to_string()])
        .args(["--data-memory", &seat.data.to_string()])
        .stdin(Stdio::null());
    command
}

/// What the end of a rank means for the others.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It has done its part.
    Left,
    /// It has said why it could not.
    Told(WorkerExit),
    /// It is lost: what happened to it.
    Lost(String),
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => match WorkerExit::from_code(code) {
                Some(WorkerExit::Done | WorkerExit::Interrupted) => Self::Left,
                Some(exit) => Self::Told(exit),
                None => Self::Lost(format!("ended with exit code {code}: its message is above")),
            },
            // Asked to stop before it listened; rank 0 was asked as well.
            (None, Some(15)) => Self::Told(WorkerExit::Interrupted),
            (None, Some(9)) => Self::Lost("was killed by signal 9 (SIGKILL)".to_owned()),
            (None, signal) => Self::Lost(format!("was killed by signal {}", signal.unwrap_or(0))),
        }
    }
}

/// Waits for the end of a rank on a thread of its own.
fn watch(mut child: Child, rank: usize, leave: Sender<()>) -> Result<(), WorkerError> {
    let wait = move || {
        let end = child.wait().map_or_else(|error| End::Lost(error.to_string()), End::of);
        match end {
            End::Left => {
                let _ = leave.send(());
            }
            End::Told(exit) => {
                // Rank 0 has most likely come to the same end, and goes by itself.
                thread::sleep(WORD);
                exit_at_once(exit);
            }
            End::Lost(what) => {
                let _ = writeln!(io::stderr(), "{RANK_LOST}rank {rank} {what}");
                exit_at_once(WorkerExit::RankLost);
            }
        }
    };
    let name = format!("watch-{rank}");
    let thread = thread::Builder::new().name(name).stack_size(64 << 10).spawn(wait);
    thread.map(|_| ()).map_err(WorkerError::Gang)
}

impl From<ParallelError> for WorkerError {
    fn from(error: ParallelError) -> Self {
        match error {
            ParallelError::Memory { .. } | ParallelError::Thread(_) => {
                Self::Train(TrainError::Parallel(error))
            }
            error => Self::RankLost(error),
        }
    }
}

impl From<TrainError> for WorkerError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Parallel(error) => error.into(),
            error => Self::Train(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_rank_says_what_it_means() {
        let exit = |code: i32| End::of(ExitStatus::from_raw(code << 8));
        assert_eq!([exit(0), exit(75)], [End::Left, End::Left]);
        assert_eq!(exit(65), End::Told(WorkerExit::Refused));
        assert_eq!(exit(76), End::Told(WorkerExit::RankLost));
        let End::Lost(panic) = exit(101) else { panic!() };
        assert_eq!(panic, "ended with exit code 101: its message is above");
        let End::Lost(killed) = End::of(ExitStatus::from_raw(9)) else { panic!() };
        assert_eq!(killed, "was killed by signal 9 (SIGKILL)");
        assert_eq!(End::of(ExitStatus::from_raw(15)), End::Told(WorkerExit::Interrupted));
    }
}
