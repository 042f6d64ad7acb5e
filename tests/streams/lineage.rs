//! The lineage walked as the service's client library does it: parents before children, each shard to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::{Crash, Profile, Tape};
use braidlog::stream::{
    HashKey, PutRecordsEntry, Record, SequenceNumber, ShardFilter, ShardId, StartingPosition, Stream, StreamOptions,
};
use braidlog::{Engine, Error};

use super::oracle::Verdict;
use super::run::{Run, id, tiles};
use crate::ensure;

/// Everything there is from a place on, in the order in which the library would hand it out.
fn walk(
    engine: &Engine,
    stream: &Stream,
    filter: ShardFilter,
    from: StartingPosition,
) -> Verdict<Vec<(ShardId, Record)>> {
    let first = stream.list_shards(filter, None, 1000).map_err(|e| e.to_string())?.shards;
    // A lease of each shard: where to begin, and whose children it is.
    let mut leases: BTreeMap<ShardId, (StartingPosition, Vec<ShardId>)> = first
        .iter()
        .map(|s| (s.shard_id, (from, [s.parent_shard_id, s.adjacent_parent_shard_id].into_iter().flatten().collect())))
        .collect();
    let mut done: BTreeSet<ShardId> = BTreeSet::new();
    let mut read = Vec::new();
    while done.len() < leases.len() {
        let ready = leases.iter().find(|(shard, (_, parents))| {
            !done.contains(shard) && parents.iter().all(|p| done.contains(p) || !leases.contains_key(p))
        });
        let Some((&shard, &(position, _))) = ready else { return Err("shards wait for each other".into()) };
        let mut next = Some(stream.shard_iterator(shard, position).map_err(|e| format!("{shard}: {e}"))?);
        while let Some(token) = next {
            let answer = engine.get_records(&token, 100).map_err(|e| format!("{shard}: {e}"))?;
            for child in &answer.child_shards {
                let lease = (StartingPosition::TrimHorizon, child.parent_shards.clone());
                leases.entry(child.shard_id).or_insert(lease);
            }
            let over = answer.next_shard_iterator.is_none();
            ensure!(!over || !answer.child_shards.is_empty(), "{shard}: ends without children");
            let caught_up = answer.records.is_empty();
            read.extend(answer.records.into_iter().map(|record| (shard, record)));
            next = answer.next_shard_iterator.filter(|_| !caught_up);
        }
        done.insert(shard);
    }
    Ok(read)
}

fn tag_of(record: &Record) -> u64 {
    u64::from_le_bytes(*record.data.first_chunk().expect("records are longer"))
}

/// Decimal digits compared as integers.
fn below(a: &SequenceNumber, b: &SequenceNumber) -> bool {
    let (a, b) = (a.to_string(), b.to_string());
    (a.len(), a) < (b.len(), b)
}

fn holds(run: &Run) -> Verdict {
    let (engine, stream, model) = (run.engine(), run.stream("clicks")?, &run.model.streams["clicks"]);
    tiles(model)?;
    let keys: BTreeMap<u64, u128> =
        model.shards.iter().flat_map(|s| &s.records).map(|put| (put.tag, put.hash_key())).collect();
    let mut times: Vec<u64> = model.shards.iter().flat_map(|s| &s.records).map(|put| put.arrival_ms).collect();
    times.extend(model.shards.iter().flat_map(|s| [s.opened_ms, s.closed_ms]).flatten());
    times.retain(|ms| *ms <= run.now_ms());
    let mut starts = vec![(ShardFilter::AtTrimHorizon, StartingPosition::TrimHorizon, 0)];
    for _ in 0..4 {
        let ms = times[run.tape.choose("time", times.len() as u64) as usize];
        let time = UNIX_EPOCH + Duration::from_millis(ms);
        starts.push((ShardFilter::AtTimestamp(time), StartingPosition::AtTimestamp(time), ms));
    }
    for (filter, position, from_ms) in starts {
        let read = walk(&engine, &stream, filter, position)?;
        let mut last: BTreeMap<u128, (u64, SequenceNumber)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (shard, record) in &read {
            let tag = tag_of(record);
            ensure!(seen.insert(tag), "{filter:?}: record {tag} is there twice");
            let key = keys.get(&tag).ok_or_else(|| format!("{filter:?}: record {tag} was not put"))?;
            if let Some((before, number)) = last.get(key) {
                ensure!(*before < tag, "{filter:?}: {tag} comes after {before}, in {shard}");
                ensure!(
                    below(number, &record.sequence_number),
                    "{filter:?}: the number of {tag} is below that of {before}"
                );
            }
            last.insert(*key, (tag, record.sequence_number));
        }
        let puts = model.shards.iter().flat_map(|s| &s.records);
        let expected: BTreeSet<u64> = puts.filter(|put| put.arrival_ms >= from_ms).map(|put| put.tag).collect();
        ensure!(
            seen == expected,
            "{filter:?}: missing {:?}, not wanted {:?}",
            expected.difference(&seen),
            seen.difference(&expected)
        );
    }
    Ok(())
}

