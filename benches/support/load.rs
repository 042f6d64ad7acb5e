//! A load client for HTTP/1.1: requests are encoded beforehand, answers are looked at only where they must be, so that it takes
//! little of the processors it shares with the server.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Result;

/// Bytes at either end of an answer that are searched for a member: records are between.
const ENDS_BYTES: usize = 2 << 10;
/// Of what comes, at first; it grows with the answers.
const READ_BYTES: usize = 4 << 10;
/// Nothing measured here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it goes over the wire.
#[derive(Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// A call of an operation of Kinesis, with a signature that only a server which checks none accepts.
    pub fn of(operation: &str, content_type: &str, body: &[u8]) -> Request {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
             Content-Type: {content_type}\r\nX-Amz-Date: 20250101T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20250101/us-east-1/kinesis/aws4_request, \
             SignedHeaders=host, Signature=00\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Request([head.as_bytes(), body].concat())
    }

    /// A question with nothing in it.
    pub fn get(path: &str) -> Request {
        Request(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes())
    }
}

/// A connection, made anew where the server ends it after each answer.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    received: Vec<u8>,
    /// Of `received`, how many bytes are there.
    filled: usize,
}

impl Connection {
    /// Connected.
    pub fn open(address: SocketAddr) -> Result<Connection> {
        let mut connection = Connection { address, stream: None, received: vec![0; READ_BYTES], filled: 0 };
        connection.stream()?;
        Ok(connection)
    }

    fn stream(&mut self) -> Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or_else(|| "no connection".into())
    }

    /// Sends a request.
    pub fn send(&mut self, request: &Request) -> Result<()> {
        Ok(self.stream()?.write_all(&request.0)?)
    }

    /// At least one byte more.
    fn receive(&mut self) -> Result<usize> {
        if self.received.len() - self.filled < self.received.len() / 2 {
            self.received.resize(self.received.len() * 2, 0);
        }
        let stream = self.stream.as_mut().ok_or("no connection")?;
        loop {
            match stream.read(&mut self.received[self.filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
                Ok(read) => {
                    self.filled += read;
                    return Ok(read);
                }
            }
        }
    }

    /// The head of an answer: its bytes, status, and what it says of the body's length and of the connection's end.
    fn head(&mut self) -> Result<Head> {
        self.filled = 0;
        let bytes = loop {
            let looked = self.filled.saturating_sub(3);
            if self.receive()? == 0 {
                return Err("the server ended the connection".into());
            }
            let end = self.received[looked..self.filled].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break looked + end + 4;
            }
        };
        let text = std::str::from_utf8(&self.received[..bytes])?;
        let status = text.split(' ').nth(1).unwrap_or_default().parse()?;
        let header = |wanted: &str| {
            let fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
        };
        let length = header("content-length").map(str::parse).transpose()?;
        let connection = header("connection").unwrap_or_default();
        let closes = connection.eq_ignore_ascii_case("close")
            || text.starts_with("HTTP/1.0") && !connection.eq_ignore_ascii_case("keep-alive");
        Ok(Head { bytes, status, length, closes })
    }

    /// Waits for an answer whose length is known, and gives its body.
    pub fn answer(&mut self) -> Result<&[u8]> {
        let Head { bytes, status, length, closes } = self.head()?;
        let end = bytes + length.ok_or("an answer without Content-Length")?;
        while self.filled < end {
            if self.receive()? == 0 {
                return Err("the server ended the connection".into());
            }
        }
        if closes {
            self.stream = None;
        }
        let body = &self.received[bytes..end];
        if status == 200 {
            return Ok(body);
        }
        let told = String::from_utf8_lossy(&body[..body.len().min(400)]);
        Err(format!("the server answered {status}: {told}").into())
    }

    /// Sends a request and waits for the answer.
    pub fn call(&mut self, request: &Request) -> Result<&[u8]> {
        self.send(request)?;
        self.answer()
    }

    /// Waits for the head of an answer in chunks, and gives what reads them.
    pub fn chunks(mut self) -> Result<Chunks> {
        let Head { bytes, status, .. } = self.head()?;
        if status != 200 {
            return Err(format!("the server answered {status}").into());
        }
        Ok(Chunks { at: bytes, connection: self })
    }
}

