//! Streams out of files: events and logs are read from where they were written, so a slow reader loses nothing.

use std::convert::Infallible;
use std::io::{Read as _, Seek as _, SeekFrom};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use belljar_client::query::{EventsQuery, LogsQuery};
use futures_util::stream;

use super::Control;
use crate::logs::LogReader;

/// Something that is read piece by piece while its session lives.
trait Source: Send + 'static {
    /// What is new since the last call, ready to be sent; empty where nothing is.
    fn read_new(&mut self) -> std::io::Result<Vec<u8>>;

    /// Waits until there may be something new. The session's end is watched for elsewhere.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

pub(super) fn events(control: Control, query: EventsQuery) -> Response {
    let source = Events { control: control.clone(), from: query.from, offset: 0 };
    respond("text/event-stream", control, source, query.follow)
}

pub(super) fn logs(control: Control, query: LogsQuery) -> Response {
    let follow = query.follow;
    let reader = LogReader::new(control.logs.dir().to_owned(), query.from.clone());
    let source = LogLines { grown: control.logs.grown(), reader, query, first: true };
    respond("application/jsonl", control, source, follow)
}

struct Events {
    control: Control,
    from: u64,
    offset: u64,
}

impl Source for Events {
    fn read_new(&mut self) -> std::io::Result<Vec<u8>> {
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
        Ok(out)
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
    first: bool,
}

impl Source for LogLines {
    fn read_new(&mut self) -> std::io::Result<Vec<u8>> {
        self.grown.mark_unchanged();
        let mut lines = self.reader.read_new()?;
        if let Some(since) = self.query.since_ms {
            let since = std::time::Duration::from_millis(since).as_secs_f64();
            lines.retain(|line| line.t >= since);
        }
        if std::mem::take(&mut self.first)
            && let Some(tail) = self.query.tail
        {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let mut out = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.push(b'\n');
        }
        Ok(out)
    }

    async fn changed(&mut self) {
        if self.grown.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What there is, and with `follow` what comes until the session has ended.
fn respond(content_type: &'static str, control: Control, source: impl Source, follow: bool) -> Response {
    struct State<S> {
        source: S,
        control: Control,
        last: bool,
        over: bool,
    }
    let state = State { source, control, last: !follow, over: false };
    let pieces = stream::unfold(state, |mut state| async move {
        loop {
            if state.over {
                return None;
            }
            state.over = state.last;
            match state.source.read_new() {
                Ok(piece) if !piece.is_empty() => {
                    return Some((Ok::<_, Infallible>(Bytes::from(piece)), state));
                }
                Ok(_) => {}
                // The file is gone or damaged: the stream ends here, which its reader notices.
                Err(_) => return None,
            }
            if !state.over {
                let ended = state.control.handle.ended();
                tokio::select! {
                    () = state.source.changed() => {}
                    _ = ended => {
                        state.control.shared.logs_are_whole().await;
                        state.last = true;
                    }
                }
            }
        }
    });
    ([(CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}
