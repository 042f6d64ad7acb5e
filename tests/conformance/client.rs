//! A client that knows nothing of the service: it sends what it is given, and notes what went over the wire.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use braidlog::wire::event_stream::{HeaderValue, Message};
use bytes::BytesMut;
use serde_json::{Map, Value};

/// What was met: operation, which part of it, path or code -> the first scenario that met it.
pub type Seen = BTreeMap<(String, &'static str, String), &'static str>;

pub struct Client {
    address: SocketAddr,
    connection: RefCell<Option<BufReader<TcpStream>>>,
    seen: RefCell<Seen>,
    scenario: &'static str,
    /// A line of each request's head.
    authorization: String,
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub status: u16,
    pub code: String,
    pub message: String,
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// The paths of everything a value holds.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                found.insert(path.clone());
                paths(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{prefix}[]"), found)),
        _ => {}
    }
}

impl Client {
    pub fn new(address: SocketAddr, scenario: &'static str) -> Client {
        let authorization = String::new();
        Client { address, connection: RefCell::default(), seen: RefCell::default(), scenario, authorization }
    }

    /// Another client, with an access key that names its account.
    pub fn of_account(&self, account: &str) -> Client {
        let authorization = format!(
            "authorization: AWS4-HMAC-SHA256 Credential={account}/20250101/us-east-1/kinesis/aws4_request, \
             SignedHeaders=host, Signature=00\r\n"
        );
        Client { authorization, ..Client::new(self.address, self.scenario) }
    }

    pub fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }

    pub fn note(&self, operation: &str, part: &'static str, value: &Value) {
        let mut found = BTreeSet::new();
        paths(value, "", &mut found);
        let mut seen = self.seen.borrow_mut();
        for path in found {
            seen.entry((operation.to_owned(), part, path)).or_insert(self.scenario);
        }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let connection = TcpStream::connect(self.address).unwrap();
        connection.set_nodelay(true).unwrap();
        BufReader::new(connection)
    }

    fn send(&self, connection: &mut BufReader<TcpStream>, target: &str, content_type: &str, body: &[u8]) {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: {target}\r\ncontent-type: {content_type}\r\n\
             {}content-length: {}\r\n\r\n",
            self.authorization,
            body.len()
        );
        connection.get_mut().write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    fn head(connection: &mut BufReader<TcpStream>) -> (u16, BTreeMap<String, String>) {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { return (status, headers) };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }

    /// Sends a request and waits for its answer, on a connection that stays open.
    pub fn post(&self, target: &str, content_type: &str, body: &[u8]) -> Answer {
        let mut slot = self.connection.borrow_mut();
        let connection = slot.get_or_insert_with(|| self.connect());
        self.send(connection, target, content_type, body);
        let (status, headers) = Client::head(connection);
        let length: usize = headers["content-length"].parse().unwrap();
        let mut body = vec![0; length];
        connection.read_exact(&mut body).unwrap();
        if headers.get("connection").is_some_and(|value| value == "close") {
            *slot = None;
        }
        Answer { status, headers, body }
    }

    /// Calls an operation in JSON.
    pub fn call(&self, operation: &str, input: Value) -> Result<Value, Failure> {
        let target = format!("Kinesis_20131202.{operation}");
        let answer = self.post(&target, "application/x-amz-json-1.1", input.to_string().as_bytes());
        assert_eq!(answer.headers["x-amzn-requestid"].len(), 36);
        if answer.status == 200 {
            self.note(operation, "input", &input);
            if answer.body.is_empty() {
                return Ok(Value::Null);
            }
            assert_eq!(answer.headers["content-type"], "application/x-amz-json-1.1");
            let output: Value = serde_json::from_slice(&answer.body).unwrap();
            self.note(operation, "output", &output);
            return Ok(output);
        }
        let body: Map<String, Value> = serde_json::from_slice(&answer.body).unwrap();
        let code = body["__type"].as_str().unwrap().to_owned();
        self.seen.borrow_mut().entry((operation.to_owned(), "error", code.clone())).or_insert(self.scenario);
        // A dry run sends members too, and the answer to it says that they were good.
        if code == "DryRunOperationException" {
            self.note(operation, "input", &input);
        }
        Err(Failure { status: answer.status, code, message: body["message"].as_str().unwrap().to_owned() })
    }

    /// Calls an operation that has to succeed.
    pub fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input.clone()).unwrap_or_else(|failure| panic!("{operation} {input}: {failure:?}"))
    }

    /// Calls an operation that has to fail with this code.
    pub fn fails(&self, operation: &str, code: &str, input: Value) -> Failure {
        let failure = self.call(operation, input.clone()).expect_err(&format!("{operation} {input}"));
        assert_eq!(failure.code, code, "{operation} {input}: {failure:?}");
        assert_eq!(failure.status, if code == "InternalFailureException" { 500 } else { 400 });
        failure
    }

    /// Subscribes to a shard, on a connection of its own.
    pub fn subscribe(&self, input: Value) -> Events<'_> {
        let mut connection = self.connect();
        let target = "Kinesis_20131202.SubscribeToShard";
        self.send(&mut connection, target, "application/x-amz-json-1.1", input.to_string().as_bytes());
        let (status, headers) = Client::head(&mut connection);
        assert_eq!(status, 200, "{input}");
        assert_eq!(headers["content-type"], "application/vnd.amazon.eventstream");
        assert_eq!(headers["transfer-encoding"], "chunked");
        self.note("SubscribeToShard", "input", &input);
        Events { client: self, connection, received: BytesMut::new() }
    }
}

/// The messages of a subscription.
pub struct Events<'a> {
    client: &'a Client,
    connection: BufReader<TcpStream>,
    received: BytesMut,
}

impl Events<'_> {
    /// The next message: its kind, and what it holds. `None` at the end of the response.
    pub fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(message) = Message::decode(&mut self.received).unwrap() {
                let text = |name: &str| match message.header(name) {
                    Some(HeaderValue::String(text)) => Some(text.clone()),
                    _ => None,
                };
                assert_eq!(text(":content-type").as_deref(), Some("application/x-amz-json-1.1"));
                let kind = text(":event-type").or_else(|| text(":exception-type")).unwrap();
                let value: Value = serde_json::from_slice(&message.payload).unwrap();
                if kind != "initial-response" {
                    let whole = serde_json::json!({ "EventStream": { &kind: &value } });
                    self.client.note("SubscribeToShard", "output", &whole);
                }
                return Some((kind, value));
            }
            let mut line = String::new();
            self.connection.read_line(&mut line).unwrap();
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            self.connection.read_exact(&mut chunk).unwrap();
            if length == 0 {
                return None;
            }
            self.received.extend_from_slice(&chunk[..length]);
        }
    }

    /// The next event that has records, or tells of an end.
    pub fn next_event(&mut self) -> Value {
        loop {
            let (kind, event) = self.next().expect("an event");
            let has = |member: &str| event[member].as_array().is_some_and(|items| !items.is_empty());
            if kind == "SubscribeToShardEvent" && (has("Records") || has("ChildShards")) {
                return event;
            }
        }
    }
}
