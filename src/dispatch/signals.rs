//! Signals as messages of the event loop.

use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};

use super::Message;

/// Delivers signals as messages while it lives.
pub struct SignalWatch {
    handle: Handle,
}

impl SignalWatch {
    /// SIGINT, SIGTERM and SIGUSR1 (how a batch system announces that time is up) become
    /// [`Message::Interrupt`]; SIGHUP (the terminal is gone) becomes
    /// [`Message::TerminalGone`]: the sweep goes on.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn start(messages: Sender<Message>) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP])?;
        let handle = signals.handle();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let message = match signal {
                    SIGHUP => Message::TerminalGone,
                    _ => Message::Interrupt,
                };
                if messages.send(message).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { handle })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
    }
}
