//! Every limit of a log's API from both sides: the largest that is taken, and the first that is refused, with what is said of it.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::sim::{ManualClock, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{
    Appended, Durability, Error, Log, LogOptions, ReadMode, RecordParts, Result, StartAt, StoreOptions, Transaction,
};
use support::{env_of, small};

const MIB: usize = 1 << 20;

struct Bench {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    store: ManualStore,
}

impl Bench {
    fn new(options: StoreOptions) -> Bench {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let store = ManualStore::open(env_of(&disk, &clock), options).unwrap();
        Bench { disk, clock, store }
    }

    /// A store with files of the default size, which bounds what goes in one call.
    fn with_large_files() -> Bench {
        Bench::new(StoreOptions::new().reserve_bytes(0))
    }

    fn create(&mut self, name: &str, options: LogOptions) -> Result<Log> {
        let mut made = self.store.create_log(name, options)?;
        self.store.settle();
        made.try_get().unwrap()
    }

    fn log(&mut self, name: &str) -> Log {
        self.create(name, LogOptions::new()).unwrap()
    }

    fn append(&mut self, log: &Log, records: &[RecordParts<'_>]) -> Result<Appended> {
        let ticket = log.try_append_batch(records)?;
        self.store.settle();
        // Room for the next.
        self.store.checkpoint().unwrap();
        ticket.try_get().unwrap()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<()> {
        let mut committed = self.store.store().commit(transaction)?;
        self.store.settle();
        self.store.checkpoint().unwrap();
        committed.try_get().unwrap().map(drop)
    }
}

#[test]
fn a_record_may_have_so_much_and_no_byte_more() {
    let parts = [("data", 10 * MIB), ("key", 1024), ("attributes", MIB)];
    let bytes = vec![7u8; 10 * MIB + 1];
    let mut bench = Bench::with_large_files();
    for durability in [Durability::Durable, Durability::Buffered] {
        let log = bench.create(&format!("{durability:?}"), LogOptions::new().durability(durability)).unwrap();
        for (part, max) in parts {
            let of = |len: usize| {
                let own = |wanted: &str| (part == wanted).then_some(&bytes[..len]);
                RecordParts { data: own("data").unwrap_or(b"data"), key: own("key"), attributes: own("attributes") }
            };
            let end = log.end();
            let refused = bench.append(&log, &[of(max + 1)]).unwrap_err();
            assert_eq!(refused, Error::RecordTooLarge { part, bytes: max + 1, max });
            assert!(refused.to_string().contains(part), "{refused}");
            assert!(!refused.is_retryable());
            // One that is too large refuses the call, and nothing of it has a number.
            bench.append(&log, &[of(1), of(max + 1)]).unwrap_err();
            assert_eq!(log.end(), end);
            if durability == Durability::Durable {
                assert!(matches!(Transaction::new().append(&log, of(max + 1)), Err(Error::RecordTooLarge { .. })));
            }

            let appended = bench.append(&log, &[of(max)]).unwrap();
            assert_eq!((appended.first, appended.last), (end, end));
            let record = log.read(StartAt::Sequence(end)).unwrap().next().unwrap().unwrap();
            let read = [Some(record.data), record.key, record.attributes].map(|part| part.map_or(0, |part| part.len()));
            let longest = read.into_iter().max().unwrap();
            assert_eq!(longest, max, "{part}");
        }
    }
    // All of them at once, the longest there is.
    let log = bench.log("whole");
    let whole = RecordParts { data: &bytes[..10 * MIB], key: Some(&bytes[..1024]), attributes: Some(&bytes[..MIB]) };
    bench.append(&log, &[whole]).unwrap();
    assert_eq!(log.read(StartAt::TrimHorizon).unwrap().next().unwrap().unwrap().data.len(), 10 * MIB);
}

/// What makes a call with these records exactly as long as one may be: what the last one has.
fn longest_last(refused: Error, len: usize, others: usize) -> usize {
    let Error::TransactionTooLarge { bytes, max } = refused else { panic!("{refused}") };
    assert!(bytes > max);
    // What comes on top of the data does not depend on it, but for rounding.
    let beside = bytes - len;
    max - beside - others
}

#[test]
fn a_call_may_have_so_many_bytes_and_no_more() {
    for (mut bench, half) in [(Bench::new(small(ReadMode::Map)), 30_000), (Bench::with_large_files(), 8 * MIB)] {
        let log = bench.log("log");
        let data = vec![7u8; 2 * half];
        let (first, second) = (RecordParts::from(&data[..half]), |len: usize| RecordParts::from(&data[..len]));
        let refused = bench.append(&log, &[first, second(half)]).unwrap_err();
        assert!(!refused.is_retryable() && refused.to_string().contains("split it"), "{refused}");
        let longest = longest_last(refused, 2 * half, half);
        assert!(matches!(
            bench.append(&log, &[first, second(longest + 8)]),
            Err(Error::TransactionTooLarge { bytes, max }) if bytes > max && bytes <= max + 8
        ));
        assert_eq!(log.end(), 0);
        bench.append(&log, &[first, second(longest)]).unwrap();
        assert_eq!(log.end(), 2);

        let transaction = |len: usize| {
            let mut transaction = Transaction::new();
            transaction.append(&log, first).unwrap().append(&log, second(len)).unwrap();
            transaction
        };
        let longest = longest_last(bench.commit(transaction(half)).unwrap_err(), 2 * half, half);
        assert!(matches!(
            bench.commit(transaction(longest + 1)),
            Err(Error::TransactionTooLarge { bytes, max }) if bytes == max + 1
        ));
        bench.commit(transaction(longest)).unwrap();
        assert_eq!(log.end(), 4);
    }
}

#[test]
fn a_call_may_have_so_many_records_and_not_one_more() {
    let mut bench = Bench::with_large_files();
    let log = bench.log("log");
    let records = vec![RecordParts::from("x"); (1 << 20) + 1];
    assert!(matches!(bench.append(&log, &records), Err(Error::TransactionTooLarge { .. })));
    assert_eq!(log.end(), 0);
    bench.append(&log, &records[1..]).unwrap();
    assert_eq!(log.end(), 1 << 20);
    assert_eq!(log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).count(), 1 << 20);
    let last = log.read(StartAt::Sequence((1 << 20) - 1)).unwrap().next().unwrap().unwrap();
    assert_eq!((last.sequence_number, &last.data[..]), ((1 << 20) - 1, &b"x"[..]));
}

#[test]
fn nothing_is_nothing_to_append() {
    let mut bench = Bench::new(small(ReadMode::Map));
    let log = bench.log("log");
    assert_eq!(log.try_append_batch(&[]).unwrap_err(), Error::EmptyBatch);
    assert_eq!(log.append_batch_ticket(&[]).unwrap_err(), Error::EmptyBatch);
    assert_eq!(log.append_batch(Vec::<&str>::new()).unwrap_err(), Error::EmptyBatch);
    assert_eq!(bench.commit(Transaction::new()).unwrap_err(), Error::EmptyBatch);
    // A record without a byte is one.
    bench.append(&log, &[RecordParts::from("")]).unwrap();
    assert_eq!(log.read(StartAt::TrimHorizon).unwrap().count(), 1);
}

#[test]
fn a_transaction_promises_nothing_that_a_buffered_log_does_not_keep() {
    let mut bench = Bench::new(small(ReadMode::Map));
    let durable = bench.log("durable");
    let buffered = bench.create("buffered", LogOptions::new().durability(Durability::Buffered)).unwrap();
    let mut transaction = Transaction::new();
    transaction.append(&durable, "x").unwrap();
    assert_eq!(transaction.append(&buffered, "x").unwrap_err(), Error::NotDurable { log: "buffered".into() });
    // What it had before is as it was.
    bench.commit(transaction).unwrap();
    assert_eq!((durable.end(), buffered.end()), (1, 0));
}

#[test]
fn a_name_is_1_to_255_bytes_without_control_characters_and_not_the_engines() {
    let mut bench = Bench::new(small(ReadMode::Map));
    let (longest, wide) = ("x".repeat(255), "ü".repeat(127));
    for name in ["x", " ", "a/b/../c", "braidlog", "Braidlog/x", "名前", &longest, &wide] {
        assert_eq!(bench.log(name).name(), name);
        assert_eq!(bench.store.store().log(name).unwrap().name(), name);
    }
    let (too_long, too_wide) = ("x".repeat(256), "ü".repeat(128));
    for name in ["", "a\nb", "\0", "tab\t", "\u{7f}", "\u{85}", "braidlog/", "braidlog/x", &too_long, &too_wide] {
        match bench.create(name, LogOptions::new()).unwrap_err() {
            Error::InvalidName { name: told, why } => {
                assert!(name.starts_with(&told) && !why.is_empty(), "{name:?}: {told:?}, {why}");
            }
            other => panic!("{name:?}: {other}"),
        }
    }
    assert!(matches!(bench.store.store().log("braidlog/x"), Err(Error::InvalidName { .. })));
    assert!(matches!(bench.store.delete_log("braidlog/x").map(drop), Err(Error::InvalidName { .. })));
    // A name that none can have is one that none has.
    for name in ["", "a\nb", &too_long] {
        assert!(matches!(bench.store.store().log(name), Err(Error::NoSuchLog { .. })), "{name:?}");
    }
}

#[test]
fn a_name_is_given_once() {
    let mut bench = Bench::new(small(ReadMode::Map));
    let first = bench.log("log");
    let exists = Error::LogExists { name: "log".into() };
    assert_eq!(bench.create("log", LogOptions::new()).unwrap_err(), exists);
    // Two that meet in one turn.
    let (mut one, mut other) = (
        bench.store.create_log("x", LogOptions::new()).unwrap(),
        bench.store.create_log("x", LogOptions::new()).unwrap(),
    );
    bench.store.settle();
    let made = [one.try_get().unwrap(), other.try_get().unwrap()];
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    assert!(made.iter().any(|made| matches!(made, Err(Error::LogExists { name }) if name == "x")));
    // Free again once its log was deleted.
    let mut deleted = bench.store.delete_log("log").unwrap();
    bench.store.settle();
    deleted.try_get().unwrap().unwrap();
    assert_ne!(bench.log("log").id(), first.id());
}

/// Each option, its smallest and its largest value, and how to set it.
type Bound<T> = (&'static str, u64, u64, fn(T, u64) -> T);

fn refused_option(outcome: Result<()>, name: &str, value: u64) {
    match outcome {
        Err(error @ Error::InvalidOption { .. }) => {
            let Error::InvalidOption { name: told, value: told_value, allowed } = &error else { unreachable!() };
            assert_eq!((*told, *told_value), (name, value));
            assert!(!allowed.is_empty() && error.to_string().contains(allowed.as_str()), "{error}");
        }
        other => panic!("{name} = {value}: {other:?}"),
    }
}

#[test]
fn options_of_a_log_have_bounds() {
    let bounds: [Bound<LogOptions>; 3] = [
        ("retention_age (ms)", 1, 1 << 47, |options, ms| options.retention_age(Some(Duration::from_millis(ms)))),
        ("retention_bytes", 1, u64::MAX, |options, bytes| options.retention_bytes(Some(bytes))),
        ("segment_bytes_max", 16 << 10, 2 << 30, LogOptions::segment_bytes_max),
    ];
    let mut bench = Bench::new(small(ReadMode::Map));
    let log = bench.log("log");
    for (name, min, max, set) in bounds {
        for value in [min, max] {
            let options = set(LogOptions::new(), value);
            let mut changed = log.set_options_ticket(options.clone()).unwrap();
            bench.store.settle();
            changed.try_get().unwrap().unwrap();
            assert_eq!(log.options(), options, "{name}");
            bench.create(&format!("{name} {value}"), options).unwrap();
        }
        let kept = log.options();
        for value in [min - 1].into_iter().chain(max.checked_add(1)) {
            let options = set(LogOptions::new(), value);
            refused_option(log.set_options_ticket(options.clone()).map(drop), name, value);
            refused_option(bench.create("refused", options).map(drop), name, value);
        }
        assert_eq!(log.options(), kept, "{name}");
    }
    assert!(matches!(bench.store.store().log("refused"), Err(Error::NoSuchLog { .. })));
}

#[test]
fn options_of_a_store_have_bounds() {
    let bounds: [Bound<StoreOptions>; 5] = [
        ("memory_bytes", 64 << 10, 64 << 30, StoreOptions::memory_bytes),
        ("journal_file_bytes", 64 << 10, 1 << 30, StoreOptions::journal_file_bytes),
        ("journal_files_max", 4, 1024, |options, files| options.journal_files_max(files as u32)),
        ("bulk_bytes", 4 << 10, u64::MAX, StoreOptions::bulk_bytes),
        ("open_files_max", 16, 1 << 20, |options, files| options.open_files_max(files as usize)),
    ];
    // A store that exists keeps the journal files it has, so that the largest can be asked for.
    let Bench { disk, clock, store } = Bench::new(small(ReadMode::Map));
    store.close().unwrap();
    let open = |options: StoreOptions| ManualStore::open(env_of(&disk, &clock), options);
    for (name, min, max, set) in bounds {
        for value in [min, max] {
            open(set(small(ReadMode::Map), value)).unwrap().close().unwrap();
        }
        for value in [min - 1].into_iter().chain(max.checked_add(1)) {
            refused_option(open(set(small(ReadMode::Map), value)).map(drop), name, value);
        }
    }
    let odd = (64 << 10) + 512;
    refused_option(open(small(ReadMode::Map).journal_file_bytes(odd)).map(drop), "journal_file_bytes", odd);
}