struct Head {
    bytes: usize,
    status: u16,
    length: Option<usize>,
    closes: bool,
}

/// The body of an answer that goes on.
pub struct Chunks {
    connection: Connection,
    /// The first byte that was not given out.
    at: usize,
}

impl Chunks {
    /// Waits for the next chunk, whole; empty at the end.
    pub fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            let there = &self.connection.received[self.at..self.connection.filled];
            if let Some(line) = there.windows(2).position(|two| two == b"\r\n") {
                let length = usize::from_str_radix(std::str::from_utf8(&there[..line])?, 16)?;
                let begin = line + 2;
                if there.len() >= begin + length + 2 {
                    let chunk = there[begin..begin + length].to_vec();
                    self.at += begin + length + 2;
                    if self.at == self.connection.filled {
                        (self.at, self.connection.filled) = (0, 0);
                    }
                    return Ok(chunk);
                }
            }
            if self.connection.receive()? == 0 {
                return Err("the server ended the connection".into());
            }
        }
    }
}

/// Where the value of a member begins that stands near one end of an answer in JSON or CBOR.
fn value_of<'a>(body: &'a [u8], member: &str) -> Option<&'a [u8]> {
    let find = |part: &'a [u8]| {
        let at = part.windows(member.len()).position(|bytes| bytes == member.as_bytes())?;
        let value = &part[at + member.len()..];
        let skipped = value.iter().take_while(|byte| b"\": ".contains(byte)).count();
        Some(&value[skipped..])
    };
    find(&body[body.len().saturating_sub(ENDS_BYTES)..]).or_else(|| find(&body[..body.len().min(ENDS_BYTES)]))
}

/// Whether a number near one end of an answer is 0.
pub fn is_zero(body: &[u8], member: &str) -> bool {
    value_of(body, member).and_then(<[u8]>::first).is_some_and(|byte| matches!(byte, 0 | b'0'))
}

/// A text near one end of an answer, in JSON or in CBOR. It has no quotes in it.
pub fn text(body: &[u8], member: &str, in_json: bool) -> Option<String> {
    let value = value_of(body, member)?;
    let bytes = match value {
        _ if in_json => {
            let escaped = std::str::from_utf8(value.split(|byte| *byte == b'"').next()?).ok()?;
            return serde_json::from_str(&format!("\"{escaped}\"")).ok();
        }
        // Lengths of one byte and of two (RFC 8949, section 3).
        [0x78, length, rest @ ..] => rest.get(..usize::from(*length))?,
        [0x79, high, low, rest @ ..] => rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?,
        _ => return None,
    };
    String::from_utf8(bytes.to_vec()).ok()
}

/// Keeps each connection with one request on its way for so long. How many were answered, and how long that took; `check` sees
/// each answer.
pub fn pump(
    connections: &mut [Connection],
    requests: &[Request],
    time: Duration,
    mut check: impl FnMut(&[u8]) -> Result<()>,
) -> Result<(usize, Duration)> {
    let start = Instant::now();
    let mut next = requests.iter().cycle();
    let mut answered = 0;
    let mut on_their_way = VecDeque::with_capacity(connections.len());
    for (at, connection) in connections.iter_mut().enumerate() {
        connection.send(next.next().ok_or("no request")?)?;
        on_their_way.push_back(at);
    }
    while let Some(at) = on_their_way.pop_front() {
        check(connections[at].answer()?)?;
        answered += 1;
        if start.elapsed() < time {
            connections[at].send(next.next().ok_or("no request")?)?;
            on_their_way.push_back(at);
        }
    }
    Ok((answered, start.elapsed()))
}
