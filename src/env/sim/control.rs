//! What a harness tells a disk and asks of it: profiles, crashes, faults, counts.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::crash::{Crash, Unit};
use super::disk::{SimDisk, World};
use super::fault::{AfterFailedSync, Errno, FaultKind, FaultPlan, WriteFault, is_crash_error};
use super::image::Image;
use super::profile::Profile;
use super::tape::Tape;

/// Settings.
impl SimDisk {
    /// Which promises the file system keeps; [`Profile::STRICT_POSIX`] unless set.
    pub fn set_profile(&self, profile: Profile) {
        self.lock_world().image.profile = profile;
    }

    /// Which promises the file system keeps.
    pub fn profile(&self) -> Profile {
        self.lock_world().image.profile
    }

    /// Draws all further choices from another tape.
    pub fn set_tape(&self, tape: Tape) {
        self.lock_world().run.tape = tape;
    }

    /// Whether queued operations complete at once and in order (the default, and fast) or as the tape says.
    pub fn set_completions_in_order(&self, in_order: bool) {
        self.lock_world().run.in_order = in_order;
    }

    /// Whether queues opened from now on hold their owner's lock until their writes have landed (the default). If not, a
    /// killed owner's writes may stay behind as [`late_writes`](SimDisk::late_writes).
    pub fn set_lock_in_ring(&self, in_ring: bool) {
        self.lock_world().run.lock_in_ring = in_ring;
    }

    /// What failed syncs and failed queued writes leave behind, instead of what the profile says. With
    /// [`AfterFailedSync::Tape`] a failed `write_at` may also have written a part.
    pub fn set_after_failed_sync(&self, left: AfterFailedSync) {
        self.lock_world().run.after_failed_sync = Some(left);
    }

    /// The last `lies` syncs, durable writes included, have done nothing when power fails. 0 for an honest device.
    pub fn set_lying(&self, lies: usize) {
        self.lock_world().image.set_lies(lies);
    }

    /// The size of the file system, counted in blocks of 4 KiB; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_world().image.capacity = bytes;
    }

    /// Space in use, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.lock_world().image.used_bytes()
    }

    /// Starts or ends the record of all calls.
    pub fn set_trace(&self, on: bool) {
        self.lock_world().run.trace = on.then(Vec::new);
    }

    /// The calls since the record started, one line each.
    pub fn trace(&self) -> Vec<String> {
        self.lock_world().run.trace.clone().unwrap_or_default()
    }
}

/// Crashes.
impl SimDisk {
    fn with_image(&self, image: Image, tape: Tape) -> SimDisk {
        let run = self.lock_world().run.renewed(tape);
        SimDisk {
            world: Arc::new(Mutex::new(World { image, run })),
            root: self.root,
            root_path: self.root_path.clone(),
        }
    }

    /// How many mutating calls were made: the boundaries a crash can be put at.
    pub fn operations(&self) -> u64 {
        self.lock_world().run.operations
    }

    /// The machine dies instead of doing operation `n`, counting from 0: exactly `n` operations succeed, then every call
    /// fails with a [crash error](SimDisk::is_crash_error) and nothing changes any more.
    pub fn set_crash_at(&self, n: u64) {
        self.lock_world().run.crash_at = Some((n, false));
    }

    /// As [`set_crash_at`](SimDisk::set_crash_at), but operation `n` may be done, or done in part, before it fails: the
    /// tape says.
    pub fn set_torn_crash_at(&self, n: u64) {
        self.lock_world().run.crash_at = Some((n, true));
    }

    /// Whether the crash that was set has happened.
    pub fn is_dead(&self) -> bool {
        self.lock_world().run.dead
    }

    /// Whether an error is the crash, not a fault. Where the engine has wrapped it, look through its sources.
    pub fn is_crash_error(error: &io::Error) -> bool {
        is_crash_error(error)
    }

    /// The disk as the next owner finds it after a crash now. This disk goes on undisturbed. Nothing is open or locked on
    /// the new one, its counts begin at 0, and it draws from `tape`.
    pub fn crash(&self, kind: Crash, tape: &Tape) -> SimDisk {
        let image = self.lock_world().image.crash(kind, tape);
        self.with_image(image, tape.clone())
    }

