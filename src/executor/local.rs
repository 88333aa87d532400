//! Attempts as processes of this machine.
//!
//! Each is a process group of its own, so that a Ctrl-C in the terminal reaches the dispatcher
//! alone and so that a kill takes everything that a worker may have started. A worker asks the
//! kernel to be killed when the thread that started it dies: [`Local::start`] must therefore be
//! called from a thread that lives as long as the sweep.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::{Ended, Executor, Exit, Job, Stop};
use crate::record::RunFolder;
use crate::spec::device::DeviceId;

/// What is told when a process is gone.
pub type Notify = Arc<dyn Fn(Ended) + Send + Sync>;

/// Attempts as processes of this machine.
pub struct Local {
    program: PathBuf,
    notify: Notify,
    children: BTreeMap<usize, Child>,
}

impl Local {
    /// Workers are started as `program worker …`; `notify` hears of their ends, from any thread.
    pub fn new(program: PathBuf, notify: Notify) -> Self {
        Self { program, notify, children: BTreeMap::new() }
    }

    fn command(&self, job: &Job) -> io::Result<Command> {
        let Some(first) = job.folders.first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a job without a run"));
        };
        let devices: Vec<String> = job.devices.iter().map(DeviceId::to_string).collect();
        let mut command = Command::new(&self.program);
        command
            .arg("worker")
            .args(job.folders.iter().map(RunFolder::path))
            .args(["--attempt", &job.attempt.to_string()])
            .args(["--parent", &std::process::id().to_string()])
            .args(["--devices", &devices.join(",")])
            .arg("--data")
            .arg(&job.data)
            // What the kernels share their work among. Never left to the default: one
            // single-threaded run per core beats several threads per run.
            .env("RAYON_NUM_THREADS", job.threads.to_string())
            // GPUs are numbered as the inventory numbers them, not fastest first.
            .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            .stdin(Stdio::null())
            .stdout(append(&first.stdout())?)
            .stderr(append(&first.stderr())?)
            .process_group(0);
        Ok(command)
    }
}

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Executor for Local {
    fn start(&mut self, job: &Job) -> io::Result<u32> {
        let child = self.command(job)?.spawn()?;
        let pid = child.id();
        let group = job.group;
        let notify = Arc::clone(&self.notify);
        let watch = move || notify(Ended { group, exit: wait_without_reaping(pid) });
        self.children.insert(group, child);
        thread::Builder::new()
            .name(format!("watch-{pid}"))
            .stack_size(64 << 10)
            .spawn(watch)
            .map(|_| pid)
            .inspect_err(|_| {
                // Nobody would notice its end: it must not run.
                self.stop(group, Stop::AtOnce);
                self.settle(Ended { group, exit: Exit::Signal(9) });
            })
    }

    fn stop(&mut self, group: usize, how: Stop) {
        let Some(child) = self.children.get(&group) else { return };
        let Some(process) = Pid::from_raw(child.id().cast_signed()) else { return };
        let signal = match how {
            Stop::Gracefully => Signal::TERM,
            Stop::AtOnce => Signal::KILL,
        };
        // It may have ended meanwhile; not reaped yet, its number is still its own.
        let _ = rustix::process::kill_process_group(process, signal);
    }

    fn settle(&mut self, ended: Ended) {
        self.stop(ended.group, Stop::AtOnce);
        if let Some(mut child) = self.children.remove(&ended.group) {
            let _ = child.wait();
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let groups: Vec<usize> = self.children.keys().copied().collect();
        for group in groups {
            self.settle(Ended { group, exit: Exit::Signal(9) });
        }
    }
}

/// Waits for the end of a child and leaves it to be reaped, so that its number stays taken until
/// the dispatcher, which sends signals by that number, knows.
fn wait_without_reaping(pid: u32) -> Exit {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return Exit::Signal(0) };
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => return exit_of(&status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            // Somebody else reaped it: how it ended is not known.
            Err(_) => return Exit::Signal(0),
        }
    }
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(0),
    }
}
