//! `braidlog consumers`: who reads a stream: registered consumers, and how far consumer groups are in each shard.

use std::io::Write;

use serde_json::json;

use crate::cli::table::Table;
use crate::cli::{Context, Failure, time};
use crate::stream::{GroupOptions, Stream};

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
                let names = engine.page_of_streams(None, usize::MAX).stream_names;
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
    let mut groups = Table::new(&["STREAM", "GROUP", "SHARD", "STATE", "CHECKPOINT", "BEHIND>"]);
    let mut shards = 0;
    for stream in &streams {
        for name in stream.consumer_groups() {
            for shard in stream.consumer_group(&name, GroupOptions::new())?.progress()? {
                shards += 1;
                let checkpoint = shard.checkpoint.map(|number| number.to_string());
                let state = if shard.finished { "finished" } else { "open" };
                if context.json {
                    let line = json!({
                        "stream": stream.name(),
                        "group": name,
                        "shard": shard.shard_id.to_string(),
                        "finished": shard.finished,
                        "checkpoint": checkpoint,
                        "sub_sequence": shard.sub_sequence_number,
                        "records_behind": shard.records_behind,
                    });
                    writeln!(context.out, "{line}")?;
                } else {
                    let (shard_id, behind) = (shard.shard_id.to_string(), shard.records_behind.to_string());
                    let checkpoint = checkpoint.unwrap_or_else(|| "-".to_owned());
                    groups.row([stream.name(), &name, &shard_id, state, &checkpoint, &behind]);
                }
            }
        }
    }
    if count + shards == 0 {
        return context.say("there are no registered consumers and no consumer groups");
    }
    if context.json {
        return Ok(());
    }
    if count > 0 {
        table.write(&mut context.out)?;
    }
    if count > 0 && shards > 0 {
        writeln!(context.out)?;
    }
    if shards > 0 {
        groups.write(&mut context.out)?;
    }
    Ok(())
}
