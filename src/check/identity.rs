//! `STORE`, and what else lies in the root.

use crate::error::{Error, Result};
use crate::format::manifest::{HEADER_BYTES, ManifestHeader};
use crate::format::segment::{HEADER_BYTES as SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::store::{BYTES, StoreFile};
use crate::format::{Damage, first_nonzero};
use crate::id::StoreId;
use crate::manifest::manifest_path;

use super::finding::Finding;
use super::inspection::Inspection;
use super::manifests;

const STORE_PATH: &str = "STORE";
pub(super) const RESERVE_PATH: &str = "RESERVE";

/// Finds out which store this is. False when that can't be told: then nothing else can be verified.
pub(super) fn inspect(ins: &mut Inspection<'_>) -> Result<bool> {
    let root = ins.list("")?;
    if !root.iter().any(|e| ["STORE", "manifest", "segments"].contains(&e.name.as_str())) {
        let found = root.first().map_or("nothing".to_owned(), |e| e.name.clone());
        return Err(Error::NotAStore { root: ins.disk.root(), found });
    }
    reserve(ins);
    let found = ins.open(STORE_PATH).and_then(|(file, len)| {
        ins.begin_file(STORE_PATH);
        let read = ins.read(&*file, 0, len.min(BYTES as u64 + 1) as usize);
        read.and_then(|bytes| StoreFile::decode(&bytes)).map_err(|what| match what {
            Damage::TooNew(version) => Box::new(too_new(STORE_PATH, version)),
            what => Box::new(Finding::damage(STORE_PATH, what.to_string()).at(0)),
        })
    });
    let finding = match found {
        Ok(store) => {
            ins.origin = store.origin;
            ins.journal_file_bytes = Some(store.journal_file_bytes);
            return Ok(true);
        }
        Err(finding) => finding,
    };
    match guess(ins)? {
        Some(origin) => {
            ins.origin = origin;
            ins.find(finding.advice(
                "The store can't be opened. The other files say which store they are of, so they were checked all the \
                 same. Restore STORE from a backup of this store, or copy everything into a new store with \
                 `braidlog check --salvage DEST`.",
            ));
            Ok(true)
        }
        None => {
            ins.find(
                finding.advice("No other file says which store this is either: nothing can be verified or salvaged."),
            );
            Ok(false)
        }
    }
}

pub(super) fn too_new(path: &str, version: u16) -> Finding {
    Finding::warning(path, Damage::TooNew(version).to_string()).at(0).advice("Check it with the version that wrote it.")
}

/// What the newest readable manifest, or else any segment, says of where it came from.
fn guess(ins: &mut Inspection<'_>) -> Result<Option<StoreId>> {
    for number in manifests::files(&*ins.disk).into_iter().rev() {
        let Ok((file, _)) = ins.open(&manifest_path(number)) else { continue };
        let header = ins.read(&*file, 0, HEADER_BYTES).and_then(|bytes| ManifestHeader::parse(&bytes));
        if let Some(header) = header.ok().filter(|header| header.number == number) {
            return Ok(Some(header.origin));
        }
    }
    for folder in ins.list("segments")?.into_iter().filter(|e| e.is_dir) {
        for entry in ins.list(&format!("segments/{}", folder.name))? {
            let Ok((file, _)) = ins.open(&format!("segments/{}/{}", folder.name, entry.name)) else { continue };
            let header = ins.read(&*file, 0, SEGMENT_HEADER_BYTES).and_then(|bytes| SegmentHeader::parse(&bytes));
            if let Ok(header) = header {
                return Ok(Some(header.origin));
            }
        }
    }
    Ok(None)
}

/// The room kept for a full disk: zeros.
fn reserve(ins: &mut Inspection<'_>) {
    let Ok((file, len)) = ins.open(RESERVE_PATH) else { return };
    ins.begin_file(RESERVE_PATH);
    let mut at = 0;
    while at < len {
        let n = (len - at).min(1 << 20) as usize;
        match ins.read(&*file, at, n) {
            Ok(bytes) => {
                if let Some(dirt) = first_nonzero(&bytes) {
                    let what = "it holds bytes that are not zero; nothing is ever read from it";
                    let at = at + dirt as u64;
                    ins.find(Finding::warning(RESERVE_PATH, what).at(at).advice("Watch the device it lies on."));
                    return;
                }
            }
            Err(what) => {
                let finding = Finding::warning(RESERVE_PATH, what.to_string()).at(at);
                ins.find(finding.advice("Nothing is ever read from it. Watch the device it lies on."));
                return;
            }
        }
        at += n as u64;
    }
}
