//! File content in shared blocks: copying a file is copying pointers, and only a block that changes is copied.

use std::sync::{Arc, OnceLock};

use super::super::BLOCK;

/// What a disk writes all of or nothing of, in bytes.
pub const SECTOR: usize = 512;

const BLOCK_U64: u64 = BLOCK as u64;

/// One block, with its hash once somebody asked.
#[derive(Debug)]
pub(super) struct Block {
    bytes: [u8; BLOCK],
    hash: OnceLock<u64>,
}

impl Clone for Block {
    fn clone(&self) -> Self {
        // Copied to be changed: the hash isn't worth keeping.
        Block { bytes: self.bytes, hash: OnceLock::new() }
    }
}

impl Block {
    pub(super) fn bytes(&self) -> &[u8; BLOCK] {
        &self.bytes
    }

    /// 0 for a block of zeros, so that it can't be told from a hole.
    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| if self.bytes.iter().all(|&b| b == 0) { 0 } else { hash_bytes(1, &self.bytes) })
    }
}

/// Mixes bytes into a hash. Good enough to tell images apart, no more.
pub(super) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut h = mix(seed, bytes.len() as u64);
    for word in words {
        h = mix(h, u64::from_le_bytes(*word));
    }
    rest.iter().fold(h, |h, &b| mix(h, u64::from(b)))
}

