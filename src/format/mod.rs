//! Every byte Braidlog persists. Pure: no file, no clock, no randomness.
//!
//! All integers are little-endian. Every structure has a magic number or kind, a version and a checksum; every length is
//! bounded before anything is allocated for it. A file from a newer version reads as *too new*, never as damaged.
//!
//! | file | what | module |
//! |---|---|---|
//! | `STORE` | identity and what was fixed at creation | [`store`] |
//! | `journal/<n>.jnl` | frames: one turn of appends to any number of logs each | [`journal`] |
//! | `segments/<xx>/<id>.seg` | a header, then batches of records | [`segment`], [`batch`] |
//! | `segments/<xx>/<id>.idx` | the sparse index of a sealed segment; a cache | [`index`] |
//! | records of the engine's own logs | changes of tables; the rows of streams, shards, consumers, groups and their leases, followed files | [`change`], [`stream`], [`agent`] |
//! | `manifest/<n>.man` | what exists as of one frame: pages of log rows and a root | [`manifest`] |
//!
//! # Checksums and salt
//!
//! Checksums are CRC-32 (IEEE, `crc32fast`) started from a salt, so that bytes which are valid in one place are not in
//! another: the salt mixes the store's origin id with the log's id for batches, with the generation for journal frames,
//! and with a constant per kind of file for the rest. See [`checksum`].
//!
//! # A worked example
//!
//! The batch that holds one record with data `hi`, key `k`, sequence number 7, arrived at 1,000 ms, in frame 3, under the
//! salt 0x12345678, is these 64 bytes (`tests/golden.rs` holds us to it):
//!
//! ```text
//!  0  0d 95 fd 42              header checksum
//!  4  a4 fd 56 39              records checksum
//!  8  0b 00 00 00              11 bytes of records follow
//! 12  01 00 00 00              1 record
//! 16  07 00 00 00 00 00 00 00  first sequence number
//! 24  03 00 00 00 00 00 00 00  frame
//! 32  e8 03 00 00 00 00        arrival of the first record: 1,000 ms
//! 38  00 00                    arrival of the last record: + 0 ms
//! 40  42 62                    magic "Bb"
//! 42  01                       version 1
//! 43  01                       kind: records
//! 44  00 00                    not compressed, not encrypted
//! 46  00 00                    must be zero
//! 48  02 00 00                 2 bytes of data
//! 51  01                       flags: has a key
//! 52  01 00                    1 byte of key
//! 54  00 00                    arrived 0 ms after the batch's first
//! 56  6b 68 69                 key, data
//! 59  00 00 00 00 00           padding to 8 bytes, not checksummed: a flipped bit there is harmless
//! ```
//!
//! # How to change a structure
//!
//! Raise its version constant **and the manifest's**, keep decoding the version before, add a golden file for the new one and
//! keep the old. Opening writes a manifest before anything else, and reads one before anything else: so an older Braidlog
//! refuses the store as too new before it meets a journal frame, batch or segment that it would have to take for damage.
//! Fields that must be zero today are refused when they are not, so they can be given a meaning later.

pub mod agent;
pub mod batch;
pub mod change;
pub mod checksum;
pub mod index;
pub mod journal;
pub mod manifest;
pub mod segment;
pub mod store;
pub mod stream;

mod decode;

pub use decode::{COUNTER_END, Decoder, Encoder};

/// Why bytes on disk are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Fewer bytes than the structure needs.
    Short,
    /// The magic number is another one.
    Magic,
    /// The bytes don't match their checksum.
    Checksum,
    /// A length, count or kind lies outside its bounds.
    Bounds,
    /// A valid structure that belongs somewhere else: another store, log, segment or place in the order.
    Misplaced,
    /// A byte that must be zero is not.
    Reserved,
    /// Written by a version of Braidlog that this one doesn't know. Not damage: upgrade.
    TooNew(u16),
    /// Something that must exist doesn't.
    Missing,
    /// The device could not read it back.
    Unreadable,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Short => f.write_str("the bytes end too early"),
            Damage::Magic => f.write_str("the magic number is wrong"),
            Damage::Checksum => f.write_str("the checksum doesn't match"),
            Damage::Bounds => f.write_str("a length or kind is out of bounds"),
            Damage::Misplaced => f.write_str("valid bytes that belong somewhere else"),
            Damage::Reserved => f.write_str("a reserved byte is not zero"),
            Damage::TooNew(version) => write!(f, "written by a newer Braidlog (format version {version})"),
            Damage::Missing => f.write_str("it is missing"),
            Damage::Unreadable => f.write_str("the device can't read it"),
        }
    }
}

/// Where the first byte that is not zero stands: what was never written is zeros, gigabytes of it.
pub(crate) fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    // Word by word; a loop over bytes is several times as slow.
    let (words, _) = bytes.as_chunks::<16>();
    let zeros = words.iter().take_while(|word| u128::from_ne_bytes(**word) == 0).count() * 16;
    bytes[zeros..].iter().position(|byte| *byte != 0).map(|at| zeros + at)
}

/// Tests that flip every bit flip one in so many where an interpreter runs them, which takes a minute for a millisecond's work.
#[cfg(test)]
const ONE_IN: usize = if cfg!(miri) { 37 } else { 1 };

#[cfg(test)]
mod tests {
    use super::first_nonzero;

    #[test]
    fn the_first_byte_that_is_not_zero_is_found_wherever_it_stands() {
        for len in 0..70 {
            let mut bytes = vec![0; len];
            assert_eq!(first_nonzero(&bytes), None);
            for at in (0..len).rev() {
                bytes[at] = 1;
                assert_eq!(first_nonzero(&bytes), Some(at), "of {len}");
            }
        }
    }
}
