//! The lane between callers and the driver, cut out of the driver's file.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex};
use crate::ticket::{Bell, Turn};

/// Stands for a log.
pub(crate) struct LogState;
/// Stands for a request.
pub(crate) struct Request;

include!(concat!(env!("OUT_DIR"), "/lane.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bugs::{SeededBug, activate};
    use crate::{explore, explore_long, finds};
    use loom::thread;

    /// The driver's loop: takes until the lane closes and nothing is left.
    fn drive(lane: &Lane) {
        loop {
            match lane.take(0) {
                Some(taken) => taken.turn.resolve(Ok(())),
                None if lane.is_closing() => return,
                None => lane.wait(0, None),
            }
        }
    }

    #[test]
    fn loom_what_is_registered_is_taken_and_its_turn_resolves() {
        explore_long(|| {
            let lane = Arc::new(Lane::default());
            let driver = {
                let lane = lane.clone();
                thread::spawn(move || drive(&lane))
            };
            let caller = {
                let lane = lane.clone();
                thread::spawn(move || assert_eq!(lane.register(&Arc::new(LogState), 1, None, true).wait(), Ok(())))
            };
            assert_eq!(lane.request(Request).unwrap().wait(), Ok(()));
            caller.join().unwrap();
            lane.close();
            driver.join().unwrap();
        });
    }

    /// A step of a machine whose lock is held.
    fn step(lane: &Lane) -> bool {
        let taken = lane.take(0);
        let progress = taken.is_some();
        taken.into_iter().for_each(|taken| taken.turn.resolve(Ok(())));
        progress
    }

    /// Two callers that wait and a thread: whoever finds the machine free does `mine`, with its own turn.
    fn callers_and_a_thread(mine: fn(&Lane, &Arc<Turn>)) {
        let shared = Arc::new((Lane::default(), Mutex::new(())));
        let thread = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (lane, machine) = &*shared;
                loop {
                    let locked = machine.lock();
                    let progress = step(lane);
                    drop(locked);
                    if !progress {
                        if lane.is_closing() {
                            return;
                        }
                        lane.wait(0, None);
                    }
                }
            })
        };
        let call = move |(lane, machine): &(Lane, Mutex<()>)| {
            let turn = lane.register(&Arc::new(LogState), 1, None, false);
            if let Some(_locked) = machine.try_lock() {
                mine(lane, &turn);
            }
            assert_eq!(turn.wait(), Ok(()));
        };
        let caller = {
            let shared = shared.clone();
            thread::spawn(move || call(&shared))
        };
        call(&shared);
        caller.join().unwrap();
        shared.0.close();
        thread.join().unwrap();
    }

    #[test]
    fn loom_a_caller_takes_the_step_itself_or_somebody_takes_it_for_it() {
        explore(|| {
            callers_and_a_thread(|lane, _| {
                step(lane);
            });
        });
    }

    #[test]
    fn loom_a_caller_sees_only_its_own_turn_through_and_leaves_the_others_to_the_thread() {
        explore(|| {
            callers_and_a_thread(|lane, turn| {
                lane.take_small(turn, 1).into_iter().for_each(|taken| taken.turn.resolve(Ok(())));
            });
        });
    }

    #[test]
    fn loom_what_a_caller_puts_back_is_the_threads_once_it_is_roused() {
        explore_long(|| {
            callers_and_a_thread(|lane, turn| {
                if let Some(taken) = lane.take_small(turn, 1) {
                    lane.put_back(taken);
                    lane.rouse();
                }
            });
        });
    }

    /// As in `driver/leader`: the machine notes that its thread rests, with its lock held, and the thread goes to sleep without it. Who
    /// comes between the two owes the thread a mark, has nothing for the lane, and rouses it once.
    #[test]
    fn loom_a_thread_that_is_roused_before_it_sleeps_looks_around_once_more() {
        explore(|| {
            struct Machine {
                rests: bool,
                owed: bool,
                marked: bool,
            }
            let machine = Mutex::new(Machine { rests: false, owed: false, marked: false });
            let shared = Arc::new((Lane::default(), machine));
            let thread = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (lane, machine) = &*shared;
                    loop {
                        let mut locked = machine.lock();
                        if std::mem::take(&mut locked.owed) {
                            locked.marked = true;
                            return;
                        }
                        locked.rests = true;
                        drop(locked);
                        lane.wait(0, None);
                        machine.lock().rests = false;
                    }
                })
            };
            let (lane, machine) = &*shared;
            let mut locked = machine.lock();
            locked.owed = true;
            let rouse = std::mem::take(&mut locked.rests);
            drop(locked);
            if rouse {
                lane.rouse();
            }
            thread.join().unwrap();
            assert!(machine.lock().marked);
        });
    }

    #[test]
    fn loom_a_machine_that_sleeps_until_two_wait_is_woken_by_the_second() {
        explore(|| {
            let lane = Arc::new(Lane::default());
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let lane = lane.clone();
                    thread::spawn(move || assert_eq!(lane.register(&Arc::new(LogState), 1, None, true).wait(), Ok(())))
                })
                .collect();
            while lane.pressure() < 2 {
                lane.wait(2, None);
            }
            while step(&lane) {}
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        });
    }

    fn register_against_refuse() {
        let lane = Arc::new(Lane::default());
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let lane = lane.clone();
                thread::spawn(move || {
                    assert_eq!(lane.register(&Arc::new(LogState), 1, None, true).wait(), Err(Error::Stopped))
                })
            })
            .collect();
        lane.refuse(Error::Stopped);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert!(lane.request(Request).is_err());
        assert!(lane.take(0).is_none());
    }

    #[test]
    fn loom_a_stop_is_seen_by_early_and_late_registrants() {
        explore(register_against_refuse);
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn seeded_bug_27() {
        activate(SeededBug::PoisonUnseenByLateWaiter);
        explore(register_against_refuse);
    }

    #[test]
    fn loom_seeded_bug_27_a_late_registrant_that_waits_for_ever_is_found() {
        finds("lane::tests::seeded_bug_27", "deadlock");
    }

    #[test]
    fn loom_a_turn_is_taken_or_refused_never_both_and_never_neither() {
        explore(|| {
            let lane = Arc::new(Lane::default());
            let caller = {
                let lane = lane.clone();
                thread::spawn(move || lane.register(&Arc::new(LogState), 1, None, true).wait())
            };
            let stopper = {
                let lane = lane.clone();
                thread::spawn(move || lane.refuse(Error::Stopped))
            };
            if let Some(taken) = lane.take(0) {
                taken.turn.resolve(Ok(()));
            }
            stopper.join().unwrap();
            let _ = caller.join().unwrap();
        });
    }

    #[test]
    fn loom_an_append_that_must_come_later_than_a_turn_is_in_a_later_one() {
        explore(|| {
            let lane = Arc::new(Lane::default());
            let driver = {
                let lane = lane.clone();
                thread::spawn(move || drive(&lane))
            };
            let log = Arc::new(LogState);
            let first = lane.register(&log, 1, None, true);
            let second = lane.register(&log, 1, Some(&first), true);
            assert!(!Arc::ptr_eq(&first, &second));
            assert_eq!(second.wait(), Ok(()));
            assert!(first.is_resolved(), "turns are taken in order");
            lane.close();
            driver.join().unwrap();
        });
    }
}
