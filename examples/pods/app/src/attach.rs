//! Following a stream from any pod, as server-sent events.
//!
//! An event's id is the record's place in JetStream, so that `Last-Event-ID` continues on any other pod just after
//! the last record that was seen.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::bus::{Bus, Placed, Record};
use crate::log::{chain, say};

const RETRY: Duration = Duration::from_millis(100);

/// The records of stream `id` after the place `seen`, to the last chunk.
pub(crate) fn follow(
    bus: Arc<Bus>,
    id: String,
    seen: u64,
    closing: watch::Receiver<bool>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (events, received) = mpsc::channel(64);
    tokio::spawn(async move { Reader { bus, id, seen, events }.run(closing).await });
    // The comment lines in between tell a reader that has gone from one that has nothing to read.
    Sse::new(ReceiverStream::new(received).map(Ok))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(1)))
}

struct Reader {
    bus: Arc<Bus>,
    id: String,
    seen: u64,
    events: mpsc::Sender<Event>,
}

impl Reader {
    async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let events = self.events.clone();
        let last = tokio::select! {
            () = self.read_to_the_end() => Event::default().event("done").data("{}"),
            // The stream goes on elsewhere, and so can the reader.
            _ = closing.wait_for(|closing| *closing) => Event::default().event("reattach").data("{}"),
            () = events.closed() => return,
        };
        // A reader that has gone needs no farewell.
        let _ = events.send(last).await;
    }

    async fn read_to_the_end(&mut self) {
        loop {
            match self.read().await {
                Ok(()) => return,
                Err(error) => say!("reading stream {}: {}", self.id, chain(&*error)),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read(&mut self) -> Result<(), async_nats::Error> {
        // A reader that has seen everything would wait for ever.
        if let Some(last) = self.bus.last(&self.id).await?
            && last.sequence <= self.seen
            && is_the_end(&last.record)
        {
            return Ok(());
        }
        let mut reconnected = pin!(self.bus.reconnected());
        let mut messages = self.bus.follow(&self.id, self.seen + 1).await?;
        loop {
            let message = tokio::select! {
                message = messages.next() => message.ok_or("the bus has ended the subscription")??,
                () = &mut reconnected => return Err("the connection is a new one".into()),
            };
            let sequence = message.info()?.stream_sequence;
            let placed = Placed { sequence, record: serde_json::from_slice(&message.payload)? };
            let end = is_the_end(&placed.record);
            self.events.send(event(&placed)?).await?;
            self.seen = sequence;
            if end {
                return Ok(());
            }
        }
    }
}

fn is_the_end(record: &Record) -> bool {
    matches!(record, Record::Chunk { n, of, .. } if n >= of)
}

fn event(placed: &Placed) -> Result<Event, axum::Error> {
    let kind = match placed.record {
        Record::Owner { .. } => "owner",
        Record::Chunk { .. } => "chunk",
    };
    Event::default().event(kind).id(placed.sequence.to_string()).json_data(&placed.record)
}
