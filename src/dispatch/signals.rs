//! Signals as messages of the event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::{Handle, Signals};

use super::Message;

/// Whether time is up. A batch system announces it with SIGUSR1, long before where it does not know better.
#[derive(Debug, Clone)]
pub struct TimeIsUp {
    announced: Arc<AtomicBool>,
    known: Option<Instant>,
}

impl TimeIsUp {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let announced = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&announced))?;
        Ok(Self { announced, known: None })
    }

    /// The same, where it is known when it will be: neither before nor after that, whatever is announced.
    pub fn known(self, instant: Instant) -> Self {
        self.announced.store(true, Ordering::Relaxed);
        Self { known: Some(instant), ..self }
    }

    /// When it will be, where that is known.
    pub fn when(&self) -> Option<Instant> {
        self.known
    }

    /// Is it up?
    pub fn is_up(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
            && self.known.is_none_or(|instant| instant <= Instant::now())
    }

    /// Lets the event loop know once it is up, after it was announced.
    fn tell(&self, messages: Sender<Message>) {
        let Some(instant) = self.known else {
            // A loop that is over needs no message.
            let _ = messages.send(Message::Interrupt);
            return;
        };
        let wait = move || {
            thread::sleep(instant.saturating_duration_since(Instant::now()));
            let _ = messages.send(Message::Interrupt);
        };
        thread::spawn(wait);
    }
}

/// From now on SIGINT and SIGTERM end the process with `code`: nothing is under way any more that would have
/// to be stopped, and what is left to be printed may wait for a reader for ever.
pub fn end_the_process(code: i32) {
    let always = Arc::new(AtomicBool::new(true));
    for signal in [SIGINT, SIGTERM] {
        // Where the system refuses, SIGKILL is left to the impatient.
        let _ = register_conditional_shutdown(signal, code, Arc::clone(&always));
    }
}

/// Delivers signals as messages while it lives.
pub struct SignalWatch {
    handle: Handle,
}

impl SignalWatch {
    /// SIGINT and SIGTERM become [`Message::Interrupt`], and so does SIGUSR1 or whatever else is known of the
    /// end of `time`; SIGHUP (the terminal is gone) becomes [`Message::TerminalGone`]: the sweep goes on.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn start(messages: Sender<Message>, time: TimeIsUp) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP])?;
        let handle = signals.handle();
        // Announced before anybody listened here.
        let mut known = time.announced.load(Ordering::Relaxed);
        if known {
            time.tell(messages.clone());
        }
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let message = match signal {
                    SIGHUP => Message::TerminalGone,
                    SIGUSR1 => {
                        if !std::mem::replace(&mut known, true) {
                            time.tell(messages.clone());
                        }
                        continue;
                    }
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
