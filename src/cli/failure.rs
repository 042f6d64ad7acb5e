//! What went wrong, as the program tells it: one line, and the exit code a script can act on.

use std::fmt;
use std::io;

use super::context::tell;
use crate::Error;
use crate::error::is_no_space;

/// The program's exit codes; `--help` lists them.
pub(crate) mod code {
    /// It failed.
    pub(crate) const FAILURE: u8 = 1;
    /// It was called wrongly.
    pub(crate) const USAGE: u8 = 2;
    /// Bytes on disk are not what was written.
    pub(crate) const DAMAGE: u8 = 3;
    /// There is no such store, log, file or position.
    pub(crate) const NOT_FOUND: u8 = 4;
    /// Another process has it open, or there is no room: worth trying again.
    pub(crate) const BUSY: u8 = 5;
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine said so.
    Engine(Error),
    /// A file or stream outside the store did.
    Io {
        /// What was being done, to what: `"read notes.txt"`.
        during: String,
        /// What the system said.
        source: io::Error,
    },
    /// The arguments make no sense.
    Usage(String),
    /// A command looked for damage and found some.
    Damage(String),
    /// There is no such thing.
    NotFound(String),
    /// Anything else.
    Other(String),
    /// It was asked to end before it was done.
    Interrupted {
        /// By which signal.
        signal: i32,
        /// What is done; empty if there is nothing to say.
        how_far: String,
    },
    /// A failure with a word about where: `"notes.txt:17"`.
    At(String, Box<Failure>),
    /// Whoever read our output has had enough. Not an error: `braidlog cat clicks | head` is everyday use.
    OutputClosed,
}

impl Failure {
    /// For `map_err` on input and output outside the store.
    pub(crate) fn io(during: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let during = during.into();
        move |source| Failure::Io { during, source }
    }

    /// The same failure, with where it happened.
    pub(crate) fn at(self, place: impl Into<String>) -> Failure {
        match self {
            Failure::OutputClosed => Failure::OutputClosed,
            other => Failure::At(place.into(), Box::new(other)),
        }
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Engine(error) => engine_code(error),
            Failure::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => code::NOT_FOUND,
            Failure::Io { source, .. } if is_no_space(source.kind()) => code::BUSY,
            Failure::Io { .. } | Failure::Other(_) => code::FAILURE,
            Failure::Usage(_) => code::USAGE,
            Failure::Damage(_) => code::DAMAGE,
            Failure::NotFound(_) => code::NOT_FOUND,
            // As shells count it.
            Failure::Interrupted { signal, .. } => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(0)),
            Failure::At(_, inner) => inner.exit_code(),
            Failure::OutputClosed => 0,
        }
    }

    /// A word for programs, that stays when the sentence changes.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Failure::Engine(error) => engine_kind(error),
            Failure::Io { .. } => "io",
            Failure::Usage(_) => "usage",
            Failure::Damage(_) => "damaged",
            Failure::NotFound(_) => "not_found",
            Failure::Other(_) => "failed",
            Failure::Interrupted { .. } => "interrupted",
            Failure::At(_, inner) => inner.kind(),
            Failure::OutputClosed => "output_closed",
        }
    }

    /// The signal that asked for the end, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        match self {
            Failure::Interrupted { signal, .. } => Some(*signal),
            Failure::At(_, inner) => inner.signal(),
            _ => None,
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            // Whoever runs the program again opens the store again.
            Failure::Engine(Error::Locked { .. } | Error::ReadOnly { full: true, .. }) => true,
            Failure::Engine(error) => error.is_retryable(),
            Failure::At(_, inner) => inner.is_retryable(),
            _ => false,
        }
    }

    /// Tells it on standard error, in one line.
    pub(crate) fn report(&self, json: bool) {
        if json {
            let error = serde_json::json!({
                "kind": self.kind(),
                "message": self.to_string(),
                "exit_code": self.exit_code(),
                "retryable": self.is_retryable(),
            });
            tell(&serde_json::json!({ "error": error }));
        } else {
            tell(&format_args!("braidlog: {self}"));
        }
    }
}

