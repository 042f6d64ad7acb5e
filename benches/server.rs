//! What the server costs over the streams it serves, by a client of our own over loopback: both share the machine's processors.
//!
//! ```text
//! cargo bench --bench server -- [--quick] [--only NAME,..] [--rounds N] [--peer NAME=ADDRESS:PORT]..
//! ```
//!
//! Each figure is the median of its rounds. A peer is another server of Kinesis that is there already: the same client asks it
//! the same, and every cell that it offers gets a row. `benches/peers-server` gets peers and starts them.
//!
//! Without `--bench`, as under `cargo test`, everything is tiny and the figures mean nothing.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use braidlog::server::Server;
use braidlog::wire::Protocol;
use braidlog::wire::event_stream::Message;
use braidlog::wire::kinesis as api;
use braidlog::wire::scalar::Blob;
use braidlog::{Engine, EngineOptions, ReadMode, StoreOptions};
use bytes::BytesMut;

use support::load::{Connection, Request, is_zero, pump, text};
use support::table::{self, Bar, Neighbours, Row};
use support::{Result, percentile, sized, timed};

/// How much of each figure.
struct Settings {
    rounds: usize,
    /// How long a round of a cell takes.
    time: Duration,
}

/// What any server of Kinesis can be asked for.
struct Cell {
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    bar: Bar,
    measure: fn(SocketAddr, &str, &Settings) -> Result<f64>,
}

const CELLS: [Cell; 5] = [
    Cell {
        name: "put-record",
        what: "PutRecord, 1 KiB, one by one over 64 connections, JSON",
        unit: "rec/s",
        bar: Bar::AtLeast(15_000.0),
        measure: put_record,
    },
    Cell {
        name: "put-records-json",
        what: "PutRecords of 500 x 1 KiB, 4 connections, JSON",
        unit: "MB/s",
        bar: Bar::AtLeast(150.0),
        measure: |address, stream, settings| put_records(address, stream, settings, Protocol::Json),
    },
    Cell {
        name: "put-records-cbor",
        what: "PutRecords of 500 x 1 KiB, 4 connections, CBOR",
        unit: "MB/s",
        bar: Bar::AtLeast(150.0),
        measure: |address, stream, settings| put_records(address, stream, settings, Protocol::Cbor),
    },
    Cell {
        name: "get-records-json",
        what: "GetRecords of 10,000 x 1 KiB, 2 connections, JSON",
        unit: "MB/s",
        bar: Bar::AtLeast(300.0),
        measure: |address, stream, settings| get_records(address, stream, settings, Protocol::Json),
    },
    Cell {
        name: "get-records-cbor",
        what: "GetRecords of 10,000 x 1 KiB, 2 connections, CBOR",
        unit: "MB/s",
        bar: Bar::AtLeast(300.0),
        measure: |address, stream, settings| get_records(address, stream, settings, Protocol::Cbor),
    },
];

type Experiment = fn(&Settings) -> Result<Vec<Row>>;

const EXPERIMENTS: [(&str, Experiment); 5] = [
    ("subscribe", subscribe),
    ("start", start),
    ("memory", memory),
    ("connections", connections),
    ("refused", refused),
];

