//! The only way to the terminal. Standard output is for what was asked, standard error for everything else.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use belljar_model::{ErrorCode, ExitCode};
use serde::Serialize;

use crate::error::{CliError, Result, internal};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) json: bool,
    /// Whether standard output (error) gets colours.
    out_color: bool,
    err_color: bool,
}

impl Printer {
    pub(crate) fn new(json: bool, color: ColorChoice, no_color: bool) -> Self {
        let decide = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self {
            json,
            out_color: decide(std::io::stdout().is_terminal()),
            err_color: decide(std::io::stderr().is_terminal()),
        }
    }

    /// Whether standard output gets colours.
    pub(crate) fn out_color(self) -> bool {
        self.out_color
    }

    #[expect(clippy::unused_self, reason = "whoever prints has to hold the printer")]
    /// Prints what was asked for. When nobody reads any more the command ends quietly.
    pub(crate) fn out(self, text: &str) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Err(CliError::Silent(ExitCode::OK))
            }
            Err(error) => {
                let message = format!("cannot write to standard output: {error}");
                Err(CliError::new(ErrorCode::OutputFailed, message))
            }
        }
    }

    /// Prints one JSON document.
    pub(crate) fn document(self, document: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(document).map_err(internal)?;
        text.push('\n');
        self.out(&text)
    }

    /// Prints one line of JSON Lines.
    pub(crate) fn line(self, document: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(document).map_err(internal)?;
        text.push('\n');
        self.out(&text)
    }

    /// Says something beside the answer. With `--json` standard error stays empty.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            // Nobody can be told that nobody can be told.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    pub(crate) fn error(self, error: &CliError) {
        let Some(body) = error.body() else { return };
        let mut stderr = std::io::stderr().lock();
        if self.json {
            let text = serde_json::to_string(&body).unwrap_or_default();
            let _ = writeln!(stderr, "{text}");
            return;
        }
        if let CliError::Faults(faults, _) = error {
            let _ = writeln!(stderr, "{}", faults.render(self.err_color).trim_end());
            return;
        }
        let CliError::Failure(failure) = error else { return };
        let mut text = format!("{} {}\n", self.paint("error:", "1;31"), failure.message);
        for source in &failure.sources {
            let _ = writeln!(text, "  because: {source}");
        }
        for hint in &failure.hints {
            let _ = writeln!(text, "{} {hint}", self.paint("hint:", "36"));
        }
        let _ = writeln!(text, "{}", self.paint(&format!("({})", failure.code), "2"));
        let _ = stderr.write_all(text.as_bytes());
    }

    fn paint(self, text: &str, style: &str) -> String {
        if self.err_color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A state in its colour, for standard output.
    pub(crate) fn state(self, state: &str) -> String {
        if !self.out_color {
            return state.to_owned();
        }
        let style = match state {
            "ready" | "succeeded" => "32",
            "starting" | "running" | "paused" | "stopping" | "draining" | "degraded" => "33",
            "failed" | "dead" | "unhealthy" => "31",
            _ => "2",
        };
        format!("\x1b[{style}m{state}\x1b[0m")
    }
}

/// Rows under their headings, in columns. Colours do not count as width.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(visible_width(cell));
        }
    }
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - visible_width(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn visible_width(cell: &str) -> usize {
    let mut width = 0;
    let mut in_escape = false;
    for letter in cell.chars() {
        match letter {
            '\x1b' => in_escape = true,
            'm' if in_escape => in_escape = false,
            _ if in_escape => {}
            _ => width += 1,
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_colours() {
        let rows = vec![
            vec!["a".to_owned(), "\x1b[32mready\x1b[0m".to_owned(), "x".to_owned()],
            vec!["long-name".to_owned(), "dead".to_owned(), "y".to_owned()],
        ];
        let text = table(&["NAME", "STATE", "Z"], &rows).replace("\x1b[32m", "").replace("\x1b[0m", "");
        assert_eq!(text, "NAME       STATE  Z\na          ready  x\nlong-name  dead   y\n");
    }
}
