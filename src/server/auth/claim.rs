//! What a request says about its signature: from the header `Authorization`, or from the query of a presigned URL.

use http::HeaderValue;
use http::request::Parts;

use super::canonical::{self, Query};
use super::credentials::is_access_key;
use super::error::AuthError;
use super::time::SignedAt;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Where a signature holds: a day, a region, a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// A signature and what it is said to sign. Nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) access_key: String,
    pub(super) scope: Scope,
    pub(super) signed_at: SignedAt,
    /// Seconds a presigned URL holds; `None` where the signature stands in the header.
    pub(super) expires: Option<u64>,
    /// Names of headers: sorted, in lower case, each once.
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
}

impl Claim {
    pub(super) fn read(head: &Parts, query: &Query) -> Result<Self, AuthError> {
        let is_amz = |name: &[u8]| name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"x-amz-"));
        match (single(head, "authorization")?, query.get("X-Amz-Algorithm")) {
            // However the names are spelled: a parameter that one reader takes for part of a signature and another doesn't is
            // refused beside a signature in the header.
            (Some(_), algorithm) if algorithm.is_some() || query.names().any(is_amz) => Err(AuthError::invalid(
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            )),
            (Some(header), _) => Self::of_header(head, header),
            (None, Some(algorithm)) => Self::of_query(algorithm, query),
            (None, None) => Err(AuthError::missing()),
        }
    }

    fn of_header(head: &Parts, header: &HeaderValue) -> Result<Self, AuthError> {
        let unreadable = || AuthError::incomplete("Authorization header can't be read.");
        let (algorithm, rest) = header.to_str().map_err(|_| unreadable())?.split_once(' ').ok_or_else(unreadable)?;
        if algorithm != ALGORITHM {
            return Err(AuthError::incomplete("Unsupported AWS 'algorithm' in the Authorization header."));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or_else(unreadable)?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(unreadable()),
            };
            if place.replace(value).is_some() {
                return Err(unreadable());
            }
        }
        let needs = |name| AuthError::incomplete(format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| needs("Credential"))?;
        let signed_headers = signed_headers.ok_or_else(|| needs("SignedHeaders"))?;
        let signature = signature.ok_or_else(|| needs("Signature"))?;
        let signed_headers = parse_signed_headers(signed_headers)?;

        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        let time = if let Some(date) = single(head, "x-amz-date")? {
            SignedAt::parse_basic(&text(date))
        } else if let Some(date) = single(head, "date")? {
            // The other one must be signed wherever it stands; this one only where it counts.
            if !signed_headers.iter().any(|name| name == "date") {
                return Err(unsigned("date"));
            }
            SignedAt::parse_date(&text(date))
        } else {
            return Err(AuthError::incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ));
        };
        Self::of(credential, time, None, signed_headers, signature)
    }

    fn of_query(algorithm: &[u8], query: &Query) -> Result<Self, AuthError> {
        if algorithm != ALGORITHM.as_bytes() {
            return Err(AuthError::incomplete("Unsupported AWS 'algorithm' in 'X-Amz-Algorithm'."));
        }
        let get = |name: &str| {
            let missing = || AuthError::incomplete(format!("AWS query-string parameters must include '{name}'."));
            query.get(name).and_then(|value| std::str::from_utf8(value).ok()).ok_or_else(missing)
        };
        let expires = get("X-Amz-Expires")?;
        let is_number = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
        let seconds =
            is_number.then(|| expires.parse().ok()).flatten().filter(|seconds| (1..=604_800).contains(seconds));
        let Some(seconds) = seconds else {
            return Err(AuthError::invalid("X-Amz-Expires must be between 1 and 604800 seconds."));
        };
        let signed_headers = parse_signed_headers(get("X-Amz-SignedHeaders")?)?;
        let time = SignedAt::parse_basic(get("X-Amz-Date")?);
        Self::of(get("X-Amz-Credential")?, time, Some(seconds), signed_headers, get("X-Amz-Signature")?)
    }

    fn of(
        credential: &str,
        signed_at: Option<SignedAt>,
        expires: Option<u64>,
        signed_headers: Vec<String>,
        signature: &str,
    ) -> Result<Self, AuthError> {
        let signed_at = signed_at.ok_or_else(|| {
            AuthError::incomplete("Date must be in ISO-8601 'basic format', as 20261120T120000Z, in 'X-Amz-Date'.")
        })?;
        let malformed = || {
            AuthError::incomplete(
                "Credential must have exactly 5 slash-delimited elements: keyid/date/region/service/term.",
            )
        };
        let parts: Vec<&str> = credential.splitn(6, '/').collect();
        let [access_key, date, region, service, "aws4_request"] = parts[..] else { return Err(malformed()) };
        // What goes into the text that is signed has no character that could end its line.
        let is_word = |text: &str| {
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_access_key(access_key) || ![date, region, service].into_iter().all(is_word) {
            return Err(malformed());
        }
        let signature = canonical::parse_sha256(signature.as_bytes()).ok_or_else(AuthError::mismatch)?;
        let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
        Ok(Self { access_key: access_key.to_owned(), scope, signed_at, expires, signed_headers, signature })
    }
}

/// The access key a request names, if it names one, whatever else is wrong with it.
pub(super) fn named_access_key(head: &Parts) -> Option<String> {
    let header = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let of_header = header.and_then(|header| header.split_once("Credential=")).map(|(_, rest)| rest.to_owned());
    let of_query = || {
        let query = Query::parse(head.uri.query()?)?;
        String::from_utf8(query.get("X-Amz-Credential")?.to_owned()).ok()
    };
    let credential = of_header.or_else(of_query)?;
    let access_key = credential.split(['/', ',', ' ']).next()?;
    is_access_key(access_key).then(|| access_key.to_owned())
}

/// A header that may come once at most: two readers could choose different ones.
pub(super) fn single<'a>(head: &'a Parts, name: &str) -> Result<Option<&'a HeaderValue>, AuthError> {
    let mut values = head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(AuthError::invalid(format!("Found more than one '{name}' header."))),
    }
}

pub(super) fn unsigned(name: &str) -> AuthError {
    AuthError::invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))
}

fn parse_signed_headers(text: &str) -> Result<Vec<String>, AuthError> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let is_name = |name: &String| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if !names.iter().all(is_name) || !names.is_sorted_by(|before, after| before < after) {
        return Err(AuthError::invalid("SignedHeaders must be in lower case, sorted, and each once."));
    }
    Ok(names)
}
