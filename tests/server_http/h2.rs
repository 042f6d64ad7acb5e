//! HTTP/2 with prior knowledge, frame by frame.

use std::io::{Read, Write};

use braidlog::server::Limits;

use crate::client::{Place, rest};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` in HPACK's static table.
const STATUS_200: u8 = 0x88;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `:method GET, :scheme http, :path, :authority a` in HPACK, without Huffman coding.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'a']);
    block
}

fn read_frame(stream: &mut impl Read) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).unwrap();
    (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
}

fn until(stream: &mut impl Read, kind: u8) -> (u8, u8, u32, Vec<u8>) {
    loop {
        let frame = read_frame(stream);
        if frame.0 == kind {
            return frame;
        }
    }
}

/// Asks for the health on a connection that begins, over whatever carries it.
pub fn is_spoken(stream: &mut (impl Read + Write)) {
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream.write_all(&frame(PING, 0, 0, b"12345678")).unwrap();
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/health"))).unwrap();
    let (_, _, id, block) = until(stream, HEADERS);
    assert_eq!((id, block[0]), (1, STATUS_200));
    let (_, _, _, body) = until(stream, DATA);
    assert!(body.starts_with(b"{") && String::from_utf8(body).unwrap().contains("\"ok\""));
}

#[test]
fn it_is_spoken_without_being_offered() {
    let place = Place::new();
    let mut stream = place.connect();
    is_spoken(&mut stream);
    stream.write_all(&frame(PING, 0, 0, b"abcdefgh")).unwrap();
    loop {
        let (_, flags, _, payload) = until(&mut stream, PING);
        if flags == 1 && payload == b"abcdefgh" {
            break;
        }
    }
}

#[test]
fn streams_that_are_opened_only_to_be_reset_end_the_connection() {
    let place = Place::new();
    let mut stream = place.send(PREFACE);
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    let flood: Vec<u8> = (0..5_000u32)
        .flat_map(|n| {
            let id = 2 * n + 1;
            [frame(HEADERS, END_HEADERS, id, &get("/health")), frame(RST_STREAM, 0, id, &8u32.to_be_bytes())].concat()
        })
        .collect();
    let sent = stream.write_all(&flood);
    let answer = rest(&stream);
    let goaway = answer.windows(9).any(|head| head[3] == GOAWAY && head[5..9] == [0; 4]);
    assert!(sent.is_err() || goaway, "the connection ends");
    is_spoken(&mut place.connect());
}

#[test]
fn it_is_told_when_a_connection_is_idle_for_too_long() {
    let place = Place::limited(Limits::new().idle_time(std::time::Duration::from_millis(300)));
    let mut stream = place.connect();
    is_spoken(&mut stream);
    until(&mut stream, GOAWAY);
    rest(&stream);
}

#[test]
fn a_client_that_gives_no_window_is_cut_and_one_that_gives_little_is_served() {
    let place = Place::limited(Limits::new().body_time(std::time::Duration::from_millis(300)));
    let window = |bytes: u32| frame(SETTINGS, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat());
    let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/metrics"));
    let mut none = place.send([PREFACE, &window(0), &ask].concat());
    let (_, flags, id, block) = until(&mut none, HEADERS);
    assert_eq!((flags & END_STREAM, id, block[0]), (0, 1, STATUS_200));
    let cut = rest(none);
    assert!(!cut.windows(9).any(|head| head[3] == DATA && head[5..9] == [0, 0, 0, 1]), "{}", cut.escape_ascii());
    assert_eq!(place.metric("braidlog_http_refused_total{reason=\"blocked\"}"), 1);
    let mut little = place.send([PREFACE, &window(16), &ask].concat());
    until(&mut little, HEADERS);
    let mut body = Vec::new();
    loop {
        let (_, flags, _, piece) = until(&mut little, DATA);
        body.extend(piece);
        if flags & END_STREAM != 0 {
            break;
        }
        little.write_all(&frame(WINDOW_UPDATE, 0, 1, &256u32.to_be_bytes())).unwrap();
    }
    assert!(String::from_utf8(body).unwrap().contains("reason=\"blocked\"} 1\n"));
}
