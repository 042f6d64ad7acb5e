//! Who calls: signatures of version 4, verified.
//!
//! Three rules:
//! - What is cheap comes first. Everything a head alone can be refused for is looked at in [`Authenticator::check`], before a byte of
//!   the body is read: shape, time, scope, which headers are signed, whether anybody has the access key.
//! - What is served is signed. `host`, the content type and every `x-amz-*` header of the request must be among the signed
//!   headers, nothing may stand there twice, and a path another spelling of which would be signed alike is refused.
//! - One mode of payload: the hash of the body. `UNSIGNED-PAYLOAD` and the `STREAMING-` forms are S3's, and refused by name.
//!
//! Session tokens are refused: none are issued here, so each is a forgery or meant for somewhere else. Nothing is remembered between
//! requests, and so the same request is accepted again until its time is over, as the protocol allows. Signing keys are derived
//! anew for each request: four HMACs of a few bytes cost less than what a cache with a bound would have to look after.

mod canonical;
mod claim;
mod credentials;
mod error;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use credentials::Credentials;
pub(super) use credentials::is_access_key;
pub(crate) use error::AuthError;

use super::AccessKey;
use canonical::Query;
use claim::{Claim, Scope, single, unsigned};
use http::HeaderValue;
use http::request::Parts;
use ring::{digest, hmac};
use time::SignedAt;

/// How far the time of a signature may be from the server's, either way.
const SKEW_MS: i64 = 15 * 60 * 1000;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The access key; `None` where none was named and none is needed.
    pub(crate) access_key: Option<String>,
    /// Twelve digits.
    pub(crate) account: String,
}

/// Answers who a request is from.
pub(crate) struct Authenticator {
    credentials: Option<Credentials>,
    default_account: String,
}

/// A request whose head is fine. Whose it is stands firm once its body is known, too.
pub(crate) struct Unverified {
    identity: Identity,
    proof: Option<Proof>,
}

struct Proof {
    key: hmac::Key,
    /// The canonical request up to the hash of the body.
    request: Vec<u8>,
    /// The text that is signed up to the hash of the canonical request.
    text: String,
    signature: [u8; 32],
    /// The body's hash as `x-amz-content-sha256` has it.
    declared: Option<[u8; 32]>,
}

impl Authenticator {
    /// Without credentials everybody is let in, and an access key only names an account.
    pub(crate) fn new(credentials: Option<Credentials>, default_account: &str) -> Self {
        Self { credentials, default_account: default_account.to_owned() }
    }

    /// [`check`](Self::check), and the body with it.
    ///
    /// # Errors
    /// Who the request says it is from didn't sign it so.
    #[cfg(test)]
    pub(crate) fn verify(
        &self,
        head: &Parts,
        body: &[u8],
        service: &str,
        region: Option<&str>,
        now_ms: u64,
    ) -> Result<Identity, AuthError> {
        self.check(head, service, region, now_ms)?.verify(body)
    }

    /// All that can be said without the body. `region` is the only one a signature may be for; `None` takes any. `now_ms` counts
    /// from 1970.
    ///
    /// # Errors
    /// The head alone is enough to refuse the request. Where it has the body's hash, that is so for every wrong signature.
    pub(crate) fn check(
        &self,
        head: &Parts,
        service: &str,
        region: Option<&str>,
        now_ms: u64,
    ) -> Result<Unverified, AuthError> {
        let Some(credentials) = &self.credentials else {
            let access_key = claim::named_access_key(head);
            let identity = self.identity(access_key);
            return Ok(Unverified { identity, proof: None });
        };
        let malformed = || AuthError::invalid("The query string is malformed, or has a parameter twice.");
        let query = Query::parse(head.uri.query().unwrap_or_default()).ok_or_else(malformed)?;
        let claim = Claim::read(head, &query)?;
        check_scope(&claim, service, region)?;
        check_time(&claim, now_ms)?;
        check_signed_headers(head, &claim.signed_headers)?;
        if head.headers.contains_key("x-amz-security-token") || query.get("X-Amz-Security-Token").is_some() {
            return Err(AuthError::unrecognized());
        }
        let declared = declared_hash(head, &query)?;
        let secret = credentials.get(&claim.access_key).ok_or_else(AuthError::unrecognized)?;

        let basic = claim.signed_at.basic();
        let Scope { date, region, service } = &claim.scope;
        let proof = Proof {
            key: signing_key(secret, &claim.scope),
            request: canonical_head(head, &query, &claim.signed_headers)?,
            text: format!("AWS4-HMAC-SHA256\n{basic}\n{date}/{region}/{service}/aws4_request\n"),
            signature: claim.signature,
            declared,
        };
        if let Some(hash) = &declared {
            proof.verify(hash)?;
        }
        let identity = self.identity(Some(claim.access_key));
        Ok(Unverified { identity, proof: Some(proof) })
    }

