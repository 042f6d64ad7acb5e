//! The budget: room reserved and given back.

#[path = "../../../src/core/budget.rs"]
mod budget;

#[cfg(test)]
mod tests {
    use super::budget::Budget;
    use crate::explore;
    use loom::sync::Arc;
    use loom::thread;
    use std::time::{Duration, Instant};

    /// So far away that it never comes: here a wait with a deadline ends by being woken or not at all.
    fn never() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(1 << 20))
    }

    #[test]
    fn loom_a_caller_that_waits_for_room_is_woken_by_whoever_gives_it_back() {
        explore(|| {
            let budget = Arc::new(Budget::new(10));
            assert!(budget.try_reserve(10));
            let waiter = {
                let budget = budget.clone();
                thread::spawn(move || assert!(budget.reserve(6, never(), || false)))
            };
            budget.release(4);
            budget.release(6);
            waiter.join().unwrap();
            assert_eq!(budget.used(), 6);
        });
    }

    #[test]
    fn loom_a_caller_that_does_not_wait_takes_no_wake_up_from_one_that_does() {
        explore(|| {
            let budget = Arc::new(Budget::new(10));
            assert!(budget.try_reserve(10));
            let waiter = {
                let budget = budget.clone();
                thread::spawn(move || assert!(budget.reserve(6, never(), || false)))
            };
            let passer = {
                let budget = budget.clone();
                thread::spawn(move || {
                    if budget.try_reserve(5) {
                        budget.release(5);
                    }
                })
            };
            budget.release(10);
            passer.join().unwrap();
            waiter.join().unwrap();
            assert_eq!(budget.used(), 6);
        });
    }

    #[test]
    fn loom_two_waiters_share_what_is_given_back() {
        explore(|| {
            let budget = Arc::new(Budget::new(10));
            assert!(budget.try_reserve(10));
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let budget = budget.clone();
                    thread::spawn(move || assert!(budget.reserve(5, never(), || false)))
                })
                .collect();
            budget.adjust(10, 0);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            assert_eq!(budget.used(), 10);
        });
    }
}
