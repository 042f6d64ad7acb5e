//! Requests signed by botocore, and everything that could be done to them: see `tools/sigv4_fixtures.py`.

use http::Request;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::server::AccessKey;

/// 2026-11-20T12:00:00Z, when the fixtures were signed.
const NOW_MS: u64 = 1_795_176_000_000;
const REGION: &str = "us-east-1";

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Fixture {
    name: String,
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body: String,
    refused: Option<String>,
}

fn good() -> Vec<Fixture> {
    serde_json::from_str(include_str!("../../../tests/data/sigv4/good.json")).unwrap()
}

fn bad() -> Vec<Fixture> {
    serde_json::from_str(include_str!("../../../tests/data/sigv4/bad.json")).unwrap()
}

fn fixture(name: &str) -> Fixture {
    good().into_iter().find(|fixture| fixture.name == name).unwrap()
}

fn authenticator() -> Authenticator {
    let secrets = [
        ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("123456789012", "test"),
        ("AKIDOTHER", "other"),
    ];
    with(&secrets)
}

fn with(secrets: &[(&str, &str)]) -> Authenticator {
    let keys: Vec<_> = secrets.iter().map(|(id, secret)| AccessKey::new(*id, *secret).unwrap()).collect();
    Authenticator::new(Credentials::of(&keys), "000000000000")
}

impl Fixture {
    /// `None`: it isn't even HTTP.
    fn head(&self) -> Option<Parts> {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.uri);
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        Some(request.body(()).ok()?.into_parts().0)
    }

    fn verify_at(&self, now_ms: u64) -> Result<Identity, AuthError> {
        let head = self.head().ok_or_else(|| AuthError::invalid("it is no HTTP"))?;
        authenticator().verify(&head, self.body.as_bytes(), "kinesis", Some(REGION), now_ms)
    }

    fn verify(&self) -> Result<Identity, AuthError> {
        self.verify_at(NOW_MS)
    }

    fn header(&mut self, name: &str) -> Option<&mut String> {
        self.headers.iter_mut().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    fn is_presigned(&self) -> bool {
        self.uri.contains("X-Amz-Signature=")
    }

    /// Where the signature's parts stand.
    fn signature(&mut self) -> &mut String {
        if self.is_presigned() { &mut self.uri } else { self.header("authorization").unwrap() }
    }
}

#[test]
fn what_botocore_signs_is_accepted() {
    for fixture in good() {
        let identity = fixture.verify().unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        let expected = if fixture.name == "twelve digits" { "123456789012" } else { "000000000000" };
        assert_eq!(identity.account, expected, "{}", fixture.name);
        assert!(identity.access_key.is_some());
    }
}

#[test]
fn what_is_signed_right_but_not_for_here_and_now_is_refused() {
    for fixture in bad() {
        let code = fixture.verify().map_err(|error| (crate::wire::ApiError::from(error.clone()).status, error.code()));
        assert_eq!(code, Err((400, fixture.refused.as_deref().unwrap())), "{}", fixture.name);
    }
}

