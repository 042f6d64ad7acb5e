//! Changes of a table: the records of the log that a table is replayed from.
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | ver | kind| zero      | number of rows          |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     then each row:
//!     0 | op  | zero| key length| value length            |
//!     8 | key, value                                      |
//! ```
//!
//! `op` is 1 to put the value under the key and 2 to remove the key, with a value length of 0. A change is one record, so all
//! of its rows are applied or none. Its checksum is the batch's it lies in.
//!
//! A table's state is what its changes leave when they are applied in the order of the log from its trim horizon on.
//! Compaction appends every live row once more and then trims what came before.

use super::{Damage, Decoder, Encoder};

const VERSION: u8 = 1;
const KIND: u8 = 1;
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const ROW_BYTES: usize = 8;

/// Bytes before the rows.
pub const HEADER_BYTES: usize = 8;
/// Longest key of a row, in bytes.
pub const ROW_KEY_BYTES_MAX: usize = u16::MAX as usize;

/// One row of a change: the key, and the value it gets, or `None` to remove it.
pub type RowRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// What a row takes.
pub fn row_len(key: &[u8], value: Option<&[u8]>) -> usize {
    ROW_BYTES + key.len() + value.map_or(0, <[u8]>::len)
}

/// Encodes one change. Keys are at most [`ROW_KEY_BYTES_MAX`] long, values fit 32 bits.
pub fn encode<'a>(rows: impl IntoIterator<Item = RowRef<'a>>) -> Vec<u8> {
    let mut out = vec![VERSION, KIND, 0, 0, 0, 0, 0, 0];
    let mut count = 0u32;
    for (key, value) in rows {
        count += 1;
        out.put_u8(if value.is_some() { PUT } else { REMOVE });
        out.put_u8(0);
        out.put_u16(key.len() as u16);
        out.put_u32(value.map_or(0, <[u8]>::len) as u32);
        out.put_bytes(key);
        out.put_bytes(value.unwrap_or_default());
    }
    out[4..8].copy_from_slice(&count.to_le_bytes());
    out
}

/// Reads one change whose bytes were found whole.
///
/// # Errors
/// [`Damage`]: `Short`, `Bounds`, `Reserved`, `TooNew`.
pub fn decode(bytes: &[u8]) -> Result<Vec<RowRef<'_>>, Damage> {
    let mut d = Decoder::new(bytes);
    let (version, kind, zero) = (d.u8()?, d.u8()?, d.u16()?);
    if version != VERSION {
        return Err(if version == 0 { Damage::Bounds } else { Damage::TooNew(version.into()) });
    }
    if kind != KIND {
        return Err(Damage::Bounds);
    }
    if zero != 0 {
        return Err(Damage::Reserved);
    }
    let count = d.count(ROW_BYTES)?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        let (op, zero, key, value) = (d.u8()?, d.u8()?, d.u16()?, d.u32()?);
        if zero != 0 {
            return Err(Damage::Reserved);
        }
        let key = d.bytes(key.into())?;
        rows.push(match (op, value) {
            (PUT, length) => (key, Some(d.bytes(length as usize)?)),
            (REMOVE, 0) => (key, None),
            _ => return Err(Damage::Bounds),
        });
    }
    d.end()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_every_truncation_is_an_error() {
        let rows: [RowRef<'_>; 3] = [(b"a", Some(b"1")), (b"bb", None), (b"", Some(b""))];
        let bytes = encode(rows);
        assert_eq!(decode(&bytes).unwrap(), rows);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        assert_eq!(decode(&[2, 1, 0, 0, 0, 0, 0, 0]), Err(Damage::TooNew(2)));
        assert_eq!(decode(&[1, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]), Err(Damage::Bounds));
    }
}
