//! `*.man`.

use super::fields::{Fields, Walk, whole};
use super::printer::{Check, Printer};
use super::source::Source;
use crate::cli::Failure;
use crate::format::checksum::Salt;
use crate::format::manifest::{HEADER_BYTES, PageRef, Root};
use crate::id::{LogId, SegmentId, StoreId};

/// What the header says.
struct Header {
    number: u64,
    root_position: u64,
    root_bytes: u32,
    root_checksum: u32,
    salt: Option<Salt>,
}

pub(super) fn dump(printer: &mut Printer<'_>, source: &Source, origin: Option<StoreId>) -> Result<(), Failure> {
    let bytes = source.get(0, HEADER_BYTES);
    printer.part(0, "manifest")?;
    let Some(header) = whole(header(&mut Fields::new(printer, 0, &bytes), &bytes, origin))? else { return Ok(()) };
    let end = header.root_position.saturating_add(u64::from(header.root_bytes));
    if header.root_position < HEADER_BYTES as u64 || header.root_position > source.len() {
        return printer.stretch(
            HEADER_BYTES as u64,
            source.len(),
            "where the root is can't be told, so neither can the pages",
        );
    }
    let root_bytes = source.get(header.root_position, header.root_bytes as usize);
    let whole_root = root_bytes.len() == header.root_bytes as usize;
    let good = header.salt.map(|salt| whole_root && salt.checksum(&root_bytes) == header.root_checksum);
    let mut pages: Vec<PageRef> = Root::decode(&root_bytes).map(|root| root.pages).unwrap_or_default();
    pages.retain(|page| page.manifest == header.number);
    pages.sort_by_key(|page| page.position);
    let mut at = HEADER_BYTES as u64;
    for page in &pages {
        if page.position > at {
            printer.stretch(at, page.position, "no page of the root's")?;
        }
        dump_page(printer, source, page, header.salt)?;
        at = at.max(page.position.saturating_add(u64::from(page.bytes)));
    }
    if header.root_position > at {
        printer.stretch(at, header.root_position, "no page of the root's")?;
    }
    printer.part(header.root_position, "root")?;
    let what = format!("{} bytes of root", root_bytes.len());
    printer.field(header.root_position, &root_bytes, "root", &what, Some(Check::of(good)))?;
    whole(root(&mut Fields::new(printer, header.root_position, &root_bytes)))?;
    printer.stretch(end, source.len(), "behind the root; they don't belong here")
}

fn header(f: &mut Fields<'_, '_>, bytes: &[u8], origin: Option<StoreId>) -> Walk<Header> {
    f.magic(b"BLMF")?;
    f.u16("version")?;
    f.zero(2)?;
    let own = f.store_id("origin id of the store")?;
    if origin.is_some_and(|origin| origin != own) {
        f.note("this is not the store whose STORE file was found")?;
    }
    let number = f.u64("number of this manifest")?;
    let root_position = f.u64("position of the root")?;
    let root_bytes = f.u32("bytes of the root")?;
    let root_checksum = f.word("checksum of the root", 4, |sum| format!("{sum:#010x}"))? as u32;
    f.zero(8)?;
    f.zero(4)?;
    let stored = bytes.get(60..64).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    // A header that verifies says itself which store it is of.
    let own_salt = Salt::manifest(own, number);
    let good = bytes.get(..60).map(|front| Some(own_salt.checksum(front)) == stored);
    f.checksum("checksum of bytes 0..60", Check::of(good))?;
    let salt = if good == Some(true) { Some(own_salt) } else { origin.map(|origin| Salt::manifest(origin, number)) };
    Ok(Header { number, root_position, root_bytes, root_checksum, salt })
}

fn dump_page(printer: &mut Printer<'_>, source: &Source, page: &PageRef, salt: Option<Salt>) -> Result<(), Failure> {
    if printer.is_over(page.position) {
        return Ok(());
    }
    let bytes = source.get(page.position, page.bytes as usize);
    let part = format!("page of buckets from {}", page.first_bucket);
    printer.part(page.position, part.clone())?;
    let good = salt.map(|salt| bytes.len() == page.bytes as usize && salt.checksum(&bytes) == page.checksum);
    printer.field(page.position, &bytes, "page", &format!("{} bytes", bytes.len()), Some(Check::of(good)))?;
    let mut f = Fields::new(printer, page.position, &bytes);
    whole(rows(&mut f, &part))?;
    Ok(())
}

