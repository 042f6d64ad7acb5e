//! Enhanced fan-out over a response that goes on for five minutes.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::stream::{Subscription, SubscriptionEvent, SubscriptionOptions};
use crate::wire::event_stream::Message;
use crate::wire::kinesis as api;
use crate::wire::{ApiError, Protocol};

use super::convert::{child_shards, encryption, record};
use super::{Context, Kinesis, Outcome, dry_run};

/// How long one lasts (`SubscribeToShard`).
const LIFETIME: Duration = Duration::from_secs(300);
/// After so long without records an event without any is sent: it tells the position, and that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A subscription that was granted.
pub(in crate::server) struct Events {
    subscription: Subscription,
    engine: crate::Engine,
    protocol: Protocol,
    encryption: Option<&'static str>,
}

/// The members of the response that aren't the stream: there are none.
#[derive(Serialize)]
struct InitialResponse {}

impl Kinesis {
    pub(super) fn subscribe_to_shard(&self, input: &api::SubscribeToShardInput, protocol: Protocol) -> Outcome<Events> {
        let arn = input.consumer_arn.as_deref().unwrap_or_default();
        let (stream, consumer) = self.consumer_by_arn(arn)?;
        let shard = self.shard_id(input.shard_id.as_deref())?;
        let start = input.starting_position.clone().unwrap_or_default();
        let position = self.position(start.kind.as_deref(), start.sequence_number.as_deref(), start.timestamp)?;
        if input.dry_run == Some(true) {
            let consumer = stream.active_consumer(&consumer.consumer_name);
            consumer.and_then(|_| stream.read(shard, position)).map_err(|error| self.error(error))?;
            dry_run(input.dry_run)?;
        }
        let options = SubscriptionOptions::new().lifetime(Some(LIFETIME));
        let subscription = stream.subscribe(&consumer.consumer_name, shard, position, options);
        let subscription = subscription.map_err(|error| self.error(error))?;
        let encryption = encryption(&stream);
        Ok(Events { subscription, engine: self.engine.clone(), protocol, encryption })
    }
}

impl Events {
    /// Sends what there is, and then what comes, until it is over or nobody listens.
    pub(in crate::server) async fn run(mut self, listener: mpsc::Sender<Bytes>) {
        let content_type = self.protocol.content_type();
        let begin = Message::initial_response(content_type, self.protocol.encode(&InitialResponse {}));
        if send(&listener, &begin).await.is_none() {
            return;
        }
        loop {
            tokio::select! {
                _ = tokio::time::timeout(HEARTBEAT, self.subscription.ready()) => {}
                () = listener.closed() => return,
            }
            let event = match self.subscription.next_event(Some(Duration::ZERO)) {
                Ok(None) => return,
                Ok(Some(event)) => event,
                Err(error) => {
                    let error: ApiError = Context(&self.engine).error(error);
                    let message = Message::exception(error.code, content_type, self.protocol.encode_error(&error));
                    let _ = send(&listener, &message).await;
                    return;
                }
            };
            for event in self.events(event) {
                let message = Message::event("SubscribeToShardEvent", content_type, self.protocol.encode(&event));
                if send(&listener, &message).await.is_none() {
                    return;
                }
            }
        }
    }

    /// What is sent of an event. Clients know the end of a shard by an event that names its children and no number to go on from,
    /// and some look at nothing else in it: the last records come before it.
    fn events(&self, event: SubscriptionEvent) -> impl Iterator<Item = api::SubscribeToShardEvent> {
        let children = child_shards(&event.child_shards);
        let records = event.records.iter().cloned().map(|one| record(one, self.encryption));
        let told = api::SubscribeToShardEvent {
            records: Some(records.collect()),
            continuation_sequence_number: Some(event.continuation_sequence_number.to_string()),
            millis_behind_latest: Some(i64::try_from(event.millis_behind_latest).unwrap_or(i64::MAX)),
            child_shards: None,
        };
        let end = children.map(|children| api::SubscribeToShardEvent {
            records: Some(Vec::new()),
            continuation_sequence_number: None,
            millis_behind_latest: Some(0),
            child_shards: Some(children),
        });
        let empty = event.records.is_empty() && end.is_some();
        (!empty).then_some(told).into_iter().chain(end)
    }
}

/// `None` when nobody listens any more.
async fn send(listener: &mpsc::Sender<Bytes>, message: &Message) -> Option<()> {
    // Events are far below the bounds of a message.
    listener.send(message.encode().ok()?).await.ok()
}
