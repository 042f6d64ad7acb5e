//! Files without a name, until their last reader lets go and their space is given back.
//!
//! A file system that tells the device of each block that is freed takes a millisecond for a megabyte, on the machine this was
//! measured on, and no sync gets through meanwhile. So space is given back a step at a time, and the journal has the device between.

use crate::env::{DiskFile, Pace};
use crate::segment::Segment;
use crate::sync::Arc;

/// A file is shrunk by so much at a time.
const STEP_BYTES: u64 = 1 << 20;
/// With more waiting than this steps are longer, and nothing comes between or first: writers go on faster than space comes back.
const WAITING_BYTES_MAX: u64 = 512 << 20;
const STEP_BYTES_MAX: u64 = 16 << 20;
/// With more files than this nothing else comes first: each has a descriptor, which a checkpoint may need.
const WAITING_FILES_MAX: usize = 64;

/// A file that has no name any more.
struct Grave {
    /// What readers may still have open, and when its name was removed, on the monotonic clock; nobody has any other file.
    segment: Option<(Arc<Segment>, u64)>,
    file: Arc<dyn DiskFile>,
    len: u64,
}

/// What readers hold of files without a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pinned {
    pub(super) bytes: u64,
    /// Since when the longest of them, on the monotonic clock.
    pub(super) since_ms: Option<u64>,
}

impl Grave {
    fn is_pinned(&self) -> bool {
        self.pinned_since().is_some()
    }

    fn pinned_since(&self) -> Option<u64> {
        self.segment.as_ref().filter(|(segment, _)| segment.is_pinned()).map(|(_, since_ms)| *since_ms)
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Graves(Vec<Grave>);

impl Graves {
    /// Takes a file whose name was just removed. Nobody opens it any more; who has it open, `segment` knows, with the time on the
    /// monotonic clock.
    pub(super) fn add(&mut self, file: Arc<dyn DiskFile>, segment: Option<(Arc<Segment>, u64)>) {
        let len = file.len().unwrap_or(0);
        self.0.push(Grave { segment, file, len });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives back what nobody reads, until `is_due` says that there is something else to do. Answers with what readers still hold.
    pub(super) fn give_back(&mut self, pace: &Pace, is_due: impl Fn() -> bool) -> Pinned {
        let waiting = self.0.iter().filter(|grave| !grave.is_pinned());
        let (files, bytes) = waiting.fold((0, 0), |(files, bytes), grave| (files + 1, bytes + grave.len));
        let behind = bytes > WAITING_BYTES_MAX;
        let first = behind || files > WAITING_FILES_MAX;
        let step = if behind { STEP_BYTES_MAX } else { STEP_BYTES };
        let mut pinned = Pinned::default();
        self.0.retain_mut(|grave| {
            if let Some(since_ms) = grave.pinned_since() {
                if crate::seeded_bug!(MapUnlinkedAndTruncated) {
                    let _ = grave.file.shrink(0);
                }
                pinned.bytes += grave.len;
                pinned.since_ms = Some(pinned.since_ms.map_or(since_ms, |oldest| oldest.min(since_ms)));
                return true;
            }
            while grave.len > 0 {
                if is_due() && !first {
                    return true;
                }
                grave.len = grave.len.saturating_sub(step);
                let shrink = || grave.file.shrink(grave.len);
                // Whatever stands in the way: the space comes back with the descriptor.
                let shrunk = if behind { shrink() } else { pace.step(shrink).0 };
                if shrunk.is_err() {
                    return false;
                }
            }
            false
        });
        pinned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::{SimDisk, Tape};
    use crate::env::{Access, Disk};

    fn graves(disk: &SimDisk, files: usize, bytes: usize) -> Graves {
        let mut graves = Graves::default();
        for n in 0..files {
            let file = disk.open(&format!("file-{n}"), Access::CreateNew).unwrap();
            file.write_at(&vec![1; bytes], 0).unwrap();
            disk.remove(&format!("file-{n}")).unwrap();
            graves.add(file, None);
        }
        graves
    }

    #[test]
    fn space_comes_back_when_there_is_nothing_else_to_do() {
        let disk = SimDisk::new(Tape::seeded(1));
        let mut graves = graves(&disk, 3, 2 << 20);
        graves.give_back(&Pace::none(), || true);
        assert!(!graves.is_empty());
        assert_eq!(graves.give_back(&Pace::none(), || false), Pinned::default());
        assert!(graves.is_empty());
        assert_eq!(disk.used_bytes(), 0);
    }

    /// Found by review: they had the descriptors that the checkpoint needed, for which they waited.
    #[test]
    fn many_files_do_not_wait_for_a_checkpoint() {
        let disk = SimDisk::new(Tape::seeded(1));
        let mut graves = graves(&disk, WAITING_FILES_MAX + 1, 10);
        graves.give_back(&Pace::none(), || true);
        assert!(graves.is_empty());
    }
}
