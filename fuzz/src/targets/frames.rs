//! The frames of an exec channel.

use belljar_client::frame::{FrameError, FrameReader, MAX_PAYLOAD, read_frame};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime without drivers");
}

/// Both readers read the same, and what they read is written as it was.
pub fn run(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(check(data)));
}

async fn check(data: &[u8]) {
    let mut plain = data;
    let mut buffered = FrameReader::new(data);
    loop {
        let before = data.len() - plain.len();
        let (one, other) = (read_frame(&mut plain).await, buffered.next().await);
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
        match one {
            Ok(Some(frame)) => {
                let written = frame.encode().unwrap_or_else(|error| panic!("{frame:?} was read: {error}"));
                let again = read_frame(&mut &*written).await;
                assert!(matches!(&again, Ok(Some(again)) if *again == frame), "{frame:?} became {again:?}");
                assert!(written.len() <= MAX_PAYLOAD + 5 || !data[before..].is_empty());
            }
            Ok(None) => break,
            Err(error) => {
                assert!(!matches!(error, FrameError::Io(_)), "nothing was wrong with the connection");
                break;
            }
        }
    }
}

pub const WORDS: &[&str] = &[
    "\u{0}\u{0}\u{0}\u{0}\u{1}x",
    "\u{3}\u{0}\u{0}\u{0}\u{0}",
    "\u{4}\u{0}\u{0}\u{0}\u{4}",
    "\u{5}\u{0}\u{0}\u{0}\u{4}",
    "\u{6}\u{0}\u{0}\u{0}\u{a}{\"code\":7}",
    "\u{6}\u{0}\u{0}\u{0}\u{2}{}",
    "\u{7}\u{0}\u{0}\u{0}\u{2}{}",
    "{\"code\":\"internal\",\"message\":\"x\",\"hints\":[]}",
    "{\"signal\":\"SIGKILL\"}",
    "\"code\":null",
    "\u{0}\u{10}\u{0}\u{0}",
    "\u{0}\u{10}\u{0}\u{1}",
];
