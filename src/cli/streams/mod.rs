//! Streams: `braidlog stream`, `braidlog consumers`, and what `put`, `cat` and `agent` need of them.

mod command;
mod consumers;
mod map;
mod merge;

pub(crate) use command::{Args, run};
pub(crate) use consumers::{Args as ConsumersArgs, run as run_consumers};
pub(crate) use merge::{Merge, Start};

use super::{Context, Failure};
use crate::stream::{ShardId, Stream, StreamOptions};
use crate::{Engine, EngineOptions, Error};

/// Opens the store with its streams, as its owner; where `create` is not set, only one that exists.
pub(crate) fn own(context: &Context, create: bool) -> Result<Engine, Failure> {
    let store = if create { context.own_or_create()? } else { context.own()? };
    Ok(Engine::on(store, EngineOptions::new())?)
}

/// Opens the streams of the store to look at them; `None` where it never had any.
pub(crate) fn look(context: &Context) -> Result<Option<Engine>, Failure> {
    let store = context.inspect().map_err(|failure| match failure {
        Failure::Engine(Error::Locked { .. }) => failure
            .at("a stream can be looked at while nobody has the store open; \
             to see records as they become durable, use `put --stream NAME --tail`, or `braidlog tail NAME` beside a server"),
        other => other,
    })?;
    Ok(Engine::existing(&store, EngineOptions::new())?)
}

/// The stream of this name, to look at.
pub(crate) fn look_at(context: &Context, name: &str) -> Result<Stream, Failure> {
    match look(context)? {
        Some(engine) => Ok(engine.stream(name)?),
        None => Err(Error::ResourceNotFound { what: format!("stream {name}") }.into()),
    }
}

/// The stream of this name; made with one shard if there is none and that is wanted.
pub(crate) fn open_or_create(engine: &Engine, name: &str, create: bool) -> Result<Stream, Failure> {
    match engine.stream(name) {
        Err(Error::ResourceNotFound { .. }) if create => Ok(engine.create_stream(name, StreamOptions::new())?),
        other => Ok(other?),
    }
}

/// For clap: `shardId-000000000003`, or its index alone.
pub(crate) fn parse_shard(text: &str) -> Result<ShardId, String> {
    match text.parse::<u32>() {
        Ok(index) => Ok(ShardId(index)),
        Err(_) => text.parse().map_err(|_| format!("{text:?} is no shard: use 3 or shardId-000000000003")),
    }
}

/// Records of a stream that can be read.
pub(crate) fn record_count(stream: &Stream) -> Result<u64, Error> {
    let count = |shard: &crate::stream::Shard| {
        let shard = stream.shard(shard.shard_id)?;
        let log = shard.log(&stream.shared.store)?;
        Ok(log.end() - log.horizon()?.min(log.end()))
    };
    stream.shards().iter().map(count).sum()
}
