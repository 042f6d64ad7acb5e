//! Who may call.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Characters of a secret, at most.
const SECRET_MAX: usize = 128;

/// An access key: its id, and the secret that requests are signed with. `Debug` leaves the secret out, and its
/// bytes are overwritten when it goes.
///
/// ```
/// use braidlog::server::AccessKey;
/// let keys = AccessKey::parse_file("[default]\naws_access_key_id = 123456789012\naws_secret_access_key = s3cret\n").unwrap();
/// assert_eq!(keys[0].id(), "123456789012");
/// assert!(!format!("{keys:?}").contains("s3cret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    id: String,
    secret: Zeroizing<String>,
}

impl AccessKey {
    /// A key. The id has 1 to 128 letters and digits; one of 12 digits is also the account of who uses it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Result<AccessKey> {
        let (id, secret) = (id.into(), Zeroizing::new(secret.into()));
        if !super::auth::is_access_key(&id) {
            return Err(Error::invalid("access key id", id, "it must be 1 to 128 letters, digits, `-` and `_`"));
        }
        if !(1..=SECRET_MAX).contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("that of access key {id} must be 1 to {SECRET_MAX} printable ASCII characters");
            return Err(Error::invalid("secret access key", "", why));
        }
        Ok(AccessKey { id, secret })
    }

    /// The keys in a file as the AWS tools have it: sections with `aws_access_key_id` and `aws_secret_access_key`. Other settings
    /// are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that names the line, never what is in it.
    pub fn parse_file(text: &str) -> Result<Vec<AccessKey>> {
        let bad = |line: usize, why: &str| Error::invalid("credentials file", format!("line {line}"), why);
        let mut keys: Vec<AccessKey> = Vec::new();
        let (mut id, mut secret) = (None, None);
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.starts_with('[') {
                if id.is_some() || secret.is_some() {
                    return Err(bad(line, "the section before it has only one half of a key"));
                }
                continue;
            }
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            let Some((name, value)) = content.split_once('=') else {
                return Err(bad(line, "a line is `name = value`, `[section]`, or a comment"));
            };
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim().to_owned()),
                "aws_secret_access_key" => secret = Some(Zeroizing::new(value.trim().to_owned())),
                _ => {}
            }
            if let (Some(id), Some(secret)) = (&id, &secret) {
                let key = AccessKey::new(id.as_str(), secret.as_str()).map_err(|_| bad(line, "this is no key"))?;
                if keys.iter().any(|other| other.id == key.id) {
                    return Err(bad(line, "this access key id was there before"));
                }
                keys.push(key);
            }
            if id.is_some() && secret.is_some() {
                (id, secret) = (None, None);
            }
        }
        if id.is_some() || secret.is_some() || keys.is_empty() {
            return Err(bad(text.lines().count(), "at its end there is no whole key"));
        }
        Ok(keys)
    }

    /// The id that requests name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret that requests are signed with.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_many_keys() {
        let text = "# ours\n[a]\naws_access_key_id=AKIA1\naws_secret_access_key=one==\nregion = x\n\n[b]\n\
                    aws_secret_access_key = two\naws_access_key_id = AKIA2\n";
        let keys = AccessKey::parse_file(text).unwrap();
        let told: Vec<_> = keys.iter().map(|key| (key.id(), key.secret())).collect();
        assert_eq!(told, [("AKIA1", "one=="), ("AKIA2", "two")]);
    }

    #[test]
    fn what_is_refused_is_named_by_its_line_and_not_told() {
        let cases = [
            ("aws_access_key_id = A\n", "line 1"),
            ("[a]\naws_access_key_id = A\n[b]\n", "line 3"),
            ("aws_access_key_id = A\nhush hush\n", "line 2"),
            ("aws_access_key_id = A B\naws_secret_access_key = hush\n", "line 2"),
            ("aws_access_key_id = A\naws_secret_access_key =\n", "line 2"),
            ("", "line 0"),
        ];
        for (text, place) in cases {
            let error = AccessKey::parse_file(text).unwrap_err().to_string();
            assert!(error.contains(place) && !error.contains("hush"), "{text:?}: {error}");
        }
        let twice = "aws_access_key_id=A\naws_secret_access_key=x\n".repeat(2);
        assert!(AccessKey::parse_file(&twice).unwrap_err().to_string().contains("line 4"));
    }
}
