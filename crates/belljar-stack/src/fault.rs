//! Faults of a file, each at its place. They are collected rather than thrown, so that one look shows them all.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle};
use belljar_model::ErrorCode;

use crate::source::Place;

/// All that is wrong with a stack, in the order of the file. `Display` shows it as people read it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    list: Vec<Fault>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    place: Place,
    message: String,
    label: String,
    help: Option<String>,
    /// Other places that belong to it: the rest of a cycle, the first of two duplicates.
    also: Vec<(Place, String)>,
}

impl Faults {
    /// Each fault with its excerpt, what was expected and, where near, what was meant.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let reports: Vec<_> = self.list.iter().map(|fault| renderer.render(&[fault.report()])).collect();
        reports.join("\n\n")
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    pub fn code(&self) -> ErrorCode {
        ErrorCode::StackInvalid
    }

    pub(crate) fn push(&mut self, fault: Fault) {
        if !self.list.contains(&fault) {
            self.list.push(fault);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for fault in other.list {
            self.push(fault);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// `value` if nothing is wrong, else what is.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.list.is_empty() { Ok(value) } else { Err(self.in_order()) }
    }

    /// In the order of the files.
    pub(crate) fn in_order(mut self) -> Self {
        self.list.sort_by(|a, b| {
            (&a.place.source.path, a.place.span.start).cmp(&(&b.place.source.path, b.place.span.start))
        });
        self
    }
}

impl Fault {
    /// A fault at `place`. `label` stands under the excerpt and says what was expected there.
    pub(crate) fn new(place: &Place, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            message: message.into(),
            label: label.into(),
            help: None,
            also: Vec::new(),
        }
    }

    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(crate) fn with_maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    pub(crate) fn also(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.also.push((place.clone(), label.into()));
        self
    }

    /// The file it is in, as it was named.
    pub fn file(&self) -> &Path {
        &self.place.source.path
    }

    /// Its line, counted from 1.
    pub fn line(&self) -> usize {
        self.place.line_and_column().0
    }

    /// Its column in characters, counted from 1.
    pub fn column(&self) -> usize {
        self.place.line_and_column().1
    }

    /// What is wrong, in a sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was expected at the place.
    pub fn expected(&self) -> &str {
        &self.label
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    fn report(&self) -> Group<'_> {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let path = self.file().to_string_lossy();
        let mut group = Group::with_title(title);
        // A file that could not be read has no excerpt.
        if self.place.source.text.is_empty() {
            group = group.element(Origin::path(path)).element(Level::NOTE.message(self.label.as_str()));
        } else {
            let mut snippet = Snippet::source(self.place.source.text.as_str())
                .path(path)
                .annotation(AnnotationKind::Primary.span(self.place.span.clone()).label(self.label.as_str()));
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                self.also.iter().partition(|(place, _)| Arc::ptr_eq(&place.source, &self.place.source));
            for (place, label) in here {
                snippet = snippet
                    .annotation(AnnotationKind::Context.span(place.span.clone()).label(label.as_str()));
            }
            group = group.element(snippet);
            for (place, label) in elsewhere {
                group = group.element(
                    Snippet::source(place.source.text.as_str())
                        .path(place.source.path.to_string_lossy())
                        .annotation(AnnotationKind::Context.span(place.span.clone()).label(label.as_str())),
                );
            }
        }
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
