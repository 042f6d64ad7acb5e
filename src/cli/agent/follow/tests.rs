//! Files in memory that do at every step what real ones may.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::cut::CutRule;
use super::*;

struct Node {
    inode: u64,
    content: RefCell<Vec<u8>>,
    modified_ms: Cell<u64>,
    linked: Cell<bool>,
}

/// What happens right before the next read.
type Then = Box<dyn FnOnce(&Folder)>;

/// A folder with files; those whose names begin with `prefix` match.
#[derive(Default)]
struct Folder {
    names: RefCell<BTreeMap<PathBuf, Rc<Node>>>,
    prefix: RefCell<String>,
    inodes: Cell<u64>,
    now_ms: Cell<u64>,
    before_read: RefCell<Option<Then>>,
    /// Files that can't be opened, by name.
    locked: RefCell<BTreeSet<String>>,
    /// Handles that are there now, and how many there ever were at once.
    open: Rc<Cell<usize>>,
    open_at_once: Cell<usize>,
    opens: Cell<usize>,
}

/// An open file.
struct Handle {
    node: Rc<Node>,
    open: Rc<Cell<usize>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Folder {
    fn path(name: &str) -> PathBuf {
        Path::new("/logs").join(name)
    }

    fn node(&self, name: &str) -> Rc<Node> {
        self.names.borrow()[&Folder::path(name)].clone()
    }

    /// Appends; makes the file if there is none.
    fn write(&self, name: &str, text: &str) {
        let make = || {
            self.inodes.set(self.inodes.get() + 1);
            let inode = self.inodes.get();
            Rc::new(Node { inode, content: RefCell::default(), modified_ms: Cell::new(0), linked: Cell::new(true) })
        };
        let node = self.names.borrow_mut().entry(Folder::path(name)).or_insert_with(make).clone();
        self.append(&node, text);
    }

    fn append(&self, node: &Node, text: &str) {
        node.content.borrow_mut().extend_from_slice(text.as_bytes());
        self.now_ms.set(self.now_ms.get() + 1);
        node.modified_ms.set(self.now_ms.get());
    }

    fn cut_to(&self, name: &str, len: usize) {
        let node = self.node(name);
        node.content.borrow_mut().truncate(len);
        self.append(&node, "");
    }

    fn rename(&self, from: &str, to: &str) {
        let node = self.names.borrow_mut().remove(&Folder::path(from)).unwrap();
        self.names.borrow_mut().insert(Folder::path(to), node);
    }

    fn remove(&self, name: &str) {
        self.names.borrow_mut().remove(&Folder::path(name)).unwrap().linked.set(false);
    }

    fn copy(&self, from: &str, to: &str) {
        let content = String::from_utf8(self.node(from).content.borrow().clone()).unwrap();
        self.write(to, &content);
    }
}

fn stat_of(node: &Node) -> Stat {
    Stat {
        id: FileId { device: 1, inode: node.inode },
        len: node.content.borrow().len() as u64,
        modified_ns: u128::from(node.modified_ms.get()) * 1_000_000,
        linked: node.linked.get(),
    }
}

impl Files for Rc<Folder> {
    type File = Handle;

    fn matching(&self, _: &mut Troubles, _: &mut dyn FnMut() -> bool) -> Vec<(PathBuf, Stat)> {
        let all = self.beside(Path::new("")).unwrap();
        let matches = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&*self.prefix.borrow());
        all.into_iter().filter(|(path, _)| matches(path)).collect()
    }