fn engine_code(error: &Error) -> u8 {
    match error {
        Error::Damaged { .. } | Error::LogStopped { .. } => code::DAMAGE,
        Error::NotAStore { found, .. } if found.is_empty() => code::NOT_FOUND,
        Error::NoSuchLog { .. }
        | Error::LogDeleted { .. }
        | Error::LogClosed { .. }
        | Error::Trimmed { .. }
        | Error::BeyondEnd { .. } => code::NOT_FOUND,
        Error::Locked { .. } | Error::Busy { .. } | Error::Full { .. } => code::BUSY,
        // Opened where there was not even room to begin: as full as a store that fills up later.
        Error::ReadOnly { full: true, .. } => code::BUSY,
        Error::ResourceNotFound { .. } => code::NOT_FOUND,
        Error::ThroughputExceeded { .. } => code::BUSY,
        Error::InvalidName { .. } | Error::InvalidOption { .. } | Error::InvalidArgument { .. } => code::USAGE,
        Error::Io(fault) | Error::Stopped { cause: fault } | Error::OutcomeUnknown { cause: fault }
            if fault.is_no_space() =>
        {
            code::BUSY
        }
        // Nobody waits longer for it than the append deadline: the disk hangs, or what is on its way waits for room.
        Error::OutcomeUnknown { cause } if cause.kind == io::ErrorKind::TimedOut => code::BUSY,
        _ => code::FAILURE,
    }
}

fn engine_kind(error: &Error) -> &'static str {
    match error {
        Error::Io(_) => "io",
        Error::NotAStore { .. } => "not_a_store",
        Error::Locked { .. } => "locked",
        Error::TooNew { .. } => "too_new",
        Error::Damaged { .. } => "damaged",
        Error::NoSuchLog { .. } => "no_such_log",
        Error::LogExists { .. } => "log_exists",
        Error::LogDeleted { .. } => "log_deleted",
        Error::LogClosed { .. } => "log_closed",
        Error::LogStopped { .. } => "log_stopped",
        Error::InvalidName { .. } => "invalid_name",
        Error::InvalidOption { .. } => "invalid_option",
        Error::RecordTooLarge { .. } => "record_too_large",
        Error::TransactionTooLarge { .. } => "transaction_too_large",
        Error::Trimmed { .. } => "trimmed",
        Error::BeyondEnd { .. } => "beyond_end",
        Error::InvalidArgument { .. } => "invalid_argument",
        Error::ResourceNotFound { .. } => "resource_not_found",
        Error::ResourceInUse { .. } => "resource_in_use",
        Error::OnDemand { .. } => "on_demand",
        Error::LimitExceeded { .. } => "limit_exceeded",
        Error::ThroughputExceeded { .. } => "throughput_exceeded",
        Error::ExpiredIterator { .. } => "expired_iterator",
        Error::Busy { .. } => "busy",
        Error::Full { .. } => "full",
        Error::ReadOnly { .. } => "read_only",
        Error::Stopped { .. } => "stopped",
        Error::OutcomeUnknown { .. } => "outcome_unknown",
        _ => "failed",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Engine(error) => error.fmt(f),
            Failure::Io { during, source } => write!(f, "could not {during}: {source}"),
            Failure::Usage(what) | Failure::Damage(what) | Failure::NotFound(what) | Failure::Other(what) => {
                f.write_str(what)
            }
            Failure::Interrupted { signal, how_far } => {
                let name = signal_hook::low_level::signal_name(*signal).unwrap_or("a signal");
                let separator = if how_far.is_empty() { "" } else { ": " };
                write!(f, "interrupted by {name}{separator}{how_far}")
            }
            Failure::At(place, inner) => write!(f, "{place}: {inner}"),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Engine(error)
    }
}

/// Only for what is written to standard output; every other call names what it was doing, see [`Failure::io`].
impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Failure::OutputClosed
        } else {
            Failure::Io { during: "write to standard output".to_owned(), source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    #[test]
    fn exit_codes_tell_what_may_be_tried_again_from_what_may_not() {
        let fault = |kind: io::ErrorKind| Fault::new("trim", "log \"a\"", &io::Error::from(kind));
        let unknown = |kind| Failure::from(Error::OutcomeUnknown { cause: fault(kind) }).at("somewhere").exit_code();
        assert_eq!(unknown(io::ErrorKind::TimedOut), code::BUSY, "the disk hangs, or has no room");
        assert_eq!(unknown(io::ErrorKind::StorageFull), code::BUSY);
        assert_eq!(unknown(io::ErrorKind::Other), code::FAILURE, "the store stopped");
        let read_only = |full| Failure::from(Error::ReadOnly { why: String::new(), full });
        assert_eq!((read_only(true).exit_code(), read_only(true).is_retryable()), (code::BUSY, true));
        assert_eq!((read_only(false).exit_code(), read_only(false).is_retryable()), (code::FAILURE, false));
        let interrupted = Failure::Interrupted { signal: 15, how_far: String::new() };
        assert_eq!((interrupted.exit_code(), &*interrupted.to_string()), (143, "interrupted by SIGTERM"));
    }
}
