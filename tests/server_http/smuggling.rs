//! Requests that two readers of one connection could take for different ones: each is refused, and the connection closed.

use crate::client::{Answer, Place, rest};

/// A second request hides in each: nobody may answer it.
const CASES: &[(&str, &str)] = &[
    ("length and chunks", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n"),
    ("two lengths", "Content-Length: 0\r\nContent-Length: 40\r\n\r\n"),
    ("one length twice", "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    ("a list of lengths", "Content-Length: 2, 2\r\n\r\n{}"),
    ("a length with a sign", "Content-Length: +2\r\n\r\n{}"),
    ("a length in hexadecimal", "Content-Length: 0x2\r\n\r\n{}"),
    ("chunks within chunks", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunks that are not last", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("chunks by another name", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("a tab before chunked and a letter behind", "Transfer-Encoding:\tchunked x\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", "Content-Length : 2\r\n\r\n{}"),
    ("a folded header", "X: a\r\n Content-Length: 2\r\n\r\n"),
    ("a header that begins with a blank", " X: a\r\n\r\n"),
    ("a line feed alone", "X: a\nContent-Length: 2\r\n\r\n"),
    ("a carriage return alone", "X: a\rContent-Length: 2\r\n\r\n"),
    ("a head that ends with line feeds", "X: a\n\n"),
    ("a chunk's size that is none", "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
    ("a chunk's size with a sign", "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n"),
    ("a chunk's size that overflows", "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n"),
    ("a chunk's extension", "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n"),
    ("a chunk's size that ends with a line feed", "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n"),
    ("a chunk that is longer than its size", "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"),
    ("trailers", "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 2\r\n\r\n"),
    ("an upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("a second host", "Host: b\r\n\r\n"),
];

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused() {
    let place = Place::new();
    for (what, rest_of_it) in CASES {
        let hidden = "GET /nowhere/at/all HTTP/1.1\r\nHost: a\r\n\r\n";
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\n{rest_of_it}{hidden}"
        );
        let mut stream = place.send(request);
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(rest(stream), b"", "{what}: the connection is closed");
    }
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"path\"}"), 0, "no hidden request was read");
}

#[test]
fn a_target_that_is_no_path_is_refused() {
    let place = Place::new();
    for line in
        ["GET http://other.example/health HTTP/1.1", "CONNECT other.example:443 HTTP/1.1", "OPTIONS http://a/ HTTP/1.1"]
    {
        let mut stream = place.send(format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!(Answer::read(&mut stream).unwrap().status, 400, "{line}");
        assert_eq!(rest(stream), b"");
    }
    assert_eq!(place.ask("GET /health HTTP/1.1\r\n\r\n").status, 400, "no host");
}

#[test]
fn an_answer_before_a_refused_request_is_not_lost() {
    let place = Place::new();
    let mut stream = place.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\nHost: a\r\n\r\n");
    assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
    assert_eq!(Answer::read(&mut stream).unwrap().status, 400);
    assert_eq!(rest(stream), b"");
}

#[test]
fn an_offer_of_http2_is_ignored() {
    let place = Place::new();
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(place.ask(format!("GET /health HTTP/1.1\r\nHost: a\r\n{offer}\r\n")).status, 200);
}