    fn beside(&self, _: &Path) -> io::Result<Vec<(PathBuf, Stat)>> {
        Ok(self.names.borrow().iter().map(|(path, node)| (path.clone(), stat_of(node))).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        if self.locked.borrow().contains(&originals::name(path)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let node = self.names.borrow().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        self.opens.set(self.opens.get() + 1);
        self.open.set(self.open.get() + 1);
        self.open_at_once.set(self.open_at_once.get().max(self.open.get()));
        Ok(Handle { node, open: self.open.clone() })
    }

    fn stat(&self, file: &Handle) -> io::Result<Stat> {
        Ok(stat_of(&file.node))
    }

    fn read_at(&self, file: &Handle, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let content = file.node.content.borrow();
        let rest = content.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        drop(content);
        let then = self.before_read.borrow_mut().take();
        then.into_iter().for_each(|then| then(self));
        Ok(n)
    }
}

/// A follower with what a store keeps of it.
struct Run {
    folder: Rc<Folder>,
    follower: Follower<Rc<Folder>>,
    kept: BTreeMap<FileId, FileRow>,
    got: Vec<String>,
    first_line: Option<&'static str>,
    from_end: bool,
    once: bool,
}

const IDLE_MS: u64 = 1000;
const OPEN_MAX: usize = 16;

impl Run {
    fn new(prefix: &str) -> Run {
        let folder = Rc::new(Folder::default());
        *folder.prefix.borrow_mut() = prefix.to_owned();
        folder.now_ms.set(1_000_000);
        let follower = Follower::new(folder.clone(), Run::rules(None, false, false), BTreeMap::new());
        let (kept, got) = (BTreeMap::new(), Vec::new());
        Run { folder, follower, kept, got, first_line: None, from_end: false, once: false }
    }

    fn rules(first_line: Option<&str>, from_end: bool, once: bool) -> Rules {
        let first_line = first_line.map(|text| regex::bytes::Regex::new(text).unwrap());
        let cut = CutRule { first_line, bytes_max: 100 };
        Rules { cut, idle_ms: IDLE_MS, from_end, once, open_max: OPEN_MAX, rows_max: 7 }
    }

    fn restart(&mut self) {
        let rules = Run::rules(self.first_line, self.from_end, self.once);
        // As the store has them: encoded.
        let kept = self.kept.iter().map(|(id, row)| (*id, FileRow::decode(&row.encode()).unwrap())).collect();
        self.follower = Follower::new(self.folder.clone(), rules, kept);
    }

    fn look(&mut self) {
        self.follower.look(self.folder.now_ms.get(), &mut || false);
    }

    /// Whether nothing is kept of any file.
    fn kept_nothing(&self) -> bool {
        self.kept.keys().all(|id| *id == RAN)
    }

    /// Hands out a batch of at most so many records; whether there is more.
    fn batch(&mut self, records: usize) -> bool {
        let mut out = Vec::new();
        let now_ms = self.folder.now_ms.get();
        let more = self.follower.read(now_ms, &mut Room { records, bytes: 1 << 20 }, &mut out);
        self.got.extend(out.into_iter().map(|line| String::from_utf8(line).unwrap()));
        for (id, row) in self.follower.take_changes(now_ms) {
            match row {
                Some(row) => drop(self.kept.insert(id, row)),
                None => drop(self.kept.remove(&id)),
            }
        }
        more
    }

    fn poll(&mut self) {
        self.look();
        while self.batch(3) {}
    }

    /// Polls until nothing can be expected any more, and returns what came since the last call.
    #[track_caller]
    fn got(&mut self) -> Vec<String> {
        self.poll();
        self.poll();
        std::mem::take(&mut self.got)
    }

    fn wait(&self, ms: u64) {
        self.folder.now_ms.set(self.folder.now_ms.get() + ms);
    }
}

#[test]
fn lines_come_once_they_are_finished() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "one\ntwo\nthr");
    assert_eq!(run.got(), ["one", "two"]);
    run.wait(10 * IDLE_MS);
    assert!(run.got().is_empty(), "whoever writes to it may be slow");
    run.folder.write("a.log", "ee\n");
    run.folder.write("a2.log", "new file\n");
    run.folder.write("b.log", "does not match\n");
    assert_eq!(run.got(), ["three", "new file"]);
}

#[test]
fn a_restart_repeats_nothing_and_loses_nothing() {
    let mut run = Run::new("a");
    for n in 0..100 {
        run.folder.write("a.log", &format!("line {n}\n"));
        match n % 5 {
            0 => run.restart(),
            1 => run.poll(),
            2 => {
                run.look();
                run.batch(2);
            }
            _ => {}
        }
    }
    assert_eq!(run.got(), (0..100).map(|n| format!("line {n}")).collect::<Vec<_>>());
    run.restart();
    assert!(run.got().is_empty());
}

