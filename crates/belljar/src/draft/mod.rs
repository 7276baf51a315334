//! A first stack file for a project that has none: what lies in its directory is looked at ([`survey`]), becomes
//! a [`Draft`], and is written down with comments for whoever goes on from there ([`write`]).
//!
//! A draft is a guess that says so. What was understood is declared; what was not stands in the file as a
//! comment with the question that is left, so that the file is valid as it is.

mod cargo;
mod compose;
mod go;
mod node;
mod procfile;
mod python;
mod survey;
mod write;

use std::collections::BTreeSet;

pub(crate) use survey::survey;
pub(crate) use write::write;

/// What will become a stack file.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) services: Vec<Service>,
    pub(crate) tasks: Vec<Task>,
    /// What was found, a line each: the file and what was read off it.
    pub(crate) found: Vec<String>,
    /// What has to be done before the stack can start.
    pub(crate) first: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Above it in the file, a line each.
    pub(crate) comments: Vec<String>,
    pub(crate) body: Body,
    pub(crate) ports: Vec<(String, u16)>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) after: Vec<String>,
    /// `after` is what its author said, and not to be guessed.
    pub(crate) knows_its_order: bool,
}

/// What a service runs.
#[derive(Debug, Clone, Default)]
pub(crate) enum Body {
    /// Nobody knows yet: it is written as a comment.
    #[default]
    Unknown,
    Recipe {
        recipe: String,
        with: Vec<(String, String)>,
    },
    /// Words, as a shell splits them.
    Run(String),
    Shell(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) comments: Vec<String>,
    pub(crate) shell: String,
    pub(crate) after: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

impl Service {
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.body, Body::Unknown)
    }

    /// The name of the recipe that it uses.
    pub(crate) fn recipe(&self) -> Option<&str> {
        match &self.body {
            Body::Recipe { recipe, .. } => Some(recipe),
            _ => None,
        }
    }

    /// An application that is reached by HTTP on a port of its own.
    pub(crate) fn web(name: &str, body: Body, port: u16, comment: &str) -> Self {
        Self {
            name: name.to_owned(),
            comments: vec![comment.to_owned()],
            body,
            ports: vec![("http".to_owned(), port)],
            ..Self::default()
        }
    }
}

impl Draft {
    pub(crate) fn has_recipe(&self, recipe: &str) -> bool {
        self.services.iter().any(|one| one.recipe() == Some(recipe))
    }

    /// A name that keeps the rule of services and tasks and that nothing here has yet.
    pub(crate) fn free_name(&self, wish: &str) -> String {
        let taken: BTreeSet<&str> = self
            .services
            .iter()
            .map(|one| one.name.as_str())
            .chain(self.tasks.iter().map(|one| one.name.as_str()))
            .collect();
        let base = name_like(wish);
        let letters = ('b'..='z').map(|letter| format!("{base}-{letter}"));
        std::iter::once(base.clone())
            .chain(letters)
            .find(|name| !taken.contains(name.as_str()))
            .unwrap_or(base)
    }
}

/// The text as one word of a command line, in which `${` is no reference.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''").replace("${", "$${"))
}

/// Names that mean something else in a stack file.
const RESERVED: &[&str] = &["self", "session", "seed", "env", "with", "program", "localhost"];

/// `wish` as the name of a service: what does not fit becomes `-`, and a number at its end becomes part of the
/// word, because replicas are called that way.
pub(crate) fn name_like(wish: &str) -> String {
    let plain: String = wish
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let mut name = String::new();
    for word in words {
        let is_number = word.bytes().all(|b| b.is_ascii_digit());
        if !name.is_empty() && !is_number {
            name.push('-');
        }
        name.push_str(word);
    }
    let name: String = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(36).collect();
    let name = name.trim_end_matches('-').to_owned();
    match name.as_str() {
        "" => "app".to_owned(),
        word if RESERVED.contains(&word) => format!("{word}-app"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use belljar_model::ServiceName;

    use super::name_like;

    #[test]
    fn every_wish_becomes_the_name_of_a_service() {
        for (wish, name) in [
            ("web", "web"),
            ("My_App", "my-app"),
            ("@acme/shop-api", "acme-shop-api"),
            ("api-2", "api2"),
            ("2048", "app"),
            ("3-tier", "tier"),
            ("self", "self-app"),
            ("", "app"),
            ("ä", "app"),
        ] {
            assert_eq!(name_like(wish), name, "{wish}");
            assert!(ServiceName::new(name_like(wish)).is_ok(), "{wish}");
        }
    }
}
