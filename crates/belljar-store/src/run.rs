//! A run of suites as the registry knows it: its directory, when it was, what came of it.

use std::path::{Path, PathBuf};

use belljar_model::StackName;

use crate::error::StoreError;
use crate::lock::{self, Held};

/// What a run is created from.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Made by the caller, never reused; letters, digits and `-`.
    pub id: String,
    pub stack: StackName,
    pub origin: PathBuf,
    pub started_ms: i64,
}

/// A run that this process carries out: while the value lives, the run is under way.
#[derive(Debug)]
pub struct RunDir {
    pub(crate) id: String,
    pub(crate) root: PathBuf,
    pub(crate) _lock: Held,
}

impl RunDir {
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }
}

/// A run as the registry knows it.
#[derive(Debug, Clone)]
pub struct RunRecord {
    pub id: String,
    pub stack: StackName,
    pub origin: PathBuf,
    pub started_ms: i64,
    pub ended_ms: Option<i64>,
    /// The summary line, once it has ended.
    pub summary: Option<String>,
    pub root: PathBuf,
}

impl RunRecord {
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// Whether the process that carries it out still does.
    pub fn is_live(&self) -> Result<bool, StoreError> {
        let path = self.root.join(lock::FILE_NAME);
        lock::is_held(&path).map_err(StoreError::unusable(&path, "its lock cannot be tried"))
    }
}

/// Whether a text can be the id of a run. It becomes the name of a directory.
pub(crate) fn check_id(id: &str) -> Result<(), &'static str> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(1..=64).contains(&id.len()) {
        Err("it has to have 1 to 64 letters")
    } else if !id.bytes().all(|byte| letters(byte) || byte == b'-') || !letters(id.as_bytes()[0]) {
        Err("it has to be of a-z0-9-, and start with a letter or digit")
    } else {
        Ok(())
    }
}