#[test]
fn a_renamed_file_is_read_to_its_end_also_under_a_name_that_does_not_match() {
    for while_down in [false, true] {
        let mut run = Run::new("a.log");
        run.folder.write("a.log", "1\n");
        assert_eq!(run.got(), ["1"]);
        run.folder.write("a.log", "2\n");
        run.folder.rename("a.log", "old");
        run.folder.write("old", "3\nunfinished");
        run.folder.write("a.log", "4\n");
        if while_down {
            run.restart();
        }
        assert_eq!(run.got(), ["2", "3", "4"]);
        run.wait(IDLE_MS);
        assert_eq!(run.got(), ["unfinished"]);
        run.restart();
        assert!(run.got().is_empty());
    }
}

#[test]
fn a_whole_chain_of_renames_repeats_nothing() {
    let mut run = Run::new("a.log");
    for n in 0..30 {
        run.folder.write("a.log", &format!("{n}\n"));
        if n % 3 == 0 {
            for i in
                (1..4).rev().filter(|i| run.folder.names.borrow().contains_key(&Folder::path(&format!("a.log.{i}"))))
            {
                run.folder.rename(&format!("a.log.{i}"), &format!("a.log.{}", i + 1));
            }
            run.folder.rename("a.log", "a.log.1");
        }
        match n % 4 {
            0 => run.restart(),
            1 => run.poll(),
            _ => {}
        }
    }
    let mut got = run.got();
    got.sort_by_key(|line| line.parse::<u32>().unwrap());
    assert_eq!(got, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_cut_off_is_read_from_its_beginning() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n2\n3\nrest");
    assert_eq!(run.got(), ["1", "2", "3"]);
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "4\n");
    assert_eq!(run.got(), ["rest", "4"]);
    // As long as before, and longer: only the content tells.
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "5\n");
    assert_eq!(run.got(), ["5"]);
    run.restart();
    assert!(run.got().is_empty());
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "6\n7\n8\n");
    run.restart();
    assert_eq!(run.got(), ["6", "7", "8"]);
}

#[test]
fn an_unfinished_line_that_is_taken_back_is_no_new_beginning() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n2\nhalf");
    assert_eq!(run.got(), ["1", "2"]);
    run.folder.cut_to("a.log", 4);
    run.folder.write("a.log", "3\n");
    assert_eq!(run.got(), ["3"]);
}

#[test]
fn a_file_that_is_cut_off_while_it_is_read_gives_nothing_mixed() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "old 1\nold 2\n");
    assert_eq!(run.got(), ["old 1", "old 2"]);
    run.folder.write("a.log", "old 3\n");
    run.look();
    *run.folder.before_read.borrow_mut() = Some(Box::new(|folder| {
        folder.cut_to("a.log", 0);
        folder.write("a.log", "new 1\nnew 2 and longer than before\n");
    }));
    assert_eq!(run.got(), ["new 1", "new 2 and longer than before"]);
}

#[test]
fn a_copy_takes_over_what_was_not_read_when_its_original_is_cut_off() {
    for (copy, while_down, looks_between) in [
        ("a.log.1", false, false),
        ("a.log.1", false, true),
        ("a.log.1", true, false),
        ("a.log.1", true, true),
        // These names do not match.
        ("a.old", false, false),
        ("a.old", true, true),
    ] {
        let mut run = Run::new("a.log");
        run.folder.write("a.log", "1\n2\n");
        assert_eq!(run.got(), ["1", "2"]);
        run.folder.write("a.log", "3\nrest");
        run.folder.copy("a.log", copy);
        let mut got = if looks_between { run.got() } else { Vec::new() };
        if while_down {
            run.restart();
        }
        run.folder.cut_to("a.log", 0);
        run.folder.write("a.log", "4\n");
        got.extend(run.got());
        run.wait(IDLE_MS);
        got.extend(run.got());
        got.sort();
        assert_eq!(got, ["3", "4", "rest"], "{copy} {while_down} {looks_between}");
        run.restart();
        assert!(run.got().is_empty());
    }
}

