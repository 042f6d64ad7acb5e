//! `braidlog stream`: makes, shows, changes and deletes streams.

use std::io::Write;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{map, parse_shard};
use crate::Error;
use crate::cli::table::Table;
use crate::cli::{Context, Failure, time, units};
use crate::stream::{Distribution, HashKey, Shard, ShardId, Stream, StreamMode, StreamOptions};

/// Arguments of `braidlog stream`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a stream, and the store if there is none
    Create(Create),
    /// List the streams
    List,
    /// Tell about a stream, with a drawing of its shards and what came of them
    Describe {
        /// The stream
        name: String,
    },
    /// Split an open shard in two; the parent stays readable
    Split {
        /// The stream
        name: String,
        /// The shard: 3, or shardId-000000000003
        #[arg(value_parser = parse_shard)]
        shard: ShardId,
        /// First hash key of the upper half [default: the middle]
        #[arg(long, value_name = "HASH-KEY")]
        at: Option<HashKey>,
    },
    /// Merge two open shards whose ranges touch
    Merge {
        /// The stream
        name: String,
        /// A shard
        #[arg(value_parser = parse_shard)]
        shard: ShardId,
        /// Its neighbour
        #[arg(value_parser = parse_shard)]
        adjacent: ShardId,
    },
    /// Bring a stream to so many open shards of equal ranges, by splits and merges
    Scale {
        /// The stream
        name: String,
        /// How many
        shards: u32,
    },
    /// Delete a stream with all its records
    Delete {
        /// The stream
        name: String,
        /// Also with registered consumers
        #[arg(long)]
        enforce_consumer_deletion: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Its name
    name: String,
    /// Shards to begin with [default: 1; on-demand: 4]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Who sets the number of shards
    #[arg(long, value_enum, default_value = "provisioned")]
    mode: ModeName,
    /// Which shard a record goes to
    #[arg(long, value_enum, default_value = "by-key")]
    distribution: DistributionName,
    /// How long records stay: whole hours, 24h to 365d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_hours)]
    retention: u32,
    /// Largest record, data and partition key together: whole KiB, 1MiB to 10MiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_kib)]
    max_record: u32,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// You do: split, merge, scale
    Provisioned,
    /// The engine does, while a program has it open, from the traffic it sees
    OnDemand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DistributionName {
    /// The one that owns the partition key's hash
    ByKey,
    /// Any: keys may be absent and order nothing; of on-demand streams
    Auto,
}

fn parse_hours(text: &str) -> Result<u32, String> {
    let duration = units::parse_duration(text)?;
    let hours = u32::try_from(duration.as_secs() / 3600).map_err(|_| "that is too long".to_owned())?;
    let whole = Duration::from_secs(u64::from(hours) * 3600) == duration;
    if whole { Ok(hours) } else { Err("it must be whole hours".to_owned()) }
}

fn parse_kib(text: &str) -> Result<u32, String> {
    let bytes = units::parse_bytes(text)?;
    let kib = u32::try_from(bytes / 1024).map_err(|_| "that is too large".to_owned())?;
    if bytes.is_multiple_of(1024) { Ok(kib) } else { Err("it must be whole KiB".to_owned()) }
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    match args.what {
        What::Create(args) => create(context, args),
        What::List => list(context),
        What::Describe { name } => describe(context, &name),
        What::Split { name, shard, at } => reshard(context, &name, |stream| split(stream, shard, at)),
        What::Merge { name, shard, adjacent } => {
            reshard(context, &name, |stream| Ok(stream.merge_shards(shard, adjacent)?))
        }
        What::Scale { name, shards } => reshard(context, &name, |stream| Ok(stream.scale_to(shards)?)),
        What::Delete { name, enforce_consumer_deletion } => delete(context, &name, enforce_consumer_deletion),
    }
}

fn create(context: &mut Context, args: Create) -> Result<(), Failure> {
    let mut options = StreamOptions::new().retention_hours(args.retention).max_record_kib(args.max_record);
    options.shards = args.shards;
    options.mode = mode(args.mode);
    options.distribution = match args.distribution {
        DistributionName::ByKey => Distribution::ByKey,
        DistributionName::Auto => Distribution::Auto,
    };
    options.tags = args.tags;
    let engine = super::own(context, true)?;
    let stream = engine.create_stream(&args.name, options)?;
    let (json, shards) = (to_json(&stream)?, stream.open_shards().len() as u64);
    drop(stream);
    context.closed(engine.close())?;
    context.answer(json, &format!("made stream {:?} with {}", args.name, units::counted(shards, "shard")))
}

fn mode(name: ModeName) -> StreamMode {
    match name {
        ModeName::Provisioned => StreamMode::Provisioned,
        ModeName::OnDemand => StreamMode::OnDemand,
    }
}

fn mode_word(mode: StreamMode) -> &'static str {
    match mode {
        StreamMode::Provisioned => "provisioned",
        StreamMode::OnDemand => "on-demand",
    }
}

fn retention(hours: u32) -> String {
    units::option(Duration::from_secs(u64::from(hours) * 3600))
}

