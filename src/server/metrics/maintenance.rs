//! What the engine does by itself: counted, and told in the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Metrics;
use super::text::Text;
use crate::engine::Engine;
use crate::stream::Maintenance;
use crate::sync::Arc;

#[derive(Default)]
pub(super) struct Counts {
    failures: AtomicU64,
    split: AtomicU64,
    merged: AtomicU64,
    expired: AtomicU64,
    single_key: AtomicU64,
    at_limit: AtomicU64,
}

impl Metrics {
    /// Counts and logs each maintenance of the engine, and logs what the scrub of its store finds, as long as these metrics are there.
    pub(in crate::server) fn watch(self: &Arc<Metrics>, engine: &Engine) {
        let (metrics, account) = (Arc::downgrade(self), engine.options().account.clone());
        engine.on_maintenance(move |done, error| {
            let Some(metrics) = metrics.upgrade() else { return };
            metrics.maintenance.note(&account, done);
            if let Some(error) = error {
                metrics.maintenance.failures.fetch_add(1, Relaxed);
                tracing::warn!(%error, "maintenance could not do everything; what is left is tried again");
            }
        });
        let metrics = Arc::downgrade(self);
        engine.store().on_scrub_finding(move |finding| {
            if metrics.upgrade().is_some() {
                tracing::error!("{finding}");
            }
        });
    }
}

impl Counts {
    fn note(&self, account: &str, done: &Maintenance) {
        for (counter, count) in [
            (&self.split, done.splits.len()),
            (&self.merged, done.merges.len()),
            (&self.expired, done.expired.len()),
            (&self.single_key, done.single_key.len()),
            (&self.at_limit, done.at_limit.len()),
        ] {
            counter.fetch_add(count as u64, Relaxed);
        }
        for (stream, shard) in &done.splits {
            tracing::info!(account, stream, %shard, "a hot shard was split");
        }
        for (stream, shard, adjacent) in &done.merges {
            tracing::info!(account, stream, %shard, %adjacent, "two cold shards were merged");
        }
        for (stream, shard) in &done.expired {
            tracing::info!(account, stream, %shard, "a closed shard went, as its last record had expired");
        }
        for (stream, shard) in &done.single_key {
            tracing::warn!(
                account, stream, %shard,
                "a hot shard was not split: one hash key carries over half of its traffic, so no split would help"
            );
        }
        for (stream, shard) in &done.at_limit {
            tracing::warn!(
                account, stream, %shard,
                "a hot shard was not split: the account has as many open shards as it may"
            );
        }
        for (account, done) in &done.accounts {
            self.note(account, done);
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let counters = [
            ("maintenance_failures", "Times that maintenance could not do everything.", load(&self.failures)),
            ("shards_split", "Hot shards that were split.", load(&self.split)),
            ("shards_merged", "Pairs of cold shards that were merged.", load(&self.merged)),
            ("shards_expired", "Closed shards that went with their last record.", load(&self.expired)),
        ];
        for (name, help, value) in counters {
            text.counter(&format!("braidlog_kinesis_{name}_total"), help, value);
        }
        let name = "braidlog_kinesis_shards_not_split_total";
        text.head(name, "counter", "Looks that found a hot shard and left it.");
        text.sample(name, "reason=\"single_key\"", load(&self.single_key));
        text.sample(name, "reason=\"at_limit\"", load(&self.at_limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;
    use crate::stream::{OnDemandOptions, PutRecordsEntry, StreamMode, StreamOptions};
    use std::time::Duration;

    /// The engine's thread threw away what it had found.
    #[test]
    fn what_the_engines_thread_finds_is_counted_for_every_account() {
        let dir = tempfile::tempdir().unwrap();
        let on_demand = OnDemandOptions {
            interval: Duration::from_millis(20),
            split_records_per_second: 2,
            merge_records_per_second: 1,
            ..OnDemandOptions::default()
        };
        let options = EngineOptions::new().on_demand(on_demand).maintenance_interval(Some(Duration::from_millis(20)));
        let engine = Engine::open_with(dir.path(), options).unwrap();
        let metrics = Arc::new(Metrics::new());
        metrics.watch(&engine);
        let account = engine.for_account("123456789012").unwrap();
        let options = StreamOptions::new().shards(1).mode(StreamMode::OnDemand);
        let stream = account.create_stream("clicks", options).unwrap();
        let found = |text: String| {
            let line = text.lines().find(|line| line.contains("reason=\"single_key\"")).unwrap().to_owned();
            line.split_once(' ').unwrap().1 != "0"
        };
        while !found(metrics.text(&engine)) {
            stream.put_records(&[PutRecordsEntry::new("key", b"data"); 20]).unwrap();
            std::thread::yield_now();
        }
        assert!(metrics.text(&engine).contains("braidlog_kinesis_shards_split_total 0\n"));
        assert_eq!(engine.last_maintenance().accounts[0].0, "123456789012");
    }
}