fn rows(f: &mut Fields<'_, '_>, part: &str) -> Walk {
    let count = f.u32("number of rows")?;
    for n in 0..count {
        row(f, &format!("{part}, row {n}"))?;
    }
    if f.remaining() > 0 {
        f.note(&format!("{} bytes behind the rows don't belong here", f.remaining()))?;
    }
    Ok(())
}

/// The row of a log, here and in the journal.
pub(super) fn row(f: &mut Fields<'_, '_>, part: &str) -> Walk {
    let none = |n: u64| if n == 0 { "0: none".to_owned() } else { n.to_string() };
    f.part(format!("{part}: a log"))?;
    f.word("log id", 8, |id| format!("{} (bucket {})", LogId(id), LogId(id).bucket()))?;
    f.text("name")?;
    f.time("created")?;
    f.word("durability", 1, |n| match n {
        0 => "0: durable".to_owned(),
        1 => "1: buffered".to_owned(),
        n => format!("{n}: unknown"),
    })?;
    f.word("flags", 1, |n| match n {
        0 => "0".to_owned(),
        1 => "1: stopped".to_owned(),
        n => format!("{n}: unknown"),
    })?;
    f.u64("stopped at")?;
    f.word("retention by age, ms", 8, none)?;
    f.word("retention by bytes", 8, none)?;
    f.u64("bytes that may be held back")?;
    f.u64("largest segment")?;
    f.u64("trim horizon")?;
    f.u64("next sequence number")?;
    f.u64("numbers reserved up to")?;
    f.time("last arrival")?;
    let count = f.u32("number of segments")?;
    for n in 0..count {
        f.part(format!("{part}, segment {n}"))?;
        f.word("segment id", 8, |id| format!("{id} ({})", SegmentId(id)))?;
        f.word("start", 8, |n| if n == 0 { "0: a segment".to_owned() } else { format!("{n}: a piece of a pack") })?;
        f.u64("first number")?;
        f.u64("number after the last")?;
        f.u64("end in bytes")?;
        f.time("first arrival")?;
        f.time("last arrival")?;
    }
    Ok(())
}

fn root(f: &mut Fields<'_, '_>) -> Walk {
    f.u64("frame")?;
    f.word("checksum of that frame", 4, |sum| format!("{sum:#010x}"))?;
    f.u64("next log counter")?;
    f.u64("segment ids reserved below")?;
    f.word("clean", 1, |n| match n {
        0 => "0: no".to_owned(),
        1 => "1: yes".to_owned(),
        n => format!("{n}: unknown"),
    })?;
    f.time("highest time stamp")?;
    f.u64("bytes of all segments")?;
    for _ in 0..f.u32("number of generations")? {
        f.u64("generation")?;
        f.u64("its first frame")?;
    }
    for _ in 0..f.u32("number of unnamed segments")? {
        f.word("unnamed segment", 8, |id| format!("{id} ({})", SegmentId(id)))?;
    }
    for _ in 0..f.u32("number of journal files")? {
        f.u64("journal file")?;
    }
    for _ in 0..f.u32("number of touched logs")? {
        f.id("touched log")?;
    }
    for _ in 0..f.u32("number of retired segments")? {
        f.word("retired segment", 8, |id| format!("{id} ({})", SegmentId(id)))?;
    }
    for _ in 0..f.u32("number of packs")? {
        f.word("pack", 8, |id| format!("{id} ({})", SegmentId(id)))?;
        f.u64("its bytes that rows name")?;
    }
    let count = f.u32("number of pages")?;
    for n in 0..count {
        f.part(format!("root, page {n}"))?;
        f.u16("first bucket")?;
        f.u64("manifest")?;
        f.u64("position")?;
        f.u32("bytes")?;
        f.word("checksum", 4, |sum| format!("{sum:#010x}"))?;
        f.u32("logs")?;
    }
    if f.remaining() > 0 {
        f.note(&format!("{} bytes behind the root's fields are not known to this version", f.remaining()))?;
    }
    Ok(())
}
