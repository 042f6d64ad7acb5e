//! Writes the seed corpora: `cargo run --example seeds` in this folder.
//!
//! The first byte of an input chooses between plain bytes (even) and edits of a valid store (odd), 2 puts checksums right, and
//! 4 chooses another base or way of reading; see `src/fuzzing.rs` of the crate.

use std::fs;
use std::io;
use std::path::Path;

use braidlog::fuzzing;

fn put(target: &str, name: &str, flags: u8, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), [&[flags][..], bytes].concat())
}

/// Edits of each kind, at a few places: see `edit` in `src/fuzzing.rs`.
fn edits() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![("nothing".to_owned(), Vec::new())];
    for op in 0..16u8 {
        for (file, at) in [(1, 8u16), (2, 64)] {
            let [low, high] = at.to_le_bytes();
            let edit = [op, file, low, high, op.wrapping_mul(37), 1, 2, 3, 4];
            all.push((format!("op{op:02}-file{file}-at{at}"), edit.to_vec()));
        }
    }
    all
}

fn main() -> io::Result<()> {
    let tree = fuzzing::base_tree(false);
    let first_blocks = |bytes: &[u8]| bytes[..bytes.len().min(2 * 4096)].to_vec();
    for (i, (path, bytes)) in tree.iter().enumerate() {
        let name = format!("file{i}");
        match path.rsplit('.').next() {
            Some("man") => {
                put("manifest", &name, 0, bytes)?;
                let root = usize::from(u16::from_le_bytes([bytes[32], bytes[33]]));
                put("manifest", &format!("root{i}"), 0, &bytes[root..])?;
                put("manifest", &format!("page{i}"), 0, &bytes[64..root])?;
            }
            Some("seg") => {
                let short = &bytes[..bytes.len().min(3_000)];
                put("segment_scan", &name, 0, short)?;
                put("headers", &name, 0, &bytes[..64])?;
            }
            Some("jnl") => put("journal_replay", &name, 0, &first_blocks(bytes))?,
            _ if path == "STORE" => put("headers", &name, 0, bytes)?,
            _ => {}
        }
    }
    put("batch_decode", "example", 0, &fuzzing::example_batch())?;
    let (change, token) = fuzzing::sample_rows();
    put("stream_rows", "sample", 0, &change)?;
    put("stream_tokens", "sample", 0, token.as_bytes())?;
    for (name, text) in [
        ("number", "49659172051923289486933182073108299949081726149023760418"),
        ("hash-key", "340282366920938463463374607431768211455"),
        ("shard", "shardId-000000000012"),
    ] {
        put("stream_tokens", name, 0, text.as_bytes())?;
    }
    put("stream_tokens", "forged", 1, &[7; 40])?;
    put("index", "sample", 0, &fuzzing::sample_index().0)?;
    put("deaggregate", "example", 0, &fuzzing::example_aggregated())?;
    for (target, name, input) in fuzzing::wire_seeds() {
        put(target, &name, input[0], &input[1..])?;
    }
    for (name, edit) in edits() {
        for flags in [1, 3] {
            let name = format!("{name}-{flags}");
            for target in ["segment_scan", "batch_decode", "journal_replay", "manifest", "index", "headers", "stream_rows"] {
                put(target, &name, flags, &edit)?;
            }
        }
        for flags in [1, 3, 5, 7] {
            put("deaggregate", &format!("{name}-{flags}"), flags, &edit)?;
        }
        for flags in [0, 9, 5, 14] {
            put("whole_store_open", &format!("{name}-{flags}"), flags, &edit)?;
        }
    }
    Ok(())
}
