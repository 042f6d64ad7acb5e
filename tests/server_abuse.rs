//! `braidlog serve` under everything at once that a client can do to it, while a good client is served.
//!
//! What must hold: the good client gets every answer, who stalls is cut, and the program takes no more memory than its options
//! allow and a fifth. `BRAIDLOG_ABUSE=full` does it with 10,000 idle connections, 200 large bodies and the default memory for
//! bodies (about a minute, and 11,000 open files on either side); otherwise it is a small form of the same.

#![allow(clippy::unwrap_used)]

#[path = "server_http/client.rs"]
#[allow(dead_code)] // shared with `tests/server_http.rs`, which uses the rest of it
mod client;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Answer, call, connect, get, rest};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/localhost.cert.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/localhost.key.pem");
/// What a connection may take that is being spoken on: two buffers of 8 KiB, and what belongs to it.
const CONNECTION_KIB: u64 = 24;
/// What the program takes that serves nobody, with its threads.
const IDLE_MIB: u64 = 32;

/// How much of each.
struct Scale {
    idle: usize,
    stalled: usize,
    bodies: usize,
    body_memory_mib: u64,
}

impl Scale {
    fn of_environment() -> Scale {
        match std::env::var("BRAIDLOG_ABUSE").as_deref() {
            Ok("full") => Scale { idle: 10_000, stalled: 200, bodies: 200, body_memory_mib: 256 },
            _ => Scale { idle: 1_500, stalled: 30, bodies: 12, body_memory_mib: 64 },
        }
    }

    /// What the program may take, and a fifth more.
    fn memory_mib_max(&self) -> u64 {
        let connections = (self.idle + 4 * self.stalled + self.bodies) as u64;
        let budget = IDLE_MIB + self.body_memory_mib + connections * CONNECTION_KIB / 1024;
        budget * 6 / 5
    }
}

struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(store: &Path, scale: &Scale) -> Served {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
        command.arg("--store").arg(store).args(["serve", "--port", "0", "--log", "error"]);
        command.args(["--tls-cert", CERTIFICATE, "--tls-key", KEY]);
        command.args(["--header-time", "2s", "--body-time", "2s", "--handshake-time", "2s", "--idle-time", "10m"]);
        command.args(["--body-memory", &format!("{}MiB", scale.body_memory_mib)]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| line.strip_prefix("Listening on http://")?.parse().ok()).unwrap();
        assert!(lines.any(|line| line == "Ready."));
        Served { child, address }
    }

    /// The most memory it ever had.
    fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = connect(self.address);
        stream.write_all(bytes).unwrap();
        stream
    }

    fn stop(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It is over already unless a check failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kinesis(operation: &str, content_type: &str, length: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\nContent-Type: {content_type}\r\n{length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn json(operation: &str, body: &str) -> Vec<u8> {
    kinesis(operation, "application/x-amz-json-1.1", &format!("Content-Length: {}", body.len()), body.as_bytes())
}

/// How often the good client asks before the others come, to tell what they cost it.
const ALONE: usize = 300;

/// Puts and asks on one connection until told to end, at least so often; what each answer took.
fn good_client(address: SocketAddr, least: usize, over: &AtomicBool) -> Vec<Duration> {
    let mut stream = connect(address);
    let requests = [
        json("PutRecord", r#"{"StreamName":"good","PartitionKey":"a","Data":"eA=="}"#),
        json("DescribeStreamSummary", r#"{"StreamName":"good"}"#),
        get("/health").into_bytes(),
    ];
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) || took.len() < least {
        let asked = Instant::now();
        stream.write_all(&requests[took.len() % requests.len()]).unwrap();
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        took.push(asked.elapsed());
    }
    took
}

/// The 99th percentile, in milliseconds.
fn p99(mut took: Vec<Duration>) -> f64 {
    took.sort();
    took[took.len() * 99 / 100].as_secs_f64() * 1e3
}

/// Sends what may be refused before its end; all that is answered.
fn sent_in_vain(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    // Who is cut in the middle of sending may find the answer gone with the connection.
    match stream.write_all(bytes) {
        Ok(()) => rest(stream),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => rest(stream),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            Vec::new()
        }
    }
}

fn starts_with_one_of(answer: &[u8], statuses: &[&str]) -> bool {
    answer.is_empty() || statuses.iter().any(|status| answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()))
}

/// HTTP/2: a preface, settings, and streams that are opened and reset.
fn reset_flood() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    };
    // GET http://a/health in HPACK's static table and literals.
    let headers = [&[0x82, 0x86, 0x04, 7][..], b"/health", &[0x01, 1, b'a']].concat();
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat();
    for id in (1..20_000).step_by(2) {
        bytes.extend(frame(1, 4, id, &headers));
        bytes.extend(frame(3, 0, id, &8u32.to_be_bytes()));
    }
    bytes
}

fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Connections that do nothing, half of them after a request.
fn idle(served: &Served, count: usize) -> Vec<TcpStream> {
    let mut idle: Vec<TcpStream> = (0..count).map(|_| connect(served.address)).collect();
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(get("/health").as_bytes()).unwrap();
        assert_eq!(Answer::read(stream).unwrap().status, 200);
    }
    idle
}

/// Those who begin and say no more: what they get until they are cut.
fn stalled(served: &Served, count: usize) {
    let slow_body = json("ListStreams", &" ".repeat(1000));
    let endless =
        kinesis("ListStreams", "application/x-amz-json-1.1", "Transfer-Encoding: chunked", b"fffffffffff\r\nx");
    let fronts: [(&[u8], &[&str]); 5] = [
        (b"POST / HTTP/1.1\r\nX: a", &[]),
        (b"PRI * HTTP/2.0\r\n", &["400"]),
        (b"\x16\x03\x01", &[]),
        (&slow_body[..slow_body.len() - 2], &["408"]),
        (&endless, &["408"]),
    ];
    let mut held: Vec<_> = Vec::new();
    for _ in 0..count {
        held.extend(fronts.map(|(front, statuses)| (served.send(front), statuses)));
    }
    for (mut stream, statuses) in held {
        // One byte more, as somebody slow would; it may be cut already.
        let _ = stream.write_all(b"a");
        let answer = rest(stream);
        assert!(starts_with_one_of(&answer, statuses), "{}", answer.escape_ascii());
    }
}

/// Bodies of 10 MiB that lack their last byte.
fn large_bodies(served: &Served, count: usize) {
    let body = call(&vec![b'x'; 10 << 20]);
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let answer = sent_in_vain(connect(served.address), &body[..body.len() - 1]);
                assert!(starts_with_one_of(&answer, &["408", "503"]), "{}", answer.escape_ascii());
            });
        }
    });
}

