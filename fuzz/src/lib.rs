//! What is fuzzed, once: the programs of cargo-fuzz and the harness that `./x test` runs call the same
//! functions. A target takes bytes and panics where something does not hold; that nothing panics by itself is
//! the least of what it asks.

pub mod input;
pub mod mutate;
pub mod targets;

use std::path::{Path, PathBuf};

/// One thing that reads what others wrote.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Gives it one input.
    pub run: fn(&[u8]),
    /// Words that random bytes do not hit upon.
    pub words: &'static [&'static str],
}

/// The inputs that are kept for a target: seeds, and what was found, as files of this repository.
pub fn kept(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}
