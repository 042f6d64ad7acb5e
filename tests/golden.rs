//! Bytes on disk, version by version.
//!
//! `tests/golden/v1` holds a small store of format version 1, as [`braidlog::fuzzing::small_store`] makes it, and what it
//! reads as. Today's code must read it, and today's writer must make the same bytes. After a change of the format that was
//! meant, raise the version, keep this folder, and add one for the new version:
//! `BRAIDLOG_GOLDEN_WRITE=1 cargo test --test golden` writes the folder of the newest.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use braidlog::env::sim::SimDisk;
use braidlog::format::agent::{Digest, FIRST_RUN, FileRow};
use braidlog::format::checksum::Salt;
use braidlog::format::stream::{GroupRow, LeaseRow, parse_lease_key};
use braidlog::format::{self, Damage, batch, index, journal, manifest, segment, store};
use braidlog::fuzzing::{self, Tree};
use braidlog::{Error, ReadMode};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Journal files are mostly zeros: of each block up to its last other byte, behind its length.
fn packed(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(journal::FRAME_ALIGNMENT).fold(Vec::new(), |mut out, block| {
        let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        out.extend_from_slice(&(end as u16).to_le_bytes());
        out.extend_from_slice(&block[..end]);
        out
    })
}

fn unpacked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((end, rest)) = bytes.split_first_chunk() {
        let (block, rest) = rest.split_at(usize::from(u16::from_le_bytes(*end)));
        out.extend_from_slice(block);
        out.resize(out.len() + journal::FRAME_ALIGNMENT - block.len(), 0);
        bytes = rest;
    }
    out
}

/// Files without what varies: who holds the lock.
fn stripped(tree: &Tree) -> Tree {
    tree.iter().filter(|(path, _)| *path != "LOCK").map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
}

fn collect(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, tree);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            tree.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// The golden store.
fn golden() -> Tree {
    refresh();
    let mut tree = Tree::new();
    let root = folder().join("store");
    collect(&root, &root, &mut tree);
    for (path, bytes) in &mut tree {
        if path.ends_with(".jnl") {
            *bytes = unpacked(bytes);
        }
    }
    tree
}

fn in_words(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "-".to_owned(),
        Some([first, rest @ ..]) if rest.len() > 40 && rest.iter().all(|byte| byte == first) => {
            format!("{first:02x}x{}", rest.len() + 1)
        }
        Some(bytes) => bytes.iter().fold("0x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

/// What the store reads as, a line a record.
fn content(disk: &SimDisk, mode: ReadMode) -> String {
    let store = fuzzing::open(disk, mode).unwrap();
    let report = store.store().open_report();
    assert_eq!((&report.manifest_damage, &report.journal_damage, report.cut_bytes), (&None, &None, 0), "{report:?}");
    let mut text = String::new();
    for (name, (id, records, error)) in fuzzing::read_all(&store).unwrap() {
        assert_eq!(error, None, "log {name:?}");
        if store.store().log(&name).unwrap().is_closed() {
            writeln!(text, "{name} {id:#x} is closed").unwrap();
        }
        for record in records {
            let [key, attributes, data] =
                [record.key.as_deref(), record.attributes.as_deref(), Some(&record.data[..])].map(in_words);
            let (number, arrival) = (record.sequence_number, record.arrival_ms);
            writeln!(text, "{name} {id:#x} {number} {arrival} key {key} attributes {attributes} data {data}").unwrap();
        }
    }
    text
}

/// Writes the folder anew if asked to, once.
fn refresh() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("BRAIDLOG_GOLDEN_WRITE").is_none() {
            return;
        }
        let _ = fs::remove_dir_all(folder());
        let disk = fuzzing::small_store(false).unwrap();
        for (name, bytes) in stripped(&fuzzing::tree_of(&disk)) {
            let path = folder().join("store").join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, if name.ends_with(".jnl") { packed(&bytes) } else { bytes }).unwrap();
        }
        fs::write(folder().join("index.idx"), fuzzing::sample_index().0).unwrap();
        fs::write(folder().join("streams.change"), fuzzing::sample_rows().0).unwrap();
        fs::write(folder().join("leases.change"), fuzzing::sample_lease_rows()).unwrap();
        fs::write(folder().join("agent.change"), fuzzing::sample_agent_rows()).unwrap();
        fs::write(folder().join("iterator.txt"), fuzzing::sample_rows().1).unwrap();
        fs::write(folder().join("content.txt"), content(&disk, ReadMode::Map)).unwrap();
    });
}

