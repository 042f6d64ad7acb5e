//! A client of one server: requests in JSON, one after the other, on a connection that is kept.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::{HeaderValue, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::Failure;
use crate::cli::health::authority;
use crate::cli::time::now_ms;
use crate::server::AccessKey;
use crate::server::auth::sign;
use crate::wire::Protocol;
use crate::wire::kinesis::TARGET_PREFIX;

/// An answer comes within a second or so; a server that takes longer is not there.
const PATIENCE: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// 10 MiB of records in base64 and what is around them, and then some.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(super) struct Client {
    authority: String,
    key: AccessKey,
    region: String,
    connection: Option<BufReader<TcpStream>>,
}

/// Why there is no answer.
pub(super) enum Refused {
    /// Nobody answers.
    Away(String),
    /// The service said no.
    Said { code: String, message: String },
    /// Something else is wrong.
    Failed(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Away(why) => Failure::Other(why),
            Refused::Said { code, message } if code == "ResourceNotFoundException" => Failure::NotFound(message),
            Refused::Said { code, message } => Failure::Other(format!("{code}: {message}")),
            Refused::Failed(failure) => failure,
        }
    }
}

impl From<crate::Error> for Refused {
    fn from(error: crate::Error) -> Refused {
        Refused::Failed(error.into())
    }
}

impl Client {
    pub(super) fn new(endpoint: &str) -> Result<Client, Failure> {
        let variable = |name: &str, default: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let key = AccessKey::new(variable("AWS_ACCESS_KEY_ID", "test"), variable("AWS_SECRET_ACCESS_KEY", "test"))?;
        let region = variable("AWS_REGION", "us-east-1");
        Ok(Client { authority: authority(endpoint)?, key, region, connection: None })
    }

    /// Calls an operation.
    pub(super) fn call<I: Serialize, O: DeserializeOwned>(&mut self, operation: &str, input: &I) -> Result<O, Refused> {
        let body = Protocol::Json.encode(input);
        let head = self.head(operation, &body)?;
        // A connection that was kept may have been closed meanwhile: then, and only then, there is a second try.
        let kept = self.connection.is_some();
        let answer = match self.exchange(&head, &body) {
            Err(_) if kept => self.exchange(&head, &body),
            other => other,
        };
        let (status, answer) =
            answer.map_err(|error| Refused::Away(format!("no server answers at {}: {error}", self.authority)))?;
        if status != 200 {
            let told: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            let code = Some(text("__type")).filter(|code| !code.is_empty()).unwrap_or_else(|| format!("HTTP {status}"));
            return Err(Refused::Said { code, message: text("message") });
        }
        Protocol::Json.read(&answer).map_err(|error| {
            Refused::Failed(Failure::Other(format!("the answer to {operation} can't be read: {}", error.message)))
        })
    }

    /// The head of a request, signed.
    fn head(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let failed = |error: http::Error| Refused::Failed(Failure::Other(format!("no request can be made: {error}")));
        let request = Request::post("/")
            .header("host", &self.authority)
            .header("content-type", Protocol::Json.content_type())
            .header("x-amz-target", format!("{TARGET_PREFIX}.{operation}"))
            .body(())
            .map_err(failed)?;
        let (mut head, ()) = request.into_parts();
        sign(&mut head, body, &self.key, "kinesis", &self.region, now_ms())
            .map_err(|error| Refused::Failed(Failure::Other(error.to_string())))?;
        head.headers.insert("content-length", HeaderValue::from(body.len()));
        let mut bytes = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &head.headers {
            bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        Ok(bytes)
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.authority)?,
        };
        connection.get_mut().write_all(&[head, body].concat())?;
        let (answer, stays) = read_answer(&mut connection)?;
        if stays {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

fn connect(authority: &str) -> io::Result<BufReader<TcpStream>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(BufReader::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Status and body, and whether the connection stays open.
fn read_answer(connection: &mut impl BufRead) -> io::Result<((u16, Vec<u8>), bool)> {
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
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or_else(|| bad("the answer has no length"))?;
    let mut body = Vec::new();
    connection.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(bad("the answer is cut short"));
    }
    Ok(((status, body), stays))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_length() {
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nconnection: close\r\n\r\n{}rest";
        assert_eq!(read_answer(&mut &answer[..]).unwrap(), ((400, b"{}".to_vec()), false));
        for bad in ["", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"]
        {
            assert!(read_answer(&mut bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
