//! Where the requests of an HTTP/1.1 connection begin and end, told strictly.
//!
//! Two readers of one connection that disagree about where a request ends let one client's bytes pass for another's request.
//! HTTP libraries are lenient in what the standard leaves open, so every byte passes here first, and what could be read in two
//! ways stops here (RFC 9112, sections 2.2, 5, 6 and 11.2):
//!
//! - A line ends with CR LF. A CR or LF alone, or a header that is folded, is refused.
//! - There is one `Content-Length` of plain digits, or one `Transfer-Encoding: chunked`, or neither; never both.
//! - A chunk is its size in hexadecimal and its bytes; extensions and trailers are refused.
//!
//! Pure: bytes in, the place of the first refused one out. It also knows whether a head has begun and not ended, which is what
//! the time for heads goes by.

use http::Version;

/// How an HTTP/2 connection begins (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest name and value that say how long a body is, and one more to tell longer ones.
const NAME_BYTES: usize = 18;
const VALUE_BYTES: usize = 24;

/// What a connection is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests, or HTTP/2.
    Between,
    /// In a request's head.
    Head,
    /// In a request's body.
    Body,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    name: Word<NAME_BYTES>,
    value: Word<VALUE_BYTES>,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes were those of HTTP/2's preface.
    Preface(usize),
    Http2,
    /// Before a request: empty lines are let through.
    Start,
    StartLineFeed,
    RequestLine,
    LineFeed,
    /// At the first byte of a header, or of the empty line.
    LineStart,
    Name,
    Value,
    EndLineFeed,
    Body(u64),
    /// Digits of a chunk's size so far, and the size.
    ChunkSize(u32, u64),
    ChunkSizeLineFeed(u64),
    Chunk(u64),
    ChunkEnd,
    ChunkEndLineFeed,
    LastChunkEnd,
    LastChunkLineFeed,
    /// And what it was in the middle of.
    Refused(Phase),
}

/// The front of a name or value, in lower case.
#[derive(Debug)]
struct Word<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Word<N> {
    fn new() -> Self {
        Word { bytes: [0; N], len: 0 }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte.to_ascii_lowercase();
        }
        self.len = self.len.saturating_add(1);
    }

    /// Empty if it was too long to be one that matters.
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn is_too_long(&self) -> bool {
        self.len > N
    }
}