/// What is sent as fast as it can be.
fn floods(served: &Served) {
    let many = |n: usize, bytes: &[u8]| bytes.repeat(n);
    let chunked = |body: &[u8]| kinesis("PutRecord", "application/x-amz-json-1.1", "Transfer-Encoding: chunked", body);
    let cbor = |body: &[u8]| {
        let length = format!("Connection: close\r\nContent-Length: {}", body.len());
        kinesis("PutRecord", "application/x-amz-cbor-1.1", &length, body)
    };
    let deep = format!("{{\"Data\":{}", "[".repeat(1_000_000));
    let closing =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replacen("Host: a", "Host: a\r\nConnection: close", 1);
    // What takes long to send may be cut on a busy machine.
    let cases: [(&str, Vec<u8>, &[&str]); 9] = [
        ("headers", [b"GET / HTTP/1.1\r\n".to_vec(), many(100_000, b"a: b\r\n")].concat(), &["431"]),
        ("a header", [b"GET / HTTP/1.1\r\na: ".to_vec(), vec![b'b'; 1 << 20]].concat(), &["431"]),
        (
            "chunks",
            closing(chunked(&[many(100_000, b"1\r\n[\r\n"), b"0\r\n\r\n".to_vec()].concat())).into(),
            &["400", "408"],
        ),
        ("deep JSON", closing(json("PutRecord", &deep)).into(), &["400", "408"]),
        ("deep CBOR", cbor(&[b"\xa1\x64Data".to_vec(), vec![0x81; 1_000_000]].concat()), &["400", "408"]),
        ("bytes of CBOR that aren't there", cbor(b"\xa1\x64Data\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"), &["400"]),
        ("an array of CBOR that isn't there", cbor(b"\xa1\x67Records\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"), &["400"]),
        (
            "a huge length",
            kinesis("PutRecord", "application/x-amz-json-1.1", "Content-Length: 999999999999999999", b"x"),
            &["413"],
        ),
        ("a huge chunk", chunked(b"fffffffffffffffff\r\nx"), &["400"]),
    ];
    for (what, bytes, statuses) in cases {
        let answer = sent_in_vain(connect(served.address), &bytes);
        assert!(starts_with_one_of(&answer, statuses), "{what}: {}", answer.escape_ascii());
    }
    let reset = sent_in_vain(connect(served.address), &reset_flood());
    assert!(!reset.starts_with(b"HTTP/1.1"), "{}", reset.escape_ascii());
    // Requests sent ahead by somebody who takes no answer: nothing more is read, and the connection is cut.
    let mut ahead = connect(served.address);
    let requests = many(1_000, get("/metrics").as_bytes());
    while ahead.write_all(&requests).is_ok() {}
}

#[test]
fn a_good_client_is_served_whatever_others_do_and_memory_is_bounded() {
    raise_file_limit();
    let scale = Scale::of_environment();
    let dir = tempfile::tempdir().unwrap();
    let mut served = Served::start(&dir.path().join("store"), &scale);
    let made =
        Answer::read(&mut served.send(&json("CreateStream", r#"{"StreamName":"good","ShardCount":1}"#))).unwrap();
    assert_eq!(made.status, 200, "{}", made.body);
    let alone = good_client(served.address, ALONE, &AtomicBool::new(true));
    let over = AtomicBool::new(false);
    let (served_ref, over_ref) = (&served, &over);
    let took = std::thread::scope(|scope| {
        let good = scope.spawn(move || good_client(served_ref.address, 3, over_ref));
        // Also when a check fails: the good client is to end.
        let end = End(over_ref);
        let idle = idle(served_ref, scale.idle);
        let stalling = scope.spawn(|| stalled(served_ref, scale.stalled));
        let large = scope.spawn(|| large_bodies(served_ref, scale.bodies));
        let flooding = scope.spawn(|| floods(served_ref));
        for abuse in [stalling, large, flooding] {
            abuse.join().unwrap();
        }
        // Who only waits is still there.
        for mut stream in idle.into_iter().step_by(97) {
            stream.write_all(get("/health").as_bytes()).unwrap();
            assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
        }
        drop(end);
        good.join().unwrap()
    });
    let (peak, max) = (served.peak_mib(), scale.memory_mib_max());
    // Told, not held against a bar: those who do it and the good client share the server's processors here.
    let (answers, alone, beside) = (took.len(), p99(alone), p99(took));
    println!(
        "figures: {answers} answers of the good client, p99 {beside:.2} ms, {alone:.2} ms alone; at most {peak} MiB of {max} taken"
    );
    assert!(peak <= max, "{peak} MiB, and {max} are allowed");
    let mut metrics = String::new();
    served.send(b"GET /metrics HTTP/1.0\r\n\r\n").read_to_string(&mut metrics).unwrap();
    for reason in ["head_time", "handshake", "body_time", "body_size", "memory", "blocked", "framing"] {
        let none = format!("braidlog_http_refused_total{{reason=\"{reason}\"}} 0");
        assert!(!metrics.lines().any(|line| line == none), "nobody was refused for {reason}");
    }
    assert_eq!(served.stop(), Some(0));
}

/// Says that it is over when dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