    fn identity(&self, access_key: Option<String>) -> Identity {
        let account = access_key.clone().filter(|key| credentials::is_account(key));
        let account = account.unwrap_or_else(|| self.default_account.clone());
        Identity { access_key, account }
    }
}

impl Unverified {
    /// Holds the body against the signature.
    ///
    /// # Errors
    /// It isn't the one that was signed.
    pub(crate) fn verify(self, body: &[u8]) -> Result<Identity, AuthError> {
        if let Some(proof) = self.proof {
            let mut hash = [0; 32];
            hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
            match proof.declared {
                // The signature was verified with this hash. It is no secret, so that it takes no constant time.
                Some(declared) if declared == hash => {}
                Some(_) => return Err(AuthError::mismatch()),
                None => proof.verify(&hash)?,
            }
        }
        Ok(self.identity)
    }
}

impl Proof {
    /// In a time that doesn't depend on where the signatures differ.
    fn verify(&self, body_hash: &[u8; 32]) -> Result<(), AuthError> {
        let mut request = digest::Context::new(&digest::SHA256);
        request.update(&self.request);
        request.update(canonical::hex(body_hash).as_bytes());
        let text = format!("{}{}", self.text, canonical::hex(request.finish().as_ref()));
        hmac::verify(&self.key, text.as_bytes(), &self.signature).map_err(|_| AuthError::mismatch())
    }
}

/// Signs a request as its sender: all headers it has, which must be all that decide, and the body's hash.
///
/// # Errors
/// Its path is one that is not served.
#[cfg_attr(not(any(test, feature = "cli")), expect(dead_code))]
pub(crate) fn sign(
    head: &mut Parts,
    body: &[u8],
    access_key: &AccessKey,
    service: &str,
    region: &str,
    now_ms: u64,
) -> Result<(), AuthError> {
    let malformed = |_| AuthError::invalid("A header can't be written.");
    let header = |text: String| HeaderValue::try_from(text).map_err(malformed);
    let signed_at = SignedAt::of_ms(now_ms);
    let body_hash = canonical::hex(digest::digest(&digest::SHA256, body).as_ref());
    head.headers.insert("x-amz-date", header(signed_at.basic())?);
    head.headers.insert("x-amz-content-sha256", header(body_hash.clone())?);
    let mut names: Vec<String> = head.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    let query = Query::parse(head.uri.query().unwrap_or_default())
        .ok_or_else(|| AuthError::invalid("The query string is malformed."))?;
    let mut request = canonical_head(head, &query, &names)?;
    request.extend_from_slice(body_hash.as_bytes());
    let scope = Scope { date: signed_at.date(), region: region.to_owned(), service: service.to_owned() };
    let (place, hash) =
        (format!("{}/{region}/{service}/aws4_request", scope.date), digest::digest(&digest::SHA256, &request));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{place}\n{}", signed_at.basic(), canonical::hex(hash.as_ref()));
    let signature = hmac::sign(&signing_key(access_key.secret(), &scope), text.as_bytes());
    let (id, names, signature) = (access_key.id(), names.join(";"), canonical::hex(signature.as_ref()));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={id}/{place}, SignedHeaders={names}, Signature={signature}");
    head.headers.insert("authorization", header(authorization)?);
    Ok(())
}

fn signing_key(secret: &str, scope: &Scope) -> hmac::Key {
    let secret = zeroize::Zeroizing::new(format!("AWS4{secret}"));
    let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    [&scope.date, &scope.region, &scope.service, "aws4_request"]
        .into_iter()
        .fold(key(secret.as_bytes()), |with, part| key(hmac::sign(&with, part.as_bytes()).as_ref()))
}