#[test]
fn a_copy_under_way_is_not_read() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n2\n3\n");
    assert_eq!(run.got().len(), 3);
    for part in ["", "1\n", "2", "\n", "3\n"] {
        run.folder.write("a.log.1", part);
        assert!(run.got().is_empty(), "{part:?}");
    }
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "4\n");
    assert_eq!(run.got(), ["4"]);
    run.folder.write("a.log.1", "5\n");
    assert_eq!(run.got(), ["5"], "from then on it is a file as others are");
}

#[test]
fn files_that_begin_alike_are_no_copies_once_they_differ() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "header\n1\n");
    assert_eq!(run.got(), ["header", "1"]);
    run.folder.write("a2.log", "header\n2\n");
    assert_eq!(run.got(), ["header", "2"]);
    // A new one in the place of a renamed one is not held against it.
    run.folder.rename("a.log", "a.log.1");
    run.folder.write("a.log", "header\n");
    run.poll();
    run.folder.write("a.log", "3\n");
    assert_eq!(run.got(), ["header", "3"]);
}

#[test]
fn an_inode_that_is_used_again_is_a_new_file() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n");
    assert_eq!(run.got(), ["1"]);
    let inode = run.folder.node("a.log").inode;
    run.folder.remove("a.log");
    run.folder.inodes.set(inode - 1);
    run.folder.write("a.new", "other\n");
    run.restart();
    assert_eq!(run.got(), ["other"]);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_forgotten() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n");
    assert_eq!(run.got(), ["1"]);
    let node = run.folder.node("a.log");
    run.folder.remove("a.log");
    run.folder.append(&node, "2\nend");
    assert_eq!(run.got(), ["2"]);
    run.wait(IDLE_MS);
    assert_eq!(run.got(), ["end"]);
    run.poll();
    assert!(run.kept_nothing() && run.follower.count() == 0);
}

#[test]
fn positions_of_a_folder_that_is_away_are_kept_for_a_while() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n");
    assert_eq!(run.got(), ["1"]);
    let names = run.folder.names.take();
    run.restart();
    assert!(run.got().is_empty());
    run.folder.names.replace(names.clone());
    run.folder.write("a.log", "2\n");
    assert_eq!(run.got(), ["2"]);
    run.folder.names.take();
    run.wait(FORGET_MS + 1);
    run.restart();
    run.poll();
    assert!(run.kept_nothing());
}

#[test]
fn a_record_of_several_lines_ends_with_the_next_or_with_silence() {
    let mut run = Run::new("a");
    run.first_line = Some("^E");
    run.restart();
    run.folder.write("a.log", "E1\n  x\nE2\n");
    assert_eq!(run.got(), ["E1\n  x"]);
    run.folder.write("a.log", "  y\n");
    assert!(run.got().is_empty());
    run.restart();
    run.wait(IDLE_MS);
    assert_eq!(run.got(), ["E2\n  y"]);
    run.folder.write("a.log", "E3\nE4 half");
    run.wait(IDLE_MS);
    assert!(run.got().is_empty(), "whether a line begins a record shows when all of it is there");
    run.folder.write("a.log", " and whole\n");
    assert_eq!(run.got(), ["E3"]);
}

#[test]
fn from_the_end_is_for_files_that_are_there_at_the_very_first() {
    let mut run = Run::new("a");
    run.from_end = true;
    run.restart();
    run.folder.write("a.log", "before\n");
    assert!(run.got().is_empty());
    run.folder.write("a.log", "after\n");
    run.folder.write("a2.log", "new\n");
    run.restart();
    assert_eq!(run.got(), ["after", "new"]);
}

