//! Bounded reading and writing of little-endian fields.

use super::Damage;

/// Where numbers that only ever rise by one, ids, positions and sums of bytes end. No store gets there (at a thousand million a
/// second it takes a century), so a bigger one is damage; and everything that adds two of them may do so without a thought.
pub const COUNTER_END: u64 = 1 << 62;

/// Reads fields off the front of a slice; never beyond its end.
#[derive(Clone)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { rest: bytes }
    }

    /// What has not been read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        if n > self.rest.len() {
            return Err(Damage::Short);
        }
        let (head, tail) = self.rest.split_at(n);
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Damage> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes that hold a number below [`COUNTER_END`].
    pub fn counter(&mut self) -> Result<u64, Damage> {
        self.u64().and_then(|n| if n < COUNTER_END { Ok(n) } else { Err(Damage::Bounds) })
    }

    /// A count of things that take at least `each` bytes: refused when so many can't follow, so that a damaged count never
    /// sizes an allocation.
    pub fn count(&mut self, each: usize) -> Result<usize, Damage> {
        let n = self.u32()? as usize;
        if n > self.rest.len() / each.max(1) { Err(Damage::Bounds) } else { Ok(n) }
    }

    /// Text with a one-byte length.
    pub fn text(&mut self) -> Result<&'a str, Damage> {
        let n = self.u8()? as usize;
        std::str::from_utf8(self.bytes(n)?).map_err(|_| Damage::Bounds)
    }

    /// Refuses bytes left over.
    pub fn end(&self) -> Result<(), Damage> {
        if self.rest.is_empty() { Ok(()) } else { Err(Damage::Bounds) }
    }
}

/// Appends fields to a vector: the mirror of [`Decoder`].
pub trait Encoder {
    /// One byte.
    fn put_u8(&mut self, v: u8);
    /// Two bytes.
    fn put_u16(&mut self, v: u16);
    /// Four bytes.
    fn put_u32(&mut self, v: u32);
    /// Eight bytes.
    fn put_u64(&mut self, v: u64);
    /// Bytes as they are.
    fn put_bytes(&mut self, v: &[u8]);
    /// Text with a one-byte length; the caller keeps it at or below 255 bytes.
    fn put_text(&mut self, v: &str);
}

impl Encoder for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }
    fn put_u16(&mut self, v: u16) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_u64(&mut self, v: u64) {
        self.extend_from_slice(&v.to_le_bytes());
    }
    fn put_bytes(&mut self, v: &[u8]) {
        self.extend_from_slice(v);
    }
    fn put_text(&mut self, v: &str) {
        debug_assert!(v.len() <= 255);
        self.put_u8(v.len() as u8);
        self.put_bytes(v.as_bytes());
    }
}
