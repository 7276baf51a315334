//! NATS: chunks in a JetStream stream, revocations as plain messages, heartbeats in a bucket.

use std::future::ready;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, kv, stream};
use async_nats::{Client, ConnectOptions, Event, Subscriber};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::log::say;

/// After this a silent bus counts as gone, for every request to it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to connect again.
const RECONNECT: Duration = Duration::from_millis(200);
/// A pod without a heartbeat for this long is dead to the others.
const HEARTBEAT_AGE: Duration = Duration::from_secs(1);
const REVOKED: &str = "credentials.revoked";

#[derive(Debug, Error)]
pub(crate) enum BusError {
    #[error("{what}")]
    Failed { what: &'static str, source: async_nats::Error },
    #[error("the bus does not answer")]
    Silent,
}

fn failed<E: Into<async_nats::Error>>(what: &'static str) -> impl FnOnce(E) -> BusError {
    move |error| BusError::Failed { what, source: error.into() }
}

/// What is written to a stream of chunks. Whoever follows the stream sees the same records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// From here on `pod` works on the stream, in this epoch. Being in the stream, it fences off every earlier
    /// owner: their next chunk expects another record before it.
    Owner { pod: String, epoch: i64, after: i32 },
    /// Chunk `n` of `of`, counted from 1.
    Chunk { n: i32, of: i32, pod: String, epoch: i64 },
}

/// A record and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) sequence: u64,
    pub(crate) record: Record,
}

/// What came of an attempt to append a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    At(u64),
    /// The record expected to be the last one isn't, or this record is already there.
    Contested,
}

/// The bus as a pod uses it.
#[derive(Debug)]
pub(crate) struct Bus {
    client: Client,
    jetstream: jetstream::Context,
    chunks: stream::Stream,
    /// Counts the connections.
    connected: watch::Receiver<u64>,
    pub(crate) heartbeats: kv::Store,
}

impl Bus {
    /// Connects, and makes the stream and the bucket where they are missing.
    pub(crate) async fn connect(url: &str, pod: &str) -> Result<Self, BusError> {
        let (connections, connected) = watch::channel(0);
        let options = ConnectOptions::new()
            .name(pod)
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            // A partition is silent: only a ping that stays unanswered tells.
            .ping_interval(PATIENCE)
            .reconnect_delay_callback(|attempts| RECONNECT * u32::from(attempts > 1))
            .event_callback(move |event| {
                match event {
                    // One for each attempt to connect; the loss itself has been told.
                    Event::ClientError(_) => return ready(()),
                    Event::Connected => connections.send_modify(|count| *count += 1),
                    _ => {}
                }
                say!("bus: {event}");
                ready(())
            });
        let client = options.connect(url).await.map_err(failed("cannot connect to the bus"))?;
        let jetstream =
            jetstream::ContextBuilder::new().timeout(PATIENCE).ack_timeout(PATIENCE).build(client.clone());
        let chunks = jetstream
            .get_or_create_stream(stream::Config {
                name: "CHUNKS".into(),
                subjects: vec!["stream.*".into()],
                duplicate_window: Duration::from_mins(2),
                ..Default::default()
            })
            .await
            .map_err(failed("cannot make the stream"))?;
        let heartbeats =
            heartbeats(&jetstream).await.map_err(failed("cannot make the bucket of heartbeats"))?;
        Ok(Self { client, jetstream, chunks, connected, heartbeats })
    }

    /// Appends `record` to the stream `id`, if the last record there is still the one at `after` (0: none).
    pub(crate) async fn append(&self, id: &str, record: &Record, after: u64) -> Result<Appended, BusError> {
        // The same chunk bears the same name whoever sends it, so that no pair of pods can write it twice.
        let name = match record {
            Record::Owner { epoch, .. } => format!("{id}.owner.{epoch}"),
            Record::Chunk { n, .. } => format!("{id}.{n}"),
        };
        let payload = serde_json::to_vec(record).map_err(failed("a record cannot be written as JSON"))?;
        let message = PublishMessage::build()
            .payload(payload.into())
            .message_id(name)
            .expected_last_subject_sequence(after);
        let ack = self
            .jetstream
            .send_publish(subject(id), message)
            .await
            .map_err(failed("cannot send a record"))?;
        match ack.await {
            Ok(ack) if ack.duplicate => Ok(Appended::Contested),
            Ok(ack) => Ok(Appended::At(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Appended::Contested),
            Err(error) => Err(failed("a record was not confirmed")(error)),
        }
    }

    /// The last record of the stream `id`.
    pub(crate) async fn last(&self, id: &str) -> Result<Option<Placed>, BusError> {
        match self.chunks.get_last_raw_message_by_subject(&subject(id)).await {
            Ok(message) => Ok(Some(Placed {
                sequence: message.sequence,
                record: serde_json::from_slice(&message.payload).map_err(failed("a record is no JSON"))?,
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed("cannot read the last record")(error)),
        }
    }

    /// The records of the stream `id` from the place `from` on, as they come. A bus that was away may have
    /// forgotten the reader, so ask again after [`Bus::reconnected`].
    pub(crate) async fn follow(
        &self,
        id: &str,
        from: u64,
    ) -> Result<jetstream::consumer::pull::Ordered, BusError> {
        let config = jetstream::consumer::pull::OrderedConfig {
            filter_subject: subject(id),
            deliver_policy: jetstream::consumer::DeliverPolicy::ByStartSequence {
                start_sequence: from.max(1),
            },
            ..Default::default()
        };
        let consumer =
            self.chunks.create_consumer(config).await.map_err(failed("cannot follow the stream"))?;
        consumer.messages().await.map_err(failed("cannot follow the stream"))
    }

    /// Resolves when the connection has been lost and another one been made, from the call on.
    pub(crate) fn reconnected(&self) -> impl Future<Output = ()> + use<> {
        let mut connected = self.connected.clone();
        connected.mark_unchanged();
        async move {
            // The sender lives as long as the client does.
            let _ = connected.changed().await;
        }
    }

    /// Tells every pod that a credential is good no more.
    pub(crate) async fn announce_revoked(&self, credential: i64) -> Result<(), BusError> {
        let announced = self.client.publish(REVOKED, credential.to_string().into()).await;
        announced.map_err(failed("cannot announce a revocation"))
    }

    pub(crate) async fn revocations(&self) -> Result<Subscriber, BusError> {
        self.client.subscribe(REVOKED).await.map_err(failed("cannot subscribe to revocations"))
    }

    /// There and back again: a flush alone would end in this machine's own buffer.
    pub(crate) async fn ping(&self) -> Result<(), BusError> {
        self.chunks.get_info().await.map(drop).map_err(failed("the bus does not answer"))
    }
}

/// The bucket as the stream that it is: the client's own way asks for the account first, and cannot read the answer
/// of the 2.9 servers that Debian ships.
async fn heartbeats(jetstream: &jetstream::Context) -> Result<kv::Store, async_nats::Error> {
    jetstream
        .get_or_create_stream(stream::Config {
            name: "KV_pods".into(),
            subjects: vec!["$KV.pods.>".into()],
            max_messages_per_subject: 1,
            max_age: HEARTBEAT_AGE,
            duplicate_window: HEARTBEAT_AGE,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            deny_delete: true,
            ..Default::default()
        })
        .await?;
    Ok(jetstream.get_key_value("pods").await?)
}

fn subject(id: &str) -> String {
    format!("stream.{id}")
}
