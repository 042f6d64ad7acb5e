//! Streams that are made at the start, from a file.

use serde::Deserialize;

use crate::Engine;
use crate::error::{Error, Result};
use crate::stream::{Stream, StreamMode, StreamOptions};

/// What is to be there when a server starts. What is there already stays as it is.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Engine, server::Resources};
/// let engine = Engine::open(dir.path())?;
/// let resources = Resources::parse(r#"
///     [[streams]]
///     name = "clicks"
///     shards = 4                      # default: one, of an on-demand stream four
///     mode = "provisioned"            # or "on-demand"
///     retention_hours = 48
///     consumers = ["dashboard"]
/// "#)?;
/// assert_eq!(resources.make(&engine)?, 2);
/// assert_eq!(resources.make(&engine)?, 0);
/// # engine.close()
/// # }
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    #[serde(default)]
    streams: Vec<StreamResource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamResource {
    name: String,
    shards: Option<u32>,
    #[serde(default)]
    mode: Mode,
    retention_hours: Option<u32>,
    #[serde(default)]
    consumers: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    #[serde(alias = "PROVISIONED")]
    Provisioned,
    #[serde(alias = "ON_DEMAND")]
    OnDemand,
}

impl Resources {
    /// From TOML text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] that says where and what.
    pub fn parse(text: &str) -> Result<Resources> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            Error::invalid("resources file", format!("line {line}"), error.message())
        })
    }

    /// Makes what is not there, durably and active, and says how many streams and consumers that were.
    ///
    /// # Errors
    /// As [`Engine::create_stream`] and [`Stream::register_consumer`].
    pub fn make(&self, engine: &Engine) -> Result<usize> {
        let mut made = 0;
        for wanted in &self.streams {
            let stream = match engine.stream(&wanted.name) {
                Err(Error::ResourceNotFound { .. }) => {
                    made += 1;
                    wanted.create(engine)?
                }
                there => there?,
            };
            for consumer in &wanted.consumers {
                if let Err(Error::ResourceNotFound { .. }) = stream.consumer(consumer) {
                    stream.register_active_consumer(consumer)?;
                    made += 1;
                }
            }
        }
        Ok(made)
    }
}

impl StreamResource {
    fn create(&self, engine: &Engine) -> Result<Stream> {
        let mut options = StreamOptions::new();
        if let Mode::OnDemand = self.mode {
            options = options.mode(StreamMode::OnDemand);
        }
        if let Some(shards) = self.shards {
            options = options.shards(shards);
        }
        if let Some(hours) = self.retention_hours {
            options = options.retention_hours(hours);
        }
        engine.create_active_stream(&self.name, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, word) in [
            ("[[streams]]\nname = \"a\"\nshard = 3\n", "line 3", "shard"),
            ("[[streams]]\nshards = 3\n", "line 1", "name"),
            ("\n\n[[streams]]\nname = \"a\"\nmode = \"hourly\"\n", "line 5", "hourly"),
            ("[[queues]]\n", "line 1", "queues"),
        ] {
            let error = Resources::parse(text).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains(word), "{error}");
        }
    }
}
