//! A run for people: a line for each scenario that has ended, and, on a terminal, a few lines below them that show
//! what is going on.

use std::io;

use belljar_model::{Event, EventKind, RunEvent, Summary};

use crate::Reporter;
use crate::lines;
use crate::progress::{Progress, Slot};
use crate::style::{Style, cut, harmless};

/// Not more often than this is anything redrawn, in seconds.
const REDRAW: f64 = 0.1;

/// How many attempts are shown one by one.
const SLOTS: usize = 8;

/// Shows a run as text.
#[derive(Debug)]
pub struct Terminal {
    style: Style,
    progress: Progress,
    /// Where something can be drawn over.
    live: Option<Live>,
    /// Lines that stay, and are not written yet.
    waiting: Vec<String>,
}

/// The lines that are drawn again and again.
#[derive(Debug)]
struct Live {
    columns: usize,
    /// What stands there now.
    shown: Vec<String>,
    /// When it was drawn, on the run's clock.
    drawn: f64,
}

impl Terminal {
    /// For a file or a pipe: lines that stay, and nothing else.
    pub fn plain(colours: bool) -> Self {
        Self { style: Style { colours }, progress: Progress::default(), live: None, waiting: Vec::new() }
    }

    /// For a terminal of this width.
    pub fn live(columns: usize, colours: bool) -> Self {
        let live = Live { columns, shown: Vec::new(), drawn: f64::NEG_INFINITY };
        Self { live: Some(live), ..Self::plain(colours) }
    }

    /// The terminal has another width now.
    pub fn set_columns(&mut self, columns: usize) {
        if let Some(live) = &mut self.live {
            live.columns = columns;
        }
    }

    fn add(&mut self, event: &Event) -> io::Result<()> {
        for end in self.progress.add(event) {
            self.waiting.extend(lines::scenario(&end, self.style));
        }
        if let EventKind::RunEnded { summary } = &event.kind {
            let summary: Summary = serde_json::from_value(summary.clone().into())?;
            self.waiting.push(summary.line());
        }
        Ok(())
    }

    /// Writes what stays, and below it what goes on.
    fn draw(&mut self, t: f64, out: &mut dyn io::Write) -> io::Result<()> {
        let mut text = String::new();
        if let Some(live) = &mut self.live {
            if t - live.drawn < REDRAW {
                return Ok(());
            }
            let picture = picture(&self.progress, t, live.columns);
            if self.waiting.is_empty() && picture == live.shown {
                return Ok(());
            }
            text.push_str(&live.erase());
            push_lines(&mut text, &self.waiting);
            push_lines(&mut text, &picture);
            live.shown = picture;
            live.drawn = t;
        } else {
            push_lines(&mut text, &self.waiting);
        }
        self.waiting.clear();
        write(&text, out)
    }
}

impl Reporter for Terminal {
    fn event(&mut self, event: &RunEvent, out: &mut dyn io::Write) -> io::Result<()> {
        match event {
            RunEvent::Event(event) => {
                self.add(event)?;
                if matches!(event.kind, EventKind::RunEnded { .. }) {
                    return self.close(out);
                }
                self.draw(event.t, out)
            }
            RunEvent::Tick { t } => self.draw(*t, out),
            RunEvent::Note(note) => {
                self.waiting.push(format!("note: {}", harmless(note)));
                // A note has no time of its own. The picture gets it with the next event.
                if self.live.is_some() { Ok(()) } else { self.draw(0.0, out) }
            }
        }
    }

    fn close(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut text = self.live.as_mut().map(Live::erase).unwrap_or_default();
        push_lines(&mut text, &self.waiting);
        self.waiting.clear();
        write(&text, out)
    }
}

impl Live {
    /// Back to where the first of the lines starts, with nothing below.
    fn erase(&mut self) -> String {
        let lines = std::mem::take(&mut self.shown).len();
        if lines == 0 { String::new() } else { format!("\r\x1b[{lines}A\x1b[J") }
    }
}

