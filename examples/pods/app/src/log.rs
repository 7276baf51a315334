//! One line on stdout per important step: whoever runs the pod keeps them.

use std::error::Error;
use std::fmt::Arguments;
use std::io::Write as _;

/// Writes one line to the log.
macro_rules! say {
    ($($arg:tt)*) => { $crate::log::line(format_args!($($arg)*)) };
}
pub(crate) use say;

pub(crate) fn line(text: Arguments<'_>) {
    // A log that nobody reads any more is no reason to stop working.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// An error with all of its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