/// From AWS's documentation and its suite of test cases for this signature.
#[test]
fn aws_published_examples_are_accepted() {
    let authenticator = with(&[("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")]);
    for (host, uri, service, content_type, signature) in [
        (
            "iam.amazonaws.com",
            "/?Action=ListUsers&Version=2010-05-08",
            "iam",
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        (
            "example.amazonaws.com",
            "/",
            "service",
            None,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
    ] {
        let signed = if content_type.is_some() { "content-type;host;x-amz-date" } else { "host;x-amz-date" };
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders={signed}, \
             Signature={signature}"
        );
        let mut request = Request::get(uri).header("Host", host).header("X-Amz-Date", "20150830T123600Z");
        request = request.header("Authorization", authorization);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let verified = authenticator.verify(&head, b"", service, Some(REGION), 1_440_938_160_000);
        assert_eq!(verified.map(|identity| identity.access_key), Ok(Some("AKIDEXAMPLE".to_owned())), "{host}");
    }
}

/// Replaces the first of them; `false` if there is none.
fn swap(text: &mut String, from: &str, to: &str) -> bool {
    let found = text.contains(from);
    *text = text.replacen(from, to, 1);
    found
}

fn swap_header(fixture: &mut Fixture, name: &str, from: &str, to: &str) -> bool {
    fixture.header(name).is_some_and(|value| swap(value, from, to))
}

/// The signature's parts are spelled alike in both places, but for the slashes of the scope.
fn swap_scope(fixture: &mut Fixture, from: &str, to: &str) -> bool {
    let slash = if fixture.is_presigned() { "%2F" } else { "/" };
    swap(fixture.signature(), &from.replace('/', slash), &to.replace('/', slash))
}

fn drop_header(fixture: &mut Fixture, name: &str) -> bool {
    let before = fixture.headers.len();
    fixture.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    fixture.headers.len() < before
}

fn repeat_header(fixture: &mut Fixture, name: &str, value: Option<&str>) -> bool {
    let Some(first) = fixture.header(name).cloned() else { return false };
    fixture.headers.push((name.to_owned(), value.map_or(first, str::to_owned)));
    true
}

/// Where the 64 digits of the signature begin.
fn digits(fixture: &mut Fixture) -> usize {
    fixture.signature().find("Signature=").unwrap() + "Signature=".len()
}

type Mutation = (&'static str, fn(&mut Fixture) -> bool);

/// What is done to a request; `false` where it doesn't apply to one.
const MUTATIONS: &[Mutation] = &[
    ("signature empty", |f| {
        let at = digits(f);
        f.signature().replace_range(at..at + 64, "");
        true
    }),
    ("signature cut", |f| {
        let at = digits(f);
        f.signature().replace_range(at..at + 2, "");
        true
    }),
    ("signature longer", |f| {
        let at = digits(f);
        f.signature().insert_str(at, "00");
        true
    }),
    ("signature in upper case", |f| {
        let at = digits(f);
        let upper = f.signature()[at..at + 64].to_ascii_uppercase();
        f.signature().replace_range(at..at + 64, &upper);
        true
    }),
    ("signature of zeros", |f| {
        let at = digits(f);
        f.signature().replace_range(at..at + 64, &"0".repeat(64));
        true
    }),
    ("signature of another request", |f| {
        let other = "e6195459ff6422648d9e10eb3198b2cc30dd4396bb99a75a9880613f7a65a004";
        let at = digits(f);
        f.signature().replace_range(at..at + 64, other);
        true
    }),
    ("another known key", |f| {
        let _ = swap(f.signature(), "123456789012", "AKIAIOSFODNN7EXAMPLE")
            || swap(f.signature(), "AKIAIOSFODNN7EXAMPLE", "AKIDOTHER");
        true
    }),
    ("an unknown key", |f| swap(f.signature(), "Credential=", "Credential=x")),
    ("an empty key", |f| swap_scope(f, "AKIAIOSFODNN7EXAMPLE/", "/")),
    ("key in lower case", |f| swap(f.signature(), "AKIAIOSFODNN7EXAMPLE", "akiaiosfodnn7example")),
    ("another date in the scope", |f| {
        swap_scope(f, "/20261120/", "/20261119/") || swap_scope(f, "/20261113/", "/20261120/")
    }),
    ("another region", |f| swap_scope(f, "/us-east-1/", "/us-east-2/")),
    ("region in upper case", |f| swap_scope(f, "/us-east-1/", "/US-EAST-1/")),
    ("another service", |f| swap_scope(f, "/kinesis/", "/sqs/")),
    ("another terminator", |f| swap_scope(f, "aws4_request", "aws4_reques")),
    ("one part of the scope more", |f| swap_scope(f, "aws4_request", "aws4_request/x")),
    ("algorithm with another hash", |f| swap(f.signature(), "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")),
    ("algorithm of version 4a", |f| swap(f.signature(), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
    ("algorithm in lower case", |f| swap(f.signature(), "AWS4-HMAC-SHA256", "aws4-hmac-sha256")),
    ("signed headers empty", |f| {
        let at = f.signature().find("SignedHeaders=").unwrap() + "SignedHeaders=".len();
        let length = f.signature()[at..].find([',', '&']).unwrap();
        f.signature().replace_range(at..at + length, "");
        true
    }),
    ("host not in the list", |f| {
        let separator = if f.is_presigned() { "host%3B" } else { "host;" };
        swap(f.signature(), separator, "") || swap(f.signature(), "host", "")
    }),
    ("target not in the list", |f| {
        swap(f.signature(), ";x-amz-target", "") || swap(f.signature(), "%3Bx-amz-target", "")
    }),
    ("content type not in the list", |f| {
        swap(f.signature(), "content-type;", "") || swap(f.signature(), "content-type%3B", "")
    }),
    ("date not in the list", |f| swap(f.signature(), ";x-amz-date", "") || swap(f.signature(), "date;", "")),
    ("a header that isn't there in the list", |f| {
        swap(f.signature(), ";x-amz-target", ";x-amz-target;x-zzz")
            || swap(f.signature(), "%3Bx-amz-target", "%3Bx-amz-target%3Bx-zzz")
    }),
    ("list in another order", |f| {
        swap(f.signature(), "content-type;host", "host;content-type")
            || swap(f.signature(), "content-type%3Bhost", "host%3Bcontent-type")
    }),
    ("list in upper case", |f| swap(f.signature(), "x-amz-target", "X-Amz-Target")),
    ("a name twice in the list", |f| {
        swap(f.signature(), "host", "host;host") || swap(f.signature(), "host", "host%3Bhost")
    }),
    ("another method", |f| {
        f.method = if f.method == "POST" { "PUT" } else { "POST" }.to_owned();
        true
    }),
    ("method in lower case", |f| {
        f.method.make_ascii_lowercase();
        true
    }),
    ("another path", |f| {
        f.uri.insert(1, 'x');
        true
    }),
    ("path doubled", |f| {
        f.uri.insert(0, '/');
        true
    }),
    ("path with a dot", |f| {
        f.uri.insert_str(0, "/.");
        true
    }),
    ("path with two dots", |f| {
        f.uri.insert_str(0, "/x/..");
        true
    }),
    ("path encoded once more", |f| swap(&mut f.uri, "%20b", "%2520b")),
    ("path encoded once less", |f| swap(&mut f.uri, "/c:d", "/c%3Ad")),
    ("a parameter more", |f| {
        let more = if f.uri.contains('?') { "&x=" } else { "?x=" };
        f.uri.push_str(more);
        true
    }),
    ("an empty parameter more", |f| {
        let more = if f.uri.contains('?') { "&" } else { "?=" };
        f.uri.push_str(more);
        true
    }),
    ("a parameter twice", |f| {
        let Some((_, query)) = f.uri.split_once('?') else { return false };
        let first = query.split('&').next().unwrap().to_owned();
        f.uri = format!("{}&{first}", f.uri);
        true
    }),
    ("a parameter less", |f| swap(&mut f.uri, "b=2&", "") || swap(&mut f.uri, "Action=x&", "")),
    ("a parameter's value encoded twice", |f| swap(&mut f.uri, "a=x%2Fy", "a=x%252Fy")),
    ("a plus for a space", |f| swap(&mut f.uri, "b=%2B%20", "b=%2B+")),
    ("a space for a plus", |f| swap(&mut f.uri, "b=%2B%20", "b=%20%20")),
    ("a torn escape", |f| swap(&mut f.uri, "%2F", "%2") || swap(&mut f.uri, "a=x%2Fy", "a=x%2")),
    ("longer life", |f| swap(&mut f.uri, "X-Amz-Expires=60", "X-Amz-Expires=61")),
    ("no life", |f| swap(&mut f.uri, "X-Amz-Expires=", "X-Amz-Expire=")),
    ("a life twice", |f| {
        f.is_presigned() && {
            f.uri.push_str("&X-Amz-Expires=60");
            true
        }
    }),
    ("an algorithm's name in lower case", |f| swap(&mut f.uri, "X-Amz-Algorithm", "x-amz-algorithm")),
    ("another body", |f| {
        f.body.push(' ');
        true
    }),
    ("no body", |f| !std::mem::take(&mut f.body).is_empty()),
    ("another operation", |f| {
        f.header("x-amz-target").is_some_and(|target| {
            *target = format!("{target}s");
            true
        })
    }),
    ("operation in lower case", |f| swap_header(f, "x-amz-target", "Kinesis", "kinesis")),
    ("operation not in ASCII", |f| swap_header(f, "x-amz-target", "Kinesis", "Kinésis")),
    ("no operation", |f| drop_header(f, "x-amz-target")),
    ("operation twice", |f| repeat_header(f, "x-amz-target", None)),
    ("two operations", |f| repeat_header(f, "x-amz-target", Some("Kinesis_20131202.DeleteStream"))),
    ("another content type", |f| swap_header(f, "content-type", "1.1", "1.0")),
    ("no content type", |f| drop_header(f, "content-type")),
    ("content type twice", |f| repeat_header(f, "content-type", None)),
    ("another host", |f| swap_header(f, "host", "localhost", "127.0.0.1")),
    ("another port", |f| swap_header(f, "host", "4566", "4567")),
    ("no host", |f| drop_header(f, "host")),
    ("host twice", |f| repeat_header(f, "host", None)),
    ("another host in the target of the request", |f| {
        f.uri.insert_str(0, "http://127.0.0.1:4566");
        true
    }),
    ("another second", |f| {
        swap_header(f, "x-amz-date", "00Z", "01Z")
            || swap(&mut f.uri, "00Z", "01Z")
            || swap_header(f, "date", ":00 ", ":01 ")
    }),
    ("another day, in the scope, too", |f| {
        let _ = swap_scope(f, "/20261120/", "/20261121/");
        swap_header(f, "x-amz-date", "20261120T12", "20261121T00") || swap(&mut f.uri, "20261120T12", "20261121T00")
    }),
    ("no date", |f| {
        drop_header(f, "x-amz-date") || drop_header(f, "date") || swap(&mut f.uri, "X-Amz-Date", "X-Amz-Dat")
    }),
    ("date twice", |f| repeat_header(f, "x-amz-date", None) || repeat_header(f, "date", None)),
    ("date in another form", |f| swap_header(f, "x-amz-date", "20261120T120000Z", "2026-11-20T12:00:00Z")),
    ("a header of AWS more", |f| {
        f.headers.push(("X-Amz-Note2".to_owned(), "x".to_owned()));
        true
    }),
    ("a token", |f| {
        f.headers.push(("X-Amz-Security-Token".to_owned(), "x".to_owned()));
        true
    }),
    ("a token in the query", |f| {
        let more = if f.uri.contains('?') { "&" } else { "?" };
        f.uri = format!("{}{more}X-Amz-Security-Token=x", f.uri);
        true
    }),
    ("payload not signed", |f| {
        f.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-amz-content-sha256"));
        f.headers.push(("X-Amz-Content-Sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()));
        true
    }),
    ("another hash of the body", |f| {
        f.header("x-amz-content-sha256").is_some_and(|hash| {
            *hash = "0".repeat(64);
            true
        })
    }),
    ("no hash of the body, but another body", |f| {
        f.body = "{}".repeat(2);
        drop_header(f, "x-amz-content-sha256")
    }),
    ("another value of a signed header", |f| swap_header(f, "x-amz-note", "a   b", "a   c")),
    ("words of a signed header joined", |f| swap_header(f, "x-amz-note", "a   b", "ab")),
    ("no authorization", |f| drop_header(f, "authorization")),
    ("authorization twice", |f| repeat_header(f, "authorization", None)),
    ("authorization empty", |f| {
        f.header("authorization").is_some_and(|value| {
            value.clear();
            true
        })
    }),
    ("a signature twice", |f| {
        f.header("authorization").is_some_and(|value| {
            let at = value.find("Signature=").unwrap();
            *value = format!("{value}, {}", &value[at..]);
            true
        })
    }),
    ("a part nobody knows", |f| {
        f.header("authorization").is_some_and(|value| {
            value.push_str(", Token=x");
            true
        })
    }),
    ("both places", |f| {
        if f.is_presigned() {
            f.headers.push(("Authorization".to_owned(), fixture("CBOR").header("authorization").unwrap().clone()));
        } else {
            f.uri = fixture("presigned").uri;
        }
        true
    }),
];

#[test]
fn whatever_is_changed_about_a_request_it_is_refused() {
    let (mut cells, mut used) = (0, vec![0; MUTATIONS.len()]);
    for original in good() {
        for (i, (name, mutate)) in MUTATIONS.iter().enumerate() {
            let mut fixture = original.clone();
            if mutate(&mut fixture) && fixture != original {
                let verified = fixture.verify();
                assert!(verified.is_err(), "{}: {name}: {fixture:?}", original.name);
                cells += 1;
                used[i] += 1;
            }
        }
        let at = digits(&mut original.clone());
        for digit in at..at + 64 {
            let mut fixture = original.clone();
            let other = if &fixture.signature()[digit..=digit] == "0" { "1" } else { "0" };
            fixture.signature().replace_range(digit..=digit, other);
            assert!(fixture.verify().is_err(), "{}: digit {digit}", original.name);
            cells += 1;
        }
    }
    for ((name, _), used) in MUTATIONS.iter().zip(used) {
        assert!(used > 0, "{name} applies to no request");
    }
    assert!(cells > 7_000, "{cells}");
}

#[test]
fn a_request_is_accepted_until_its_time_is_over_and_not_before() {
    const MINUTE: u64 = 60_000;
    for (name, from, until) in [
        ("CBOR", NOW_MS - 15 * MINUTE, NOW_MS + 15 * MINUTE),
        ("date in Date", NOW_MS - 15 * MINUTE, NOW_MS + 15 * MINUTE),
        ("presigned", NOW_MS - 15 * MINUTE, NOW_MS + MINUTE),
        ("presigned, seven days ago", NOW_MS - 7 * 24 * 60 * MINUTE - 15 * MINUTE, NOW_MS),
    ] {
        let fixture = fixture(name);
        for (now_ms, accepted) in
            [(from - 1, false), (from, true), (until, true), (until + 1, false), (0, false), (u64::MAX, false)]
        {
            assert_eq!(fixture.verify_at(now_ms).is_ok(), accepted, "{name} at {now_ms}");
        }
    }
}

#[test]
fn the_host_of_http_2_is_its_authority() {
    let mut fixture = fixture("CBOR");
    drop_header(&mut fixture, "host");
    fixture.uri = "http://localhost:4566/".to_owned();
    assert!(fixture.verify().is_ok());
    fixture.headers.push(("Host".to_owned(), "localhost:4566".to_owned()));
    assert!(fixture.verify().is_ok());
    fixture.uri = "http://localhost:4567/".to_owned();
    assert!(fixture.verify().is_err());
}

#[test]
fn what_means_the_same_is_the_same() {
    let mut spaced = fixture("spaces in a header");
    *spaced.header("x-amz-note").unwrap() = "a b\tc".to_owned();
    assert!(spaced.verify().is_ok());
    let mut listed = fixture("a path and a query");
    assert!(swap(&mut listed.uri, "b=2&a=x%2Fy", "a=x/y&b=2"));
    assert!(listed.verify().is_ok());
    let mut tight = fixture("CBOR");
    *tight.header("authorization").unwrap() = tight.header("authorization").unwrap().replace(", ", ",");
    assert!(tight.verify().is_ok());
    let mut unrelated = fixture("CBOR");
    unrelated.headers.extend(["a", "b"].map(|value| ("Via".to_owned(), value.to_owned())));
    assert!(unrelated.verify().is_ok());
}

#[test]
fn a_head_that_gives_the_hash_of_the_body_is_refused_without_the_body() {
    let mut fixture = fixture("hash declared");
    let check = |fixture: &Fixture| {
        authenticator()
            .check(&fixture.head().unwrap(), "kinesis", Some(REGION), NOW_MS)
            .map(drop)
            .map_err(|error| error.refusal)
    };
    assert_eq!(check(&fixture), Ok(()));
    swap_header(&mut fixture, "x-amz-target", "Kinesis", "kinesis");
    assert_eq!(check(&fixture), Err(error::Refusal::InvalidSignature));
    // So is every request of somebody who has no access key, whether or not it does.
    for fixture in bad().iter().filter(|fixture| fixture.refused.as_deref() == Some("UnrecognizedClientException")) {
        assert_eq!(check(fixture), Err(error::Refusal::UnrecognizedClient), "{}", fixture.name);
    }
}

#[test]
fn any_region_is_taken_where_none_is_set() {
    let elsewhere = bad().into_iter().find(|fixture| fixture.name == "signed for another region").unwrap();
    let head = elsewhere.head().unwrap();
    let verify = |region| authenticator().verify(&head, elsewhere.body.as_bytes(), "kinesis", region, NOW_MS);
    assert!(verify(None).is_ok());
    assert!(verify(Some("eu-west-1")).is_ok());
    assert!(verify(Some(REGION)).is_err());
}

#[test]
fn the_account_is_that_of_the_key_or_the_default() {
    let authenticator = authenticator();
    let account = |access_key: Option<&str>| authenticator.identity(access_key.map(str::to_owned)).account;
    assert_eq!(account(Some("123456789012")), "123456789012");
    assert_eq!(account(Some("12345678901")), "000000000000");
    assert_eq!(account(None), "000000000000");
}

#[test]
fn without_credentials_everybody_is_let_in_and_a_key_names_the_account() {
    let open = Authenticator::new(None, "000000000000");
    let verify = |fixture: &Fixture| {
        open.verify(&fixture.head().unwrap(), b"another body", "kinesis", Some("nowhere"), 0)
            .expect("everybody is let in")
    };
    for fixture in good().iter().chain(&bad()) {
        verify(fixture);
    }
    assert_eq!(verify(&fixture("twelve digits")).account, "123456789012");
    assert_eq!(verify(&fixture("presigned")).access_key.as_deref(), Some("AKIAIOSFODNN7EXAMPLE"));
    for (authorization, access_key) in [
        (
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=x",
            Some("test"),
        ),
        ("AWS4-HMAC-SHA256 Credential=210987654321", Some("210987654321")),
        ("AWS4-HMAC-SHA256 Credential=, SignedHeaders=", None),
        ("Bearer abc", None),
    ] {
        let head = Request::post("/").header("Authorization", authorization).body(()).unwrap().into_parts().0;
        let identity = open.verify(&head, b"", "kinesis", None, 0).unwrap();
        assert_eq!(identity.access_key.as_deref(), access_key, "{authorization}");
    }
}

#[test]
fn no_refusal_shows_a_secret_or_what_would_have_been_right() {
    let secrets = ["wJalrXUtnFEMI", "e6195459ff6422648d9e10eb3198b2cc30dd4396bb99a75a9880613f7a65a003"];
    let mut original = good().swap_remove(0);
    assert!(original.signature().contains(secrets[1]));
    for (name, mutate) in MUTATIONS {
        let mut fixture = original.clone();
        mutate(&mut fixture);
        if let Err(error) = fixture.verify() {
            assert!(secrets.iter().all(|secret| !error.to_string().contains(secret)), "{name}: {error}");
        }
    }
}

proptest! {
    #[test]
    fn no_authorization_panics_or_gets_in(value in "(AWS4-HMAC-SHA256 )?([A-Za-z]{0,6}=?[ -~é]{0,30},? ?){0,5}") {
        let mut fixture = fixture("CBOR");
        *fixture.header("authorization").unwrap() = value;
        prop_assert!(fixture.verify().is_err());
    }

    #[test]
    fn no_query_panics_or_gets_in(query in "[ -~]{0,60}") {
        let mut fixture = fixture("presigned");
        fixture.uri = format!("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}");
        prop_assert!(fixture.verify().is_err());
    }

    /// One byte of anything that is signed.
    #[test]
    fn no_changed_byte_gets_in(row in 0usize..1_000, at in 0usize..10_000, byte in b' '..=b'~') {
        let rows = good();
        let original = &rows[row % rows.len()];
        let mut fixture = original.clone();
        let replace = |text: &mut String| {
            let at = at % text.len().max(1);
            if text.is_ascii() && at < text.len() {
                text.replace_range(at..=at, &char::from(byte).to_string());
            }
        };
        replace(&mut fixture.body);
        if let Some(target) = fixture.header("x-amz-target") {
            replace(target);
        }
        if fixture != *original {
            prop_assert!(fixture.verify().is_err());
        }
    }
}

#[test]
fn what_is_signed_here_is_accepted() {
    let key = AccessKey::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").unwrap();
    let request = Request::post("/a%20path?b=1&a=%2F")
        .header("host", "localhost:4566")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "Kinesis_20131202.ListStreams");
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    sign(&mut head, b"{}", &key, "kinesis", REGION, NOW_MS).unwrap();
    let verify = |body: &[u8]| authenticator().verify(&head, body, "kinesis", Some(REGION), NOW_MS);
    assert_eq!(verify(b"{}").unwrap().access_key.as_deref(), Some("AKIAIOSFODNN7EXAMPLE"));
    assert!(verify(b"{ }").is_err());
}
