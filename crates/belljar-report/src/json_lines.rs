//! `test --json`: every event of the timeline a line; the last is the summary document.

use std::io;

use belljar_model::RunEvent;

use crate::Reporter;

/// Writes the timeline as it stands in its file.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonLines;

impl Reporter for JsonLines {
    fn event(&mut self, event: &RunEvent, out: &mut dyn io::Write) -> io::Result<()> {
        let RunEvent::Event(event) = event else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        out.write_all(&line)?;
        // Whoever reads it waits for whole lines.
        out.flush()
    }

    fn close(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use belljar_model::{RunEvent, Summary};

    use super::JsonLines;
    use crate::Reporter as _;
    use crate::progress::tests::Script;

    #[test]
    fn every_event_is_a_line_and_the_last_is_the_summary() {
        let mut script = Script::new(&["pods::a"]);
        script.begins(0.1, "pods::a");
        script.passes(0.5, "pods::a");
        script.ends(0.6);
        let mut out = Vec::new();
        for event in &script.events {
            JsonLines.event(event, &mut out).unwrap();
        }
        JsonLines.event(&RunEvent::Tick { t: 0.7 }, &mut out).unwrap();
        JsonLines.event(&RunEvent::Note("note".to_owned()), &mut out).unwrap();

        let text = String::from_utf8(out).unwrap();
        let documents: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<_> = documents.iter().map(|one| one["kind"].as_str().unwrap()).collect();
        let expected = [
            "run.started",
            "scenario.started",
            "attempt.started",
            "attempt.ended",
            "scenario.ended",
            "run.ended",
        ];
        assert_eq!(kinds, expected);
        let summary: Summary = serde_json::from_value(documents.last().unwrap().clone()).unwrap();
        assert_eq!((summary.counts.passed, summary.peak_in_flight), (1, 1));
    }
}
