//! `braidlog consumers`: who is registered to read a stream.

use std::io::Write;

use serde_json::json;

use crate::cli::table::Table;
use crate::cli::{Context, Failure, time};
use crate::stream::Stream;

/// Arguments of `braidlog consumers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The stream; without one, all
    stream: Option<String>,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let streams: Vec<Stream> = match &args.stream {
        Some(name) => vec![super::look_at(context, name)?],
        None => match super::look(context)? {
            Some(engine) => {
                let names = engine.list_streams(None, usize::MAX).stream_names;
                names.iter().map(|name| engine.stream(name)).collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        },
    };
    let mut table = Table::new(&["STREAM", "CONSUMER", "REGISTERED", "ARN"]);
    let mut count = 0;
    for stream in &streams {
        for consumer in stream.consumers() {
            count += 1;
            if context.json {
                let tags: serde_json::Map<String, serde_json::Value> =
                    consumer.tags.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
                let line = json!({
                    "stream": stream.name(),
                    "consumer": consumer.consumer_name,
                    "arn": consumer.consumer_arn,
                    "created_ms": consumer.created_ms,
                    "tags": tags,
                });
                writeln!(context.out, "{line}")?;
            } else {
                let created = time::format(consumer.created_ms);
                table.row([stream.name().to_owned(), consumer.consumer_name, created, consumer.consumer_arn]);
            }
        }
    }
    if count == 0 {
        return context.say("there are no registered consumers");
    }
    if !context.json {
        table.write(&mut context.out)?;
    }
    Ok(())
}
