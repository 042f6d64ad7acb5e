//! Shard iterators: where to start, and the token that says it.
//!
//! A token is stateless: it names stream, shard and position, says when it was issued, and is authenticated under a key of
//! the account in this store, so that it means the same after a restart, nothing to any other store, be it a copy of this one, and
//! nobody can make one up. In hexadecimal:
//!
//! ```text
//! version (1) | stream id (8) | shard (4) | number of the next record (8) | issued, ms (8) | authentication code (16)
//! ```

use std::hash::Hasher;
use std::time::{Duration, SystemTime};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::error::{Error, Result};
use crate::format::{Damage, Decoder, Encoder};
use crate::id::StoreId;

use super::sequence_number::SequenceNumber;
use super::shard::ShardId;

/// Where to start reading a shard.
///
/// ```
/// use braidlog::stream::StartingPosition;
/// let replay = StartingPosition::TrimHorizon;
/// assert_ne!(replay, StartingPosition::Latest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartingPosition {
    /// At the oldest record that is still readable.
    TrimHorizon,
    /// After the newest record: what is put from now on.
    Latest,
    /// At the record with this number, or the first after it.
    AtSequenceNumber(SequenceNumber),
    /// After the record with this number.
    AfterSequenceNumber(SequenceNumber),
    /// At the first record that arrived then or later. Not in the future.
    AtTimestamp(SystemTime),
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) stream: u64,
    pub(crate) shard: ShardId,
    /// Number, in the shard's log, of the next record.
    pub(crate) next: u64,
    pub(crate) issued_ms: u64,
}

const VERSION: u8 = 1;
const BODY_BYTES: usize = 1 + 8 + 4 + 8 + 8;
pub(crate) const CODE_BYTES: usize = 16;

/// Vouches for the body of a token. Each kind of token has a purpose of its own, so that none passes for another.
pub(crate) fn code(secret: &[u8; 16], purpose: &[u8], body: &[u8]) -> [u8; CODE_BYTES] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(purpose);
    hasher.write(body);
    hasher.finish128().as_bytes()
}

/// Whether a code is the one expected. Compared whole, so that how long it takes says nothing.
pub(crate) fn is_code(given: &[u8], expected: [u8; CODE_BYTES]) -> bool {
    given.len() == CODE_BYTES && expected.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// The key that tokens of an account in one store are authenticated under. The account's secret goes along with a copy of the store
/// and the store's id does not: a copy goes ways of its own, so no token of one may mean anything in the other.
pub(crate) fn token_key(secret: &[u8; 16], store: StoreId) -> [u8; 16] {
    code(secret, b"tokens of a store", &store.0)
}

/// That of shard iterators, which came first.
const PURPOSE: &[u8] = b"";

impl Token {
    pub(crate) fn encode(&self, secret: &[u8; 16]) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + CODE_BYTES);
        bytes.put_u8(VERSION);
        bytes.put_u64(self.stream);
        bytes.put_u32(self.shard.0);
        bytes.put_u64(self.next);
        bytes.put_u64(self.issued_ms);
        let code = code(secret, PURPOSE, &bytes);
        bytes.put_bytes(&code);
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
    }

    /// Reads a token that this store issued no longer than `lifetime` ago. Quotes around it, which some clients send, are
    /// allowed.
    pub(crate) fn decode(text: &str, secret: &[u8; 16], now_ms: u64, lifetime: Duration) -> Result<Token> {
        let invalid = || Error::invalid("ShardIterator", text, "this store has not issued it");
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).as_bytes();
        let mut bytes = [0; BODY_BYTES + CODE_BYTES];
        if digits.len() != 2 * bytes.len() {
            return Err(invalid());
        }
        let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_uppercase()).map(|d| d as u8);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(invalid)?;
        }
        let (body, given) = bytes.split_at(BODY_BYTES);
        if !is_code(given, code(secret, PURPOSE, body)) {
            return Err(invalid());
        }
        let token = Token::parse(body).map_err(|_| invalid())?;
        let age = Duration::from_millis(now_ms.saturating_sub(token.issued_ms));
        if age > lifetime {
            return Err(Error::ExpiredIterator { age, lifetime });
        }
        Ok(token)
    }

    fn parse(body: &[u8]) -> std::result::Result<Token, Damage> {
        let mut d = Decoder::new(body);
        if d.u8()? != VERSION {
            return Err(Damage::Bounds);
        }
        Ok(Token { stream: d.u64()?, shard: ShardId(d.u32()?), next: d.u64()?, issued_ms: d.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = [9; 16];
    const TOKEN: Token = Token { stream: 7, shard: ShardId(3), next: 12, issued_ms: 1_000 };
    const LIFETIME: Duration = Duration::from_secs(300);

    #[test]
    fn a_token_says_what_it_was_issued_for_until_it_expires() {
        let text = TOKEN.encode(&SECRET);
        assert!(text.len() <= 512);
        assert_eq!(Token::decode(&text, &SECRET, 1_000, LIFETIME).unwrap(), TOKEN);
        assert_eq!(Token::decode(&format!("\"{text}\""), &SECRET, 301_000, LIFETIME).unwrap(), TOKEN);
        let expired = Token::decode(&text, &SECRET, 301_001, LIFETIME);
        assert!(matches!(expired, Err(Error::ExpiredIterator { .. })), "{expired:?}");
    }

    #[test]
    fn every_changed_character_is_refused() {
        let text = TOKEN.encode(&SECRET);
        for at in 0..text.len() {
            for other in ['0', '1', 'f', 'F', 'g', '"'] {
                let mut forged = text.clone();
                forged.replace_range(at..=at, &other.to_string());
                let refused = Token::decode(&forged, &SECRET, 1_000, LIFETIME);
                assert!(forged == text || matches!(refused, Err(Error::InvalidArgument { .. })), "{forged}");
            }
        }
        assert!(Token::decode(&text, &[8; 16], 1_000, LIFETIME).is_err());
        for bad in ["", "\"", "\"\"", "é", &text[1..]] {
            assert!(Token::decode(bad, &SECRET, 1_000, LIFETIME).is_err());
        }
    }
}
