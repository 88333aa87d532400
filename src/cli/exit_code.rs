//! What the program says by its exit code. Scripts rely on these numbers.

/// Exit codes of every command but `worker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All runs finished or diverged, or the command did what it was asked.
    Ok = 0,
    /// Something that is nobody's mistake on the command line: a disk, a lock, a download.
    Error = 1,
    /// A bad command line or sweep file.
    Usage = 2,
    /// There is nothing to do.
    NothingToDo = 4,
    /// Some runs failed.
    RunsFailed = 100,
    /// Stopped by a signal before all runs were executed; the same command goes on.
    Stopped = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
