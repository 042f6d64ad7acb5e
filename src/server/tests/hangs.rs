//! The whole server over a disk that hangs: nobody steps the machines of its store but the test.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::{Limits, Server, ServerOptions, rest};
use crate::EngineOptions;
use crate::env::Env;
use crate::env::sim::{ManualClock, SeededRandom, SimDisk, Tape};
use crate::manual::ManualEngine;
use crate::stream::{HashKey, StreamOptions};

fn request(target: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Amz-Target: Kinesis_20131202.{target}\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn send(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn get(server: &Server, path: &str) -> String {
    rest(send(server, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")))
}

fn is_unanswered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn puts_that_wait_for_a_reshard_hold_up_nobody_else() {
    // They waited on the thread that serves all connections, for as long as the disk hung.
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let env = Env { disk: Arc::new(disk), clock, random: Arc::new(SeededRandom::new(1)) };
    let mut manual = ManualEngine::open(env, EngineOptions::new()).unwrap();
    let stream = manual.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    manual.machines().settle();
    let server = Server::start_with(manual.engine().clone(), ServerOptions::new().worker_threads(1)).unwrap();
    let parent = stream.shards()[0].shard_id;
    std::thread::scope(|scope| {
        let split = scope.spawn(|| stream.split_shard(parent, HashKey(1 << 127)));
        // Until the split is decided; nothing is done that would make it durable.
        while !manual.machines().commit_step_without_waiting() {
            std::thread::yield_now();
        }
        let one = send(&server, &request("PutRecord", r#"{"StreamName":"clicks","PartitionKey":"a","Data":"MQ=="}"#));
        let two = r#"[{"PartitionKey":"a","Data":"Mg=="},{"PartitionKey":"b","Data":"Mw=="}]"#;
        let two = send(&server, &request("PutRecords", &format!(r#"{{"StreamName":"clicks","Records":{two}}}"#)));
        // Both, and the one that asks.
        while !get(&server, "/metrics").contains("braidlog_http_requests_in_flight 3\n") {
            assert!(is_unanswered(&one) && is_unanswered(&two), "what waits is answered when the disk goes on");
        }
        assert!(get(&server, "/health").starts_with("HTTP/1.1 200"));
        assert!(is_unanswered(&one) && is_unanswered(&two));
        assert_eq!(stream.open_shards().len(), 1, "what may come is not shown");
        let answers = [one, two].map(|put| scope.spawn(move || rest(put)));
        // What the reshard made room for is a frame of its own.
        while !answers.iter().all(|answer| answer.is_finished()) {
            manual.machines().settle();
            std::thread::yield_now();
        }
        for answer in answers {
            let answer = answer.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("shardId-00000000000"), "{answer}");
            assert!(!answer.contains("shardId-000000000000"), "they go to the children: {answer}");
        }
        split.join().unwrap().unwrap();
    });
    let read = |shard: &crate::stream::Shard| {
        let records = stream.read(shard.shard_id, crate::stream::StartingPosition::TrimHorizon).unwrap();
        records.map(|record| record.unwrap().data.to_vec()).collect::<Vec<_>>()
    };
    let mut all = stream.shards().iter().flat_map(read).collect::<Vec<_>>();
    all.sort();
    assert_eq!(all, [b"1", b"2", b"3"]);
}

#[test]
fn a_body_counts_as_long_as_somebody_has_it() {
    // What a client that left had sent was not counted any more, and was in memory until the disk went on.
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let env = Env { disk: Arc::new(disk), clock, random: Arc::new(SeededRandom::new(1)) };
    let mut manual = ManualEngine::open(env, EngineOptions::new()).unwrap();
    let limits = Limits::new().body_bytes(1 << 20).bodies_bytes(4 << 20);
    let server = Server::start_with(manual.engine().clone(), ServerOptions::new().limits(limits)).unwrap();
    let create = |name: u32| {
        let rest = "x".repeat(1_000_000);
        request("CreateStream", &format!(r#"{{"StreamName":"s{name}","ShardCount":1,"Rest":"{rest}"}}"#))
    };
    let in_flight =
        |count: u32| get(&server, "/metrics").contains(&format!("braidlog_http_requests_in_flight {count}\n"));
    for name in 0..3 {
        let stream = send(&server, &create(name));
        // The one that asks, too.
        while !in_flight(2) {
            assert!(is_unanswered(&stream));
        }
        std::thread::sleep(Duration::from_millis(200));
        drop(stream);
        while !in_flight(1) {
            std::thread::yield_now();
        }
    }
    let refused = send(&server, &create(3));
    refused.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let refused = rest(refused);
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    // When they are done all of it is free.
    while manual.engine().list_streams(None, 10).unwrap().stream_names.len() < 3 {
        manual.machines().settle();
        std::thread::yield_now();
    }
    manual.machines().settle();
    let created = send(&server, &create(3));
    while is_unanswered(&created) {
        manual.machines().settle();
        std::thread::yield_now();
    }
    let created = rest(created);
    assert!(created.starts_with("HTTP/1.1 200"), "{created}");
}
