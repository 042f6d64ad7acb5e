//! `STORE`.

use super::fields::{Fields, Walk, whole};
use super::printer::{Check, Printer};
use super::source::Source;
use crate::cli::Failure;
use crate::format::checksum::Salt;
use crate::format::store::BYTES;

pub(super) fn dump(printer: &mut Printer<'_>, source: &Source) -> Result<(), Failure> {
    let bytes = source.get(0, BYTES);
    printer.part(0, "store")?;
    whole(fields(&mut Fields::new(printer, 0, &bytes), &bytes))?;
    printer.stretch(BYTES as u64, source.len(), "they don't belong here")
}

fn fields(f: &mut Fields<'_, '_>, bytes: &[u8]) -> Walk {
    f.magic(b"BRAIDLOG")?;
    f.u16("version")?;
    f.zero(2)?;
    f.zero(4)?;
    f.store_id("store id")?;
    f.store_id("origin id")?;
    f.time("created")?;
    f.u64("bytes of a journal file")?;
    f.zero(4)?;
    let stored = bytes.get(BYTES - 4..BYTES).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let good = bytes.get(..BYTES - 4).map(|front| Some(Salt::STORE.checksum(front)) == stored);
    f.checksum("checksum of bytes 0..68", Check::of(good))?;
    Ok(())
}
