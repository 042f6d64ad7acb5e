//! `LOCK` and `RESERVE`: what one holds is for people, and the other holds nothing.

use super::printer::{Printer, preview};
use super::source::Source;
use crate::cli::Failure;

/// The longest name an owner has is far shorter.
const HOLDER_BYTES: usize = 512;

pub(super) fn lock(printer: &mut Printer<'_>, source: &Source) -> Result<(), Failure> {
    let holder = source.get(0, HOLDER_BYTES);
    printer.part(0, "lock")?;
    if holder.is_empty() {
        printer.note(0, "no owner has written its name: the store is closed, or only looked at")?;
    } else {
        printer.field(0, &holder, "holder", &preview(&holder, HOLDER_BYTES), None)?;
        printer.note(
            0,
            "a name for people, which stays when its owner is killed; whether the store is open the kernel's lock says",
        )?;
    }
    printer.stretch(holder.len() as u64, source.len(), "they don't belong here")
}

pub(super) fn reserve(printer: &mut Printer<'_>, source: &Source) -> Result<(), Failure> {
    printer.part(0, "reserve")?;
    let used = source.first_not_zero(0, source.len());
    let zeros = used.unwrap_or(source.len());
    printer.stretch(
        0,
        zeros,
        "room for the last checkpoint, and for opening, on a full disk; nothing is kept in them",
    )?;
    printer.stretch(zeros, source.len(), "not zero, or not readable, from here on; nothing was ever written here")
}
