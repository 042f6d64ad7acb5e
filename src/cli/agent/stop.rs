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

    /// Does something that may wait for the disk, or for room on it. Where it still does a moment after it was asked to end, or when it
    /// is asked once more, the process ends without closing the store, for that would wait for the same: what was acknowledged is
    /// durable, the rest is read again next time.
    pub(super) fn during<T: Send>(&mut self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let until = self.is_asked.then(|| Instant::now() + PATIENCE);
        let why = "asked to end while the store has no room, or its disk hangs; the last batch is put next time";
        self.attended(until, why, work)
    }

    /// Does what comes last, and may take its time: who asked it to end can only ask once more.
    pub(super) fn at_last<T: Send>(&mut self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.attended(None, "asked to end while the store was being closed; what was put is durable", work)
    }

    fn attended<T: Send>(
        &mut self,
        until: Option<Instant>,
        why: &str,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let done = Done(self.sender.clone());
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let _done = done;
                work()
            });
            if !self.attend(until) {
                Failure::Other(why.to_owned()).report(self.json);
                std::process::exit(code::BUSY.into());
            }
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits until what goes on is done; `false` if it is to wait no longer.
    fn attend(&mut self, mut until: Option<Instant>) -> bool {
        loop {
            let event = match until {
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => self.events.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Asked) if self.is_asked => return false,
                Ok(Event::Asked) => {
                    self.is_asked = true;
                    until = until.or(Some(Instant::now() + PATIENCE));
                }
                Ok(Event::Done) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_before() -> Stop {
        let mut stop = Stop::listen(false).unwrap();
        stop.sender.send(Event::Asked).unwrap();
        assert!(stop.wait(Duration::ZERO));
        stop
    }

    #[test]
    fn what_comes_last_has_its_time_until_it_is_asked_once_more() {
        let mut stop = asked_before();
        stop.sender.send(Event::Done).unwrap();
        assert!(stop.attend(None));
        // The thread that hears signals is as good as this one.
        stop.sender.send(Event::Asked).unwrap();
        assert!(!stop.attend(None));
        // Whoever was not asked yet has a moment from then on.
        let mut stop = Stop::listen(false).unwrap();
        stop.sender.send(Event::Asked).unwrap();
        stop.sender.send(Event::Done).unwrap();
        assert!(stop.attend(None) && stop.is_asked());
    }

    #[test]
    fn what_goes_on_is_waited_for_as_long_as_its_patience() {
        let mut stop = asked_before();
        assert!(!stop.attend(Some(Instant::now())));
        assert_eq!(stop.at_last(|| Ok(1)).unwrap(), 1);
    }
}