#[test]
fn version_1_reads_as_it_was_written() {
    refresh();
    let expected = fs::read_to_string(folder().join("content.txt")).unwrap();
    for mode in [ReadMode::Map, ReadMode::Copy] {
        let found = content(&fuzzing::disk_of(&golden()), mode);
        for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "line {line}, {mode:?}");
        }
        assert_eq!(found.lines().count(), expected.lines().count());
    }
}

/// Takes the manifests out of a store's files, by number. Each is made of the bytes that today's writer makes of what it says.
fn take_manifests(tree: &mut Tree) -> BTreeMap<u64, (manifest::Root, Vec<u8>)> {
    let paths: Vec<String> = tree.keys().filter(|path| path.ends_with(".man")).cloned().collect();
    let take = |path: String| {
        let bytes = tree.remove(&path).unwrap();
        let header = manifest::ManifestHeader::parse(&bytes).unwrap();
        assert_eq!(header.encode(), bytes[..manifest::HEADER_BYTES], "{path}");
        let root = &bytes[header.root_position as usize..][..header.root_bytes as usize];
        let decoded = manifest::Root::decode(root).unwrap();
        assert_eq!(decoded.encode(), root, "{path}");
        for page in decoded.pages.iter().filter(|page| page.manifest == header.number) {
            let page = &bytes[page.position as usize..][..page.bytes as usize];
            assert_eq!(manifest::encode_page(&manifest::decode_page(page).unwrap()), page, "{path}");
        }
        (header.number, (decoded, bytes))
    };
    paths.into_iter().map(take).collect()
}

fn rows_of_newest(manifests: &BTreeMap<u64, (manifest::Root, Vec<u8>)>) -> Vec<manifest::LogRow> {
    let (root, _) = &manifests.last_key_value().unwrap().1;
    let page = |page: &manifest::PageRef| {
        let (_, bytes) = &manifests[&page.manifest];
        manifest::decode_page(&bytes[page.position as usize..][..page.bytes as usize]).unwrap()
    };
    root.pages.iter().flat_map(page).collect()
}

