//! A mark that moves, against a reader that waits for it.

use std::future::poll_fn;
use std::task::Poll;

use crate::bugs::{SeededBug, activate};
use crate::watch::{Registration, Watch};
use crate::{explore, explore_switches, finds};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

/// What a reader looks at of a log.
#[derive(Default)]
struct Log {
    watch: Watch,
    high: AtomicU64,
    deleted: AtomicBool,
}

impl Log {
    fn publish(&self, end: u64) {
        self.high.fetch_max(end, Ordering::SeqCst);
        self.watch.wake();
    }

    fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.watch.wake();
    }

    fn over(&self, position: u64) -> bool {
        self.high.load(Ordering::SeqCst) > position || self.deleted.load(Ordering::Acquire)
    }

    fn wait(&self, position: u64) {
        assert!(self.watch.wait(None, || self.over(position)));
    }

    fn block_on(&self, position: u64) {
        let registration = Registration::default();
        loom::future::block_on(poll_fn(|context| {
            let over = || self.over(position);
            let ready = over() || self.watch.register(&registration, context.waker(), over);
            if ready { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}

fn one_reader() {
    let log = Arc::new(Log::default());
    let reader = {
        let log = log.clone();
        thread::spawn(move || log.wait(0))
    };
    log.publish(1);
    reader.join().unwrap();
}

#[test]
fn loom_a_reader_that_waits_is_woken_by_the_mark() {
    explore(one_reader);
}

#[test]
#[ignore = "fails on purpose"]
fn seeded_bug_25() {
    activate(SeededBug::LostWakeUp);
    explore(one_reader);
}

#[test]
fn loom_seeded_bug_25_a_lost_wake_up_is_found() {
    finds("watermark::seeded_bug_25", "deadlock");
}

#[test]
fn loom_two_readers_at_different_positions_are_woken_by_two_steps() {
    explore(|| {
        let log = Arc::new(Log::default());
        let readers: Vec<_> = (0..2)
            .map(|position| {
                let log = log.clone();
                thread::spawn(move || log.wait(position))
            })
            .collect();
        log.publish(1);
        log.publish(2);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn loom_readers_that_sleep_wake_one_another() {
    explore_switches(2, || {
        let log = Arc::new(Log::default());
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || log.wait(0))
            })
            .collect();
        log.publish(1);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn loom_two_writers_and_a_reader() {
    explore(|| {
        let log = Arc::new(Log::default());
        let reader = {
            let log = log.clone();
            thread::spawn(move || log.wait(1))
        };
        let writer = {
            let log = log.clone();
            thread::spawn(move || log.publish(1))
        };
        log.publish(2);
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_deletion_wakes_a_reader_that_waits() {
    explore(|| {
        let log = Arc::new(Log::default());
        let reader = {
            let log = log.clone();
            thread::spawn(move || log.wait(0))
        };
        log.delete();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_reader_that_polls_is_woken_by_the_mark_and_by_a_deletion() {
    for delete in [false, true] {
        explore(move || {
            let log = Arc::new(Log::default());
            let reader = {
                let log = log.clone();
                thread::spawn(move || log.block_on(0))
            };
            if delete {
                log.delete()
            } else {
                log.publish(1)
            }
            reader.join().unwrap();
        });
    }
}

#[test]
fn loom_a_reader_that_polls_and_one_that_waits() {
    explore(|| {
        let log = Arc::new(Log::default());
        let polls = {
            let log = log.clone();
            thread::spawn(move || log.block_on(0))
        };
        let waits = {
            let log = log.clone();
            thread::spawn(move || log.wait(0))
        };
        log.publish(1);
        polls.join().unwrap();
        waits.join().unwrap();
    });
}
