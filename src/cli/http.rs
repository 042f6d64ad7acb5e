//! What the program needs of HTTP to ask a server: its endpoint, a connection in clear text or by TLS, and the answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Failure;

/// A file of certificates to trust instead of the system's; the AWS CLI and SDKs read it, too.
const TRUSTED_VARIABLE: &str = "AWS_CA_BUNDLE";
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// 10 MiB of records in base64 and what is around them, and then some.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// As it was given.
    url: String,
    /// Host and port, as in the `Host` header.
    pub(super) authority: String,
    /// The name that its certificate must have, if it speaks TLS.
    secure: Option<ServerName<'static>>,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl Endpoint {
    /// `http://HOST:PORT` or `https://HOST:PORT`; the port may be left out, and a `/` may follow.
    pub(super) fn parse(url: &str) -> Result<Endpoint, Failure> {
        let bad = |why: &str| Failure::Usage(format!("{url:?} is no endpoint: {why}"));
        let (rest, tls, port) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (rest, false, 80),
            (_, Some(rest)) => (rest, true, 443),
            _ => return Err(bad("it must begin with http:// or https://")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.bytes().any(|b| b"/?#@".contains(&b) || !b.is_ascii_graphic()) {
            return Err(bad("it must be http://HOST:PORT or https://HOST:PORT"));
        }
        let split = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let host = split.map_or(authority, |(host, _)| host);
        let secure = tls.then(|| {
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            ServerName::try_from(name).map_err(|error| bad(&error.to_string()))
        });
        let authority = if split.is_some() { authority.to_owned() } else { format!("{authority}:{port}") };
        Ok(Endpoint { url: url.to_owned(), authority, secure: secure.transpose()? })
    }

    /// Connects; every read and write may take as long as `patience`.
    pub(super) fn connect(&self, patience: Duration) -> io::Result<Connection> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(patience))?;
                    stream.set_write_timeout(Some(patience))?;
                    stream.set_nodelay(true)?;
                    return Ok(Connection(BufReader::new(self.secured(stream)?)));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn secured(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some(name) = &self.secure else { return Ok(Box::new(stream)) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map_err(io::Error::other)?.with_root_certificates(trusted()?).with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), name.clone()).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

/// The certificates to trust: those of [`TRUSTED_VARIABLE`], or the system's.
fn trusted() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = std::env::var_os(TRUSTED_VARIABLE).filter(|path| !path.is_empty()) else {
        // What of the system's can't be read is no reason to do without the rest.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let bad = |why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{TRUSTED_VARIABLE} ({}): {why}", path.display()))
    };
    let pem = std::fs::read(&path).map_err(|error| bad(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"there is no certificate in it"));
    }
    Ok(roots)
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A connection to a server.
pub(super) struct Connection(BufReader<Box<dyn Stream>>);

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the connection stays open.
    pub(super) stays: bool,
}

impl Connection {
    /// Sends a whole request and reads the answer.
    pub(super) fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let stream = self.0.get_mut();
        stream.write_all(request)?;
        stream.flush()?;
        read_answer(&mut self.0)
    }
}

fn read_answer(connection: &mut impl BufRead) -> io::Result<Answer> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut head = connection.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| bad("it is no HTTP"))?;
    let (mut length, mut stays) = (None, true);
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(bad("the answer ends in its head"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "connection" => stays = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let length = length.filter(|length| *length <= BODY_BYTES_MAX).ok_or_else(|| bad("the answer has no length"))?;
    let mut body = Vec::new();
    connection.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(bad("the answer is cut short"));
    }
    Ok(Answer { status, body, stays })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_length() {
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nconnection: close\r\n\r\n{}rest";
        let read = read_answer(&mut &answer[..]).unwrap();
        assert_eq!(read, Answer { status: 400, body: b"{}".to_vec(), stays: false });
        for bad in ["", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"]
        {
            assert!(read_answer(&mut bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        let parse = |url: &str| {
            let endpoint = Endpoint::parse(url).unwrap();
            (endpoint.authority, endpoint.secure.map(|name| name.to_str().into_owned()))
        };
        assert_eq!(parse("http://localhost:4566/"), ("localhost:4566".to_owned(), None));
        assert_eq!(parse("http://[::1]:1"), ("[::1]:1".to_owned(), None));
        assert_eq!(parse("http://braidlog"), ("braidlog:80".to_owned(), None));
        assert_eq!(parse("https://braidlog"), ("braidlog:443".to_owned(), Some("braidlog".to_owned())));
        assert_eq!(parse("https://[::1]:1/"), ("[::1]:1".to_owned(), Some("::1".to_owned())));
        for bad in ["ftp://a:1", "a:1", "http://", "http://a:1/path", "http://user@a:1", "http://a b", "https://-:1"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
