//! The example of the crate's front page: open, append, read, close. `cargo run --example embed [FOLDER]`

use braidlog::{LogOptions, StartAt, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| temporary.path().into());

    let store = Store::open(folder)?; // recovers, then serves
    let clicks = store.open_or_create_log("clicks", LogOptions::new())?;
    let put = clicks.append("page=/home")?; // returns once durable
    for record in clicks.read(StartAt::Sequence(put.first))? {
        let record = record?;
        println!("{}: {}", record.sequence_number, record.data.escape_ascii());
    }
    Ok(store.close()?)
}
