//! Answers that come line by line: events and logs.

use belljar_model::Event;
use belljar_model::event::VERSION;
use serde_json::{Map, Value};

use crate::connection::Answer;
use crate::error::ClientError;
use crate::wire::{ErrorBody, LogLine};

/// The longest line that is read. A peer that never ends its line is not of this protocol.
const MAX_LINE: usize = 16 << 20;

/// A session's events, in order (`text/event-stream`).
#[derive(Debug)]
pub struct EventStream {
    lines: Lines,
    /// The `data` of the message that is being read; several lines of it are joined by line ends.
    data: Option<String>,
    /// The message tells an error, not an event.
    is_error: bool,
    skipped: u64,
}

impl EventStream {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { lines: Lines::new(answer), data: None, is_error: false, skipped: 0 }
    }

    /// The next event; `None` once the session has ended, or told all it has. A call that is dropped loses
    /// nothing.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        while let Some(line) = self.lines.next().await? {
            if line.is_empty() {
                let Some(data) = self.data.take() else { continue };
                if self.is_error {
                    return Err(told_error(&data));
                }
                match read_event(&data)? {
                    Some(event) => return Ok(Some(event)),
                    None => self.skipped += 1,
                }
            } else if let Some(value) = line.strip_prefix("data:") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut self.data {
                    None => self.data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                }
            }
            if line == "event: error" {
                self.is_error = true;
            }
            // Other fields and comments (`id:`, `retry:`, `: still here`) say nothing that the event does not.
        }
        Ok(None)
    }

    /// How many events were of a kind that this program does not know.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// What the server says in the place of the rest of a stream.
fn told_error(text: &str) -> ClientError {
    match serde_json::from_str::<ErrorBody>(text) {
        Ok(body) => ClientError::Refused(body.error),
        Err(source) => ClientError::unreadable("its error is none", source),
    }
}

/// Lines of logs (`application/jsonl`).
#[derive(Debug)]
pub struct LogStream {
    lines: Lines,
}

impl LogStream {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { lines: Lines::new(answer) }
    }

    /// The next line; `None` at the end. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        while let Some(line) = self.lines.next().await? {
            if !line.is_empty() {
                let line = match serde_json::from_str(&line) {
                    Ok(line) => line,
                    Err(_) if serde_json::from_str::<ErrorBody>(&line).is_ok() => {
                        return Err(told_error(&line));
                    }
                    Err(source) => {
                        return Err(ClientError::unreadable("a line of the logs is not one", source));
                    }
                };
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}

/// One event, or `None` where it is of a newer belljar.
fn read_event(data: &str) -> Result<Option<Event>, ClientError> {
    match serde_json::from_str::<Event>(data) {
        Ok(event) if event.v == VERSION => Ok(Some(event)),
        Ok(_) => Ok(None),
        // Well-formed, and of a kind that is not known here; anything else is damage.
        Err(source) => match serde_json::from_str::<Map<String, Value>>(data) {
            Ok(object) if object.contains_key("kind") && object.contains_key("seq") => Ok(None),
            _ => Err(ClientError::unreadable("an event is not one", source)),
        },
    }
}

/// An answer's lines, without their ends.
#[derive(Debug)]
struct Lines {
    answer: Answer,
    buffer: Vec<u8>,
    /// How much of the buffer has been given out.
    taken: usize,
    /// How much of it holds no end of a line.
    searched: usize,
}

impl Lines {
    fn new(answer: Answer) -> Self {
        Self { answer, buffer: Vec::new(), taken: 0, searched: 0 }
    }

    async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let end = self.searched + at;
                let line = &self.buffer[self.taken..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.taken = end + 1;
                self.searched = self.taken;
                return String::from_utf8(line)
                    .map(Some)
                    .map_err(|source| ClientError::unreadable("a line is not UTF-8", source));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::protocol(format!("a line is longer than {MAX_LINE} bytes")));
            }
            match self.answer.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ClientError::protocol("it ends in the middle of a line")),
            }
        }
    }
}