/// Mixes one word into a hash.
pub(super) fn mix(h: u64, word: u64) -> u64 {
    let x = (h.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    x ^ (x >> 29)
}

#[derive(Debug, Clone)]
enum Slot {
    Hole,
    /// Takes space, reads as zeros.
    Reserved,
    Data(Arc<Block>),
}

/// The bytes of a file: a length and blocks, of which some may lie beyond the length.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    len: u64,
    slots: Vec<Slot>,
    allocated: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Blocks that take space.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Sets the length alone; bytes that come in sight are what lies there.
    pub(super) fn grow_to(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Sets the length and clears everything beyond it; reserved blocks stay reserved.
    pub(super) fn set_len(&mut self, len: u64) {
        let whole = (len / BLOCK_U64) as usize;
        let part = (len % BLOCK_U64) as usize;
        for at in whole..self.slots.len() {
            if at == whole && part > 0 {
                if let Slot::Data(block) = &mut self.slots[at]
                    && block.bytes[part..].iter().any(|&b| b != 0)
                {
                    let block = Arc::make_mut(block);
                    block.bytes[part..].fill(0);
                    block.hash = OnceLock::new();
                }
            } else if matches!(self.slots[at], Slot::Data(_)) {
                self.slots[at] = Slot::Hole;
                self.allocated -= 1;
            }
        }
        self.len = len;
    }

    /// Gives up every block beyond the length, reserved ones too, and returns those that held data.
    pub(super) fn truncate(&mut self, len: u64) -> Vec<Arc<Block>> {
        let keep = len.div_ceil(BLOCK_U64) as usize;
        let mut dropped = Vec::new();
        for slot in self.slots.drain(keep.min(self.slots.len())..) {
            match slot {
                Slot::Hole => continue,
                Slot::Reserved => {}
                Slot::Data(block) => dropped.push(block),
            }
            self.allocated -= 1;
        }
        self.set_len(len);
        dropped
    }

    /// The blocks that hold data.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.slots.iter().filter_map(|slot| if let Slot::Data(block) = slot { Some(block) } else { None })
    }

    /// How many blocks a write to this range would have to allocate.
    pub(super) fn missing(&self, from: u64, to: u64) -> u64 {
        let (first, end) = (from / BLOCK_U64, to.div_ceil(BLOCK_U64));
        (first..end).filter(|&at| matches!(self.slots.get(at as usize), None | Some(Slot::Hole))).count() as u64
    }

    /// Reserves every hole below `end`.
    pub(super) fn reserve(&mut self, end: u64) {
        let end = end.div_ceil(BLOCK_U64) as usize;
        if self.slots.len() < end {
            self.slots.resize(end, Slot::Hole);
        }
        for slot in &mut self.slots[..end] {
            if matches!(slot, Slot::Hole) {
                *slot = Slot::Reserved;
                self.allocated += 1;
            }
        }
    }

    /// Copies bytes out, zeros where there are none; ignores the length.
    pub(super) fn read(&self, mut offset: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let within = (offset % BLOCK_U64) as usize;
            let n = out.len().min(BLOCK - within);
            let (head, rest) = out.split_at_mut(n);
            match self.slots.get((offset / BLOCK_U64) as usize) {
                Some(Slot::Data(block)) => head.copy_from_slice(&block.bytes[within..within + n]),
                _ => head.fill(0),
            }
            out = rest;
            offset += n as u64;
        }
    }

    /// Puts bytes in; leaves the length alone.
    pub(super) fn write(&mut self, mut offset: u64, mut data: &[u8]) {
        let end = (offset + data.len() as u64).div_ceil(BLOCK_U64) as usize;
        if self.slots.len() < end {
            self.slots.resize(end, Slot::Hole);
        }
        while !data.is_empty() {
            let within = (offset % BLOCK_U64) as usize;
            let n = data.len().min(BLOCK - within);
            let slot = &mut self.slots[(offset / BLOCK_U64) as usize];
            if let Slot::Hole = slot {
                self.allocated += 1;
            }
            match slot {
                Slot::Data(block) if n < BLOCK => {
                    let block = Arc::make_mut(block);
                    block.bytes[within..within + n].copy_from_slice(&data[..n]);
                    block.hash = OnceLock::new();
                }
                _ => {
                    let mut bytes = [0; BLOCK];
                    bytes[within..within + n].copy_from_slice(&data[..n]);
                    *slot = Slot::Data(Arc::new(Block { bytes, hash: OnceLock::new() }));
                }
            }
            data = &data[n..];
            offset += n as u64;
        }
    }

    /// Takes over another content's blocks in a range of bytes, rounded out to blocks.
    pub(super) fn share(&mut self, from: &Content, start: u64, end: u64) {
        let (first, end) = ((start / BLOCK_U64) as usize, end.div_ceil(BLOCK_U64) as usize);
        if self.slots.len() < end {
            self.slots.resize(end, Slot::Hole);
        }
        for at in first..end {
            let slot = from.slots.get(at).cloned().unwrap_or(Slot::Hole);
            match (&self.slots[at], &slot) {
                (Slot::Hole, Slot::Hole) => {}
                (Slot::Hole, _) => self.allocated += 1,
                (_, Slot::Hole) => self.allocated -= 1,
                _ => {}
            }
            self.slots[at] = slot;
        }
    }

    /// A hash of length and bytes; which blocks take space doesn't count.
    pub(super) fn hash(&self) -> u64 {
        let mut h = mix(3, self.len);
        for (at, slot) in self.slots.iter().enumerate() {
            if let Slot::Data(block) = slot {
                let hash = block.hash();
                if hash != 0 {
                    h = mix(mix(h, at as u64), hash);
                }
            }
        }
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_vec_of_bytes() {
        let mut content = Content::default();
        let mut model = vec![0u8; 40_000];
        let mut rng = super::super::tape::SplitMix64(5);
        for _ in 0..300 {
            let offset = rng.next() % 30_000;
            let data = vec![rng.next() as u8; (rng.next() % 9000) as usize];
            content.write(offset, &data);
            model[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
            if rng.next().is_multiple_of(8) {
                let len = rng.next() % 40_000;
                content.set_len(len);
                model[len as usize..].fill(0);
            }
            let copy = content.clone();
            let mut out = vec![1; 40_000];
            copy.read(0, &mut out);
            assert_eq!(out, model);
        }
    }

    #[test]
    fn space_is_counted_by_blocks() {
        let mut content = Content::default();
        content.reserve(10_000);
        assert_eq!((content.allocated(), content.missing(0, 20_000)), (3, 2));
        content.write(16_384, b"x");
        assert_eq!(content.allocated(), 4);
        content.write(0, b"x");
        assert_eq!(content.allocated(), 4);
        assert_eq!(content.truncate(100).len(), 1);
        assert_eq!((content.allocated(), content.len()), (1, 100));
    }

    #[test]
    fn a_written_zero_hashes_like_a_hole() {
        let (mut a, mut b) = (Content::default(), Content::default());
        a.write(4096, &[0; 4096]);
        a.grow_to(8192);
        b.grow_to(8192);
        assert_eq!(a.hash(), b.hash());
        b.write(8000, b"x");
        assert_ne!(a.hash(), b.hash());
    }
}
