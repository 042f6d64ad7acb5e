//! Field after field off the front of a structure, printed on the way.

use super::printer::{Check, Printer, preview};
use crate::cli::{Failure, time};
use crate::id::StoreId;

/// Why a structure was not printed to its end.
pub(super) enum Stop {
    /// The bytes end.
    Short,
    /// The output does.
    Output(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Output(failure)
    }
}

pub(super) type Walk<T = ()> = Result<T, Stop>;

/// Ends a walk: whether it got to its end.
pub(super) fn whole<T>(walk: Walk<T>) -> Result<Option<T>, Failure> {
    match walk {
        Ok(value) => Ok(Some(value)),
        Err(Stop::Short) => Ok(None),
        Err(Stop::Output(failure)) => Err(failure),
    }
}

/// Walks the bytes of one structure.
pub(super) struct Fields<'a, 'p> {
    printer: &'a mut Printer<'p>,
    base: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a, 'p> Fields<'a, 'p> {
    /// `bytes` lie at `base` in the file.
    pub(super) fn new(printer: &'a mut Printer<'p>, base: u64, bytes: &'a [u8]) -> Fields<'a, 'p> {
        Fields { printer, base, bytes, at: 0 }
    }

    /// Position in the file of the next field.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn part(&mut self, part: impl Into<String>) -> Walk {
        Ok(self.printer.part(self.base + self.at as u64, part)?)
    }

    pub(super) fn note(&mut self, what: &str) -> Walk {
        Ok(self.printer.note(self.base + self.at as u64, what)?)
    }

    fn take(&mut self, name: &str, n: usize) -> Walk<&'a [u8]> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..n)) {
            Some(bytes) => {
                self.at += n;
                Ok(bytes)
            }
            None => {
                let left = self.remaining();
                self.note(&format!("cut off: {name} needs {n} bytes, {left} are left"))?;
                Err(Stop::Short)
            }
        }
    }

    fn print(&mut self, bytes: &[u8], name: &str, value: &str, check: Option<Check>) -> Walk {
        let at = self.base + (self.at - bytes.len()) as u64;
        Ok(self.printer.field(at, bytes, name, value, check)?)
    }

    /// A number of 1 to 8 bytes; `show` makes text of it.
    fn number(&mut self, name: &str, n: usize, show: impl Fn(u64) -> String) -> Walk<u64> {
        let bytes = self.take(name, n)?;
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.print(bytes, name, &show(value), None)?;
        Ok(value)
    }

    pub(super) fn u8(&mut self, name: &str) -> Walk<u8> {
        Ok(self.number(name, 1, |n| n.to_string())? as u8)
    }

    pub(super) fn u16(&mut self, name: &str) -> Walk<u16> {
        Ok(self.number(name, 2, |n| n.to_string())? as u16)
    }

    pub(super) fn u24(&mut self, name: &str) -> Walk<u32> {
        Ok(self.number(name, 3, |n| n.to_string())? as u32)
    }

    pub(super) fn u32(&mut self, name: &str) -> Walk<u32> {
        Ok(self.number(name, 4, |n| n.to_string())? as u32)
    }

    pub(super) fn u64(&mut self, name: &str) -> Walk<u64> {
        self.number(name, 8, |n| n.to_string())
    }

    /// A number that stands for something.
    pub(super) fn word(&mut self, name: &str, n: usize, show: impl Fn(u64) -> String) -> Walk<u64> {
        self.number(name, n, show)
    }

    pub(super) fn id(&mut self, name: &str) -> Walk<u64> {
        self.number(name, 8, |n| format!("{n:#x}"))
    }

    /// Milliseconds since 1970.
    pub(super) fn time(&mut self, name: &str) -> Walk<u64> {
        self.number(name, 8, when)
    }

    pub(super) fn store_id(&mut self, name: &str) -> Walk<StoreId> {
        let bytes = self.take(name, 16)?;
        let mut id = [0; 16];
        id.copy_from_slice(bytes);
        self.print(bytes, name, &StoreId(id).to_string(), None)?;
        Ok(StoreId(id))
    }

    pub(super) fn magic(&mut self, expected: &[u8]) -> Walk<bool> {
        let bytes = self.take("magic", expected.len())?;
        let good = bytes == expected;
        let value =
            if good { preview(bytes, 8) } else { format!("{}, not {}", preview(bytes, 8), preview(expected, 8)) };
        self.print(bytes, "magic", &value, Some(Check::of(Some(good))))?;
        Ok(good)
    }

    /// Bytes that must be zero.
    pub(super) fn zero(&mut self, n: usize) -> Walk {
        let bytes = self.take("zero", n)?;
        let good = bytes.iter().all(|b| *b == 0);
        self.print(bytes, "zero", if good { "0" } else { "not zero" }, (!good).then_some(Check::Bad))
    }

    /// Bytes between structures that should be zero and that nothing reads.
    pub(super) fn padding(&mut self, n: usize) -> Walk {
        if n == 0 {
            return Ok(());
        }
        let bytes = self.take("padding", n)?;
        let good = bytes.iter().all(|b| *b == 0);
        self.print(bytes, "padding", if good { "zeros" } else { "not zero; nothing reads it" }, None)
    }

    pub(super) fn checksum(&mut self, name: &str, check: Check) -> Walk<u32> {
        let bytes = self.take(name, 4)?;
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        self.print(bytes, name, &format!("{value:#010x}"), Some(check))?;
        Ok(value)
    }

    /// Text with a one-byte length.
    pub(super) fn text(&mut self, name: &str) -> Walk {
        let len = self.u8(&format!("bytes of {name}"))?;
        self.data(name, usize::from(len))
    }

    pub(super) fn data(&mut self, name: &str, n: usize) -> Walk {
        let bytes = self.take(name, n)?;
        self.print(bytes, name, &preview(bytes, 64), None)
    }

    /// `n` bytes ahead, without printing them.
    pub(super) fn peek(&self, n: usize) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        &rest[..rest.len().min(n)]
    }

    /// Steps over bytes that something else printed.
    pub(super) fn skip(&mut self, n: usize) {
        self.at = (self.at + n).min(self.bytes.len());
    }

    pub(super) fn printer(&mut self) -> &mut Printer<'p> {
        self.printer
    }
}

/// Milliseconds since 1970 with what they mean, where they mean something.
pub(super) fn when(ms: u64) -> String {
    // Four-digit years; a damaged number may be anything.
    if (1..253_402_300_800_000).contains(&ms) { format!("{ms} ({})", time::format(ms)) } else { ms.to_string() }
}
