//! The counters as Prometheus' text format, version 0.0.4.

use std::fmt::Display;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::histogram::BOUNDS;
use super::shards;
use super::{Metrics, Refusal};
use crate::engine::Engine;
use crate::{Health, Stats};

/// The media type of what [`Metrics::text`] returns.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Text in the making.
pub(super) struct Text(String);

impl Text {
    /// The lines that come before a metric's samples.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.0 += &format!("{name} {value}\n");
        } else {
            self.0 += &format!("{name}{{{labels}}} {value}\n");
        }
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, "", value);
    }
}

impl Metrics {
    /// All that is counted, of the server and of the store below.
    pub(crate) fn text(&self, engine: &Engine) -> String {
        let mut text = Text(String::with_capacity(8 << 10));
        self.write_operations(&mut text);
        text.head(
            "braidlog_http_refused_total",
            "counter",
            "Requests and connections refused before any service saw them.",
        );
        for (why, count) in Refusal::ALL.iter().zip(&self.refused) {
            let labels = format!("reason=\"{}\"", why.label());
            text.sample("braidlog_http_refused_total", &labels, count.load(Relaxed));
        }
        text.gauge("braidlog_http_connections", "Connections that are open.", self.connections.load(Relaxed));
        text.gauge(
            "braidlog_http_connections_resting",
            "Of these, HTTP/1.1 ones that had a request and take no more memory than their sockets.",
            self.resting.load(Relaxed),
        );
        let accepted = self.connections_total.load(Relaxed);
        text.counter("braidlog_http_connections_total", "Connections that were accepted.", accepted);
        text.gauge(
            "braidlog_http_requests_in_flight",
            "Requests being read or answered.",
            self.in_flight.load(Relaxed),
        );
        let received = self.received.load(Relaxed);
        text.counter("braidlog_http_received_bytes_total", "Bytes received, heads included, without TLS.", received);
        text.counter(
            "braidlog_http_sent_bytes_total",
            "Bytes sent, heads included, without TLS.",
            self.sent.load(Relaxed),
        );
        text.counter(
            "braidlog_request_unknown_members_total",
            "Members of requests that the service's model doesn't have.",
            self.unknown_members.load(Relaxed),
        );
        text.counter(
            "braidlog_audit_lost_total",
            "Entries of the audit log that could not be kept.",
            self.audit_lost.load(Relaxed),
        );
        write_store(&mut text, &engine.store().stats(), &engine.store().health());
        self.maintenance.write(&mut text);
        shards::write(&mut text, engine);
        text.0
    }

    fn write_operations(&self, text: &mut Text) {
        let operations = self.operations.read().unwrap_or_else(PoisonError::into_inner).clone();
        text.head(
            "braidlog_requests_total",
            "counter",
            "Calls of an operation, by the status they were answered with.",
        );
        for (name, operation) in &operations {
            for (status, count) in operation.by_status.lock().iter() {
                let labels = format!("operation=\"{name}\",status=\"{status}\"");
                text.sample("braidlog_requests_total", &labels, count);
            }
        }
        text.head("braidlog_request_seconds", "histogram", "Time from a request that is read to its answer.");
        for (name, operation) in &operations {
            let (sums, total, seconds) = operation.seconds.cumulative();
            let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, sum) in bounds.zip(sums.into_iter().chain([total])) {
                let labels = format!("operation=\"{name}\",le=\"{bound}\"");
                text.sample("braidlog_request_seconds_bucket", &labels, sum);
            }
            let labels = format!("operation=\"{name}\"");
            text.sample("braidlog_request_seconds_sum", &labels, seconds);
            text.sample("braidlog_request_seconds_count", &labels, total);
        }
        text.head("braidlog_request_body_bytes_total", "counter", "Bytes of the bodies of requests.");
        for (name, operation) in &operations {
            let labels = format!("operation=\"{name}\"");
            text.sample("braidlog_request_body_bytes_total", &labels, operation.bytes_in.load(Relaxed));
        }
        text.head("braidlog_response_body_bytes_total", "counter", "Bytes of the bodies of answers.");
        for (name, operation) in &operations {
            let labels = format!("operation=\"{name}\"");
            text.sample("braidlog_response_body_bytes_total", &labels, operation.bytes_out.load(Relaxed));
        }
    }
}

