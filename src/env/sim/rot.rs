//! Rot: changing what is stored behind the engine's back.
//!
//! All of it acts on the durable and the volatile side alike, and takes what was pending on the file as written.
//! "Block" means [`SECTOR`](super::SECTOR), the unit in which disks lose data.

use std::io;
use std::ops::Range;

use super::blocks::{Content, SECTOR};
use super::disk::{SimDisk, World};
use super::fault::{Errno, ReadFlip};
use super::image::{Image, Ino};
use super::inode::SECTOR_U64;

impl Image {
    /// Changes bytes as if they had always been so.
    pub(super) fn overwrite(&mut self, ino: Ino, change: impl FnOnce(&mut Content)) {
        self.edit(ino, |file| {
            change(&mut file.volatile);
            file.durable = file.volatile.clone();
            file.pending.clear();
            file.diverged = false;
        });
    }
}

impl SimDisk {
    fn at(&self, w: &World, path: &str) -> io::Result<Ino> {
        let ino = w.image.lookup(self.root, path)?;
        if w.image.is_dir(ino) { Err(Errno::IsADirectory.error()) } else { Ok(ino) }
    }

    /// All files below the root with their lengths, by path.
    pub fn files(&self) -> Vec<(String, u64)> {
        let w = self.lock_world();
        let len = |(path, ino): (String, Ino)| (path, w.image.file(ino).volatile.len());
        w.image.walk(self.root).into_iter().map(len).collect()
    }

    /// A file's bytes as a process sees them.
    pub fn read_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        let w = self.lock_world();
        let file = w.image.file(self.at(&w, path)?);
        let mut out = vec![0; file.volatile.len() as usize];
        file.volatile.read(0, &mut out);
        Ok(out)
    }

    /// A file's bytes as far as they are surely on stable storage.
    pub fn read_durable(&self, path: &str) -> io::Result<Vec<u8>> {
        let w = self.lock_world();
        let file = w.image.file(self.at(&w, path)?);
        let mut out = vec![0; file.durable.len() as usize];
        file.durable.read(0, &mut out);
        Ok(out)
    }

    /// Sets a file's bytes; a file, or folders, that weren't there are there, durably.
    pub fn write_bytes(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = match self.at(w, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let before = w.image.ops.len();
                for (at, _) in path.match_indices('/') {
                    w.image.create_dir(self.root, &path[..at])?;
                }
                let ino = w.image.create_file(self.root, path)?;
                for op in w.image.ops.split_off(before) {
                    w.image.apply_op(&op);
                }
                ino
            }
            found => found?,
        };
        w.image.overwrite(ino, |content| {
            content.truncate(0);
            content.write(0, bytes);
            content.grow_to(bytes.len() as u64);
        });
        Ok(())
    }

    /// Removes a file's name, durably.
    pub fn erase(&self, path: &str) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = w.image.unlink(self.root, path)?;
        if let Some(op) = w.image.ops.pop() {
            // Nor may its creation, still on its way, bring it back.
            w.image.ops.retain(|earlier| earlier.to != op.from);
            w.image.apply_op(&op);
        }
        if !w.run.opens.contains_key(&ino) {
            w.image.release(ino);
        }
        Ok(())
    }

    /// Flips one bit of a file; bit 8 is the lowest of byte 1.
    pub fn flip_bit(&self, path: &str, bit: u64) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = self.at(w, path)?;
        if bit / 8 >= w.image.file(ino).volatile.len() {
            return Err(Errno::Invalid.error());
        }
        w.image.overwrite(ino, |content| {
            let mut byte = [0];
            content.read(bit / 8, &mut byte);
            content.write(bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
        });
        Ok(())
    }

    /// Sets a file's length; bytes gained are zero.
    pub fn truncate(&self, path: &str, len: u64) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = self.at(w, path)?;
        w.image.overwrite(ino, |content| drop(content.truncate(len)));
        Ok(())
    }

    /// Zeroes one block of a file, as far as the file reaches.
    pub fn zero_block(&self, path: &str, block: u64) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = self.at(w, path)?;
        write_block(&mut w.image, ino, block, &[0; SECTOR]);
        Ok(())
    }

    /// Swaps two blocks, of one file or two. Past a file's end a block reads as zeros and isn't written.
    pub fn swap_blocks(&self, path: &str, block: u64, other_path: &str, other_block: u64) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let (ino, other) = (self.at(w, path)?, self.at(w, other_path)?);
        let (mut bytes, mut other_bytes) = ([0; SECTOR], [0; SECTOR]);
        w.image.file(ino).volatile.read(block * SECTOR_U64, &mut bytes);
        w.image.file(other).volatile.read(other_block * SECTOR_U64, &mut other_bytes);
        write_block(&mut w.image, ino, block, &other_bytes);
        write_block(&mut w.image, other, other_block, &bytes);
        Ok(())
    }

    /// Reads that touch a range of bytes fail, from now on and after crashes, until
    /// [`clear_faults`](SimDisk::clear_faults). A mapping then has no such bytes.
    pub fn set_read_error(&self, path: &str, range: Range<u64>) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = self.at(w, path)?;
        w.image.read_errors.push((ino, range));
        Ok(())
    }

    /// The next `times` reads of a bit, mapped or not, see it flipped, though it is right on disk.
    pub fn set_read_flip(&self, path: &str, bit: u64, times: u64) -> io::Result<()> {
        let w = &mut *self.lock_world();
        let ino = self.at(w, path)?;
        w.run.read_flips.push(ReadFlip { ino, bit, times });
        Ok(())
    }
}

fn write_block(image: &mut Image, ino: Ino, block: u64, bytes: &[u8; SECTOR]) {
    let left = image.file(ino).volatile.len().saturating_sub(block * SECTOR_U64);
    let n = SECTOR.min(left as usize);
    image.overwrite(ino, |content| content.write(block * SECTOR_U64, &bytes[..n]));
}
