//! A pin on a mapped segment, taken against the freeing of its file.
//!
//! A mirror of `segment/files.rs` (the slot, what is put aside, the burial) and of the mapping's pin count, because those
//! files stand on the disk contract. Reference counts are spelled out as the standard library's `Arc` has them: a relaxed
//! increment, a release decrement, a relaxed look. Change it with them.

use crate::sync::{AtomicUsize, Mutex, Ordering, fence};
use crate::{explore, finds};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// An `Arc`'s count.
struct Count(AtomicUsize);

impl Count {
    fn one() -> Count {
        Count(AtomicUsize::new(1))
    }

    fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn give_up(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    fn strong(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// `OpenSegment`: how many hold it, and how many slices of its mapping there are.
struct Open {
    count: Count,
    region: Count,
}

impl Open {
    fn new() -> Arc<Open> {
        Arc::new(Open { count: Count::one(), region: Count::one() })
    }

    fn pins(&self) -> usize {
        let pins = self.region.strong() - 1;
        fence(Ordering::Acquire);
        pins
    }

    /// `fenced`: with an acquire between the two looks.
    fn is_used(&self, fenced: bool) -> bool {
        if self.count.strong() > 1 {
            return true;
        }
        if fenced {
            fence(Ordering::Acquire);
        }
        self.pins() > 0
    }
}

#[derive(Default)]
struct Slot {
    current: Option<Arc<Open>>,
    earlier: Vec<Arc<Open>>,
    buried: bool,
}

impl Slot {
    fn put_aside(&mut self, fenced: bool) {
        self.earlier.retain(|open| open.is_used(fenced));
        self.earlier.extend(self.current.take().filter(|open| open.is_used(fenced)));
    }
}

struct Segment {
    slot: Mutex<Slot>,
    /// The file's bytes: loom complains if they are read while, or unordered with, being freed.
    bytes: UnsafeCell<u8>,
    fenced: bool,
}

impl Segment {
    fn new(fenced: bool) -> Arc<Segment> {
        let slot = Slot { current: Some(Open::new()), ..Slot::default() };
        Arc::new(Segment { slot: Mutex::new(slot), bytes: UnsafeCell::new(0), fenced })
    }

    fn open(&self) -> Option<Arc<Open>> {
        let mut slot = self.slot.lock();
        if slot.current.is_none() && slot.buried {
            return None;
        }
        let open = slot.current.get_or_insert_with(Open::new).clone();
        open.count.take();
        Some(open)
    }

    /// A reader: opens, slices, lets go of the descriptor, reads, lets go of the slice.
    fn read(&self) {
        let Some(open) = self.open() else { return };
        open.region.take();
        open.count.give_up();
        self.bytes.with(|_| ());
        open.region.give_up();
    }

    /// Too many files are open.
    fn evict(&self) {
        self.slot.lock().put_aside(self.fenced);
    }

    /// Upkeep: no name any more, then a look whether it may be shrunk.
    fn bury(&self) {
        let mut slot = self.slot.lock();
        slot.buried = true;
        slot.put_aside(self.fenced);
        drop(slot);
        let mut slot = self.slot.lock();
        slot.put_aside(self.fenced);
        let pinned = !slot.earlier.is_empty();
        drop(slot);
        if !pinned {
            self.bytes.with_mut(|_| ());
        }
    }
}

fn readers_against_burial(fenced: bool, readers: usize, evict: bool) {
    let segment = Segment::new(fenced);
    let readers: Vec<_> = (0..readers)
        .map(|_| {
            let segment = segment.clone();
            thread::spawn(move || segment.read())
        })
        .collect();
    if evict {
        segment.evict();
    }
    segment.bury();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn loom_a_pinned_file_is_not_freed() {
    explore(|| readers_against_burial(true, 1, false));
}

#[test]
fn loom_a_pinned_file_is_not_freed_though_it_was_evicted_and_opened_again() {
    explore(|| readers_against_burial(true, 1, true));
}

#[test]
fn loom_a_file_that_two_pin_is_not_freed() {
    explore(|| readers_against_burial(true, 2, false));
}

#[test]
#[ignore = "fails on purpose"]
fn unfenced() {
    explore(|| readers_against_burial(false, 1, false));
}

#[test]
fn loom_without_an_acquire_between_the_two_looks_a_pinned_file_would_be_freed() {
    finds("pin::unfenced", "Causality violation");
}
