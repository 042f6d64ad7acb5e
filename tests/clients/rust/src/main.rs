//! The AWS SDK for Rust, unchanged, against `braidlog serve`: `braidlog-rust-client ENDPOINT [CERTIFICATE]`.
//!
//! An `https` endpoint is spoken to over HTTP/2, for the SDK takes that where the server offers it; `CERTIFICATE` is a PEM file with
//! whom to trust. An `http` endpoint is spoken to over HTTP/1.1. Ends with a message about the first thing that isn't as it should
//! be.

use std::error::Error;
use std::time::Duration;

use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ConsumerStatus, PutRecordsRequestEntry, Record, ShardIteratorType, StartingPosition, StreamStatus,
    SubscribeToShardEventStream,
};
use aws_sdk_kinesis::{Client, Config};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const STREAM: &str = "rust-clicks";
const SHARD: &str = "shardId-000000000000";
const WORDS: [&str; 3] = ["user signup", "user login", "user logout"];

fn client(endpoint: &str, certificate: Option<String>) -> Result<Client> {
    let trusted = match certificate {
        Some(path) => TrustStore::empty().with_pem_certificate(std::fs::read(path)?),
        None => TrustStore::empty(),
    };
    let http = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(trusted).build()?)
        .build_https();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(http)
        .build();
    Ok(Client::from_conf(config))
}

fn ensure(holds: bool, what: impl Fn() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(what().into()) }
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(record.data.as_ref()).into_owned()).collect()
}

async fn create(client: &Client) -> Result<String> {
    client.create_stream().stream_name(STREAM).shard_count(1).send().await?;
    for _ in 0..100 {
        let described = client.describe_stream_summary().stream_name(STREAM).send().await?;
        if let Some(summary) = described.stream_description_summary
            && summary.stream_status == StreamStatus::Active
        {
            return Ok(summary.stream_arn);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the stream doesn't become active".into())
}

async fn put_and_get(client: &Client) -> Result<()> {
    for word in WORDS {
        let put = client.put_record().stream_name(STREAM).partition_key("user1").data(Blob::new(word)).send().await?;
        ensure(put.shard_id == SHARD, || format!("{put:?}"))?;
    }
    let iterator = client.get_shard_iterator().stream_name(STREAM).shard_id(SHARD);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?.shard_iterator;
    let reply = client.get_records().set_shard_iterator(iterator).send().await?;
    ensure(texts(&reply.records) == WORDS, || format!("{reply:?}"))?;
    ensure(reply.next_shard_iterator.is_some() && reply.millis_behind_latest == Some(0), || format!("{reply:?}"))?;

    let entry = |i: u32| {
        PutRecordsRequestEntry::builder().partition_key(format!("key{i}")).data(Blob::new(vec![i as u8; 1000]))
    };
    let entries = (0..500).map(|i| entry(i).build()).collect::<std::result::Result<Vec<_>, _>>()?;
    let reply = client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await?;
    ensure(reply.failed_record_count == Some(0) && reply.records.len() == 500, || {
        format!("{:?}", reply.failed_record_count)
    })?;

    match client.describe_stream().stream_name("nowhere").send().await {
        Err(SdkError::ServiceError(error)) if error.err().is_resource_not_found_exception() => {
            ensure(error.err().message().is_some_and(|message| message.contains("nowhere")), || format!("{error:?}"))
        }
        other => Err(format!("a stream that isn't there: {other:?}").into()),
    }
}

async fn subscribe(client: &Client, stream_arn: &str) -> Result<()> {
    let made = client.register_stream_consumer().stream_arn(stream_arn).consumer_name("dashboard").send().await?;
    let consumer = made.consumer.ok_or("there is no consumer in the reply")?.consumer_arn;
    let mut active = false;
    for _ in 0..100 {
        let described = client.describe_stream_consumer().consumer_arn(&consumer).send().await?;
        active =
            described.consumer_description.is_some_and(|consumer| consumer.consumer_status == ConsumerStatus::Active);
        if active {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure(active, || "the consumer doesn't become active".to_owned())?;

    let position = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build()?;
    let subscription = client.subscribe_to_shard().consumer_arn(&consumer).shard_id(SHARD);
    let mut events = subscription.starting_position(position).send().await?.event_stream;
    let mut received = Vec::new();
    while received.len() < 504 {
        let event = match events.recv().await {
            Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => event,
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), SubscribeToShardEventStreamError::ResourceInUseException(_)) =>
            {
                return Err("somebody took the subscription over".into());
            }
            other => return Err(format!("{other:?} behind {} records", received.len()).into()),
        };
        ensure(!event.continuation_sequence_number.is_empty(), || format!("{event:?}"))?;
        received.extend(texts(&event.records));
        if received.len() == 503 {
            // While the response is open, over the same connection where that is HTTP/2.
            client.put_record().stream_name(STREAM).partition_key("k").data(Blob::new("pushed")).send().await?;
        }
    }
    ensure(received[..3] == WORDS && received[503] == "pushed", || format!("{:?}", received.last()))
}

async fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().ok_or("usage: braidlog-rust-client ENDPOINT [CERTIFICATE]")?;
    let client = client(&endpoint, arguments.next())?;
    let stream_arn = create(&client).await?;
    put_and_get(&client).await?;
    tokio::time::timeout(Duration::from_secs(60), subscribe(&client, &stream_arn)).await??;
    client.delete_stream().stream_name(STREAM).enforce_consumer_deletion(true).send().await?;
    Ok(())
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        println!("FAILED rust: {}", DisplayErrorContext(&*error));
        std::process::exit(1);
    }
    println!("ok rust");
}
