//! What replicas say on its way into a log, and log files on their way to readers.

use std::path::Path;
use std::sync::Arc;

use belljar_client::wire::{LogLine, Stream};
use belljar_session::logs::{LAST_LINES, LogReader, Logs};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::input::Input;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime without drivers");
}

/// What a process says is read as it was said, by a slow reader as by a fast one; a damaged file harms nobody.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let dir = super::scratch();
    if input.byte().is_multiple_of(2) {
        RUNTIME.with(|runtime| runtime.block_on(said(dir.path(), input)));
    } else {
        found(dir.path(), input);
    }
}

async fn said(dir: &Path, mut input: Input<'_>) {
    let logs = Arc::new(Logs::new(dir.to_owned(), Instant::now()).expect("the directory is there"));
    let log = logs.open("api-1").expect("the directory is there");
    let mut often = LogReader::new(dir.to_owned(), vec!["api".to_owned()]);
    let (mut seen, mut read) = (Vec::new(), Vec::new());
    // One process after another writes into the same log.
    while !input.is_empty() {
        let stream = input.one_of(&[Stream::Out, Stream::Err]);
        let length = input.below(4096);
        let bytes = input.bytes(length);
        let before = seen.len();
        log.pump(stream, bytes, |line| seen.push(line.to_owned())).await.expect("the disk has room");
        let lines = &seen[before..];
        assert!(lines.iter().all(|line| !line.contains('\n')));
        assert_eq!(lines.len(), bytes.split_inclusive(|&byte| byte == b'\n').count(), "a line was lost");
        let new = all_new(&mut often);
        assert!(new.iter().all(|line| line.from == "api-1" && line.stream == stream && line.t >= 0.0));
        read.extend(new.into_iter().map(|line| line.line));
    }
    assert_eq!(read, seen, "read otherwise than said");
    let at_once = all_new(&mut LogReader::new(dir.to_owned(), Vec::new()));
    assert_eq!(at_once.into_iter().map(|line| line.line).collect::<Vec<_>>(), seen);
    assert_eq!(log.last_lines(), seen[seen.len().saturating_sub(LAST_LINES)..]);
}

fn found(dir: &Path, mut input: Input<'_>) {
    let cut = input.below(256);
    let text = input.rest();
    let (start, end) = text.split_at(cut.min(text.len()));
    let file = dir.join("api-1.log");
    fs_err::write(&file, start).expect("the directory is there");
    let mut reader = LogReader::new(dir.to_owned(), Vec::new());
    let mut lines = all_new(&mut reader);
    fs_err::write(&file, [start, end].concat()).expect("the directory is there");
    lines.extend(all_new(&mut reader));
    for line in &lines {
        // What the client is sent, it can read.
        let sent = serde_json::to_string(line).expect("a line is JSON");
        let taken = serde_json::from_str(&sent);
        assert_eq!(taken.ok().as_ref(), Some(line), "{sent}");
    }
    let at_once = all_new(&mut LogReader::new(dir.to_owned(), Vec::new()));
    assert_eq!(at_once.len(), lines.len());
    assert!(at_once.iter().all(|line| lines.contains(line)));
}

/// All that has come since the last time, in however many pieces.
fn all_new(reader: &mut LogReader) -> Vec<LogLine> {
    let mut all = Vec::new();
    loop {
        let new = reader.read_new().expect("the files are there");
        if new.is_empty() {
            return all;
        }
        all.extend(new);
    }
}

pub const WORDS: &[&str] = &[
    "0.000001 out ",
    "1.5 err ",
    "\n",
    "\r\n",
    "\r\r\n",
    "\r",
    "NaN out x\n",
    "inf out x\n",
    "-1 err x\n",
    "1e400 out x\n",
    "out",
    "err",
    " ",
    "é",
    "\u{85}",
    "\u{2028}",
    "\u{1b}[0m",
    "\u{0}",
];
