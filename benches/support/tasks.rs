//! The smallest executor: many tasks on one thread, each polled when its own waker was called.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Who is to be polled.
struct Queue {
    due: Mutex<Vec<usize>>,
    thread: Thread,
}

struct Task {
    number: usize,
    queued: AtomicBool,
    queue: Arc<Queue>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut due = self.queue.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.push(self.number);
        let first = due.len() == 1;
        drop(due);
        if first {
            self.queue.thread.unpark();
        }
    }
}

struct Running<F> {
    /// `None` once it ended.
    future: Option<Pin<Box<F>>>,
    task: Arc<Task>,
    waker: Waker,
}

/// Runs them all to their ends.
pub fn run<F: Future<Output = ()>>(futures: impl IntoIterator<Item = F>) {
    let queue = Arc::new(Queue { due: Mutex::default(), thread: std::thread::current() });
    let mut running = Vec::new();
    for (number, future) in futures.into_iter().enumerate() {
        let task = Arc::new(Task { number, queued: AtomicBool::new(false), queue: queue.clone() });
        running.push(Running { future: Some(Box::pin(future)), task: task.clone(), waker: task.clone().into() });
        task.wake();
    }
    let mut left = running.len();
    while left > 0 {
        let due = std::mem::take(&mut *queue.due.lock().unwrap_or_else(PoisonError::into_inner));
        if due.is_empty() {
            std::thread::park();
        }
        for number in due {
            let Running { future, task, waker } = &mut running[number];
            task.queued.store(false, Ordering::SeqCst);
            let polled = future.as_mut().map(|future| future.as_mut().poll(&mut Context::from_waker(waker)));
            if polled == Some(Poll::Ready(())) {
                *future = None;
                left -= 1;
            }
        }
    }
}
