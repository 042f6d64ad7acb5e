//! Messages of `application/vnd.amazon.eventstream`: what a response is made of that goes on for minutes.
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | total length          | length of headers     |
//!     8 | CRC-32 of bytes 0..8  | headers               |
//!       | payload                                       |
//!       | CRC-32 of all before  |
//!       +-----+-----+-----+-----+
//!
//! header: u8 length of name, name, u8 type, value (of types 6 and 7: u16 length, bytes)
//! ```
//!
//! Everything is big-endian. Both lengths are held against their bounds, and the prelude against its checksum, before anything
//! is waited or allocated for. The format is that of Smithy's *Amazon Event Stream* specification; the bounds are botocore's.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The media type of a body made of these messages.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Bytes of all headers of a message, at most.
pub const HEADERS_BYTES_MAX: usize = 128 << 10;

/// Bytes of a message's payload, at most.
pub const PAYLOAD_BYTES_MAX: usize = 24 << 20;

/// Both lengths and their checksum.
const PRELUDE_BYTES: usize = 12;

/// What a message has besides headers and payload.
const FRAME_BYTES: usize = PRELUDE_BYTES + 4;

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// Types 0 (true) and 1 (false).
    Bool(bool),
    /// Type 2.
    Byte(i8),
    /// Type 3.
    Short(i16),
    /// Type 4.
    Integer(i32),
    /// Type 5.
    Long(i64),
    /// Type 6; at most 65,535 bytes.
    Bytes(Bytes),
    /// Type 7; at most 65,535 bytes of UTF-8.
    String(String),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// Why bytes are no message, or a message can't be bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventStreamError {
    /// A length is beyond its bound, or the lengths contradict each other.
    Bounds,
    /// A checksum differs: of the prelude or of the message.
    Checksum,
    /// The headers can't be read, or one name stands there twice.
    Headers,
}

impl fmt::Display for EventStreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bounds => "a length of the event-stream message is out of bounds",
            Self::Checksum => "a checksum of the event-stream message is wrong",
            Self::Headers => "the headers of the event-stream message can't be read",
        })
    }
}

impl std::error::Error for EventStreamError {}

/// One message.
///
/// ```
/// use braidlog::wire::event_stream::Message;
///
/// let event = Message::event("SubscribeToShardEvent", "application/json", "{}");
/// let mut received = event.encode().unwrap()[..].into();
/// assert_eq!(Message::decode(&mut received), Ok(Some(event)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names, of 1 to 255 bytes, each once, and values, in the order they are sent.
    pub headers: Vec<(String, HeaderValue)>,
    /// What the message is about; its format stands in the header `:content-type`.
    pub payload: Bytes,
}

