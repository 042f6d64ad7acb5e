//! Tokens that lead to the next page of a listing: stateless, not to be forged, short-lived.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::stream::{CODE_BYTES, Stream, code, is_code};
use crate::wire::ApiError;
use crate::wire::kinesis::{ErrorCode, ShardFilter};

use super::convert::invalid;
use super::{Kinesis, Outcome};

/// How long a token lasts (`ListShards`).
const LIFETIME_MS: u64 = 300_000;
/// Apart from what else the secret vouches for.
const PURPOSE: &[u8] = b"page";

/// What is listed: a token of one listing is no good for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Listing {
    Streams,
    Shards { stream: String, created_ms: u64, filter: Option<ShardFilter> },
    Consumers { stream: String, created_ms: u64 },
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PageToken {
    listing: Listing,
    after: String,
    issued_ms: u64,
}

impl PageToken {
    pub(super) fn after(listing: Listing, last: &str) -> PageToken {
        PageToken { listing, after: last.to_owned(), issued_ms: 0 }
    }

    fn encode(&self, secret: &[u8; 16]) -> String {
        // Into memory, of values that all have a form.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        let code = code(secret, PURPOSE, &bytes);
        bytes.extend_from_slice(&code);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(text: &str, secret: &[u8; 16], now_ms: u64) -> Outcome<PageToken> {
        let invalid = || invalid("NextToken is not one that was given out here.");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (body, given) = bytes.split_last_chunk::<CODE_BYTES>().ok_or_else(invalid)?;
        if !is_code(given, code(secret, PURPOSE, body)) {
            return Err(invalid());
        }
        let token: PageToken = serde_json::from_slice(body).map_err(|_| invalid())?;
        if now_ms.saturating_sub(token.issued_ms) > LIFETIME_MS {
            let message = "NextToken has expired: it lasts for five minutes. List from the start again.";
            return Err(ApiError::of(ErrorCode::ExpiredNextTokenException, message));
        }
        Ok(token)
    }
}

impl Kinesis {
    pub(super) fn page_token(&self, token: PageToken) -> String {
        let shared = &self.engine.shared;
        PageToken { issued_ms: shared.now_ms(), ..token }.encode(&shared.secret)
    }

    fn token(&self, text: &str) -> Outcome<PageToken> {
        let shared = &self.engine.shared;
        PageToken::decode(text, &shared.secret, shared.now_ms())
    }

    /// Where a listing goes on that the caller knows already.
    pub(super) fn page(&self, text: &str, listing: &Listing) -> Outcome<String> {
        let token = self.token(text)?;
        if token.listing != *listing {
            return Err(invalid("NextToken is of another listing."));
        }
        Ok(token.after)
    }

    /// What a listing of shards was of, and where it goes on.
    pub(super) fn shards_page(&self, text: &str) -> Outcome<(Stream, Option<ShardFilter>, String)> {
        let token = self.token(text)?;
        let Listing::Shards { stream, created_ms, filter } = token.listing else {
            return Err(invalid("NextToken is of another listing."));
        };
        let stream = self.stream(Some(&stream), None)?;
        if stream.describe().created_ms != created_ms {
            return Err(invalid("NextToken is of a stream that was deleted."));
        }
        Ok((stream, filter, token.after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_five_minutes_and_can_not_be_changed() {
        let listing = Listing::Shards { stream: "clicks".into(), created_ms: 7, filter: None };
        let token = PageToken { issued_ms: 1_000, ..PageToken::after(listing, "shardId-000000000003") };
        let text = token.encode(&[1; 16]);
        assert_eq!(PageToken::decode(&text, &[1; 16], 301_000), Ok(token));
        assert_eq!(PageToken::decode(&text, &[1; 16], 301_001).unwrap_err().code, "ExpiredNextTokenException");
        assert_eq!(PageToken::decode(&text, &[2; 16], 1_000).unwrap_err().code, "InvalidArgumentException");
        for at in 0..text.len() {
            let mut forged = text.clone();
            forged.replace_range(at..=at, if &text[at..=at] == "A" { "B" } else { "A" });
            assert!(PageToken::decode(&forged, &[1; 16], 1_000).is_err(), "{forged}");
        }
        for no_token in ["", "A", "%", "é"] {
            assert!(PageToken::decode(no_token, &[1; 16], 1_000).is_err());
        }
    }
}
