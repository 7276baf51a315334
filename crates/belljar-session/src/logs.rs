//! What replicas and tasks say: a file each, from the first byte, with the time of every line.
//!
//! A line of a log file is `SECONDS out|err TEXT`. The files are the only truth: whoever follows a log reads the
//! file and is woken when it grows, so nobody loses a line by being slow.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use belljar_client::wire::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::timeline::round_to_microseconds;

pub use crate::log_reader::LogReader;

/// How many lines an event carries along when a process ended.
pub const LAST_LINES: usize = 20;
/// A line that is longer is cut in pieces of this many bytes, so that nobody can fill our memory.
const LONGEST_LINE: usize = 64 * 1024;
/// A log that has grown to this size is full: nobody reads more, and a replica that floods it must not fill the
/// disk.
const LARGEST_LOG: u64 = 256 << 20;
const FULL: &str = "(belljar: this log is full; what follows is not kept)";

/// All logs of one session.
#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    start: Instant,
    grown: watch::Sender<u64>,
    /// How many bytes one log may have.
    largest: u64,
}

impl Logs {
    pub fn new(dir: PathBuf, start: Instant) -> std::io::Result<Self> {
        fs_err::create_dir_all(&dir)?;
        Ok(Self { dir, start, grown: watch::Sender::new(0), largest: LARGEST_LOG })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Changes whenever a log has grown.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// The log of one replica or task; it goes on where an earlier process of it stopped.
    pub fn open(self: &Arc<Self>, from: &str) -> std::io::Result<Log> {
        let file = fs_err::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.dir.join(format!("{from}.log")))?;
        let size = AtomicU64::new(file.metadata()?.len());
        Ok(Log { logs: Arc::clone(self), file, size, last: Mutex::new(VecDeque::new()) })
    }
}

/// One process's way into its log.
#[derive(Debug)]
pub struct Log {
    logs: Arc<Logs>,
    file: fs_err::File,
    size: AtomicU64,
    last: Mutex<VecDeque<String>>,
}

impl Log {
    /// Copies everything from `reader` into the log until its end. Each line is shown to `each_line`.
    pub async fn pump(
        &self,
        stream: Stream,
        mut reader: impl AsyncRead + Unpin,
        mut each_line: impl FnMut(&str),
    ) -> std::io::Result<()> {
        let mut partial: Vec<u8> = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = reader.read(&mut buffer).await?;
            let ended = count == 0;
            partial.extend_from_slice(&buffer[..count]);
            let mut lines = Vec::new();
            let mut rest = partial.as_slice();
            while let Some(end) = rest.iter().position(|&b| b == b'\n') {
                lines.push(text_of(&rest[..end]));
                rest = &rest[end + 1..];
            }
            while rest.len() >= LONGEST_LINE || (ended && !rest.is_empty()) {
                let (piece, after) = rest.split_at(rest.len().min(LONGEST_LINE));
                lines.push(text_of(piece));
                rest = after;
            }
            partial = rest.to_vec();
            for line in &lines {
                each_line(line);
            }
            self.append(stream, lines)?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Writes lines, all with the time of now.
    pub fn append(&self, stream: Stream, lines: Vec<String>) -> std::io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let t = round_to_microseconds(self.logs.start.elapsed().as_secs_f64());
        let word = match stream {
            Stream::Out => "out",
            Stream::Err => "err",
        };
        let mut text = String::new();
        for line in &lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{t:.6} {word} {line}");
        }
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let before = self.size.fetch_add(length, Ordering::Relaxed);
        if before < self.logs.largest {
            if before.saturating_add(length) >= self.logs.largest {
                // Once, at the step over the edge. Writing to a String cannot fail.
                let _ = writeln!(text, "{t:.6} {word} {FULL}");
            }
            (&self.file).write_all(text.as_bytes())?;
        }
        let mut last = self.last.lock().expect("no panic while it is held");
        last.extend(lines);
        let surplus = last.len().saturating_sub(LAST_LINES);
        last.drain(..surplus);
        drop(last);
        self.logs.grown.send_modify(|version| *version += 1);
        Ok(())
    }

    /// What this process said last.
    pub fn last_lines(&self) -> Vec<String> {
        self.last.lock().expect("no panic while it is held").iter().cloned().collect()
    }
}

/// Bytes as text; a carriage return before the line's end is not part of the line.
fn text_of(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_line_arrives_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Arc::new(Logs::new(dir.path().to_owned(), Instant::now()).unwrap());
        let log = logs.open("api-1").unwrap();
        let mut reader = LogReader::new(dir.path().to_owned(), vec!["api".to_owned()]);
        assert_eq!(reader.read_new().unwrap(), vec![]);
        let mut seen = Vec::new();
        log.pump(Stream::Out, &b"one\r\ntwo\n\nlast without end"[..], |line| seen.push(line.to_owned()))
            .await
            .unwrap();
        let lines: Vec<String> = reader.read_new().unwrap().into_iter().map(|one| one.line).collect();
        assert_eq!(lines, ["one", "two", "", "last without end"]);
        assert_eq!(seen, lines);
        assert_eq!(log.last_lines(), lines);
        assert_eq!(reader.read_new().unwrap(), vec![]);
        assert_eq!(LogReader::new(dir.path().to_owned(), vec!["bus".to_owned()]).read_new().unwrap(), vec![]);
    }

    #[tokio::test]
    async fn a_full_log_says_so_and_grows_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs { largest: 1000, ..Logs::new(dir.path().to_owned(), Instant::now()).unwrap() };
        let logs = Arc::new(logs);
        for _ in 0..2 {
            let log = logs.open("api-1").unwrap();
            for number in 0..100 {
                log.append(Stream::Out, vec![format!("line {number}")]).unwrap();
            }
            assert_eq!(log.last_lines().len(), LAST_LINES, "what it said last is known all the same");
        }
        let text = fs_err::read_to_string(dir.path().join("api-1.log")).unwrap();
        assert!(text.len() < 1200, "{}", text.len());
        assert_eq!(text.matches(FULL).count(), 1, "{text}");
    }

    #[tokio::test]
    async fn a_line_without_end_does_not_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Arc::new(Logs::new(dir.path().to_owned(), Instant::now()).unwrap());
        let log = logs.open("api-1").unwrap();
        let long = vec![b'x'; 3 * LONGEST_LINE + 5];
        let mut lengths = Vec::new();
        log.pump(Stream::Err, long.as_slice(), |line| lengths.push(line.len())).await.unwrap();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, LONGEST_LINE, 5]);
    }
}