fn history(seed: u64) -> Verdict {
    let tape = Tape::seeded(seed);
    let mut run = Run::begin(tape.clone(), Profile::STRICT_POSIX, Duration::ZERO)?;
    run.create("clicks", 1 + tape.choose("shards", 3) as u32, false, false)?;
    for at in 0..40 {
        if tape.choose("die_inside", 8) == 7 {
            run.disk.set_torn_crash_at(run.disk.operations() + tape.choose("die_at", 12));
        }
        let outcome = match tape.choose("op", 8) {
            0..3 => {
                let puts = (0..1 + tape.choose("puts", 8)).map(|_| run.new_put(false)).collect();
                run.put("clicks", puts).and_then(|()| run.settle())
            }
            3 => run.checkpoint(),
            4 => run.flight("clicks"),
            5 => {
                run.clock.advance(Duration::from_millis(tape.choose("ms", 3)));
                Ok(())
            }
            _ => run.reshard("clicks"),
        };
        outcome.map_err(|e| format!("operation {at}: {e}"))?;
        if run.is_dead() {
            run.crash(Crash::Power).map_err(|e| format!("crash after operation {at}: {e}"))?;
        }
        run.disk.set_torn_crash_at(u64::MAX);
    }
    run.settle()?;
    holds(&run)
}

#[test]
fn order_per_key_and_one_owner_of_every_key_hold_through_reshards_and_crashes() {
    let seeds = std::env::var("BRAIDLOG_STREAM_LINEAGES").ok().and_then(|s| s.parse().ok()).unwrap_or(120);
    for seed in 0..seeds {
        history(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    println!("figures: {seeds} lineages walked, no violation");
}

#[test]
fn positions_of_another_stream_or_shard_or_of_a_name_made_again_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let clicks = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
    let orders = engine.create_stream("orders", StreamOptions::new().shards(2)).unwrap();
    let entry =
        |hash: u128| PutRecordsEntry { partition_key: Some("k"), explicit_hash_key: Some(HashKey(hash)), data: b"d" };
    let put = clicks.put(entry(0), None).unwrap();
    orders.put(entry(0), None).unwrap();
    orders.put(entry(u128::MAX), None).unwrap();
    clicks.put(entry(u128::MAX), None).unwrap();
    let token = clicks.shard_iterator(id(0), StartingPosition::TrimHorizon).unwrap();
    let refused = |stream: &Stream, shard: u32| {
        for position in [
            StartingPosition::AtSequenceNumber(put.sequence_number),
            StartingPosition::AfterSequenceNumber(put.sequence_number),
        ] {
            let answer = stream.shard_iterator(id(shard), position);
            assert!(matches!(answer, Err(Error::InvalidArgument { .. })), "{answer:?}");
        }
    };
    refused(&clicks, 1);
    refused(&orders, 0);
    engine.delete_stream("clicks", false).unwrap();
    let again = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
    assert!(again.shards()[0].starting_sequence_number > put.sequence_number);
    again.put(entry(0), None).unwrap();
    refused(&again, 0);
    assert!(matches!(engine.get_records(&token, 1), Err(Error::ResourceNotFound { .. })));
    drop((clicks, orders, again));
    engine.close().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    refused(&engine.stream("clicks").unwrap(), 0);
    assert!(matches!(engine.get_records(&token, 1), Err(Error::ResourceNotFound { .. })));
}

/// Eight threads put while shards are split and merged, on a real disk.
#[test]
fn eight_threads_keep_their_order_through_reshards_on_a_real_disk() {
    const THREADS: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
    let calls: u64 = std::env::var("BRAIDLOG_STREAM_CALLS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let over = std::sync::atomic::AtomicU64::new(0);
    let reshards = std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (stream, over) = (&stream, &over);
            scope.spawn(move || {
                for call in 0..calls {
                    let data: Vec<Vec<u8>> =
                        (0..16u64).map(|n| [thread, call * 16 + n].map(u64::to_le_bytes).concat()).collect();
                    let keys: Vec<String> = (0..16u64).map(|n| format!("{thread} {}", n % 4)).collect();
                    let entries: Vec<PutRecordsEntry<'_>> =
                        keys.iter().zip(&data).map(|(key, data)| PutRecordsEntry::new(key, data)).collect();
                    let answer = stream.put_records(&entries).unwrap();
                    assert_eq!(answer.failed_record_count(), 0, "{answer:?}");
                }
                over.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        let mut reshards = 0u64;
        while over.load(std::sync::atomic::Ordering::SeqCst) < THREADS || reshards < 4 {
            let open = stream.open_shards();
            if open.len() < 6 {
                let shard = &open[reshards as usize % open.len()];
                let range = shard.hash_key_range;
                stream.split_shard(shard.shard_id, HashKey(range.start.0 + range.width() / 2)).unwrap();
            } else {
                let at = reshards as usize % (open.len() - 1);
                stream.merge_shards(open[at].shard_id, open[at + 1].shard_id).unwrap();
            }
            reshards += 1;
        }
        reshards
    });
    let read = walk(&engine, &stream, ShardFilter::AtTrimHorizon, StartingPosition::TrimHorizon).unwrap();
    assert_eq!(read.len() as u64, THREADS * calls * 16);
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (shard, record) in read {
        let number = u64::from_le_bytes(*record.data.last_chunk().unwrap());
        let before = last.insert(record.partition_key().unwrap().to_owned(), number);
        assert!(before.is_none_or(|before| before < number), "{number} after {before:?} in {shard}");
    }
    println!("{reshards} reshards under {THREADS} writers");
    engine.close().unwrap();
}