fn main() -> Result<()> {
    let mut settings = Settings { rounds: sized(3, 1), time: sized(Duration::from_secs(2), Duration::from_millis(1)) };
    let (mut only, mut peers) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--quick" => settings = Settings { rounds: 1, time: settings.time / 2 },
            "--rounds" => settings.rounds = value()?.parse()?,
            "--only" => only = value()?.split(',').map(str::to_owned).collect::<Vec<_>>(),
            "--peer" => {
                let value = value()?;
                let (name, address) = value.split_once('=').ok_or("--peer takes NAME=ADDRESS:PORT")?;
                peers.push((name.to_owned(), address.parse()?));
            }
            // What cargo and test runners say to every bench.
            _ => {}
        }
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| name.contains(wanted.as_str()));
    table::header();
    let mut measured = Vec::new();
    for cell in CELLS.iter().filter(|cell| wanted(cell.name)) {
        let neighbours = Neighbours::look();
        let row = ours(cell, &settings)?;
        let others = neighbours.share();
        row.print(others);
        measured.push((cell, row, others));
    }
    // After all of ours: a peer may still be busy with what it was asked when its client is gone.
    if !peers.is_empty() {
        for (cell, row, others) in &measured {
            beside_peers(cell, row, &peers, &settings, *others)?;
        }
    }
    for (_, experiment) in EXPERIMENTS.iter().filter(|(name, _)| wanted(name)) {
        let neighbours = Neighbours::look();
        let rows = experiment(&settings)?;
        let others = neighbours.share();
        rows.iter().for_each(|row| row.print(others));
    }
    Ok(())
}

/// As `braidlog serve` opens it.
fn engine(dir: &Path) -> Result<Engine> {
    let store = StoreOptions::new().read_mode(ReadMode::Copy);
    Ok(Engine::open_with(dir, EngineOptions::new().store(store))?)
}

fn address(server: &Server) -> Result<SocketAddr> {
    Ok(*server.addresses().first().ok_or("no address")?)
}

/// A cell by our own server, in this process.
fn ours(cell: &Cell, settings: &Settings) -> Result<Row> {
    let mut row = Row::new(cell.what, cell.unit, cell.bar, "");
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let server = Server::start(engine.clone())?;
    support::rest(dir.path())?;
    for round in 0..settings.rounds {
        row.push((cell.measure)(address(&server)?, &format!("{}-{round}", cell.name), settings)?, 1.0);
        support::settle(dir.path())?;
    }
    server.stop();
    engine.close()?;
    Ok(row)
}

/// The cell by every peer, and what ours is of the best of them.
fn beside_peers(
    cell: &Cell,
    ours: &Row,
    peers: &[(String, SocketAddr)],
    settings: &Settings,
    others: f64,
) -> Result<()> {
    let mut best = 0.0_f64;
    for (name, address) in peers {
        let mut row = Row::new(format!("{name}: {}", cell.what), cell.unit, Bar::Told, "");
        // A stream of its own for each run of this bench: peers may be older.
        let stream = format!("{}-{}", cell.name, std::process::id());
        match (cell.measure)(*address, &stream, settings) {
            Ok(figure) => {
                row.push(figure, 1.0);
                row.print(others);
                best = best.max(figure);
            }
            Err(error) => {
                let why: String = error.to_string().lines().next().unwrap_or_default().chars().take(80).collect();
                println!("| {:<66} | not offered: {why} |", row.what);
            }
        }
    }
    if best > 0.0 {
        let mut row = Row::new("  ours beside the best", cell.unit, Bar::Reach(10.0), "the best peer");
        ours.measured.iter().for_each(|figure| row.push(*figure, best));
        row.print(others);
    }
    Ok(())
}

