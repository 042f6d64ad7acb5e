//! What the scrub found: the places that are damaged, and who wants to hear of them.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use crate::format::Damage;
use crate::id::{LogId, SequenceNumber};
use crate::sync::{Arc, Mutex};

/// So many places are kept.
pub(crate) const FINDINGS_MAX: usize = 64;

/// A place in a file that the scrub found not to be what was written there; see
/// [`StoreOptions::scrub_period`](crate::StoreOptions#structfield.scrub_period).
///
/// Its `Display` says in one line what is damaged, where, whose records it costs, and what to do.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{ScrubFinding, Store};
/// /// The logs that have lost records.
/// fn hit(findings: &[ScrubFinding]) -> Vec<&str> {
///     let lost = findings.iter().filter(|finding| finding.records.is_some());
///     lost.filter_map(|finding| finding.log.as_ref()).map(|(_, name)| name.as_str()).collect()
/// }
/// let store = Store::open(dir.path())?;
/// assert!(hit(&store.scrub_findings()).is_empty());
/// # store.close()
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubFinding {
    /// The file, relative to the store.
    pub path: String,
    /// Where in it the damage begins, in bytes.
    pub position: u64,
    /// What is wrong.
    pub what: Damage,
    /// The log that it is a part of: its id and its name. `None` where many are concerned or none: `STORE`, a page of the
    /// manifest, the front of a pack.
    pub log: Option<(LogId, String)>,
    /// The records that can't be read for it; `None` where it costs none by itself, as in a header that reads go without. Of a page
    /// of the manifest it can't be said which logs it has: all of those, until the page can be read again.
    pub records: Option<Range<SequenceNumber>>,
    /// When it was first found since the store was opened, in milliseconds since 1970.
    pub first_found_ms: u64,
    /// When it was last found, likewise.
    pub last_found_ms: u64,
}

impl fmt::Display for ScrubFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage: {} at byte {}: {}", self.path, self.position, self.what)?;
        if let Some((id, name)) = &self.log {
            write!(f, "; log {name:?} ({id})")?;
        }
        match &self.records {
            Some(records) => write!(f, ", records {} to {}", records.start, records.end.saturating_sub(1))?,
            None if self.log.is_some() => f.write_str(", no record is lost by this")?,
            None => {}
        }
        f.write_str(
            ". Everything else goes on being served. Restore it from a backup, or copy what can be read with \
             `braidlog check --salvage DEST`; look at the device",
        )
    }
}

type Callback = Arc<dyn Fn(&ScrubFinding) + Send + Sync>;

/// What was found last, and who wants to know.
#[derive(Default)]
pub(crate) struct ScrubFindings {
    /// The places, the newest last, each with the pass that found it last.
    found: Mutex<VecDeque<(ScrubFinding, u64)>>,
    callbacks: Mutex<Vec<Callback>>,
}

impl ScrubFindings {
    pub(crate) fn get(&self) -> Vec<ScrubFinding> {
        self.found.lock().iter().map(|(finding, _)| finding.clone()).collect()
    }

    pub(crate) fn subscribe(&self, callback: Callback) {
        self.callbacks.lock().push(callback);
    }

    /// Notes a place that a pass found. Who wants to know hears of one that is not among those known. Callbacks run without a lock.
    pub(crate) fn tell(&self, finding: ScrubFinding, pass: u64) {
        {
            let mut found = self.found.lock();
            let same = |known: &ScrubFinding| (&known.path, known.position) == (&finding.path, finding.position);
            if let Some((known, last)) = found.iter_mut().find(|(known, _)| same(known)) {
                *last = pass;
                *known = ScrubFinding { first_found_ms: known.first_found_ms, ..finding };
                return;
            }
            if found.len() >= FINDINGS_MAX {
                found.pop_front();
            }
            found.push_back((finding.clone(), pass));
        }
        let callbacks = self.callbacks.lock().clone();
        callbacks.iter().for_each(|callback| callback(&finding));
    }

    /// A pass looked at everything: what it did not find is not there any more.
    pub(crate) fn settle(&self, pass: u64) {
        self.found.lock().retain(|(_, last)| *last >= pass);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64, now_ms: u64) -> ScrubFinding {
        ScrubFinding {
            path: "segments/07/7.seg".into(),
            position,
            what: Damage::Checksum,
            log: Some((LogId(0x1007), "clicks".into())),
            records: Some(5..10),
            first_found_ms: now_ms,
            last_found_ms: now_ms,
        }
    }

    #[test]
    fn a_place_is_told_once_and_goes_when_a_pass_does_not_find_it() {
        let findings = ScrubFindings::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        findings.subscribe(Arc::new(move |finding: &ScrubFinding| heard.lock().push(finding.position)));
        findings.tell(at(64, 1), 1);
        findings.tell(at(640, 2), 1);
        findings.tell(at(64, 3), 2);
        assert_eq!(*told.lock(), [64, 640]);
        findings.settle(2);
        assert_eq!(findings.get(), [ScrubFinding { first_found_ms: 1, ..at(64, 3) }]);
        for n in 0..2 * FINDINGS_MAX as u64 {
            findings.tell(at(1000 + n, 4), 3);
        }
        let found = findings.get();
        assert_eq!((found.len(), found.last().map(|last| last.position)), (FINDINGS_MAX, Some(1127)));
    }

    #[test]
    fn a_finding_reads_as_a_sentence() {
        let text = at(64, 0).to_string();
        assert!(
            text.starts_with("damage: segments/07/7.seg at byte 64: the checksum doesn't match; log \"clicks\""),
            "{text}"
        );
        assert!(text.contains(", records 5 to 9. "), "{text}");
        let header = ScrubFinding { records: None, ..at(0, 0) }.to_string();
        assert!(header.contains(", no record is lost by this. "), "{header}");
    }
}
