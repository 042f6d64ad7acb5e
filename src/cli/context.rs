//! What every subcommand gets: the store it is about, where its output goes, and in which form.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::Failure;
use crate::recovery::OpenReport;
use crate::{Error, Store};

/// How long an owner waits for someone who only looks: `ls`, or a `cat --follow` that looks every now and then.
const INSPECTOR_PATIENCE: Duration = Duration::from_secs(2);
const OUT_BYTES: usize = 64 << 10;

/// The global options and standard output.
pub(crate) struct Context {
    /// The store's folder.
    pub(crate) store: PathBuf,
    /// Whether `--store` named it, rather than the environment or the default.
    pub(crate) store_named: bool,
    /// JSON for programs instead of text for people.
    pub(crate) json: bool,
    /// Nothing but the result, and errors.
    pub(crate) quiet: bool,
    /// Whether standard output is a terminal.
    pub(crate) terminal: bool,
    /// Standard output, flushed by whoever called the subcommand, also when it failed.
    pub(crate) out: BufWriter<Stdout>,
}

impl Context {
    pub(crate) fn new(store: PathBuf, store_named: bool, json: bool, quiet: bool) -> Context {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Context { store, store_named, json, quiet, terminal, out: BufWriter::with_capacity(OUT_BYTES, stdout) }
    }

    fn check_exists(&self) -> Result<(), Failure> {
        match self.store.symlink_metadata() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = self.store.display();
                Err(Failure::NotFound(format!(
                    "there is no store at {root}; `braidlog put` makes one, --store names another"
                )))
            }
            Err(error) => Err(Failure::io(format!("look at {}", self.store.display()))(error)),
        }
    }

    /// Opens the store to look at it: nothing in it changes.
    pub(crate) fn inspect(&self) -> Result<Store, Failure> {
        self.check_exists()?;
        let store = Store::open_read_only(&self.store)?;
        self.warn_of(&store);
        Ok(store)
    }

    /// Opens a store that exists, as its owner.
    pub(crate) fn own(&self) -> Result<Store, Failure> {
        self.check_exists()?;
        self.own_or_create()
    }

    /// Opens the store as its owner, or makes one.
    pub(crate) fn own_or_create(&self) -> Result<Store, Failure> {
        let store = open_as_owner(&self.store)?;
        self.warn_of(&store);
        Ok(store)
    }

    /// After a store was closed. What was done was durable before, and a checkpoint that finds no room takes nothing of it back; it is
    /// told of, for without one the space of what was given up comes back later, and opening has more to read.
    pub(crate) fn closed(&self, outcome: crate::Result<()>) -> Result<(), Failure> {
        match outcome {
            Err(Error::Io(fault)) if fault.is_no_space() => {
                self.warn(&format!(
                    "what was done is durable, but the disk is full: {fault}; space is given back once there is some for a checkpoint"
                ));
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    /// Says what opening found that its owner should know.
    pub(crate) fn warn_of(&self, store: &Store) {
        warnings(store.open_report()).iter().for_each(|line| self.warn(line));
    }

    /// A line on standard error that isn't an error.
    pub(crate) fn warn(&self, line: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            tell(&serde_json::json!({ "warning": line }));
        } else {
            tell(&format_args!("braidlog: {line}"));
        }
    }

    /// A line for people, where a program is told the same in its JSON.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        if !self.quiet && !self.json {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Ends a command that has one answer: JSON for programs, otherwise `line` for people.
    pub(crate) fn answer(&mut self, json: serde_json::Value, line: &str) -> Result<(), Failure> {
        if self.json {
            writeln!(self.out, "{json}")?;
            return Ok(());
        }
        self.say(line)
    }

    /// A bar on standard error, if that is a terminal and someone looks; `total` of `None` for a spinner.
    pub(crate) fn progress(&self, total: Option<u64>, what: &str) -> ProgressBar {
        if self.quiet || self.json {
            return ProgressBar::hidden();
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{spinner} {msg} {elapsed}",
        };
        // A bar hides itself where standard error is no terminal.
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        if total.is_none() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}

/// What of an open its owner should know, a line each.
fn warnings(report: &OpenReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(name) = &report.network_file_system {
        lines.push(format!(
            "the store lies on a network file system ({name}), whose locks and syncs may not hold; use a local disk"
        ));
    }
    if let Some(damage) = &report.journal_damage {
        lines.push(format!("the journal is damaged ({damage}); run `braidlog check`"));
    }
    if report.device_lied {
        lines.push(
            "the device said that it had written what it had not; don't trust it, and copy what is left elsewhere"
                .to_owned(),
        );
    }
    if let Some(damage) = &report.manifest_damage {
        lines.push(format!("the newest manifest is damaged, the one before was used: {damage}"));
    }
    if let Some(damage) = &report.page_damage {
        lines.push(format!(
            "a page of the manifest is damaged, and the journal has changes of its logs ({damage}); run `braidlog check`"
        ));
    }
    if let Some(path) = &report.hidden_tail {
        lines.push(format!("{path} can't be read, and a buffered log may go on in it; run `braidlog check`"));
    }
    for (log, at) in &report.stopped_logs {
        lines.push(format!("log {log:?} is damaged from number {at} on; run `braidlog check`"));
    }
    lines
}

/// Opens as an owner.
pub(crate) fn open_as_owner(path: &Path) -> Result<Store, Failure> {
    patiently(|| Store::open(path))
}

/// Opens something as an owner. Someone who only looks is soon gone, so that is waited for; another owner is not.
pub(crate) fn patiently<T>(mut open: impl FnMut() -> crate::Result<T>) -> Result<T, Failure> {
    let started = Instant::now();
    loop {
        match open() {
            Err(Error::Locked { holder, .. })
                if holder.contains("inspector") && started.elapsed() < INSPECTOR_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return Ok(other?),
        }
    }
}

/// A line on standard error. Where that can't be written there is nobody to tell.
pub(crate) fn tell(line: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_open_found_is_warned_of() {
        let place = || Some("there".to_owned());
        let reports = [
            OpenReport { network_file_system: place(), ..OpenReport::default() },
            OpenReport { journal_damage: place(), ..OpenReport::default() },
            OpenReport { manifest_damage: place(), ..OpenReport::default() },
            OpenReport { page_damage: place(), ..OpenReport::default() },
            OpenReport { hidden_tail: place(), ..OpenReport::default() },
            OpenReport { stopped_logs: vec![("there".to_owned(), 7)], ..OpenReport::default() },
        ];
        for report in reports {
            assert!(matches!(&warnings(&report)[..], [line] if line.contains("there")), "{report:?}");
        }
        let lied = OpenReport { journal_damage: place(), device_lied: true, ..OpenReport::default() };
        assert_eq!(warnings(&lied).len(), 2);
        assert!(warnings(&OpenReport::default()).is_empty());
    }
}
