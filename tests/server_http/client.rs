//! A client that sends exactly the bytes it is given.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use braidlog::server::{Limits, Server, ServerOptions};
use braidlog::{Engine, EngineOptions};
use tempfile::TempDir;

/// A server on an engine in a folder of its own.
pub struct Place {
    pub engine: Engine,
    pub server: Server,
    _dir: TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place::with(ServerOptions::new())
    }

    pub fn limited(limits: Limits) -> Place {
        Place::with(ServerOptions::new().limits(limits))
    }

    pub fn with(options: ServerOptions) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open_with(dir.path(), EngineOptions::new().maintenance_interval(None)).unwrap();
        let server = Server::start_with(engine.clone(), options).unwrap();
        Place { engine, server, _dir: dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// Sends these bytes on a connection of their own.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes.as_ref()).unwrap();
        stream
    }

    /// The answer to one request.
    pub fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        Answer::read(&mut self.send(bytes)).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(get(path))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A call of an operation, whatever the service says of it: its head is fine, so the body is read.
pub fn call(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer with a length.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn read(stream: &mut impl Read) -> io::Result<Answer> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; if status == 100 { 0 } else { length }];
        stream.read_exact(&mut body)?;
        Ok(Answer { status, head, body: String::from_utf8(body).unwrap() })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    /// It is a service's answer: an error in the form of AWS' JSON protocol.
    pub fn is_of_a_service(&self) -> bool {
        self.head.contains("x-amzn-requestid: ")
    }
}

/// Everything until the server closes; a reset counts as that.
pub fn rest(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return bytes,
            // A read with a timeout is not restarted by the kernel when its thread is signalled, as io_uring does.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after {}", bytes.escape_ascii()),
        }
    }
}