    /// What a power cut now could keep or lose, in the order of the bits of
    /// [`crash_subset`](SimDisk::crash_subset)'s mask. A write counts as one unit per `group` sectors, from its start.
    pub fn unsynced_units(&self, group: u64) -> Vec<Unit> {
        self.lock_world().image.units(group)
    }

    /// How many [`unsynced_units`](SimDisk::unsynced_units) there are, without naming them.
    pub fn unsynced_count(&self, group: u64) -> usize {
        self.lock_world().image.unit_count(group)
    }

    /// The disk after a power cut that keeps just the units whose bit is set, of the first 64. Masks the profile rules out
    /// give the nearest image it allows: skip repeats by [`image_hash`](SimDisk::image_hash). Lost data reads as zeros.
    pub fn crash_subset(&self, group: u64, mask: u64) -> SimDisk {
        let (image, tape) = {
            let w = self.lock_world();
            (w.image.crash_subset(group, mask), w.run.tape.clone())
        };
        self.with_image(image, tape)
    }

    /// A copy with all that is pending, but nothing open, locked or in flight. For a campaign that starts over and over
    /// from one store.
    pub fn fork(&self) -> SimDisk {
        let (mut image, tape) = {
            let w = self.lock_world();
            (w.image.clone(), w.run.tape.clone())
        };
        image.in_flight.clear();
        image.settle_after_crash();
        self.with_image(image, tape)
    }

    /// A hash of all that can ever be seen of this disk by a next owner; equal images have equal hashes.
    pub fn image_hash(&self) -> u64 {
        self.lock_world().image.hash()
    }

    /// Writes of a killed owner that haven't landed yet.
    pub fn late_writes(&self) -> usize {
        self.lock_world().image.late.len()
    }

    /// Lets one of them land, `index` below [`late_writes`](SimDisk::late_writes). Through the page cache: durable by the
    /// next sync.
    pub fn land_late_write(&self, index: usize) {
        let w = &mut *self.lock_world();
        let flight = w.image.late.remove(index);
        w.image.land(&flight);
    }

    /// Lets all of them land, in order; returns how many.
    pub fn land_late_writes(&self) -> usize {
        let w = &mut *self.lock_world();
        let late = std::mem::take(&mut w.image.late);
        late.iter().for_each(|flight| w.image.land(flight));
        late.len()
    }
}

/// Faults.
impl SimDisk {
    /// The `n`-th call through the seam from now on, counting from 1, fails. Replaces the fault planned before.
    pub fn fail_nth(&self, n: u64, kind: FaultKind, error: Errno) {
        self.fail_nth_where(n, kind, error, None, None);
    }

    /// As [`fail_nth`](SimDisk::fail_nth), counting only calls of one site of [`SITES`](super::SITES), and on paths that
    /// contain a text.
    pub fn fail_nth_where(&self, n: u64, kind: FaultKind, error: Errno, site: Option<&str>, path: Option<&str>) {
        let (site, path) = (site.map(str::to_string), path.map(str::to_string));
        let w = &mut *self.lock_world();
        w.run.fired = 0;
        w.run.plan = Some(FaultPlan { left: n.max(1), kind, error, site, path });
    }

    /// Plans no fault any more.
    pub fn clear_faults(&self) {
        let w = &mut *self.lock_world();
        w.run.plan = None;
        w.run.write_fault = None;
        w.run.read_flips.clear();
        w.image.read_errors.clear();
    }

    /// How often the planned fault has fired.
    pub fn faults_fired(&self) -> u64 {
        self.lock_world().run.fired
    }

    /// How often a file was to be shortened while it was mapped, and was not: who asked did not know that it is read.
    pub fn mapped_shrinks(&self) -> u64 {
        self.lock_world().run.mapped_shrinks
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.lock_world().run.calls
    }

    /// How often each site was called, and with which injected error (`None`: without). Errors that are the call's own
    /// fault, such as a missing file, count as none.
    pub fn visited(&self) -> BTreeMap<(&'static str, Option<Errno>), u64> {
        self.lock_world().run.visited.clone()
    }

    /// The `n`-th write that completes from now on, counting from 1, cached or queued, goes wrong unnoticed.
    pub fn arm_write_fault(&self, n: u64, fault: WriteFault) {
        self.lock_world().run.write_fault = Some((n.max(1), fault));
    }
}
