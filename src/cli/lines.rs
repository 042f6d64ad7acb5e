//! Lines of a file or pipe, byte for byte, in bounded memory whatever the input is.

use std::io::{self, BufRead, BufReader, Read};

const BUFFER_BYTES: usize = 256 << 10;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: the input is at its end.
    End,
    /// A line, or its last piece.
    Line,
    /// As much of a line as a record can hold, with more to come.
    Piece,
}

/// Cuts input into lines.
pub(crate) struct Lines<R> {
    source: BufReader<R>,
    bytes_max: usize,
    keep_newline: bool,
    number: u64,
    consumed: u64,
    inside: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of `source`; no piece is longer than `bytes_max`. Without `keep_newline` the newline is left out.
    pub(crate) fn new(source: R, bytes_max: usize, keep_newline: bool) -> Lines<R> {
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        Lines { source, bytes_max, keep_newline, number: 0, consumed: 0, inside: false }
    }

    /// Number of the line that was read last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the source up to the end of what was read last.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Whether reading on may wait for whoever writes the other end: what was read before should be on its way by then.
    pub(crate) fn may_wait(&self) -> bool {
        !self.source.buffer().contains(&b'\n')
    }

    /// Appends the next line, or piece of one, to `into`.
    pub(crate) fn next(&mut self, into: &mut Vec<u8>) -> io::Result<Next> {
        let n = (&mut self.source).take(self.bytes_max as u64).read_until(b'\n', into)?;
        if n == 0 {
            return Ok(Next::End);
        }
        self.consumed += n as u64;
        if !self.inside {
            self.number += 1;
        }
        self.inside = false;
        if into.last() == Some(&b'\n') {
            if !self.keep_newline {
                into.pop();
            }
            return Ok(Next::Line);
        }
        if n < self.bytes_max {
            return Ok(Next::Line);
        }
        // Full to the brim: whether that was all of the line shows in the byte after it.
        match self.source.fill_buf()?.first() {
            None => Ok(Next::Line),
            Some(b'\n') if !self.keep_newline => {
                self.source.consume(1);
                self.consumed += 1;
                Ok(Next::Line)
            }
            Some(_) => {
                self.inside = true;
                Ok(Next::Piece)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(input: &[u8], bytes_max: usize, keep_newline: bool) -> Vec<(Vec<u8>, Next, u64)> {
        let mut lines = Lines::new(input, bytes_max, keep_newline);
        let mut found = Vec::new();
        loop {
            let mut line = Vec::new();
            match lines.next(&mut line).unwrap() {
                Next::End => return found,
                next => found.push((line, next, lines.number())),
            }
        }
    }

    #[test]
    fn lines_come_byte_for_byte() {
        let found = cut(b"a\n\n\xff\0b\r\nlast", 100, false);
        let data: Vec<&[u8]> = found.iter().map(|(line, ..)| line.as_slice()).collect();
        assert_eq!(data, [&b"a"[..], b"", b"\xff\0b\r", b"last"]);
        assert_eq!(found.last().map(|(_, _, number)| *number), Some(4));
        assert!(cut(b"", 100, false).is_empty());
        assert_eq!(cut(b"\n", 100, true), [(b"\n".to_vec(), Next::Line, 1)]);
    }

    #[test]
    fn a_line_as_long_as_allowed_is_whole_and_one_byte_more_is_not() {
        let exact = (b"1234".to_vec(), Next::Line, 1);
        assert_eq!(cut(b"1234\nx", 4, false)[0], exact);
        assert_eq!(cut(b"1234", 4, false)[0], exact);
        let found = cut(b"12345\nx", 4, false);
        assert_eq!(found[0], (b"1234".to_vec(), Next::Piece, 1));
        assert_eq!(found[1], (b"5".to_vec(), Next::Line, 1));
        assert_eq!(found[2], (b"x".to_vec(), Next::Line, 2));
    }

    #[test]
    fn pieces_put_together_are_the_input() {
        let input = b"ab\n\nabcdefgh\nabcdefg\nabcd\n\n\nxyz";
        for bytes_max in 1..10 {
            let mut lines = Lines::new(&input[..], bytes_max, false);
            while lines.next(&mut Vec::new()).unwrap() != Next::End {}
            assert_eq!(lines.consumed(), input.len() as u64, "at most {bytes_max}");
            let whole: Vec<u8> = cut(input, bytes_max, true).into_iter().flat_map(|(line, ..)| line).collect();
            assert_eq!(whole, input, "at most {bytes_max}");
        }
    }
}
