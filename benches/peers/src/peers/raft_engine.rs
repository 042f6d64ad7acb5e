//! `raft-engine`: TiKV's log of many Raft groups in one stream of files.
//!
//! A durable write carries `sync = true`, which ends in `fdatasync`; writers that meet in the queue
//! share one. `Engine::sync` is not used: it writes an empty batch, and an empty batch returns
//! before it reaches the sync.
//!
//! Every writer has a Raft group of its own. The caller gives each entry its index, and a group's
//! indexes must arrive in order, so several threads cannot write one group at once.

use std::path::Path;
use std::sync::Mutex;

use protobuf::{CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields};
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Peer, lock};
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, WRITERS, Workload};

/// Entries fetched by one call of the scan.
const FETCH: u64 = 1000;

pub struct RaftEngine {
    engine: Engine,
    /// By writer, which is also the number of its Raft group.
    groups: Vec<Mutex<Group>>,
}

#[derive(Default)]
struct Group {
    id: u64,
    next_index: u64,
    /// Kept for its buffers.
    batch: LogBatch,
}

impl Peer for RaftEngine {
    const NAME: &'static str = "raft-engine";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn note(workload: Workload) -> Option<&'static str> {
        (workload == Workload::SyncEach64)
            .then_some("raft-engine: one Raft group a writer, all in one engine and one log file")
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        Ok(Self {
            engine: Engine::open(config(dir)?)?,
            groups: (0..WRITERS as u64).map(|id| Mutex::new(Group { id, ..Group::default() })).collect(),
        })
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        lock(&self.groups[0]).write(&self.engine, &[record], false)
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        lock(&self.groups[0]).write(&self.engine, records, false)
    }

    fn append_then_sync(&self, writer: usize, records: &[&[u8]]) -> Result<()> {
        let mut group = lock(&self.groups[writer]);
        let last = records.len() - 1;
        for (index, record) in records.iter().enumerate() {
            group.write(&self.engine, &[record], index == last)?;
        }
        Ok(())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let engine = Engine::open(config(dir)?)?;
        scan.time(|tally| {
            let mut entries = Vec::new();
            for group in engine.raft_groups() {
                let (Some(first), Some(last)) = (engine.first_index(group), engine.last_index(group)) else {
                    continue;
                };
                let mut next = first;
                while next <= last {
                    let end = (next + FETCH).min(last + 1);
                    entries.clear();
                    engine.fetch_entries_to::<Entry>(group, next, end, None, &mut entries)?;
                    for entry in &entries {
                        tally.add(&entry.data);
                    }
                    next = end;
                }
            }
            Ok(())
        })
    }
}

fn config(dir: &Path) -> Result<Config> {
    Ok(Config {
        dir: dir.to_str().ok_or("the directory's name is not UTF-8")?.to_owned(),
        // Off, as with every peer: the records do not compress.
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    })
}

impl Group {
    fn write(&mut self, engine: &Engine, records: &[&[u8]], sync: bool) -> Result<()> {
        let entries: Vec<Entry> = (self.next_index..)
            .zip(records)
            .map(|(index, record)| Entry { index, data: record.to_vec(), ..Entry::default() })
            .collect();
        self.batch.add_entries::<Entry>(self.id, &entries)?;
        engine.write(&mut self.batch, sync)?;
        self.next_index += records.len() as u64;
        Ok(())
    }
}

/// A Raft entry reduced to index and data. The engine takes protobuf messages only, and this one is
/// too small to bring in a compiler for its two fields:
///
/// ```text
/// message Entry { uint64 index = 1; bytes data = 2; }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    index: u64,
    data: Vec<u8>,
    unknown: UnknownFields,
    size: protobuf::CachedSize,
}

impl MessageExt for Entry {
    type Entry = Self;

    fn index(entry: &Self) -> u64 {
        entry.index
    }
}

impl protobuf::Clear for Entry {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for Entry {
    fn descriptor(&self) -> &'static protobuf::reflect::MessageDescriptor {
        Self::descriptor_static()
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, input: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !input.eof()? {
            let (field, wire_type) = input.read_tag_unpack()?;
            match field {
                1 => self.index = input.read_uint64()?,
                2 => self.data = input.read_bytes()?,
                _ => {
                    let value = input.read_unknown(wire_type)?;
                    self.unknown.add_value(field, value);
                }
            }
        }
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, output: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        output.write_uint64(1, self.index)?;
        output.write_bytes(2, &self.data)?;
        output.write_unknown_fields(&self.unknown)
    }

    fn compute_size(&self) -> u32 {
        let index = protobuf::rt::value_size(1, self.index, protobuf::wire_format::WireTypeVarint);
        let data = protobuf::rt::bytes_size(2, &self.data);
        let size = index + data + protobuf::rt::unknown_fields_size(&self.unknown);
        self.size.set(size);
        size
    }

    fn get_cached_size(&self) -> u32 {
        self.size.get()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn new() -> Self {
        Self::default()
    }

    fn default_instance() -> &'static Self {
        static DEFAULT: std::sync::OnceLock<Entry> = std::sync::OnceLock::new();
        DEFAULT.get_or_init(Self::default)
    }
}
