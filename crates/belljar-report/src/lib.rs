//! What happened, for people and for programs: folds of a run's events into text.
//!
//! Nothing here runs anything or looks anything up. A reporter is handed one [`RunEvent`] after another, live or
//! from a recording, and writes to whatever it is given; time is what the events say.
//!
//! Adding an event: the folds in [`Terminal`] pass over what does not change their picture, and [`JsonLines`]
//! writes every event as it is, so a new kind needs nothing here until it is to be shown.

pub mod graph;
mod json_lines;
mod lines;
mod progress;
mod style;
mod terminal;

use std::io;

use belljar_model::RunEvent;

pub use json_lines::JsonLines;
pub use terminal::Terminal;

/// Shows a run as it happens.
pub trait Reporter {
    /// Takes in one event, and writes what there is to be shown of it.
    fn event(&mut self, event: &RunEvent, out: &mut dyn io::Write) -> io::Result<()>;

    /// Nothing more comes, for whatever reason: nothing half-drawn is left behind.
    fn close(&mut self, out: &mut dyn io::Write) -> io::Result<()>;
}
