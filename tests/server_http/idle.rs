//! Connections between requests that are far apart.

use std::io::{Read, Write};
use std::time::Duration;

use braidlog::server::Limits;

use crate::client::{Answer, Place, call, get, rest};
use crate::{h2, tls};

/// Until so many connections keep nothing but their sockets.
fn resting(place: &Place, count: u64) {
    while place.metric("braidlog_http_connections_resting") != count {}
}

fn is_served(stream: &mut (impl Read + Write), request: &[u8]) {
    stream.write_all(request).unwrap();
    assert_eq!(Answer::read(stream).unwrap().status, 200);
}

#[test]
fn a_connection_that_rested_is_served_as_before() {
    let place = tls::secured(Limits::new());
    let (mut clear, mut secured) = (place.connect(), tls::client(&place, "http/1.1"));
    let requests = [get("/health").into_bytes(), call(b"{}"), [get("/health").into_bytes(), call(b"{}")].concat()];
    for request in &requests {
        is_served(&mut clear, request);
        is_served(&mut secured, request);
        if request.len() > call(b"{}").len() {
            assert_eq!(Answer::read(&mut clear).unwrap().status, 200);
            assert_eq!(Answer::read(&mut secured).unwrap().status, 200);
        }
        resting(&place, 2);
    }
    // With the one that asks; those that asked before end in a moment.
    while place.metric("braidlog_http_connections") != 3 {}
    // Cut anywhere, nothing of it is lost.
    for byte in call(b"{}") {
        clear.write_all(&[byte]).unwrap();
    }
    assert_eq!(Answer::read(&mut clear).unwrap().status, 200);
}

#[test]
fn empty_lines_wake_nobody_for_long() {
    let place = Place::new();
    let mut stream = place.connect();
    is_served(&mut stream, get("/health").as_bytes());
    for _ in 0..3 {
        resting(&place, 1);
        let received = place.metric("braidlog_http_received_bytes_total");
        stream.write_all(b"\r\n").unwrap();
        // It was read: more came than the question.
        let question = get("/metrics").len() as u64;
        let mut asked = 1;
        while place.metric("braidlog_http_received_bytes_total") != received + asked * question + 2 {
            asked += 1;
        }
    }
    resting(&place, 1);
    is_served(&mut stream, get("/health").as_bytes());
}

#[test]
fn the_limits_hold_after_a_rest() {
    let place = Place::limited(Limits::new().header_time(Duration::from_millis(300)));
    let woken = |bytes: &[u8]| {
        let mut stream = place.connect();
        is_served(&mut stream, get("/health").as_bytes());
        resting(&place, 1);
        stream.write_all(bytes).unwrap();
        rest(stream)
    };
    assert_eq!(woken(b"G"), b"", "a head that is slow");
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"head_time\"}"), 1);
    assert!(woken(b"GET / HTTP/1.1\nHost: a\n\n").starts_with(b"HTTP/1.1 400 "), "one that is read in two ways");
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"framing\"}"), 1);
    let other = woken(h2::PREFACE);
    assert!(other.is_empty() || other.starts_with(b"HTTP/1.1 4"), "another version: {}", other.escape_ascii());
}

#[test]
fn a_connection_that_rests_ends_when_its_time_is_over_or_the_servers() {
    let place = tls::secured(Limits::new().idle_time(Duration::from_secs(2)));
    let (mut clear, mut secured) = (place.connect(), tls::client(&place, "http/1.1"));
    is_served(&mut clear, get("/health").as_bytes());
    is_served(&mut secured, get("/health").as_bytes());
    resting(&place, 2);
    assert_eq!(rest(&clear), b"");
    let mut end = Vec::new();
    secured.read_to_end(&mut end).expect("the end is told, not cut");
    assert_eq!(end, b"");
    let place = tls::secured(Limits::new());
    let (mut clear, mut secured) = (place.connect(), tls::client(&place, "http/1.1"));
    is_served(&mut clear, get("/health").as_bytes());
    is_served(&mut secured, get("/health").as_bytes());
    resting(&place, 2);
    place.server.stop();
    assert_eq!(rest(&clear), b"");
    secured.read_to_end(&mut end).expect("the end is told, not cut");
}
