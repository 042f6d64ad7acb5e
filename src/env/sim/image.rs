//! What is on the simulated disk: inodes, names, what of both is durable and what is still on its way.
//!
//! - An inode lives apart from its names: a removed file stays while it is open, mapped, or while its removal isn't
//!   durable and a power cut could bring the name back.
//! - Volatile is what processes see, durable what a power cut leaves for sure. `pending` lists every change between the
//!   two, in order and in whole sectors.
//! - Everything is shared until it changes, so that cloning an image costs a few pointers per file.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::blocks::{Block, hash_bytes, mix};
use super::durability::Promise;
use super::fault::Errno;
use super::inode::{Change, FileNode};
use super::profile::Profile;

pub(super) type Ino = u32;

/// The folder above all roots.
pub(super) const TOP: Ino = 0;

pub(super) type Entries = BTreeMap<Arc<str>, Ino>;

#[derive(Debug, Clone, Default)]
pub(super) struct DirNode {
    pub(super) volatile: Arc<Entries>,
    pub(super) durable: Arc<Entries>,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Arc<FileNode>),
    Dir(Arc<DirNode>),
}

/// A name in a folder.
pub(super) type Place = (Ino, Arc<str>);

/// A change of names that isn't durable yet: a creation has no `from`, a removal no `to`.
#[derive(Debug, Clone)]
pub(super) struct DirOp {
    pub(super) seq: u64,
    pub(super) from: Option<Place>,
    pub(super) to: Option<Place>,
    pub(super) ino: Ino,
}

impl DirOp {
    pub(super) fn touches(&self, dir: Ino) -> bool {
        [&self.from, &self.to].into_iter().flatten().any(|(d, _)| *d == dir)
    }
}

/// A queued write that hasn't completed.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) id: u64,
    pub(super) ino: Ino,
    pub(super) offset: u64,
    pub(super) data: Bytes,
    /// The lock of its owner isn't given up before it has landed.
    pub(super) in_ring: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) nodes: Vec<Option<Node>>,
    free: Vec<Ino>,
    pub(super) ops: Vec<DirOp>,
    pub(super) in_flight: Vec<InFlight>,
    /// Writes of a killed owner that may land after the next open.
    pub(super) late: Vec<InFlight>,
    pub(super) stale: Arc<Vec<Arc<Block>>>,
    pub(super) seq: u64,
    /// Blocks in use.
    pub(super) used: u64,
    pub(super) capacity: Option<u64>,
    pub(super) profile: Profile,
    /// How many of the last promises the device didn't keep.
    pub(super) lies: usize,
    pub(super) promises: VecDeque<Promise>,
    pub(super) read_errors: Vec<(Ino, Range<u64>)>,
    live_after_sweep: usize,
}

impl Image {
    pub(super) fn new(profile: Profile) -> Self {
        Image {
            nodes: vec![Some(Node::Dir(Arc::default()))],
            free: Vec::new(),
            ops: Vec::new(),
            in_flight: Vec::new(),
            late: Vec::new(),
            stale: Arc::default(),
            seq: 0,
            used: 0,
            capacity: None,
            profile,
            lies: 0,
            promises: VecDeque::new(),
            read_errors: Vec::new(),
            live_after_sweep: 0,
        }
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn file(&self, ino: Ino) -> &FileNode {
        match self.nodes.get(ino as usize) {
            Some(Some(Node::File(file))) => file,
            other => panic!("inode {ino} is no file but {other:?}: the simulator freed it too early"),
        }
    }

    /// The file, to be changed without a change of the space it takes.
    pub(super) fn file_mut(&mut self, ino: Ino) -> &mut FileNode {
        match self.nodes.get_mut(ino as usize) {
            Some(Some(Node::File(file))) => Arc::make_mut(file),
            other => panic!("inode {ino} is no file but {other:?}: the simulator freed it too early"),
        }
    }

    /// Changes a file and keeps count of the space it takes.
    pub(super) fn edit<R>(&mut self, ino: Ino, change: impl FnOnce(&mut FileNode) -> R) -> R {
        let file = self.file_mut(ino);
        let before = file.volatile.allocated();
        let result = change(file);
        let (after, counted) = (file.volatile.allocated(), file.counted);
        if counted {
            self.used = self.used + after - before;
        }
        result
    }

    pub(super) fn dir(&self, ino: Ino) -> io::Result<&DirNode> {
        match self.nodes.get(ino as usize) {
            Some(Some(Node::Dir(dir))) => Ok(dir),
            Some(Some(Node::File(_))) => Err(Errno::NotADirectory.error()),
            _ => Err(Errno::NotFound.error()),
        }
    }

    pub(super) fn dir_mut(&mut self, ino: Ino) -> &mut DirNode {
        match self.nodes.get_mut(ino as usize) {
            Some(Some(Node::Dir(dir))) => Arc::make_mut(dir),
            other => panic!("inode {ino} is no folder but {other:?}: the simulator freed it too early"),
        }
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.nodes.get(ino as usize), Some(Some(Node::Dir(_))))
    }