impl Framing {
    pub(super) fn new() -> Framing {
        Framing { state: State::Preface(0), name: Word::new(), value: Word::new(), length: None, chunked: false }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Preface(0) | State::Http2 | State::Start => Phase::Between,
            State::Preface(_)
            | State::StartLineFeed
            | State::RequestLine
            | State::LineFeed
            | State::LineStart
            | State::Name
            | State::Value
            | State::EndLineFeed => Phase::Head,
            State::Refused(phase) => phase,
            _ => Phase::Body,
        }
    }

    /// Which version is spoken, once that is known: what begins like HTTP/2's preface may yet be something else.
    pub(super) fn version(&self) -> Option<Version> {
        match self.state {
            State::Preface(_) => None,
            State::Http2 => Some(Version::HTTP_2),
            _ => Some(Version::HTTP_11),
        }
    }

    /// Follows these bytes. `Err` has the place of the first that is refused; none after it is ever accepted.
    pub(super) fn accept(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let left = (bytes.len() - at) as u64;
            match self.state {
                State::Http2 => return Ok(()),
                State::Body(body) | State::Chunk(body) => {
                    // A body is not looked at, only counted.
                    let taken = body.min(left);
                    at += taken as usize;
                    self.state = match (self.state, body - taken) {
                        (State::Body(_), 0) => State::Start,
                        (State::Body(_), rest) => State::Body(rest),
                        (_, 0) => State::ChunkEnd,
                        (_, rest) => State::Chunk(rest),
                    };
                }
                _ => {
                    let Some(next) = self.step(byte) else {
                        // Between requests, what is refused is the first byte of a head.
                        let phase = if self.phase() == Phase::Body { Phase::Body } else { Phase::Head };
                        self.state = State::Refused(phase);
                        return Err(at);
                    };
                    self.state = next;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// What follows after this byte; `None` if it is refused.
    fn step(&mut self, byte: u8) -> Option<State> {
        let next = match (self.state, byte) {
            (State::Preface(matched), _) => return self.preface(matched, byte),
            (State::Start, b'\r') => State::StartLineFeed,
            (State::StartLineFeed, b'\n') => State::Start,
            (State::Start, b'\n') => return None,
            (State::Start, _) => {
                (self.length, self.chunked) = (None, false);
                State::RequestLine
            }
            (State::RequestLine, b'\r') => State::LineFeed,
            (State::RequestLine, b'\n') => return None,
            (State::RequestLine, _) => State::RequestLine,
            (State::LineFeed, b'\n') => State::LineStart,
            (State::LineStart, b'\r') => State::EndLineFeed,
            (State::LineStart, b'\n' | b' ' | b'\t' | b':') => return None,
            (State::LineStart, _) => {
                (self.name, self.value) = (Word::new(), Word::new());
                self.name.push(byte);
                State::Name
            }
            (State::Name, b':') => State::Value,
            (State::Name, b'\r' | b'\n' | b' ' | b'\t') => return None,
            (State::Name, _) => {
                self.name.push(byte);
                State::Name
            }
            (State::Value, b'\r') => self.header()?,
            (State::Value, b'\n') => return None,
            // Blanks before a value are not part of it; those within and behind one make it another value.
            (State::Value, b' ' | b'\t') if self.value.len == 0 => State::Value,
            (State::Value, _) => {
                self.value.push(byte);
                State::Value
            }
            (State::EndLineFeed, b'\n') => self.end_of_head(),
            (State::ChunkSize(digits, size), b'\r') if digits > 0 => State::ChunkSizeLineFeed(size),
            (State::ChunkSize(digits, size), _) => {
                let digit = char::from(byte).to_digit(16).filter(|_| digits < 15)?;
                State::ChunkSize(digits + 1, size << 4 | u64::from(digit))
            }
            (State::ChunkSizeLineFeed(0), b'\n') => State::LastChunkEnd,
            (State::ChunkSizeLineFeed(size), b'\n') => State::Chunk(size),
            (State::ChunkEnd, b'\r') => State::ChunkEndLineFeed,
            (State::ChunkEndLineFeed, b'\n') => State::ChunkSize(0, 0),
            (State::LastChunkEnd, b'\r') => State::LastChunkLineFeed,
            (State::LastChunkLineFeed, b'\n') => State::Start,
            _ => return None,
        };
        Some(next)
    }

    fn preface(&mut self, matched: usize, byte: u8) -> Option<State> {
        if HTTP2_PREFACE.get(matched) == Some(&byte) {
            let whole = matched + 1 == HTTP2_PREFACE.len();
            return Some(if whole { State::Http2 } else { State::Preface(matched + 1) });
        }
        // It is HTTP/1.1 after all: what came so far belongs to its first head.
        self.state = State::Start;
        for &byte in HTTP2_PREFACE.iter().take(matched) {
            self.state = self.step(byte)?;
        }
        self.step(byte)
    }

    /// A header is whole.
    fn header(&mut self) -> Option<State> {
        let value = self.value.get();
        match self.name.get() {
            b"content-length" => {
                let digits = value.trim_ascii_end();
                let plain = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
                if !plain || self.value.is_too_long() || self.length.is_some() || self.chunked {
                    return None;
                }
                self.length = std::str::from_utf8(digits).ok()?.parse().ok();
            }
            b"transfer-encoding" => {
                if value.trim_ascii_end() != b"chunked" || self.length.is_some() || self.chunked {
                    return None;
                }
                self.chunked = true;
            }
            _ => {}
        }
        Some(State::LineFeed)
    }

    fn end_of_head(&self) -> State {
        match self.length {
            _ if self.chunked => State::ChunkSize(0, 0),
            Some(length) if length > 0 => State::Body(length),
            _ => State::Start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of the first refused byte, the same however the bytes are cut.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let whole = Framing::new().accept(bytes).err();
        let mut framing = Framing::new();
        let single = (0..bytes.len()).find(|&at| framing.accept(&bytes[at..=at]).is_err());
        assert_eq!(whole, single, "{}", bytes.escape_ascii());
        whole
    }

    fn phase_after(bytes: &[u8]) -> Phase {
        let mut framing = Framing::new();
        framing.accept(bytes).unwrap();
        framing.phase()
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        let requests: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length:0 \r\nX-Amz-Target: a: b\r\n\r\n",
            b"\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n\r\n\r\nx\r\n0A\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/1.1\r\n\r\n",
            b"PUT / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\n\n\n",
        ];
        for request in requests {
            assert_eq!(refused_at(request), None, "{}", request.escape_ascii());
            assert_eq!(phase_after(request), Phase::Between);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let cases: [&[u8]; 27] = [
            b"GET / HTTP/1.1\n\n",
            b"\nGET / HTTP/1.1\r\n\r\n",
            b"\rGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\n: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            b"P / HTTP/1.1\r\nContent-Length: 9999999999999999999999999999999\r\n\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
            b"P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: a\r\n\r\n",
        ];
        for case in cases {
            assert!(refused_at(case).is_some(), "{}", case.escape_ascii());
        }
    }

    #[test]
    fn nothing_is_accepted_after_what_was_refused() {
        let mut framing = Framing::new();
        assert_eq!(framing.accept(b"GET / HTTP/1.1\n"), Err(14));
        assert_eq!(framing.accept(b"GET / HTTP/1.1\r\n"), Err(0));
    }

    #[test]
    fn the_version_is_known_as_soon_as_it_can_be() {
        let version_after = |bytes: &[u8]| {
            let mut framing = Framing::new();
            let _ = framing.accept(bytes);
            framing.version()
        };
        for matched in 0..HTTP2_PREFACE.len() {
            assert_eq!(version_after(&HTTP2_PREFACE[..matched]), None);
        }
        assert_eq!(version_after(HTTP2_PREFACE), Some(Version::HTTP_2));
        for other in [&b"G"[..], b"PO", b"PRI * HTTP/1", b"\n"] {
            assert_eq!(version_after(other), Some(Version::HTTP_11), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn it_knows_what_a_connection_is_in_the_middle_of() {
        assert_eq!(phase_after(b""), Phase::Between);
        assert_eq!(phase_after(b"P"), Phase::Head);
        assert_eq!(phase_after(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n"), Phase::Head);
        assert_eq!(phase_after(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), Phase::Body);
        assert_eq!(phase_after(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), Phase::Between);
        assert_eq!(phase_after(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"), Phase::Body);
    }
}
