//! The beginning of what may be long, for logs and messages.

use std::fmt::{self, Display, Write};

/// What stands where the rest was left out.
const CUT: &str = "...";

/// What is shown of a value: so many bytes of it at most, and a mark if that is not all. No more than these are ever built: a
/// client that chose the value doesn't choose what it costs to tell of it.
pub fn excerpt(value: impl Display, bytes_max: usize) -> String {
    let mut kept = Kept { text: String::new(), bytes_max };
    if write!(kept, "{value}").is_err() {
        kept.text.push_str(CUT);
    }
    kept.text
}

struct Kept {
    text: String,
    bytes_max: usize,
}

impl Write for Kept {
    /// Fails once it is full, which ends the writing.
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let left = self.bytes_max - self.text.len();
        let fits = piece.floor_char_boundary(left);
        self.text.push_str(&piece[..fits]);
        if fits < piece.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_marked() {
        assert_eq!(excerpt("", 0), "");
        assert_eq!(excerpt("abcd", 4), "abcd");
        assert_eq!(excerpt("abcde", 4), "abcd...");
        assert_eq!(excerpt("aüü", 4), "aü...");
        assert_eq!(excerpt(format_args!("{}.{}", "ab", "cdef"), 4), "ab.c...");
    }
}
