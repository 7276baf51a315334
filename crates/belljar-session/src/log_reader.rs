//! Reading logs back: of any size in little memory, merged by time, and again as they grow.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use belljar_client::wire::{LogLine, Stream};

/// How many lines one call gives at most.
const LINES_AT_ONCE: usize = 4096;
/// How much of a file is read at once.
const READ_AT_ONCE: u64 = 64 * 1024;

/// Reads the logs of a session from their files, again and again as they grow.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    /// Only of these (replicas, services or tasks); all where it is empty.
    from: Vec<String>,
    files: BTreeMap<String, LogFile>,
    /// Lines that were read ahead.
    ahead: Vec<LogLine>,
}

impl LogReader {
    pub fn new(dir: PathBuf, from: Vec<String>) -> Self {
        Self { dir, from, files: BTreeMap::new(), ahead: Vec::new() }
    }

    /// Goes to where the last `count` lines begin: the next calls give those, and what comes after them.
    pub fn go_to_last(&mut self, count: usize) -> std::io::Result<()> {
        self.find_files()?;
        for file in self.files.values_mut() {
            file.go_to_last(count)?;
        }
        let mut last = std::collections::VecDeque::new();
        loop {
            let lines = self.read_new()?;
            if lines.is_empty() {
                break;
            }
            last.extend(lines);
            let surplus = last.len().saturating_sub(count);
            last.drain(..surplus);
        }
        self.ahead = last.into();
        Ok(())
    }

    /// Lines that have not been given yet, in the order of their time; not all of them at once where they are
    /// many. None: there are no more now.
    pub fn read_new(&mut self) -> std::io::Result<Vec<LogLine>> {
        if !self.ahead.is_empty() {
            return Ok(std::mem::take(&mut self.ahead));
        }
        self.find_files()?;
        let mut lines = Vec::new();
        while lines.len() < LINES_AT_ONCE {
            let mut first: Option<(&String, f64)> = None;
            for (name, file) in &mut self.files {
                file.look(name)?;
                if let Some(line) = &file.next
                    && first.is_none_or(|(_, t)| line.t < t)
                {
                    first = Some((name, line.t));
                }
            }
            let Some((name, _)) = first else { break };
            let name = name.clone();
            lines.extend(self.files.get_mut(&name).and_then(|file| file.next.take()));
        }
        Ok(lines)
    }

    fn find_files(&mut self) -> std::io::Result<()> {
        let entries = match fs_err::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".log") else { continue };
            let service = name.rsplit_once('-').map_or(name, |(service, _)| service);
            let meant = self.from.is_empty() || self.from.iter().any(|one| one == name || one == service);
            if meant && !self.files.contains_key(name) {
                let file = fs_err::File::open(self.dir.join(format!("{name}.log")))?;
                self.files.insert(name.to_owned(), LogFile::new(file));
            }
        }
        Ok(())
    }
}

/// One file, read as far as its next line.
#[derive(Debug)]
struct LogFile {
    file: fs_err::File,
    /// Read, and not given yet; its first `taken` bytes are done with.
    buffer: Vec<u8>,
    taken: usize,
    next: Option<LogLine>,
}

impl LogFile {
    fn new(file: fs_err::File) -> Self {
        Self { file, buffer: Vec::new(), taken: 0, next: None }
    }

    /// Puts the next whole line into `next`, where there is one. One that is still being written is left.
    fn look(&mut self, name: &str) -> std::io::Result<()> {
        while self.next.is_none() {
            let rest = &self.buffer[self.taken..];
            if let Some(end) = rest.iter().position(|&b| b == b'\n') {
                self.next = parse_line(name, &String::from_utf8_lossy(&rest[..end]));
                self.taken += end + 1;
                continue;
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            if (&mut self.file).take(READ_AT_ONCE).read_to_end(&mut self.buffer)? == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Goes to where the last `count` lines begin, from the end of the file.
    fn go_to_last(&mut self, count: usize) -> std::io::Result<()> {
        let mut start = self.file.seek(SeekFrom::End(0))?;
        let mut line_ends = 0;
        let mut piece = Vec::new();
        while start > 0 {
            let length = start.min(READ_AT_ONCE);
            self.file.seek(SeekFrom::Start(start - length))?;
            piece.clear();
            (&mut self.file).take(length).read_to_end(&mut piece)?;
            for (place, _) in piece.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'\n') {
                line_ends += 1;
                // The end of the line before the first that is wanted.
                if line_ends > count {
                    start = start - length + u64::try_from(place).unwrap_or_default() + 1;
                    self.file.seek(SeekFrom::Start(start))?;
                    return Ok(());
                }
            }
            start -= length;
        }
        self.file.seek(SeekFrom::Start(0)).map(drop)
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
    // What is no number is no time, and JSON could not carry it.
    let t = t.parse().ok().filter(|t: &f64| t.is_finite())?;
    Some(LogLine { from: from.to_owned(), t, stream, line: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.line).collect()
    }

    #[test]
    fn files_are_merged_by_time_and_a_line_under_way_is_left() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("a-1.log"), "0.1 out one\n0.3 err three\n0.5 out fi").unwrap();
        fs_err::write(dir.path().join("b-1.log"), "0.2 out two\n0.4 out four\n").unwrap();
        let mut reader = LogReader::new(dir.path().to_owned(), Vec::new());
        assert_eq!(texts(reader.read_new().unwrap()), ["one", "two", "three", "four"]);
        assert_eq!(texts(reader.read_new().unwrap()), Vec::<String>::new());
        fs_err::write(dir.path().join("a-1.log"), "0.1 out one\n0.3 err three\n0.5 out five\n").unwrap();
        assert_eq!(texts(reader.read_new().unwrap()), ["five"]);
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let long: Vec<String> = (0..50_000).map(|number| format!("{number}.0 out line {number}\n")).collect();
        fs_err::write(dir.path().join("a-1.log"), long.concat()).unwrap();
        fs_err::write(dir.path().join("b-1.log"), "49998.5 out between\n").unwrap();
        for (count, expected) in
            [(0, vec![]), (1, vec!["line 49999"]), (3, vec!["line 49998", "between", "line 49999"])]
        {
            let mut reader = LogReader::new(dir.path().to_owned(), Vec::new());
            reader.go_to_last(count).unwrap();
            assert_eq!(texts(reader.read_new().unwrap()), expected);
            assert_eq!(texts(reader.read_new().unwrap()), Vec::<String>::new());
        }
        let mut reader = LogReader::new(dir.path().to_owned(), Vec::new());
        reader.go_to_last(1_000_000).unwrap();
        assert_eq!(reader.read_new().unwrap().len(), 50_001);
    }
}
