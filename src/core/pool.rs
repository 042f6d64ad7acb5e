//! Emptied buffers of large batches, used again: fresh memory costs a page fault for every 4 KiB, which at gigabytes a second
//! is a fifth of a caller's time.

use crate::sync::Mutex;

/// Smaller ones are the allocator's business, larger ones are rare.
const SIZES: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;
/// How many are kept: at most 16 MiB at the usual size of a batch with one 64 KiB record.
const KEPT_MAX: usize = 256;

/// Buffers that nobody uses.
#[derive(Default)]
pub(crate) struct BufferPool(Mutex<Vec<Vec<u8>>>);

impl BufferPool {
    /// An empty buffer with room for `capacity` bytes.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        if SIZES.contains(&capacity) {
            let mut kept = self.0.lock();
            if kept.last().is_some_and(|buffer| buffer.capacity() >= capacity)
                && let Some(buffer) = kept.pop()
            {
                return buffer;
            }
        }
        Vec::with_capacity(capacity)
    }

    /// Gives a buffer back.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        if SIZES.contains(&buffer.capacity()) {
            buffer.clear();
            let mut kept = self.0.lock();
            if kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        }
    }
}