fn list(context: &mut Context) -> Result<(), Failure> {
    let engine = super::look(context)?;
    let names = engine.as_ref().map(|engine| engine.page_of_streams(None, usize::MAX).stream_names).unwrap_or_default();
    let mut table =
        Table::new(&["STREAM", "RECORDS>", "OPEN>", "SHARDS>", "MODE", "RETENTION", "CONSUMERS>", "CREATED"]);
    for name in &names {
        let Some(engine) = &engine else { break };
        let stream = engine.stream(name)?;
        if context.json {
            writeln!(context.out, "{}", to_json(&stream)?)?;
            continue;
        }
        let about = stream.describe();
        table.row([
            name.clone(),
            units::count(super::record_count(&stream)?),
            about.open_shard_count.to_string(),
            stream.shards().len().to_string(),
            mode_word(about.mode).to_owned(),
            retention(about.retention_hours),
            about.consumer_count.to_string(),
            time::format(about.created_ms),
        ]);
    }
    if names.is_empty() {
        return context.say("the store has no streams");
    }
    if !context.json {
        table.write(&mut context.out)?;
    }
    Ok(())
}

fn describe(context: &mut Context, name: &str) -> Result<(), Failure> {
    let stream = super::look_at(context, name)?;
    if context.json {
        writeln!(context.out, "{}", to_json(&stream)?)?;
        return Ok(());
    }
    let about = stream.describe();
    let mut table = Table::fields();
    table.row(["stream", name]);
    table.row(["arn", about.stream_arn.as_str()]);
    table.row(["status", about.stream_status.name()]);
    table.row(["created".to_owned(), time::format(about.created_ms)]);
    table.row(["mode", mode_word(about.mode)]);
    if about.distribution == Distribution::Auto {
        table.row(["distribution", "automatic: keys order nothing"]);
    }
    table.row(["records".to_owned(), units::count(super::record_count(&stream)?)]);
    table.row(["retention".to_owned(), retention(about.retention_hours)]);
    table.row(["largest record".to_owned(), units::bytes(u64::from(about.max_record_kib) * 1024)]);
    if let Some(mib) = about.warm_throughput_mib {
        table.row(["warm throughput".to_owned(), format!("{mib} MiB/s")]);
    }
    table.row(["consumers".to_owned(), about.consumer_count.to_string()]);
    let tags: Vec<String> = stream.tags().iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !tags.is_empty() {
        table.row(["tags".to_owned(), tags.join(", ")]);
    }
    let shards = stream.shards();
    table.row(["shards".to_owned(), format!("{}, {} open", shards.len(), about.open_shard_count)]);
    table.write(&mut context.out)?;
    writeln!(context.out)?;
    for line in map::draw(&shards) {
        writeln!(context.out, "{line}")?;
    }
    Ok(())
}

fn split(stream: &Stream, shard: ShardId, at: Option<HashKey>) -> Result<(), Failure> {
    let middle = || {
        let range = stream.shard(shard)?.range();
        Ok::<_, Error>(HashKey(range.start.0 + range.width() / 2 + u128::from(range.width() > 0)))
    };
    let at = match at {
        Some(at) => at,
        None => middle()?,
    };
    Ok(stream.split_shard(shard, at)?)
}

fn reshard(
    context: &mut Context,
    name: &str,
    change: impl FnOnce(&Stream) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let engine = super::own(context, false)?;
    let stream = engine.stream(name)?;
    let outcome = change(&stream);
    let (json, open) = (to_json(&stream)?, stream.open_shards());
    drop(stream);
    let closed = engine.close();
    outcome?;
    context.closed(closed)?;
    let ids: Vec<String> = open.iter().map(|shard| shard.shard_id.index().to_string()).collect();
    let shards = units::counted(open.len() as u64, "open shard");
    let which = if ids.len() <= 16 { format!(": {}", ids.join(", ")) } else { String::new() };
    context.answer(json, &format!("stream {name:?} has {shards}{which}"))
}

fn delete(context: &mut Context, name: &str, enforce_consumer_deletion: bool) -> Result<(), Failure> {
    let engine = super::own(context, false)?;
    let records = super::record_count(&engine.stream(name)?)?;
    engine.delete_stream(name, enforce_consumer_deletion)?;
    context.closed(engine.close())?;
    let line = format!("deleted stream {name:?} with {}", units::counted(records, "record"));
    context.answer(json!({ "deleted": name, "records": records }), &line)
}

fn shard_json(shard: &Shard) -> Value {
    json!({
        "shard": shard.shard_id.to_string(),
        "parent": shard.parent_shard_id.map(|id| id.to_string()),
        "adjacent_parent": shard.adjacent_parent_shard_id.map(|id| id.to_string()),
        "starting_hash_key": shard.hash_key_range.start.to_string(),
        "ending_hash_key": shard.hash_key_range.end.to_string(),
        "starting_sequence_number": shard.starting_sequence_number.to_string(),
        "ending_sequence_number": shard.ending_sequence_number.map(|number| number.to_string()),
        "opened_ms": shard.opened_ms,
        "closed_ms": shard.closed_ms,
    })
}

fn to_json(stream: &Stream) -> Result<Value, Error> {
    let about = stream.describe();
    let tags: Map<String, Value> = stream.tags().into_iter().map(|(key, value)| (key, value.into())).collect();
    Ok(json!({
        "stream": about.stream_name,
        "arn": about.stream_arn,
        "status": about.stream_status.name(),
        "created_ms": about.created_ms,
        "mode": mode_word(about.mode),
        "distribution": if about.distribution == Distribution::Auto { "auto" } else { "by-key" },
        "retention_hours": about.retention_hours,
        "max_record_kib": about.max_record_kib,
        "records": super::record_count(stream)?,
        "open_shards": about.open_shard_count,
        "consumers": about.consumer_count,
        "tags": tags,
        "shards": stream.shards().iter().map(shard_json).collect::<Vec<_>>(),
    }))
}
