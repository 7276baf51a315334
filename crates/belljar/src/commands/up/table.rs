//! The live table of an attached session: what its events and logs add up to, drawn for a terminal of some size.

use std::collections::BTreeMap;

use belljar_client::wire::{LogLine, SessionView};
use belljar_model::{Event, EventKind, Folded, ReplicaState, SessionState, TaskState};

use crate::printer::Printer;

/// What is known of a session at a moment.
#[derive(Debug)]
pub(super) struct Table {
    heading: String,
    folded: Folded,
    /// Addresses by replica, with the first port.
    addresses: BTreeMap<String, String>,
    /// When each replica or task came into the state that it is in, in seconds of the session.
    since: BTreeMap<String, (String, f64)>,
    last_lines: BTreeMap<String, String>,
    /// When the session will end by itself, in seconds of the session.
    ends: Option<f64>,
}

/// One line of the table.
struct Row {
    name: String,
    state: &'static str,
    since: String,
    restarts: String,
    address: String,
    last_line: String,
}

const HEADINGS: [&str; 6] = ["NAME", "STATE", "SINCE", "RESTARTS", "ADDRESS", "LAST LINE"];
/// Longer names are cut: the last line is what people look at.
const LONGEST_NAME: usize = 20;
/// The line above the table, its headings, and the line below it.
const AROUND: usize = 3;

impl Table {
    pub(super) fn new(view: &SessionView) -> Self {
        let mut table = Self {
            heading: format!("{} ({})", view.name, view.id),
            folded: Folded::default(),
            addresses: BTreeMap::new(),
            since: BTreeMap::new(),
            last_lines: BTreeMap::new(),
            ends: None,
        };
        table.learn(view);
        table
    }

    /// Takes in what no event tells: where replicas are.
    pub(super) fn learn(&mut self, view: &SessionView) {
        for replica in view.services.values().flat_map(|service| &service.replicas) {
            let port = replica.ports.values().next();
            let address =
                port.map_or_else(|| replica.host.clone(), |port| format!("{}:{port}", replica.host));
            self.addresses.insert(replica.name.to_string(), address);
        }
    }

    /// Takes an event in; whether it names a replica whose address is not known.
    pub(super) fn take(&mut self, event: &Event) -> bool {
        self.folded.add(event);
        if let EventKind::SessionExpires { within_ms } = event.kind {
            self.ends = Some(event.t + std::time::Duration::from_millis(within_ms).as_secs_f64());
        }
        let replicas = self.folded.replicas.iter().map(|(name, one)| (name.to_string(), one.state.as_str()));
        let tasks = self.folded.tasks.iter().map(|(name, one)| (name.to_string(), one.state.as_str()));
        for (name, state) in replicas.chain(tasks) {
            let known = self.since.entry(name).or_insert_with(|| (state.to_owned(), event.t));
            if known.0 != state {
                *known = (state.to_owned(), event.t);
            }
        }
        self.folded.replicas.keys().any(|name| !self.addresses.contains_key(name.as_str()))
    }

    pub(super) fn take_line(&mut self, line: &LogLine) {
        self.last_lines.insert(line.from.clone(), plain(&line.line));
    }

    pub(super) fn state(&self) -> SessionState {
        self.folded.state.unwrap_or(SessionState::Starting)
    }

    pub(super) fn why(&self) -> Option<&str> {
        self.folded.why.as_deref()
    }

    /// The lines for a terminal of this size, at this moment of the session.
    pub(super) fn draw(
        &self,
        printer: Printer,
        rows: usize,
        columns: usize,
        now: f64,
        below: &str,
    ) -> Vec<String> {
        let mut lines = vec![self.first_line(printer, columns, now)];
        let all = self.rows(now);
        let room = rows.saturating_sub(AROUND + 1).max(1);
        let (shown, hidden) = if all.len() > room { some(all, room - 1) } else { (all, 0) };
        let widths = widths(&shown, columns);
        lines.push(cut(&cells(&HEADINGS.map(str::to_owned), &widths), columns));
        for row in shown {
            lines.push(row.draw(printer, &widths));
        }
        if hidden > 0 {
            lines.push(cut(&format!("… and {hidden} more"), columns));
        }
        lines.push(cut(below, columns));
        lines
    }

    fn first_line(&self, printer: Printer, columns: usize, now: f64) -> String {
        let state = self.state();
        let mut rest = String::new();
        if let Some(why) = self.why() {
            rest = format!(": {why}");
        } else if let Some(ends) = self.ends {
            rest = format!(", ends by itself in {}", coarse(ends - now));
        }
        let room = columns.saturating_sub(self.heading.chars().count() + 2 + state.as_str().len());
        format!("{}  {}{}", self.heading, printer.state(state.as_str()), cut(&plain(&rest), room))
    }

    fn rows(&self, now: f64) -> Vec<Row> {
        let row = |name: &str, state: &'static str, generation: u32, is_task: bool| {
            let since = self.since.get(name).map_or(now, |(_, since)| *since);
            Row {
                name: if is_task { format!("{name} (task)") } else { name.to_owned() },
                state,
                since: coarse(now - since),
                restarts: if is_task { String::new() } else { generation.saturating_sub(1).to_string() },
                address: self.addresses.get(name).filter(|_| !is_task).cloned().unwrap_or_default(),
                last_line: self.last_lines.get(name).cloned().unwrap_or_default(),
            }
        };
        let mut replicas: Vec<_> = self.folded.replicas.iter().collect();
        // `api-10` comes after `api-9`.
        replicas.sort_by_key(|(name, _)| (name.service(), name.number()));
        let replicas = replicas
            .into_iter()
            .map(|(name, one)| row(name.as_str(), one.state.as_str(), one.generation, false));
        let tasks =
            self.folded.tasks.iter().map(|(name, one)| row(name.as_str(), one.state.as_str(), 1, true));
        replicas.chain(tasks).collect()
    }
}

