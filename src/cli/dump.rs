//! `braidlog dump`: one of our files, byte by byte, with what the bytes mean.
//!
//! It prints what is there, damaged or not: a field that is cut off is said to be, a checksum that doesn't match is `BAD`, and
//! printing goes on at the next place where something may start. Positions are decimal, as in what `check` says.

mod change;
mod fields;
mod index;
mod journal;
mod manifest;
mod others;
mod printer;
mod records;
mod segment;
mod source;
mod store;

use std::path::{Path, PathBuf};

use self::printer::Printer;
use self::source::Source;
use super::{Context, Failure, units};
use crate::format::store::StoreFile;
use crate::id::StoreId;

/// Arguments of `braidlog dump`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of a store: STORE, LOCK, RESERVE, *.man, *.jnl, *.seg, *.idx
    ///
    /// Checksums need the store's STORE file. It is looked for in the folders above each file, unless --store names the
    /// store; without it they are shown as unknown.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print each record of each batch, too
    #[arg(long)]
    records: bool,
    /// Print only what starts in the first so many bytes of each file
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    max_bytes: Option<u64>,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let named = match context.store_named {
        true => Some(origin_in(&context.store).ok_or_else(|| {
            Failure::NotFound(format!("there is no readable STORE file in {}", context.store.display()))
        })?),
        false => None,
    };
    for path in &args.files {
        let source = Source::open(path)?;
        let origin = named.or_else(|| origin_above(path));
        let mut printer = Printer::new(context, path, args.max_bytes.unwrap_or(u64::MAX));
        dump(&mut printer, &source, path, origin, args.records)?;
    }
    Ok(())
}

fn dump(
    printer: &mut Printer<'_>,
    source: &Source,
    path: &Path,
    origin: Option<StoreId>,
    records: bool,
) -> Result<(), Failure> {
    let kind = Kind::of(path, source).ok_or_else(|| {
        Failure::Other(format!(
            "{} is no file of a store: neither its name nor its first bytes say what it is",
            path.display()
        ))
    })?;
    printer.begin(kind.what(), source.len())?;
    if !matches!(kind, Kind::Store | Kind::Lock | Kind::Reserve) && origin.is_none() {
        printer.note(
            0,
            "no STORE file found above it: what the file says of itself has to do; --store DIR names the store",
        )?;
    }
    match kind {
        Kind::Store => store::dump(printer, source),
        Kind::Lock => others::lock(printer, source),
        Kind::Reserve => others::reserve(printer, source),
        Kind::Manifest => manifest::dump(printer, source, origin),
        Kind::Journal => journal::dump(printer, source, origin, records),
        Kind::Segment => segment::dump(printer, source, origin, records),
        Kind::Index => index::dump(printer, source, origin),
    }?;
    printer.end(source.len())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Store,
    Lock,
    Reserve,
    Manifest,
    Journal,
    Segment,
    Index,
}

impl Kind {
    /// By name, and where that says nothing by the first bytes.
    fn of(path: &Path, source: &Source) -> Option<Kind> {
        let extension = path.extension().and_then(|e| e.to_str());
        let name = path.file_name().and_then(|n| n.to_str());
        match (extension, name) {
            (Some("man"), _) => return Some(Kind::Manifest),
            (Some("jnl"), _) => return Some(Kind::Journal),
            (Some("seg"), _) => return Some(Kind::Segment),
            (Some("idx"), _) => return Some(Kind::Index),
            (_, Some("STORE" | "STORE.new")) => return Some(Kind::Store),
            (_, Some("LOCK")) => return Some(Kind::Lock),
            (_, Some("RESERVE")) => return Some(Kind::Reserve),
            _ => {}
        }
        let front = source.get(0, 8);
        match (front.get(..4)?, front.get(4..8)?) {
            (b"BRAI", b"DLOG") => Some(Kind::Store),
            (b"BLMF", _) => Some(Kind::Manifest),
            (b"BLSG", _) => Some(Kind::Segment),
            (b"BLIX", _) => Some(Kind::Index),
            (_, b"BLJF") => Some(Kind::Journal),
            _ => None,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Kind::Store => "the identity of a store",
            Kind::Lock => "the lock of a store",
            Kind::Reserve => "the reserve of a store",
            Kind::Manifest => "a manifest",
            Kind::Journal => "a journal file",
            Kind::Segment => "a segment",
            Kind::Index => "the index of a segment",
        }
    }
}

/// The origin id that the `STORE` file in a folder says.
fn origin_in(folder: &Path) -> Option<StoreId> {
    let source = Source::open(&folder.join("STORE")).ok()?;
    StoreFile::decode(&source.get(0, crate::format::store::BYTES + 1)).ok().map(|store| store.origin)
}

/// The same of the nearest folder above a file that has one.
fn origin_above(path: &Path) -> Option<StoreId> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().skip(1).find_map(origin_in)
}
