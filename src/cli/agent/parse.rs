//! Lines as JSON: what is in them gets names. Pure.

use regex::Regex;
use serde_json::{Map, Value};

/// How lines are read.
#[derive(Debug)]
pub(super) enum Parser {
    /// Values with a separator between them, quoted as RFC 4180 says.
    Csv { fields: Vec<String>, separator: char },
    /// Named groups. What is among `numbers` is a number where it reads as one, and left out where it is `-`.
    Groups { pattern: Regex, numbers: &'static [&'static str] },
    /// RFC 5424, and where a line is not of that form, RFC 3164.
    Syslog { new: Regex, old: Regex },
}

/// The Common Log Format of the Apache HTTP server, `mod_log_config`: `%h %l %u %t "%r" %>s %b`.
const COMMON: &str = r#"^(?<host>\S+) (?<ident>\S+) (?<authuser>\S+) \[(?<datetime>[^\]]*)\] "(?<request>(?:[^"\\]|\\.)*)" (?<response>\d{3}|-) (?<bytes>\d+|-)"#;
/// What the combined format has after it: `"%{Referer}i" "%{User-agent}i"`.
const COMBINED: &str = r#" "(?<referrer>(?:[^"\\]|\\.)*)" "(?<agent>(?:[^"\\]|\\.)*)""#;
const SYSLOG_NEW: &str = r"^<(?<priority>\d{1,3})>(?<version>\d{1,2}) (?<timestamp>\S+) (?<hostname>\S+) (?<program>\S+) (?<processid>\S+) (?<messageid>\S+) (?<structured>-|(?:\[(?:[^\]\\]|\\.)*\])+)(?: (?<message>(?s:.*)))?$";
/// As a daemon writes it into a file: the priority is mostly left out, and the time may be that of RFC 3339.
const SYSLOG_OLD: &str = r"^(?:<(?<priority>\d{1,3})>)?(?<timestamp>[A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}T\S+) (?<hostname>\S+) (?<program>[^\s:\[]+)(?:\[(?<processid>[^\]]*)\])?: ?(?<message>(?s:.*))$";

impl Parser {
    pub(super) fn csv(fields: Vec<String>, separator: char) -> Parser {
        Parser::Csv { fields, separator }
    }

    /// The groups of an expression of the user's.
    pub(super) fn groups(pattern: Regex) -> Result<Parser, String> {
        if pattern.capture_names().flatten().next().is_none() {
            return Err("the expression has no named group: write (?<name>...)".to_owned());
        }
        Ok(Parser::Groups { pattern, numbers: &[] })
    }

    pub(super) fn common_log() -> Result<Parser, regex::Error> {
        Ok(Parser::Groups { pattern: Regex::new(&format!("{COMMON}$"))?, numbers: &["response", "bytes"] })
    }

    pub(super) fn combined_log() -> Result<Parser, regex::Error> {
        Ok(Parser::Groups { pattern: Regex::new(&format!("{COMMON}{COMBINED}$"))?, numbers: &["response", "bytes"] })
    }

    pub(super) fn syslog() -> Result<Parser, regex::Error> {
        Ok(Parser::Syslog { new: Regex::new(SYSLOG_NEW)?, old: Regex::new(SYSLOG_OLD)? })
    }

    /// A line as JSON; one that is not of the form becomes `{"message": line}`, and `false` says so. Bytes that are no UTF-8
    /// become U+FFFD.
    pub(super) fn to_json(&self, line: &[u8]) -> (Vec<u8>, bool) {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        let parsed = self.parse(text);
        let is_parsed = parsed.is_some();
        let object = parsed.unwrap_or_else(|| Map::from_iter([("message".to_owned(), Value::from(text))]));
        (Value::Object(object).to_string().into_bytes(), is_parsed)
    }

    fn parse(&self, text: &str) -> Option<Map<String, Value>> {
        match self {
            Parser::Csv { fields, separator } => csv(text, fields, *separator),
            Parser::Groups { pattern, numbers } => groups(text, pattern, numbers),
            Parser::Syslog { new, old } => {
                let numbers = &["priority", "version"];
                groups(text, new, numbers).or_else(|| groups(text, old, numbers))
            }
        }
    }
}

fn groups(text: &str, pattern: &Regex, numbers: &[&str]) -> Option<Map<String, Value>> {
    let found = pattern.captures(text)?;
    let mut object = Map::new();
    for name in pattern.capture_names().flatten() {
        let Some(value) = found.name(name) else { continue };
        let value = value.as_str();
        if !numbers.contains(&name) {
            object.insert(name.to_owned(), value.into());
        } else if let Ok(number) = value.parse::<u64>() {
            object.insert(name.to_owned(), number.into());
        }
    }
    Some(object)
}