#[test]
fn more_files_than_may_be_open_are_followed() {
    let mut run = Run::new("a");
    let count = OPEN_MAX + 20;
    for round in 0..3 {
        (0..count).for_each(|n| run.folder.write(&format!("a{n}."), &format!("{n} {round}\n")));
        assert_eq!(run.got().len(), count);
        if round == 1 {
            run.restart();
        }
    }
    // One that is compared, and one that it is compared with, besides.
    assert!(run.folder.open_at_once.get() <= OPEN_MAX + 2, "{}", run.folder.open_at_once.get());
}

#[test]
fn many_new_files_are_not_all_held_against_each_other() {
    let mut run = Run::new("a");
    for n in 0..300 {
        run.folder.write(&format!("a.{n}.x"), &format!("header that all of them have\n{n}\n"));
    }
    run.look();
    let opens = run.folder.opens.get();
    assert!(opens <= 300, "{opens}");
    assert_eq!(run.got().len(), 600);
}

#[test]
fn a_look_ends_when_it_is_told_to() {
    let mut run = Run::new("a");
    for n in 0..100 {
        run.folder.write(&format!("a{n}."), &format!("{n}\n"));
    }
    for n in 1..150 {
        let mut left = n;
        let mut stop = move || {
            left -= 1;
            left <= 0
        };
        run.follower.look(run.folder.now_ms.get(), &mut stop);
        while run.batch(3) {}
        if n % 10 == 0 {
            run.restart();
        }
    }
    run.poll();
    run.got.sort_by_key(|line| line.parse::<u32>().unwrap());
    assert_eq!(run.got(), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_file_that_goes_on_otherwise_than_another_is_no_copy_of_it() {
    for while_down in [false, true] {
        for (first, second) in [("worker.csv", "worker2.csv"), ("app.log", "app-err.log"), ("app.log", "app.log.err")] {
            let mut run = Run::new("");
            run.folder.write(first, "header\n1\n");
            assert_eq!(run.got(), ["header", "1"]);
            if while_down {
                run.restart();
            }
            run.folder.write(second, "header\n1\nother\n");
            assert_eq!(run.got(), ["header", "1", "other"], "{first} {second} {while_down}");
            run.folder.write(first, "2\n");
            run.folder.write(second, "more\n");
            assert_eq!(run.got(), ["2", "more"]);
        }
        // Both are there at the first look.
        let mut run = Run::new("");
        run.folder.write("app.log", "header\n1\n2\n");
        run.folder.write("app-err.log", "header\n3\n");
        run.poll();
        run.got.sort();
        assert_eq!(run.got(), ["1", "2", "3", "header", "header"]);
    }
}

#[test]
fn a_file_that_was_like_another_is_not_taken_for_its_copy_later() {
    let mut run = Run::new("app");
    run.folder.write("app.log", "started\n1\n2\n3\n");
    run.folder.write("app-err.log", "started\n");
    assert_eq!(run.got(), ["started", "1", "2", "3"]);
    // Both at once, between two looks.
    run.folder.write("app-err.log", "error\n");
    run.folder.cut_to("app.log", 0);
    run.folder.write("app.log", "4\n");
    let mut got = run.got();
    got.sort();
    assert_eq!(got, ["4", "error", "started"]);
}

#[test]
fn a_copy_longer_than_what_was_read_is_one_while_its_original_goes_on_alike() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "1\n2\n");
    assert_eq!(run.got(), ["1", "2"]);
    run.folder.write("a.log", "3\n4\n5\n6\n");
    run.folder.copy("a.log", "a.log.1");
    run.look();
    run.batch(1);
    run.restart();
    assert_eq!(run.got(), ["3", "4", "5", "6"]);
    run.folder.write("a.log", "7\n");
    assert_eq!(run.got(), ["7"]);
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "8\n");
    assert_eq!(run.got(), ["8"]);
}

#[test]
fn a_file_that_begins_anew_with_the_same_line_leaves_its_copy_nothing_to_lose() {
    let mut run = Run::new("a");
    run.folder.write("a.log", "header\n");
    assert_eq!(run.got(), ["header"]);
    run.folder.write("a.log", "1\n");
    run.folder.copy("a.log", "a.log.1");
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "header\n2\n");
    let mut got = run.got();
    got.sort();
    // Nothing tells that what is there now is another header: the copy is read as a file of its own.
    assert_eq!(got, ["1", "2", "header"]);
}

