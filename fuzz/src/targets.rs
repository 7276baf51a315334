//! The targets, one module each.

pub mod control;
pub mod events;
pub mod frames;
pub mod init_protocol;
pub mod logs;
pub mod names;
pub mod recipe;
pub mod reference;
pub mod registry;
pub mod stack;
pub mod words;

mod fake_init;
mod plans;

use crate::Target;

/// Every target.
pub const ALL: &[Target] = &[
    Target { name: "stack", run: stack::run, words: stack::WORDS },
    Target { name: "reference", run: reference::run, words: reference::WORDS },
    Target { name: "recipe", run: recipe::run, words: recipe::WORDS },
    Target { name: "control", run: control::run, words: control::WORDS },
    Target { name: "frames", run: frames::run, words: frames::WORDS },
    Target { name: "init_protocol", run: init_protocol::run, words: init_protocol::WORDS },
    Target { name: "events", run: events::run, words: events::WORDS },
    Target { name: "logs", run: logs::run, words: logs::WORDS },
    Target { name: "names", run: names::run, words: names::WORDS },
    Target { name: "registry", run: registry::run, words: registry::WORDS },
    Target { name: "words", run: words::run, words: words::WORDS },
];

/// A directory for one input, in memory where the machine has such a place.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for temporary files")
}