fn check_scope(claim: &Claim, service: &str, region: Option<&str>) -> Result<(), AuthError> {
    let Scope { date, region: signed_region, service: signed_service } = &claim.scope;
    if region.is_some_and(|region| region != signed_region) {
        return Err(AuthError::invalid(format!(
            "Credential should be scoped to a valid region, not '{signed_region}'."
        )));
    }
    if signed_service != service {
        return Err(AuthError::invalid(format!("Credential should be scoped to correct service: '{service}'.")));
    }
    if *date != claim.signed_at.date() {
        return Err(AuthError::invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != '{}', from \
             '{}'.",
            claim.signed_at.date(),
            claim.signed_at.basic()
        )));
    }
    Ok(())
}

/// A clock that is wrong denies.
fn check_time(claim: &Claim, now_ms: u64) -> Result<(), AuthError> {
    let (now, signed) = (i64::try_from(now_ms).unwrap_or(i64::MAX), claim.signed_at.ms());
    let basic = claim.signed_at.basic();
    if signed > now.saturating_add(SKEW_MS) {
        let now = SignedAt::of_ms(now_ms).basic();
        return Err(AuthError::invalid(format!(
            "Signature not yet current: {basic} is still later than {now} + 15 min."
        )));
    }
    let until = claim.expires.map_or(SKEW_MS, |seconds| seconds as i64 * 1000);
    if now > signed + until {
        let now = SignedAt::of_ms(now_ms).basic();
        let seconds = until / 1000;
        return Err(AuthError::invalid(format!("Signature expired: {basic} + {seconds} s is now earlier than {now}.")));
    }
    Ok(())
}

/// What decides about a request is signed, and comes once.
fn check_signed_headers(head: &Parts, signed: &[String]) -> Result<(), AuthError> {
    let is_signed = |name: &str| signed.binary_search_by(|signed| signed.as_str().cmp(name)).is_ok();
    if !is_signed("host") {
        return Err(AuthError::invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
    }
    for name in head.headers.keys().map(|name| name.as_str()) {
        let decides = name.starts_with("x-amz-") || name == "content-type";
        if decides && !is_signed(name) {
            return Err(unsigned(name));
        }
        if is_signed(name) || name == "date" {
            single(head, name)?;
        }
    }
    Ok(())
}

/// `x-amz-content-sha256`, from the header or, in a presigned URL, from the query.
fn declared_hash(head: &Parts, query: &Query) -> Result<Option<[u8; 32]>, AuthError> {
    let hash = |text: &[u8]| {
        canonical::parse_sha256(text).ok_or_else(|| {
            AuthError::invalid("x-amz-content-sha256 must be the SHA-256 of the body, in hexadecimal digits.")
        })
    };
    let of_header = head.headers.get("x-amz-content-sha256").map(|value| hash(value.as_bytes())).transpose()?;
    let of_query = query.get("X-Amz-Content-Sha256").map(hash).transpose()?;
    match (of_header, of_query) {
        (Some(one), Some(other)) if one != other => Err(AuthError::mismatch()),
        (one, other) => Ok(one.or(other)),
    }
}

/// The canonical request but for the hash of the body, which ends it.
fn canonical_head(head: &Parts, query: &Query, signed_headers: &[String]) -> Result<Vec<u8>, AuthError> {
    let path = canonical::path(head.uri.path())
        .ok_or_else(|| AuthError::invalid("The path has empty or dot segments, which are not served."))?;
    let mut request = format!("{}\n{path}\n{}\n", head.method, query.canonical()).into_bytes();
    for name in signed_headers {
        request.extend_from_slice(name.as_bytes());
        request.push(b':');
        match (name.as_str(), single(head, name)?, head.uri.authority()) {
            // HTTP/2 has the host in `:authority`.
            ("host", Some(host), Some(authority)) if host.as_bytes() != authority.as_str().as_bytes() => {
                return Err(AuthError::invalid("'Host' and ':authority' differ."));
            }
            ("host", _, Some(authority)) => request.extend_from_slice(authority.as_str().as_bytes()),
            (_, Some(value), _) => canonical::put_header_value(&mut request, value),
            (name, None, _) => {
                return Err(AuthError::invalid(format!("The signed header '{name}' is not in the request.")));
            }
        }
        request.push(b'\n');
    }
    request.push(b'\n');
    request.extend_from_slice(signed_headers.join(";").as_bytes());
    request.push(b'\n');
    Ok(request)
}