impl Message {
    fn of(message_type: &str, kind: (&str, &str), content_type: &str, payload: Bytes) -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), HeaderValue::String(value.to_owned()));
        let headers = [(":message-type", message_type), kind, (":content-type", content_type)];
        Self { headers: headers.map(|(name, value)| header(name, value)).into(), payload }
    }

    /// An event of the stream.
    pub fn event(event_type: &str, content_type: &str, payload: impl Into<Bytes>) -> Self {
        Self::of("event", (":event-type", event_type), content_type, payload.into())
    }

    /// What comes first: the members of the operation's response that aren't the stream.
    pub fn initial_response(content_type: &str, payload: impl Into<Bytes>) -> Self {
        Self::event("initial-response", content_type, payload)
    }

    /// A modelled error. It ends the stream.
    pub fn exception(exception_type: &str, content_type: &str, payload: impl Into<Bytes>) -> Self {
        Self::of("exception", (":exception-type", exception_type), content_type, payload.into())
    }

    /// The value of a header, if there is such a header.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.headers.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The message as bytes.
    ///
    /// # Errors
    /// [`EventStreamError::Bounds`]: payload, headers, a name or a value is too long.
    pub fn encode(&self) -> Result<Bytes, EventStreamError> {
        let mut headers = BytesMut::with_capacity(128);
        for (name, value) in &self.headers {
            let length = u8::try_from(name.len()).ok().filter(|length| *length > 0).ok_or(EventStreamError::Bounds)?;
            headers.put_u8(length);
            headers.put_slice(name.as_bytes());
            put_value(&mut headers, value)?;
        }
        if headers.len() > HEADERS_BYTES_MAX || self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(EventStreamError::Bounds);
        }
        let total = FRAME_BYTES + headers.len() + self.payload.len();
        let mut message = BytesMut::with_capacity(total);
        // Both are below 2^32 by the bounds above.
        message.put_u32(total as u32);
        message.put_u32(headers.len() as u32);
        message.put_u32(crc32fast::hash(&message));
        message.put_slice(&headers);
        message.put_slice(&self.payload);
        message.put_u32(crc32fast::hash(&message));
        Ok(message.freeze())
    }

    /// Takes the first message off `received`, which keeps what comes behind it. `None`: more bytes are needed.
    ///
    /// # Errors
    /// What was received is no message. Where the next one would begin can't be known, so nothing after it can be read.
    pub fn decode(received: &mut BytesMut) -> Result<Option<Self>, EventStreamError> {
        let Some(prelude) = received.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
        let word = |at: usize| u32::from_be_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
        if crc32fast::hash(&prelude[..8]) != word(8) {
            return Err(EventStreamError::Checksum);
        }
        let (total, headers_length) = (word(0) as usize, word(4) as usize);
        let payload_length = total.checked_sub(FRAME_BYTES).and_then(|rest| rest.checked_sub(headers_length));
        if headers_length > HEADERS_BYTES_MAX || payload_length.is_none_or(|length| length > PAYLOAD_BYTES_MAX) {
            return Err(EventStreamError::Bounds);
        }
        if received.len() < total {
            return Ok(None);
        }
        let mut message = received.split_to(total).freeze();
        let checksum = message.split_off(total - 4);
        if checksum != crc32fast::hash(&message).to_be_bytes()[..] {
            return Err(EventStreamError::Checksum);
        }
        message.advance(PRELUDE_BYTES);
        let headers = take_headers(message.split_to(headers_length))?;
        Ok(Some(Self { headers, payload: message }))
    }
}

fn put_value(out: &mut BytesMut, value: &HeaderValue) -> Result<(), EventStreamError> {
    match value {
        HeaderValue::Bool(true) => out.put_u8(0),
        HeaderValue::Bool(false) => out.put_u8(1),
        HeaderValue::Byte(value) => {
            out.put_u8(2);
            out.put_i8(*value);
        }
        HeaderValue::Short(value) => {
            out.put_u8(3);
            out.put_i16(*value);
        }
        HeaderValue::Integer(value) => {
            out.put_u8(4);
            out.put_i32(*value);
        }
        HeaderValue::Long(value) => {
            out.put_u8(5);
            out.put_i64(*value);
        }
        HeaderValue::Bytes(value) => put_sized(out, 6, value)?,
        HeaderValue::String(value) => put_sized(out, 7, value.as_bytes())?,
        HeaderValue::Timestamp(value) => {
            out.put_u8(8);
            out.put_i64(*value);
        }
        HeaderValue::Uuid(value) => {
            out.put_u8(9);
            out.put_slice(value);
        }
    }
    Ok(())
}

fn put_sized(out: &mut BytesMut, kind: u8, value: &[u8]) -> Result<(), EventStreamError> {
    out.put_u8(kind);
    out.put_u16(u16::try_from(value.len()).map_err(|_| EventStreamError::Bounds)?);
    out.put_slice(value);
    Ok(())
}

fn take_headers(mut bytes: Bytes) -> Result<Vec<(String, HeaderValue)>, EventStreamError> {
    let mut headers: Vec<(String, HeaderValue)> = Vec::new();
    while !bytes.is_empty() {
        headers.push(take_header(&mut bytes).ok_or(EventStreamError::Headers)?);
    }
    // Sorted, not each against all: a forged message may have tens of thousands.
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(EventStreamError::Headers);
    }
    Ok(headers)
}

