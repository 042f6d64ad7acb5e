//! Every operation of Kinesis Data Streams over the wire, and the matrix of what was met.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

#[path = "conformance/client.rs"]
mod client;
#[path = "conformance/matrix.rs"]
mod matrix;
#[path = "conformance/records.rs"]
mod records;
#[path = "conformance/shards.rs"]
mod shards;
#[path = "conformance/streams.rs"]
mod streams;
#[path = "conformance/wire.rs"]
mod wire;

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::Env;
use braidlog::env::sim::ManualClock;
use braidlog::server::{Server, ServerOptions};
use braidlog::stream::ThroughputLimits;
use braidlog::{Engine, EngineOptions, StoreOptions};
use client::{Client, Seen};

/// In scenarios about it.
const TRANSITION_TIME: Duration = Duration::from_secs(30);

/// A server of its own, a clock to wind, and a client.
struct Bench {
    client: Client,
    clock: Arc<ManualClock>,
    _engine: Engine,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(scenario: &'static str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new());
        let env = Env { clock: clock.clone(), ..Env::system(dir.path()).unwrap() };
        let store = StoreOptions::new().journal_file_bytes(1 << 20).reserve_bytes(0);
        let limits = if scenario.contains("throughput") { ThroughputLimits::Enforce } else { ThroughputLimits::Off };
        let time = if scenario.contains("status") { TRANSITION_TIME } else { Duration::ZERO };
        let options = EngineOptions::new().store(store).open_shards_max(40).throughput_limits(limits);
        let options = options.transition_time(time);
        let engine = Engine::open_in(env, options).unwrap();
        let options = ServerOptions::new().strict(true).audit(scenario.contains("audit"));
        let server = Server::start_with(engine.clone(), options).unwrap();
        let client = Client::new(server.addresses()[0], scenario);
        Bench { client, clock, _engine: engine, server, _dir: dir }
    }

    fn wait(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn end(self) -> Seen {
        self.server.stop();
        self.client.into_seen()
    }
}

macro_rules! scenarios {
    ($($room:ident :: $name:ident),* $(,)?) => {
        $(#[test] fn $name() { run(stringify!($name), $room::$name); })*
        const SCENARIOS: &[(&str, fn(&Bench))] = &[$((stringify!($name), $room::$name)),*];
    };
}

fn run(name: &'static str, scenario: fn(&Bench)) -> Seen {
    let bench = Bench::new(name);
    scenario(&bench);
    bench.end()
}

scenarios! {
    streams::a_stream_is_created_described_listed_and_deleted,
    streams::streams_are_listed_page_by_page,
    streams::a_stream_is_named_by_name_or_arn,
    streams::accounts_have_streams_of_their_own,
    streams::retention_goes_up_and_down,
    streams::the_mode_and_what_belongs_to_it_change,
    streams::metrics_are_switched_on_and_off,
    streams::an_encryption_key_is_kept,
    streams::tags_of_a_stream,
    streams::tags_and_policies_of_streams_and_consumers,
    streams::limits_and_settings_of_the_account,
    streams::the_status_of_a_stream_passes_as_by_the_service,
    streams::the_status_of_a_consumer_passes_as_by_the_service,
    streams::what_a_stream_can_not_be_is_refused,
    records::a_record_is_put_and_got,
    records::records_are_put_in_one_call,
    records::iterators_of_every_type,
    records::what_a_put_can_not_be_is_refused,
    records::an_iterator_expires,
    records::beyond_a_shards_throughput_records_fail_one_by_one,
    records::records_of_an_auto_stream_need_no_key,
    shards::shards_are_split_merged_and_walked,
    shards::shards_are_listed_by_every_filter,
    shards::a_stream_is_scaled,
    shards::a_stream_is_scaled_ten_times_a_day,
    shards::what_a_reshard_can_not_do_is_refused,
    shards::consumers_are_registered_listed_and_removed,
    shards::a_subscription_pushes_records_and_ends_with_the_shard,
    shards::a_subscription_is_taken_over,
    wire::requests_that_are_none_are_refused,
    wire::the_same_in_cbor,
    wire::what_is_not_served_says_so,
    wire::who_asked_for_what_is_kept_in_the_audit_stream,
}

#[test]
fn the_matrix_is_up_to_date() {
    let mut seen = Seen::new();
    for (name, scenario) in SCENARIOS {
        for (what, by) in run(name, *scenario) {
            seen.entry(what).or_insert(by);
        }
    }
    let model = serde_json::from_str(include_str!("data/kinesis_model.json")).unwrap();
    let matrix = matrix::render(&model, &seen);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");
    if std::env::var_os("BRAIDLOG_CONFORMANCE_WRITE").is_some() {
        std::fs::write(path, &matrix).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == matrix, "docs/conformance.md is not what was met: BRAIDLOG_CONFORMANCE_WRITE=1 writes it");
}
