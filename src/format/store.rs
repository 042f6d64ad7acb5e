//! The `STORE` file: what a store is, written once when it is created.
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | magic "BRAIDLOG"                                |
//!     8 | version   | zero      | zero                    |
//!    16 | store id (16)                                   |
//!    32 | origin id (16)                                  |
//!    48 | created, ms since 1970                          |
//!    56 | bytes of a journal file                         |
//!    64 | zero                  | checksum of bytes 0..68 |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//! ```
//!
//! The *origin id* salts every checksum; a backup keeps it and gets a store id of its own.

use super::checksum::Salt;
use super::{Damage, Decoder, Encoder};
use crate::id::StoreId;
use crate::limits::{JOURNAL_FILE_BYTES_MAX, JOURNAL_FILE_BYTES_MIN};

/// Bytes of the file.
pub const BYTES: usize = 72;
const MAGIC: [u8; 8] = *b"BRAIDLOG";
const VERSION: u16 = 1;

/// What was fixed when the store was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFile {
    /// This store.
    pub id: StoreId,
    /// The store its files were first written in.
    pub origin: StoreId,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// Size of each journal file.
    pub journal_file_bytes: u64,
}

impl StoreFile {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES);
        out.put_bytes(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(0);
        out.put_bytes(&self.id.0);
        out.put_bytes(&self.origin.0);
        out.put_u64(self.created_ms);
        out.put_u64(self.journal_file_bytes);
        out.put_u32(0);
        out.put_u32(Salt::STORE.checksum(&out));
        out
    }

    /// Reads and verifies the file.
    pub fn decode(bytes: &[u8]) -> Result<StoreFile, Damage> {
        let mut d = Decoder::new(bytes);
        if d.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        let version = d.u16()?;
        let zeros = (d.u16()?, d.u32()?);
        let file = StoreFile {
            id: StoreId(d.array()?),
            origin: StoreId(d.array()?),
            created_ms: d.u64()?,
            journal_file_bytes: d.u64()?,
        };
        let zero = d.u32()?;
        if Salt::STORE.checksum(&bytes[..BYTES - 4]) != d.u32()? {
            return Err(Damage::Checksum);
        }
        d.end()?;
        if version != VERSION {
            return Err(Damage::TooNew(version));
        }
        if zeros != (0, 0) || zero != 0 {
            return Err(Damage::Reserved);
        }
        if !(JOURNAL_FILE_BYTES_MIN..=JOURNAL_FILE_BYTES_MAX).contains(&file.journal_file_bytes)
            || !file.journal_file_bytes.is_multiple_of(4096)
        {
            return Err(Damage::Bounds);
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_detected() {
        let file =
            StoreFile { id: StoreId([1; 16]), origin: StoreId([2; 16]), created_ms: 5, journal_file_bytes: 1 << 20 };
        let bytes = file.encode();
        assert_eq!(StoreFile::decode(&bytes), Ok(file));
        for bit in (0..bytes.len() * 8).step_by(crate::format::ONE_IN) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(StoreFile::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(StoreFile::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_newer_version_reads_as_too_new() {
        let mut bytes =
            StoreFile { id: StoreId([1; 16]), origin: StoreId([2; 16]), created_ms: 5, journal_file_bytes: 1 << 20 }
                .encode();
        bytes[8] = 2;
        let sum = Salt::STORE.checksum(&bytes[..BYTES - 4]);
        bytes[BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(StoreFile::decode(&bytes), Err(Damage::TooNew(2)));
    }
}
