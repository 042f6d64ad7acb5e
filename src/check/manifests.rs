//! Every manifest file: header, root and pages; what the manifest in force and the one before need, and the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::env::Disk;
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::checksum::Salt;
use crate::format::manifest::{HEADER_BYTES, LogRow, ManifestHeader, PageRef, Root, decode_page};
use crate::id::LogId;
use crate::manifest::{Manifest, manifest_path, numbers, read_root};
use crate::segment::walk::dirty;

use super::finding::{Finding, Severity};
use super::identity::too_new;
use super::inspection::Inspection;

/// A page with its buckets, and how bad it would be to lose it.
struct Wanted {
    page: PageRef,
    buckets: RangeInclusive<u16>,
    severity: Severity,
    /// Another stands for it.
    is_set_aside: bool,
}

/// Pages by file and position.
type Pages = BTreeMap<(u64, u64), Wanted>;

/// Verifies every manifest file and answers with the manifest in force, if there is one.
pub(super) fn inspect(ins: &mut Inspection<'_>) -> Result<Option<Manifest>> {
    let numbers = files(&*ins.disk);
    let in_force = match Manifest::load(ins.disk.clone(), ins.origin) {
        Ok((manifest, _)) => Some(manifest),
        Err(error @ Error::TooNew { .. }) => return Err(error),
        Err(_) => None,
    };
    let newest = numbers.last().copied();
    ins.report.manifest = newest;
    let mut wanted = Pages::new();
    if let Some(manifest) = &in_force {
        want(&mut wanted, &manifest.root, Severity::Damage);
    }
    let whole = |number: &u64| read_root(&*ins.disk, ins.origin, *number).ok().map(|root| (*number, root));
    let current = numbers.iter().rev().find_map(whole).map(|(number, _)| number);
    let before = numbers.iter().rev().filter(|n| Some(**n) < current).find_map(whole);
    if let Some((_, root)) = &before {
        want(&mut wanted, root, Severity::Warning);
    }
    for &number in &numbers {
        let role = match current {
            None => Role::Lost,
            Some(current) if number > current => Role::Newer,
            Some(current) if number == current => Role::Current,
            _ => Role::Older,
        };
        file(ins, number, role, &wanted);
    }
    if current.is_some() && before.is_none() && numbers.len() > 1 {
        let what = "there is no second manifest that is whole, to fall back to";
        ins.find(Finding::note("manifest", what).advice("The next checkpoint makes one."));
    }
    let missing: BTreeSet<u64> =
        wanted.keys().map(|(manifest, _)| *manifest).filter(|n| numbers.binary_search(n).is_err()).collect();
    for number in missing {
        let path = manifest_path(number);
        for wanted in wanted.range((number, 0)..=(number, u64::MAX)).map(|(_, w)| w) {
            let finding = lost_page(&path, wanted, Damage::Missing);
            ins.find(finding);
        }
    }
    if in_force.is_none() {
        let what = match newest {
            Some(_) => "no manifest can be used: what exists is not known",
            None => "there is no manifest: what exists is not known",
        };
        ins.find(Finding::damage("manifest", what).advice(
            "The store can't be opened. Restore it from a backup, or copy what the segments and the journal still hold \
             into a new store with `braidlog check --salvage DEST`: names of logs are taken from any manifest page that \
             can be read.",
        ));
    }
    Ok(in_force)
}

/// The numbers of files with exactly the name that we would give them. Others are foreign, whatever they look like.
pub(super) fn files(disk: &dyn Disk) -> Vec<u64> {
    numbers(disk).unwrap_or_default()
}

/// The number of the newest file.
pub(super) fn newest(disk: &dyn Disk) -> Option<u64> {
    files(disk).pop()
}

