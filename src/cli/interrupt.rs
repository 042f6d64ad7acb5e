//! A command that was asked to end while it was at work: it stops where it is, says how far it got, and ends by the signal that asked
//! it, so that a shell, or whoever started it, sees what happened.
//!
//! `agent` and `serve` go on until somebody ends them, so for those a signal is a good end; see there.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::Failure;

/// Once it was asked to end, what is under way has so long; a second signal ends it at once.
const PATIENCE: Duration = Duration::from_secs(5);

type LastWords = Box<dyn Fn() -> String + Send>;

/// Listens for SIGINT and SIGTERM.
pub(crate) struct Interrupts {
    shared: Arc<Shared>,
    /// At its end once a signal came.
    ended: PipeReader,
    handle: Handle,
}

struct Shared {
    /// The first signal; 0 before.
    signal: AtomicI32,
    /// What is to be said where the command does not end by itself.
    last_words: Mutex<Option<LastWords>>,
    json: bool,
}

impl Interrupts {
    /// From now on a signal is heard, and no longer ends the process by itself.
    pub(crate) fn listen(json: bool) -> Result<Interrupts, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::io("listen for signals"))?;
        let (ended, open) = io::pipe().map_err(Failure::io("listen for signals"))?;
        let shared = Arc::new(Shared { signal: AtomicI32::new(0), last_words: Mutex::new(None), json });
        let handle = signals.handle();
        let attending = shared.clone();
        std::thread::Builder::new()
            .spawn(move || attending.attend(&mut signals, open))
            .map_err(Failure::io("start a thread"))?;
        Ok(Interrupts { shared, ended, handle })
    }

    /// What is said where the command can't end by itself, because a disk hangs or something to read does not come.
    pub(crate) fn last_words(&self, words: impl Fn() -> String + Send + 'static) {
        *self.shared.last_words.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(words));
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.shared.signal.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    /// A failure once a signal came.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.signal() {
            None => Ok(()),
            Some(signal) => Err(Failure::Interrupted { signal, how_far: String::new() }),
        }
    }

    /// Reads `source` until a signal comes, also while there is nothing to read.
    pub(crate) fn reader<R: Read + AsFd>(&self, source: R) -> Interruptible<'_, R> {
        Interruptible { source, interrupts: self }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Shared {
    fn attend(self: Arc<Shared>, signals: &mut Signals, open: PipeWriter) {
        let mut open = Some(open);
        for signal in signals.forever() {
            let is_first = self.signal.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if !is_first {
                self.end(signal);
            }
            drop(open.take());
            let shared = self.clone();
            let watch = move || {
                std::thread::sleep(PATIENCE);
                shared.end(signal);
            };
            // Without a thread it takes a second signal.
            let _ = std::thread::Builder::new().spawn(watch);
        }
    }

    /// Ends the process, whatever it is doing.
    fn end(&self, signal: i32) {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let how_far = words.as_ref().map_or_else(String::new, |words| words());
        let failure = Failure::Interrupted { signal, how_far };
        failure.report(self.json);
        end_by(signal);
        std::process::exit(failure.exit_code().into());
    }
}

/// From now on a signal ends the process as ever, but first this is done: for a command that has nothing to say of how far it got.
pub(crate) fn before_the_end(clean_up: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::io("listen for signals"))?;
    let end = move || {
        if let Some(signal) = signals.forever().next() {
            clean_up();
            end_by(signal);
        }
    };
    std::thread::Builder::new().spawn(end).map_err(Failure::io("start a thread"))?;
    Ok(())
}

/// Ends the process as the signal does where nobody listens for it.
pub(crate) fn end_by(signal: i32) {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// See [`Interrupts::reader`].
pub(crate) struct Interruptible<'a, R> {
    source: R,
    interrupts: &'a Interrupts,
}

impl<R: Read + AsFd> Read for Interruptible<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let either = [self.interrupts.ended.as_fd(), self.source.as_fd()];
            let mut either = either.map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN));
            match poll(&mut either, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            // Not `Interrupted`: that is tried again by whoever reads.
            if self.interrupts.signal().is_some() {
                return Err(io::Error::other("a signal came"));
            }
            return self.source.read(into);
        }
    }
}
