//! Every name in the folders: ours and needed, ours and left over, or foreign.

use crate::env::names::name_of_aside;
use crate::error::Result;
use crate::format::manifest::Root;
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::id::SegmentId;
use crate::journal;
use crate::manifest;
use crate::segment::{index_of, is_folder, segment_of};

use super::finding::{Action, Finding};
use super::identity::RESERVE_PATH;
use super::inspection::{Inspection, LOCK_PATH};
use super::repair::ASIDE;
use super::replay::Claims;
use super::tails::may_be_left_over;

/// Looks at every name. `known` is what exists, where that could be told.
pub(super) fn inspect(ins: &mut Inspection<'_>, known: Option<(&Root, &Claims)>) -> Result<()> {
    for entry in ins.list("")? {
        match entry.name.as_str() {
            "STORE" | LOCK_PATH | RESERVE_PATH | "journal" | "manifest" | "segments" => {}
            "STORE.new" => {
                let what = "left by a creation that was cut short; nothing reads it";
                ins.find(Finding::note("STORE.new", what).action(aside("STORE.new")));
            }
            ASIDE => {
                let n = ins.list(ASIDE)?.len();
                ins.find(Finding::note(
                    ASIDE,
                    format!("holds {n} entries that were moved there; delete them when you like"),
                ));
            }
            name => foreign(ins, name, entry.is_dir),
        }
    }
    for entry in ins.list("journal")? {
        if journal::number_of(&entry).is_none() {
            foreign(ins, &format!("journal/{}", entry.name), entry.is_dir);
        }
    }
    for entry in ins.list("manifest")? {
        if manifest::number_of(&entry).is_none() {
            foreign(ins, &format!("manifest/{}", entry.name), entry.is_dir);
        }
    }
    // Where something that would name segments can't be read, nothing may be taken for unnamed.
    let certain = known.is_some() && !ins.is_uncertain();
    for folder in ins.list("segments")? {
        let path = format!("segments/{}", folder.name);
        if !is_folder(&folder) {
            foreign(ins, &path, folder.is_dir);
            continue;
        }
        let entries = ins.list(&path)?;
        for entry in &entries {
            let path = format!("{path}/{}", entry.name);
            match segment_of(&folder.name, entry).or_else(|| index_of(&folder.name, entry)) {
                None => foreign(ins, &path, entry.is_dir),
                Some(id) => {
                    let Some((root, claims)) = known else { continue };
                    if !claims.named.contains(&id) {
                        ins.passed(entry.len);
                        let alone = !entries.iter().any(|e| segment_of(&folder.name, e) == Some(id));
                        if claims.replaced.contains(&id) {
                            let what = "a later segment has its records too; the next open gives it up";
                            ins.find(Finding::note(&path, what));
                            continue;
                        }
                        unnamed(ins, &path, id, alone, certain, root);
                    }
                }
            }
        }
    }
    Ok(())
}

fn aside(path: &str) -> Action {
    Action::MoveAside { path: path.to_owned() }
}

fn foreign(ins: &mut Inspection<'_>, path: &str, is_dir: bool) {
    if let Some(name) = name_of_aside(path) {
        return ins.find(Finding::note(path, format!("an open was cut short; the next one calls it {name} again")));
    }
    if is_dir {
        let what = "a folder that is not a part of the store; it was not looked into";
        return ins.find(Finding::note(path, what));
    }
    let finding = Finding::warning(path, "not a file of the store");
    // A name that is not plain can't be used below the root.
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    ins.find(if plain {
        finding.advice("`braidlog check --repair` moves it aside.").action(aside(path))
    } else {
        finding.advice("Move it elsewhere by hand.")
    });
}

/// A segment, or an index, that nothing names.
fn unnamed(ins: &mut Inspection<'_>, path: &str, id: SegmentId, alone: bool, certain: bool, root: &Root) {
    if path.ends_with(".idx") && alone {
        let finding =
            Finding::note(path, "an index without its segment").advice("`braidlog check --repair` removes it.");
        return ins.find(finding.action(Action::RemoveIndex { path: path.to_owned() }));
    }
    if !certain {
        let what = "nothing that can be read names it; what would name it is damaged, see there";
        return ins.find(Finding::note(path, what));
    }
    if root.retired.contains(&id) {
        return ins.find(Finding::note(path, "given up, but a crash left its name; the next open removes it"));
    }
    if root.clean && root.unnamed.contains(&id) {
        let what = "its owner could not take it back; nothing of it is needed";
        return ins.find(Finding::note(path, what).advice("The first checkpoint after the next open removes it."));
    }
    if !root.clean && may_be_left_over(root, id) {
        let what = "a crash left it before a manifest named it; what it holds is in the journal too";
        return ins.find(Finding::note(path, what).advice("The first checkpoint after the next open removes it."));
    }
    let read = ins.open(path).ok().and_then(|(file, _)| ins.read(&*file, 0, HEADER_BYTES).ok());
    let header = read.and_then(|bytes| SegmentHeader::parse(&bytes).ok());
    let what = match header {
        Some(header) if header.origin == ins.origin && header.segment == id && header.is_pack() => {
            "nothing names it; it says that it is a pack of pieces of many logs".to_owned()
        }
        Some(header) if header.origin == ins.origin && header.segment == id => {
            format!("nothing names it; it says that it is of log {} from number {} on", header.log, header.base)
        }
        Some(_) => "nothing names it; it says that it is another segment, or of another store".to_owned(),
        None => "nothing names it".to_owned(),
    };
    ins.find(
        Finding::warning(path, what)
            .action(aside(path))
            .advice("It takes room and nothing reads it. `braidlog check --repair` moves it aside."),
    );
}
