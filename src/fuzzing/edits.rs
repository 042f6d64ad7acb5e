//! Edits to the files of a small store, as a fuzzer's bytes describe them.

use super::Tree;
use super::checksums::put_u32;

/// Bytes of a fuzzer, taken off the front; zeros once they are used up.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n.min(self.0.len()));
        self.0 = tail;
        head
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.u8()))
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from(self.u8()) | u16::from(self.u8()) << 8
    }
}

const EDITS_MAX: usize = 64;
const FILE_BYTES_MAX: usize = 256 << 10;

/// Numbers at which something may give way.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    63,
    4095,
    4096,
    u16::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 48) - 1,
    1 << 62,
    i64::MAX as u64,
    u64::MAX - (1 << 20),
    u64::MAX - 1,
    u64::MAX,
];

/// A path whose last part may be another one that reads as a number too.
fn misspelt(path: &str, how: u8) -> String {
    let Some((folder, name)) = path.rsplit_once('/') else { return path.to_owned() };
    let Some((stem, suffix)) = name.split_once('.') else { return path.to_owned() };
    let stem = match how {
        1 => stem.trim_start_matches('0').to_owned(),
        2 => stem.to_uppercase(),
        3 => "f".repeat(16),
        _ => stem.to_owned(),
    };
    format!("{folder}/{stem}.{suffix}")
}

/// Makes the edits that `input` describes to some files of a tree.
pub(super) fn edit(tree: &mut Tree, input: &mut Input<'_>, suffix: &str) {
    let paths: Vec<String> = tree.keys().filter(|path| path.ends_with(suffix)).cloned().collect();
    if paths.is_empty() {
        return;
    }
    for _ in 0..EDITS_MAX {
        if input.0.is_empty() {
            return;
        }
        let op = input.u8();
        let path = &paths[usize::from(input.u8()) % paths.len()];
        let other = &paths[usize::from(op >> 4) % paths.len()];
        let at = usize::from(input.u16());
        let source = tree.get(other).cloned().unwrap_or_default();
        let Some(bytes) = tree.get_mut(path) else { continue };
        let at = if bytes.is_empty() { 0 } else { at % bytes.len() };
        match op & 15 {
            0..=3 => {
                let n = 1 + usize::from(input.u8() % 32);
                for (place, new) in bytes[at..].iter_mut().zip(input.bytes(n)) {
                    *place = *new;
                }
            }
            4 => {
                if let Some(place) = bytes.get_mut(at) {
                    *place ^= 1 << (input.u8() & 7);
                }
            }
            5 => bytes.truncate(at),
            6 => {
                let n = 1 + usize::from(input.u16()) % 8192;
                bytes.resize((bytes.len() + n).min(FILE_BYTES_MAX), input.u8());
            }
            7 => bytes[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
            8 | 9 => {
                // A piece of another file, or of this one.
                let (from, n) = (usize::from(input.u16()), usize::from(input.u16()));
                let from = from.min(source.len());
                let piece = &source[from..(from + n).min(source.len())];
                let n = piece.len().min(FILE_BYTES_MAX - at.min(FILE_BYTES_MAX));
                if bytes.len() < at + n {
                    bytes.resize(at + n, 0);
                }
                bytes[at..at + n].copy_from_slice(&piece[..n]);
            }
            10 => drop(tree.remove(path)),
            11 => {
                // The same file once more, under a name close by: one that we give, or one that only reads like it.
                let how = input.u8();
                let stem = 2 + usize::from(how % 6);
                if let Some(dot) = path.rfind('.').filter(|dot| *dot > stem) {
                    let mut name = path.clone().into_bytes();
                    name[dot - 1 - stem % 3] = b"0123456789abcdef"[usize::from(input.u8() % 16)];
                    let copy = bytes.clone();
                    if let Ok(name) = String::from_utf8(name) {
                        tree.insert(misspelt(&name, how / 6 % 4), copy);
                    }
                }
            }
            12 | 13 => {
                let value = EDGES[usize::from(input.u8() % 16)];
                if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
                    *place = value.to_le_bytes();
                }
            }
            _ => {
                let value = EDGES[usize::from(input.u8() % 16)] as u32;
                put_u32(bytes, at, value);
            }
        }
    }
}
