//! The room of sockets with a service of the test's in it.

mod hangs;
mod pieces;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::service::{ApiBody, ApiRequest, Service};
use super::{Limits, Metrics, Server, ServerOptions, launch};
use crate::Engine;

/// By the path: `/echo` sends back what came, `/events` hands out the receiver it was given, `/gate` waits until told.
#[derive(Clone)]
struct Play {
    events: Arc<std::sync::Mutex<Option<mpsc::Receiver<Bytes>>>>,
    entered: std_mpsc::Sender<String>,
    gate: Arc<tokio::sync::Semaphore>,
}

impl Service for Play {
    /// The path.
    type Admitted = String;

    fn admit(&self, head: &Parts, _: SocketAddr) -> Result<String, Box<Response<ApiBody>>> {
        if head.headers.contains_key("x-refuse") {
            let mut response = Response::new(ApiBody::Whole(Bytes::from_static(b"no")));
            *response.status_mut() = StatusCode::FORBIDDEN;
            return Err(Box::new(response));
        }
        Ok(head.uri.path().to_owned())
    }

    async fn call(&self, request: ApiRequest, path: String) -> Response<ApiBody> {
        assert!(request.peer.ip().is_loopback());
        let _ = self.entered.send(path.clone());
        match path.as_str() {
            "/events" => {
                let events = self.events.lock().unwrap().take().expect("one call asks for events");
                Response::new(ApiBody::Events(events))
            }
            "/gate" => {
                self.gate.acquire().await.unwrap().forget();
                Response::new(ApiBody::Whole(Bytes::from_static(b"through")))
            }
            // A copy: the body itself holds its share as long as it is there.
            _ => Response::new(ApiBody::Whole(Bytes::copy_from_slice(&request.body))),
        }
    }
}

struct Stage {
    _dir: TempDir,
    server: Server,
    entered: std_mpsc::Receiver<String>,
    events: mpsc::Sender<Bytes>,
    gate: Arc<tokio::sync::Semaphore>,
    metrics: Arc<Metrics>,
    engine: Engine,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let (events, receiver) = mpsc::channel(4);
        let (tell, entered) = std_mpsc::channel();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let events_cell = Arc::new(std::sync::Mutex::new(Some(receiver)));
        let play = Play { events: events_cell, entered: tell, gate: gate.clone() };
        let metrics = Arc::new(Metrics::new());
        let server = launch(play, engine.clone(), ServerOptions::new().limits(limits), metrics.clone()).unwrap();
        Stage { _dir: dir, server, entered, events, gate, metrics, engine }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        stream
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.text(&self.engine).lines().any(|l| l == line)
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nX-Amz-Target: T.Op\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until what was read ends with this.
fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e} after {}", text.escape_ascii()));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_body_arrives_whole_however_it_is_sent() {
    let stage = Stage::new(Limits::new());
    let large = vec![b'x'; 1 << 20];
    let mut stream = stage.send(&post("/echo", &large));
    assert!(until(&mut stream, "\r\n\r\n").contains("content-length: 1048576\r\n"));
    let mut echoed = vec![0; large.len()];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, large);
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Amz-Target: T\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for part in ["3\r\nabc\r\n", "2\r\nde\r", "\n0\r\n\r\n"] {
        stream.write_all(part.as_bytes()).unwrap();
    }
    assert!(until(&mut stream, "abcde").starts_with("HTTP/1.1 200"));
}

#[test]
fn events_are_sent_one_by_one_and_end_with_their_sender() {
    let stage = Stage::new(Limits::new());
    let mut stream = stage.send(&post("/events", b""));
    assert!(until(&mut stream, "\r\n\r\n").contains("transfer-encoding: chunked"));
    for event in ["one", "two"] {
        stage.events.blocking_send(Bytes::from_static(event.as_bytes())).unwrap();
        assert_eq!(until(&mut stream, &format!("{event}\r\n")), format!("3\r\n{event}\r\n"));
    }
    let Stage { events, server, .. } = stage;
    drop(events);
    until(&mut stream, "0\r\n\r\n");
    drop(server);
}

#[test]
fn a_stream_of_events_ends_whole_when_the_server_stops() {
    let stage = Stage::new(Limits::new());
    let mut stream = stage.send(&post("/events", b""));
    until(&mut stream, "\r\n\r\n");
    let Stage { server, events, .. } = stage;
    server.stop();
    assert_eq!(rest(stream), "0\r\n\r\n");
    assert!(events.is_closed(), "the sender sees that nobody listens");
}

#[test]
fn a_client_that_leaves_is_seen_by_the_sender_of_events() {
    let stage = Stage::new(Limits::new());
    let mut stream = stage.send(&post("/events", b""));
    until(&mut stream, "\r\n\r\n");
    drop(stream);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), stage.events.closed()).await.unwrap() });
}

#[test]
fn a_request_under_way_is_answered_before_the_server_stops() {
    let stage = Stage::new(Limits::new().drain_time(Duration::from_secs(30)));
    let stream = stage.send(&post("/gate", b""));
    assert_eq!(stage.entered.recv().unwrap(), "/gate");
    let address = stage.server.addresses()[0];
    let Stage { server, gate, .. } = stage;
    let stopping = std::thread::spawn(move || server.stop());
    // It listens no more, and still answers.
    while TcpStream::connect(address).is_ok() {}
    gate.add_permits(1);
    let answer = rest(stream);
    assert!(answer.ends_with("through"), "{answer}");
    stopping.join().unwrap();
}

