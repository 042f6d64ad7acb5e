//! Positions that are not of here: of another store, another account in it, or the store that this one is a copy of.

use std::collections::BTreeSet;
use std::sync::Arc;

use braidlog::env::sim::{ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{HashKey, SequenceNumber, StartingPosition, Stream, StreamOptions};
use braidlog::{Engine, Error};

use super::named::hexadecimal;
use super::run::{env_of, id, options};

/// The two digits of a number that say which store it comes from.
fn store_digits(number: SequenceNumber) -> String {
    hexadecimal(number)[27..29].to_owned()
}

/// A stream with a record in its one shard: of the same name, index and birth second wherever the clock is the same.
fn stream(engine: &Engine) -> (Stream, SequenceNumber) {
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let number = stream.put_record("key", b"data").unwrap().sequence_number;
    (stream, number)
}

fn token(stream: &Stream) -> String {
    stream.shard_iterator(id(0), StartingPosition::TrimHorizon).unwrap()
}

/// Whether a number is refused as a position, whichever way it is given.
fn refuses(stream: &Stream, number: SequenceNumber) -> bool {
    let at = stream.shard_iterator(id(0), StartingPosition::AtSequenceNumber(number)).map(drop);
    let after = stream.read(id(0), StartingPosition::AfterSequenceNumber(number)).map(drop);
    let refused = [at, after].map(|outcome| match outcome {
        Err(Error::InvalidArgument { .. }) => true,
        Err(error) => panic!("{error}"),
        Ok(()) => false,
    });
    assert_eq!(refused[0], refused[1], "{number}");
    refused[0]
}

#[test]
fn positions_of_another_store_are_refused_and_of_one_in_256_only_the_numbers_are_not() {
    let clock = Arc::new(ManualClock::new());
    let open = |life| Engine::open_in(env_of(&SimDisk::new(Tape::seeded(life)), &clock, life), options()).unwrap();
    let here = open(0);
    let (stream_here, number_here) = stream(&here);
    let (mut refused, mut alike) = (0, 0);
    for life in 1..600 {
        let there = open(life);
        let (stream_there, number_there) = stream(&there);
        let (a, b) = (hexadecimal(number_here), hexadecimal(number_there));
        assert_eq!((&a[..27], &a[29..]), (&b[..27], &b[29..]), "but for the store it is the same number");
        let is_alike = store_digits(number_here) == store_digits(number_there);
        assert_eq!(refuses(&stream_here, number_there), !is_alike, "{number_there} of store {life}");
        if is_alike {
            alike += 1;
        } else {
            refused += 1;
        }
        let answer = here.get_records(&token(&stream_there), 1);
        assert!(matches!(answer, Err(Error::InvalidArgument { .. })), "{answer:?}");
    }
    assert!(refused > 590 && alike > 0, "{refused} of 599 are refused, {alike} can't be told from those of here");
}

/// The digits of a store are those of an account in it for half of all stores and this account: made in the same second, their shards
/// took each other's numbers.
#[test]
fn positions_of_another_account_are_refused() {
    let clock = Arc::new(ManualClock::new());
    let engine = ManualEngine::open(env_of(&SimDisk::new(Tape::seeded(1)), &clock, 1), options()).unwrap();
    let other = engine.engine().for_account("111122223333").unwrap();
    let ((mine, my_number), (theirs, their_number)) = (stream(engine.engine()), stream(&other));
    assert_eq!(store_digits(my_number), store_digits(their_number), "this shows nothing");
    assert!(refuses(&mine, their_number) && refuses(&theirs, my_number));
    // Also what is made in turn, faster than seconds pass.
    for (shard, at) in [(0, 1 << 127), (2, 3 << 126)] {
        mine.split_shard(id(shard), HashKey(at)).unwrap();
        theirs.split_shard(id(shard), HashKey(at)).unwrap();
    }
    let starts = |stream: &Stream| {
        stream.shards().into_iter().map(|shard| hexadecimal(shard.starting_sequence_number)[..10].to_owned())
    };
    let births: BTreeSet<String> = starts(&mine).chain(starts(&theirs)).collect();
    assert_eq!(births.len(), 6, "of two streams and four reshards, each has a second of its own");
    for (engine, stream) in [(engine.engine(), &theirs), (&other, &mine)] {
        let answer = engine.get_records(&token(stream), 1);
        assert!(matches!(answer, Err(Error::InvalidArgument { .. })), "{answer:?}");
    }
}

/// Tokens of the original were taken for its own by a copy that had gone another way since.
#[test]
fn a_copy_goes_on_with_numbers_of_its_original_and_refuses_its_tokens() {
    let (root, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = Engine::open(root.path()).unwrap();
    let (original, before) = stream(&engine);
    engine.store().backup(copy.path()).unwrap();
    let token_of_original = token(&original);
    let later = original.put_record("key", b"after they parted").unwrap().sequence_number;
    let engine_of_copy = Engine::open(copy.path()).unwrap();
    let copied = engine_of_copy.stream("clicks").unwrap();
    for (engine, token) in [(&engine_of_copy, token_of_original.clone()), (&engine, token(&copied))] {
        let refused = engine.get_records(&token, 10);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
    let answer = engine_of_copy.get_records(&token(&copied), 10).unwrap();
    assert_eq!(answer.records[0].sequence_number, before);
    // A number that the copy has not given out is refused, until it gives it to another record.
    let read = || copied.read(id(0), StartingPosition::AtSequenceNumber(later));
    assert!(matches!(read().map(drop), Err(Error::InvalidArgument { .. })));
    copied.put_record("key", b"another").unwrap();
    assert_eq!(read().unwrap().next().unwrap().unwrap().data, "another");
    // Over a restart tokens are of the store that issued them.
    original.put_record("key", b"one more").unwrap();
    drop((original, copied));
    engine.close().unwrap();
    let engine = Engine::open(root.path()).unwrap();
    assert_eq!(engine.get_records(&token_of_original, 10).unwrap().records.len(), 3);
}
