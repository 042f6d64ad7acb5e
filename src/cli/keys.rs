//! Where a line's key comes from.

use regex::bytes::Regex;

use super::Failure;
use crate::limits::PARTITION_KEY_CHARS_MAX;

/// Options that say where a line's key comes from.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct KeyArgs {
    /// The key is the line's N-th field, from 1; fields have blanks between them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "key_regex")]
    key_field: Option<u32>,
    /// The text between fields, instead of blanks
    #[arg(long, value_name = "TEXT", requires = "key_field")]
    delimiter: Option<String>,
    /// The key is what this expression's first group, or all of it, matches
    #[arg(long, value_name = "RE")]
    key_regex: Option<Regex>,
}

impl KeyArgs {
    pub(crate) fn rule(&self) -> Result<KeyRule, Failure> {
        match (self.key_field, &self.delimiter, &self.key_regex) {
            (_, Some(delimiter), _) if delimiter.is_empty() => Err(Failure::Usage("--delimiter is empty".to_owned())),
            (Some(n), delimiter, _) => {
                Ok(KeyRule::Field(n as usize, delimiter.as_ref().map(|text| text.clone().into_bytes())))
            }
            (None, _, Some(pattern)) => Ok(KeyRule::Pattern(Box::new(pattern.clone()))),
            (None, _, None) => Ok(KeyRule::None),
        }
    }
}

/// A key as a stream takes it: 1 to 256 characters.
pub(crate) fn partition_key(key: &[u8]) -> Option<&str> {
    let fits = |key: &&str| !key.is_empty() && key.chars().nth(PARTITION_KEY_CHARS_MAX).is_none();
    std::str::from_utf8(key).ok().filter(fits)
}

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
    fn a_partition_key_has_1_to_256_characters() {
        let (longest, longer) = ("é".repeat(256), "é".repeat(257));
        assert_eq!(partition_key(longest.as_bytes()), Some(&longest[..]));
        for bad in [&b""[..], b"\xff", longer.as_bytes()] {
            assert_eq!(partition_key(bad), None);
        }
    }

    #[test]
    fn a_pattern_gives_its_first_group() {
        let rule = |pattern| KeyRule::Pattern(Box::new(Regex::new(pattern).unwrap()));
        assert_eq!(rule("user=(\\w+)").of(b"x user=ann y"), Some(&b"ann"[..]));
        assert_eq!(rule("user=\\w+").of(b"x user=ann y"), Some(&b"user=ann"[..]));
        assert_eq!(rule("user=(\\w+)").of(b"\xff"), None);
    }
}