fn take_header(bytes: &mut Bytes) -> Option<(String, HeaderValue)> {
    let length = usize::from(bytes.try_get_u8().ok()?);
    let name = take_string(bytes, length).filter(|name| !name.is_empty())?;
    let value = match bytes.try_get_u8().ok()? {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Byte(bytes.try_get_i8().ok()?),
        3 => HeaderValue::Short(bytes.try_get_i16().ok()?),
        4 => HeaderValue::Integer(bytes.try_get_i32().ok()?),
        5 => HeaderValue::Long(bytes.try_get_i64().ok()?),
        6 => {
            let length = bytes.try_get_u16().ok()?;
            HeaderValue::Bytes(take(bytes, length.into())?)
        }
        7 => {
            let length = bytes.try_get_u16().ok()?;
            HeaderValue::String(take_string(bytes, length.into())?)
        }
        8 => HeaderValue::Timestamp(bytes.try_get_i64().ok()?),
        9 => HeaderValue::Uuid(*take(bytes, 16)?.first_chunk()?),
        _ => return None,
    };
    Some((name, value))
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

fn take_string(bytes: &mut Bytes, length: usize) -> Option<String> {
    String::from_utf8(take(bytes, length)?.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn header(row: &Value) -> (String, HeaderValue) {
        let value = &row[2];
        let text = || value.as_str().unwrap();
        let number = || value.as_i64().unwrap();
        let value = match row[1].as_str().unwrap() {
            "bool" => HeaderValue::Bool(value.as_bool().unwrap()),
            "byte" => HeaderValue::Byte(number() as i8),
            "short" => HeaderValue::Short(number() as i16),
            "integer" => HeaderValue::Integer(number() as i32),
            "long" => HeaderValue::Long(number()),
            "bytes" => HeaderValue::Bytes(unhex(text()).into()),
            "string" => HeaderValue::String(text().to_owned()),
            "timestamp" => HeaderValue::Timestamp(number()),
            "uuid" => HeaderValue::Uuid(unhex(text()).try_into().unwrap()),
            other => panic!("no type {other}"),
        };
        (row[0].as_str().unwrap().to_owned(), value)
    }

    /// What botocore reads as what: see `tools/event_stream_fixtures.py`.
    fn fixtures() -> Vec<(String, Vec<u8>, Message)> {
        let fixtures: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/data/event_stream/messages.json")).unwrap();
        let message = |row: &Value| {
            let headers = row["headers"].as_array().unwrap().iter().map(header).collect();
            Message { headers, payload: unhex(row["payload"].as_str().unwrap()).into() }
        };
        let of = |row: &Value| row["name"].as_str().unwrap().to_owned();
        fixtures.iter().map(|row| (of(row), unhex(row["hex"].as_str().unwrap()), message(row))).collect()
    }

    fn fixture(name: &str) -> Message {
        fixtures().into_iter().find(|(key, ..)| key == name).unwrap().2
    }

    #[test]
    fn messages_are_written_and_read_as_botocore_reads_them() {
        for (name, bytes, message) in fixtures() {
            assert_eq!(message.encode().unwrap(), bytes, "{name}");
            assert_eq!(Message::decode(&mut bytes[..].into()), Ok(Some(message)), "{name}");
        }
        // The first case of the specification's own suite.
        let empty = Message { headers: Vec::new(), payload: Bytes::new() };
        assert_eq!(empty.encode().unwrap()[..], unhex("000000100000000005c248eb7d98c8ff"));
    }

    #[test]
    fn the_three_kinds_of_message_have_the_headers_clients_look_for() {
        let json = "application/x-amz-json-1.1";
        let event = r#"{"Records":[],"MillisBehindLatest":0}"#;
        assert_eq!(Message::event("SubscribeToShardEvent", "application/json", event), fixture("event"));
        assert_eq!(Message::initial_response(json, "{}"), fixture("initial response"));
        let taken = Message::exception("ResourceInUseException", json, r#"{"message":"taken over"}"#);
        assert_eq!(taken, fixture("exception"));
        let expected = HeaderValue::String("ResourceInUseException".to_owned());
        assert_eq!(taken.header(":exception-type"), Some(&expected));
        assert_eq!(taken.header(":event-type"), None);
    }

    #[test]
    fn a_stream_of_messages_is_read_however_it_is_cut() {
        let (bytes, messages): (Vec<_>, Vec<_>) =
            fixtures().into_iter().map(|(_, bytes, message)| (bytes, message)).unzip();
        let bytes = bytes.concat();
        for piece in [1, 2, 11, 13, 64, bytes.len()] {
            let mut received = BytesMut::new();
            let mut read = Vec::new();
            for piece in bytes.chunks(piece) {
                received.extend_from_slice(piece);
                while let Some(message) = Message::decode(&mut received).unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages);
            assert!(received.is_empty());
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = fixture("every type").encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Message::decode(&mut bytes[..].into()), Err(EventStreamError::Checksum), "bit {bit}");
        }
    }

    /// A message with checksums that are right, whatever it says.
    fn forged(total: u32, headers_length: u32, rest: &[u8]) -> BytesMut {
        let mut message = BytesMut::new();
        message.put_u32(total);
        message.put_u32(headers_length);
        message.put_u32(crc32fast::hash(&message));
        message.put_slice(rest);
        message.put_u32(crc32fast::hash(&message));
        message
    }

    #[test]
    fn lengths_out_of_bounds_are_refused_before_the_rest_is_waited_for() {
        let headers_max = HEADERS_BYTES_MAX as u32;
        let longest = (FRAME_BYTES + PAYLOAD_BYTES_MAX) as u32;
        for (total, headers) in [(0, 0), (15, 0), (16, 1), (u32::MAX, 0), (u32::MAX, u32::MAX), (20, 5)]
            .into_iter()
            .chain([(longest + 1, 0), (longest, headers_max + 1), (longest + headers_max + 1, headers_max)])
        {
            assert_eq!(
                Message::decode(&mut forged(total, headers, b"")),
                Err(EventStreamError::Bounds),
                "{total} {headers}"
            );
        }
        for (total, headers) in [(longest, 0), (longest + headers_max, headers_max), (17, 1)] {
            assert_eq!(Message::decode(&mut forged(total, headers, b"")), Ok(None), "{total} {headers}");
        }
    }

    #[test]
    fn headers_that_cannot_be_read_are_refused() {
        for (what, headers) in [
            ("a name without a value", &b"\x01a"[..]),
            ("no name", b"\x00\x00"),
            ("a name beyond the end", b"\x05a\x00"),
            ("a name that is not UTF-8", b"\x01\xff\x00"),
            ("an unknown type", b"\x01a\x0a"),
            ("a number cut short", b"\x01a\x05\x00\x00\x00\x00\x00\x00\x00"),
            ("a string beyond the end", b"\x01a\x07\x00\x02x"),
            ("a string that is not UTF-8", b"\x01a\x07\x00\x01\xff"),
            ("bytes beyond the end", b"\x01a\x06\xff\xffx"),
            ("a UUID cut short", b"\x01a\x09\x00\x00"),
            ("a name twice", b"\x01a\x00\x01b\x00\x01a\x01"),
        ] {
            let mut message = forged((FRAME_BYTES + headers.len()) as u32, headers.len() as u32, headers);
            assert_eq!(Message::decode(&mut message), Err(EventStreamError::Headers), "{what}");
        }
    }

    #[test]
    fn what_would_not_be_read_is_not_written() {
        let of = |name: String, value| Message { headers: vec![(name, value)], payload: Bytes::new() };
        let string = |length| HeaderValue::String("x".repeat(length));
        assert_eq!(of(String::new(), HeaderValue::Bool(true)).encode(), Err(EventStreamError::Bounds));
        assert_eq!(of("n".repeat(256), HeaderValue::Bool(true)).encode(), Err(EventStreamError::Bounds));
        assert_eq!(of("n".into(), string(65_536)).encode(), Err(EventStreamError::Bounds));
        assert!(of("n".repeat(255), string(65_535)).encode().is_ok());
        let headers = (0..3).map(|i| (format!("n{i}"), string(65_000))).collect();
        assert_eq!(Message { headers, payload: Bytes::new() }.encode(), Err(EventStreamError::Bounds));
        let long = Message::event("e", "c", vec![0; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(long.encode(), Err(EventStreamError::Bounds));
    }

    fn any_value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::Byte),
            any::<i16>().prop_map(HeaderValue::Short),
            any::<i32>().prop_map(HeaderValue::Integer),
            any::<i64>().prop_map(HeaderValue::Long),
            any::<Vec<u8>>().prop_map(|bytes| HeaderValue::Bytes(bytes.into())),
            any::<String>().prop_map(HeaderValue::String),
            any::<i64>().prop_map(HeaderValue::Timestamp),
            any::<[u8; 16]>().prop_map(HeaderValue::Uuid),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            headers in proptest::collection::btree_map("[a-z:-]{1,20}", any_value(), 0..8), payload: Vec<u8>,
        ) {
            let message = Message { headers: headers.into_iter().collect(), payload: payload.into() };
            let mut bytes = message.encode().unwrap()[..].into();
            prop_assert_eq!(Message::decode(&mut bytes), Ok(Some(message)));
        }
    }
}
