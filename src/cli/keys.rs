//! Where a line's key comes from.

use regex::bytes::Regex;

/// Picks a key out of a line.
#[derive(Debug)]
pub(crate) enum KeyRule {
    /// No key.
    None,
    /// The n-th field, from 1, of fields with this text between them; runs of blanks if `None`.
    Field(usize, Option<Vec<u8>>),
    /// What the expression's first group matched, or all of the match if it has no group.
    Pattern(Box<Regex>),
}

impl KeyRule {
    /// The key of `line`; `None` where the rule finds nothing.
    pub(crate) fn of<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            KeyRule::None => None,
            KeyRule::Field(n, None) => line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(n - 1),
            KeyRule::Field(n, Some(delimiter)) => field(line, delimiter, *n),
            KeyRule::Pattern(pattern) => {
                let found = pattern.captures(line)?;
                let group = if pattern.captures_len() > 1 { found.get(1) } else { found.get(0) };
                group.map(|group| group.as_bytes())
            }
        }
    }
}

/// The n-th field. The newline at the end of a kept line belongs to no field.
fn field<'a>(line: &'a [u8], delimiter: &[u8], n: usize) -> Option<&'a [u8]> {
    let mut rest = line.strip_suffix(b"\n").unwrap_or(line);
    for _ in 1..n {
        let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
        rest = &rest[at + delimiter.len()..];
    }
    let end = rest.windows(delimiter.len()).position(|window| window == delimiter).unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_one() {
        let blanks = KeyRule::Field(2, None);
        assert_eq!(blanks.of(b"  a \t b c\n"), Some(&b"b"[..]));
        assert_eq!(blanks.of(b"a"), None);
        let commas = |n| KeyRule::Field(n, Some(b",".to_vec()));
        assert_eq!(commas(1).of(b"a,,c\n"), Some(&b"a"[..]));
        assert_eq!(commas(2).of(b"a,,c\n"), Some(&b""[..]), "an empty field is an empty key, not none");
        assert_eq!(commas(3).of(b"a,,c\n"), Some(&b"c"[..]));
        assert_eq!(commas(4).of(b"a,,c\n"), None);
    }

    #[test]
    fn a_pattern_gives_its_first_group() {
        let rule = |pattern| KeyRule::Pattern(Box::new(Regex::new(pattern).unwrap()));
        assert_eq!(rule("user=(\\w+)").of(b"x user=ann y"), Some(&b"ann"[..]));
        assert_eq!(rule("user=\\w+").of(b"x user=ann y"), Some(&b"user=ann"[..]));
        assert_eq!(rule("user=(\\w+)").of(b"\xff"), None);
    }
}
