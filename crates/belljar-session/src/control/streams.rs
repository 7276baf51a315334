//! Streams out of files: events and logs are read from where they were written, so a slow reader loses nothing.

use std::convert::Infallible;
use std::io::{Read as _, Seek as _, SeekFrom};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use belljar_client::query::{EventsQuery, LogsQuery};
use belljar_client::wire::{ErrorBody, ErrorView};
use belljar_model::ErrorCode;
use futures_util::stream;

use super::Control;
use crate::logs::LogReader;

/// Something that is read piece by piece while its session lives.
trait Source: Send + 'static {
    /// What is new since the last call.
    fn read_new(&mut self) -> std::io::Result<Piece>;

    /// An error as this stream tells one, once it has begun.
    fn tell(error: &ErrorBody) -> Vec<u8>;

    /// Waits until there may be something new. The session's end is watched for elsewhere.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// A piece of a stream.
struct Piece {
    /// Ready to be sent; empty where nothing is new.
    bytes: Vec<u8>,
    /// There may be more that is there already.
    more: bool,
}

pub(super) fn events(control: Control, query: EventsQuery) -> Response {
    let source = Events { control: control.clone(), from: query.from, offset: 0 };
    respond("text/event-stream", control, source, query.follow)
}

pub(super) fn logs(control: Control, query: LogsQuery) -> Response {
    let follow = query.follow;
    let reader = LogReader::new(control.logs.dir().to_owned(), query.from.clone());
    let source = LogLines { grown: control.logs.grown(), reader, query };
    respond("application/jsonl", control, source, follow)
}

struct Events {
    control: Control,
    from: u64,
    offset: u64,
}

impl Source for Events {
    fn read_new(&mut self) -> std::io::Result<Piece> {
        self.control.events_written.mark_unchanged();
        let mut file = fs_err::File::open(&self.control.events)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        self.offset += u64::try_from(whole).unwrap_or_default();
        let mut out = Vec::new();
        for line in text[..whole].split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let event: Numbered = serde_json::from_slice(line)?;
            if event.seq >= self.from {
                out.extend_from_slice(format!("id: {}\ndata: ", event.seq).as_bytes());
                out.extend_from_slice(line);
                out.extend_from_slice(b"\n\n");
            }
        }
        Ok(Piece { bytes: out, more: false })
    }

    fn tell(error: &ErrorBody) -> Vec<u8> {
        let text = serde_json::to_string(error).unwrap_or_default();
        format!("event: error\ndata: {text}\n\n").into_bytes()
    }

    async fn changed(&mut self) {
        if self.control.events_written.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(serde::Deserialize)]
struct Numbered {
    seq: u64,
}

struct LogLines {
    grown: tokio::sync::watch::Receiver<u64>,
    reader: LogReader,
    query: LogsQuery,
}

impl Source for LogLines {
    fn read_new(&mut self) -> std::io::Result<Piece> {
        self.grown.mark_unchanged();
        if let Some(count) = self.query.tail.take() {
            self.reader.go_to_last(count)?;
        }
        let mut lines = self.reader.read_new()?;
        let more = !lines.is_empty();
        if let Some(since) = self.query.since_ms {
            let since = std::time::Duration::from_millis(since).as_secs_f64();
            lines.retain(|line| line.t >= since);
        }
        let mut out = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.push(b'\n');
        }
        Ok(Piece { bytes: out, more })
    }

    fn tell(error: &ErrorBody) -> Vec<u8> {
        let mut line = serde_json::to_vec(error).unwrap_or_default();
        line.push(b'\n');
        line
    }

    async fn changed(&mut self) {
        if self.grown.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What there is, and with `follow` what comes until the session has ended. What breaks it is told as its end.
fn respond<S: Source>(content_type: &'static str, control: Control, source: S, follow: bool) -> Response {
    struct State<S> {
        source: S,
        control: Control,
        /// Nothing more comes: what is there is all.
        last: bool,
        over: bool,
    }
    let state = State { source, control, last: !follow, over: false };
    let pieces = stream::unfold(state, |mut state| async move {
        while !state.over {
            let piece = state.source.read_new().unwrap_or_else(|error| {
                state.last = true;
                Piece { bytes: S::tell(&broken(&error)), more: false }
            });
            state.over = state.last && !piece.more;
            if !piece.bytes.is_empty() {
                return Some((Ok::<_, Infallible>(Bytes::from(piece.bytes)), state));
            }
            if !state.last && !piece.more {
                tokio::select! {
                    () = state.source.changed() => {}
                    _ = state.control.handle.ended() => {
                        state.control.shared.logs_are_whole().await;
                        state.last = true;
                    }
                }
            }
        }
        None
    });
    ([(CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}

fn broken(error: &std::io::Error) -> ErrorBody {
    let message = format!("what was written of the session cannot be read: {error}");
    ErrorBody { error: ErrorView { code: ErrorCode::StoreCorrupt, message, hints: Vec::new() } }
}