    pub(super) fn add(&mut self, node: Node) -> Ino {
        match self.free.pop() {
            Some(ino) => {
                self.nodes[ino as usize] = Some(node);
                ino
            }
            None => {
                self.nodes.push(Some(node));
                (self.nodes.len() - 1) as Ino
            }
        }
    }

    /// Forgets inodes nothing can bring back, now and then.
    pub(super) fn sweep_if_grown(&mut self, in_use: impl Iterator<Item = Ino>) {
        if self.nodes.len() - self.free.len() > 2 * self.live_after_sweep + 32 {
            self.sweep(in_use);
        }
    }

    /// Forgets inodes nothing can bring back.
    pub(super) fn sweep(&mut self, in_use: impl Iterator<Item = Ino>) {
        let mut live = vec![false; self.nodes.len()];
        let mut todo: Vec<Ino> = in_use.collect();
        todo.push(TOP);
        todo.extend(self.ops.iter().map(|op| op.ino));
        todo.extend(self.ops.iter().flat_map(|op| [&op.from, &op.to]).flatten().map(|(dir, _)| *dir));
        todo.extend(self.in_flight.iter().chain(&self.late).map(|w| w.ino));
        todo.extend(self.promises.iter().filter_map(|promise| match promise {
            Promise::File { ino, .. } | Promise::Written { ino, .. } | Promise::Dir { ino, .. } => Some(*ino),
            Promise::All { .. } => None,
        }));
        while let Some(ino) = todo.pop() {
            if std::mem::replace(&mut live[ino as usize], true) {
                continue;
            }
            if let Some(Node::Dir(dir)) = &self.nodes[ino as usize] {
                todo.extend(dir.volatile.values());
                if !Arc::ptr_eq(&dir.volatile, &dir.durable) {
                    todo.extend(dir.durable.values());
                }
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if !live[at] && node.take().is_some() {
                self.free.push(at as Ino);
            }
        }
        self.read_errors.retain(|(ino, _)| live[*ino as usize]);
        self.live_after_sweep = self.nodes.len() - self.free.len();
    }

    /// Brings names, links and used space in line after a crash: nothing is open any more.
    pub(super) fn settle_after_crash(&mut self) {
        self.sweep(std::iter::empty());
        let mut linked = vec![false; self.nodes.len()];
        for node in self.nodes.iter().flatten() {
            if let Node::Dir(dir) = node {
                dir.volatile.values().for_each(|&ino| linked[ino as usize] = true);
            }
        }
        self.used = 0;
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if let Some(Node::File(file)) = node {
                if file.linked != linked[at] || file.counted != linked[at] {
                    let file = Arc::make_mut(file);
                    (file.linked, file.counted) = (linked[at], linked[at]);
                }
                self.used += if file.counted { file.volatile.allocated() } else { 0 };
            }
        }
    }

    /// All files below a folder, with their paths relative to it.
    pub(super) fn walk(&self, dir: Ino) -> Vec<(String, Ino)> {
        let mut found = Vec::new();
        let mut todo = vec![(String::new(), dir)];
        while let Some((prefix, dir)) = todo.pop() {
            let Ok(dir) = self.dir(dir) else { continue };
            for (name, &ino) in dir.volatile.iter() {
                let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}/{name}") };
                if self.is_dir(ino) {
                    todo.push((path, ino));
                } else {
                    found.push((path, ino));
                }
            }
        }
        found.sort();
        found
    }

    /// A hash of all that a process could ever see of this image, also after a later power cut.
    pub(super) fn hash(&self) -> u64 {
        let mut h = self.hash_tree(TOP, false, 1);
        for w in &self.late {
            h = hash_bytes(mix(mix(h, u64::from(w.ino)), w.offset), &w.data);
        }
        // After a power cut both sides are the same object and the second walk is spared.
        let clean = |node: &Node| match node {
            Node::Dir(dir) => Arc::ptr_eq(&dir.volatile, &dir.durable),
            Node::File(file) => file.pending.is_empty() && !file.diverged,
        };
        if !self.nodes.iter().flatten().all(clean) {
            h = self.hash_tree(TOP, true, h);
            for op in &self.ops {
                for (dir, name) in [&op.from, &op.to].into_iter().flatten() {
                    h = hash_bytes(mix(mix(h, u64::from(op.ino)), u64::from(*dir)), name.as_bytes());
                }
            }
        }
        h
    }

    fn hash_tree(&self, ino: Ino, durable: bool, mut h: u64) -> u64 {
        match &self.nodes[ino as usize] {
            Some(Node::Dir(dir)) => {
                let entries = if durable { &dir.durable } else { &dir.volatile };
                h = mix(h, entries.len() as u64);
                for (name, &ino) in entries.iter() {
                    h = self.hash_tree(ino, durable, hash_bytes(h, name.as_bytes()));
                }
                h
            }
            Some(Node::File(file)) if durable => {
                h = mix(h, file.durable.hash());
                for pending in &file.pending {
                    h = match &pending.change {
                        Change::Write { sector, data } => hash_bytes(mix(h, *sector), data),
                        Change::Size(len) => mix(h, *len),
                        Change::Allocate(_) => h,
                    };
                }
                h
            }
            Some(Node::File(file)) => mix(h, file.volatile.hash()),
            None => h,
        }
    }
}