fn create_stream(connection: &mut Connection, stream: &str) -> Result<()> {
    let json = |operation: &str, body: String| Request::of(operation, Protocol::Json.content_type(), body.as_bytes());
    connection.call(&json("CreateStream", format!(r#"{{"StreamName":"{stream}","ShardCount":1}}"#)))?;
    let describe = json("DescribeStreamSummary", format!(r#"{{"StreamName":"{stream}"}}"#));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if connection.call(&describe)?.windows(6).any(|bytes| bytes == b"ACTIVE") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the stream does not become active".into())
}

fn open(address: SocketAddr, count: usize) -> Result<Vec<Connection>> {
    (0..count).map(|_| Connection::open(address)).collect()
}

/// Some data that looks like none, and the same with every run.
fn data(seed: usize) -> Blob {
    let mut state = seed as u64 + 1;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    Blob((0..1024).map(|_| byte()).collect::<Vec<u8>>().into())
}

/// Single records, each acknowledged before the next of its connection.
fn put_record(address: SocketAddr, stream: &str, settings: &Settings) -> Result<f64> {
    let mut connections = open(address, sized(64, 4))?;
    create_stream(&mut connections[0], stream)?;
    let request = |at: usize| {
        let input = api::PutRecordInput {
            stream_name: Some(stream.to_owned()),
            partition_key: Some(format!("user-{at:06}")),
            data: Some(data(at)),
            ..Default::default()
        };
        Request::of("PutRecord", Protocol::Json.content_type(), &Protocol::Json.encode(&input))
    };
    let requests: Vec<_> = (0..1000).map(request).collect();
    let (answered, took) = pump(&mut connections, &requests, settings.time, |_| Ok(()))?;
    Ok(answered as f64 / took.as_secs_f64())
}

const RECORDS_OF_A_CALL: usize = 500;

fn put_records_requests(stream: &str, protocol: Protocol, count: usize) -> Vec<Request> {
    let entry = |at: usize| api::PutRecordsRequestEntry {
        partition_key: Some(format!("user-{at:06}")),
        data: Some(data(at)),
        ..Default::default()
    };
    let request = |call: usize| {
        let first = call * RECORDS_OF_A_CALL;
        let input = api::PutRecordsInput {
            stream_name: Some(stream.to_owned()),
            records: Some((first..first + RECORDS_OF_A_CALL).map(entry).collect()),
            ..Default::default()
        };
        Request::of("PutRecords", protocol.content_type(), &protocol.encode(&input))
    };
    (0..count).map(request).collect()
}

fn none_failed(body: &[u8]) -> Result<()> {
    if is_zero(body, "FailedRecordCount") { Ok(()) } else { Err("records of a call failed".into()) }
}

/// Records by the full call.
fn put_records(address: SocketAddr, stream: &str, settings: &Settings, protocol: Protocol) -> Result<f64> {
    let mut connections = open(address, 4)?;
    create_stream(&mut connections[0], stream)?;
    let requests = put_records_requests(stream, protocol, 8);
    let (answered, took) = pump(&mut connections, &requests, settings.time, none_failed)?;
    Ok((answered * RECORDS_OF_A_CALL * 1024) as f64 / 1e6 / took.as_secs_f64())
}

/// Walks a shard from its first record to its last, by each of two readers at a time, as often as there is time for.
fn get_records(address: SocketAddr, stream: &str, settings: &Settings, protocol: Protocol) -> Result<f64> {
    let mut readers = open(address, 2)?;
    create_stream(&mut readers[0], stream)?;
    // As much as there is time for: some peers would take a minute.
    let (mut calls, loading) = (0, Instant::now());
    for request in put_records_requests(stream, protocol, 8).iter().cycle().take(sized(80, 2)) {
        if calls > 0 && loading.elapsed() > 3 * settings.time {
            break;
        }
        none_failed(readers[0].call(request)?)?;
        calls += 1;
    }
    let shard = "shardId-000000000000";
    let first = format!(r#"{{"StreamName":"{stream}","ShardId":"{shard}","ShardIteratorType":"TRIM_HORIZON"}}"#);
    let first = Request::of("GetShardIterator", Protocol::Json.content_type(), first.as_bytes());
    let first = text(readers[0].call(&first)?, "ShardIterator", true).ok_or("no iterator")?;
    let request = |iterator: &str| {
        let input = api::GetRecordsInput {
            shard_iterator: Some(iterator.to_owned()),
            limit: Some(10_000),
            ..Default::default()
        };
        Request::of("GetRecords", protocol.content_type(), &protocol.encode(&input))
    };
    let (time, mut walks) = (settings.time, 0);
    let (took, ()) = timed(|| {
        let start = Instant::now();
        while walks == 0 || start.elapsed() < time {
            readers.iter_mut().try_for_each(|reader| reader.send(&request(&first)))?;
            let mut reading: Vec<_> = readers.iter_mut().collect();
            while !reading.is_empty() {
                let mut further = Vec::new();
                for reader in reading {
                    let body = reader.answer()?;
                    // An answer without records is some hundred bytes.
                    if body.len() < 4 << 10 {
                        walks += 1;
                        continue;
                    }
                    let next = text(body, "NextShardIterator", protocol == Protocol::Json).ok_or("no next iterator")?;
                    let next = request(&next);
                    reader.send(&next)?;
                    further.push(reader);
                }
                reading = further;
            }
        }
        Ok(())
    })?;
    Ok((walks * calls * RECORDS_OF_A_CALL * 1024) as f64 / 1e6 / took.as_secs_f64())
}

/// From the writer's acknowledgement to the event in the subscriber's hands, over connections of their own.
fn subscribe(settings: &Settings) -> Result<Vec<Row>> {
    let mut p50 = Row::new("SubscribeToShard, put acknowledged to event in hand, p50", "us", Bar::Told, "");
    let mut p99 = Row::new("  the same, p99", "us", Bar::AtMost(1000.0), "");
    let mut whole = Row::new("  from the put's begin to event in hand, p99", "us", Bar::Told, "");
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let server = Server::start(engine.clone())?;
    let address = address(&server)?;
    support::rest(dir.path())?;
    let json = Protocol::Json.content_type();
    for round in 0..settings.rounds {
        let stream = engine.create_stream(&format!("s{round}"), Default::default())?;
        let consumer = stream.register_consumer("one", [("a", "b")])?;
        let mut subscriber = Connection::open(address)?;
        let body = format!(
            r#"{{"ConsumerARN":"{}","ShardId":"shardId-000000000000","StartingPosition":{{"Type":"LATEST"}}}}"#,
            consumer.consumer_arn
        );
        subscriber.send(&Request::of("SubscribeToShard", json, body.as_bytes()))?;
        let mut events = subscriber.chunks()?;
        let input = api::PutRecordInput {
            stream_name: Some(format!("s{round}")),
            partition_key: Some("user-1".to_owned()),
            data: Some(data(0)),
            ..Default::default()
        };
        let put = Request::of("PutRecord", json, &Protocol::Json.encode(&input));
        let calls = sized(2000, 10);
        // When the subscriber had it: by the clock of the writer.
        let start = Instant::now();
        let had: Vec<AtomicU64> = (0..calls).map(|_| AtomicU64::new(0)).collect();
        let (mut late, mut took) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| -> Result<()> {
            let had = &had;
            let subscriber = scope.spawn(move || -> Result<()> {
                let (mut next, mut received) = (0, BytesMut::new());
                while next < calls {
                    let chunk = events.next()?;
                    let now = start.elapsed().as_nanos() as u64;
                    received.extend_from_slice(&chunk);
                    while let Some(message) = Message::decode(&mut received).map_err(|error| error.to_string())? {
                        let records =
                            message.payload.windows(16).filter(|bytes| bytes == b"\"SequenceNumber\"").count();
                        for _ in 0..records {
                            had[next].store(now, Ordering::Release);
                            next += 1;
                        }
                    }
                }
                Ok(())
            });
            let mut writer = Connection::open(address)?;
            for had in had {
                let begun = start.elapsed().as_nanos() as u64;
                writer.call(&put)?;
                let told = start.elapsed().as_nanos() as u64;
                while had.load(Ordering::Acquire) == 0 {
                    if subscriber.is_finished() {
                        break;
                    }
                    std::thread::yield_now();
                }
                let had = had.load(Ordering::Acquire);
                late.push(had.saturating_sub(told) as f64 / 1e3);
                took.push(had.saturating_sub(begun) as f64 / 1e3);
            }
            subscriber.join().map_err(|_| "the subscriber failed")?
        })?;
        p50.push(percentile(&late, 0.5), 1.0);
        p99.push(percentile(&late, 0.99), 1.0);
        whole.push(percentile(&took, 0.99), 1.0);
        support::settle(dir.path())?;
    }
    server.stop();
    engine.close()?;
    Ok(vec![p50, p99, whole])
}

/// `braidlog serve`, ended when dropped.
struct Served {
    child: Child,
    address: SocketAddr,
    /// From the start of the program to the line that says so.
    ready: Duration,
}

impl Served {
    fn start(store: &Path) -> Result<Served> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
        command.arg("--store").arg(store).args(["serve", "--port", "0", "--log", "error"]);
        Served::of(command)
    }

    fn of(mut command: Command) -> Result<Served> {
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut address = None;
        for line in BufReader::new(output).lines() {
            let line = line?;
            if let Some(at) = line.strip_prefix("Listening on http://") {
                address = Some(at.parse()?);
            }
            if line == "Ready." {
                break;
            }
        }
        Ok(Served { child, address: address.ok_or("it did not start")?, ready: begun.elapsed() })
    }

    /// Of its memory, in MiB: by this name of `/proc/<id>/status`.
    fn memory(&self, field: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib: f64 = line.ok_or("no such figure")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// What its threads had of the processors since they began.
    fn processor_time(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedule = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += schedule.split(' ').next().ok_or("no time")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It would end by itself, too, but nothing is to wait for that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From nothing to a first answer, with streams in the store.
fn start(settings: &Settings) -> Result<Vec<Row>> {
    let streams = sized(1000, 3);
    let what = format!("open, Server::start and an answer, {streams} streams in the store");
    let mut ready = Row::new(what, "ms", Bar::AtMost(20.0), "");
    let mut parts = Row::new("  of that the engine's open", "ms", Bar::Told, "");
    let what = format!("`braidlog serve` to `Ready.`, {streams} streams, after a clean end");
    let mut program = Row::new(what, "ms", Bar::AtMost(20.0), "");
    let mut killed = Row::new("  the same, after a kill", "ms", Bar::Told, "");
    let dir = support::scratch(&support::directory())?;
    let store = dir.path().join("store");
    let made = engine(&store)?;
    for at in 0..streams {
        made.create_stream(&format!("stream-{at}"), Default::default())?;
    }
    made.close()?;
    for _ in 0..settings.rounds {
        support::settle(dir.path())?;
        let begun = Instant::now();
        let engine = engine(&store)?;
        let opened = begun.elapsed();
        let server = Server::start(engine.clone())?;
        Connection::open(address(&server)?)?.call(&Request::get("/health"))?;
        ready.push(begun.elapsed().as_secs_f64() * 1e3, 1.0);
        parts.push(opened.as_secs_f64() * 1e3, 1.0);
        server.stop();
        assert_eq!(engine.list_streams(None, 10_000)?.stream_names.len(), streams);
        engine.close()?;
        support::settle(dir.path())?;
        program.push(Served::start(&store)?.ready.as_secs_f64() * 1e3, 1.0);
        // The one before was killed.
        killed.push(Served::start(&store)?.ready.as_secs_f64() * 1e3, 1.0);
        self::engine(&store)?.close()?;
    }
    Ok(vec![ready, parts, program, killed])
}

/// What the program takes that nobody asks anything.
fn memory(settings: &Settings) -> Result<Vec<Row>> {
    let mut resident = Row::new("`braidlog serve`, idle, an empty store: resident", "MiB", Bar::AtMost(20.0), "");
    let mut own = Row::new("  of that its own, no pages of files", "MiB", Bar::Told, "");
    for _ in 0..settings.rounds {
        let dir = support::scratch(&support::directory())?;
        let served = Served::start(&dir.path().join("store"))?;
        Connection::open(served.address)?.call(&Request::get("/health"))?;
        std::thread::sleep(sized(Duration::from_secs(1), Duration::ZERO));
        resident.push(served.memory("VmRSS")?, 1.0);
        own.push(served.memory("RssAnon")?, 1.0);
    }
    Ok(vec![resident, own])
}

/// What connections take that ask nothing.
fn connections(_: &Settings) -> Result<Vec<Row>> {
    let count = sized(10_000, 10);
    let mut fresh = Row::new(format!("{count} connections, nothing sent yet"), "MiB", Bar::AtMost(200.0), "");
    let mut idle = Row::new("  the same, a second after one request of each", "MiB", Bar::AtMost(200.0), "");
    let mut burst = Row::new("  the same, a second after one of each at once", "MiB", Bar::AtMost(200.0), "");
    let dir = support::scratch(&support::directory())?;
    let served = Served::start(&dir.path().join("store"))?;
    let before = served.memory("VmRSS")?;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(Connection::open(served.address)?);
    }
    // Accepted are all those before one that is answered.
    Connection::open(served.address)?.call(&Request::get("/health"))?;
    fresh.push(served.memory("VmRSS")? - before, 1.0);
    let list = Request::of("ListStreams", Protocol::Json.content_type(), b"{}");
    let pause = sized(Duration::from_secs(1), Duration::ZERO);
    for connection in &mut all {
        connection.call(&list)?;
    }
    std::thread::sleep(pause);
    idle.push(served.memory("VmRSS")? - before, 1.0);
    all.iter_mut().try_for_each(|connection| connection.send(&list))?;
    all.iter_mut().try_for_each(|connection| connection.answer().map(drop))?;
    std::thread::sleep(pause);
    burst.push(served.memory("VmRSS")? - before, 1.0);
    Ok(vec![fresh, idle, burst])
}

/// What a request costs that is refused for its signature, each on a connection of its own, as it ends behind it.
fn refused(settings: &Settings) -> Result<Vec<Row>> {
    let count = sized(5_000, 5);
    let (id, secret) = ("AKIAIOSFODNN7EXAMPLE", "secret");
    let dir = support::scratch(&support::directory())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
    command.arg("--store").arg(dir.path().join("store")).args([
        "serve",
        "--port",
        "0",
        "--log",
        "error",
        "--test-clock",
    ]);
    command.env("BRAIDLOG_ACCESS_KEY_ID", id).env("BRAIDLOG_SECRET_ACCESS_KEY", secret);
    let served = Served::of(command)?;
    // 2100-01-01T00:00:00Z.
    let body = r#"{"set_ms":4102444800000,"frozen":true}"#;
    let set = format!(
        "POST /_braidlog/clock HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(served.address, &set, "200 OK")?;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n\
                Content-Type: application/x-amz-json-1.1\r\nContent-Length: 10000000\r\n";
    let signed = format!(
        "X-Amz-Date: 21000101T000000Z\r\nX-Amz-Content-Sha256: {0}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential={id}/21000101/us-east-1/kinesis/aws4_request, \
         SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target, Signature={0}\r\n",
        "0".repeat(64)
    );
    let mut rows = Vec::new();
    for (what, headers, code) in [
        ("not signed", "", "MissingAuthenticationTokenException"),
        ("signed wrongly", &signed, "InvalidSignatureException"),
    ] {
        let mut row = Row::new(format!("a request that is {what}: processor time"), "us", Bar::AtMost(200.0), "");
        let request = format!("{head}{headers}\r\n");
        for _ in 0..settings.rounds {
            let before = served.processor_time()?;
            (0..count).try_for_each(|_| ask(served.address, &request, code))?;
            let took = served.processor_time()? - before;
            row.push(took.as_secs_f64() * 1e6 / count as f64, 1.0);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Sends this on a connection of its own, and reads to its end, where this must have been among it.
fn ask(address: SocketAddr, request: &str, told: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains(told) { Ok(()) } else { Err(format!("not {told}: {answer}").into()) }
}
