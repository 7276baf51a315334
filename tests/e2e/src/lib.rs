//! How the end-to-end tests drive the real program: from outside, through its public contract alone.
//!
//! A test owns a [`TestEnv`]: its own project directory, state directory, home and environment. It writes a
//! stack, runs `belljar`, and reads what comes back. When the [`TestEnv`] ends, it looks whether anything that
//! the test started is still there; whatever is fails the test, and is ended by its process id.
//!
//! Nothing here sleeps for a guess: every wait is for a condition, with a deadline that is generous.

mod command;
mod env;
mod host;
mod output;
mod probe;
mod schema;
mod terminal;
mod wait;

pub use command::{Cmd, Running};
pub use env::{SYSTEM_PATH, TestEnv};
pub use host::{Footprint, Process, bury_orphans, processes};
pub use output::{Ended, Output};
pub use probe::{is_root, lacks_program, lacks_sealing, server_dir};
pub use terminal::Terminal;
pub use wait::{LONG, eventually, soon};

/// The test's own world, or the end of the test where this machine cannot seal a session (the test is then
/// counted as skipped, with the reason).
#[macro_export]
macro_rules! world {
    () => {{
        if $crate::lacks_sealing() {
            return;
        }
        $crate::TestEnv::new()
    }};
}

/// Ends the test, counted as skipped, where a program is not on this machine.
#[macro_export]
macro_rules! needs {
    ($($program:literal),+) => {
        $(if $crate::lacks_program($program) {
            return;
        })+
    };
}