/// What is not as it should be comes first, in the order that it had; how many are left out.
fn some(mut rows: Vec<Row>, room: usize) -> (Vec<Row>, usize) {
    let is_well =
        |row: &Row| [ReplicaState::Ready.as_str(), TaskState::Succeeded.as_str()].contains(&row.state);
    rows.sort_by_key(is_well);
    let hidden = rows.len().saturating_sub(room);
    rows.truncate(room);
    (rows, hidden)
}

impl Row {
    fn cells(&self) -> [String; 6] {
        [
            cut(&self.name, LONGEST_NAME),
            self.state.to_owned(),
            self.since.clone(),
            self.restarts.clone(),
            self.address.clone(),
            self.last_line.clone(),
        ]
    }

    fn draw(&self, printer: Printer, widths: &[usize; 6]) -> String {
        let line = cells(&self.cells(), widths);
        // The state's cell gets its colour when everything has its width.
        let at: usize = widths[0] + 2;
        let (before, rest) = split(&line, at);
        let (state, after) = split(&rest, self.state.len());
        format!("{before}{}{after}", printer.state(&state).as_str())
    }
}

/// Every column is as wide as its widest cell; the last one has what is left.
fn widths(rows: &[Row], columns: usize) -> [usize; 6] {
    let mut widths = HEADINGS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let before: usize = widths[..5].iter().map(|width| width + 2).sum();
    widths[5] = columns.saturating_sub(before);
    widths
}

fn cells(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cut(cell, *width);
        let missing = width.saturating_sub(cell.chars().count());
        line.push_str(&cell);
        line.push_str(&" ".repeat(missing + 2));
    }
    line.trim_end().to_owned()
}

fn split(line: &str, at: usize) -> (String, String) {
    (line.chars().take(at).collect(), line.chars().skip(at).collect())
}

/// At most so many characters; what was cut off leaves a mark.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    match width {
        0 => String::new(),
        _ => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

/// Without what a terminal would take for orders.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => {
                // `ESC [ … letter` as a whole; of others their first letter.
                if letters.next() == Some('[') {
                    letters.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            '\t' => plain.push(' '),
            one if one.is_control() => {}
            one => plain.push(one),
        }
    }
    plain
}

/// As coarse as anybody reads it.
fn coarse(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).map_or(0, |time| time.as_secs());
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86400, whole % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use belljar_client::wire::Stream;
    use belljar_model::event::VERSION;
    use belljar_model::{Cause, ReplicaName, SessionId, SessionName, StackName};

    use super::*;
    use crate::printer::ColorChoice;

    fn table() -> Table {
        let view = SessionView {
            id: SessionId::new("k3f9-x2ab").unwrap(),
            name: SessionName::new("pods").unwrap(),
            stack: StackName::new("pods").unwrap(),
            state: SessionState::Ready,
            why: None,
            seq: 0,
            services: BTreeMap::new(),
            tasks: BTreeMap::new(),
            metrics: None,
        };
        let mut table = Table::new(&view);
        let mut seq = 0;
        let mut give = |t: f64, kind: EventKind| {
            seq += 1;
            table.take(&Event { v: VERSION, seq, t, wall: String::new(), session: None, kind });
        };
        for (name, generation) in [("api-1", 1), ("api-2", 3), ("api-10", 1)] {
            let replica = ReplicaName::new(name).unwrap();
            give(1.0, EventKind::ReplicaStarting { replica: replica.clone(), generation, by: Cause::Plan });
            give(2.0, EventKind::ReplicaStarted { replica: replica.clone(), generation, pid: 7 });
            if name != "api-10" {
                give(3.0, EventKind::ReplicaReady { replica, generation, ready_ms: 1.0 });
            }
        }
        give(4.0, EventKind::SessionReady {});
        give(4.0, EventKind::SessionExpires { within_ms: 7_200_000 });
        for name in ["api-1", "api-2", "api-10"] {
            table.addresses.insert(name.to_owned(), "10.77.2.1:8080".to_owned());
        }
        let line = "\x1b[32mlistening\x1b[0m on 0.0.0.0:8080 with everything that it takes to be a long line"
            .to_owned();
        table.take_line(&LogLine { from: "api-2".to_owned(), t: 3.0, stream: Stream::Out, line });
        table
    }

    #[test]
    fn it_fits_the_terminal() {
        let printer = Printer::new(false, ColorChoice::Never, true);
        let lines = table().draw(printer, 24, 80, 64.0, "q leaves it running");
        let expected = [
            "pods (k3f9-x2ab)  ready, ends by itself in 1h59m",
            "NAME    STATE    SINCE  RESTARTS  ADDRESS         LAST LINE",
            "api-1   ready    1m01s  0         10.77.2.1:8080",
            "api-2   ready    1m01s  2         10.77.2.1:8080  listening on 0.0.0.0:8080 wit…",
            "api-10  running  1m02s  0         10.77.2.1:8080",
            "q leaves it running",
        ];
        assert_eq!(lines, expected);
        for (rows, columns) in [(5, 20), (1, 1), (0, 0)] {
            let lines = table().draw(printer, rows, columns, 64.0, "q leaves it running");
            assert!(lines[1..].iter().all(|line| line.chars().count() <= columns.max(50)), "{lines:#?}");
        }
        let few = table().draw(printer, 6, 80, 64.0, "");
        assert!(few[2].starts_with("api-10") && few[3] == "… and 2 more", "{few:#?}");
    }
}
