//! When the agent was asked to end: by the terminal or whoever started it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Failure;
use crate::Result;
use crate::cli::failure::code;

/// Once it was asked to end, what is under way has so long.
const PATIENCE: Duration = Duration::from_secs(2);

enum Event {
    Asked,
    /// What [`Stop::during`] waits for is done.
    Done,
}

pub(super) struct Stop {
    events: Receiver<Event>,
    sender: Sender<Event>,
    is_asked: bool,
    /// Whether it tells what failed as JSON.
    json: bool,
    handle: signal_hook::iterator::Handle,
}

impl Stop {
    pub(super) fn listen(json: bool) -> std::result::Result<Stop, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::io("listen for signals"))?;
        let (handle, (sender, events)) = (signals.handle(), channel());
        let asked = sender.clone();
        // Ends with the handle.
        std::thread::spawn(move || signals.forever().try_for_each(|_| asked.send(Event::Asked)));
        Ok(Stop { events, sender, is_asked: false, json, handle })
    }

    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Waits for so long, or until it is asked; whether it was.
    pub(super) fn wait(&mut self, timeout: Duration) -> bool {
        if !self.is_asked {
            self.is_asked = !matches!(self.events.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
        }
        self.is_asked
    }

    /// Does something that may wait for the disk, or for room on it. Where it still does a moment after it was asked to end, the
    /// process ends without closing the store, for that would wait for the same: what was acknowledged is durable, the rest is read
    /// again next time.
    pub(super) fn during<T: Send>(&mut self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let done = Done(self.sender.clone());
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let _done = done;
                work()
            });
            self.attend();
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits until what goes on is done.
    fn attend(&mut self) {
        let mut until: Option<Instant> = self.is_asked.then(|| Instant::now() + PATIENCE);
        loop {
            let event = match until {
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => self.events.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Asked) => {
                    self.is_asked = true;
                    until = until.or(Some(Instant::now() + PATIENCE));
                }
                Ok(Event::Done) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let why =
                        "asked to end while the store has no room, or its disk hangs; the last batch is put next time";
                    Failure::Other(why.to_owned()).report(self.json);
                    std::process::exit(code::BUSY.into());
                }
            }
        }
    }
}

/// Tells when it goes, also by a panic.
struct Done(Sender<Event>);

impl Drop for Done {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Done);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.handle.close();
    }
}
