//! A record as text: by a format string, raw, or as JSON.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::time;
use super::{Context, Failure};
use crate::RecordRef;
use crate::stream::{Record, SequenceNumber, ShardId, UserRecord};

/// What people see if they ask for nothing else.
const DEFAULT: &str = "{sequence}\\t{time}\\t{key}\\t{data}\\n";
/// The same of a stream.
const STREAM_DEFAULT: &str = "{shard}\\t{sequence}\\t{time}\\t{key}\\t{data}\\n";

/// A record's place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Log(u64),
    Shard(ShardId, SequenceNumber),
    /// A user record of it.
    User(ShardId, SequenceNumber, u64),
}

impl Place {
    fn shard(self) -> Option<ShardId> {
        match self {
            Place::Log(_) => None,
            Place::Shard(shard, _) | Place::User(shard, ..) => Some(shard),
        }
    }
}

/// A record of a log or of a stream, as it is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printed<'a> {
    place: Place,
    arrival_ms: u64,
    key: Option<&'a [u8]>,
    attributes: Option<&'a [u8]>,
    data: &'a [u8],
}

impl<'a> From<&RecordRef<'a>> for Printed<'a> {
    fn from(record: &RecordRef<'a>) -> Self {
        let RecordRef { sequence_number, arrival_ms, key, attributes, data } = *record;
        Printed { place: Place::Log(sequence_number), arrival_ms, key, attributes, data }
    }
}

impl<'a> From<&'a (ShardId, Record)> for Printed<'a> {
    fn from((shard, record): &'a (ShardId, Record)) -> Self {
        Printed {
            place: Place::Shard(*shard, record.sequence_number),
            arrival_ms: record.arrival_ms,
            key: record.partition_key().map(str::as_bytes),
            attributes: None,
            data: &record.data,
        }
    }
}

impl<'a> From<&'a (ShardId, UserRecord)> for Printed<'a> {
    fn from((shard, record): &'a (ShardId, UserRecord)) -> Self {
        Printed {
            place: Place::User(*shard, record.sequence_number, record.sub_sequence_number),
            arrival_ms: record.arrival_ms,
            key: record.partition_key().map(str::as_bytes),
            attributes: None,
            data: &record.data,
        }
    }
}

/// How records are printed.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Text for each record, with {sequence} {time} {key} {data} {attributes} {len} and the escapes \n \t \\ \{ in it
    ///
    /// The text stands for itself: without a \n at its end, records follow each other without one. The default is
    /// "{sequence}\t{time}\t{key}\t{data}\n". Records of a stream have {shard}, too, and by default it comes first; with
    /// --deaggregate, {sub} is the place of a user record in its record.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(crate) format: Option<String>,
    /// Data alone, byte for byte, each followed by a newline
    #[arg(long)]
    pub(crate) raw: bool,
    /// With --raw: no newline after a record, for records that have their own
    #[arg(long, requires = "raw")]
    pub(crate) no_newline: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Shard,
    Sub,
    Sequence,
    Time,
    Key,
    Data,
    Attributes,
    Len,
}

/// Prints records one way.
#[derive(Debug)]
pub(crate) struct Render {
    form: Form,
    /// Control characters are shown as escapes, because a terminal would obey them.
    escape: bool,
}

#[derive(Debug)]
enum Form {
    Json,
    Raw { newline: bool },
    Pieces(Vec<Piece>),
}

impl Render {
    pub(crate) fn new(args: &OutputArgs, context: &Context) -> Result<Render, Failure> {
        Render::with_default(args, context, DEFAULT)
    }

    /// For the records of a stream.
    pub(crate) fn of_stream(args: &OutputArgs, context: &Context) -> Result<Render, Failure> {
        Render::with_default(args, context, STREAM_DEFAULT)
    }

    fn with_default(args: &OutputArgs, context: &Context, default: &str) -> Result<Render, Failure> {
        let form = if context.json {
            Form::Json
        } else if args.raw {
            Form::Raw { newline: !args.no_newline }
        } else {
            Form::Pieces(parse(args.format.as_deref().unwrap_or(default)).map_err(Failure::Usage)?)
        };
        let escape = context.terminal && !args.raw;
        Ok(Render { form, escape })
    }

