#!/usr/bin/env python3
"""Writes tests/data/event_stream/messages.json: messages whose bytes are laid out here by the specification of Smithy's Amazon
Event Stream, and which botocore's own decoder reads as what is written beside them.

    pip install botocore && tools/event_stream_fixtures.py
"""

import json
import struct
from binascii import crc32
from pathlib import Path

from botocore.eventstream import EventStreamBuffer

TYPES = {
    "bool": lambda v: bytes([0 if v else 1]),
    "byte": lambda v: b"\x02" + struct.pack("!b", v),
    "short": lambda v: b"\x03" + struct.pack("!h", v),
    "integer": lambda v: b"\x04" + struct.pack("!i", v),
    "long": lambda v: b"\x05" + struct.pack("!q", v),
    "bytes": lambda v: b"\x06" + struct.pack("!H", len(v) // 2) + bytes.fromhex(v),
    "string": lambda v: b"\x07" + struct.pack("!H", len(v.encode())) + v.encode(),
    "timestamp": lambda v: b"\x08" + struct.pack("!q", v),
    "uuid": lambda v: b"\x09" + bytes.fromhex(v),
}


def encode(headers, payload):
    block = b"".join(bytes([len(name)]) + name.encode() + TYPES[kind](value) for name, kind, value in headers)
    prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    message = prelude + struct.pack("!I", crc32(prelude)) + block + payload
    return message + struct.pack("!I", crc32(message))


def event(kind, name, content_type, payload):
    return ([(":message-type", "string", kind), (f":{kind}-type", "string", name),
             (":content-type", "string", content_type)], payload)


MESSAGES = {
    "empty": ([], b""),
    "payload alone": ([], b'{"foo":"bar"}'),
    "every type": ([
        ("true", "bool", True), ("false", "bool", False), ("byte", "byte", -5), ("short", "short", -300),
        ("integer", "integer", -70_000), ("long", "long", -(1 << 40)), ("bytes", "bytes", "00ff10"),
        ("string", "string", "größer"), ("timestamp", "timestamp", 1_795_176_000_123),
        ("uuid", "uuid", "0102030405060708090a0b0c0d0e0f10"),
    ], b"\x00\xff"),
    "event": event("event", "SubscribeToShardEvent", "application/json", b'{"Records":[],"MillisBehindLatest":0}'),
    "initial response": event("event", "initial-response", "application/x-amz-json-1.1", b"{}"),
    "exception": event("exception", "ResourceInUseException", "application/x-amz-json-1.1", b'{"message":"taken over"}'),
}


def main():
    out = []
    for name, (headers, payload) in MESSAGES.items():
        message = encode(headers, payload)
        buffer = EventStreamBuffer()
        buffer.add_data(message)
        (decoded,) = list(buffer)
        expected = {n: bytes.fromhex(v) if kind in ("bytes", "uuid") else v for n, kind, v in headers}
        assert decoded.headers == expected and decoded.payload == payload, name
        out.append({"name": name, "hex": message.hex(), "headers": headers, "payload": payload.hex()})
    path = Path(__file__).parent.parent / "tests/data/event_stream/messages.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")


main()
