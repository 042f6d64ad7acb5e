//! Several logs: a transaction over two of them under a precondition, a thread that follows one, retention on the other.
//! `cargo run --example many_logs`

use std::time::Duration;

use braidlog::{Error, LogOptions, StartAt, Store, Transaction};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path())?;
    let orders = store.create_log("orders", LogOptions::new())?;
    // Unreadable after a week, and beyond 64 MiB: whichever comes first.
    let week = Duration::from_secs(7 * 24 * 3600);
    let kept = LogOptions::new().retention_age(Some(week)).retention_bytes(Some(64 << 20)).segment_bytes_max(8 << 20);
    let mails = store.create_log("mails", kept)?;

    // A reader sees a record once it is durable, and waits for the next without polling.
    let mut reader = mails.read(StartAt::Latest)?;
    let follower = std::thread::spawn(move || -> braidlog::Result<usize> {
        let mut seen = 0;
        while seen < 3 && reader.wait(Some(Duration::from_secs(10)))? {
            for record in reader.by_ref() {
                println!("mail: {}", record?.data.escape_ascii());
                seen += 1;
            }
        }
        Ok(seen)
    });

    // An order and its mail happen together or not at all, and only if nobody else took an order meanwhile.
    for number in 0..3 {
        let mut transaction = Transaction::new();
        transaction.expect_end(&orders, number);
        transaction.append(&orders, format!("order {number}").as_str())?;
        transaction.append(&mails, format!("thanks for order {number}").as_str())?;
        store.commit(transaction)?.wait()?;
    }
    assert_eq!(follower.join().map_err(|_| "the follower panicked")??, 3);

    let mut late = Transaction::new();
    late.expect_end(&orders, 2).append(&orders, "order 2 again")?;
    match store.commit(late)?.wait() {
        Err(Error::Conflict { log, why }) => println!("{log} is refused: {why}"),
        other => return Err(format!("a conflict was expected, not {other:?}").into()),
    }

    // What is done with may go at once, too.
    println!("mails start at {} now", mails.trim(2)?);
    Ok(store.close()?)
}
