//! Tickets are futures of no runtime: many appends at once, awaited by twenty lines of this file's own.
//! `cargo run --example async_tickets`

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

use braidlog::{Appended, Log, LogOptions, Store};

/// Wakes the thread that drives the future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Appends everything first, then awaits: the records share syncs. Dropping a ticket would cancel nothing.
async fn append_all(log: &Log, lines: impl Iterator<Item = String>) -> braidlog::Result<Vec<Appended>> {
    let tickets: Vec<_> = lines.map(|line| log.append_ticket(line.as_str())).collect::<Result<_, _>>()?;
    let mut appended = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        appended.push(ticket.await?);
    }
    Ok(appended)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path())?;
    let log = store.create_log("clicks", LogOptions::new())?;
    let appended = block_on(append_all(&log, (0..10_000).map(|i| format!("click {i}"))))?;
    assert_eq!(appended.last().map(|last| last.last), Some(9_999));
    let stats = store.stats();
    println!("{} records by {} syncs", stats.records_appended, stats.frames);
    Ok(store.close()?)
}
