//! Where a record begins and ends in the text of a file. Pure.

use regex::bytes::Regex;

/// How text is cut into records.
#[derive(Debug)]
pub(super) struct CutRule {
    /// A record goes from a line that this matches up to the next such line. Without it, each line is a record.
    pub(super) first_line: Option<Regex>,
    /// What would be longer becomes several records.
    pub(super) bytes_max: usize,
}

/// A record at the front of some text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Its length, without the newline after it.
    pub(super) len: usize,
    /// How much of the text it takes, with it.
    pub(super) used: usize,
}

impl CutRule {
    /// The record at the front of `text`, if its end can be told. `is_all` says that nothing more will come.
    pub(super) fn next(&self, text: &[u8], is_all: bool) -> Option<Cut> {
        if text.is_empty() {
            return None;
        }
        let end = match &self.first_line {
            None => newline(text, 0),
            Some(first_line) => before_next(text, first_line, is_all),
        };
        match end {
            Some(len) if len <= self.bytes_max => Some(Cut { len, used: len + 1 }),
            None if text.len() <= self.bytes_max => is_all.then(|| {
                let len = text.strip_suffix(b"\n").unwrap_or(text).len();
                Cut { len, used: text.len() }
            }),
            _ => Some(Cut { len: self.bytes_max, used: self.bytes_max }),
        }
    }
}

fn newline(text: &[u8], from: usize) -> Option<usize> {
    text[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at)
}

/// The newline before the next first line. A line whose end is not there yet may still come to match.
fn before_next(text: &[u8], first_line: &Regex, is_all: bool) -> Option<usize> {
    let mut at = newline(text, 0)?;
    loop {
        let end = match newline(text, at + 1) {
            Some(end) => end,
            None if is_all => text.len(),
            None => return None,
        };
        if first_line.is_match(&text[at + 1..end]) {
            return Some(at);
        }
        if end == text.len() {
            return None;
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records of `text`, and what is left of it.
    fn all(rule: &CutRule, mut text: &[u8], is_all: bool) -> (Vec<String>, String) {
        let mut found = Vec::new();
        while let Some(Cut { len, used }) = rule.next(text, is_all) {
            found.push(String::from_utf8_lossy(&text[..len]).into_owned());
            text = &text[used..];
        }
        (found, String::from_utf8_lossy(text).into_owned())
    }

    fn lines(bytes_max: usize) -> CutRule {
        CutRule { first_line: None, bytes_max }
    }

    fn dated() -> CutRule {
        CutRule { first_line: Some(Regex::new(r"^\d{4}-").unwrap()), bytes_max: 100 }
    }

    fn owned(found: &[&str], rest: &str) -> (Vec<String>, String) {
        (found.iter().map(|text| (*text).to_owned()).collect(), rest.to_owned())
    }

    #[test]
    fn a_line_is_a_record_once_its_newline_is_there() {
        assert_eq!(all(&lines(100), b"a\n\nb", false), owned(&["a", ""], "b"));
        assert_eq!(all(&lines(100), b"a\n\nb", true), owned(&["a", "", "b"], ""));
        assert_eq!(all(&lines(100), b"", true), owned(&[], ""));
    }

    #[test]
    fn what_is_too_long_becomes_several_records() {
        assert_eq!(all(&lines(3), b"abcdefgh\nabc\n", false), owned(&["abc", "def", "gh", "abc"], ""));
        assert_eq!(all(&lines(3), b"abc", false), owned(&[], "abc"), "the next byte may be its newline");
        assert_eq!(all(&lines(3), b"abcd", false), owned(&["abc"], "d"));
    }

    #[test]
    fn a_record_goes_up_to_the_next_first_line() {
        let text = b"2026-01 error\n  at a\n  at b\n2026-02 fine\n2026-03";
        assert_eq!(all(&dated(), text, false), owned(&["2026-01 error\n  at a\n  at b"], "2026-02 fine\n2026-03"));
        let whole = ["2026-01 error\n  at a\n  at b", "2026-02 fine", "2026-03"];
        assert_eq!(all(&dated(), text, true), owned(&whole, ""));
        assert_eq!(all(&dated(), b"2026-01 x\n", true), owned(&["2026-01 x"], ""));
        assert_eq!(all(&dated(), b"  at x\n2026-01 y\n2026-02 z\n", false).0, ["  at x", "2026-01 y"]);
    }

    #[test]
    fn a_record_of_many_lines_is_bounded_too() {
        let rule = CutRule { bytes_max: 4, ..dated() };
        assert_eq!(all(&rule, b"2026-\nab\n2026-", true), owned(&["2026", "-\nab", "2026", "-"], ""));
    }
}