#[test]
fn todays_writer_makes_the_bytes_of_version_1() {
    refresh();
    let (mut made, mut golden) =
        (stripped(&fuzzing::tree_of(&fuzzing::small_store(false).unwrap())), stripped(&golden()));
    // How many manifests are written on the way to a state, and which is which, is not the format's.
    let made_rows = rows_of_newest(&take_manifests(&mut made));
    let golden_rows = rows_of_newest(&take_manifests(&mut golden));
    assert_eq!(made_rows, golden_rows);
    assert_eq!(made.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    for (path, bytes) in &made {
        let differs = bytes.iter().zip(&golden[path]).position(|(made, golden)| made != golden);
        assert_eq!(differs, None, "{path} differs from this byte on");
        assert_eq!(bytes.len(), golden[path].len(), "{path}");
    }
    assert_eq!(fuzzing::sample_index().0, fs::read(folder().join("index.idx")).unwrap());
}

#[test]
fn an_index_of_version_1_reads_as_it_was_written() {
    refresh();
    let bytes = fs::read(folder().join("index.idx")).unwrap();
    let index = fuzzing::decode_index(&bytes, fuzzing::sample_index().1).unwrap();
    assert_eq!((index.base, index.base_arrival_ms, index.covered, index.entries.len()), (100, 9_000, 70_000, 4));
    assert_eq!(index.entries[3], index::IndexEntry { number: 30, position: 64 + 3 * 16_384, arrival: 3 });
}

#[test]
fn rows_of_streams_of_version_1_are_what_todays_writer_makes() {
    refresh();
    let (change, iterator) = fuzzing::sample_rows();
    assert_eq!(change, fs::read(folder().join("streams.change")).unwrap());
    assert_eq!(iterator, fs::read_to_string(folder().join("iterator.txt")).unwrap());
    let rows = format::change::decode(&change).unwrap();
    let value = |key: &[u8]| rows.iter().find(|(k, _)| k.starts_with(key)).unwrap().1.unwrap();
    let stream = format::stream::StreamRow::decode(value(format::stream::STREAM_PREFIX)).unwrap();
    assert_eq!((&*stream.name, stream.next_shard, stream.tags.len()), ("clicks", 3, 2));
    let shard = format::stream::ShardRow::decode(value(format::stream::SHARD_PREFIX)).unwrap();
    assert_eq!((shard.end, shard.closed_ms), (u128::MAX, Some(1_700_000_009_000)));
    for prefix in [b"m", b"s", b"h", b"c", b"u", b"p"] {
        let mut newer = value(prefix).to_vec();
        newer[0] = 2;
        let too_new = Err(Damage::TooNew(2));
        match prefix {
            b"m" => assert_eq!(format::stream::EngineRow::decode(&newer).map(drop), too_new),
            b"s" => assert_eq!(format::stream::StreamRow::decode(&newer).map(drop), too_new),
            b"h" => assert_eq!(format::stream::ShardRow::decode(&newer).map(drop), too_new),
            b"u" => assert_eq!(format::stream::ScalingRow::decode(&newer).map(drop), too_new),
            b"p" => assert_eq!(format::stream::ReshardRow::decode(&newer).map(drop), too_new),
            _ => assert_eq!(format::stream::ConsumerRow::decode(&newer).map(drop), too_new),
        }
    }
}

#[test]
fn rows_of_groups_and_of_the_agent_of_version_1_are_what_todays_writer_makes() {
    refresh();
    let read = |name: &str| fs::read(folder().join(name)).unwrap();
    assert_eq!(fuzzing::sample_lease_rows(), read("leases.change"));
    assert_eq!(fuzzing::sample_agent_rows(), read("agent.change"));
    let too_new = |value: &[u8]| [&[2], &value[1..]].concat();
    let change = read("leases.change");
    let rows = format::change::decode(&change).unwrap();
    let group = rows[0].1.unwrap();
    assert_eq!(rows[0].0, format::stream::group_key(0x0102_0304_0506_0708, "billing"));
    assert_eq!(GroupRow::decode(group), Ok(GroupRow { created_ms: 1_700_000_003_000 }));
    assert_eq!(GroupRow::decode(&too_new(group)), Err(Damage::TooNew(2)));
    let lease = |at: usize| (parse_lease_key(rows[at].0).unwrap(), LeaseRow::decode(rows[at].1.unwrap()).unwrap());
    let ((stream, group, shard), finished) = lease(1);
    assert_eq!((stream, group, shard), (0x0102_0304_0506_0708, &b"billing"[..], 0));
    assert_eq!((finished.finished, finished.next, &*finished.owner), (true, 40, ""));
    let ((.., shard), owned) = lease(2);
    let fields = (owned.finished, owned.counter, owned.next, owned.next_sub, &*owned.owner);
    assert_eq!((shard, fields), (2, (false, (1_700_000_003_000 << 20) + 1, 77, 3, "worker-1")));
    assert_eq!(LeaseRow::decode(&too_new(rows[2].1.unwrap())), Err(Damage::TooNew(2)));
    assert_eq!((parse_lease_key(rows[3].0), rows[3].1), (Ok((stream, &b"old"[..], 1)), None));
    let change = read("agent.change");
    let rows = format::change::decode(&change).unwrap();
    let file = |at: usize| FileRow::decode(rows[at].1.unwrap()).unwrap();
    assert_eq!(rows[0].0, format::agent::file_key(stream, FIRST_RUN.0, FIRST_RUN.1));
    assert_eq!((file(0).offset, file(0).seen_ms), (0, 1_700_000_004_000));
    assert_eq!(format::agent::parse_key(rows[1].0), Ok((stream, 66_305, 1_234_567)));
    let followed = file(1);
    assert_eq!(
        (followed.offset, followed.seen_ms, &followed.path[..]),
        (4_096, 1_700_000_005_000, &b"/var/log/app.log"[..])
    );
    assert_eq!((followed.front, followed.back), (Digest::of(b"2026-11-20 first line"), Digest::of(b"last line\n")));
    assert_eq!(FileRow::decode(&too_new(rows[1].1.unwrap())), Err(Damage::TooNew(2)));
    assert_eq!(rows[2].1, None);
}

#[test]
fn the_worked_example_of_the_specification_is_what_the_encoder_makes() {
    let text = include_str!("../src/format/mod.rs");
    let lines = text.lines().skip_while(|line| !line.contains("# A worked example"));
    let mut example = BTreeMap::new();
    for line in lines.take_while(|line| !line.contains("# How to change")) {
        let line = line.trim_start_matches("//!").trim_start();
        let Some((at, rest)) = line.split_once("  ") else { continue };
        let Ok(at) = at.parse::<usize>() else { continue };
        let bytes = rest.split("  ").next().unwrap();
        for (i, byte) in bytes.split(' ').enumerate() {
            example.insert(at + i, u8::from_str_radix(byte, 16).unwrap());
        }
    }
    let encoded = fuzzing::example_batch();
    assert!(example.keys().copied().eq(0..encoded.len()), "a byte is missing or there twice: {:?}", example.keys());
    let example: Vec<u8> = example.into_values().collect();
    assert_eq!(in_words(Some(&example)), in_words(Some(&encoded)));
}

/// The golden store with bytes of one file changed, and all checksums right.
fn forged(suffix: &str, change: impl Fn(&mut Vec<u8>)) -> Tree {
    let mut tree = golden();
    let path = tree.keys().rfind(|path| path.ends_with(suffix)).unwrap().clone();
    change(tree.get_mut(&path).unwrap());
    fuzzing::fix_checksums(&mut tree);
    tree
}

fn bytes_of<'a>(tree: &'a Tree, suffix: &str) -> &'a [u8] {
    tree.iter().rfind(|(path, _)| path.ends_with(suffix)).unwrap().1
}

