//! The form of a request that is signed: one text for everything that means the same.

use http::HeaderValue;

/// A query's parameters, decoded, in the order they came. No name stands there twice.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    /// `None`: something behind `%` isn't two hexadecimal digits, or a name comes twice.
    pub(super) fn parse(query: &str) -> Option<Self> {
        if query.is_empty() {
            return Some(Self::default());
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        };
        let pairs: Vec<_> = query.split('&').map(pair).collect::<Option<_>>()?;
        let mut names: Vec<&[u8]> = pairs.iter().map(|(name, _)| name.as_slice()).collect();
        names.sort_unstable();
        names.windows(2).all(|two| two[0] != two[1]).then_some(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find_map(|(key, value)| (key == name.as_bytes()).then_some(value.as_slice()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(name, _)| name.as_slice())
    }

    /// Names and values encoded, sorted, joined again; without the signature, which can't sign itself.
    pub(super) fn canonical(&self) -> String {
        let signed = self.0.iter().filter(|(name, _)| name != b"X-Amz-Signature");
        let mut pairs: Vec<(String, String)> =
            signed.map(|(name, value)| (encode(name, false), encode(value, false))).collect();
        pairs.sort_unstable();
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}

/// The path, encoded once more than it was on its way, as every service but S3 does. `None`: another path would have the same
/// form, for it has `.`, `..` or empty segments. AWS takes them out; here the path that is signed is the one that is served.
pub(super) fn path(path: &str) -> Option<String> {
    let segments = path.strip_prefix('/')?;
    let ambiguous = |segment: &str| matches!(segment, "" | "." | "..");
    // The last one is empty where the path ends in a slash, which is a path of its own.
    let (inner, last) = segments.rsplit_once('/').map_or((None, segments), |(inner, last)| (Some(inner), last));
    if matches!(last, "." | "..") || inner.is_some_and(|inner| inner.split('/').any(ambiguous)) {
        return None;
    }
    Some(encode(path.as_bytes(), true))
}

/// A header's value: without spaces around it, with one for each run of them inside.
pub(super) fn put_header_value(out: &mut Vec<u8>, value: &HeaderValue) {
    let words = value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
pub(super) fn encode(bytes: &[u8], keep_slash: bool) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            b'/' if keep_slash => text.push('/'),
            _ => text.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
    text
}

/// `+` stays a plus: only `%20` is a space.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            _ => byte,
        });
    }
    Some(bytes)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// 64 lower-case hexadecimal digits.
pub(super) fn parse_sha256(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_sorted_by_what_its_names_are_encoded_to() {
        let canonical = |query: &str| Query::parse(query).map(|query| query.canonical());
        for (query, expected) in [
            ("", Some("")),
            ("b=2&a=1", Some("a=1&b=2")),
            ("a", Some("a=")),
            ("a=b=c", Some("a=b%3Dc")),
            ("a=%7e%2f/+%20", Some("a=~%2F%2F%2B%20")),
            ("%C3%BC=x&z=1", Some("%C3%BC=x&z=1")),
            ("X-Amz-Signature=0&A=1", Some("A=1")),
            ("a=1&a=2", None),
            ("a=1&%61=1", None),
            ("a=%4", None),
            ("a=%zz", None),
            ("a=%+1", None),
        ] {
            assert_eq!(canonical(query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn a_path_is_encoded_once_more_and_never_ambiguous() {
        for (given, expected) in [
            ("/", Some("/")),
            ("/a/b/", Some("/a/b/")),
            ("/a%20b", Some("/a%2520b")),
            ("/a:b,~", Some("/a%3Ab%2C~")),
            ("/...", Some("/...")),
            ("/%2e%2e/", Some("/%252e%252e/")),
            ("", None),
            ("*", None),
            ("//", None),
            ("/a//b", None),
            ("/.", None),
            ("/./", None),
            ("/a/../b", None),
            ("/..", None),
        ] {
            assert_eq!(path(given).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn spaces_in_a_header_are_collapsed() {
        for (value, expected) in [("  a  b\t c ", "a b c"), ("", ""), (" ", ""), ("\"a  b\"", "\"a b\"")] {
            let mut out = Vec::new();
            put_header_value(&mut out, &HeaderValue::from_static(value));
            assert_eq!(out, expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes: Vec<u8>, keep_slash: bool) {
            prop_assert_eq!(decode(&encode(&bytes, keep_slash)), Some(bytes));
        }

        #[test]
        fn hashes_come_back(hash: [u8; 32]) {
            prop_assert_eq!(parse_sha256(hex(&hash).as_bytes()), Some(hash));
        }
    }
}