#[test]
fn a_copy_under_an_inode_that_is_used_again_takes_over() {
    for while_down in [true, false] {
        let mut run = Run::new("a.log");
        run.folder.write("a.log.1", "1\n2\n");
        run.folder.write("a.log", "100\n101\n");
        assert_eq!(run.got().len(), 4);
        run.folder.write("a.log", "102\n");
        if while_down {
            run.restart();
        } else {
            // Of two files that it may have open, others were written to later.
            run.follower.known.values_mut().for_each(Followed::close);
        }
        let inode = run.folder.node("a.log.1").inode;
        run.folder.remove("a.log.1");
        run.folder.inodes.set(inode - 1);
        run.folder.copy("a.log", "a.log.1");
        run.folder.inodes.set(100);
        run.folder.cut_to("a.log", 0);
        run.folder.write("a.log", "103\n");
        run.poll();
        run.got.sort();
        assert_eq!(run.got(), ["102", "103"]);
        run.restart();
        assert!(run.got().is_empty());
    }
}

#[test]
fn a_copy_under_way_under_an_inode_that_is_used_again_is_not_read() {
    let mut run = Run::new("a.log");
    run.folder.write("a.log.1", "1\n2\n");
    run.folder.write("a.log", "100\n101\n");
    assert_eq!(run.got().len(), 4);
    run.folder.cut_to("a.log.1", 0);
    run.restart();
    assert!(run.got().is_empty());
    run.folder.write("a.log.1", "100\n");
    assert!(run.got().is_empty());
    run.folder.write("a.log.1", "101\n");
    run.folder.cut_to("a.log", 0);
    run.folder.write("a.log", "102\n");
    assert_eq!(run.got(), ["102"]);
}

#[test]
fn what_could_not_be_read_is_told_of_and_read_later() {
    for restarts in [false, true] {
        for from_end in [false, true] {
            let mut run = Run::new("a");
            run.from_end = from_end;
            run.restart();
            run.folder.write("a.1", "1\n");
            run.folder.write("a.2", "2\n");
            run.folder.locked.borrow_mut().insert("a.2".into());
            let first = if from_end { vec![] } else { vec!["1"] };
            assert_eq!(run.got(), first);
            assert_eq!(run.follower.unread().len(), 1);
            run.folder.write("a.2", "3\n");
            run.folder.locked.borrow_mut().clear();
            if restarts {
                run.restart();
            }
            assert_eq!(run.got(), if from_end { vec!["3"] } else { vec!["2", "3"] });
            assert!(run.follower.unread().is_empty());
            // Cut off, and longer than before.
            run.folder.cut_to("a.2", 0);
            run.folder.write("a.2", "4\n5\n6\n");
            run.restart();
            assert_eq!(run.got(), ["4", "5", "6"]);
        }
    }
}

#[test]
fn the_first_run_is_the_first_also_if_there_was_nothing_to_follow() {
    let mut run = Run::new("a");
    run.from_end = true;
    run.restart();
    assert!(run.got().is_empty());
    run.folder.write("a.log", "1\n");
    run.restart();
    assert_eq!(run.got(), ["1"]);
}

#[test]
fn nothing_is_read_of_compressed_files() {
    let mut run = Run::new("a");
    run.folder.write("a.1", "(a\n");
    run.folder.write("a.2", "BZh9 in a text\n");
    run.folder.write("a.3.bz2", "BZh91AY&SY\n\n");
    run.folder.write("a.3.xz", "x");
    *run.folder.node("a.3.xz").content.borrow_mut() = b"\xfd7zXZ\0\n\n".to_vec();
    run.folder.write("a.3.gz", "x");
    *run.folder.node("a.3.gz").content.borrow_mut() = b"\x1f\x8b\x08\n\n".to_vec();
    run.folder.write("a.3.zst", "x");
    *run.folder.node("a.3.zst").content.borrow_mut() = b"\x28\xb5\x2f\xfd\n\n".to_vec();
    assert_eq!(run.got(), ["(a", "BZh9 in a text"]);
    assert_eq!(run.follower.take_notes().iter().filter(|note| note.contains("is compressed")).count(), 4);
    let opens = run.folder.opens.get();
    assert!(run.got().is_empty());
    assert_eq!(run.folder.opens.get(), opens, "they are looked into once");
}