/// Adds the pages of a root; one that an earlier root wanted stays as it is.
fn want(pages: &mut Pages, root: &Root, severity: Severity) {
    for (i, page) in root.pages.iter().enumerate() {
        let next = root.pages[i..].iter().find(|next| next.first_bucket > page.first_bucket);
        let buckets = page.first_bucket..=next.map_or(LogId::BUCKETS, |next| next.first_bucket) - 1;
        let is_set_aside = root.pages.get(i + 1).is_some_and(|next| next.first_bucket == page.first_bucket);
        let wanted = Wanted { page: *page, buckets, severity, is_set_aside };
        pages.entry((page.manifest, page.position)).or_insert(wanted);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Newer than the one in force: it can't be read.
    Newer,
    Current,
    Older,
    /// There is none in force.
    Lost,
}

fn file(ins: &mut Inspection<'_>, number: u64, role: Role, wanted: &Pages) {
    let path = manifest_path(number);
    let (file, len) = match ins.open(&path) {
        Ok(opened) => opened,
        Err(finding) => return ins.find(*finding),
    };
    ins.begin_file(&path);
    let root = ins.read(&*file, 0, HEADER_BYTES).map_err(|what| (0, what)).and_then(|bytes| {
        let header = ManifestHeader::parse(&bytes).map_err(|what| (0, what))?;
        if header.origin != ins.origin || header.number != number {
            return Err((0, Damage::Misplaced));
        }
        let at = header.root_position;
        let bytes = ins.read(&*file, at, header.root_bytes as usize).map_err(|what| (at, what))?;
        if Salt::manifest(ins.origin, number).checksum(&bytes) != header.root_checksum {
            return Err((at, Damage::Checksum));
        }
        let root = Root::decode(&bytes).map_err(|what| (at, what))?;
        let end = at + u64::from(header.root_bytes);
        Ok((root, at, end))
    });
    let mut pages: Vec<Wanted> = Vec::new();
    match root {
        Ok((root, at, end)) => {
            if end < len {
                let what = format!("{} bytes behind the root mean nothing", len - end);
                ins.find(Finding::warning(&path, what).at(end).advice("Nothing reads them."));
            }
            let mut own = Pages::new();
            want(&mut own, &root, Severity::Note);
            own.retain(|(manifest, _), _| *manifest == number);
            let mut next = HEADER_BYTES as u64;
            for (_, page) in own {
                if page.page.position != next {
                    let what = format!("no page covers the bytes from {next} up to {}", page.page.position);
                    ins.find(Finding::warning(&path, what).at(next).advice("Nothing reads them."));
                }
                next = page.page.position + u64::from(page.page.bytes);
                let key = (number, page.page.position);
                if !wanted.contains_key(&key) {
                    pages.push(page);
                }
            }
            if next < at {
                let what = format!("no page covers the bytes from {next} up to the root");
                ins.find(Finding::warning(&path, what).at(next).advice("Nothing reads them."));
            }
        }
        Err((_, Damage::TooNew(version))) => ins.find(too_new(&path, version)),
        Err((at, what)) => {
            let front = ins.read(&*file, 0, len.min(HEADER_BYTES as u64) as usize).unwrap_or_default();
            let (severity, advice) = match role {
                // A manifest's header is written last.
                Role::Newer | Role::Older if dirty(&front, 0, front.len()).is_none() => {
                    (Severity::Note, "It was begun and never finished: a crash leaves that. The one before it counts.")
                }
                Role::Newer => (
                    Severity::Damage,
                    "The manifest before it is used instead. Whether the journal still holds every change since is said \
                     below, with the journal; if it does, the next open writes a new manifest and nothing is lost.",
                ),
                Role::Older => (
                    Severity::Warning,
                    "The newest manifest is whole, so nothing is lost. Pages of this file that are in use are checked one by \
                     one. Open the store and close it again.",
                ),
                Role::Current | Role::Lost => (Severity::Damage, "See below."),
            };
            let finding = Finding::new(severity, &path, what.to_string()).at(at).advice(advice);
            if role == Role::Newer { ins.find_superseding(finding) } else { ins.find(finding) }
        }
    }
    let in_use = wanted.range((number, 0)..=(number, u64::MAX)).map(|(_, w)| w);
    for wanted in in_use.chain(&pages) {
        let page = &wanted.page;
        let verified = ins.read(&*file, page.position, page.bytes as usize).and_then(|bytes| {
            if Salt::manifest(ins.origin, number).checksum(&bytes) != page.checksum {
                return Err(Damage::Checksum);
            }
            decode_page(&bytes)
        });
        match verified {
            // It can be read by now, but it is old in part.
            Ok(_) if wanted.is_set_aside => ins.find(lost_page(&path, wanted, Damage::Unreadable)),
            Ok(rows) if fits(&rows, wanted) => {}
            Ok(_) => ins.find(lost_page(&path, wanted, Damage::Misplaced)),
            Err(what) => ins.find(lost_page(&path, wanted, what)),
        }
    }
}

/// Whether a page holds the rows its reference says, in order.
fn fits(rows: &[LogRow], wanted: &Wanted) -> bool {
    let key = |row: &LogRow| (row.id.bucket(), row.id);
    rows.len() == wanted.page.logs as usize
        && rows.iter().all(|row| wanted.buckets.contains(&row.id.bucket()))
        && rows.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]))
}

fn lost_page(path: &str, wanted: &Wanted, what: Damage) -> Finding {
    let (from, upto) = (wanted.buckets.start(), wanted.buckets.end());
    let whose = format!("the page with {} logs (buckets {from} to {upto}): {what}", wanted.page.logs);
    let advice = match wanted.severity {
        Severity::Damage => {
            "These logs can't be opened; the others can. Restore the file from a backup of the folder, or copy what can \
             be read into a new store with `braidlog check --salvage DEST`."
        }
        Severity::Warning => "Only the manifest before the newest needs it. Open the store and close it again.",
        Severity::Note => "Nothing needs it any more.",
    };
    Finding::new(wanted.severity, path, whose).at(wanted.page.position).advice(advice)
}
