//! Names: looking up, creating, renaming, removing.

use std::io;
use std::sync::Arc;

use super::super::{BLOCK, DirEntry};
use super::fault::Errno;
use super::image::{DirOp, Image, Ino, Node, Place, TOP};
use super::inode::FileNode;

impl Image {
    pub(super) fn lookup(&self, root: Ino, path: &str) -> io::Result<Ino> {
        let mut at = root;
        if path.is_empty() {
            return Ok(at);
        }
        path.split('/').try_for_each(check_name)?;
        for part in path.split('/') {
            at = *self.dir(at)?.volatile.get(part).ok_or_else(|| Errno::NotFound.error())?;
        }
        Ok(at)
    }

    fn parent<'a>(&self, root: Ino, path: &'a str) -> io::Result<(Ino, &'a str)> {
        path.split('/').try_for_each(check_name)?;
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.lookup(root, dir)?;
        self.dir(dir)?;
        Ok((dir, name))
    }

    fn link(&mut self, dir: Ino, name: &str, ino: Ino, from: Option<Place>) {
        let name: Arc<str> = name.into();
        if let Some((from_dir, from_name)) = &from {
            Arc::make_mut(&mut self.dir_mut(*from_dir).volatile).remove(from_name);
        }
        Arc::make_mut(&mut self.dir_mut(dir).volatile).insert(name.clone(), ino);
        let seq = self.next_seq();
        self.ops.push(DirOp { seq, from, to: Some((dir, name)), ino });
    }

    pub(super) fn create_file(&mut self, root: Ino, path: &str) -> io::Result<Ino> {
        let (dir, name) = self.parent(root, path)?;
        if self.dir(dir)?.volatile.contains_key(name) {
            return Err(Errno::Exists.error());
        }
        if self.capacity.is_some_and(|capacity| self.used * BLOCK as u64 >= capacity) {
            return Err(Errno::NoSpace.error());
        }
        let ino = self.add(Node::File(Arc::new(FileNode { linked: true, counted: true, ..FileNode::default() })));
        self.link(dir, name, ino, None);
        Ok(ino)
    }

    pub(super) fn create_dir(&mut self, root: Ino, path: &str) -> io::Result<()> {
        let (dir, name) = self.parent(root, path)?;
        match self.dir(dir)?.volatile.get(name) {
            Some(&ino) if self.is_dir(ino) => Ok(()),
            Some(_) => Err(Errno::Exists.error()),
            None => {
                let ino = self.add(Node::Dir(Arc::default()));
                self.link(dir, name, ino, None);
                Ok(())
            }
        }
    }

    /// Finds or makes a root, durably: who makes it durable on a real disk is outside the contract.
    pub(super) fn make_root(&mut self, path: &str) -> io::Result<Ino> {
        let mut at = TOP;
        for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            check_name(part)?;
            if let Some(&ino) = self.dir(at)?.volatile.get(part) {
                at = ino;
                continue;
            }
            let ino = self.add(Node::Dir(Arc::default()));
            let dir = self.dir_mut(at);
            let name: Arc<str> = part.into();
            Arc::make_mut(&mut dir.volatile).insert(name.clone(), ino);
            Arc::make_mut(&mut dir.durable).insert(name, ino);
            at = ino;
        }
        self.dir(at)?;
        Ok(at)
    }

    pub(super) fn list(&self, root: Ino, path: &str) -> io::Result<Vec<DirEntry>> {
        let dir = self.dir(self.lookup(root, path)?)?;
        let entry = |(name, &ino): (&Arc<str>, &Ino)| {
            let is_dir = self.is_dir(ino);
            DirEntry { name: name.to_string(), is_dir, len: if is_dir { 0 } else { self.file(ino).volatile.len() } }
        };
        Ok(dir.volatile.iter().map(entry).collect())
    }

    pub(super) fn rename(&mut self, root: Ino, from: &str, to: &str) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(root, from)?;
        let (to_dir, to_name) = self.parent(root, to)?;
        let ino = *self.dir(from_dir)?.volatile.get(from_name).ok_or_else(|| Errno::NotFound.error())?;
        if self.dir(to_dir)?.volatile.contains_key(to_name) {
            return Err(Errno::Exists.error());
        }
        self.link(to_dir, to_name, ino, Some((from_dir, from_name.into())));
        Ok(())
    }

    /// Removes a file's name and returns the file.
    pub(super) fn unlink(&mut self, root: Ino, path: &str) -> io::Result<Ino> {
        let (dir, name) = self.parent(root, path)?;
        let ino = *self.dir(dir)?.volatile.get(name).ok_or_else(|| Errno::NotFound.error())?;
        if self.is_dir(ino) {
            return Err(Errno::IsADirectory.error());
        }
        Arc::make_mut(&mut self.dir_mut(dir).volatile).remove(name);
        let seq = self.next_seq();
        self.ops.push(DirOp { seq, from: Some((dir, name.into())), to: None, ino });
        self.file_mut(ino).linked = false;
        Ok(ino)
    }
}

/// The rule the real disk applies.
fn check_name(name: &str) -> io::Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if matches!(name, "" | "." | "..") || !plain {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name for a store's file")));
    }
    Ok(())
}
