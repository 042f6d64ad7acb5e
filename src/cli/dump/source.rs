//! Reading the file that is dumped, whatever state it is in.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cli::Failure;

/// A file to look into.
pub(super) struct Source {
    file: File,
    len: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Source, Failure> {
        let during = || format!("read {}", path.display());
        let file = File::open(path).map_err(Failure::io(during()))?;
        let metadata = file.metadata().map_err(Failure::io(during()))?;
        if !metadata.is_file() {
            return Err(Failure::Usage(format!("{} is not a file", path.display())));
        }
        Ok(Source { file, len: metadata.len() })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes from `at`, or as many as there are and can be read. Never more than the file has, so a length that was
    /// damaged costs nothing.
    pub(super) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let len = self.len.saturating_sub(at).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match self.file.read_at(&mut bytes[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        bytes.truncate(done);
        bytes
    }

    /// The first position from `at` up to `upto` with a byte that isn't zero; what can't be read counts as not zero.
    pub(super) fn first_not_zero(&self, mut at: u64, upto: u64) -> Option<u64> {
        let upto = upto.min(self.len);
        while at < upto {
            let bytes = self.get(at, (upto - at).min(64 << 10) as usize);
            if bytes.is_empty() {
                return Some(at);
            }
            if let Some(found) = bytes.iter().position(|b| *b != 0) {
                return Some(at + found as u64);
            }
            at += bytes.len() as u64;
        }
        None
    }
}