    pub(crate) fn write<'a>(&self, record: impl Into<Printed<'a>>, out: &mut impl Write) -> io::Result<()> {
        let record: Printed<'a> = record.into();
        match &self.form {
            Form::Json => writeln!(out, "{}", to_json(&record)),
            Form::Raw { newline } => {
                out.write_all(record.data)?;
                if *newline { out.write_all(b"\n") } else { Ok(()) }
            }
            Form::Pieces(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.write_all(text)?,
                        Piece::Shard => {
                            if let Some(shard) = record.place.shard() {
                                write!(out, "{shard}")?;
                            }
                        }
                        Piece::Sub => {
                            if let Place::User(_, _, sub) = record.place {
                                write!(out, "{sub}")?;
                            }
                        }
                        Piece::Sequence => match record.place {
                            Place::Log(number) => write!(out, "{number}")?,
                            Place::Shard(_, number) | Place::User(_, number, _) => write!(out, "{number}")?,
                        },
                        Piece::Time => out.write_all(time::format(record.arrival_ms).as_bytes())?,
                        Piece::Key => self.bytes(record.key.unwrap_or_default(), out)?,
                        Piece::Data => self.bytes(record.data, out)?,
                        Piece::Attributes => self.bytes(record.attributes.unwrap_or_default(), out)?,
                        Piece::Len => write!(out, "{}", record.data.len())?,
                    }
                }
                Ok(())
            }
        }
    }

    fn bytes(&self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        if !self.escape {
            return out.write_all(bytes);
        }
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() && c != '\t' {
                    write!(out, "{}", c.escape_default())?;
                } else {
                    write!(out, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn parse(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let escaped = rest.chars().next().ok_or("the format ends in a lone \\")?;
                rest = &rest[escaped.len_utf8()..];
                text.push(match escaped {
                    'n' => b'\n',
                    't' => b'\t',
                    'r' => b'\r',
                    '0' => 0,
                    '\\' | '{' | '}' => escaped as u8,
                    other => return Err(format!("\\{other} is no escape: use \\n \\t \\r \\0 \\\\ \\{{ \\}}")),
                });
            }
            '{' => {
                let (name, after) = rest.split_once('}').ok_or("the format has a { without its }")?;
                let piece = match name {
                    "shard" => Piece::Shard,
                    "sub" => Piece::Sub,
                    "sequence" => Piece::Sequence,
                    "time" => Piece::Time,
                    "key" => Piece::Key,
                    "data" => Piece::Data,
                    "attributes" => Piece::Attributes,
                    "len" => Piece::Len,
                    other => {
                        let known = "{shard} {sequence} {sub} {time} {key} {data} {attributes} {len}";
                        return Err(format!("{{{other}}} is unknown: use {known}"));
                    }
                };
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(piece);
                rest = after;
            }
            c => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// A record as JSON. Bytes that are UTF-8 are a string; others are in base64 under a name that says so.
fn to_json(record: &Printed<'_>) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), base64(bytes).into()),
    };
    put("data", record.data);
    if let Some(key) = record.key {
        put("key", key);
    }
    if let Some(attributes) = record.attributes {
        put("attributes", attributes);
    }
    match record.place {
        Place::Log(number) => object.insert("sequence".to_owned(), number.into()),
        // More digits than a number of JSON is good for.
        Place::Shard(shard, number) | Place::User(shard, number, _) => {
            object.insert("shard".to_owned(), shard.to_string().into());
            object.insert("sequence".to_owned(), number.to_string().into())
        }
    };
    if let Place::User(_, _, sub) = record.place {
        object.insert("sub_sequence".to_owned(), sub.into());
    }
    object.insert("arrival_ms".to_owned(), record.arrival_ms.into());
    object.insert("time".to_owned(), time::format(record.arrival_ms).into());
    Value::Object(object)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse() {
        let text = |text: &str| Piece::Text(text.as_bytes().to_vec());
        assert_eq!(parse("{sequence}\\t{data}!"), Ok(vec![Piece::Sequence, text("\t"), Piece::Data, text("!")]));
        assert_eq!(parse("\\{é\\\\"), Ok(vec![text("{é\\")]));
        assert_eq!(parse(""), Ok(vec![]));
        for wrong in ["{", "{date}", "\\x", "\\", "{}"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn base64_as_in_the_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let render = Render { form: Form::Pieces(vec![Piece::Data]), escape: true };
        let record =
            RecordRef { sequence_number: 0, arrival_ms: 0, key: None, attributes: None, data: b"\x1b[2Ja\tb\xffz" };
        let mut out = Vec::new();
        render.write(&record, &mut out).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), "\\u{1b}[2Ja\tb\\xffz");
    }
}
