//! Places at which a test kills the process.
//!
//! Every write of the record and every start of a worker is a place where a kill must cost nothing.
//! With `GRIDLANE_CRASH_AT=worker:7` in the environment, every worker kills itself (SIGKILL, as
//! the kernel's out-of-memory killer would) at its seventh such place; `dispatcher:7` means the
//! process that runs the sweep. Without the variable a place costs one load of an atomic.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which process a place belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The process that runs a sweep.
    Dispatcher,
    /// The process that trains a run.
    Worker,
}

static ROLE: OnceLock<Role> = OnceLock::new();
/// Places left until the kill; `u64::MAX` without one.
static LEFT: OnceLock<AtomicU64> = OnceLock::new();

/// Says what this process is. Until then its places do nothing.
pub fn set_role(role: Role) {
    let _ = ROLE.set(role);
}

/// A place at which a kill must cost nothing.
pub fn crash_point() {
    let left = LEFT.get_or_init(|| AtomicU64::new(wanted().unwrap_or(u64::MAX)));
    if left.load(Ordering::Relaxed) == u64::MAX {
        return;
    }
    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn wanted() -> Option<u64> {
    let wish = std::env::var("GRIDLANE_CRASH_AT").ok()?;
    let (role, place) = wish.split_once(':')?;
    let mine = match ROLE.get()? {
        Role::Dispatcher => "dispatcher",
        Role::Worker => "worker",
    };
    (role == mine).then(|| place.parse().ok()).flatten().filter(|place| *place > 0)
}
