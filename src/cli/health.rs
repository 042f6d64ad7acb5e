//! `braidlog health`: asks a server whether it works. For health checks of containers, that have no `curl`.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use super::env::DEFAULT_ENDPOINT;
use super::{Context, Failure};

/// Answers come within milliseconds; a server that takes longer does not work.
const PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server; plain http, which is spoken on ports with TLS too
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: String,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let authority = authority(&args.endpoint)?;
    let answer =
        ask(authority).map_err(|error| Failure::Other(format!("no server answers at {}: {error}", args.endpoint)))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let told: Value = serde_json::from_str(body).unwrap_or_default();
    if status != "200" || told["status"] != "ok" {
        let why = told["store"]["cause"].as_str().map_or_else(|| format!("it answered {status:?}"), str::to_owned);
        return Err(Failure::Other(format!("the server at {} does not work: {why}", args.endpoint)));
    }
    let version = told["version"].as_str().unwrap_or("?").to_owned();
    context.answer(told, &format!("ok, version {version}"))
}

/// `127.0.0.1:4566` of `http://127.0.0.1:4566/`.
pub(super) fn authority(endpoint: &str) -> Result<String, Failure> {
    let bad = |why: &str| Failure::Usage(format!("{endpoint:?} is no endpoint: {why}"));
    let rest = endpoint.strip_prefix("http://").ok_or_else(|| bad("it must begin with http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.bytes().any(|b| b"/?#@".contains(&b) || !b.is_ascii_graphic()) {
        return Err(bad("it must be http://HOST:PORT"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { authority.to_owned() } else { format!("{authority}:80") })
}

fn ask(authority: String) -> std::io::Result<String> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in authority.to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        return Ok(answer);
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        assert_eq!(authority("http://localhost:4566/").unwrap(), "localhost:4566");
        assert_eq!(authority("http://[::1]:1").unwrap(), "[::1]:1");
        assert_eq!(authority("http://braidlog").unwrap(), "braidlog:80");
        for bad in ["https://a:1", "a:1", "http://", "http://a:1/path", "http://user@a:1", "http://a b"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
