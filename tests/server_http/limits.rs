//! What a client may cost, while a good one is served.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use braidlog::server::{AccessKey, Limits, Server, ServerOptions};
use braidlog::{Engine, EngineOptions};

use crate::client::{Answer, Place, call, get, rest};

const SOON: Duration = Duration::from_millis(300);

/// Someone who asks for the health on one connection all along.
struct GoodClient(TcpStream);

impl GoodClient {
    fn is_served(&mut self) {
        self.0.write_all(get("/health").as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut self.0).unwrap().status, 200);
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let place = Place::limited(Limits::new().body_bytes(1_000));
    let mut good = GoodClient(place.connect());
    good.is_served();
    for length in ["1001", "123456789012", "999999999999999999"] {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut stream = place.send(head);
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.status, 413, "{length}");
        assert!(answer.is_of_a_service() && answer.closes(), "{}", answer.head);
        assert_eq!(rest(stream), b"", "and the connection is closed");
    }
    assert!(place.ask(call(&[b'x'; 1_000])).is_of_a_service());
    good.is_served();
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"body_size\"}"), 3);
}

#[test]
fn a_chunked_body_is_cut_where_it_gets_too_long() {
    let place = Place::limited(Limits::new().body_bytes(1_000));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let whole = place.ask(format!("{head}{chunk}{chunk}0\r\n\r\n"));
    assert_ne!(whole.status, 413);
    let answer = place.ask(format!("{head}{chunk}{chunk}1\r\nx\r\n"));
    assert_eq!(answer.status, 413);
    assert!(answer.closes());
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let place = Place::limited(Limits::new().header_bytes(8 << 10).headers(16));
    let with = |headers: String| place.ask(format!("GET /health HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    assert_eq!(with("X: y\r\n".repeat(15)).status, 200);
    assert_eq!(with("X: y\r\n".repeat(16)).status, 431);
    assert_eq!(with(format!("X: {}\r\n", "y".repeat(4 << 10))).status, 200);
    // One that never ends: what is read of it is bounded, and so is the wait.
    let mut stream = place.connect();
    let sent = stream.write_all(format!("GET /health HTTP/1.1\r\nX: {}", "y".repeat(1 << 20)).as_bytes());
    let answer = rest(stream);
    assert!(sent.is_err() || answer.starts_with(b"HTTP/1.1 431"), "{}", answer.escape_ascii());
}

#[test]
fn slow_heads_are_cut_and_slow_bodies_answered() {
    let place = Place::limited(Limits::new().header_time(SOON).body_time(SOON));
    let mut good = GoodClient(place.connect());
    let stalled: Vec<TcpStream> = ["G", "GET /health HTTP/1.1\r\nHost: a\r\n", "PRI * HTTP/2.0\r\n"]
        .into_iter()
        .map(|front| place.send(front))
        .collect();
    for stream in stalled {
        good.is_served();
        assert_eq!(rest(stream), b"");
    }
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"head_time\"}"), 3);
    let mut body = place.send("POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 9\r\n\r\nfront");
    let answer = Answer::read(&mut body).unwrap();
    assert_eq!((answer.status, answer.closes()), (408, true));
    assert_eq!(rest(body), b"");
    good.is_served();
}

#[test]
fn connections_without_requests_are_closed() {
    let place = Place::limited(Limits::new().idle_time(SOON));
    assert_eq!(rest(place.connect()), b"", "one that never asked");
    let mut stream = place.send(get("/health"));
    assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
    assert_eq!(rest(stream), b"", "one that was answered");
}

