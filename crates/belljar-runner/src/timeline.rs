//! The timeline of one run on disk: every event is written before anybody is told of it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use belljar_model::{Event, EventKind, SessionId, event};
use belljar_session::WallClock;
use tokio::time::Instant;

use crate::error::RunError;

/// An append-only `events.jsonl`.
#[derive(Debug)]
pub(crate) struct Timeline {
    path: PathBuf,
    file: fs_err::File,
    clock: WallClock,
    start: Instant,
    seq: u64,
}

impl Timeline {
    /// Starts a new file; a run's directory is never used twice.
    pub(crate) fn create(path: PathBuf, clock: WallClock) -> Result<Self, RunError> {
        let file = fs_err::OpenOptions::new().append(true).create_new(true).open(&path);
        match file {
            Ok(file) => Ok(Self { path, file, clock, start: Instant::now(), seq: 0 }),
            Err(source) => Err(RunError::Record { path, source }),
        }
    }

    /// Writes one event, by one `write`, so that a reader never sees half of it unless we are killed in it.
    pub(crate) fn append(&mut self, session: Option<SessionId>, kind: EventKind) -> Result<Event, RunError> {
        self.seq += 1;
        let event = Event {
            v: event::VERSION,
            seq: self.seq,
            t: self.now(),
            wall: format!("{:.3}", (self.clock.0)()),
            session,
            kind,
        };
        self.write(&event).map_err(|source| RunError::Record { path: self.path.clone(), source })?;
        Ok(event)
    }

    /// Seconds since the timeline was started, to the microsecond.
    pub(crate) fn now(&self) -> f64 {
        (self.start.elapsed().as_secs_f64() * 1e6).round() / 1e6
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}
