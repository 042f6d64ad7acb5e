//! The server as whatever comes over a socket meets it: routes, limits, protocols, the end. Which operations there are is not
//! looked at here.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

#[path = "server_http/client.rs"]
mod client;
#[path = "server_http/h2.rs"]
mod h2;
#[path = "server_http/idle.rs"]
mod idle;
#[path = "server_http/limits.rs"]
mod limits;
#[cfg(feature = "cli")]
#[path = "server_http/program.rs"]
mod program;
#[path = "server_http/smuggling.rs"]
mod smuggling;
#[path = "server_http/tls.rs"]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::{Clock, Env, TestClock};
use braidlog::server::{AccessKey, Server, ServerOptions};
use braidlog::stream::StreamOptions;
use braidlog::{Engine, EngineOptions, Error};

use client::{Answer, Place, call, connect, get, rest};

#[test]
fn health_is_told_with_its_cause() {
    let place = Place::new();
    for path in ["/health", "/_braidlog/health", "/health?verbose=1"] {
        let answer = place.get(path);
        assert_eq!(answer.status, 200, "{path}");
        let told = answer.json();
        assert_eq!((told["status"].as_str(), told["store"]["health"].as_str()), (Some("ok"), Some("ok")));
        assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    }
    let told = place.get("/_localstack/health").json();
    assert_eq!(told["services"]["kinesis"], "running");
}

#[test]
fn health_of_a_store_that_takes_no_writes_is_an_error_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    Engine::open(dir.path()).unwrap().close().unwrap();
    let store = braidlog::Store::open_read_only(dir.path()).unwrap();
    let engine = Engine::on(store, EngineOptions::new()).unwrap();
    let server = Server::start(engine).unwrap();
    let mut stream = connect(server.addresses()[0]);
    std::io::Write::write_all(&mut stream, get("/health").as_bytes()).unwrap();
    let answer = Answer::read(&mut stream).unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["store"]["health"], "read_only");
    assert!(answer.json()["store"]["cause"].as_str().unwrap().starts_with("read-only: "), "{}", answer.body);
}

#[test]
fn what_is_where_is_told() {
    let place = Place::new();
    let index = place.get("/");
    assert_eq!(index.status, 200);
    assert!(index.body.contains("Kinesis") && index.body.contains("/_braidlog/reset"), "{}", index.body);
    let nowhere = place.get("/nowhere");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("X-Amz-Target"), "{}", nowhere.body);
    let wrong = place.post("/health", "");
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("allow: get, head\r\n"), "{}", wrong.head);
    assert_eq!(place.get("/_braidlog/reset").status, 405);
    let head = rest(place.send("HEAD /health HTTP/1.0\r\n\r\n"));
    assert!(head.starts_with(b"HTTP/1.0 200 OK") && head.ends_with(b"\r\n\r\n"), "{}", head.escape_ascii());
}

#[test]
fn calls_reach_the_service_whatever_their_path() {
    let place = Place::new();
    assert!(place.ask(call(b"{}")).is_of_a_service());
    let elsewhere = String::from_utf8(call(b"{}")).unwrap().replace("POST /", "POST /some/queue");
    assert!(place.ask(elsewhere).is_of_a_service());
    assert!(place.post("/", "{}").is_of_a_service(), "without a target, it is the service that says so");
    // The target decides also where one of our own paths is asked for.
    let both = String::from_utf8(call(b"{}")).unwrap().replace("POST /", "POST /_braidlog/reset");
    place.engine.create_stream("kept", StreamOptions::new()).unwrap();
    assert!(place.ask(both).is_of_a_service());
    place.engine.stream("kept").unwrap();
}

#[test]
fn one_connection_serves_many_requests_also_sent_ahead() {
    let place = Place::new();
    let mut bytes = Vec::new();
    for n in 0..50 {
        bytes.extend(call(&vec![b'x'; n * 10]));
        bytes.extend(get("/health").into_bytes());
    }
    let mut stream = place.send(bytes);
    for _ in 0..50 {
        assert!(Answer::read(&mut stream).unwrap().is_of_a_service());
        assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
    }
}

#[test]
fn a_reset_deletes_all_streams() {
    let place = Place::new();
    for path in ["/_braidlog/reset", "/_localstack/state/reset"] {
        for n in 0..3 {
            let stream = place.engine.create_stream(&format!("s{n}"), StreamOptions::new()).unwrap();
            stream.register_consumer("c", [("a", "b")]).unwrap();
        }
        assert_eq!(place.post(path, "").json()["deleted_streams"], 3);
        assert!(place.engine.list_streams(None, 10).unwrap().stream_names.is_empty());
    }
}

#[test]
fn a_reset_is_refused_where_others_could_ask_for_it() {
    let key = AccessKey::new("AKIDEXAMPLE", "secret").unwrap();
    for options in [ServerOptions::new().allow_reset(false), ServerOptions::new().access_key(key)] {
        let place = Place::with(options);
        place.engine.create_stream("kept", StreamOptions::new()).unwrap();
        assert_eq!(place.post("/_braidlog/reset", "").status, 403);
        place.engine.stream("kept").unwrap();
    }
    let place = Place::new();
    place.engine.create_stream("kept", StreamOptions::new()).unwrap();
    let page = "POST /_braidlog/reset HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(place.ask(page).status, 403, "a web page may not");
    place.engine.stream("kept").unwrap();
}

