//! Doors into the rooms of the wire: requests, signatures, event streams.

use super::Input;

/// Messages of an event stream: arbitrary bytes (even first byte), or a message of which only the checksums are right (odd).
pub fn event_stream(data: &[u8]) {
    use crate::wire::event_stream::Message;
    let mut input = Input(data);
    let mut bytes = Vec::new();
    if input.u8() & 1 == 1 {
        let headers = u32::from(input.u8()) << 4 | u32::from(input.u8() & 15);
        let total = (input.0.len() + 16) as u32;
        bytes.extend_from_slice(&[total.to_be_bytes(), headers.to_be_bytes()].concat());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend_from_slice(input.0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    } else {
        bytes.extend_from_slice(input.0);
    }
    let mut received = bytes::BytesMut::from(&bytes[..]);
    while let Ok(Some(message)) = Message::decode(&mut received) {
        // What can be read is written as the same bytes.
        let rest = bytes.len() - received.len();
        assert_eq!(message.encode().as_deref(), Ok(&bytes[..rest]));
        bytes.drain(..rest);
    }
}

/// Requests in both protocols: the first byte says which and whose input it is, the rest is the body. What is read and is within
/// the model's bounds is written in either protocol and read as the same again.
pub fn wire_requests(data: &[u8]) {
    use crate::wire::Protocol;
    use crate::wire::check::Shape;
    use crate::wire::kinesis::{
        CreateStreamInput, GetShardIteratorInput, ListShardsInput, PutRecordsInput, SubscribeToShardInput,
        TagResourceInput,
    };
    fn check<T>(protocol: Protocol, body: &[u8])
    where
        T: serde::de::DeserializeOwned + serde::Serialize + Shape + PartialEq + std::fmt::Debug,
    {
        let Ok(decoded) = protocol.decode::<T>(body) else { return };
        let _ = decoded.input.resource();
        for protocol in [Protocol::Json, Protocol::Cbor] {
            let again = protocol.decode::<T>(&protocol.encode(&decoded.input)).map(|again| again.input);
            assert_eq!(again.as_ref(), Ok(&decoded.input), "{protocol:?}");
        }
    }
    let mut input = Input(data);
    let choice = input.u8();
    let protocol = if choice & 1 == 0 { Protocol::Json } else { Protocol::Cbor };
    match choice >> 1 & 7 {
        0 => check::<PutRecordsInput>(protocol, input.0),
        1 => check::<CreateStreamInput>(protocol, input.0),
        2 => check::<GetShardIteratorInput>(protocol, input.0),
        3 => check::<ListShardsInput>(protocol, input.0),
        4 => check::<SubscribeToShardInput>(protocol, input.0),
        _ => check::<TagResourceInput>(protocol, input.0),
    }
}

/// The time of the requests in `tests/data/sigv4`, and of the corpus made of them.
const SIGNED_MS: u64 = 1_795_176_000_000;

/// Signed requests: a line with method and target, lines of headers, an empty line, the body. An odd first byte verifies nothing and
/// only looks for whose account it is.
pub fn sigv4(data: &[u8]) {
    let _ = signed_request(data);
}

/// The account a signed request is accepted for.
fn signed_request(data: &[u8]) -> Option<String> {
    use crate::server::AccessKey;
    use crate::server::auth::{Authenticator, Credentials};
    let mut input = Input(data);
    let open = input.u8() & 1 == 1;
    let end = input.0.windows(2).position(|two| two == b"\n\n").unwrap_or(input.0.len());
    let (lines, body) = (&input.0[..end], input.0.get(end + 2..).unwrap_or_default());
    let mut lines = lines.split(|byte| *byte == b'\n');
    let mut first = lines.next().unwrap_or_default().splitn(2, |byte| *byte == b' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut request = http::Request::builder().method(method).uri(target);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        request = request.header(&line[..colon], line.get(colon + 1..).unwrap_or_default());
    }
    let (mut head, ()) = request.body(()).ok()?.into_parts();

    let key = AccessKey::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").ok().filter(|_| !open);
    let authenticator = Authenticator::new(Credentials::of(key.as_slice()), "000000000000");
    let verify = |head: &http::request::Parts, body: &[u8]| {
        authenticator.check(head, "kinesis", Some("us-east-1"), SIGNED_MS)?.verify(body)
    };
    let verified = verify(&head, body);
    assert!(verified.is_ok() || !open);
    let identity = verified.ok()?;
    assert_eq!(identity.account.len(), 12);
    if !open {
        // Nobody but the signer of the corpus gets in, and with nothing but what was signed.
        assert_eq!(identity.access_key.as_deref(), Some("AKIAIOSFODNN7EXAMPLE"));
        assert!(verify(&head, &[body, b" "].concat()).is_err());
        head.method = if head.method == http::Method::PUT { http::Method::POST } else { http::Method::PUT };
        assert!(verify(&head, body).is_err());
    }
    Some(identity.account)
}

/// Where [`wire_requests`] begins.
fn request_seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    use crate::wire::Protocol;
    use serde_json::json;
    let shard = "shardId-000000000000";
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks";
    let inputs = [
        json!({ "StreamName": "a", "Records": [{ "Data": "", "PartitionKey": "k" }, { "Data": "eA==", "ExplicitHashKey": "7" }] }),
        json!({ "StreamName": "a", "ShardCount": 2, "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "Tags": { "a": "b" } }),
        json!({ "StreamName": "a", "ShardId": shard, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.5 }),
        json!({ "NextToken": "x", "MaxResults": 3, "ShardFilter": { "Type": "AT_TIMESTAMP", "Timestamp": 7 } }),
        json!({ "ConsumerARN": format!("{arn}/consumer/c:1"), "ShardId": shard, "StartingPosition": { "Type": "LATEST" } }),
        json!({ "ResourceARN": arn, "Tags": { "a": "1" }, "Colour": [null, true, { "b": 1e3 }] }),
    ];
    let seed = |(input, which): (&serde_json::Value, u8)| {
        [Protocol::Json, Protocol::Cbor].map(|protocol| {
            let choice = which << 1 | u8::from(protocol == Protocol::Cbor);
            let body = protocol.encode(input);
            ("wire_requests", format!("{protocol:?}-{which}"), [&[choice], &body[..]].concat())
        })
    };
    inputs.iter().zip(0..).flat_map(seed).collect()
}

/// Where the targets of the wire begin: target, name, input.
pub fn wire_seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    #[derive(serde::Deserialize)]
    struct Signed {
        name: String,
        method: String,
        uri: String,
        headers: Vec<(String, String)>,
        body: String,
    }
    #[derive(serde::Deserialize)]
    struct Message {
        name: String,
        hex: String,
    }
    let file_name = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let mut seeds = request_seeds();
    let signed: Vec<Signed> =
        serde_json::from_str(include_str!("../../tests/data/sigv4/good.json")).unwrap_or_default();
    let chosen =
        ["PutRecord", "CBOR", "hash declared", "date in Date", "a path and a query", "presigned", "presigned GET"];
    for request in signed {
        if chosen.contains(&request.name.as_str()) {
            let headers: Vec<String> =
                request.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            let text = format!("{} {}\n{}\n{}", request.method, request.uri, headers.concat(), request.body);
            seeds.push(("sigv4", file_name(&request.name), [&[0], text.as_bytes()].concat()));
            seeds.push(("sigv4", file_name(&request.name) + "-open", [&[1], text.as_bytes()].concat()));
        }
    }
    let messages: Vec<Message> =
        serde_json::from_str(include_str!("../../tests/data/event_stream/messages.json")).unwrap_or_default();
    for message in messages {
        let digits = message.hex.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
        let bytes: Vec<u8> = digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
        let (headers, rest) = (&bytes[4..8], &bytes[12..bytes.len() - 4]);
        let length = [headers[2] << 4 | headers[3] >> 4, headers[3] & 15];
        seeds.push(("event_stream", file_name(&message.name), [&[0], &bytes[..]].concat()));
        seeds.push(("event_stream", file_name(&message.name) + "-forged", [&[1], &length[..], rest].concat()));
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_of_signed_requests_are_accepted() {
        let seeds = wire_seeds();
        assert!(seeds.len() >= 26);
        for (target, name, input) in seeds {
            match target {
                "sigv4" => assert_eq!(signed_request(&input).as_deref(), Some("000000000000"), "{name}"),
                "event_stream" => event_stream(&input),
                _ => wire_requests(&input),
            }
        }
    }
}
