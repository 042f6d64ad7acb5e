//! What the record of a table's log says. A record does not name its log's kind, but a change is so strict a form that nothing
//! else reads as one.

use super::fields::when;
use super::printer::preview;
use crate::format::agent::{self, FileRow};
use crate::format::change;
use crate::format::stream::{
    self, ConsumerRow, EngineRow, GroupRow, Intent, IntentRow, LeaseRow, Reshard, ReshardRow, ScalingRow, ShardRow,
    StreamRow,
};
use crate::stream::{HashKey, HashKeyRange};

/// A line for each row of a change of a table; none for any other bytes.
pub(super) fn rows(bytes: &[u8]) -> Vec<String> {
    let rows = change::decode(bytes).unwrap_or_default();
    rows.into_iter().map(|(key, value)| row(key, value)).collect()
}

fn row(key: &[u8], value: Option<&[u8]>) -> String {
    let name = name(key).unwrap_or_else(|| preview(key, 32));
    match value {
        None => format!("row {name}: removed"),
        Some(value) => format!("row {name}: {}", meaning(key, value).unwrap_or_else(|| preview(value, 64))),
    }
}

fn name(key: &[u8]) -> Option<String> {
    if let Ok((stream, device, inode)) = agent::parse_key(key) {
        return Some(format!("of the file with inode {inode} on device {device} for stream {stream:#x}"));
    }
    if let Ok((id, group, shard)) = stream::parse_lease_key(key) {
        return Some(format!("of the lease of shard {shard} of stream {id:#x} in group {}", preview(group, 128)));
    }
    let (kind, (id, rest)) = (key.first()?, stream::parse_key(key).unwrap_or_default());
    match kind {
        b'm' if key == stream::ENGINE_KEY => Some("of the engine".to_owned()),
        b's' if rest.is_empty() && key.len() == 9 => Some(format!("of stream {id:#x}")),
        b'h' => Some(format!("of shard {} of stream {id:#x}", u32::from_be_bytes(rest.try_into().ok()?))),
        b'u' if rest.is_empty() && key.len() == 9 => Some(format!("of the scaling of stream {id:#x}")),
        b'p' if rest.is_empty() && key.len() == 9 => Some(format!("of what is asked of the shards of stream {id:#x}")),
        b'i' if rest.is_empty() && key.len() == 9 => Some(format!("of what is left to do of stream {id:#x}")),
        b'i' if !rest.is_empty() => {
            Some(format!("of what is left to do of group {} of stream {id:#x}", preview(rest, 128)))
        }
        b'c' if !rest.is_empty() => Some(format!("of consumer {} of stream {id:#x}", preview(rest, 128))),
        b'g' if !rest.is_empty() => Some(format!("of consumer group {} of stream {id:#x}", preview(rest, 128))),
        _ => None,
    }
}

