//! What became of an attempt: its exit, its folder and its error output, read together.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::machine::Verdict;
use crate::event::{Failure, FailureClass, RANK_LOST, WorkerExit};
use crate::executor::Exit;
use crate::ids::RunId;
use crate::record::result::RECORD_FORMAT;
use crate::record::{RecordError, RunFolder, RunResult, RunStatus, atomic};

/// Lines of error output that the record keeps of a failed attempt.
const TAIL_LINES: usize = 20;
/// Bytes that are searched for them.
const TAIL_BYTES: u64 = 16 << 10;

/// The error output of one attempt, at the end of a file that may hold earlier ones.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
    start: u64,
}

impl Log {
    /// What will be written to `path` from now on.
    pub fn from_now_on(path: &Path) -> Self {
        let start = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { path: path.to_owned(), start }
    }

    /// Its last lines; empty where there is none.
    pub fn tail(&self) -> String {
        log_tail(&self.path, self.start)
    }
}

/// Judges an attempt at a run whose process is gone.
///
/// A result that is there counts whatever the exit was: it was written whole and made durable.
pub fn judge(folder: &RunFolder, run_id: RunId, exit: Exit, log: &Log) -> Verdict {
    match result_of(folder, run_id) {
        Ok(Some(result)) if result.status == RunStatus::Diverged => {
            return Verdict::Diverged { reason: result.reason.unwrap_or_default() };
        }
        Ok(Some(_)) => return Verdict::Result,
        Ok(None) => {}
        Err(error) => return failed(FailureClass::RecordFailed, error.to_string()),
    }
    let tail = log.tail();
    if let Some(reason) = lost_rank(exit, &tail) {
        return failed(FailureClass::RankLost, reason);
    }
    let orderly =
        [WorkerExit::Interrupted, WorkerExit::DiskFull].map(|exit| Exit::Code(exit as i32));
    if !orderly.contains(&exit)
        && let Some(line) = want_of_memory(&tail)
    {
        return failed(FailureClass::OutOfMemory, line);
    }
    match exit {
        Exit::Code(code) => match WorkerExit::from_code(code) {
            Some(WorkerExit::Done) => failed(
                FailureClass::NoResult,
                "the worker ended well but left no result".to_owned(),
            ),
            Some(WorkerExit::Interrupted) => Verdict::Interrupted,
            Some(WorkerExit::DiskFull) => Verdict::DiskFull,
            Some(WorkerExit::Refused) => failed(FailureClass::Refused, last_line(&tail)),
            Some(WorkerExit::RecordFailed) => failed(FailureClass::RecordFailed, last_line(&tail)),
            Some(WorkerExit::RankLost) => failed(FailureClass::RankLost, last_line(&tail)),
            Some(WorkerExit::RanksDiffer) => failed(FailureClass::RanksDiffer, last_line(&tail)),
            Some(WorkerExit::OutOfMemory) => failed(FailureClass::OutOfMemory, last_line(&tail)),
            Some(WorkerExit::DeviceFailed) => failed(FailureClass::DeviceFailed, last_line(&tail)),
            None => {
                failed(FailureClass::Crashed, format!("exit code {code}: {}", panic_line(&tail)))
            }
        },
        Exit::Signal(signal) => by_signal(signal),
    }
}

/// What became of a rank, where that ended the others: a rank ends rank 0, which this exit is of, by
/// a signal if that is the one that stands still.
fn lost_rank(exit: Exit, tail: &str) -> Option<String> {
    let may_be = matches!(exit, Exit::Signal(9)) || exit == Exit::Code(WorkerExit::RankLost as i32);
    let line = tail.lines().rev().find_map(|line| line.strip_prefix(RANK_LOST));
    line.filter(|_| may_be).map(|reason| reason.trim().to_owned())
}

fn by_signal(signal: i32) -> Verdict {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU: the limit on processor time, `ulimit -t`",
        25 => "SIGXFSZ: the limit on the size of a file, `ulimit -f`",
        31 => "SIGSYS",
        _ => "a signal",
    };
    let reason = match signal {
        9 => "killed by signal 9 (SIGKILL), not by gridlane: perhaps by the kernel for want of memory \
              (`dmesg` tells), perhaps by hand"
            .to_owned(),
        _ => format!("killed by signal {signal} ({name})"),
    };
    failed(FailureClass::Crashed, reason)
}

/// How the host's allocator, CUDA, cuBLAS, cuDNN and NCCL say that there is no memory left.
const WANT_OF_MEMORY: [&str; 5] = [
    "memory allocation of ",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "'out of memory'",
];

/// The line of a log in which one of them says it.
fn want_of_memory(tail: &str) -> Option<String> {
    let says = |line: &&str| WANT_OF_MEMORY.iter().any(|words| line.contains(words));
    tail.lines().rev().find(says).map(|line| line.trim().to_owned())
}

fn failed(class: FailureClass, reason: String) -> Verdict {
    Verdict::Failed(Failure { class, reason })
}

/// The result of a run, if it has one that counts.
fn result_of(folder: &RunFolder, run_id: RunId) -> Result<Option<RunResult>, RecordError> {
    let result: Option<RunResult> = atomic::read_json(&folder.result(), RECORD_FORMAT)?;
    // A failed one is what an earlier dispatcher wrote for an attempt before this one.
    Ok(result.filter(|result| result.run_id == run_id && result.status.is_final()))
}

