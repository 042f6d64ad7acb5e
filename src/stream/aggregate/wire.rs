//! As much of protobuf's encoding as the aggregated record has, and the skipping of everything else.

use std::ops::Range;

/// Longest varint: 64 bits in groups of 7.
const VARINT_BYTES_MAX: usize = 10;
/// How deep groups may be nested: protobuf's own parsers stop at 100 too.
const GROUP_DEPTH_MAX: u32 = 100;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const GROUP: u64 = 3;
const GROUP_END: u64 = 4;
const FIXED32: u64 = 5;

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Length of a number as a varint.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Length of a field whose number is below 16.
pub(super) fn bytes_field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number as a field.
pub(super) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | VARINT);
    put_varint(out, value);
}

/// A field of `len` bytes begins; they are the caller's to append.
pub(super) fn put_len(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, u64::from(field) << 3 | BYTES);
    put_varint(out, len as u64);
}

/// Bytes as a field.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_len(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// The value of a field; bytes as their place in the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Range<usize>),
}

/// Walks the fields of a message that lies somewhere in `bytes`. Fields of other kinds than [`Value`] has are passed over.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// The fields of the message at `place`.
    pub(super) fn new(bytes: &'a [u8], place: Range<usize>) -> Fields<'a> {
        let bytes = bytes.get(..place.end).unwrap_or(bytes);
        Fields { bytes, at: place.start.min(bytes.len()) }
    }

    /// Where the next field begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next field.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value)>, Malformed> {
        while self.at < self.bytes.len() {
            let (field, kind) = self.tag()?;
            match kind {
                VARINT => return Ok(Some((field, Value::Number(self.varint()?)))),
                BYTES => return Ok(Some((field, Value::Bytes(self.take_bytes()?)))),
                _ => self.skip(field, kind, 0)?,
            }
        }
        Ok(None)
    }

    fn tag(&mut self) -> Result<(u32, u64), Malformed> {
        let tag = self.varint()?;
        let field = u32::try_from(tag).map_err(|_| Malformed)? >> 3;
        if field == 0 { Err(Malformed) } else { Ok((field, tag & 7)) }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut value = 0u64;
        for (i, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let group = u64::from(byte & 0x7f);
            let shifted = group << (7 * i);
            if shifted >> (7 * i) != group {
                return Err(Malformed);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take_bytes(&mut self) -> Result<Range<usize>, Malformed> {
        let len = self.varint()?;
        let left = self.bytes.len() - self.at;
        let len = usize::try_from(len).ok().filter(|len| *len <= left).ok_or(Malformed)?;
        self.at += len;
        Ok(self.at - len..self.at)
    }

    fn take(&mut self, len: usize) -> Result<(), Malformed> {
        if self.bytes.len() - self.at < len {
            return Err(Malformed);
        }
        self.at += len;
        Ok(())
    }

    fn skip(&mut self, field: u32, kind: u64, depth: u32) -> Result<(), Malformed> {
        match kind {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8),
            BYTES => self.take_bytes().map(drop),
            FIXED32 => self.take(4),
            GROUP if depth < GROUP_DEPTH_MAX => loop {
                match self.tag()? {
                    (end, GROUP_END) if end == field => return Ok(()),
                    (_, GROUP_END) => return Err(Malformed),
                    (inner, kind) => self.skip(inner, kind, depth + 1)?,
                }
            },
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Value)>, Malformed> {
        let mut fields = Fields::new(bytes, 0..bytes.len());
        let mut found = Vec::new();
        while let Some(field) = fields.next()? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn numbers_and_bytes_are_those_of_the_encoding_page() {
        // protobuf.dev, "Encoding": `a = 150` of field 1, and `b = "testing"` of field 2.
        assert_eq!(all(&[0x08, 0x96, 0x01]).unwrap(), [(1, Value::Number(150))]);
        let testing = [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67];
        assert_eq!(all(&testing).unwrap(), [(2, Value::Bytes(2..9))]);
        let mut out = Vec::new();
        put_number(&mut out, 1, 150);
        put_bytes(&mut out, 2, b"testing");
        assert_eq!(out, [&[0x08, 0x96, 0x01][..], &testing].concat());
    }

    #[test]
    fn unknown_kinds_of_fields_are_passed_over() {
        let fixed = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4];
        // Group 5 with a number, bytes and group 6 in it.
        let group = [0x2b, 0x08, 0x01, 0x12, 0x01, 0xff, 0x33, 0x34, 0x2c];
        let bytes = [&fixed[..], &group, &[0x18, 0x07]].concat();
        assert_eq!(all(&bytes).unwrap(), [(3, Value::Number(7))]);
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        let deep = [vec![0x0b; 200], vec![0x0c; 200]].concat();
        let cases: [&[u8]; 12] = [
            &[0x00, 0x00],                                                             // field 0
            &[0x08],                                                                   // no value
            &[0x08, 0x80],                                                             // an unfinished one
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],       // 65 bits
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], // 11 bytes
            &[0x88, 0x80, 0x80, 0x80, 0x10, 0x00],                                     // field beyond 29 bits
            &[0x12, 0x02, 0x61],                                                       // bytes beyond the end
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],       // so many that it overflows
            &[0x0e],                                                                   // kind 6
            &[0x0c],                                                                   // end of no group
            &[0x0b, 0x14],                                                             // end of another group
            &deep,
        ];
        for bytes in cases {
            assert_eq!(all(bytes), Err(Malformed), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written(value in any::<u64>(), shift in 0..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_number(&mut out, 1, value);
            prop_assert_eq!(out.len(), 1 + varint_len(value));
            prop_assert_eq!(all(&out).unwrap(), [(1, Value::Number(value))]);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = all(&bytes);
        }
    }
}
