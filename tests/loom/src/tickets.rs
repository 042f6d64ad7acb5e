//! The hand-off of a turn's outcome to everyone who holds a ticket of it.

use crate::error::Error;
use crate::explore;
use crate::ticket::{Appended, Pending, Slot, Ticket, Turn};
use loom::thread;

const APPENDED: Appended = Appended { first: 3, last: 4, arrival_ms: 5 };

#[test]
fn loom_two_waiters_of_a_turn_are_both_woken() {
    explore(|| {
        let turn = Turn::new();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let ticket = Ticket::new(turn.clone(), APPENDED);
                thread::spawn(move || assert_eq!(ticket.wait(), Ok(APPENDED)))
            })
            .collect();
        turn.resolve(Ok(()));
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

#[test]
fn loom_a_polled_ticket_is_woken() {
    explore(|| {
        let turn = Turn::new();
        let ticket = Ticket::new(turn.clone(), APPENDED);
        let waiter = thread::spawn(move || assert_eq!(loom::future::block_on(ticket), Ok(APPENDED)));
        turn.resolve(Ok(()));
        waiter.join().unwrap();
    });
}

#[test]
fn loom_a_waiter_and_a_poller_share_a_turn_that_fails() {
    explore(|| {
        let turn = Turn::new();
        let (waited, polled) = (Ticket::new(turn.clone(), APPENDED), Ticket::new(turn.clone(), APPENDED));
        let waiter = thread::spawn(move || assert_eq!(waited.wait(), Err(Error::Stopped)));
        let poller = thread::spawn(move || assert_eq!(loom::future::block_on(polled), Err(Error::Stopped)));
        turn.resolve(Err(Error::Stopped));
        waiter.join().unwrap();
        poller.join().unwrap();
    });
}

#[test]
fn loom_try_get_sees_the_outcome_or_nothing_and_then_always_the_outcome() {
    explore(|| {
        let turn = Turn::new();
        let ticket = Ticket::new(turn.clone(), APPENDED);
        let looker = thread::spawn(move || {
            let first = ticket.try_get();
            let second = ticket.try_get();
            assert!(first.is_none() || first == Some(Ok(APPENDED)));
            assert!(first.is_none() || second == first, "an outcome was taken back");
            assert_eq!(ticket.wait(), Ok(APPENDED));
        });
        turn.resolve(Ok(()));
        looker.join().unwrap();
    });
}

#[test]
fn loom_the_first_of_two_outcomes_counts_for_everybody() {
    explore(|| {
        let turn = Turn::new();
        let (one, two) = (Ticket::new(turn.clone(), APPENDED), Ticket::new(turn.clone(), APPENDED));
        let other = turn.clone();
        let stopper = thread::spawn(move || other.resolve(Err(Error::Stopped)));
        let waiter = thread::spawn(move || one.wait());
        turn.resolve(Ok(()));
        let here = two.wait();
        assert_eq!(waiter.join().unwrap(), here);
        stopper.join().unwrap();
    });
}

#[test]
fn loom_an_answer_is_there_when_its_turn_resolves() {
    explore(|| {
        let (turn, slot) = (Turn::new(), Slot::new());
        let mut pending = Pending::new(turn.clone(), slot.clone());
        let waiter = thread::spawn(move || match pending.try_get() {
            Some(answer) => assert_eq!(answer, Ok(7)),
            None => assert_eq!(pending.wait(), Ok(7)),
        });
        slot.fill(Ok(7));
        turn.resolve(Ok(()));
        waiter.join().unwrap();
    });
}

#[test]
fn loom_a_dropped_ticket_leaves_the_others_alone() {
    explore(|| {
        let turn = Turn::new();
        let (dropped, kept) = (Ticket::new(turn.clone(), APPENDED), Ticket::new(turn.clone(), APPENDED));
        let dropper = thread::spawn(move || drop(dropped));
        let waiter = thread::spawn(move || assert_eq!(kept.wait(), Ok(APPENDED)));
        turn.resolve(Ok(()));
        dropper.join().unwrap();
        waiter.join().unwrap();
    });
}