#[test]
fn the_test_clock_is_read_set_and_advanced() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let mut env = Env::system(dir.path()).unwrap();
    env.clock = clock.clone();
    let engine = Engine::open_in(env, EngineOptions::new().maintenance_interval(None)).unwrap();
    let server = Server::start_with(engine.clone(), ServerOptions::new().test_clock(clock.clone())).unwrap();
    let ask = |request: String| {
        let mut stream = connect(server.addresses()[0]);
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        Answer::read(&mut stream).unwrap()
    };
    let change = |body: &str| {
        ask(format!("POST /_braidlog/clock HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    assert_eq!(ask(get("/_braidlog/clock")).json()["frozen"], false);
    let set = change(r#"{"frozen": true, "set_ms": 2000000000000}"#);
    assert_eq!((set.status, set.json()["now_ms"].as_u64()), (200, Some(2_000_000_000_000)));
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    stream.put_record("k", b"old").unwrap();
    assert_eq!(change(r#"{"advance_ms": 90000000}"#).json()["now_ms"], 2_000_090_000_000u64);
    stream.put_record("k", b"new").unwrap();
    assert_eq!(clock.wall_ms(), 2_000_090_000_000);
    let shard = stream.shards()[0].shard_id;
    let mut records = stream.read(shard, braidlog::stream::StartingPosition::TrimHorizon).unwrap();
    assert_eq!(records.next().unwrap().unwrap().data, "new", "the other is more than a day old");
    for (bad, word) in [("", "EOF"), (r#"{"sideways": 1}"#, "sideways"), (r#"{"advance_ms": -1}"#, "invalid value")] {
        let answer = change(bad);
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(word), "{bad}: {}", answer.body);
    }
    let without = Place::new().get("/_braidlog/clock");
    assert_eq!(without.status, 404);
    assert!(without.body.contains("--test-clock"), "{}", without.body);
}

#[test]
fn figures_are_told() {
    let place = Place::new();
    place.engine.create_stream("clicks", StreamOptions::new()).unwrap();
    place.get("/nowhere");
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"path\"}"), 1);
    assert_eq!(place.metric("braidlog_store_health{state=\"ok\"}"), 1);
    assert!(place.metric("braidlog_store_records_appended_total") > 0);
    assert!(place.metric("braidlog_http_sent_bytes_total") > place.metric("braidlog_http_received_bytes_total"));
    assert_eq!(place.metric("braidlog_http_requests_in_flight"), 1, "the one that asks");
}

#[test]
fn many_servers_run_in_one_process() {
    let places: Vec<Place> = (0..8).map(|_| Place::new()).collect();
    for (n, place) in places.iter().enumerate() {
        place.engine.create_stream(&format!("only-{n}"), StreamOptions::new()).unwrap();
        assert_eq!(place.server.endpoint(), format!("http://{}", place.address()));
    }
    places[3].post("/_braidlog/reset", "");
    let left =
        places.iter().filter(|place| !place.engine.list_streams(None, 1).unwrap().stream_names.is_empty()).count();
    assert_eq!(left, 7);
}

#[test]
fn one_server_listens_at_many_addresses() {
    let any = "127.0.0.1:0".parse().unwrap();
    let place = Place::with(ServerOptions::new().listen([any, any, "[::1]:0".parse().unwrap()]));
    assert_eq!(place.server.addresses().len(), 3);
    for address in place.server.addresses() {
        let mut stream = connect(*address);
        std::io::Write::write_all(&mut stream, get("/health").as_bytes()).unwrap();
        assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
    }
}

#[test]
fn what_it_is_asked_to_do_is_checked_first() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let start = |options| Server::start_with(engine.clone(), options).map(|_| ());
    let everywhere = || ServerOptions::new().listen(["0.0.0.0:0".parse().unwrap()]);
    let refused = start(everywhere()).unwrap_err();
    assert!(matches!(refused, Error::InvalidArgument { .. }) && refused.to_string().contains("anonymous"), "{refused}");
    start(everywhere().allow_anonymous(true)).unwrap();
    start(everywhere().access_key(AccessKey::new("A", "b").unwrap())).unwrap();
    let limits = braidlog::server::Limits::new().body_bytes(0);
    assert!(matches!(start(ServerOptions::new().limits(limits)), Err(Error::InvalidOption { name: "body_bytes", .. })));
    let taken = Server::start(engine.clone()).unwrap();
    let again = start(ServerOptions::new().listen([taken.addresses()[0]])).unwrap_err();
    assert!(matches!(again, Error::Io(_)), "{again}");
}

#[test]
fn it_can_be_dropped_within_an_async_program() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let place = Place::new();
        let taken = place.address();
        assert!(Server::start_with(place.engine.clone(), ServerOptions::new().listen([taken])).is_err());
        drop(place);
    });
}

#[test]
fn a_request_half_sent_is_answered_after_stop_and_nobody_else_is() {
    let place = Place::limited(braidlog::server::Limits::new().drain_time(Duration::from_secs(30)));
    let request = call(b"0123456789");
    let (front, back) = request.split_at(request.len() - 5);
    let mut under_way = place.send(front);
    let idle = place.connect();
    let address = place.address();
    // It has been accepted, and its head read, once it counts as in flight beside the one that asks.
    while place.metric("braidlog_http_requests_in_flight") < 2 {}
    let Place { server, .. } = place;
    let stopping = std::thread::spawn(move || server.stop());
    assert_eq!(rest(idle), b"");
    while std::net::TcpStream::connect(address).is_ok() {}
    std::io::Write::write_all(&mut under_way, back).unwrap();
    assert!(Answer::read(&mut under_way).unwrap().is_of_a_service());
    assert_eq!(rest(under_way), b"");
    stopping.join().unwrap();
}
