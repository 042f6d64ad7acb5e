//! Who may call: access keys and their secrets, as they are looked up.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::server::AccessKey;

/// Characters of an access key, at most.
pub(in crate::server) const ACCESS_KEY_MAX: usize = 128;

/// Secrets by access key. Never empty. A secret never shows: no `Debug`, and its bytes are overwritten when it goes.
pub(crate) struct Credentials(BTreeMap<String, Zeroizing<String>>);

impl Credentials {
    /// Of these keys; `None` without any, for then everybody may call.
    pub(crate) fn of(keys: &[AccessKey]) -> Option<Credentials> {
        let secret = |key: &AccessKey| (key.id().to_owned(), Zeroizing::new(key.secret().to_owned()));
        Some(Credentials(keys.iter().map(secret).collect())).filter(|credentials| !credentials.0.is_empty())
    }

    pub(super) fn get(&self, access_key: &str) -> Option<&str> {
        self.0.get(access_key).map(|secret| secret.as_str())
    }
}

pub(in crate::server) fn is_access_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=ACCESS_KEY_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
