//! Waiting for conditions.

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine: a test that meets it has failed.
pub const LONG: Duration = Duration::from_secs(30);

/// Asks until there is an answer, and fails the test when there is none `within`.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {within:?}");
        breathe();
    }
}

/// Whether it comes true `within`.
pub fn soon(within: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if is_true() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        breathe();
    }
}

/// The pause between two looks at something that the kernel gives no event for (/proc, a file's contents).
fn breathe() {
    std::thread::park_timeout(Duration::from_millis(5));
}
