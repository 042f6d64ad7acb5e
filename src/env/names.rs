//! Names that the disk may not have although a folder lists them.
//!
//! A sync of a folder that fails may leave its entries in the cache and call them clean: a later sync then succeeds and writes
//! nothing. Within a life nobody relies on a folder again whose sync failed. The next life of the same boot can't tell which these
//! are, so it makes the name of whatever nothing proves durable anew, and syncs that.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::{Access, DirEntry, Disk, DiskFile};
use crate::error::{is_no_descriptor, is_no_space};

/// Behind a name that is being made anew.
const ASIDE: &str = ".renewed";

/// Makes an entry of a folder anew, to be synced by the caller. Of what has no other proof of being durable only: until the second
/// step nobody but [`list`] finds it.
pub(crate) fn renew(disk: &dyn Disk, path: &str) -> io::Result<()> {
    let aside = format!("{path}{ASIDE}");
    match disk.rename(path, &aside) {
        // A full disk is no reason not to open, and nearly always the name is durable as it is.
        Err(error) if is_no_space(error.kind()) => Ok(()),
        // Both names: only a power cut between the two steps leaves that, and since it both are what the disk has.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        renamed => renamed.and_then(|()| disk.rename(&aside, path)),
    }
}

/// The entries of a folder, after those that a crash caught between the two steps of [`renew`] got their names back.
pub(crate) fn list(disk: &dyn Disk, folder: &str) -> io::Result<Vec<DirEntry>> {
    let mut entries = disk.list(folder)?;
    for entry in &mut entries {
        if let Some(name) = name_of_aside(&entry.name) {
            let name = name.to_owned();
            match disk.rename(&format!("{folder}/{}", entry.name), &format!("{folder}/{name}")) {
                // Both are there, see above.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => renamed.map(|()| entry.name = name)?,
            }
        }
    }
    Ok(entries)
}

/// As [`list`] for who must not change anything: the entries under the names that they are given back by the next open.
pub(crate) fn look(disk: &dyn Disk, folder: &str) -> io::Result<Vec<DirEntry>> {
    let mut entries = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.list(&format!("{folder}{ASIDE}"))?,
        entries => entries?,
    };
    let names: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    entries.retain_mut(|entry| match name_of_aside(&entry.name).map(str::to_owned) {
        // Both are there, see above.
        Some(name) if names.contains(&name) => false,
        Some(name) => {
            entry.name = name;
            true
        }
        None => true,
    });
    Ok(entries)
}

/// Opens a file to read, wherever an open that was cut short left it or its folder.
pub(crate) fn open(disk: &dyn Disk, path: &str) -> io::Result<Arc<dyn DiskFile>> {
    disk.open(path, Access::Read).or_else(|error| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let aside = [format!("{path}{ASIDE}"), format!("{folder}{ASIDE}/{name}")];
        let mut found = aside
            .iter()
            .filter(|_| error.kind() == io::ErrorKind::NotFound)
            .map(|aside| disk.open(aside, Access::Read));
        found
            .find(|found| !matches!(found, Err(error) if error.kind() == io::ErrorKind::NotFound))
            .unwrap_or(Err(error))
    })
}

/// As [`open`], to read from the device itself what the page cache has, too, where the file system can.
pub(crate) fn open_past_cache(disk: &dyn Disk, path: &str) -> io::Result<Arc<dyn DiskFile>> {
    match disk.open(path, Access::Direct) {
        Err(error) if !is_no_descriptor(error.raw_os_error()) => open(disk, path),
        opened => opened,
    }
}

/// The largest number that a name of ours has: no life gets there, and whatever counts on from a name does not run over.
const NUMBER_MAX: u64 = 1 << 62;

/// The number in the name of a file of ours, of which `path_of` is the path. Only exactly the name that we would give it counts: one
/// that merely reads as the same number is another file, and who takes it for ours has a number twice, or looks for a file that is
/// not there.
pub(crate) fn number_in(folder: &str, entry: &DirEntry, suffix: &str, path_of: impl Fn(u64) -> String) -> Option<u64> {
    let number = u64::from_str_radix(entry.name.strip_suffix(suffix)?, 16).ok()?;
    let ours = !entry.is_dir && number <= NUMBER_MAX && path_of(number) == format!("{folder}/{}", entry.name);
    ours.then_some(number)
}

/// The name that an entry had before it was to be made anew.
pub(crate) fn name_of_aside(name: &str) -> Option<&str> {
    name.strip_suffix(ASIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::{SimDisk, Tape};

    #[test]
    fn a_name_that_a_power_cut_left_twice_is_left_as_it_is() {
        let disk = SimDisk::new(Tape::seeded(1));
        for folder in ["segments", "segments/19", "segments/19.renewed"] {
            disk.create_dir(folder).unwrap();
        }
        renew(&disk, "segments/19").unwrap();
        let names: Vec<String> = list(&disk, "segments").unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["19", "19.renewed"]);
        renew(&disk, "segments/19").unwrap();
    }

    #[test]
    fn who_only_looks_finds_what_was_caught_aside_where_it_is() {
        let disk = SimDisk::new(Tape::seeded(1));
        for folder in ["segments", "segments/19.renewed", "segments/20"] {
            disk.create_dir(folder).unwrap();
        }
        for path in ["segments/19.renewed/a", "segments/20/b.renewed", "segments/20/c", "segments/20/c.renewed"] {
            disk.open(path, Access::CreateNew).unwrap();
        }
        let look = |folder| look(&disk, folder).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
        assert_eq!((look("segments"), look("segments/19")), (vec!["19".into(), "20".into()], vec!["a".into()]));
        assert_eq!(look("segments/20"), ["b", "c"]);
        for path in ["segments/19/a", "segments/20/b", "segments/20/c"] {
            open(&disk, path).unwrap();
        }
        assert_eq!(open(&disk, "segments/20/d").err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        assert_eq!(disk.list("segments").unwrap()[0].name, "19.renewed");
    }

    #[test]
    fn only_the_name_that_a_number_has_counts() {
        let path_of = |number: u64| format!("journal/{number:08x}.jnl");
        let number = |name: &str, is_dir| {
            number_in("journal", &DirEntry { name: name.to_owned(), is_dir, len: 0 }, ".jnl", path_of)
        };
        assert_eq!(number("0000002a.jnl", false), Some(42));
        assert_eq!(number("123456789a.jnl", false), Some(0x12_3456_789a));
        assert_eq!(number("0000002a.jnl", true), None);
        for name in ["2a.jnl", "00000002a.jnl", "0000002A.jnl", "+000002a.jnl", "0000002a", ".jnl", "x.jnl"] {
            assert_eq!(number(name, false), None, "{name}");
        }
        assert_eq!(number("ffffffffffffffff.jnl", false), None);
    }

    #[test]
    fn a_name_that_was_caught_aside_is_given_back() {
        let disk = SimDisk::new(Tape::seeded(1));
        disk.create_dir("segments").unwrap();
        disk.create_dir("segments/19.renewed").unwrap();
        assert_eq!(list(&disk, "segments").unwrap()[0].name, "19");
        assert_eq!(disk.list("segments").unwrap()[0].name, "19");
    }
}