#[test]
fn a_single_run_takes_the_last_line_of_a_file_that_was_left_alone() {
    let mut run = Run::new("a");
    run.once = true;
    run.restart();
    run.folder.write("a.log", "1\nlast");
    assert_eq!(run.got(), ["1"]);
    assert_eq!(run.follower.unfinished().count(), 1);
    run.wait(IDLE_MS);
    run.restart();
    assert_eq!(run.got(), ["last"]);
    assert_eq!(run.follower.unfinished().count(), 0);
    run.restart();
    assert!(run.got().is_empty());
}

/// What a rotation does to the names of older files. The oldest goes, once it was read.
fn shift(run: &mut Run) {
    for n in (1..=3).rev() {
        let name = format!("a.log.{n}");
        if !run.folder.names.borrow().contains_key(&Folder::path(&name)) {
            continue;
        }
        if n < 3 {
            run.folder.rename(&name, &format!("a.log.{}", n + 1));
        } else {
            run.poll();
            run.poll();
            run.folder.remove(&name);
        }
    }
}

#[test]
fn whatever_happens_each_line_comes_once() {
    for seed in 0..2000u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut run = Run::new(["a", "a.log"][random(2) as usize]);
        let (mut lines, mut unfinished) = (0, false);
        for _ in 0..random(80) {
            match random(12) {
                0..4 => {
                    for _ in 0..random(4) {
                        if std::mem::take(&mut unfinished) {
                            run.folder.write("a.log", "finished\n");
                        }
                        run.folder.write("a.log", &format!("line {lines}\n"));
                        lines += 1;
                    }
                }
                4 if !unfinished => {
                    run.folder.write("a.log", &format!("line {lines} un"));
                    (lines, unfinished) = (lines + 1, true);
                }
                5 if !unfinished && lines > 0 && run.folder.names.borrow().contains_key(&Folder::path("a.log")) => {
                    shift(&mut run);
                    run.folder.rename("a.log", "a.log.1");
                }
                6 if !unfinished && run.folder.names.borrow().contains_key(&Folder::path("a.log")) => {
                    shift(&mut run);
                    run.folder.copy("a.log", "a.log.1");
                    (0..random(3)).for_each(|_| run.poll());
                    run.folder.cut_to("a.log", 0);
                }
                7 => run.restart(),
                8 => {
                    run.look();
                    run.batch(1 + random(3) as usize);
                }
                _ => run.poll(),
            }
        }
        if unfinished {
            run.folder.write("a.log", "finished\n");
        }
        let mut got = run.got();
        let number = |line: &String| line.split(' ').nth(1).unwrap().parse::<u32>().unwrap();
        got.sort_by_key(number);
        let numbers: Vec<u32> = got.iter().map(number).collect();
        assert_eq!(numbers, (0..lines).collect::<Vec<_>>(), "seed {seed}: {got:?}");
        assert!(!got.iter().any(|line| line.ends_with("un")), "seed {seed}: {got:?}");
    }
}

#[test]
fn a_file_that_differs_from_another_only_in_its_middle_is_no_copy_of_it() {
    let text = |middle: &str| {
        let lines = |count: usize| "the same line in both of them\n".repeat(count);
        format!("{}{middle}\n{}", lines(50), lines(50))
    };
    for while_down in [false, true] {
        let mut run = Run::new("app");
        run.folder.write("app.log", &text("one"));
        assert_eq!(run.got().len(), 101);
        if while_down {
            run.restart();
        }
        run.folder.write("app-2.log", &text("two"));
        let got = run.got();
        assert!(got.contains(&"two".to_owned()), "{while_down}: {} lines", got.len());
        run.folder.write("app-2.log", "more\n");
        assert_eq!(run.got(), ["more"]);
    }
}

