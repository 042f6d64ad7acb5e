//! TLS on the port of clear text.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use braidlog::env::{Env, TestClock};
use braidlog::server::{Limits, Server, ServerOptions, TlsIdentity};
use braidlog::{Engine, EngineOptions, Error};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Answer, Place, get, rest};
use crate::h2;

pub const CERTIFICATE: &[u8] = include_bytes!("../data/localhost.cert.pem");
pub const KEY: &[u8] = include_bytes!("../data/localhost.key.pem");
/// Another one.
#[cfg(feature = "cli")]
pub const CERTIFICATE_2: &[u8] = include_bytes!("../data/localhost2.cert.pem");
#[cfg(feature = "cli")]
pub const KEY_2: &[u8] = include_bytes!("../data/localhost2.key.pem");

pub fn secured(limits: Limits) -> Place {
    Place::with(ServerOptions::new().limits(limits).tls(TlsIdentity::from_pem(CERTIFICATE, KEY).unwrap()))
}

/// A client that trusts the certificate and offers this protocol.
pub fn client(place: &Place, protocol: &str) -> StreamOwned<ClientConnection, TcpStream> {
    client_that_trusts(CERTIFICATE, place.connect(), protocol)
}

pub fn client_that_trusts(
    certificate: &[u8],
    stream: TcpStream,
    protocol: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}

#[test]
fn both_protocols_are_spoken_within_tls_and_beside_it() {
    let place = secured(Limits::new());
    let mut one = client(&place, "http/1.1");
    one.write_all(get("/health").as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut one).unwrap().status, 200);
    assert_eq!(one.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut two = client(&place, "h2");
    h2::is_spoken(&mut two);
    assert_eq!(two.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(place.get("/health").status, 200, "and clear text as well");
}

#[test]
fn without_a_certificate_a_handshake_is_refused_by_an_alert() {
    let place = Place::new();
    let error = client(&place, "h2").write_all(b"x").unwrap_err();
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"no_certificate\"}"), 1);
}

#[test]
fn a_handshake_that_stalls_or_fails_is_cut() {
    let place = secured(Limits::new().handshake_time(Duration::from_millis(300)));
    assert_eq!(rest(place.send(b"\x16\x03\x01")), b"");
    let mut bad = place.send(b"\x16\x03\x01\x00\x05hello");
    let mut alert = [0];
    // An alert, or the end.
    let read = bad.read(&mut alert).unwrap_or(0);
    assert!(read == 0 || alert[0] == 0x15);
    rest(bad);
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"handshake\"}"), 2);
}

#[test]
fn a_certificate_is_used_only_within_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    clock.freeze();
    let mut env = Env::system(dir.path()).unwrap();
    env.clock = clock.clone();
    let engine = Engine::open_in(env, EngineOptions::new().maintenance_interval(None)).unwrap();
    let identity = || TlsIdentity::from_pem(CERTIFICATE, KEY).unwrap();
    let start = || Server::start_with(engine.clone(), ServerOptions::new().tls(identity()));
    // It is valid from 2024 to 2124.
    let year = |year: u64| clock.set_wall_ms((year - 1970) * 31_556_952_000);
    for (when, why) in [(2023, "not valid yet"), (2125, "expired")] {
        year(when);
        let refused = start().unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument { .. }) && refused.to_string().contains(why), "{refused}");
    }
    year(2050);
    let server = start().unwrap();
    server.set_tls(identity()).unwrap();
    year(2125);
    assert!(server.set_tls(identity()).is_err());
}

#[test]
fn a_certificate_and_a_key_that_do_not_fit_are_refused() {
    for (certificate, key) in [(CERTIFICATE, CERTIFICATE), (KEY, KEY), (&b""[..], KEY)] {
        assert!(matches!(TlsIdentity::from_pem(certificate, key), Err(Error::InvalidArgument { .. })));
    }
}
