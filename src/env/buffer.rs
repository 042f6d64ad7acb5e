//! Memory aligned for direct I/O, and memory for many megabytes, without a line of unsafe code.

use std::io;

use memmap2::{MmapMut, MmapOptions};

/// Alignment of buffers, offsets and lengths of direct writes, in bytes: the largest logical block in use.
pub const BLOCK: usize = 4096;

/// A buffer whose first byte lies on a [`BLOCK`] boundary.
///
/// It over-allocates by one block and starts at the first boundary inside. Its heap memory never moves while it lives,
/// because it never grows: it is made with its full capacity.
pub struct AlignedBuf {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// A buffer with room for at least `capacity` bytes, all zero, of length 0.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(BLOCK).max(BLOCK);
        let memory = vec![0u8; capacity + BLOCK].into_boxed_slice();
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        AlignedBuf { memory, start, len: 0 }
    }

    /// How many bytes fit.
    pub fn capacity(&self) -> usize {
        self.memory.len() - BLOCK
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the content, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// When they don't fit: the caller sized the buffer.
    pub fn extend_from_slice(&mut self, data: &[u8]) {
        assert!(
            data.len() <= self.capacity() - self.len,
            "{} bytes don't fit after {} of {}",
            data.len(),
            self.len,
            self.capacity()
        );
        let at = self.start + self.len;
        self.memory[at..at + data.len()].copy_from_slice(data);
        self.len += data.len();
    }

    /// Sets the length to `len`; bytes gained are zero.
    ///
    /// # Panics
    /// When `len` is above the capacity.
    pub fn resize(&mut self, len: usize) {
        assert!(len <= self.capacity(), "length {len} above capacity {}", self.capacity());
        if len > self.len {
            let at = self.start + self.len;
            self.memory[at..self.start + len].fill(0);
        }
        self.len = len;
    }

    /// Pads with zeros up to the next multiple of [`BLOCK`].
    pub fn pad_to_block(&mut self) {
        self.resize(self.len.next_multiple_of(BLOCK));
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

/// Memory for many megabytes, all zero, of which what was never put in takes none.
pub(crate) struct SparseBuf(MmapMut);

impl SparseBuf {
    /// So many bytes, at least one.
    pub(crate) fn zeroed(len: usize) -> io::Result<SparseBuf> {
        Ok(SparseBuf(MmapOptions::new().len(len).map_anon()?))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts `bytes` at `at`, within its length.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        // Its pages at one go: one by one, as they are touched, they take longer than a fast device takes to fill them. Not as
        // large pages: a virtual machine may have to be given the memory under those first, which takes twice as long again.
        #[cfg(target_os = "linux")]
        let _ = self.0.advise_range(memmap2::Advice::PopulateWrite, at, bytes.len());
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl AsRef<[u8]> for SparseBuf {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_block_and_keeps_what_was_put_in() {
        for capacity in [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5] {
            let mut b = AlignedBuf::with_capacity(capacity);
            b.extend_from_slice(b"abc");
            b.pad_to_block();
            assert_eq!(b.as_ptr() as usize % BLOCK, 0);
            assert_eq!(&b[..4], b"abc\0");
            assert_eq!(b.len(), BLOCK);
            b.clear();
            b.resize(2);
            assert_eq!(&b[..], [0, 0], "bytes of an earlier use never show");
        }
    }
}
