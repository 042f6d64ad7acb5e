//! How what is written behind the appends goes to the device: in steps, between which the journal has it to itself. A device that
//! gets many megabytes at once keeps a small write waiting for as long as they take.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::DiskFile;

/// Bytes of a step: what takes about [`STEP_TIME`], within these bounds.
const STEP_BYTES_MIN: u64 = 128 << 10;
const STEP_BYTES_MAX: u64 = 4 << 20;
/// What a step should take: an append that comes meanwhile waits for it, and this is a few times what it takes itself.
const STEP_TIME: Duration = Duration::from_micros(500);

/// Sees to the steps.
pub(crate) struct Pace {
    step_bytes: Cell<u64>,
    /// Until when the device is to be left alone.
    rests_until: Cell<Option<Instant>>,
    /// Waits, before a step, for what is left of that; without it there are no steps, and a sync does it all.
    rest: Option<Box<dyn Fn(Duration) + Send>>,
}

impl Pace {
    /// After a step the device is due a rest for as long as the step took. `rest` is called before the next one, with what is
    /// left of that: what was done in between, without the device, counts.
    pub(crate) fn new(rest: impl Fn(Duration) + Send + 'static) -> Pace {
        Pace { rest: Some(Box::new(rest)), ..Pace::none() }
    }

    /// Where nobody waits for the device meanwhile.
    pub(crate) fn none() -> Pace {
        Pace { step_bytes: Cell::new(2 * STEP_BYTES_MIN), rests_until: Cell::new(None), rest: None }
    }

    /// Something that keeps the device busy, once it had its rest.
    pub(crate) fn step<T>(&self, busy: impl FnOnce() -> T) -> (T, Duration) {
        let left = self.rests_until.get().map(|until| until.saturating_duration_since(Instant::now()));
        if let (Some(rest), Some(left)) = (&self.rest, left.filter(|left| !left.is_zero())) {
            rest(left);
        }
        let begun = Instant::now();
        let outcome = busy();
        let took = begun.elapsed();
        self.rests_until.set(begun.checked_add(2 * took));
        (outcome, took)
    }

    /// Brings a range of a file that was written to the device, so that a sync finds it there. Nothing is durable by it.
    ///
    /// # Errors
    /// As of a sync: nothing may be assumed of the file, and it is not tried again.
    pub(crate) fn write_back(&self, file: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
        if self.rest.is_none() {
            return Ok(());
        }
        let mut at = range.start;
        while at < range.end {
            let step = self.step_bytes.get().min(range.end - at);
            let (written, took) = self.step(|| file.write_back(at, step));
            written?;
            if took > 2 * STEP_TIME {
                self.step_bytes.set((self.step_bytes.get() / 2).max(STEP_BYTES_MIN));
            } else if took < STEP_TIME / 2 && step == self.step_bytes.get() {
                self.step_bytes.set((step * 2).min(STEP_BYTES_MAX));
            }
            at += step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::env::{Access, Disk, RealDisk};

    #[test]
    fn a_range_is_brought_to_the_device_in_steps_and_reads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let file = disk.open("file", Access::CreateNew).unwrap();
        let data: Vec<u8> = (0..3u32 << 20).map(|n| (n / 7) as u8).collect();
        file.write_at(&data, 0).unwrap();
        let steps = Arc::new(Mutex::new(0));
        let counted = steps.clone();
        Pace::new(move |_| *counted.lock().unwrap() += 1).write_back(&*file, 0..data.len() as u64).unwrap();
        let counted = *steps.lock().unwrap();
        assert!((2..=24).contains(&counted), "{counted} steps");
        file.sync_data().unwrap();
        let mut found = vec![0; data.len()];
        file.read_at(&mut found, 0).unwrap();
        assert!(found == data);
        Pace::none().write_back(&*file, 0..u64::MAX).unwrap();
    }
}