#[test]
fn a_newer_version_of_any_structure_reads_as_too_new_and_never_as_damaged() {
    let newer = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] = 2;
    assert_eq!(store::StoreFile::decode(bytes_of(&forged("STORE", newer(8)), "STORE")), Err(Damage::TooNew(2)));
    let tree = forged(".man", newer(4));
    assert_eq!(manifest::ManifestHeader::parse(bytes_of(&tree, ".man")), Err(Damage::TooNew(2)));
    let tree = forged(".seg", newer(4));
    assert_eq!(segment::SegmentHeader::parse(bytes_of(&tree, ".seg")), Err(Damage::TooNew(2)));
    let (mut index, origin) = fuzzing::sample_index();
    index[4] = 2;
    let mut tree = Tree::from([("STORE".to_owned(), vec![0; 72]), ("a.idx".to_owned(), index)]);
    tree.get_mut("STORE").unwrap()[32..48].copy_from_slice(&origin);
    fuzzing::fix_checksums(&mut tree);
    assert_eq!(fuzzing::decode_index(&tree["a.idx"], origin), Err(Damage::TooNew(2)));
    for at in [42, 44, 45] {
        let mut bytes = fuzzing::example_batch();
        bytes[at] = 2;
        let salt = Salt(0x1234_5678);
        let sum = salt.checksum(&bytes[4..batch::HEADER_BYTES]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        assert!(matches!(batch::decode(&bytes, salt), Err(Damage::TooNew(_))), "byte {at}");
    }
    let identity = store::StoreFile::decode(&golden()["STORE"]).unwrap();
    let frame = |bytes: &[u8]| bytes.chunks(4096).position(journal::looks_like_frame).unwrap() * 4096;
    let tree = forged(".jnl", |bytes| {
        let at = frame(bytes);
        bytes[at + 36] = 2;
    });
    let journals = bytes_of(&tree, ".jnl");
    let decoded = journal::decode(&journals[frame(journals)..], identity.origin);
    assert_eq!(decoded.unwrap_err(), Damage::TooNew(2));
}

#[test]
fn a_store_with_a_newer_file_is_too_new_to_open_or_to_read() {
    let too_new = |tree: &Tree| match fuzzing::open(&fuzzing::disk_of(tree), ReadMode::Map) {
        Err(Error::TooNew { path, version: 2 }) => path,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    };
    let newer = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] = 2;
    assert_eq!(too_new(&forged("STORE", newer(8))), "STORE");
    assert!(too_new(&forged(".man", newer(4))).starts_with("manifest/"));
    // A batch in a segment of a durable log: what comes before it is read, then there is a typed error.
    let mut found = 0;
    for path in golden().keys().filter(|path| path.ends_with(".seg")) {
        let tree = forged(path, newer(64 + 42));
        let store = fuzzing::open(&fuzzing::disk_of(&tree), ReadMode::Map).unwrap();
        for (_, (_, _, error)) in fuzzing::read_all(&store).unwrap() {
            match error {
                None => {}
                Some(Error::TooNew { version: 2, path: named }) => {
                    assert_eq!(named, *path);
                    found += 1;
                }
                Some(other) => panic!("{path}: {other}"),
            }
        }
    }
    assert!(found > 0);
}

/// Frames of a newer version are not a torn tail: they were acknowledged.
#[test]
fn a_journal_with_a_newer_frame_is_too_new_to_open() {
    let tree = forged(".jnl", |bytes| {
        let last = bytes.chunks(4096).rposition(journal::looks_like_frame).unwrap() * 4096;
        bytes[last + 36] = 2;
    });
    let opened = fuzzing::open(&fuzzing::disk_of(&tree), ReadMode::Map).map(drop);
    assert!(matches!(opened, Err(Error::TooNew { version: 2, .. })), "{opened:?}");
}
