//! What a command says: its output and its errors through one pipe, so that their order is kept, into one file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// How many lines are shown of what did not pass.
pub(crate) const LAST_LINES: usize = 30;

/// A line that is longer is cut, so that nobody can fill our memory.
const LONGEST_LINE: usize = 4 * 1024;

/// The copying, which goes on until nobody holds the pipe any more.
#[derive(Debug)]
pub(crate) struct Capture(JoinHandle<io::Result<Vec<String>>>);

impl Capture {
    /// Starts copying to `file`. The descriptors are a command's standard input, output and error.
    pub(crate) fn start(mut file: File) -> io::Result<(Self, [OwnedFd; 3])> {
        let (reader, writer) = io::pipe()?;
        let stdio = [
            fs_err::File::open("/dev/null")?.into_parts().0.into(),
            writer.try_clone()?.into(),
            writer.into(),
        ];
        let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let copying = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let mut last = LastLines::default();
            loop {
                let count = reader.read(&mut buffer).await?;
                if count == 0 {
                    return Ok(last.finish());
                }
                file.write_all(&buffer[..count])?;
                last.feed(&buffer[..count]);
            }
        });
        Ok((Self(copying), stdio))
    }

    /// The last lines of all that was said. To be asked for when everything that could hold the pipe has ended.
    pub(crate) async fn last_lines(self) -> io::Result<Vec<String>> {
        self.0.await.map_err(io::Error::other)?
    }
}

#[derive(Debug, Default)]
struct LastLines {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl LastLines {
    fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = LONGEST_LINE.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.push();
            }
        }
    }

    fn push(&mut self) {
        let line = std::mem::take(&mut self.partial);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if self.lines.len() == LAST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(String::from_utf8_lossy(line).into_owned());
    }

    fn finish(mut self) -> Vec<String> {
        if !self.partial.is_empty() {
            self.push();
        }
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Capture, LAST_LINES, LONGEST_LINE, LastLines};

    #[test]
    fn the_last_lines_are_kept_however_they_are_cut() {
        let text = (0..100).map(|number| format!("line {number}\r\n")).collect::<Vec<_>>().concat();
        for size in [1, 7, 4096] {
            let mut last = LastLines::default();
            text.as_bytes().chunks(size).for_each(|chunk| last.feed(chunk));
            last.feed(b"no end");
            let lines = last.finish();
            assert_eq!(lines.len(), LAST_LINES);
            assert_eq!(lines[LAST_LINES - 2..], ["line 99", "no end"]);
        }
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut last = LastLines::default();
        last.feed(&vec![b'x'; 3 * LONGEST_LINE]);
        last.feed(b"yyy\nnext\n");
        let lines = last.finish();
        assert_eq!((lines[0].len(), lines[1].as_str()), (LONGEST_LINE, "next"));
    }

    #[tokio::test]
    async fn output_and_errors_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = fs_err::File::create(&path).unwrap().into_parts().0;
        let (capture, [_, out, err]) = Capture::start(file).unwrap();
        let (mut out, mut err) = (std::fs::File::from(out), std::fs::File::from(err));
        for number in 0..50 {
            writeln!(out, "out {number}").unwrap();
            writeln!(err, "err {number}").unwrap();
        }
        drop((out, err));
        let lines = capture.last_lines().await.unwrap();
        assert_eq!(lines[LAST_LINES - 2..], ["out 49", "err 49"]);
        let whole = fs_err::read_to_string(&path).unwrap();
        let expected: Vec<_> = (0..50).map(|number| format!("out {number}\nerr {number}\n")).collect();
        assert_eq!(whole, expected.concat());
    }
}