#[test]
fn connections_beyond_the_limit_are_refused_until_there_is_room() {
    let place = Place::limited(Limits::new().connections(2));
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..2 {
        let mut stream = place.send(get("/health"));
        assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
        held.push(stream);
    }
    let refused = rest(place.connect());
    assert!(refused.starts_with(b"HTTP/1.1 503"), "{}", refused.escape_ascii());
    GoodClient(held.remove(0)).is_served();
    // The other is gone as soon as the server has seen it; until then there is one too many.
    drop(held);
    while rest(place.send("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).starts_with(b"HTTP/1.1 503")
    {
    }
}

#[test]
fn who_leaves_in_the_middle_harms_nobody() {
    let place = Place::new();
    let mut good = GoodClient(place.connect());
    let request = call(b"0123456789");
    for cut in 0..request.len() {
        let stream = place.send(&request[..cut]);
        if cut % 2 == 0 {
            let _ = stream.shutdown(Shutdown::Write); // it may be closed already
            drop(rest(stream));
        }
        good.is_served();
    }
}

#[test]
fn what_is_no_http_is_refused_or_closed() {
    let place = Place::new();
    let mut good = GoodClient(place.connect());
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    let cases: [&[u8]; 6] = [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x00\x00\x00\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n",
        &noise,
    ];
    for case in cases {
        let stream = place.send(case);
        let _ = stream.shutdown(Shutdown::Write); // it may be closed already
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
        good.is_served();
    }
}

#[test]
fn a_body_is_asked_for_before_it_is_sent_if_the_client_waits_for_that() {
    let place = Place::new();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\nExpect: 100-continue\r\nContent-Length: ";
    let mut stream = place.send(format!("{head}2\r\n\r\n"));
    assert_eq!(Answer::read(&mut stream).unwrap().status, 100);
    stream.write_all(b"{}").unwrap();
    assert!(Answer::read(&mut stream).unwrap().is_of_a_service());
    let refused = place.ask(format!("{head}99999999\r\n\r\n"));
    assert_eq!(refused.status, 413, "and not asked for if it is too long");
}

#[test]
fn compressed_bodies_are_not_taken() {
    let place = Place::new();
    let encoded = |encoding: &str| {
        let call = String::from_utf8(call(b"{}")).unwrap();
        place.ask(call.replace("Host: a\r\n", &format!("Host: a\r\nContent-Encoding: {encoding}\r\n")))
    };
    assert_eq!(encoded("gzip").status, 415);
    assert_eq!(encoded("identity, gzip").status, 415);
    assert_ne!(encoded("identity").status, 415);
}

#[test]
fn callers_make_no_more_accounts_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let list_as = |server: &Server, account: &str| {
        let named = format!("Host: a\r\nAuthorization: AWS4-HMAC-SHA256 Credential={account}/x\r\n");
        let mut stream = crate::client::connect(server.addresses()[0]);
        stream.write_all(String::from_utf8(call(b"{}")).unwrap().replace("Host: a\r\n", &named).as_bytes()).unwrap();
        Answer::read(&mut stream).unwrap()
    };
    for _ in 0..2 {
        let engine = Engine::open_with(dir.path(), EngineOptions::new().maintenance_interval(None)).unwrap();
        let options = ServerOptions::new().limits(Limits::new().accounts(2));
        let server = Server::start_with(engine.clone(), options).unwrap();
        for account in ["111111111111", "222222222222", "000000000000", "no-account", "111111111111"] {
            assert_eq!(list_as(&server, account).status, 200, "{account}");
        }
        for account in ["333333333333", "444444444444"] {
            let refused = list_as(&server, account);
            assert_eq!((refused.status, &refused.json()["__type"]), (400, &"LimitExceededException".into()));
            assert!(refused.body.contains(account) && refused.body.contains("2 accounts"), "{}", refused.body);
        }
        assert_eq!(list_as(&server, "222222222222").status, 200);
        server.stop();
        // The same holds for a store that has them already.
        engine.close().unwrap();
    }
}

#[test]
fn of_who_is_refused_no_more_than_16_kib_are_read() {
    let key = AccessKey::new("AKIAIOSFODNN7EXAMPLE", "secret").unwrap();
    let place = Place::with(ServerOptions::new().access_key(key));
    let received = || place.metric("braidlog_http_received_bytes_total");
    let asking = get("/metrics").len() as u64;
    let unknown = "Authorization: AWS4-HMAC-SHA256 Credential=AKIANOBODY/20260101/us-east-1/kinesis/aws4_request, \
                   SignedHeaders=host, Signature=00\r\n";
    for (what, headers) in [
        ("not signed", "Content-Length: 10000000\r\n"),
        ("not signed, in chunks", "Transfer-Encoding: chunked\r\n"),
        ("not signed, waits to be told", "Expect: 100-continue\r\nContent-Length: 10000000\r\n"),
        ("signed by nobody", &format!("{unknown}Content-Length: 10000000\r\n")),
        ("too long", "Content-Length: 100000000000\r\n"),
    ] {
        let before = received();
        let mut stream = place.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n\
             Content-Type: application/x-amz-json-1.1\r\n{headers}\r\n"
        ));
        let body = [b"fffff0\r\n".to_vec(), vec![b'x'; 10_000_000]].concat();
        // It is closed before all of that is taken.
        assert!(stream.write_all(&body).is_err(), "{what}");
        let read = received() - before - asking;
        assert!(read <= 16 << 10, "{what}: {read} bytes");
    }
}

#[test]
fn a_body_that_stalls_is_answered_however_much_of_it_came() {
    let place = Place::limited(Limits::new().body_time(SOON));
    let request = call(&vec![b'x'; 10 << 20]);
    // It earned 159 seconds.
    let answer = place.ask(&request[..request.len() - 1]);
    assert_eq!((answer.status, answer.closes()), (408, true));
}