/// What is going on, in few lines that fit.
fn picture(progress: &Progress, t: f64, columns: usize) -> Vec<String> {
    let running: Vec<&Slot> = progress.slots.iter().flatten().collect();
    // A full line would make some terminals begin another.
    let width = columns.saturating_sub(1).max(1);
    let counts = &progress.counts;
    let mut first = vec![format!("{}/{} scenarios in {}", progress.ended, progress.total, seconds(t))];
    let counts = [
        (counts.passed, "passed"),
        (counts.failed, "failed"),
        (counts.timed_out, "timed-out"),
        (counts.flaky, "flaky"),
        (counts.leaked, "leaked"),
        (counts.setup_failed, "setup-failed"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "skipped"),
    ];
    first
        .extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    let mut lines = vec![cut(&first.join(", "), width)];
    let room = if running.len() > SLOTS { SLOTS - 1 } else { SLOTS };
    for slot in running.iter().take(room) {
        lines.push(slot_line(slot, t, width));
    }
    if running.len() > room {
        lines.push(cut(&format!("  and {} more", running.len() - room), width));
    }
    lines
}

/// `  pods::cluster-smoke            12s`, with the time at the right edge.
fn slot_line(slot: &Slot, t: f64, width: usize) -> String {
    let again = if slot.attempt > 1 { format!(" (attempt {})", slot.attempt) } else { String::new() };
    let since = seconds(t - slot.since);
    let room = width.min(80).saturating_sub(since.len() + 1);
    let name = cut(&format!("  {}{again}", harmless(slot.scenario.as_str())), room);
    cut(&format!("{name:room$} {since}"), width)
}

/// Whole seconds: what changes once a second is redrawn once a second.
fn seconds(seconds: f64) -> String {
    format!("{}s", seconds.max(0.0).floor())
}

fn push_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}

