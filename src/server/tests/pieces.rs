//! Requests cut into pieces in every way, without sockets: what a service gets, and what it answers, is the same.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

use crate::Engine;
use crate::server::service::{ApiBody, ApiRequest, Service};
use crate::server::{Metrics, Room, ServerOptions, connection, room};

/// Answers with the request as it got it.
struct Echo;

impl Service for Echo {
    type Admitted = String;

    fn admit(&self, head: &Parts, _: SocketAddr) -> Result<String, Box<Response<ApiBody>>> {
        Ok(format!("{} {} {:?}\n", head.method, head.uri, head.headers))
    }

    async fn call(&self, request: ApiRequest, head: String) -> Response<ApiBody> {
        Response::new(ApiBody::Whole([head.as_bytes(), &request.body].concat().into()))
    }
}

/// What one side of a connection has: each read gets a piece, and after the last one nothing comes.
struct Pieces {
    to_read: VecDeque<Bytes>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.to_read.pop_front() else { return Poll::Pending };
        buf.put_slice(&piece.split_to(piece.len().min(buf.remaining())));
        if !piece.is_empty() {
            self.to_read.push_front(piece);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().unwrap().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Stage {
    runtime: Runtime,
    room: Arc<Room<Echo>>,
    _stop: tokio::sync::watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let room = room(Echo, engine, ServerOptions::new(), Arc::new(Metrics::new()), stopped).unwrap();
        Stage { runtime, room, _stop, _dir: dir }
    }

    /// All that is answered to a connection that ends with its last request, but for the date.
    fn answer(&self, pieces: impl IntoIterator<Item = Bytes>) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to_read = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let stream = Pieces { to_read, written: written.clone() };
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        self.runtime.block_on(connection::converse(stream, peer, self.room.clone()));
        let answer = String::from_utf8(std::mem::take(&mut *written.lock().unwrap())).unwrap();
        answer.lines().filter(|line| !line.starts_with("date: ")).map(|line| format!("{line}\n")).collect()
    }

    fn is_the_same_in_pieces(&self, request: &Bytes) {
        let whole = self.answer([request.clone()]);
        assert!(whole.starts_with("HTTP/1.1 200 OK\n"), "{whole}");
        let bytes = (0..request.len()).map(|at| request.slice(at..at + 1));
        assert_eq!(self.answer(bytes), whole, "byte by byte");
        for cut in 1..request.len() {
            assert_eq!(self.answer([request.slice(..cut), request.slice(cut..)]), whole, "cut at {cut}");
        }
    }
}

fn text<'a>(value: &'a serde_json::Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn a_recorded_request_is_the_same_however_it_is_cut() {
    let recorded: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/data/sigv4/good.json")).unwrap();
    let stage = Stage::new();
    for request in &recorded {
        let (method, uri, body) = (text(request, "method"), text(request, "uri"), text(request, "body"));
        let mut head = format!("{method} {uri} HTTP/1.1\r\nConnection: close\r\n");
        for header in request["headers"].as_array().unwrap() {
            head += &format!("{}: {}\r\n", header[0].as_str().unwrap(), header[1].as_str().unwrap());
        }
        stage.is_the_same_in_pieces(&format!("{head}\r\n{body}").into());
    }
    assert!(recorded.len() > 50);
}

#[test]
fn chunks_and_requests_sent_ahead_are_the_same_however_they_are_cut() {
    let stage = Stage::new();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let chunks = "3\r\nabc\r\n0a\r\n\r\n23456789\r\n1\r\n!\r\n0\r\n\r\n";
    let ahead = format!(
        "POST /one HTTP/1.1\r\nHost: a\r\nX-Amz-Target: T\r\nContent-Length: 2\r\n\r\n{{}}\r\n{chunked}\r\n{chunks}{chunked}Connection: \
         close\r\n\r\n{chunks}"
    );
    stage.is_the_same_in_pieces(&ahead.into());
}
