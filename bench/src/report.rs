//! Rows as a Markdown table.

use std::io::Write as _;
use std::time::Duration;

use crate::measure::{Error, Samples};
use crate::milliseconds;

/// One line of the table.
pub(crate) struct Row {
    what: &'static str,
    median: Duration,
    p95: Duration,
    floor: Option<(&'static str, Duration)>,
    budget: &'static str,
}

impl Row {
    pub(crate) fn new(
        what: &'static str,
        samples: &Samples,
        floor: Option<(&'static str, &Samples)>,
        budget: &'static str,
    ) -> Self {
        let floor = floor.map(|(name, samples)| (name, samples.median()));
        Self { what, median: samples.median(), p95: samples.p95(), floor, budget }
    }
}

pub(crate) fn print(rows: &[Row]) {
    let mut text = String::from("| what | median | p95 | floor of this run | ratio | budget |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for row in rows {
        let (floor, ratio) = match row.floor {
            Some((name, floor)) => {
                let ratio = row.median.as_secs_f64() / floor.as_secs_f64();
                (format!("{name}: {}", milliseconds(floor)), format!("{ratio:.1} ×"))
            }
            None => (String::new(), String::new()),
        };
        let cells = [
            row.what.to_owned(),
            milliseconds(row.median),
            milliseconds(row.p95),
            floor,
            ratio,
            row.budget.to_owned(),
        ];
        text.push_str(&format_row(&cells));
    }
    // A closed pipe has no use for the table.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn format_row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

pub(crate) fn complain(error: &Error) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "bench: {error}");
}
