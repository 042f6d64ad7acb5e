//! Who may call: access keys, their secrets and their accounts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use zeroize::Zeroizing;

/// Characters of an access key or a secret, at most.
const TEXT_MAX: usize = 128;

/// A secret never shows: no `Debug`, and its bytes are overwritten when it goes.
pub(super) struct Credential {
    pub(super) secret: Zeroizing<String>,
    pub(super) account: Option<String>,
}

/// Access keys and what belongs to them. Never empty.
pub(crate) struct Credentials(BTreeMap<String, Credential>);

/// What is wrong with credentials. Names the access key, never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CredentialsError(String);

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CredentialsError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    secret: String,
    account: Option<String>,
}

impl Credentials {
    /// One access key. Its account is the key itself if that is twelve digits, else the server's default.
    ///
    /// # Errors
    /// The access key isn't 1 to 128 letters, digits or `_`, or the secret isn't 1 to 128 printable ASCII characters.
    pub(crate) fn one(access_key: &str, secret: String) -> Result<Self, CredentialsError> {
        Self::of(BTreeMap::from([(access_key.to_owned(), Row { secret, account: None })]))
    }

    /// From the text of a TOML file: a table for each access key.
    ///
    /// ```toml
    /// [AKIAIOSFODNN7EXAMPLE]
    /// secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    /// account = "123456789012"   # if left out: the access key, if that is twelve digits, else the server's default
    /// ```
    ///
    /// # Errors
    /// It is no such text, holds nobody, or as for [`one`](Self::one).
    pub(crate) fn parse(text: &str) -> Result<Self, CredentialsError> {
        // The parser's own message shows the line, in which the secret may stand.
        let rows = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line =
                error.span().map_or(0, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
            CredentialsError(format!("the credentials can't be read: see line {}", line + 1))
        })?;
        Self::of(rows)
    }

    fn of(rows: BTreeMap<String, Row>) -> Result<Self, CredentialsError> {
        if rows.is_empty() {
            return Err(CredentialsError("there are no credentials in it".to_owned()));
        }
        let mut all = BTreeMap::new();
        for (access_key, row) in rows {
            let secret = Zeroizing::new(row.secret);
            let wrong = |what: &str| Err(CredentialsError(format!("{access_key:?}: {what}")));
            if !is_access_key(&access_key) {
                return wrong("an access key has 1 to 128 letters, digits or _");
            }
            if !(1..=TEXT_MAX).contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                return wrong("a secret has 1 to 128 printable ASCII characters");
            }
            if row.account.as_deref().is_some_and(|account| !is_account(account)) {
                return wrong("an account has twelve digits");
            }
            all.insert(access_key, Credential { secret, account: row.account });
        }
        Ok(Self(all))
    }

    pub(super) fn get(&self, access_key: &str) -> Option<&Credential> {
        self.0.get(access_key)
    }
}

pub(super) fn is_access_key(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Credentials::parse(text).err().expect("refused").to_string()
    }

    #[test]
    fn a_file_gives_each_key_its_secret_and_account() {
        let text = "[AKIAEXAMPLE]\nsecret = \"s/3+x\"\naccount = \"111122223333\"\n\n[123456789012]\nsecret = \"t\"\n";
        let all = Credentials::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let first = all.get("AKIAEXAMPLE").unwrap();
        assert_eq!((first.secret.as_str(), first.account.as_deref()), ("s/3+x", Some("111122223333")));
        assert_eq!(all.get("123456789012").unwrap().secret.as_str(), "t");
        assert!(all.get("akiaexample").is_none());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (text, expected) in [
            ("", "there are no credentials in it"),
            ("[a]\nsecret = \"canary\"\nrole = \"x\"\n", "see line"),
            ("[a]\nsecret = canary\n", "see line 2"),
            ("a = \"canary\"\n", "see line 1"),
            ("[a]\nsecret = \"canary\"\n[a]\nsecret = \"canary2\"\n", "see line"),
            ("[a]\n", "see line"),
            ("[\"a b\"]\nsecret = \"canary\"\n", "an access key has"),
            ("[a]\nsecret = \"\"\n", "a secret has"),
            ("[a]\nsecret = \"canary canary\"\n", "a secret has"),
            ("[a]\nsecret = \"canary\"\naccount = \"12\"\n", "an account has"),
        ] {
            let error = error(text);
            assert!(error.contains(expected) && !error.contains("canary"), "{text:?}: {error}");
        }
        assert!(Credentials::one("", "x".to_owned()).is_err());
        assert!(Credentials::one("x", "x".repeat(129)).is_err());
    }
}