#[test]
fn a_request_that_never_ends_holds_the_end_up_no_longer_than_allowed() {
    let stage = Stage::new(Limits::new().drain_time(Duration::from_millis(50)));
    let stream = stage.send(&post("/gate", b""));
    stage.entered.recv().unwrap();
    stage.server.stop();
    assert_eq!(rest(stream), "");
}

#[test]
fn who_is_refused_by_the_head_sends_no_body() {
    let stage = Stage::new(Limits::new());
    let head = "POST / HTTP/1.1\r\nHost: a\r\nX-Refuse: 1\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n";
    let answer = rest(stage.send(head.as_bytes()));
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("connection: close"), "{answer}");
    let mut stream = stage.send(head.replace("X-Refuse", "X-Accept").replace("5000000", "2").as_bytes());
    until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    assert!(until(&mut stream, "\r\n\r\nok").starts_with("HTTP/1.1 200"));
}

#[test]
fn bodies_take_no_more_memory_together_than_allowed() {
    let stage = Stage::new(Limits::new().body_bytes(100_000).bodies_bytes(150_000));
    let first = stage.send(&post("/gate", &[b'x'; 100_000]));
    assert_eq!(stage.entered.recv().unwrap(), "/gate");
    let mut second = stage.connect();
    // The server may answer and close before all of it was taken.
    let _ = second.write_all(&post("/echo", &[b'y'; 100_000]));
    let mut answer = Vec::new();
    let _ = second.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(stage.metric("braidlog_http_refused_total{reason=\"memory\"} 1"));
    let mut small = stage.send(&post("/echo", b"small"));
    assert!(until(&mut small, "\r\n\r\nsmall").starts_with("HTTP/1.1 200"), "there is room for that");
    stage.gate.add_permits(1);
    let mut first = first;
    until(&mut first, "through");
    let mut again = stage.send(&post("/echo", &[b'z'; 100_000]));
    assert!(until(&mut again, "\r\n\r\n").starts_with("HTTP/1.1 200"), "room is given back");
}

#[test]
fn answers_that_nobody_takes_count_as_well() {
    let stage = Stage::new(Limits::new().body_bytes(20 << 20).bodies_bytes(40 << 20));
    // Each is far more than the system takes of an answer that is not read.
    let large = vec![b'x'; 20 << 20];
    let mut held = stage.send(&post("/echo", &large));
    until(&mut held, "\r\n\r\n");
    let mut other = stage.send(&post("/echo", &large[..10 << 20]));
    assert!(
        until(&mut other, "\r\n\r\n").starts_with("HTTP/1.1 200"),
        "there is room for the request and then its answer"
    );
    let mut third = stage.connect();
    let _ = third.write_all(&post("/echo", &large[..10 << 20]));
    let mut answer = [0; 12];
    third.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    let mut body = vec![0; large.len()];
    held.read_exact(&mut body).unwrap();
    // Room is given back, maybe a moment after the client has the last byte.
    let served = || {
        let mut again = stage.connect();
        let _ = again.write_all(&post("/echo", &large[..10 << 20]));
        let mut answer = [0; 12];
        again.read_exact(&mut answer).is_ok() && &answer == b"HTTP/1.1 200"
    };
    while !served() {}
}

#[test]
fn large_bodies_leave_room_for_small_ones() {
    let stage = Stage::new(Limits::new().body_bytes(1 << 20).bodies_bytes(4 << 20));
    // Three and a half is what there is for those that are larger than 64 KiB.
    let held: Vec<TcpStream> = (0..3).map(|_| stage.send(&post("/gate", &[b'x'; 1 << 20]))).collect();
    held.iter().for_each(|_| assert_eq!(stage.entered.recv().unwrap(), "/gate"));
    let mut large = stage.connect();
    let _ = large.write_all(&post("/echo", &[b'y'; 1 << 20]));
    let mut answer = [0; 12];
    large.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    for _ in 0..100 {
        let mut small = stage.send(&post("/echo", &[b'z'; 64 << 10]));
        assert!(until(&mut small, "\r\n\r\n").starts_with("HTTP/1.1 200"));
    }
    stage.gate.add_permits(3);
    for mut stream in held {
        until(&mut stream, "through");
    }
}

#[test]
fn a_client_that_takes_no_answer_is_cut() {
    let limits = Limits::new().body_time(Duration::from_millis(100)).idle_time(Duration::from_millis(200));
    let stage = Stage::new(limits);
    let mut stream = stage.connect();
    // Requests until nothing can be sent any more: answers fill the socket's buffers, and then the server reads no more.
    let request = post("/echo", &[b'x'; 60_000]);
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let cut = (0..10_000).find_map(|_| stream.write_all(&request).err());
    let cut = cut.expect("a client that reads nothing is cut");
    assert!(!matches!(cut.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{cut}");
    assert!(stage.metric("braidlog_http_refused_total{reason=\"blocked\"} 1"));
}
