//! The bounds that a service model sets, and the message that says which were broken.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;

use regex::Regex;

use super::error::ApiError;

/// What the model says of a shape's size or value: least and most.
pub struct Bounds(pub i64, pub i64);

/// What the model says of a text.
pub struct Text {
    chars: (usize, usize),
    pattern: Option<(&'static str, OnceLock<Option<Regex>>)>,
    values: &'static [&'static str],
}

impl Text {
    /// Of so many characters.
    pub const fn of(least: usize, most: usize) -> Text {
        Text { chars: (least, most), pattern: None, values: &[] }
    }

    /// One of these.
    pub const fn one_of(values: &'static [&'static str]) -> Text {
        Text { chars: (0, usize::MAX), pattern: None, values }
    }

    /// Of so many characters, and the whole of it matches the expression.
    pub const fn like(least: usize, most: usize, pattern: &'static str) -> Text {
        Text { chars: (least, most), pattern: Some((pattern, OnceLock::new())), values: &[] }
    }
}

/// Something a caller sends, whose members the model bounds.
pub trait Shape {
    /// Notes every bound that is broken.
    fn check(&self, report: &mut Report);

    /// What it is about: the first of its members that names something.
    fn resource(&self) -> Option<&str> {
        None
    }
}

enum Step {
    Member(&'static str),
    /// Place in a list, from 1.
    Item(usize),
}

/// The broken bounds of one request.
#[derive(Default)]
pub struct Report {
    path: Vec<Step>,
    broken: Vec<String>,
}

/// As many as the service names in one message.
const BROKEN_MAX: usize = 10;

impl Report {
    /// Checks what a caller sent.
    ///
    /// # Errors
    /// A `ValidationException` that names every bound that is broken, in the service's words.
    pub fn on(shape: &impl Shape) -> Result<(), ApiError> {
        let mut report = Report::default();
        shape.check(&mut report);
        let count = report.broken.len();
        if count == 0 {
            return Ok(());
        }
        let errors = if count == 1 { "error" } else { "errors" };
        let message = format!("{count} validation {errors} detected: {}", report.broken.join("; "));
        Err(ApiError::new(400, "ValidationException", message))
    }

    fn add(&mut self, member: &'static str, value: Option<&str>, constraint: std::fmt::Arguments<'_>) {
        if self.broken.len() == BROKEN_MAX {
            return;
        }
        let mut at = String::new();
        for step in self.path.iter().chain([&Step::Member(member)]) {
            match step {
                Step::Member("") => {}
                Step::Member(name) if at.is_empty() => at.push_str(name),
                Step::Member(name) => {
                    let _ = write!(at, ".{name}");
                }
                Step::Item(place) => {
                    let _ = write!(at, ".{place}.member");
                }
            }
        }
        let value = match value {
            Some(value) => format!("'{}'", value.chars().take(256).collect::<String>()),
            None => "null".to_owned(),
        };
        self.broken.push(format!("Value {value} at '{at}' failed to satisfy constraint: Member must {constraint}"));
    }

    /// The member has to be there.
    pub fn required(&mut self, member: &'static str, is_there: bool) {
        if !is_there {
            self.add(member, None, format_args!("not be null"));
        }
    }

    /// A text.
    pub fn text(&mut self, member: &'static str, value: Option<&str>, rule: &Text) {
        let Some(value) = value else { return };
        let (least, most) = rule.chars;
        // Bytes are never fewer than characters.
        if value.len() < least || (value.len() > most && value.chars().count() > most) {
            self.out_of_bounds(member, value, "length", value.chars().count() < least, (least as i64, most as i64));
        }
        if !rule.values.is_empty() && !rule.values.contains(&value) {
            self.add(member, Some(value), format_args!("satisfy enum value set: [{}]", rule.values.join(", ")));
        }
        if let Some((pattern, compiled)) = &rule.pattern {
            // The whole text has to match, whether or not the expression says so.
            let compiled = compiled.get_or_init(|| Regex::new(&format!("^(?:{pattern})$")).ok());
            if compiled.as_ref().is_some_and(|regex| !regex.is_match(value)) {
                self.add(member, Some(value), format_args!("satisfy regular expression pattern: {pattern}"));
            }
        }
    }

    /// A number.
    pub fn number(&mut self, member: &'static str, value: Option<i64>, &Bounds(least, most): &Bounds) {
        let Some(value) = value else { return };
        if value < least || value > most {
            self.out_of_bounds(member, &value.to_string(), "value", value < least, (least, most));
        }
    }

    /// The number of bytes, elements or entries.
    pub fn length(&mut self, member: &'static str, length: Option<usize>, &Bounds(least, most): &Bounds) {
        let Some(length) = length.map(|length| length as i64) else { return };
        if length < least || length > most {
            self.out_of_bounds(member, &format!("[{length}]"), "length", length < least, (least, most));
        }
    }

    fn out_of_bounds(&mut self, member: &'static str, value: &str, what: &str, below: bool, bounds: (i64, i64)) {
        let (relation, bound) = if below { ("greater", bounds.0) } else { ("less", bounds.1) };
        self.add(member, Some(value), format_args!("have {what} {relation} than or equal to {bound}"));
    }

    /// What is in a structure.
    pub fn shape(&mut self, member: &'static str, value: Option<&impl Shape>) {
        let Some(value) = value else { return };
        self.path.push(Step::Member(member));
        value.check(self);
        self.path.pop();
    }

    /// What is in each structure of a list.
    pub fn shapes(&mut self, member: &'static str, values: Option<&[impl Shape]>) {
        self.each(member, values, |report, value| value.check(report));
    }

    /// Each text of a list.
    pub fn texts(&mut self, member: &'static str, values: Option<&[String]>, rule: &Text) {
        self.each(member, values, |report, value| report.text("", Some(value), rule));
    }

    fn each<T>(&mut self, member: &'static str, values: Option<&[T]>, check: impl Fn(&mut Report, &T)) {
        self.path.push(Step::Member(member));
        for (value, place) in values.unwrap_or_default().iter().zip(1..) {
            self.path.push(Step::Item(place));
            check(self, value);
            self.path.pop();
        }
        self.path.pop();
    }

    /// Each key and value of a map.
    pub fn entries(&mut self, member: &'static str, map: Option<&BTreeMap<String, String>>, key: &Text, value: &Text) {
        for (name, entry) in map.into_iter().flatten() {
            self.text(member, Some(name), key);
            self.text(member, Some(entry), value);
        }
    }
}
