//! The reader of recorded events, and the fold over what it reads.

use belljar_model::fold::Recording;
use belljar_model::{Folded, Selector};

/// Any text is answered with events that are written as they were read, or with the line that is none.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let recording = match Recording::read(&text) {
        Ok(recording) => recording,
        Err(error) => {
            assert!(
                (1..=text.lines().count().max(1)).contains(&error.line),
                "line {} of {text:?}",
                error.line
            );
            return;
        }
    };
    let whole = text.matches('\n').count();
    assert_eq!(recording.events.len() + recording.skipped, whole, "a line was lost");
    assert_eq!(recording.torn, !text.is_empty() && !text.ends_with('\n'));
    let folded = Folded::of(&recording.events);
    assert!(folded.session.is_none_or(|id| id.as_str().parse::<Selector>().is_ok()));
    let mut written = String::new();
    for event in &recording.events {
        written.push_str(&serde_json::to_string(event).expect("an event is JSON"));
        written.push('\n');
    }
    let again = Recording::read(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again.events, recording.events);
    assert_eq!((again.skipped, again.torn), (0, false));
}

pub const WORDS: &[&str] = &[
    r#"{"v":1,"seq":1,"t":0.0,"wall":"","kind":""#,
    "\"kind\":",
    "\"v\":1",
    "\"v\":2",
    "\"seq\":",
    "\"t\":",
    "\"session\":\"k3f9-x2ab\"",
    "session.starting",
    "session.ready",
    "session.degraded",
    "session.ended",
    "task.started",
    "task.succeeded",
    "task.failed",
    "replica.starting",
    "replica.started",
    "replica.ready",
    "replica.unhealthy",
    "replica.paused",
    "replica.resumed",
    "replica.stopping",
    "replica.exited",
    "fault.applied",
    "fault.healed",
    "run.started",
    "scenario.started",
    "attempt.ended",
    "run.ended",
    "\"replica\":\"api-1\"",
    "\"task\":\"migrate\"",
    "\"generation\":1",
    "\"by\":\"plan\"",
    "\"by\":\"restart-policy\"",
    "\"pid\":17",
    "\"code\":1",
    "\"signal\":\"SIGKILL\"",
    "\"expected\":true",
    "\"last_lines\":[]",
    "\"why\":\"x\"",
    "null",
    "1e400",
    "-0.0",
    "1E-400",
    "\\ud800",
    "\\u0000",
    "}\n",
    "{",
    "[",
    "[[[[[[[[",
];