#[test]
fn a_copy_is_none_the_less_one_when_its_original_is_renamed() {
    let mut run = Run::new("app");
    run.folder.write("app.log", "1\n2\n");
    assert_eq!(run.got(), ["1", "2"]);
    run.folder.copy("app.log", "app.log.bak");
    assert!(run.got().is_empty());
    run.folder.rename("app.log", "app.log.1");
    run.folder.write("app.log", "3\n");
    assert_eq!(run.got(), ["3"]);
    // It has a position of its own now.
    run.restart();
    run.folder.remove("app.log.1");
    assert!(run.got().is_empty());
    run.folder.write("app.log.bak", "4\n");
    assert_eq!(run.got(), ["4"]);
}

#[test]
fn a_copy_with_more_than_was_read_waits_for_its_renamed_original() {
    for restarts in [false, true] {
        let mut run = Run::new("app");
        run.folder.write("app.log", "1\n2\n");
        assert_eq!(run.got(), ["1", "2"]);
        run.folder.write("app.log", "3\n4\nhalf");
        run.folder.copy("app.log", "app.log.bak");
        run.look();
        run.batch(1);
        run.folder.rename("app.log", "app.log.1");
        assert_eq!(run.got(), ["3", "4"]);
        run.folder.write("app.log.1", " and whole\n5\n");
        assert_eq!(run.got(), ["half and whole", "5"]);
        if restarts {
            run.poll();
            run.restart();
        }
        run.wait(IDLE_MS);
        assert!(run.got().is_empty());
    }
}

#[test]
fn copies_of_a_file_that_goes_away_while_it_is_not_open_go_on_where_it_was_left() {
    for is_read in [true, false] {
        let mut run = Run::new("app");
        run.folder.write("app.log", "1\n2\n");
        assert_eq!(run.got(), ["1", "2"]);
        if !is_read {
            run.folder.write("app.log", "3\n");
        }
        run.folder.copy("app.log", "app.log.bak");
        // Seen, and nothing read yet.
        run.look();
        run.follower.known.values_mut().for_each(Followed::close);
        run.folder.remove("app.log");
        assert_eq!(run.got(), if is_read { &[][..] } else { &["3"] });
        run.restart();
        assert!(run.got().is_empty());
    }
}

#[test]
fn of_several_copies_of_a_content_that_is_over_one_is_read_on() {
    for is_deleted in [false, true] {
        let mut run = Run::new("app");
        run.folder.write("app.log", "1\n2\n");
        assert_eq!(run.got(), ["1", "2"]);
        run.folder.write("app.log", "3\n");
        run.folder.copy("app.log", "app.log.1");
        run.folder.copy("app.log", "app.log.bak");
        run.look();
        run.folder.cut_to("app.log", 0);
        run.folder.write("app.log", "4\n");
        if is_deleted {
            run.folder.remove("app.log");
        }
        let mut got = run.got();
        got.sort();
        assert_eq!(got, ["3", "4"]);
        run.restart();
        assert!(run.got().is_empty());
    }
}

#[test]
fn a_file_that_only_begins_as_another_is_read_once_that_is_gone() {
    let mut run = Run::new("app");
    run.folder.write("app.log", "started\n1\n");
    assert_eq!(run.got(), ["started", "1"]);
    run.folder.write("app-err.log", "started\n");
    assert!(run.got().is_empty());
    run.folder.rename("app.log", "app.log.1");
    run.poll();
    run.folder.write("app-err.log", "2\n");
    assert_eq!(run.got(), ["started", "2"]);
    run.folder.write("app.log", "started\n3\n");
    assert_eq!(run.got(), ["started", "3"]);
    run.folder.write("app-2.log", "started\n");
    assert!(run.got().is_empty());
    run.folder.remove("app.log");
    run.wait(IDLE_MS);
    assert_eq!(run.got(), ["started"]);
}