/// The last lines of a log from `start` on; empty where there is none.
fn log_tail(path: &Path, start: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn last_line(tail: &str) -> String {
    tail.lines().last().unwrap_or("it left no message").trim().to_owned()
}

/// The message of a Rust panic stands in the line after `panicked at`.
fn panic_line(tail: &str) -> String {
    let mut lines = tail.lines().skip_while(|line| !line.contains("panicked at"));
    match (lines.next(), lines.next()) {
        (Some(at), Some(message)) => {
            let place = at.rsplit_once("panicked at ").map_or("", |(_, place)| place);
            format!("{} ({})", message.trim(), place.trim_end_matches(':'))
        }
        _ => last_line(tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(exit: Exit, log: &str) -> Verdict {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        std::fs::write(folder.stderr(), "an earlier attempt's words\n").unwrap();
        let own = Log::from_now_on(&folder.stderr());
        std::fs::write(folder.stderr(), format!("an earlier attempt's words\n{log}")).unwrap();
        judge(&folder, RunId::of(b"a"), exit, &own)
    }

    fn reason(verdict: Verdict) -> (FailureClass, String) {
        match verdict {
            Verdict::Failed(failure) => (failure.class, failure.reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_way_to_end_has_its_class() {
        let panic = "thread 'main' panicked at src/train/x.rs:3:5:\nindex out of bounds\nnote: run";
        let cases = [
            (Exit::Code(0), "", FailureClass::NoResult, "the worker ended well but left no result"),
            (Exit::Code(65), "error: no data", FailureClass::Refused, "error: no data"),
            (Exit::Code(74), "cannot write x", FailureClass::RecordFailed, "cannot write x"),
            (
                Exit::Code(76),
                "rank_lost: rank 1 is gone\nx",
                FailureClass::RankLost,
                "rank 1 is gone",
            ),
            (Exit::Signal(9), "rank_lost: rank 0 sleeps", FailureClass::RankLost, "rank 0 sleeps"),
            (Exit::Code(77), "after epoch 1", FailureClass::RanksDiffer, "after epoch 1"),
            (Exit::Code(78), "no 9 bytes left", FailureClass::OutOfMemory, "no 9 bytes left"),
            (Exit::Code(79), "the GPU is lost", FailureClass::DeviceFailed, "the GPU is lost"),
            (
                Exit::Code(101),
                panic,
                FailureClass::Crashed,
                "exit code 101: index out of bounds (src/train/x.rs:3:5)",
            ),
            (
                Exit::Code(65),
                "error: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
                FailureClass::OutOfMemory,
                "error: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            ),
            (
                Exit::Code(79),
                "starting cuBLAS failed on cuda:0: CUBLAS_STATUS_ALLOC_FAILED",
                FailureClass::OutOfMemory,
                "starting cuBLAS failed on cuda:0: CUBLAS_STATUS_ALLOC_FAILED",
            ),
            (Exit::Code(3), "", FailureClass::Crashed, "exit code 3: it left no message"),
            (Exit::Signal(11), "", FailureClass::Crashed, "killed by signal 11 (SIGSEGV)"),
            (
                Exit::Signal(24),
                "",
                FailureClass::Crashed,
                "killed by signal 24 (SIGXCPU: the limit on processor time, `ulimit -t`)",
            ),
            (
                Exit::Signal(6),
                "memory allocation of 9 bytes failed",
                FailureClass::OutOfMemory,
                "memory allocation of 9 bytes failed",
            ),
        ];
        for (exit, log, class, text) in cases {
            assert_eq!(reason(judged(exit, log)), (class, text.to_owned()));
        }
        assert_eq!(judged(Exit::Code(75), ""), Verdict::Interrupted);
        assert_eq!(judged(Exit::Code(73), ""), Verdict::DiskFull);
        assert!(reason(judged(Exit::Signal(9), "")).1.contains("SIGKILL"));
    }

    #[test]
    fn a_result_counts_whatever_the_exit_was() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = RunFolder::at(temporary.path());
        let run_id = RunId::of(b"a");
        let log = Log::from_now_on(&folder.stderr());
        let mut result = RunResult::new(run_id, RunStatus::Finished);
        atomic::replace_json(&folder.result(), &result, crate::record::Durability::Derived)
            .unwrap();
        assert_eq!(judge(&folder, run_id, Exit::Signal(9), &log), Verdict::Result);
        let (status, reason) = (RunStatus::Diverged, "loss is nan at step 3".to_owned());
        let diverged = RunResult { status, reason: Some(reason.clone()), ..result.clone() };
        atomic::replace_json(&folder.result(), &diverged, crate::record::Durability::Derived)
            .unwrap();
        let verdict = judge(&folder, run_id, Exit::Code(0), &log);
        assert_eq!(verdict, Verdict::Diverged { reason });
        result.status = RunStatus::Failed;
        atomic::replace_json(&folder.result(), &result, crate::record::Durability::Derived)
            .unwrap();
        assert_ne!(judge(&folder, run_id, Exit::Signal(9), &log), Verdict::Result);
    }
}