fn write_store(text: &mut Text, stats: &Stats, health: &Health) {
    text.head("braidlog_store_health", "gauge", "1 for the state the store is in.");
    let state = health_word(health);
    for word in ["ok", "full", "read_only", "stopped"] {
        text.sample("braidlog_store_health", &format!("state=\"{word}\""), u8::from(word == state));
    }
    let counters = [
        ("records_appended_total", "Records acknowledged.", stats.records_appended),
        ("bytes_appended_total", "Bytes acknowledged, headers included.", stats.bytes_appended),
        ("turns_total", "Turns resolved.", stats.turns),
        ("frames_total", "Journal frames made durable.", stats.frames),
        ("journal_bytes_total", "Bytes written to the journal.", stats.journal_bytes),
        ("bulk_bytes_total", "Bytes that went straight to segments.", stats.bulk_bytes),
        ("records_recovered_total", "Records found in the journal at the start.", stats.records_recovered),
        ("records_trimmed_total", "Records trimmed or expired.", stats.records_trimmed),
        ("segments_freed_total", "Segment files freed.", stats.segments_freed),
        ("checkpoints_total", "Checkpoints taken.", stats.checkpoints),
        ("scrub_bytes_total", "Bytes read and verified by the scrub.", stats.scrub_bytes),
        ("scrub_passes_total", "Passes of the scrub over everything stored.", stats.scrub_passes),
        ("scrub_damage_total", "Damaged places that the scrub came to.", stats.scrub_damage),
    ];
    for (name, help, value) in counters {
        text.counter(&format!("braidlog_store_{name}"), help, value);
    }
    let gauges = [
        ("pending_bytes", "Bytes appended that no segment has yet.", stats.pending_bytes),
        ("lag_bytes", "Bytes appended and not acknowledged yet.", stats.lag_bytes),
        ("pinned_bytes", "Bytes of freed segments that readers still hold.", stats.bytes_pinned),
        ("pins", "Slices of mapped segments that readers hold.", stats.pins),
        ("durable_frame", "Highest durable frame.", stats.durable_frame),
        ("frames_in_flight", "Frames written but not yet durable.", stats.frames_in_flight),
        ("retention_held", "1 while retention is held because the clocks disagree.", stats.retention_held),
        ("bytes", "Bytes of segments and journal files.", stats.store_bytes),
    ];
    for (name, help, value) in gauges {
        text.gauge(&format!("braidlog_store_{name}"), help, value);
    }
    text.gauge(
        "braidlog_store_oldest_pin_seconds",
        "For how long readers have held the space of the oldest freed segment that they hold.",
        stats.oldest_pin_ms as f64 / 1e3,
    );
    text.gauge(
        "braidlog_store_scrub_pass_ended_seconds",
        "When the scrub last got through everything stored, in seconds since 1970; 0 if not since the start.",
        stats.scrub_pass_ended_ms as f64 / 1e3,
    );
    let name = "braidlog_store_sync_seconds";
    text.head(name, "gauge", "Time a journal write takes until durable, to a factor of two.");
    let (median, high) = stats.sync_micros;
    for (quantile, micros) in [("0.5", median), ("0.99", high)] {
        text.sample(name, &format!("quantile=\"{quantile}\""), micros as f64 / 1e6);
    }
    text.head("braidlog_info", "gauge", "1, with the version and the disk in its labels.");
    let labels = format!("version=\"{}\",disk=\"{:?}\"", env!("CARGO_PKG_VERSION"), stats.disk);
    text.sample("braidlog_info", &labels, 1);
}

/// The health in a word.
pub(crate) fn health_word(health: &Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Full { .. } => "full",
        Health::ReadOnly { .. } => "read_only",
        Health::Stopped { .. } => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ShardMetric, StreamOptions};

    /// One with a shard that took a record, and every metric on.
    fn engine(path: &std::path::Path) -> Engine {
        let engine = Engine::open(path).unwrap();
        let clicks = engine.create_stream("clicks", StreamOptions::new()).unwrap();
        clicks.enable_shard_metrics(&ShardMetric::ALL).unwrap();
        clicks.put_record("key", b"data").unwrap();
        engine
    }

    #[test]
    fn what_was_counted_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path());
        let metrics = crate::sync::Arc::new(Metrics::new());
        metrics.request("PutRecord", 200, 0.0007, 100, 50);
        metrics.request("PutRecord", 400, 7.0, 10, 5);
        metrics.refused(Refusal::BodySize);
        let open = metrics.connection();
        let text = metrics.text(&engine);
        for line in [
            "braidlog_requests_total{operation=\"PutRecord\",status=\"200\"} 1",
            "braidlog_requests_total{operation=\"PutRecord\",status=\"400\"} 1",
            "braidlog_request_seconds_bucket{operation=\"PutRecord\",le=\"0.0005\"} 0",
            "braidlog_request_seconds_bucket{operation=\"PutRecord\",le=\"0.001\"} 1",
            "braidlog_request_seconds_bucket{operation=\"PutRecord\",le=\"30\"} 2",
            "braidlog_request_seconds_bucket{operation=\"PutRecord\",le=\"+Inf\"} 2",
            "braidlog_request_seconds_count{operation=\"PutRecord\"} 2",
            "braidlog_request_body_bytes_total{operation=\"PutRecord\"} 110",
            "braidlog_response_body_bytes_total{operation=\"PutRecord\"} 55",
            "braidlog_http_refused_total{reason=\"body_size\"} 1",
            "braidlog_http_refused_total{reason=\"memory\"} 0",
            "braidlog_http_connections 1",
            "braidlog_store_health{state=\"ok\"} 1",
            "braidlog_store_health{state=\"stopped\"} 0",
            "braidlog_kinesis_shard_incoming_bytes_total{account=\"000000000000\",stream=\"clicks\",shard=\"shardId-000000000000\"} 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        }
        drop(open);
        assert!(metrics.text(&engine).contains("braidlog_http_connections 0\n"));
    }

    #[test]
    fn every_metric_is_documented() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        metrics.request("PutRecord", 200, 0.1, 1, 1);
        let text = metrics.text(&engine(dir.path()));
        let documented = include_str!("../../../docs/metrics.md");
        for line in text.lines() {
            let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) else { continue };
            assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        }
    }
}
