//! Shard-level metrics of streams that have them switched on, as `EnableEnhancedMonitoring` does.

use crate::engine::Engine;
use crate::stream::{ShardMetric, ShardTraffic, Stream};

use super::text::Text;

/// Shards that are told about, at most: the number of series is bounded whatever the streams are.
const SHARDS_MAX: usize = 1_000;

type Value = fn(&ShardTraffic) -> u64;

/// `IteratorAgeMilliseconds` is of readers that hold iterators, which are stateless here: nobody knows them.
const FIGURES: [(ShardMetric, &str, &str, Value); 6] = [
    (ShardMetric::IncomingBytes, "incoming_bytes", "Bytes of data and partition keys put.", |of| of.bytes_in),
    (ShardMetric::IncomingRecords, "incoming_records", "Records put.", |of| of.records_in),
    (ShardMetric::OutgoingBytes, "outgoing_bytes", "Bytes of data and partition keys read.", |of| of.bytes_out),
    (ShardMetric::OutgoingRecords, "outgoing_records", "Records read.", |of| of.records_out),
    (ShardMetric::WriteThroughputExceeded, "write_throughput_exceeded", "Records beyond the write limits.", |of| {
        of.write_exceeded
    }),
    (ShardMetric::ReadThroughputExceeded, "read_throughput_exceeded", "Reads beyond the read limits.", |of| {
        of.read_exceeded
    }),
];

pub(super) fn write(text: &mut Text, engine: &Engine) {
    let monitored = monitored(engine);
    for (metric, name, help, value) in FIGURES {
        let name = format!("braidlog_kinesis_shard_{name}_total");
        let mut begun = false;
        let on = monitored.iter().filter(|shard| shard.metrics.contains(&metric));
        for Monitored { account, stream, shard, traffic, .. } in on {
            if !begun {
                text.head(&name, "counter", help);
                begun = true;
            }
            let labels = format!("account=\"{account}\",stream=\"{stream}\",shard=\"{shard}\"");
            text.sample(&name, &labels, value(traffic));
        }
    }
}

struct Monitored {
    account: String,
    stream: String,
    shard: String,
    metrics: Vec<ShardMetric>,
    traffic: ShardTraffic,
}

fn monitored(engine: &Engine) -> Vec<Monitored> {
    let mut found = Vec::new();
    // An account that nobody asked for since the start has no traffic to tell of; looking for it would go to the disk.
    for engine in engine.opened_accounts() {
        for stream in engine.all_streams() {
            if found.len() >= SHARDS_MAX {
                break;
            }
            add(&mut found, &engine.options().account, &stream);
        }
    }
    found.truncate(SHARDS_MAX);
    found
}

fn add(found: &mut Vec<Monitored>, account: &str, stream: &Stream) {
    let metrics = stream.description().shard_metrics;
    if metrics.is_empty() {
        return;
    }
    for shard in stream.open_shards() {
        if let Ok(traffic) = stream.shard_traffic(shard.shard_id) {
            found.push(Monitored {
                account: account.to_owned(),
                stream: stream.name().to_owned(),
                shard: shard.shard_id.to_string(),
                metrics: metrics.clone(),
                traffic,
            });
        }
    }
}