fn meaning(key: &[u8], value: &[u8]) -> Option<String> {
    match key.first()? {
        b'm' => {
            let row = EngineRow::decode(value).ok()?;
            Some(format!("highest second of birth {}, and the secret of its tokens", row.last_birth_s))
        }
        b's' => {
            let row = StreamRow::decode(value).ok()?;
            let (name, hours, next) = (preview(row.name.as_bytes(), 128), row.retention_hours, row.next_shard);
            let mode = if row.mode == 1 { "on-demand" } else { "provisioned" };
            let created = when(row.created_ms);
            Some(format!("{name}, {mode}, created {created}, {hours} h retention, the next shard is {next}"))
        }
        b'h' => {
            let row = ShardRow::decode(value).ok()?;
            let range = HashKeyRange { start: HashKey(row.start), end: HashKey(row.end) };
            let parents: Vec<String> = [row.parent, row.adjacent_parent].iter().flatten().map(u32::to_string).collect();
            let from = if parents.is_empty() { String::new() } else { format!(", from {}", parents.join(" and ")) };
            let closed = row.closed_ms.map_or("open".to_owned(), |ms| format!("closed {}", when(ms)));
            Some(format!("hash keys {range}{from}, opened {}, {closed}", when(row.opened_ms)))
        }
        b'c' => Some(format!("registered {}", when(ConsumerRow::decode(value).ok()?.created_ms))),
        b'g' => Some(format!("made {}", when(GroupRow::decode(value).ok()?.created_ms))),
        b'l' => {
            let row = LeaseRow::decode(value).ok()?;
            let state = if row.finished { "finished" } else { "open" };
            let sub = if row.next_sub == 0 { String::new() } else { format!(", user record {} in it", row.next_sub) };
            let owner = if row.owner.is_empty() { "nobody".to_owned() } else { preview(row.owner.as_bytes(), 128) };
            Some(format!("{state}, the next record is {}{sub}, counter {}, owned by {owner}", row.next, row.counter))
        }
        b'u' => {
            let row = ScalingRow::decode(value).ok()?;
            let times: Vec<String> = row.scaled_ms.iter().map(|ms| when(*ms)).collect();
            Some(format!("shard count updated {}", times.join(", ")))
        }
        b'p' => {
            let row = ReshardRow::decode(value).ok()?;
            let what = match row.what {
                Reshard::Split { shard, at } => format!("split {shard} at {}", HashKey(at)),
                Reshard::Merge { shard, adjacent } => format!("merge {shard} and {adjacent}"),
                Reshard::Scale { target } => format!("scale to {target}"),
            };
            Some(format!("{what}, asked for {}", when(row.asked_ms)))
        }
        b'i' => Some(match IntentRow::decode(value).ok()?.what {
            Intent::Delete => "delete it".to_owned(),
            Intent::Retain { from } => format!("its retention, from shard {from} on"),
        }),
        b'f' => {
            let row = FileRow::decode(value).ok()?;
            Some(format!("{}, read to byte {}, seen {}", preview(&row.path, 256), row.offset, when(row.seen_ms)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_by_what_they_mean_and_anything_else_is_not_taken_for_them() {
        let stream = StreamRow { id: 7, name: "clicks".into(), retention_hours: 24, ..StreamRow::default() };
        let (key, value) = (stream::stream_key(7), stream.encode());
        let bytes =
            change::encode([(&key[..], Some(&value[..])), (b"x", Some(b"y")), (&stream::shard_key(7, 3)[..], None)]);
        let lines = rows(&bytes);
        assert!(lines[0].starts_with("row of stream 0x7: \"clicks\", provisioned, ") && lines[0].contains("24 h"));
        assert_eq!(lines[1..], ["row \"x\": \"y\"", "row of shard 3 of stream 0x7: removed"]);
        let lines = rows(&crate::fuzzing::sample_lease_rows());
        assert!(
            lines[0].starts_with(
                "row of consumer group \"billing\" of stream 0x102030405060708: made 1700000003000 (2023-"
            )
        );
        let of = |shard: u32| format!("row of the lease of shard {shard} of stream 0x102030405060708 in group ");
        let (finished, owned) =
            ("\"billing\": finished, the next record is 40, ", "\"billing\": open, the next record is 77");
        assert!(lines[1].starts_with(&(of(0) + finished)) && lines[1].ends_with(", owned by nobody"), "{lines:?}");
        assert!(lines[2].starts_with(&(of(2) + owned)) && lines[2].contains("user record 3 in it"), "{lines:?}");
        assert!(lines[2].ends_with(", owned by \"worker-1\""), "{lines:?}");
        let gone = "row of consumer group \"old\" of stream 0x102030405060708: removed".to_owned();
        assert_eq!(lines[3..], [of(1) + "\"old\": removed", gone]);
        assert!(rows(b"a line of text").is_empty() && rows(&bytes[1..]).is_empty() && rows(b"").is_empty());
    }
}
