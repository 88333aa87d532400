//! Work on its way to a backend: passed on at once, or held back until all of a step is there.
//!
//! What is held is a list of commands. A list that comes for the second time is recorded as a graph,
//! and from then on one launch stands for all of it. Lists are compared command by command, so a graph
//! never does anything but what was asked for: where memory has moved, a batch is smaller or a number
//! has changed that is an argument of a kernel, the list is another one and its commands are passed
//! on. What changes from step to step therefore has to come from memory, or no list ever returns.
//!
//! Copies to the accelerator are not held: they go ahead of the list. Where a command of the list
//! still needs what they would overwrite, it is passed on first, and so it is before anything that
//! waits. Such a list is in pieces, and is not recorded.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::backend::{Address, Backend, Command, Graph};
use super::error::DeviceError;

/// Lists that are kept: those of a whole batch and of the last of an epoch, each before and after
/// memory has moved, and those of an evaluation, which comes between two epochs.
const KEPT: usize = 6;

/// Passes work on to a backend.
#[derive(Debug)]
pub struct Queue {
    backend: Box<dyn Backend>,
    state: Mutex<State>,
    replays: AtomicU64,
}

#[derive(Debug)]
struct State {
    is_holding: bool,
    held: Vec<Command>,
    /// A part of the list has been passed on already.
    in_pieces: bool,
    /// Memory that was given back while commands that may use it were held.
    released: Vec<Address>,
    /// The lists that came last, the latest in the end.
    kept: Vec<Kept>,
    records: bool,
}

/// A list that has been done.
#[derive(Debug)]
struct Kept {
    commands: Vec<Command>,
    /// From the second time on.
    graph: Option<Graph>,
}

impl Queue {
    /// A queue that records.
    pub fn new(backend: Box<dyn Backend>) -> Self {
        let state = State {
            is_holding: false,
            held: Vec::new(),
            in_pieces: false,
            released: Vec::new(),
            kept: Vec::new(),
            records: true,
        };
        Self { backend, state: Mutex::new(state), replays: AtomicU64::new(0) }
    }

    /// The backend, for what does not depend on the order of what is queued.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend, once all that is held has been passed on: for whatever has to come after it.
    ///
    /// # Errors
    /// When something that was held fails.
    pub fn passed(&self) -> Result<&dyn Backend, DeviceError> {
        let mut state = self.state();
        if !state.held.is_empty() {
            state.in_pieces = true;
            let held = mem::take(&mut state.held);
            let done = held.iter().try_for_each(|command| self.pass(command));
            state.held = held;
            state.held.clear();
            done?;
        }
        Ok(self.backend())
    }

    fn pass(&self, command: &Command) -> Result<(), DeviceError> {
        match command {
            Command::Launch(launch) => self.backend.launch(launch),
            Command::Multiply(product) => self.backend.multiply(product),
            Command::Convolve(call) => self.backend.convolve(call),
        }
    }

    /// Queues a command.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn push(&self, command: Command) -> Result<(), DeviceError> {
        let mut state = self.state();
        if state.is_holding {
            state.held.push(command);
            return Ok(());
        }
        drop(state);
        self.pass(&command)
    }

    /// Copies `bytes` to `to`, which lies in the memory from `whole[0]` to `whole[1]`.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn upload(&self, whole: [u64; 2], to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let is_needed = self.state().held.iter().any(|command| command.touches(whole));
        let backend = if is_needed { self.passed()? } else { self.backend() };
        backend.upload(to, bytes)
    }

    /// Gives memory back, once all that is held has been done with it.
    pub fn release(&self, address: Address) {
        let mut state = self.state();
        if state.held.is_empty() {
            drop(state);
            self.backend.release(address);
        } else {
            state.released.push(address);
        }
    }

    /// Holds back what is queued from here on, if lists are recorded and none is held already; says
    /// whether it does.
    pub fn hold(&self) -> bool {
        let mut state = self.state();
        let begins = state.records && !state.is_holding;
        state.is_holding |= begins;
        begins
    }

    /// Passes on what was held, if it is whole, or forgets it.
    ///
    /// # Errors
    /// When the accelerator fails.
    pub fn let_go(&self, is_whole: bool) -> Result<(), DeviceError> {
        let mut state = self.state();
        state.is_holding = false;
        let in_pieces = mem::take(&mut state.in_pieces);
        let mut held = mem::take(&mut state.held);
        let done = match (is_whole, in_pieces) {
            (false, _) => Ok(()),
            (true, true) => held.iter().try_for_each(|command| self.pass(command)),
            (true, false) => self.do_whole(&mut state, &mut held),
        };
        held.clear();
        state.held = held;
        state.released.drain(..).for_each(|address| self.backend.release(address));
        done
    }

    /// Does a whole list: by its graph, if it has one; recording it, if it has come before.
    fn do_whole(&self, state: &mut State, held: &mut Vec<Command>) -> Result<(), DeviceError> {
        if held.is_empty() {
            return Ok(());
        }
        let Some(at) = state.kept.iter().rposition(|kept| kept.commands == *held) else {
            held.iter().try_for_each(|command| self.pass(command))?;
            if state.kept.len() == KEPT {
                self.discard(state.kept.remove(0));
            }
            state.kept.push(Kept { commands: mem::take(held), graph: None });
            return Ok(());
        };
        let mut kept = state.kept.remove(at);
        if kept.graph.is_none() {
            kept.graph = self.recorded(held);
            // A driver that refuses once will do so again.
            state.records = kept.graph.is_some();
        }
        let graph = kept.graph;
        state.kept.push(kept);
        let Some(graph) = graph else {
            return held.iter().try_for_each(|command| self.pass(command));
        };
        self.replays.fetch_add(1, Ordering::Relaxed);
        self.backend.replay(graph)
    }

    /// The graph of a list; none where it cannot be recorded.
    fn recorded(&self, commands: &[Command]) -> Option<Graph> {
        self.backend.begin_capture().ok()?;
        let passed = commands.iter().try_for_each(|command| self.pass(command));
        let graph = self.backend.end_capture();
        if let (Err(_), Ok(graph)) = (&passed, &graph) {
            self.backend.discard(*graph);
        }
        passed.and(graph).ok()
    }

    fn discard(&self, kept: Kept) {
        if let Some(graph) = kept.graph {
            self.backend.discard(graph);
        }
    }

    /// Records lists from now on, or does not.
    pub fn record(&self, yes: bool) {
        self.state().records = yes;
    }

    /// How often a graph was launched.
    pub fn replays(&self) -> u64 {
        self.replays.load(Ordering::Relaxed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let kept = mem::take(&mut self.state().kept);
        kept.into_iter().for_each(|kept| self.discard(kept));
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
