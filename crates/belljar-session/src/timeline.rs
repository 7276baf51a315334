//! The timeline of one session, or of one run, on disk: every event is written before anybody is told of it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use belljar_model::{Event, EventKind, SessionId, event};
use tokio::sync::watch;
use tokio::time::Instant;

/// Tells the time of day. The program passes the real clock, tests pass theirs.
#[derive(Clone)]
pub struct WallClock(pub Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>);

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallClock")
    }
}

/// An append-only `events.jsonl`.
#[derive(Debug)]
pub struct Timeline {
    file: fs_err::File,
    clock: WallClock,
    start: Instant,
    seq: u64,
    written: watch::Sender<u64>,
}

impl Timeline {
    /// Starts a new file; one that is there already is an error, for the directory of a session or
    /// run is never used twice.
    pub fn create(path: &Path, clock: WallClock) -> std::io::Result<Self> {
        let file = fs_err::OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self { file, clock, start: Instant::now(), seq: 0, written: watch::Sender::new(0) })
    }

    /// Writes one event, by one `write`, so that a reader never sees half of it unless we are killed in it.
    pub fn append(&mut self, session: Option<SessionId>, kind: EventKind) -> std::io::Result<Event> {
        let event = Event {
            v: event::VERSION,
            seq: self.seq + 1,
            t: self.now(),
            wall: format!("{:.3}", (self.clock.0)()),
            session,
            kind,
        };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.seq = event.seq;
        self.written.send_replace(self.seq);
        Ok(event)
    }

    /// Seconds since the timeline was started, to the microsecond.
    pub fn now(&self) -> f64 {
        round_to_microseconds(self.start.elapsed().as_secs_f64())
    }

    /// The last event's number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Changes whenever an event has been written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The moment that `t` counts from.
    pub fn start(&self) -> Instant {
        self.start
    }
}

pub(crate) fn round_to_microseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
