//! Two threads at one list.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use crate::manifest::Changes;
use crate::options::{Durability, LogOptions};
use crate::store::Store;
use crate::sync::{Arc, Ordering};

/// Calls it over and over on another thread for as long as `meanwhile` takes.
fn beside<T>(again: impl Fn() + Sync, meanwhile: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                again();
            }
        });
        // Also where it panics.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _ends = Ends(&over);
        meanwhile()
    })
}

/// A caller is answered, and a frame counts as durable, on the word of the flag alone: a checkpoint that begins then must find the log.
#[test]
fn who_finds_a_log_listed_finds_it_on_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    let core = store.core();
    // Nobody else takes from it.
    let _held = core.hold_upkeep();
    beside(
        || core.list_for_checkpoint(&log.state),
        || {
            for round in 0..200_000 {
                core.list_for_checkpoint(&log.state);
                let taken = core.take_listed();
                assert!(taken.iter().any(|listed| Arc::ptr_eq(listed, &log.state)), "round {round}");
            }
        },
    );
}

/// Its tail is looked at after a crash, or its next append says that it must be.
#[test]
fn a_new_buffered_log_is_noted_whatever_checkpoint_comes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let core = store.core();
    let _held = core.hold_upkeep();
    let options = LogOptions::new().durability(Durability::Buffered);
    beside(
        || drop(core.settle_touched(&Changes::default())),
        || {
            for round in 0..20_000 {
                let log = core.catalog_add(&format!("log {round}"), &options, 1);
                let appender = log.appender.lock();
                let will_say_so = appender.needs_touch(1);
                drop(appender);
                // Noted first, and no note is needed: whoever took it off since said so to the appender.
                let noted = core.touched.lock().contains(&log.id);
                assert!(noted || will_say_so || log.appender.lock().needs_touch(1), "round {round}");
                core.catalog_deleted(&log);
                core.catalog_take(&log, 1);
                core.catalog_forget(&log);
            }
        },
    );
}
