//! How far `braidlog agent` has read the files that it follows: rows of the table `braidlog/agent`, in [`super::change`] records.
//!
//! ```text
//! key    'f' | stream id (8, big-endian) | device (8, big-endian) | inode (8, big-endian)
//! value  version (1) | offset (8) | front: length (2), MD5 (16) | back: length (2), MD5 (16) | seen, ms (8) | path (2 + n)
//! ```
//!
//! `front` is of the first bytes of the file, `back` of those right before `offset`. They tell whether a file is still the
//! one that was read: an inode is used again for another file, and a file may be cut off and written anew. A digest of no bytes
//! is of a file that could not be looked into. The row of device 0 and inode 0, which no file has, says that the agent has run for
//! the stream, and in `seen` when it first did.

use super::{Damage, Decoder, Encoder};

const VERSION: u8 = 1;
/// Device and inode of the row that says that the agent has run.
pub const FIRST_RUN: (u64, u64) = (0, 0);
const FILE_PREFIX: &[u8] = b"f";

/// Which bytes were somewhere: their number and their MD5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub len: u16,
    /// Their MD5.
    pub md5: [u8; 16],
}

/// How far one file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Everything before this position in the file is in the stream.
    pub offset: u64,
    /// Of the file's first bytes.
    pub front: Digest,
    /// Of the bytes right before `offset`.
    pub back: Digest,
    /// When the file was last known to be there, in milliseconds since 1970.
    pub seen_ms: u64,
    /// Its last known path.
    pub path: Vec<u8>,
}

/// Keys of the rows of one stream begin so.
pub fn stream_prefix(stream: u64) -> Vec<u8> {
    [FILE_PREFIX, &stream.to_be_bytes()].concat()
}

/// Key of a [`FileRow`].
pub fn file_key(stream: u64, device: u64, inode: u64) -> Vec<u8> {
    [&stream_prefix(stream)[..], &device.to_be_bytes(), &inode.to_be_bytes()].concat()
}

/// Stream, device and inode of a key.
///
/// # Errors
/// [`Damage::Short`], [`Damage::Bounds`].
pub fn parse_key(key: &[u8]) -> Result<(u64, u64, u64), Damage> {
    let mut rest = key.strip_prefix(FILE_PREFIX).ok_or(Damage::Bounds)?;
    let mut next = || {
        let (number, after) = rest.split_first_chunk().ok_or(Damage::Short)?;
        rest = after;
        Ok(u64::from_be_bytes(*number))
    };
    let parts = (next()?, next()?, next()?);
    if rest.is_empty() { Ok(parts) } else { Err(Damage::Bounds) }
}

impl Digest {
    /// Of these bytes, of which there are at most 65,535.
    pub fn of(bytes: &[u8]) -> Digest {
        debug_assert!(bytes.len() <= usize::from(u16::MAX));
        Digest { len: bytes.len() as u16, md5: md5::compute(bytes).0 }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.len);
        out.put_bytes(&self.md5);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Digest, Damage> {
        Ok(Digest { len: d.u16()?, md5: d.array()? })
    }
}

impl FileRow {
    /// The row's bytes. A path of more than 65,535 bytes, which no system has, is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.offset);
        self.front.encode(&mut out);
        self.back.encode(&mut out);
        out.put_u64(self.seen_ms);
        let path = &self.path[..self.path.len().min(usize::from(u16::MAX))];
        out.put_u16(path.len() as u16);
        out.put_bytes(path);
        out
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn decode(bytes: &[u8]) -> Result<FileRow, Damage> {
        let mut d = Decoder::new(bytes);
        match d.u8()? {
            VERSION => {}
            0 => return Err(Damage::Bounds),
            version => return Err(Damage::TooNew(version.into())),
        }
        let (offset, front, back) = (d.u64()?, Digest::decode(&mut d)?, Digest::decode(&mut d)?);
        let (seen_ms, path) = (d.u64()?, d.u16()?);
        let path = d.bytes(path.into())?.to_vec();
        d.end()?;
        if u64::from(front.len) > offset || u64::from(back.len) > offset {
            return Err(Damage::Bounds);
        }
        Ok(FileRow { offset, front, back, seen_ms, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_and_every_truncation_is_an_error() {
        let (front, back) = (Digest::of(b"begin"), Digest::of(b"end"));
        let row = FileRow { offset: 8, front, back, seen_ms: 5, path: b"/var/log/a".to_vec() };
        let bytes = row.encode();
        assert_eq!(FileRow::decode(&bytes).unwrap(), row);
        for len in 0..bytes.len() {
            assert!(FileRow::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(FileRow::decode(&newer), Err(Damage::TooNew(2)));
        let key = file_key(1, 2, 3);
        assert_eq!(parse_key(&key), Ok((1, 2, 3)));
        assert!(key.starts_with(&stream_prefix(1)));
        assert!((0..key.len()).all(|len| parse_key(&key[..len]).is_err()));
    }
}
