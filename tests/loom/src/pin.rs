//! A pin on a mapped segment, taken against the freeing of its file.
//!
//! What decides is the engine's own `segment/slot.rs`. Made up here is what stands on the disk contract: who opens and buries
//! (`segment/files.rs`), and what is counted. Reference counts are spelled out as the standard library's `Arc` has them: a relaxed
//! increment, a release decrement, a relaxed look; pins as `env/real/mmap.rs` counts them.

use crate::slot::{OpenSlot, Shared};
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
#[derive(Clone)]
struct Open(Arc<(Count, Count)>);

/// The same without the fence between the two looks.
#[derive(Clone)]
struct Unfenced(Open);

trait Opened: Shared + Send + 'static {
    fn new() -> Self;
    fn count(&self) -> &Count;
    fn region(&self) -> &Count;
}

impl Opened for Open {
    fn new() -> Open {
        Open(Arc::new((Count::one(), Count::one())))
    }

    fn count(&self) -> &Count {
        &self.0.0
    }

    fn region(&self) -> &Count {
        &self.0.1
    }
}

impl Shared for Open {
    fn holders(&self) -> usize {
        self.count().strong()
    }

    fn pins(&self) -> usize {
        let pins = self.region().strong() - 1;
        fence(Ordering::Acquire);
        pins
    }

    fn is_writable(&self) -> bool {
        false
    }
}

impl Opened for Unfenced {
    fn new() -> Unfenced {
        Unfenced(Open::new())
    }

    fn count(&self) -> &Count {
        self.0.count()
    }

    fn region(&self) -> &Count {
        self.0.region()
    }
}

impl Shared for Unfenced {
    fn holders(&self) -> usize {
        self.0.holders()
    }

    fn pins(&self) -> usize {
        self.0.pins()
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn see_what_holders_did(&self) {}
}

struct Segment<O> {
    slot: Mutex<OpenSlot<O>>,
    /// The file's bytes: loom complains if they are read while, or unordered with, being freed.
    bytes: UnsafeCell<u8>,
}

impl<O: Opened> Segment<O> {
    fn new() -> Arc<Segment<O>> {
        let mut slot = OpenSlot::default();
        slot.put(O::new());
        Arc::new(Segment { slot: Mutex::new(slot), bytes: UnsafeCell::new(0) })
    }

    fn open(&self) -> Option<O> {
        let mut slot = self.slot.lock();
        if slot.current().is_none() {
            if slot.is_buried() {
                return None;
            }
            slot.put(O::new());
        }
        let open = slot.current()?.clone();
        open.count().take();
        Some(open)
    }

    /// A reader: opens, slices, lets go of the descriptor, reads, lets go of the slice.
    fn read(&self) {
        let Some(open) = self.open() else { return };
        open.region().take();
        open.count().give_up();
        self.bytes.with(|_| ());
        open.region().give_up();
    }

    /// Too many files are open.
    fn evict(&self) {
        self.slot.lock().close();
    }

    /// Upkeep: no name any more, then a look whether it may be shrunk.
    fn bury(&self) {
        self.slot.lock().bury();
        let pinned = self.slot.lock().is_pinned();
        if !pinned {
            self.bytes.with_mut(|_| ());
        }
    }
}

fn readers_against_burial<O: Opened>(readers: usize, evict: bool) {
    let segment = Segment::<O>::new();
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
    explore(|| readers_against_burial::<Open>(1, false));
}

#[test]
fn loom_a_pinned_file_is_not_freed_though_it_was_evicted_and_opened_again() {
    explore(|| readers_against_burial::<Open>(1, true));
}

#[test]
fn loom_a_file_that_two_pin_is_not_freed() {
    explore(|| readers_against_burial::<Open>(2, false));
}

#[test]
#[ignore = "fails on purpose"]
fn unfenced() {
    explore(|| readers_against_burial::<Unfenced>(1, false));
}

#[test]
fn loom_without_an_acquire_between_the_two_looks_a_pinned_file_would_be_freed() {
    finds("pin::unfenced", "Causality violation");
}
