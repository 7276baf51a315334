//! The files that people write, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A stack file's text with the path it is shown under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Absolute where it is a stack file: the stack's directory is read off it.
    pub path: PathBuf,
    pub text: String,
}

/// `belljar.toml` in `start` or the nearest directory above. `start` is absolute, for a relative path has
/// nothing above it.
pub fn locate(start: &Path) -> Option<PathBuf> {
    start.ancestors().map(|dir| dir.join("belljar.toml")).find(|file| file.is_file())
}

/// A stretch of a file: where a value stands, so that an error found much later can still point at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: Arc<SourceFile>,
    pub(crate) span: Range<usize>,
    /// Where the text begins among all that was said of a stack: the file at 0, the command line behind it.
    behind: usize,
}

impl Place {
    pub(crate) fn new(source: &Arc<SourceFile>, span: Range<usize>) -> Self {
        let text = &source.text;
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
        Self { source: Arc::clone(source), span: start..end, behind: 0 }
    }

    /// The same place in a text that was said after so much else.
    pub(crate) fn behind(self, behind: usize) -> Self {
        Self { behind, ..self }
    }

    /// What was said first comes first.
    pub(crate) fn position(&self) -> usize {
        self.behind + self.span.start
    }

    /// What is written there, as it is written.
    pub(crate) fn raw(&self) -> &str {
        &self.source.text[self.span.clone()]
    }

    /// The place of `part` inside of this one, where it is written there letter by letter; else this one.
    pub(crate) fn of(&self, part: &str) -> Self {
        match self.raw().find(part) {
            Some(at) => {
                let start = self.span.start + at;
                Self { span: start..start + part.len(), ..self.clone() }
            }
            None => self.clone(),
        }
    }

    /// Line and column, both counted from 1, the column in characters.
    pub(crate) fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A string of a file, with its place.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) place: Place,
}