fn write(text: &str, out: &mut dyn io::Write) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use belljar_model::{AttemptOutcome, ScenarioOutcome};

    use super::*;
    use crate::progress::AttemptEnd;
    use crate::progress::tests::{Script, end};

    /// Collects what is written, one element for each write.
    #[derive(Default)]
    struct Writes(Vec<String>);

    impl io::Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a terminal shows after all that was written: it knows the line's end, the way up and erasing.
    fn screen(text: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut row = 0;
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("\r\x1b[") {
                let (up, after) = after.split_once('A').unwrap();
                row -= up.parse::<usize>().unwrap();
                rest = after.strip_prefix("\x1b[J").unwrap();
                lines.truncate(row + 1);
                lines[row].clear();
            } else {
                let (line, after) = rest.split_once('\n').unwrap();
                lines[row].push_str(line);
                row += 1;
                lines.push(String::new());
                rest = after;
            }
        }
        assert_eq!(lines.pop().as_deref(), Some(""), "the cursor is at the start of an empty line");
        lines
    }

    fn show(terminal: &mut Terminal, events: &[RunEvent]) -> Vec<String> {
        let mut writes = Writes::default();
        for event in events {
            terminal.event(event, &mut writes).unwrap();
        }
        writes.0
    }

    fn script() -> Script {
        let mut script = Script::new(&["pods::cluster-smoke", "pods::pod-death", "pods::psql"]);
        let skipped = end(AttemptOutcome::Skipped, Some("needs the command `psql`"));
        script.attempt_ends(0.01, "pods::psql", 1, skipped);
        script.scenario_ends(0.01, "pods::psql", ScenarioOutcome::Skipped);
        script.begins(0.02, "pods::cluster-smoke");
        script.begins(0.3, "pods::pod-death");
        let failed = AttemptEnd {
            kept: Some("/state/sessions/k3f9-x2ab".into()),
            last_lines: vec!["curl: (22) 503".to_owned()],
            ..end(AttemptOutcome::Failed, Some("exit code 22"))
        };
        script.attempt_ends(2.5, "pods::pod-death", 1, failed);
        script.scenario_ends(2.5, "pods::pod-death", ScenarioOutcome::Failed);
        script
    }

    const END: [&str; 6] = [
        "PASS pods::cluster-smoke 1.20s",
        "FAIL pods::pod-death 1.20s: exit code 22",
        "  the last lines of scenario.log:",
        "  | curl: (22) 503",
        "  kept: /state/sessions/k3f9-x2ab",
        "SKIP pods::psql: needs the command `psql`",
    ];
    const SUMMARY: &str = "belljar: 1 passed, 1 failed, 0 timed-out, 0 flaky, 0 leaked, 0 setup-failed, \
                           0 cancelled, 1 skipped in 8.41s (peak 1 at once)";

    #[test]
    fn a_file_gets_lines_in_the_order_of_the_suite_and_the_summary() {
        let mut script = script();
        script.passes(3.0, "pods::cluster-smoke");
        script.ends(3.1);
        script.events.insert(1, RunEvent::Note("`scenarios/lib.sh` is not executable".to_owned()));
        let text = show(&mut Terminal::plain(false), &script.events).concat();
        let mut expected = vec!["note: `scenarios/lib.sh` is not executable"];
        expected.extend(END);
        expected.push(SUMMARY);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_terminal_shows_what_goes_on_below_what_stays() {
        let mut script = script();
        script.attempt_begins(2.6, "pods::pod-death", 2);
        script.events.push(RunEvent::Tick { t: 14.2 });
        let mut terminal = Terminal::live(40, false);
        let mut text = show(&mut terminal, &script.events).concat();
        let expected = [
            "2/3 scenarios in 14s, 1 failed, 1 skipp…",
            "  pods::cluster-smoke               14s",
            "  pods::pod-death (attempt 2)       11s",
        ];
        let shown = screen(&text);
        assert!(shown.iter().all(|line| line.chars().count() < 40), "{shown:#?}");
        assert_eq!(shown[1..], expected[1..]);
        assert_eq!(shown[0], cut("2/3 scenarios in 14s, 1 failed, 1 skipped", 39));

        let done = script.events.len();
        script.passes(15.0, "pods::cluster-smoke");
        script.ends(15.01);
        text.push_str(&show(&mut terminal, &script.events[done..]).concat());
        let mut expected = END.to_vec();
        expected.push(SUMMARY);
        assert_eq!(screen(&text), expected);
    }

    #[test]
    fn it_is_redrawn_ten_times_a_second_at_most_and_only_on_change() {
        let mut terminal = Terminal::live(80, false);
        let mut script = Script::new(&["s::a"]);
        script.begins(0.05, "s::a");
        show(&mut terminal, &script.events);
        let ticks: Vec<RunEvent> =
            (1..=3100).map(|step| RunEvent::Tick { t: 0.05 + f64::from(step) * 0.001 }).collect();
        let writes = show(&mut terminal, &ticks);
        // Once for the attempt that began, and once for each second that is over, for the run and for it.
        assert_eq!(writes.len(), 1 + 3 + 3, "{writes:#?}");
    }

    #[test]
    fn many_at_once_are_counted() {
        let names: Vec<String> = (10..30).map(|number| format!("s::{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut script = Script::new(&names);
        for name in &names {
            script.begins(0.0, name);
        }
        script.events.push(RunEvent::Tick { t: 1.0 });
        let shown = screen(&show(&mut Terminal::live(80, false), &script.events).concat());
        assert_eq!(shown.len(), 1 + SLOTS);
        assert_eq!(shown[SLOTS], "  and 13 more");
    }

    #[test]
    fn closing_early_leaves_no_half_picture() {
        let mut terminal = Terminal::live(80, false);
        let mut text = show(&mut terminal, &script().events).concat();
        let mut rest = Writes::default();
        terminal.close(&mut rest).unwrap();
        text.push_str(&rest.0.concat());
        assert_eq!(screen(&text), Vec::<String>::new());
    }
}
