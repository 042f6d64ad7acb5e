//! One check from front to back: what all its parts share, and their order.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::env::{Disk, DiskFile, DiskKind, DiskLock, Env, LockMode};
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::id::StoreId;

use super::finding::{CheckOptions, CheckReport, Finding, Progress, Severity};
use super::salvage::Salvager;
use super::{identity, journal, logs, manifests, names, replay, scan, tails};

pub(super) const LOCK_PATH: &str = "LOCK";
/// How long to wait for the lock of an owner whose process is gone: its last writes may still be landing.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Progress is reported about once for so many bytes.
const REPORT_EVERY_BYTES: u64 = 1 << 20;

/// Takes the store's lock. A store that was never opened, such as a fresh backup, has no lock file yet: then there is
/// nobody to keep out, and an inspector leaves no trace.
pub(super) fn take_lock(disk: &dyn Disk, mode: LockMode) -> Result<Option<Box<dyn DiskLock>>> {
    let me = format!("braidlog check, process {}", std::process::id());
    let started = Instant::now();
    loop {
        match disk.lock(LOCK_PATH, mode, &me) {
            Ok(lock) => return Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let holder = error.to_string();
                let waits = disk.kind() != DiskKind::Simulated && !crate::env::real::holder_lives(&holder);
                if !waits || started.elapsed() > LOCK_PATIENCE {
                    return Err(Error::Locked { root: disk.root(), holder });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(Error::io("lock", LOCK_PATH)(error)),
        }
    }
}

/// Whether it is damage to what says where records are.
fn is_of_places(finding: &Finding) -> bool {
    let names_segments = finding.path.starts_with("manifest") || finding.path.starts_with("journal");
    finding.severity == Severity::Damage && names_segments
}

/// What the parts of a check share.
pub(super) struct Inspection<'a> {
    pub(super) env: &'a Env,
    pub(super) disk: Arc<dyn Disk>,
    /// The id under which everything is salted, once it is known.
    pub(super) origin: StoreId,
    /// Size of a journal file, once it is known.
    pub(super) journal_file_bytes: Option<u64>,
    pub(super) report: CheckReport,
    findings_max: usize,
    progress: &'a mut dyn FnMut(&Progress),
    state: Progress,
    reported: u64,
    started_ms: u64,
    uncertain: bool,
    /// The same, for more than where records are.
    uncertain_of_logs: bool,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(env: &'a Env, options: &CheckOptions, progress: &'a mut dyn FnMut(&Progress)) -> Self {
        Inspection {
            env,
            disk: env.disk.clone(),
            origin: StoreId([0; 16]),
            journal_file_bytes: None,
            report: CheckReport::default(),
            findings_max: options.findings_max,
            progress,
            state: Progress::default(),
            reported: 0,
            started_ms: env.clock.monotonic_ms(),
            uncertain: false,
            uncertain_of_logs: false,
        }
    }

    /// Looks at everything; with a salvager, hands it what can be read.
    pub(super) fn run(&mut self, mut salvager: Option<&mut Salvager>) -> Result<()> {
        self.state.bytes_total = self.measure("")?;
        if !identity::inspect(self)? {
            return Ok(());
        }
        let manifest = manifests::inspect(self)?;
        let journal = journal::inspect(self, manifest.as_ref().map(|m| &m.root))?;
        let Some(manifest) = manifest else {
            if let Some(salvager) = salvager {
                scan::salvage(self, &journal, salvager)?;
            }
            return names::inspect(self, None);
        };
        let mut claims = replay::replay(self, &manifest, &journal)?;
        tails::settle(self, &manifest, &journal, &mut claims)?;
        if let Some(salvager) = salvager.as_deref_mut() {
            salvager.begin(&manifest.root, &journal, claims.next_log);
        }
        logs::inspect(self, &manifest, &mut claims, !journal.is_damaged(), salvager.as_deref_mut())?;
        if let Some(salvager) = salvager {
            scan::salvage(self, &journal, salvager)?;
        }
        names::inspect(self, Some((&manifest.root, &claims)))
    }

    /// Whether something that says what exists can't be read.
    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// Whether something that says which logs there are can't be read.
    pub(super) fn is_uncertain_of_logs(&self) -> bool {
        self.uncertain_of_logs
    }

    /// Adds a finding about a manifest that another stands for: with the journal that one says which logs there are, but not where
    /// all of their records are.
    pub(super) fn find_superseding(&mut self, finding: Finding) {
        self.uncertain |= is_of_places(&finding);
        self.add(finding);
    }

    pub(super) fn finish(mut self) -> CheckReport {
        self.state.bytes_done = self.state.bytes_done.max(self.state.bytes_total);
        self.state.bytes_total = self.state.bytes_done;
        (self.progress)(&self.state);
        self.report.seconds = self.env.clock.monotonic_ms().saturating_sub(self.started_ms) as f64 / 1000.0;
        self.report
    }

    fn measure(&mut self, dir: &str) -> Result<u64> {
        let mut bytes = 0;
        for entry in self.list(dir)? {
            let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
            let ours = ["manifest", "journal", "segments"].iter().any(|own| path.starts_with(own));
            bytes += if entry.is_dir && ours { self.measure(&path)? } else { entry.len };
        }
        Ok(bytes)
    }

    pub(super) fn list(&self, dir: &str) -> Result<Vec<crate::env::DirEntry>> {
        match self.disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(Error::io("list", if dir.is_empty() { "." } else { dir })),
        }
    }

    /// Adds a finding.
    pub(super) fn find(&mut self, finding: Finding) {
        self.uncertain |= is_of_places(&finding);
        self.uncertain_of_logs |= is_of_places(&finding);
        self.add(finding);
    }

    fn add(&mut self, finding: Finding) {
        self.report.counts[finding.severity as usize] += 1;
        if self.report.findings.len() < self.findings_max {
            self.report.findings.push(finding);
            return;
        }
        // Damage displaces what is only noted: a store with a million notes still shows where it hurts.
        self.report.findings_left_out += 1;
        if finding.severity == Severity::Damage
            && let Some(at) = self.report.findings.iter().rposition(|f| f.severity < Severity::Damage)
        {
            self.report.findings[at] = finding;
        }
    }

    /// A file is being read from here on.
    pub(super) fn begin_file(&mut self, path: &str) {
        self.report.files += 1;
        path.clone_into(&mut self.state.path);
    }

    /// Bytes were read and verified.
    pub(super) fn verified(&mut self, bytes: u64) {
        self.report.bytes += bytes;
        self.state.bytes_done += bytes;
        if self.state.bytes_done >= self.reported + REPORT_EVERY_BYTES {
            self.reported = self.state.bytes_done;
            (self.progress)(&self.state);
        }
    }

    /// Bytes that there is nothing to verify in.
    pub(super) fn passed(&mut self, bytes: u64) {
        self.state.bytes_done += bytes;
    }

    /// Opens a file to read, with its length.
    pub(super) fn open(&mut self, path: &str) -> Result<(Arc<dyn DiskFile>, u64), Box<Finding>> {
        let open = |what: String, advice: &str| Box::new(Finding::damage(path, what).advice(advice));
        let file = crate::env::names::open(&*self.disk, path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => open(Damage::Missing.to_string(), ""),
            _ => open(
                format!("it can't be opened: {error}"),
                "Look at the file's owner, mode and kind, then check again.",
            ),
        })?;
        let len = file.len().map_err(|error| open(format!("it can't be measured: {error}"), ""))?;
        Ok((file, len))
    }

    /// A range of a file.
    pub(super) fn read(&mut self, file: &dyn DiskFile, position: u64, len: usize) -> Result<Vec<u8>, Damage> {
        let end = position.checked_add(len as u64).ok_or(Damage::Bounds)?;
        // Measured first, so that a length that was damaged sizes no allocation.
        if file.len().map_err(|_| Damage::Unreadable)? < end {
            return Err(Damage::Short);
        }
        let mut bytes = vec![0; len];
        match file.read_at(&mut bytes, position) {
            Ok(n) if n == len => {
                self.verified(len as u64);
                Ok(bytes)
            }
            Ok(_) => Err(Damage::Short),
            Err(_) => Err(Damage::Unreadable),
        }
    }
}