/// Values beyond the names are called `column_4` and so on; names beyond the values are left out. `None` where a quote has no
/// end, or something comes after it.
fn csv(text: &str, fields: &[String], separator: char) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    let mut rest = Some(text);
    let mut column = 0;
    while let Some(text) = rest {
        let value = match text.strip_prefix('"') {
            None => {
                let (value, after) = match text.split_once(separator) {
                    Some((value, after)) => (value, Some(after)),
                    None => (text, None),
                };
                rest = after;
                value.to_owned()
            }
            Some(quoted) => {
                let (value, after) = unquote(quoted)?;
                rest = match after.strip_prefix(separator) {
                    Some(after) => Some(after),
                    None if after.is_empty() => None,
                    None => return None,
                };
                value
            }
        };
        column += 1;
        let name = fields.get(column - 1).cloned().unwrap_or_else(|| format!("column_{column}"));
        object.insert(name, value.into());
    }
    Some(object)
}

/// What is up to the closing quote, of which two stand for one, and what comes after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        value.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn parsed(parser: &Parser, line: &str) -> Value {
        let (json, is_parsed) = parser.to_json(line.as_bytes());
        assert!(is_parsed, "{line}");
        serde_json::from_slice(&json).unwrap()
    }

    #[track_caller]
    fn refused(parser: &Parser, line: &str) {
        let (json, is_parsed) = parser.to_json(line.as_bytes());
        assert!(!is_parsed, "{line}");
        assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), json!({ "message": line }));
    }

    #[test]
    fn comma_separated_values_get_their_names() {
        let parser = Parser::csv(vec!["a".into(), "b".into()], ',');
        assert_eq!(parsed(&parser, "1,two"), json!({ "a": "1", "b": "two" }));
        assert_eq!(parsed(&parser, "\"x, \"\"y\"\"\",\r"), json!({ "a": "x, \"y\"", "b": "" }));
        assert_eq!(parsed(&parser, "1,2,3"), json!({ "a": "1", "b": "2", "column_3": "3" }));
        assert_eq!(parsed(&parser, "1"), json!({ "a": "1" }));
        refused(&parser, "\"1,2");
        refused(&parser, "\"1\"x,2");
        assert_eq!(parsed(&Parser::csv(vec!["a".into(), "b".into()], '\t'), "1\t2"), json!({ "a": "1", "b": "2" }));
    }

    #[test]
    fn named_groups_become_fields() {
        let parser =
            Parser::groups(Regex::new(r"^(?<level>\w+)(?: \[(?<thread>\w+)\])?: (?<text>.*)").unwrap()).unwrap();
        assert_eq!(parsed(&parser, "INFO [main]: hi"), json!({ "level": "INFO", "thread": "main", "text": "hi" }));
        assert_eq!(parsed(&parser, "INFO: hi"), json!({ "level": "INFO", "text": "hi" }));
        refused(&parser, "nothing of it");
        assert!(Parser::groups(Regex::new("(a)").unwrap()).is_err());
    }

    #[test]
    fn access_logs_are_read() {
        // The examples of the Apache HTTP Server's documentation, "Log Files".
        let common = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#;
        let combined = format!(r#"{common} "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#);
        let mut fields = json!({
            "host": "127.0.0.1", "ident": "-", "authuser": "frank", "datetime": "10/Oct/2000:13:55:36 -0700",
            "request": "GET /apache_pb.gif HTTP/1.0", "response": 200, "bytes": 2326,
        });
        assert_eq!(parsed(&Parser::common_log().unwrap(), common), fields);
        fields["referrer"] = "http://www.example.com/start.html".into();
        fields["agent"] = "Mozilla/4.08 [en] (Win98; I ;Nav)".into();
        assert_eq!(parsed(&Parser::combined_log().unwrap(), &combined), fields);
        refused(&Parser::common_log().unwrap(), &combined);
        let quoted = r#"::1 - - [x] "GET /\" HTTP/1.1" 304 -"#;
        let found = parsed(&Parser::common_log().unwrap(), quoted);
        assert_eq!((&found["request"], found.get("bytes")), (&json!(r#"GET /\" HTTP/1.1"#), None));
    }

    #[test]
    fn syslog_is_read_in_both_forms() {
        let parser = Parser::syslog().unwrap();
        // RFC 3164, 5.4, example 1, and as it lies in a file.
        let old = "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8";
        let message = "'su root' failed for lonvick on /dev/pts/8";
        let fields = json!({
            "priority": 34, "timestamp": "Oct 11 22:14:15", "hostname": "mymachine", "program": "su", "message": message,
        });
        assert_eq!(parsed(&parser, old), fields);
        let found = parsed(&parser, "2026-11-21T12:00:00.123+01:00 host kernel[7]: [    0.000000] Linux");
        assert_eq!((&found["processid"], &found["message"]), (&json!("7"), &json!("[    0.000000] Linux")));
        // RFC 5424, 6.5, example 3.
        let new = "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 \
                   [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"] An application event";
        let found = parsed(&parser, new);
        assert_eq!((&found["version"], &found["messageid"]), (&json!(1), &json!("ID47")));
        assert_eq!((&found["program"], &found["message"]), (&json!("evntslog"), &json!("An application event")));
        refused(&parser, "no syslog at all");
    }

    #[test]
    fn any_bytes_become_json() {
        let parser = Parser::csv(vec![], ',');
        let (json, _) = parser.to_json(b"\xff\x00,\"");
        assert!(serde_json::from_slice::<Value>(&json).is_ok());
    }
}
