//! The log of a server, on standard error.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How much it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Nothing
    Off,
    /// What failed
    Error,
    /// What somebody should look at
    Warn,
    /// Start and end, and connections that were cut
    Info,
    /// Each request
    Debug,
    /// Everything
    Trace,
}

/// How it tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for people
    Text,
    /// A JSON object on each line
    Json,
}

/// Starts logging. Only our own words are logged: libraries may tell at a low level what clients sent, secrets among it.
pub(crate) fn start(level: Level, format: Format) {
    let level = match level {
        Level::Off => return,
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let filter = EnvFilter::new(format!("braidlog={level}"));
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    // Who read the log may be gone. To say so, there too, would be a panic.
    let builder = builder.log_internal_errors(false);
    // An error is a log that was started before, which only a test could do.
    let _ = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}
