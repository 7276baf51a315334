//! What replicas and tasks say: a file each, from the first byte, with the time of every line.
//!
//! A line of a log file is `SECONDS out|err TEXT`. The files are the only truth: whoever follows a log reads the
//! file and is woken when it grows, so nobody loses a line by being slow.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use belljar_client::wire::{LogLine, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::timeline::round_to_microseconds;

/// How many lines an event carries along when a process ended.
pub const LAST_LINES: usize = 20;
/// A line that is longer is cut in pieces of this many bytes, so that nobody can fill our memory.
const LONGEST_LINE: usize = 64 * 1024;

/// All logs of one session.
#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    start: Instant,
    grown: watch::Sender<u64>,
}

impl Logs {
    pub fn new(dir: PathBuf, start: Instant) -> std::io::Result<Self> {
        fs_err::create_dir_all(&dir)?;
        Ok(Self { dir, start, grown: watch::Sender::new(0) })
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
        Ok(Log { logs: Arc::clone(self), file, last: Mutex::new(VecDeque::new()) })
    }
}

/// One process's way into its log.
#[derive(Debug)]
pub struct Log {
    logs: Arc<Logs>,
    file: fs_err::File,
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
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{t:.6} {word} {line}");
        }
        (&self.file).write_all(text.as_bytes())?;
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

/// Reads the logs of a session from their files, again and again as they grow.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    /// Only of these (replicas, services or tasks); all where it is empty.
    from: Vec<String>,
    offsets: BTreeMap<String, u64>,
}

impl LogReader {
    pub fn new(dir: PathBuf, from: Vec<String>) -> Self {
        Self { dir, from, offsets: BTreeMap::new() }
    }

    /// The lines that were added since the last call, in the order of their time.
    pub fn read_new(&mut self) -> std::io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        for name in self.names()? {
            let offset = self.offsets.entry(name.clone()).or_insert(0);
            let mut file = fs_err::File::open(self.dir.join(format!("{name}.log")))?;
            file.seek(SeekFrom::Start(*offset))?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            // A line that is still being written is left for the next time.
            let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
            *offset += u64::try_from(whole).unwrap_or_default();
            let text = String::from_utf8_lossy(&text[..whole]);
            lines.extend(text.lines().filter_map(|line| parse_line(&name, line)));
        }
        lines.sort_by(|a, b| a.t.total_cmp(&b.t));
        Ok(lines)
    }

    fn names(&self) -> std::io::Result<Vec<String>> {
        let entries = match fs_err::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".log") {
                let service = name.rsplit_once('-').map_or(name, |(service, _)| service);
                if self.from.is_empty() || self.from.iter().any(|one| one == name || one == service) {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

fn parse_line(from: &str, line: &str) -> Option<LogLine> {
    let (t, rest) = line.split_once(' ')?;
    let (stream, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let stream = match stream {
        "out" => Stream::Out,
        "err" => Stream::Err,
        _ => return None,
    };
    Some(LogLine { from: from.to_owned(), t: t.parse().ok()?, stream, line: text.to_owned() })
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
