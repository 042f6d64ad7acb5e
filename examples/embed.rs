//! The example of the crate's front page: open, append, read, close. `cargo run --example embed` makes a folder `data`.

use braidlog::{LogOptions, StartAt, Store};

fn main() -> braidlog::Result<()> {
    let store = Store::open("data")?; // recovers, then serves
    let clicks = store.open_or_create_log("clicks", LogOptions::new())?;
    let put = clicks.append("page=/home")?; // returns once durable
    for record in clicks.read(StartAt::Sequence(put.first))? {
        println!("{:?}", record?.data);
    }
    store.close()
}
